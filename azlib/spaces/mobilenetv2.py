"""The MobileNetV2 space of the ImageNet search (Table 2): text, mutation, networks, counts.

An architecture is a line of super-blocks, as in `INITIAL`: the stem `SuperConvK3BNRELU(3,...)`,
any number of `SuperResIDWE{expansion}K{kernel}(in,out,stride,bottleneck,layers)`, the last
convolution `SuperConvK1BNRELU`; then an implicit head of global average pool and linear layer.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from azlib.errors import AzlibError, unknown

INITIAL = (
    "SuperConvK3BNRELU(3,8,2,1)"
    "SuperResIDWE6K3(8,32,2,8,1)"
    "SuperResIDWE6K3(32,48,2,32,1)"
    "SuperResIDWE6K3(48,96,2,48,1)"
    "SuperResIDWE6K3(96,128,2,96,1)"
    "SuperConvK1BNRELU(128,2048,1,1)"
)
# Mutation removes no block, changes no stride and never touches the last width.
SMALLEST = (
    "SuperConvK3BNRELU(3,8,2,1)"
    + 4 * "SuperResIDWE1K3(8,8,2,8,1)"
    + "SuperConvK1BNRELU(8,2048,1,1)"
)
MAX_LAYERS = {450e6: 14, 600e6: 14, 1000e6: 16}  # the published limit at each published budget

EXPANSIONS, KERNELS = (1, 2, 4, 6), (3, 5, 7)
TYPES = [(expansion, kernel) for kernel in KERNELS for expansion in EXPANSIONS]
# The published candidate list holds each type this often: small ones are favoured.
WEIGHTS = (12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
TYPE_LISTS = {
    "published": [t for t, weight in zip(TYPES, WEIGHTS, strict=True) for _ in range(weight)],
    "uniform": TYPES,
}
FACTORS = (2.5, 2, 1.5, 1.25, 1, 1 / 1.25, 1 / 1.5, 1 / 2, 1 / 2.5)

# Before selection sets in, Algorithm 1 has drawn 1023 candidates from uniform parents: they sit
# about ln(1023) = 7 mutations from the initial structure. 1 to 14 steps have that mean.
SAMPLE_STEPS = 14
TRIES = 10_000


class Half(NamedTuple):
    """One inverted bottleneck: `inputs` -> `width` -> `out` channels, then add and ReLU."""

    inputs: int
    width: int
    out: int
    kernel: int
    stride: int
    projected: bool


class Convolution(NamedTuple):
    """Convolution, batch norm, ReLU: the stem (kernel 3) or the last convolution (kernel 1)."""

    kernel: int
    inputs: int
    out: int
    stride: int

    layers = 1

    def __str__(self) -> str:
        return f"SuperConvK{self.kernel}BNRELU({self.inputs},{self.out},{self.stride},1)"


class Residual(NamedTuple):
    """`layers` pairs of inverted bottlenecks, to `bottleneck` and then to `out` channels."""

    expansion: int
    kernel: int
    inputs: int
    out: int
    stride: int
    bottleneck: int
    layers: int

    def __str__(self) -> str:
        numbers = f"{self.inputs},{self.out},{self.stride},{self.bottleneck},{self.layers}"
        return f"SuperResIDWE{self.expansion}K{self.kernel}({numbers})"

    def halves(self) -> Iterator[Half]:
        """The inverted bottlenecks in order; the first alone strides, and always projects."""
        channels = [self.inputs, *(self.bottleneck, self.out) * self.layers]
        for i, (inputs, out) in enumerate(pairwise(channels)):
            stride, projected = (self.stride, True) if i == 0 else (1, inputs != out)
            yield Half(inputs, out * self.expansion, out, self.kernel, stride, projected)


Block = Convolution | Residual

_NAME = re.compile(r"SuperConvK(?P<conv>[0-9]+)BNRELU|SuperResIDWE(?P<e>[0-9]+)K(?P<k>[0-9]+)")
_ARGUMENTS = re.compile(r"\((?:[^(),|]*\|)?(?P<numbers>[^()|]*)\)")
_NUMBER = re.compile(r" *([1-9][0-9]{0,5}) *")


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of a structure text; white space around blocks and instance names are dropped.

    Raises AzlibError with the index of the first character that cannot be right, and why.
    """
    if not isinstance(text, str):
        raise AzlibError(f"a MobileNetV2 structure is a text such as {INITIAL!r}, got {text!r}.")
    blocks: list[Block] = []
    end = _skip_space(text, 0)
    while not _ended(blocks):
        block, end = _parse_block(text, end, blocks)
        blocks.append(block)
        end = _skip_space(text, end)
    if end < len(text):
        raise _malformed(text, end, "the end: SuperConvK1BNRELU is the last block")
    return tuple(blocks)


