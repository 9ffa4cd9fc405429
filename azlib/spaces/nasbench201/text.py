"""The cells of NAS-Bench-201 as strings, and which of them are the same network.

What a cell is, `cells.text` says. An architecture is written as NAS-Bench-201 writes it, one group
per target node::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

Source of the definitions: Dong & Yang, "NAS-Bench-201", ICLR 2020 (arXiv 2001.00326).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from azlib.errors import AzlibError, unknown
from azlib.spaces.cells.text import EDGES, live, signature, without_dead
from azlib.spaces.limits import abridged

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
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
    return live(parse(arch))


def without_dead_edges(arch: str) -> str:
    """The same architecture with "none" on every edge that cannot reach the output."""
    return form(without_dead(parse(arch)))


@cache
def _canonical_table() -> dict[str, str]:
    """For every architecture, the first one in enumeration order that is the same network."""
    first: dict[str, str] = {}
    return {arch: first.setdefault(signature(parse(arch)), arch) for arch in enumerate_all()}


def canonical(arch: str) -> str:
    """The first architecture, in enumeration order, that is the same network as this one.

    Remove the dead edges of two cells and contract their skip connections. The cells are the same
    network if they then compute the same function of the input for some matching of the weights of
    their convolutions. There are 5,260 distinct networks among the 15,625 cells.
    """
    table = _canonical_table()
    if not isinstance(arch, str) or arch not in table:
        parse(arch)  # says what is wrong
    return table[arch]
