"""Scores of single networks, and the blocks they are read at: `azlib.score` and `azlib.blocks`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from azlib.block_finder import FoundBlocks, find
from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.inputs.images import batch as source_batch
from azlib.proxies.models import (
    default_shape,
    noise_for,
    out_of_reach,
    own_copy,
    printed,
    unwrapped,
)
from azlib.proxies.probe import Probe
from azlib.proxies.registry import REGISTRY, names
from azlib.running import exact, forked_rng, laid_out, moved
from azlib.settings import ScoreSettings, check_seed, check_shape, device_name

_ONE_AT_A_TIME = threading.RLock()  # random streams and switches of PyTorch are those of a process


class Scored(NamedTuple):
    """The value of each proxy, and the processor time in seconds that it took."""

    values: dict[str, float]
    seconds: dict[str, float]


def score(
    model: nn.Module,
    input_shape: tuple[int, ...] | None = None,
    *,
    batch: int | None = None,
    resolution: int | None = None,
    seed: int = 1,
    proxies: str | Iterable[str] = "az",
    blocks: Iterable[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    batch_statistics: bool = True,
    macs: float | None = None,
    noise_source: str = "gaussian",
    labelled_images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    architecture: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> dict[str, float]:
    """Scores one network. The model that is passed in is not changed.

    A score depends on (architecture, settings, seed) alone. It is computed on one thread, as in a
    sweep, so that both give the same number on one machine; round-off differs between machines.

    Args:
        model: any network that takes one tensor. A copy is scored, in single precision.
        input_shape: (B, C, H, W) of images, (B, L) of token ids, any other of other signals. By
            default what the model says of itself (`pretrained_cfg` of timm, `config` of Hugging
            Face) with a batch that fits, else 64 images of 32×32 pixels.
        batch, resolution: another number of inputs, other pixels along a side of images.
        seed: together with `architecture` it fixes weights, input and random signs.
        proxies: "az" for the four of AZ-NAS, or names of proxies or assemblies.
        blocks: modules whose outputs AZ-NAS reads; by default `model.primary_blocks`, or what
            `azlib.blocks(model)` finds. A dictionary maps names to the axis of channels, 1 or -1.
        macs: the complexity in multiply-accumulates per image, if it is already known.
        labelled_images: see `ScoreSettings`, or batches of your own [(images, labels), ...].
        architecture: text that identifies the network; by default its printed form.
        init, batch_statistics, noise_source, device, precision: see `azlib.settings.ScoreSettings`.

    Returns:
        The value of each proxy by its name; higher is better, NaN where it is not defined.

    Raises:
        AzlibError: for a setting out of its range, an unknown proxy or block, an input that does
            not fit, a device that is not there, and where no blocks can be found. It warns
            (`AzlibWarning`) when these hold less than half of the network, and of long work.
    """
    own = None if isinstance(labelled_images, str) else labelled_images
    source = labelled_images if isinstance(labelled_images, str) else None
    shape = default_shape(unwrapped(model)) if input_shape is None else input_shape
    chosen = tuple(names(proxies))
    settings = ScoreSettings(
        chosen, shape, init, batch_statistics, noise_source, source, device, precision
    ).sized(batch, resolution)
    given: dict[str, Any] = {"blocks": blocks, "macs": macs, "batches": own}
    return score_copy(model, architecture, seed, settings, **given).values


def score_copy(
    model: nn.Module, architecture: str | None, seed: int, settings: ScoreSettings, **given: Any
) -> Scored:
    """`score_in_place` of a copy, which cannot reach the model that it is from.

    architecture: None for the printed form of the model. given: as there.
    """
    with _ONE_AT_A_TIME:
        copied = own_copy(model).cpu()
        with out_of_reach(model):
            key = printed(copied) if architecture is None else architecture
            return score_in_place(copied, key, seed, settings, **given)


def score_in_place(
    model: nn.Module,
    architecture: str,
    seed: int,
    settings: ScoreSettings,
    *,
    blocks: Iterable[str] | None = None,
    macs: float | None = None,
    batches: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> Scored:
    """`score` without the copy, for a network built for this purpose: its weights are replaced."""
    seed = check_seed(seed)
    check_device(settings.device)
    with (
        _ONE_AT_A_TIME,
        one_thread(),
        exact(settings.device),
        forked_rng(settings.device),
    ):
        moved(model, settings.device)
        noise = _noise(model, settings, generator(seed, architecture, "input"))
        inputs = laid_out(noise.to(settings.device))
        probe = Probe(model, inputs, settings, architecture, seed, blocks, macs, batches)
        values, seconds = {}, {}
        for name in names(settings.proxies):
            start = time.process_time()
            values[name] = probe.run(REGISTRY[name])
            seconds[name] = time.process_time() - start
    return Scored(values, seconds)


def blocks(
    model: nn.Module, input_shape: tuple[int, ...] | None = None, *, device: str = "cpu"
) -> FoundBlocks:
    """The primary blocks that azlib finds in a model, and what it leaves out.

    Modules whose output every path from the input to the output passes through, the smallest that
    repeat. Print the result to see them; pass it, or a list of some of its names, as `blocks=` of
    `score`. It takes one pass of two inputs.

    Args:
        model: any network; nothing of it is changed.
        input_shape: see `score`; only two inputs of the batch are run.
        device: "cpu" or "cuda".

    Raises:
        AzlibError: where fewer than two blocks can be found, and for a model that does not run.
    """
    check_device(device)
    with _ONE_AT_A_TIME, one_thread(), ExitStack() as held:
        copied = moved(own_copy(model), device)
        held.enter_context(out_of_reach(model))
        shape = default_shape(copied) if input_shape is None else input_shape
        check_shape(shape)
        inputs = noise_for(copied, (2, *shape[1:]), generator(1, printed(copied), "input"))
        return find(copied, laid_out(inputs.to(device)))


def _noise(model: nn.Module, settings: ScoreSettings, rng: torch.Generator) -> Tensor:
    """The batch that is fed to proxies that read noise."""
    shape = settings.input_shape
    if settings.noise_source == "gaussian":
        return noise_for(model, shape, rng)
    return source_batch(settings.noise_source, shape, 1000, rng)[0]  # images of any class


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, PyTorch computes on one thread, so that sums are always taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raises `AzlibError` for what is no device, and for a GPU that PyTorch does not see here."""
    name, _, number = device_name(device).partition(":")
    if name == "cpu":
        return
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        raise AzlibError(f'device="{device}" but PyTorch sees no GPU here: use device="cpu"')
    if int(number or 0) >= there:
        raise AzlibError(
            f'device="{device}" but PyTorch sees {there} here, the last is "cuda:{there - 1}"'
        )
