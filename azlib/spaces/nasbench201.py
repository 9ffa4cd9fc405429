"""The NAS-Bench-201 search space: 15,625 cells, their strings, networks and costs.

A cell has four nodes; node j is the sum over i < j of an operation applied to node i. An
architecture is written as NAS-Bench-201 writes it, one group per target node::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

Source of the definitions: Dong & Yang, "NAS-Bench-201", ICLR 2020 (arXiv 2001.00326).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor, nn

from azlib.errors import AzlibError, unknown

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in string order
CHANNELS = (16, 32, 64)
CELLS_PER_STAGE = 5
DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16-120": (120, 16)}
"""Number of classes and resolution in pixels of each data set of the benchmark."""

_CONVS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_PATTERN = re.compile(r"\|{0}~0\|\+\|{0}~0\|{0}~1\|\+\|{0}~0\|{0}~1\|{0}~2\|".format(r"([^|~+]+)"))


# --- strings -------------------------------------------------------------------------------


def parse(arch: str) -> tuple[str, ...]:
    """The six operations of an architecture string, in the order of `EDGES`.

    Raises `AzlibError` for a malformed string or an unknown operation.
    """
    match = _PATTERN.fullmatch(arch) if isinstance(arch, str) else None
    if match is None:
        raise AzlibError(f"not a NAS-Bench-201 architecture: {arch!r}; expected the form {_FORM}")
    for operation in match.groups():
        if operation not in OPERATIONS:
            raise unknown("operation", operation, OPERATIONS)
    return match.groups()


def form(operations: tuple[str, ...]) -> str:
    """The architecture string of six operations given in the order of `EDGES`."""
    if len(operations) != len(EDGES):
        raise AzlibError(f"a cell has {len(EDGES)} operations, got {len(operations)}")
    a, b, c, d, e, f = operations
    arch = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
    parse(arch)
    return arch


@cache
def enumerate_all() -> tuple[str, ...]:
    """All 15,625 architecture strings; edge 0→1 varies slowest, `OPERATIONS` gives the digits."""
    return tuple(form(operations) for operations in product(OPERATIONS, repeat=len(EDGES)))


# --- which cells are the same network ------------------------------------------------------


def live_edges(arch: str) -> tuple[bool, ...]:
    """For each edge, whether it lies on a path from the input to the output of the cell."""
    operations = parse(arch)
    reached, useful = {0}, {3}
    for (i, j), operation in zip(EDGES, operations, strict=True):  # sources precede targets
        if operation != "none" and i in reached:
            reached.add(j)
    for (i, j), operation in reversed(tuple(zip(EDGES, operations, strict=True))):
        if operation != "none" and j in useful:
            useful.add(i)
    return tuple(
        operation != "none" and i in reached and j in useful
        for (i, j), operation in zip(EDGES, operations, strict=True)
    )


def without_dead_edges(arch: str) -> str:
    """The same architecture with "none" on every edge that cannot reach the output."""
    return form(
        tuple(
            operation if live else "none"
            for operation, live in zip(parse(arch), live_edges(arch), strict=True)
        )
    )


def _expression(operations: tuple[str, ...], names: dict[int, int]) -> str:
    """What a cell computes, as a sum of terms; `names` numbers the convolutions by edge.

    Skip connections disappear into the sums they feed. A convolution keeps its number, because
    one convolution used twice is not two convolutions with weights of their own.
    """
    nodes: dict[int, tuple[str, ...]] = {0: ("x",)}
    for j in (1, 2, 3):
        terms: list[str] = []
        for edge, ((i, target), operation) in enumerate(zip(EDGES, operations, strict=True)):
            if target != j or operation == "none" or not nodes[i]:
                continue
            if operation == "skip_connect":
                terms += nodes[i]
            else:
                number = f"#{names[edge]}" if operation in _CONVS else ""
                terms.append(f"{operation}{number}({'+'.join(nodes[i])})")
        nodes[j] = tuple(sorted(terms))
    return "+".join(nodes[3])


def _signature(arch: str) -> str:
    """An expression that two cells share exactly when they are the same network."""
    operations = parse(without_dead_edges(arch))
    edges_of = [
        [edge for edge, operation in enumerate(operations) if operation == conv] for conv in _CONVS
    ]
    numberings = product(*(permutations(range(len(edges))) for edges in edges_of))
    return min(
        _expression(
            operations,
            {
                edge: number
                for edges, numbers in zip(edges_of, numbering, strict=True)
                for edge, number in zip(edges, numbers, strict=True)
            },
        )
        for numbering in numberings
    )


@cache
def _canonical_table() -> dict[str, str]:
    first: dict[str, str] = {}
    return {arch: first.setdefault(_signature(arch), arch) for arch in enumerate_all()}


def canonical(arch: str) -> str:
    """The first architecture, in enumeration order, that is the same network as this one.

    Two cells are the same network when, dead edges removed and skip connections contracted,
    they compute the same function of the input for some matching of their convolutions'
    weights. There are 5,260 distinct networks among the 15,625 cells.
    """
    parse(arch)
    return _canonical_table()[arch]


# --- costs ---------------------------------------------------------------------------------


def count(
    arch: str, num_classes: int = 10, resolution: int = 32, live: bool = False
) -> dict[str, float]:
    """Multiply-accumulates per image and parameters of the network, as the benchmark counts them.

    MACs of convolutions and the classifier (its bias adds counted too; normalisation, pooling
    and additions not). `live=True` leaves out convolutions on dead edges.
    """
    operations = parse(without_dead_edges(arch) if live else arch)
    kernels = [_CONVS[operation] for operation in operations if operation in _CONVS]
    weights_per_channel_pair = sum(kernel**2 for kernel in kernels)
    first = CHANNELS[0]
    macs = 27 * first * resolution**2
    params = 27 * first + 2 * first
    size = resolution
    for stage, channels in enumerate(CHANNELS):
        if stage:
            before = channels // 2
            size = (size + 1) // 2
            block = 9 * before * channels + 9 * channels**2 + before * channels
            macs += block * size**2
            params += block + 4 * channels
        cell = weights_per_channel_pair * channels**2
        macs += CELLS_PER_STAGE * cell * size**2
        params += CELLS_PER_STAGE * (cell + 2 * channels * len(kernels))
    last = CHANNELS[-1]
    head = (last + 1) * num_classes
    return {"macs": float(macs + head), "params": float(params + 2 * last + head)}


# --- networks ------------------------------------------------------------------------------


class Zero(nn.Module):
    """The operation "none": all zeros, still part of the autograd graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.0