def _ended(blocks: Sequence[Block]) -> bool:
    return bool(blocks) and isinstance(blocks[-1], Convolution) and blocks[-1].kernel == 1


def _parse_block(text: str, start: int, before: Sequence[Block]) -> tuple[Block, int]:
    """The block at `start` and the index after it, checked against the blocks before it."""
    name = _NAME.match(text, start)
    if not before and (not name or name["conv"] != "3"):
        raise _malformed(text, start, "the stem SuperConvK3BNRELU(3,out,stride,1)")
    if not name or (before and name["conv"] not in (None, "1")):
        raise _malformed(text, start, "SuperResIDWE{e}K{k}(...) or SuperConvK1BNRELU(...)")
    residual = name["conv"] is None
    if residual and name["e"] not in map(str, EXPANSIONS):
        raise _malformed(text, name.start("e"), f"an expansion in {EXPANSIONS}")
    if residual and name["k"] not in map(str, KERNELS):
        raise _malformed(text, name.start("k"), f"a kernel in {KERNELS}")

    fields = "in,out,stride,bottleneck,layers" if residual else "in,out,stride,1"
    arguments = _ARGUMENTS.match(text, name.end())
    if not arguments:
        raise _malformed(text, name.end(), f"the numbers ({fields})")
    values, where = _parse_numbers(text, *arguments.span("numbers"), fields)
    inputs, out, stride = values[:3]
    expected_inputs = before[-1].out if before else 3
    if inputs != expected_inputs:
        came_from = "the block before gives" if before else "an image has"
        raise _malformed(text, where[0], f"in = {expected_inputs}, the channels that {came_from}")
    if stride > 2:
        raise _malformed(text, where[2], "stride 1 or 2")
    # The space's own widths; at multiples of 8 its rounding of expanded widths changes nothing.
    for i in (1, 3) if residual else (1,):
        if values[i] % 8:
            raise _malformed(text, where[i], "a multiple of 8 channels")
    if residual:
        return Residual(int(name["e"]), int(name["k"]), *values), arguments.end()
    if values[3] != 1:
        raise _malformed(text, where[3], "a count of 1: convolutions do not repeat in this space")
    return Convolution(int(name["conv"]), inputs, out, stride), arguments.end()


def _parse_numbers(text: str, start: int, end: int, fields: str) -> tuple[list[int], list[int]]:
    """The comma-separated positive integers of text[start:end], and where each starts."""
    values, where = [], []
    for part in text[start:end].split(","):
        number = _NUMBER.fullmatch(part)
        if not number:
            raise _malformed(text, start, "a positive integer below 1000000")
        values.append(int(number[1]))
        where.append(start)
        start += len(part) + 1
    if len(values) != fields.count(",") + 1:
        raise _malformed(text, where[0], f"{fields.count(',') + 1} numbers ({fields})")
    return values, where


def _skip_space(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip())


def _malformed(text: str, index: int, expected: str) -> AzlibError:
    found = repr(text[index : index + 24]) if index < len(text) else "the end of the text"
    return AzlibError(
        f"malformed MobileNetV2 structure at index {index}: found {found}, expected {expected}. "
        f"MobileNetV2.initial shows the form."
    )


def format(blocks: Iterable[Block]) -> str:
    """The structure text of blocks, without instance names: `parse` undoes it."""
    return "".join(map(str, blocks))


