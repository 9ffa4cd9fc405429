"""The registry of proxies, and scores of a single network.

A proxy is a function of a `Probe`, which runs the network once and lets many proxies read the
result. Every proxy returns one float, higher is better, NaN where it is not defined.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from azlib import blocks as _blocks
from azlib.aggregate import AZ_NAS, aggregate
from azlib.aggregate import rank as rank_values
from azlib.errors import AzlibError, unknown
from azlib.inputs import check_shape, gaussian, generator
from azlib.weights import INITIALISATIONS, initialise


@dataclass(frozen=True)
class Proxy:
    """A registered proxy: its name, the paper it comes from, and the function of a `Probe`."""

    name: str
    source: str
    function: Callable[[Probe], float]


REGISTRY: dict[str, Proxy] = {}


def proxy(name: str, source: str) -> Callable:
    """Registers a function of a `Probe` under a name; refuses a name that is taken."""

    def register(function: Callable[[Probe], float]) -> Callable[[Probe], float]:
        if name in REGISTRY:
            raise AzlibError(f"proxy {name!r} is registered twice")
        REGISTRY[name] = Proxy(name, source, function)
        return function

    return register


def names(proxies: str | Iterable[str] = "az") -> list[str]:
    """Proxy names from a list or from text like "az,smallest_share"; "az" is the paper's four.

    Raises `AzlibError` for a name that is not registered.
    """
    if isinstance(proxies, str):
        proxies = [name.strip() for name in proxies.split(",")]
    given = [name for part in proxies for name in (AZ_NAS if part == "az" else [part])]
    chosen = list(dict.fromkeys(given))
    for name in chosen:
        if name not in REGISTRY:
            raise unknown("proxy", name, ["az", *REGISTRY])
    return chosen


@dataclass
class Probe:
    """One network at one draw of weights and inputs; what several proxies read is computed once.

    model: already initialised, on its device and in its mode. inputs: (B, ...).
    rng: for the ±1 vectors. macs: multiply-accumulates per image, counted when not given.
    """

    model: nn.Module
    inputs: Tensor
    rng: torch.Generator
    blocks: list[str] | None = None
    macs: float | None = None

    @cached_property
    def trace(self) -> _blocks.Trace:
        return _blocks.trace(self.model, self.inputs, self.rng, self.blocks)

    @cached_property
    def cost(self) -> float:
        """Multiply-accumulates per image."""
        return float(self.macs) if self.macs is not None else count_macs(self.model, self.inputs)


def count_macs(model: nn.Module, inputs: Tensor) -> float:
    """Multiply-accumulates per image of convolutions and matrix products, by running two images."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _blocks.forward(model, inputs[:2])
    return counter.get_total_flops() / 2 / 2  # two FLOPs a MAC, two images


def score(
    model: nn.Module,
    input_shape: tuple[int, ...] = (64, 3, 32, 32),
    *,
    seed: int = 1,
    proxies: str | Iterable[str] = "az",
    blocks: list[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    train: bool = True,
    macs: float | None = None,
    architecture: str | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Scores one network; the model passed in is not changed.

    input_shape: (B, C, H, W) of the Gaussian input. seed: with `architecture` (default: the
    printed form of the model) fixes weights, input and ±1 vectors. proxies: "az" or names.
    blocks: names of the primary blocks (default: `model.primary_blocks`). init: one of
    `weights.INITIALISATIONS`, or None to keep the model's weights; it draws convolutions and linear
    layers anew, parameters of other kinds keep the model's values. train: batch statistics in
    normalisation layers (the paper's setting for CNNs; ViTs use False). macs: complexity if it
    is already known.

    Returns {name: float}. Raises `AzlibError` for an unknown proxy, initialisation or block, an
    input that does not fit, and a device that is not there.
    """
    key = architecture if architecture is not None else repr(model)
    return score_in_place(
        copy.deepcopy(model),
        input_shape,
        key,
        seed=seed,
        proxies=proxies,
        blocks=blocks,
        init=init,
        train=train,
        macs=macs,
        device=device,
    )


def score_in_place(
    model: nn.Module,
    input_shape: tuple[int, ...],
    architecture: str,
    *,
    seed: int,
    proxies: str | Iterable[str] = "az",
    blocks: list[str] | None = None,
    init: str | None = "kaiming_norm_fanin",
    train: bool = True,
    macs: float | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """`score` without the copy, for a network built for this purpose: its weights are replaced."""
    chosen = names(proxies)
    check_settings(init, device, input_shape)
    if init is not None:
        initialise(model, init, generator(seed, architecture, "weights"))
    model.train(train).to(device)
    inputs = gaussian(tuple(input_shape), generator(seed, architecture, "input")).to(device)
    probe = Probe(model, inputs, generator(seed, architecture, "signs"), blocks, macs)
    with torch.random.fork_rng():  # what the model itself draws, dropout for one, is seeded too
        torch.manual_seed(generator(seed, architecture, "forward").initial_seed())
        return {name: float(REGISTRY[name].function(probe)) for name in chosen}


def check_settings(init: str | None, device: str, input_shape: tuple[int, ...]) -> None:
    """Raises `AzlibError` for an initialisation, device or input shape that cannot be."""
    if init not in (None, "own", *INITIALISATIONS):
        raise unknown("initialisation", init, INITIALISATIONS)
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise unknown("device", device, ["cpu", "cuda", "cuda:0"]) from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise AzlibError(f'device="{device}" but PyTorch sees no GPU here: use device="cpu"')
    check_shape(input_shape)


def rank(
    models: Sequence[nn.Module],
    input_shape: tuple[int, ...] = (64, 3, 32, 32),
    *,
    method: str = "log",
    **settings,
) -> pd.DataFrame:
    """Ranks networks against each other: their scores, the ranks, and the AZ-NAS score (Eq. 12).

    models: at least two networks (an AZ-NAS score means something only among others); settings
    are those of `score`. Returns a DataFrame in the order of `models`, with one column per proxy,
    `rank_<proxy>` (1 = lowest), `az_nas` (higher is better) and `place` (1 = best).
    """
    models = list(models)
    if len(models) < 2:
        raise AzlibError(f"rank() compares networks: got {len(models)}, expected at least 2")
    scores = pd.DataFrame([score(model, input_shape, **settings) for model in models])
    ranks = scores.apply(rank_values).add_prefix("rank_")
    total = aggregate(scores, method=method, proxies=list(scores))
    place = total.rank(ascending=False, method="min").astype(int)
    return scores.join(ranks).assign(az_nas=total, place=place)


from azlib.proxies import az as _az  # noqa: E402, F401  (registers its proxies)