class ReLUConvBN(nn.Module):
    """ReLU → convolution without bias → batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(self.relu(x)))


def _operation(name: str, channels: int) -> nn.Module:
    if name in _CONVS:
        return ReLUConvBN(channels, channels, _CONVS[name])
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity() if name == "skip_connect" else Zero()


class Cell(nn.Module):
    """One cell, edge by edge, exactly as the benchmark runs it."""

    def __init__(self, operations: tuple[str, ...], channels: int):
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{i}to{j}": _operation(name, channels)
                for (i, j), name in zip(EDGES, operations, strict=True)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for j in (1, 2, 3):
            nodes.append(sum(self.edges[f"{i}to{j}"](nodes[i]) for i in range(j)))
        return nodes[3]


class LeanCell(nn.Module):
    """The same function as `Cell`, at initialisation, for less work.

    Dead edges are not built (what reaches them is zero until a normalisation layer learns a
    shift), edges that leave one node share its ReLU and its pooled value, and pooling is a
    depth-wise convolution, which runs several times faster on a CPU.
    """

    def __init__(self, operations: tuple[str, ...], channels: int):
        super().__init__()
        live = live_edges(form(operations))
        self.operations = [
            (i, j, name) for (i, j), name, kept in zip(EDGES, operations, live, strict=True) if kept
        ]
        self.edges = nn.ModuleDict(
            {f"{i}to{j}": _operation(name, channels) for i, j, name in self.operations}
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes: dict[int, Tensor] = {0: x}
        shared: dict[tuple[int, str], Tensor] = {}

        def once(i: int, name: str, function) -> Tensor:
            if (i, name) not in shared:
                shared[i, name] = function(nodes[i])
            return shared[i, name]

        for i, j, name in self.operations:
            if name in _CONVS:
                edge = self.edges[f"{i}to{j}"]
                y = edge.bn(edge.conv(once(i, "relu", torch.relu)))
            else:
                y = once(i, name, _pool) if name == "avg_pool_3x3" else nodes[i]
            nodes[j] = nodes[j] + y if j in nodes else y
        return nodes[3] if 3 in nodes else x * 0.0


def _pool(x: Tensor) -> Tensor:
    """3×3 average pooling, stride 1, padding left out of the mean, by box sums."""
    channels, height, width = x.shape[1:]
    box = torch.ones(channels, 1, 3, 3, dtype=x.dtype, device=x.device)
    sums = nn.functional.conv2d(x, box, padding=1, groups=channels)
    return sums * _inverse_counts(height, width, x.dtype, x.device)


@cache
def _inverse_counts(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 / number of pixels under a 3×3 window at each position."""

    def neighbours(n: int) -> Tensor:
        at = torch.arange(n)
        return (at > 0).int() + 1 + (at < n - 1).int()

    counts = neighbours(height)[:, None] * neighbours(width)[None, :]
    return (1.0 / counts.double()).to(dtype).to(device)


