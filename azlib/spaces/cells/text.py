"""Cells of four nodes: which of their edges do anything, and which cells are the same network.

Node 0 is the input of a cell and node 3 its output; node j is the sum over i < j of an operation
applied to node i. A cell is given by the names of its six operations, in the order of `EDGES`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from itertools import permutations, product

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of each edge, in the order in which both benchmarks write them."""
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""The convolutions, with the sides of their kernels in pixels."""


@cache
def live(operations: tuple[str, ...]) -> tuple[bool, ...]:
    """For each edge, whether it lies on a path from the input to the output of the cell."""
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


def without_dead(operations: tuple[str, ...]) -> tuple[str, ...]:
    """The same operations with "none" on every edge that is not alive."""
    return tuple(
        operation if kept else "none"
        for operation, kept in zip(operations, live(operations), strict=True)
    )


def _expression(operations: tuple[str, ...], numbers: dict[int, int]) -> str:
    """What a cell computes, written as a sum of terms.

    Skip connections disappear into the sums that they feed. Each operation with weights carries a
    number, because one convolution that is used twice is not two convolutions with weights of
    their own.

    Args:
        operations: the six operations of the cell, none of them on a dead edge.
        numbers: the number of the operation on each edge that has weights.
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
                number = f"#{numbers[edge]}" if edge in numbers else ""
                terms.append(f"{operation}{number}({'+'.join(nodes[i])})")
        nodes[j] = tuple(sorted(terms))
    return "+".join(nodes[3])


def signature(operations: tuple[str, ...], weighted: Collection[str] = tuple(KERNELS)) -> str:
    """An expression that two cells share exactly when they are the same network.

    Dead edges are removed and skip connections contracted. Two cells are the same network if they
    then compute the same function of the input for some matching of their weights, so the
    signature is the alphabetically first of the expressions under all numberings of the operations
    that have weights.

    Args:
        operations: the six operations of the cell.
        weighted: the names of the operations that have weights.
    """
    return _signature(without_dead(operations), tuple(weighted))


@cache
def _signature(kept: tuple[str, ...], weighted: tuple[str, ...]) -> str:
    """The signature of a cell without dead edges, which many cells share."""
    edges_of = [
        [edge for edge, operation in enumerate(kept) if operation == name] for name in weighted
    ]
    numberings = product(*(permutations(range(len(edges))) for edges in edges_of))
    return min(
        _expression(
            kept,
            {
                edge: number
                for edges, order in zip(edges_of, numbering, strict=True)
                for edge, number in zip(edges, order, strict=True)
            },
        )
        for numbering in numberings
    )
