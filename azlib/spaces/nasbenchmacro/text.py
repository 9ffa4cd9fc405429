"""The architectures of NAS-Bench-Macro as texts, and which of them are the same network.

An architecture is written as the benchmark writes it, as eight digits, one for each layer.

Source of the definitions: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree
Search", CVPR 2021 (arXiv 2103.11922).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import NamedTuple

from azlib.errors import AzlibError
from azlib.spaces.limits import abridged


class Bottleneck(NamedTuple):
    """An operation with a depth-wise convolution: how much it widens, and its kernel's side."""

    expansion: int
    kernel: int


OPERATIONS = (None, Bottleneck(3, 3), Bottleneck(6, 5))
"""The operations, at the positions that are their digits; None is the identity."""
STAGES = ((2, 64), (3, 128), (3, 256))
"""(layers, channels) of each stage. The first layer of a stage halves the resolution."""
LAYERS = sum(number for number, _ in STAGES)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280

_PATTERN = re.compile("[0-2]{8}")


class Layer(NamedTuple):
    """One layer of a network. Without an operation it is a 1×1 convolution that changes sizes."""

    inputs: int
    outputs: int
    stride: int
    operation: Bottleneck | None

    @property
    def shortcut(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.inputs == self.outputs


def parse(arch: str) -> tuple[int, ...]:
    """The eight digits of an architecture. Raises `AzlibError` for any other text."""
    if not isinstance(arch, str) or not _PATTERN.fullmatch(arch):
        raise AzlibError(
            f"not a NAS-Bench-Macro architecture: {abridged(arch)}; expected eight digits such as "
            "02012100: 0 identity, 1 MBConv 3×3 with expansion 3, 2 MBConv 5×5 with expansion 6"
        )
    return tuple(map(int, arch))


def form(digits: Iterable[int]) -> str:
    """The architecture text of eight digits."""
    return "".join(map(str, digits))


@cache
def enumerate_all() -> tuple[str, ...]:
    """All 6,561 architecture texts in alphabetical order."""
    return tuple(map(form, product(range(len(OPERATIONS)), repeat=LAYERS)))


def layers(arch: str) -> list[Layer]:
    """The layers of an architecture between its stem and its last convolution.

    An identity is none of them, except where it stands first in its stage.
    """
    digits = iter(parse(arch))
    found: list[Layer] = []
    before = STEM_CHANNELS
    for number, channels in STAGES:
        for position in range(number):
            layer = Layer(before, channels, 1 if position else 2, OPERATIONS[next(digits)])
            if layer.operation is not None or not layer.shortcut:
                found.append(layer)
            before = channels
    return found


def canonical(arch: str) -> str:
    """The first architecture, in enumeration order, that is the same network as this one.

    Where the identities of a stage stand does not matter behind its first layer. There are 3,969
    distinct networks among the 6,561 architectures.
    """
    parse(arch)
    stages: list[str] = []
    start = 0
    for number, _ in STAGES:
        first, rest = arch[start], arch[start + 1 : start + number]
        stages.append(first + rest.replace("0", "").rjust(number - 1, "0"))
        start += number
    return "".join(stages)
