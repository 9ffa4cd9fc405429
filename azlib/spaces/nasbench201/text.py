"""The cells of NAS-Bench-201 as strings, and which of them are the same network.

A cell has four nodes; node j is the sum over i < j of an operation applied to node i. An
architecture is written as NAS-Bench-201 writes it, one group per target node::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

Source of the definitions: Dong & Yang, "NAS-Bench-201", ICLR 2020 (arXiv 2001.00326).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import permutations, product

from azlib.errors import AzlibError, unknown
from azlib.spaces.limits import abridged

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in string order
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""The operations that have weights, with the sides of their kernels in pixels."""
CHANNELS = (16, 32, 64)  # of the three stages
CELLS_PER_STAGE = 5
DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16-120": (120, 16)}
"""Number of classes and resolution in pixels of each data set of the benchmark."""

_LONGEST = 1_000  # characters, so that refusing a text is quick and the message short
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_PATTERN = re.compile(r"\|{0}~0\|\+\|{0}~0\|{0}~1\|\+\|{0}~0\|{0}~1\|{0}~2\|".format(r"([^|~+]+)"))


def parse(arch: str) -> tuple[str, ...]:
    """The six operations of an architecture string, in the order of `EDGES`.

    Raises `AzlibError` for a malformed string or an unknown operation.
    """
    readable = isinstance(arch, str) and len(arch) <= _LONGEST
    match = _PATTERN.fullmatch(arch) if readable else None
    if match is None:
        raise AzlibError(
            f"not a NAS-Bench-201 architecture: {abridged(arch)}; expected the form {_FORM}"
        )
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
    """All 15,625 architecture strings, counted up like numbers of six digits in base five.

    The operations are the digits, in the order of `OPERATIONS`; edge 0→1 is the first digit, which
    changes most slowly.
    """
    return tuple(form(operations) for operations in product(OPERATIONS, repeat=len(EDGES)))


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


def _expression(operations: tuple[str, ...], numbers: dict[int, int]) -> str:
    """What a cell computes, written as a sum of terms.

    Skip connections disappear into the sums that they feed. Each convolution carries a number,
    because one convolution that is used twice is not two convolutions with weights of their own.

    Args:
        operations: the six operations of the cell, none of them on a dead edge.
        numbers: the number of the convolution on each edge that has one.
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
                number = f"#{numbers[edge]}" if operation in KERNELS else ""
                terms.append(f"{operation}{number}({'+'.join(nodes[i])})")
        nodes[j] = tuple(sorted(terms))
    return "+".join(nodes[3])


def _signature(arch: str) -> str:
    """An expression that two cells share exactly when they are the same network.

    It is the alphabetically first of the expressions under all numberings of the convolutions.
    """
    operations = parse(without_dead_edges(arch))
    edges_of = [
        [edge for edge, operation in enumerate(operations) if operation == conv] for conv in KERNELS
    ]
    numberings = product(*(permutations(range(len(edges))) for edges in edges_of))
    return min(
        _expression(
            operations,
            {
                edge: number
                for edges, order in zip(edges_of, numbering, strict=True)
                for edge, number in zip(edges, order, strict=True)
            },
        )
        for numbering in numberings
    )


@cache
def _canonical_table() -> dict[str, str]:
    """For every architecture, the first one in enumeration order that is the same network."""
    first: dict[str, str] = {}
    return {arch: first.setdefault(_signature(arch), arch) for arch in enumerate_all()}


def canonical(arch: str) -> str:
    """The first architecture, in enumeration order, that is the same network as this one.

    Remove the dead edges of two cells and contract their skip connections. The cells are the same
    network if they then compute the same function of the input for some matching of the weights of
    their convolutions. There are 5,260 distinct networks among the 15,625 cells.
    """
    parse(arch)
    return _canonical_table()[arch]
