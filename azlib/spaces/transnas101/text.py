"""The cells of TransNAS-Bench-101's micro space as texts, and which of them are the same network.

An architecture is written as the benchmark writes it, `64-41414-a_bc_def`: base channels, macro
code, and the digits of six operations, one group per target node of the cell (see `cells.text`).

Source of the definitions: Duan et al., "TransNAS-Bench-101", CVPR 2021 (arXiv 2105.11871).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from azlib.errors import AzlibError
from azlib.spaces.cells.text import EDGES, KERNELS, signature
from azlib.spaces.limits import abridged

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
"""The operations, at the positions that are their digits."""
REDUCTION = "reduction"
"""What a skip connection becomes on an edge that changes the size of features."""
STEM_CHANNELS = (32, 64)
CELLS = ((128, 2), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1), (256, 1),
         (512, 2), (512, 1))  # fmt: skip
"""(channels, stride) of the ten cells: those of the macro code 41414, two for each digit."""

_LONGEST = 1_000  # characters, so that refusing a text is quick and the message short
_PATTERN = re.compile("64-41414-([0-3])_([0-3])([0-3])_([0-3])([0-3])([0-3])")


def parse(arch: str) -> tuple[str, ...]:
    """The names of the six operations of an architecture text, in the order of `cells.text.EDGES`.

    Raises `AzlibError` for a malformed text.
    """
    readable = isinstance(arch, str) and len(arch) <= _LONGEST
    match = _PATTERN.fullmatch(arch) if readable else None
    if match is None:
        raise AzlibError(
            f"not a TransNAS-Bench-101 micro architecture: {abridged(arch)}; expected the form "
            "64-41414-a_bc_def, each letter a digit: 0 zero, 1 skip, 2 conv 1×1, 3 conv 3×3"
        )
    return tuple(OPERATIONS[int(digit)] for digit in match.groups())


def form(operations: tuple[str, ...]) -> str:
    """The architecture text of six operations given by name."""
    a, b, c, d, e, f = map(OPERATIONS.index, operations)
    return f"64-41414-{a}_{b}{c}_{d}{e}{f}"


@cache
def enumerate_all() -> tuple[str, ...]:
    """All 4,096 architecture texts in alphabetical order."""
    return tuple(form(operations) for operations in product(OPERATIONS, repeat=len(EDGES)))


def reducing(operations: tuple[str, ...]) -> tuple[str, ...]:
    """The operations of a cell that changes the size of features.

    Skip connections that leave node 0 become factorised reductions there, which have weights.
    """
    return tuple(
        REDUCTION if i == 0 and operation == "skip_connect" else operation
        for (i, _), operation in zip(EDGES, operations, strict=True)
    )


@cache
def _canonical_table() -> dict[str, str]:
    """For every architecture, the first one in enumeration order that is the same network."""
    weighted = (*KERNELS, REDUCTION)
    first: dict[str, str] = {}
    return {
        arch: first.setdefault(signature(reducing(parse(arch)), weighted), arch)
        for arch in enumerate_all()
    }


def canonical(arch: str) -> str:
    """The first architecture, in enumeration order, that is the same network as this one.

    Networks have cells of two kinds: those that change the size of features and those that keep it.
    If two cells are the same where the size changes, they are the same where it stays, as the
    reductions then become the skip connections that both contract. So the first kind decides. There
    are 1,376 distinct networks among the 4,096 cells.
    """
    parse(arch)
    return _canonical_table()[arch]
