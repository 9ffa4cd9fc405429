"""A found network as a file for other programs, read back and compared before it is kept."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from azlib import spaces
from azlib.errors import AzlibError, needs, out_of_memory, reason, unknown
from azlib.files import replacing
from azlib.inputs import gaussian, generator
from azlib.training.checkpoints import read_checkpoint
from azlib.training.recipes import Network

DEFAULT_SPACE = "mobilenetv2"
TOLERANCE = 1e-4  # of the largest logit, for formats that other code computes
Run = Callable[[Tensor], Tensor]


def read_structure(text: str, space: str | None = None) -> tuple[str, str]:
    """(space, structure) of a structure text, or of the JSON file that a search wrote.

    space: of a text, by default "mobilenetv2"; a file must agree with it. It is needed for a space
    of the user's own, as azlib knows its name only once it was found.
    """
    name = None if space is None else spaces.get(space).name
    if not text.endswith(".json"):
        return name or DEFAULT_SPACE, text
    try:
        found = json.loads(Path(text).read_text())
        structure, held = found["structure"], found["settings"]["space"]["name"]
        if not isinstance(structure, str) or not isinstance(held, str):
            raise TypeError("its structure or its space is no text")
    except OSError as error:
        raise AzlibError(f"cannot read {text}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AzlibError(
            f"{text} is no structure that azlib search found ({reason(error)}): expected the .json "
            "file beside its log"
        ) from error
    if name not in (None, held):
        raise AzlibError(f"{text} is of the space {held!r}, not {name!r}: give that one or none")
    return held, structure


def choose(
    text: str,
    space: str | None = None,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    resolution: int | None = None,
) -> Network:
    """The network to export.

    Args:
        text, space: see `read_structure`.
        weights: a checkpoint of it, whose sizes hold where none are given.
        num_classes: outputs, by default as trained, or 1000.
        resolution: pixels along a side of the images, by default as trained, or 224.

    Raises `AzlibError` for sizes out of range, and for a file that is none of these.
    """
    space, structure = read_structure(text, space)
    given = {"num_classes": num_classes, "resolution": resolution}
    sizes = {name: size for name, size in given.items() if size is not None}
    held = read_checkpoint(weights)["settings"]["network"] if weights else {}
    trained = {name: held[name] for name in given if name in held}
    return Network(space, structure, **{**trained, **sizes})


def load(network: Network, weights: str | Path | None) -> nn.Module:
    """The network in evaluation mode, with the weights of a checkpoint of `azlib.training.trainer`.

    Without weights it is initialised (seed 0). Raises `AzlibError` for a checkpoint of another.
    """
    model = network.build(rng=generator(0, network.structure, "weights"))
    if weights is not None:
        state = read_checkpoint(weights)
        held = state["settings"]["network"]
        for name, ours in asdict(network).items():
            if held.get(name) != ours:
                raise AzlibError(
                    f"{weights} holds {name}={held.get(name)!r}, not {ours!r}: export that network "
                    "or give its own checkpoint"
                )
        try:
            model.load_state_dict(state["model"])
        except Exception as error:  # a key too many or too few, another shape, no tensor
            raise AzlibError(
                f"the weights in {weights} are not those of {network.structure} "
                f"({reason(error)}): give best.pt or last.pt as azlib train wrote it"
            ) from error
    return model.eval()


def export(network: Network, to: str, out: str | Path, weights: str | Path | None = None) -> float:
    """Writes the network; returns the largest difference of its logits, read back, to its own.

    Args:
        network: see `choose`. Its images are (B, C, resolution, resolution) for any B, normalised
            as in training; C is 3 but in spaces of the user's own.
        to: "state-dict" (of `network.build()`, exactly the same), "torchscript" (a traced module)
            or "onnx" (needs onnx, onnxscript and onnxruntime).
        out: the file.
        weights: see `load`.

    Raises `AzlibError`, and leaves no file, where the difference is more than 1e-4 of the largest
    logit, and where the network cannot be written or memory runs out.
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    try:
        with torch.no_grad(), replacing(out) as temporary:
            return _written(network, load(network, weights), to, temporary)
    except (AzlibError, KeyboardInterrupt):
        raise
    except Exception as error:  # writers of formats fail in many ways
        if out_of_memory(error):
            raise AzlibError(
                f"out of memory at resolution={network.resolution} with "
                f"{network.num_classes:,} classes: lower them, or export a smaller structure"
            ) from error
        raise AzlibError(
            f"cannot write this network as {to} ({reason(error)}): nothing written; choose another "
            "format"
        ) from error


def _written(network: Network, model: nn.Module, to: str, path: Path) -> float:
    """Writes a file and returns the largest difference of its logits to the model's."""
    rng = generator(0, network.structure, "input")
    images = gaussian((3, network.channels, network.resolution, network.resolution), rng)
    run = FORMATS[to](network, model, images[:2], path)
    worst = 0.0
    for batch in (images[:2], images):
        logits = model(batch)
        difference = float((run(batch) - logits).abs().max())
        if not difference <= (TOLERANCE * float(logits.abs().max()) if to != EXACT else 0):
            raise AzlibError(
                f"the {to} network's logits differ by up to {difference:.1e}: nothing written"
            )
        worst = max(worst, difference)
    return worst


def _state_dict(network: Network, model: nn.Module, images: Tensor, path: Path) -> Run:
    with path.open("wb") as file:
        torch.save(model.state_dict(), file)
    copy = network.build().eval()
    copy.load_state_dict(torch.load(path, weights_only=True))
    return copy


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what PyTorch says about its own formats, which users still ask for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _torchscript(network: Network, model: nn.Module, images: Tensor, path: Path) -> Run:
    with _quietly():
        traced = torch.jit.trace(model, images)
        with path.open("wb") as file:
            torch.jit.save(traced, file)
        return torch.jit.load(path)


def _onnx(network: Network, model: nn.Module, images: Tensor, path: Path) -> Run:
    with needs("onnx", "onnx"):
        import onnx  # noqa: F401
    with needs("onnxscript", "onnx"):
        import onnxscript  # noqa: F401
    with needs("onnxruntime", "onnx"):
        import onnxruntime
    with _quietly():
        torch.onnx.export(
            model,
            (images,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])


EXACT = "state-dict"
FORMATS = {EXACT: _state_dict, "torchscript": _torchscript, "onnx": _onnx}
