"""The registry of proxies, and scores of a single network.

A proxy is a function of a `Probe`: one network at one seed. Every proxy returns one float, higher
is better, NaN where it is not defined, and leaves the network as it found it, so a score does not
depend on which other proxies were asked for.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from azlib import blocks as _blocks
from azlib import images as _images
from azlib.aggregate import ASSEMBLIES, AZ_NAS, aggregate
from azlib.aggregate import rank as rank_values
from azlib.errors import AzlibError, unknown
from azlib.inputs import check_shape, gaussian, generator
from azlib.weights import INITIALISATIONS, initialise


@dataclass(frozen=True)
class Proxy:
    """A registered proxy: what it is, and what it needs.

    name; source: the paper it comes from; function: of a `Probe`. init: the initialisation its
    definition asks for, or None for the one that all are scored with. images: how many batches of
    real images it reads (0: Gaussian noise, or no input at all). labels: whether it reads their
    labels. shared: whether it reads what one pass leaves for several, so that it has no running
    time of its own.
    """

    name: str
    source: str
    function: Callable[[Probe], float]
    init: str | None = None
    images: int = 0
    labels: bool = False
    shared: bool = False


REGISTRY: dict[str, Proxy] = {}


def proxy(name: str, source: str, **needs) -> Callable:
    """Registers a function of a `Probe` under a name; refuses a name that is taken.

    needs: `init`, `images`, `labels`, `shared` of a `Proxy`. The function finds the network at that
    initialisation, in training mode, with running statistics as if new.
    """

    def register(function: Callable[[Probe], float]) -> Callable[[Probe], float]:
        if name in REGISTRY:
            raise AzlibError(f"proxy {name!r} is registered twice")
        REGISTRY[name] = Proxy(name, source, function, **needs)
        return function

    return register


def names(proxies: str | Iterable[str] = "az") -> list[str]:
    """Proxy names from a list or from text like "az,smallest_share", each once.

    "az" is the paper's four; any name of `aggregate.ASSEMBLIES` is its proxies. Raises
    `AzlibError` for a name that is not registered.
    """
    return list(dict.fromkeys(members(proxies)))


def members(proxies: str | Iterable[str] = "az") -> tuple[str, ...]:
    """What a ranking sums: as `names`, but what stands twice, in an assembly for one, stays twice
    and weighs twice."""
    if isinstance(proxies, str):
        proxies = proxies.split(",")
    assemblies = {"az": AZ_NAS, **ASSEMBLIES}
    given = [name for part in proxies for name in assemblies.get(part.strip(), (part.strip(),))]
    for name in given:
        if name not in REGISTRY:
            raise unknown("proxy", name, [*assemblies, *REGISTRY])
    return tuple(given)


@dataclass
class Probe:
    """One network at one seed; what several proxies read is computed once.

    model: on its device. inputs: (B, ...), Gaussian noise. rng: for the ±1 vectors. macs:
    multiply-accumulates per image, counted when not given. init: initialisation of the network,
    None to keep its weights whatever a proxy asks for. train: mode of AZ-NAS' own pass. images:
    source of real images (see `azlib.images`), or one (images, labels) pair per batch.
    """

    model: nn.Module
    inputs: Tensor
    rng: torch.Generator
    blocks: list[str] | None = None
    macs: float | None = None
    init: str | None = None
    train: bool = True
    images: str | Sequence[tuple[Tensor, Tensor]] = "patches"
    architecture: str = ""
    seed: int = 1
    _drawn: str | None = field(default=None, init=False)  # the weights the model holds now
    _kept: dict[Callable, Any] = field(default_factory=dict, init=False)

    def run(self, proxy: Proxy) -> float:
        """The value of one proxy, on the network as the proxy wants it."""
        self.prepare(proxy.init)
        return float(proxy.function(self))

    def prepare(self, init: str | None = None) -> None:
        """Puts the network at an initialisation (None: `self.init`), running statistics as new."""
        wanted = init or self.init
        if self.init is not None:
            if wanted != self._drawn:
                initialise(self.model, wanted, self.stream("weights"))
                self._drawn = wanted
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.reset_running_stats()
        self.model.train()

    def stream(self, name: str) -> torch.Generator:
        """The random stream of this network and seed that bears a name."""
        return generator(self.seed, self.architecture, name)

    def once(self, function: Callable[[Probe], Any]) -> Any:
        """function(self), computed for the first proxy that asks and kept for the others."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]

    @cached_property
    def trace(self) -> _blocks.Trace:
        self.model.train(self.train)
        return _blocks.trace(self.model, self.inputs, self.rng, self.blocks)

    @cached_property
    def cost(self) -> float:
        """Multiply-accumulates per image."""
        return float(self.macs) if self.macs is not None else count_macs(self.model, self.inputs)

    @cached_property
    def classes(self) -> int:
        """K, the number of logits. Raises `AzlibError` unless the network returns (B, K), K > 1."""
        self.model.eval()
        with torch.no_grad():
            logits = _blocks.forward(self.model, self.inputs[:2])
        self.model.train()
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise AzlibError(
                f"this proxy needs a classifier that returns (batch, classes) with at least two "
                f"classes, the network returns {shape}"
            )
        return logits.shape[1]

    def batch(self, number: int = 0) -> tuple[Tensor, Tensor]:
        """Batch `number` of real images, shaped like `inputs`, and their labels (B,), int64."""
        if isinstance(self.images, str):
            rng = self.stream(f"images{number}")
            x, y = _images.batch(self.images, tuple(self.inputs.shape), self.classes, rng)
        else:
            x, y = given_batch(self.images, number, self.classes)
        return _layout(x).to(self.inputs.device), y.to(self.inputs.device)