class ReductionBlock(nn.Module):
    """Halves the resolution and doubles the channels between two stages."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.a = ReLUConvBN(inputs, outputs, 3, stride=2)
        self.b = ReLUConvBN(outputs, outputs, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.b(self.a(x))


class Network(nn.Module):
    """Stem, three stages of five cells with two reduction blocks between, classifier.

    Input: images (B, 3, H, W), float32. Output: logits (B, num_classes). `primary_blocks` names
    the 18 modules whose outputs AZ-NAS reads: the stem and the 17 cells and reduction blocks.
    """

    def __init__(self, arch: str, num_classes: int = 10, lean: bool = False):
        super().__init__()
        operations = parse(arch)
        self.lean = lean
        cell = LeanCell if lean else Cell
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS[0])
        )
        blocks: list[nn.Module] = []
        for stage, channels in enumerate(CHANNELS):
            if stage:
                blocks.append(ReductionBlock(channels // 2, channels))
            blocks += [cell(operations, channels) for _ in range(CELLS_PER_STAGE)]
        self.cells = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.BatchNorm2d(CHANNELS[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(CHANNELS[-1], num_classes)
        self.primary_blocks = ["stem", *(f"cells.{i}" for i in range(len(blocks)))]
        if lean:
            self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        if self.lean:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.classifier(self.head(self.cells(self.stem(x))))


# --- the search space ----------------------------------------------------------------------


@dataclass(frozen=True)
class NASBench201:
    """NAS-Bench-201 as a search space for sweeps and searches.

    `dataset` sets the number of classes and, unless `resolution` is given, the resolution in
    pixels (see `DATASETS`); `lean=False` builds the benchmark's own network, dead edges included.
    """

    dataset: str = "cifar10"
    resolution: int | None = None
    lean: bool = True
    name: str = "nasbench201"

    def __post_init__(self):
        if self.dataset not in DATASETS:
            raise unknown("data set", self.dataset, DATASETS)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        size = self.resolution or DATASETS[self.dataset][1]
        return (64, 3, size, size)

    def __iter__(self) -> Iterator[str]:
        return iter(enumerate_all())

    def __len__(self) -> int:
        return len(OPERATIONS) ** len(EDGES)

    def sample(self, rng: np.random.Generator) -> str:
        """One architecture, uniform over all 15,625."""
        return form(tuple(OPERATIONS[k] for k in rng.integers(len(OPERATIONS), size=len(EDGES))))

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """Changes the operation of a random edge to another one, `times` times."""
        operations = list(parse(arch))
        for _ in range(times):
            edge = rng.integers(len(EDGES))
            others = [operation for operation in OPERATIONS if operation != operations[edge]]
            operations[edge] = others[rng.integers(len(others))]
        return form(tuple(operations))

    def legal(self, arch: str) -> bool:
        return arch in _canonical_table()

    def canonical(self, arch: str) -> str:
        return canonical(arch)

    def build(self, arch: str) -> Network:
        return Network(arch, DATASETS[self.dataset][0], self.lean)

    def count(self, arch: str) -> dict[str, float]:
        return count(arch, DATASETS[self.dataset][0], self.input_shape[-1])
