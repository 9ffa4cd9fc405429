"""A found network as a file for other programs, read back and compared before it is kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError, unknown
from azlib.files import replacing
from azlib.inputs import gaussian, generator
from azlib.training.recipes import Network
from azlib.training.trainer import read_checkpoint

TOLERANCE = 1e-4  # of the largest logit, for formats that other code computes
Run = Callable[[Tensor], Tensor]


def read_structure(text: str, space: str | None = None) -> tuple[str, str]:
    """(space, structure) of a structure text, or of the JSON file that a search wrote.

    space: of a text, by default "mobilenetv2"; a file must agree with it.
    """
    if not text.endswith(".json"):
        return space or "mobilenetv2", text
    try:
        found = json.loads(Path(text).read_text())
        structure, held = found["structure"], found["settings"]["space"]["name"]
    except OSError as error:
        raise AzlibError(f"cannot read {text}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AzlibError(f"{text} is no structure that azlib search found") from error
    held = held.removesuffix("-superblocks")  # how it was scored makes no other network
    if space not in (None, held):
        raise AzlibError(f"{text} is of the space {held!r}, not {space!r}: leave the space out")
    return held, structure


def choose(
    text: str,
    space: str | None = None,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    resolution: int | None = None,
) -> Network:
    """The network of `read_structure`; its sizes, unless given, are those of the weights."""
    space, structure = read_structure(text, space)
    held = read_checkpoint(weights)["settings"]["network"] if weights else {}
    return Network(
        space,
        structure,
        num_classes or held.get("num_classes", 1000),
        resolution or held.get("resolution", 224),
    )


def load(network: Network, weights: str | Path | None) -> nn.Module:
    """The network in evaluation mode, with the weights of a checkpoint of `azlib.training.trainer`.

    Without weights it is initialised (seed 0). Raises AzlibError for a checkpoint of another.
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
        model.load_state_dict(state["model"])
    return model.eval()


def export(network: Network, to: str, out: str | Path, weights: str | Path | None = None) -> float:
    """Writes the network; returns the largest difference of its logits, read back, to its own.

    to: "state-dict" (of `network.build()`, exactly the same), "torchscript" (a traced module) or
    "onnx" (needs onnx, onnxscript and onnxruntime). The batch size stays free; images are
    (B, 3, resolution, resolution), normalised as in training. Raises AzlibError, and leaves no
    file, where the difference is more than 1e-4 of the largest logit.
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    model = load(network, weights)
    rng = generator(0, network.structure, "input")
    images = gaussian((3, 3, network.resolution, network.resolution), rng)
    worst = 0.0
    with torch.no_grad(), replacing(out) as temporary:
        run = FORMATS[to](network, model, images[:2], temporary)
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


def _torchscript(network: Network, model: nn.Module, images: Tensor, path: Path) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the format is still asked for
        traced = torch.jit.trace(model, images)
        with path.open("wb") as file:
            torch.jit.save(traced, file)
        return torch.jit.load(path)


def _onnx(network: Network, model: nn.Module, images: Tensor, path: Path) -> Run:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise AzlibError(
            f"exporting to ONNX needs {error.name}: pip install 'azlib[onnx]'"
        ) from error
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