def split(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Cut every residual block of 6 or more layers into blocks of 3 and the rest (at most 5).

    The second part starts with a projection and is one more block to mutate: not neutral.
    """
    result: list[Block] = []
    for block in blocks:
        while isinstance(block, Residual) and block.layers >= 6:
            result.append(block._replace(layers=3))
            block = block._replace(inputs=block.out, stride=1, layers=block.layers - 3)
        result.append(block)
    return tuple(result)


def channel_candidates(channels: int) -> list[int]:
    """The widths, ascending, that may replace a width: 0.4 to 2.5 times it, in multiples of 8."""
    return sorted({max(8, round(channels * factor / 8) * 8) for factor in FACTORS})


def layer_candidates(layers: int) -> list[int]:
    """The layer counts, at least 1, within 2 of a layer count."""
    return list(range(max(1, layers - 2), layers + 3))


def _draw(candidates: Sequence, rng: np.random.Generator):
    return candidates[rng.integers(len(candidates))]


def _mutate_block(block: Block, types: Sequence[tuple[int, int]], rng: np.random.Generator):
    """One draw from the block's candidates, itself among them; the last convolution stays."""
    if isinstance(block, Residual):
        expansion, kernel = _draw(types, rng)
        return block._replace(
            expansion=expansion,
            kernel=kernel,
            out=_draw(channel_candidates(block.out), rng),
            layers=_draw(layer_candidates(block.layers), rng),
            bottleneck=_draw(channel_candidates(block.bottleneck), rng),
        )
    if block.kernel == 1:
        return block
    return block._replace(out=_draw(channel_candidates(block.out), rng))


@dataclass(frozen=True)
class MobileNetV2:
    """The space under its budgets. Architectures are structure texts; see `parse`.

    budget: FLOPs by the paper's counting without SE at `resolution`; equality is within it.
    max_layers: the stem, the last convolution and every layer of a residual block count one each;
        None is the published limit (14, 14, 16) at the published budgets (450e6, 600e6, 1000e6)
        and no limit at any other.
    types: how mutation draws expansion and kernel: "published" (weights 12, 12, 11, ..., 2 of 89,
        which favour small ones) or "uniform".
    se: build and count networks with squeeze-and-excitation, as the paper trains but never
        searches.
    resolution: pixels a side at which costs are counted. The paper counts at 224; scoring on
        smaller inputs needs no smaller resolution here, as networks take any input size.
    taps: what the proxies read: "all" (the paper: every inverted bottleneck) or "superblocks" (the
        last one of each super-block); stem and last convolution either way.
    presets: batches and pixels to score at, see notebook 14.

    Raises AzlibError for a budget or layer limit below the smallest network.
    """

    budget: float | None = None
    max_layers: int | None = None
    types: str = "published"
    se: bool = False
    num_classes: int = 1000
    resolution: int = 224
    taps: str = "all"

    initial: ClassVar[str] = INITIAL
    presets: ClassVar[Mapping[str, tuple[int, int]]] = {"paper": (64, 224), "cpu": (16, 112)}

    def __post_init__(self):
        for kind, given, known in (
            ("type distribution", self.types, TYPE_LISTS),
            ("choice of taps", self.taps, ("all", "superblocks")),
        ):
            if given not in known:
                raise unknown(kind, given, known)
        for field in ("num_classes", "resolution"):
            _check_positive(field, getattr(self, field))
        if self.max_layers is not None:
            _check_positive("max_layers", self.max_layers)
        if self.layer_limit < (fewest := _layers(parse(SMALLEST))):
            raise AzlibError(
                f"max_layers={self.max_layers} is below the smallest network's {fewest}: "
                f"give {fewest} or more (the stem and the last convolution count)."
            )
        smallest = self.count(SMALLEST, se=False)["macs"]
        if self.budget is not None and not (
            isinstance(self.budget, Real) and self.budget >= smallest
        ):
            raise AzlibError(
                f"budget={self.budget!r} is below the smallest network's {smallest:,} FLOPs: "
                f"give at least that, in FLOPs (the paper's smallest budget is 450e6)."
            )

    @property
    def name(self) -> str:
        return "mobilenetv2" if self.taps == "all" else f"mobilenetv2-{self.taps}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W) of the paper's scoring batch."""
        return (64, 3, self.resolution, self.resolution)

    @property
    def layer_limit(self) -> float:
        """The most layers that are legal; infinite where there is no limit."""
        if self.max_layers is not None:
            return self.max_layers
        return MAX_LAYERS.get(self.budget, math.inf)

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """Redraw up to `times` random blocks, then rejoin widths and split (Algorithm 1).

        As published, a block drawn twice is redrawn once, the last convolution never changes,
        and the outcome may equal `arch` or be illegal: a search rejects with `legal`.
        """
        _check_positive("times", times)
        blocks = list(parse(arch))
        for i in {int(rng.integers(len(blocks))) for _ in range(times)}:
            blocks[i] = _mutate_block(blocks[i], TYPE_LISTS[self.types], rng)
        for i, (before, block) in enumerate(pairwise(blocks), start=1):
            blocks[i] = block._replace(inputs=before.out)
        return format(split(blocks))

    def legal(self, arch: str) -> bool:
        """Whether the architecture is within the layer limit and the FLOPs budget."""
        if _layers(parse(arch)) > self.layer_limit:
            return False
        return self.budget is None or self.count(arch, se=False)["macs"] <= self.budget

    def sample(self, rng: np.random.Generator) -> str:
        """A random legal architecture: a walk of mutations from the initial structure.

        The walk has 1 to 14 steps, uniformly, of two mutations each; an illegal step is redrawn.
        Architectures are therefore spread like Algorithm 1's population before selection, not
        uniformly over the space; without a budget a few exceed 10 GFLOPs. Raises AzlibError when
        10,000 redraws of a step are illegal.
        """
        arch = self.initial
        for _ in range(rng.integers(1, SAMPLE_STEPS + 1)):
            tries = (self.mutate(arch, rng, times=2) for _ in range(TRIES))
            child = next(filter(self.legal, tries), None)
            if child is None:
                raise AzlibError(
                    f"none of {TRIES:,} mutations of {arch!r} is legal with budget={self.budget} "
                    f"and max_layers={self.layer_limit}: raise one of them."
                )
            arch = child
        return arch

    def count(
        self,
        arch: str,
        counting: str = "paper",
        se: bool | None = None,
        resolution: int | None = None,
    ) -> dict[str, int]:
        """Cost in absolute numbers; `se` and `resolution` default to the space's own.

        "paper": `macs`, the published FLOPs (multiply-accumulates plus batch-norm elements), and
            `params`, with the published quirks: sizes after a stride are rounded down, a strided
            projection is divided by the stride twice, a batch norm has one parameter a channel
            and that of a projection none, and the classifier has one bias.
        "true": `macs` of convolutions and linear layers, `bn`, the elements that batch norms
            read, and `params`, as in the network that `build` returns.
        """
        if counting not in COUNTINGS:
            raise unknown("counting", counting, COUNTINGS)
        resolution = self.resolution if resolution is None else resolution
        _check_positive("resolution", resolution)
        se = self.se if se is None else se
        return COUNTINGS[counting](parse(arch), se, resolution, self.num_classes)

    def layers(self, arch: str) -> list[tuple[int, str, str]]:
        """(output channels, kernel, expansion) of every inverted bottleneck, as texts to draw.

        An arrow behind the expansion marks a stride of two.
        """
        return [
            (
                half.out,
                f"{half.kernel} × {half.kernel}",
                f"{block.expansion}{'↓' * (half.stride - 1)}",
            )
            for block in parse(arch)[1:-1]
            for half in block.halves()
        ]

    def build(self, arch: str) -> nn.Module:
        """The network: (B, 3, H, W) -> (B, num_classes) for any H and W, initialised as torch does.

        `primary_blocks` names the submodules whose outputs the proxies read: the stem, the inverted
        bottlenecks that `taps` says, after their add and ReLU, and the last convolution.
        """
        stem, *residuals, last = parse(arch)
        blocks = [[InvertedBottleneck(h, self.se) for h in block.halves()] for block in residuals]
        network = nn.Sequential(
            OrderedDict(
                stem=_build_convolution(stem),
                blocks=nn.Sequential(*(nn.Sequential(*halves) for halves in blocks)),
                last=_build_convolution(last),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                head=nn.Linear(last.out, self.num_classes),
            )
        )
        names = [[f"blocks.{i}.{j}" for j in range(len(halves))] for i, halves in enumerate(blocks)]
        first = 0 if self.taps == "all" else -1
        network.primary_blocks = ["stem", *(n for group in names for n in group[first:]), "last"]
        return network


def _check_positive(field: str, value: object) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise AzlibError(f"{field}={value!r} is not a positive whole number: give one.")


def _layers(blocks: Iterable[Block]) -> int:
    return sum(block.layers for block in blocks)


def _count_paper(
    blocks: Sequence[Block], se: bool, resolution: int, num_classes: int
) -> dict[str, int]:
    """Published FLOPs and size: exactly the published rule, whose FLOPs the budgets mean."""
    macs = params = 0
    r = resolution
    for block in blocks:
        if isinstance(block, Convolution):
            weights = block.inputs * block.out * block.kernel**2
            macs += weights * r**2 // block.stride**2
            r //= block.stride
            macs += block.out * r**2
            params += weights + block.out
            continue
        for inputs, width, out, kernel, stride, projected in block.halves():
            macs += (inputs + 1) * width * r**2 + width * kernel**2 * r**2 // stride**2
            r //= stride
            macs += width * r**2 + (width + 1) * out * r**2
            params += width * (inputs + kernel**2 + out) + 2 * width + out
            if projected:
                macs += (inputs + 1) * out * r**2 // stride**2
                params += (inputs + 1) * out
            if se:
                squeezed = width // 4
                macs += 2 * width * squeezed + width + width * r**2
                params += 2 * width * squeezed + 2 * (squeezed + width)
    last = blocks[-1].out
    return {"macs": macs + last * num_classes, "params": params + last * num_classes + 1}


def _count_true(
    blocks: Sequence[Block], se: bool, resolution: int, num_classes: int
) -> dict[str, int]:
    """Multiply-accumulates, batch-norm elements and parameters of the network as built."""
    macs = bn = params = 0
    r = resolution
    for block in blocks:
        if isinstance(block, Convolution):
            weights = block.inputs * block.out * block.kernel**2
            r = math.ceil(r / block.stride)
            macs += weights * r**2
            bn += block.out * r**2
            params += weights + 2 * block.out
            continue
        for inputs, width, out, kernel, stride, projected in block.halves():
            macs += inputs * width * r**2
            bn += width * r**2
            r = math.ceil(r / stride)
            macs += width * (kernel**2 + out) * r**2
            bn += (width + out) * r**2
            params += width * (inputs + kernel**2 + out) + 2 * (2 * width + out)
            if projected:
                macs += inputs * out * r**2
                bn += out * r**2
                params += (inputs + 3) * out
            if se:
                squeezed = width // 4
                macs += 2 * width * squeezed
                bn += squeezed + width
                params += 2 * width * squeezed + 2 * (squeezed + width)
    last = blocks[-1].out
    head = last * num_classes
    return {"macs": macs + head, "bn": bn, "params": params + head + num_classes}


COUNTINGS = {"paper": _count_paper, "true": _count_true}


def _conv_bn(
    inputs: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(inputs, out, kernel, stride, padding, groups=groups, bias=bias)
    return [conv, nn.BatchNorm2d(out, eps=1e-3)]


def _build_convolution(block: Convolution) -> nn.Sequential:
    layers = _conv_bn(block.inputs, block.out, block.kernel, block.stride)
    return nn.Sequential(*layers, nn.ReLU())


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate in (0, 1) computed from the channels' means."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = channels // 4
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *_conv_bn(channels, squeezed),
            nn.ReLU(),
            *_conv_bn(squeezed, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


class InvertedBottleneck(nn.Module):
    """Widen, depthwise convolution, [SE], narrow; add the shortcut; ReLU.

    The stride is the depthwise convolution's. A projected shortcut is a strided 1x1 convolution
    with bias and a batch norm. (B, inputs, H, W) -> (B, out, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(self, half: Half, se: bool):
        super().__init__()
        inputs, width, out, kernel, stride, projected = half
        self.main = nn.Sequential(
            *_conv_bn(inputs, width),
            nn.ReLU(),
            *_conv_bn(width, width, kernel, stride, groups=width),
            nn.ReLU(),
            *([SqueezeExcitation(width)] if se else []),
            *_conv_bn(width, out),
        )
        self.shortcut = (
            nn.Sequential(*_conv_bn(inputs, out, stride=stride, bias=True))
            if projected
            else nn.Identity()
        )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.main(x) + self.shortcut(x))