def _layout(images: Tensor) -> Tensor:
    """Channels last, in which convolutions run faster on a CPU."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def given_batch(images, number: int, classes: int) -> tuple[Tensor, Tensor]:
    """One of the user's own batches. Raises `AzlibError` for a missing one and missing labels."""
    pairs = list(images)
    if number >= len(pairs):
        raise AzlibError(
            f"this proxy reads {number + 1} batches of images: images holds {len(pairs)}"
        )
    pair = pairs[number]
    if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[1] is None:
        raise AzlibError("this proxy needs labels: give images=[(images, labels), ...]")
    x, y = pair
    if len(x) != len(y) or y.dtype != torch.int64 or y.min() < 0 or y.max() >= classes:
        raise AzlibError(f"labels must be one integer from 0 to {classes - 1} for each image")
    return x, y


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
    input: str = "gaussian",
    images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    architecture: str | None = None,
    device: str = "cpu",
) -> dict[str, float]:
    """Scores one network; the model passed in is not changed.

    input_shape: (B, C, H, W) of the input. seed: with `architecture` (default: the
    printed form of the model) fixes weights, input and ±1 vectors. proxies: "az" or names.
    blocks: names of the primary blocks (default: `model.primary_blocks`). init: one of
    `weights.INITIALISATIONS`, or None to keep the model's weights; it draws convolutions and linear
    layers anew, parameters of other kinds keep the model's values. train: batch statistics in
    normalisation layers for AZ-NAS' proxies (the paper's setting for CNNs; ViTs use False). macs:
    complexity if it is already known. input: "gaussian" (the paper's), or a source of real images
    to feed to the proxies that read noise. images: for proxies that read real images by
    definition, a source named in `azlib.images` or your own batches [(images, labels), ...].

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
        input=input,
        images=images,
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
    input: str = "gaussian",
    images: str | Sequence[tuple[Tensor, Tensor]] = "patches",
    device: str = "cpu",
    seconds: dict[str, float] | None = None,
) -> dict[str, float]:
    """`score` without the copy, for a network built for this purpose: its weights are replaced.

    seconds: is given the processor time of each proxy.
    """
    chosen = names(proxies)
    check_settings(init, device, input_shape)
    model.to(device)
    rng = generator(seed, architecture, "input")
    if input == "gaussian":
        inputs = gaussian(tuple(input_shape), rng)
    else:
        inputs, _ = _images.batch(input, tuple(input_shape), 1000, rng)  # of any class
    probe = Probe(
        model,
        _layout(inputs).to(device),
        generator(seed, architecture, "signs"),
        blocks,
        macs,
        init,
        train,
        images,
        architecture,
        seed,
    )
    scores = {}
    with torch.random.fork_rng():
        for name in chosen:
            start = time.process_time()
            # What the model itself draws, dropout for one, is seeded too.
            torch.manual_seed(probe.stream("forward").initial_seed())
            scores[name] = probe.run(REGISTRY[name])
            if seconds is not None:
                seconds[name] = time.process_time() - start
    return scores


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
    """Ranks networks against each other: their scores, the ranks, and their sum by Eq. 12.

    models: at least two networks (an AZ-NAS score means something only among others); settings
    are those of `score`; `proxies="az-graph"` ranks by that assembly, any name of
    `aggregate.ASSEMBLIES` by its own. Returns a DataFrame in the order of `models`, with one column
    per proxy, `rank_<proxy>` (1 = lowest), `az_nas` (`score` for other proxies than those of
    AZ-NAS; higher is better) and `place` (1 = best).
    """
    models = list(models)
    if len(models) < 2:
        raise AzlibError(f"rank() compares networks: got {len(models)}, expected at least 2")
    scores = pd.DataFrame([score(model, input_shape, **settings) for model in models])
    ranks = scores.apply(rank_values).add_prefix("rank_")
    total = aggregate(scores, method=method, proxies=members(settings.get("proxies", "az")))
    place = total.rank(ascending=False, method="min").astype(int)
    label = "az_nas" if set(scores) == set(AZ_NAS) else "score"
    return scores.join(ranks).assign(**{label: total, "place": place})


from azlib.proxies import (  # noqa: E402, F401  (each registers its proxies)
    az,
    gradsign,
    graph,
    kernels,
    saliency,
    vkdnw,
    zen,
    zico,
)
