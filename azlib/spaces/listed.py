"""Spaces that are small enough to list: a choice at each of a few positions, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from azlib.settings import LARGEST_RESOLUTION
from azlib.spaces.base import EnumerableSpace
from azlib.spaces.draws import draw, mutated
from azlib.spaces.limits import MOST_CLASSES, check_range


class Writing(NamedTuple):
    """How architectures are written.

    choices, positions: what may stand at each of how many positions. parse, form: a text to its
    choices, and back; both raise `AzlibError` for what does not fit. enumerate_all: all texts,
    always in the same order. canonical: the first text that is the same network.
    """

    choices: Sequence[Any]
    positions: int
    parse: Callable[[str], tuple[Any, ...]]
    form: Callable[[tuple[Any, ...]], str]
    enumerate_all: Callable[[], tuple[str, ...]]
    canonical: Callable[[str], str]


class ListedSpace(EnumerableSpace, Protocol):
    """A space of all combinations of a few choices, none of which is illegal."""

    writing: ClassVar[Writing]
    """How its architectures are written."""

    def __iter__(self) -> Iterator[str]:
        """All architectures, always in the same order."""
        return iter(self.writing.enumerate_all())

    def __len__(self) -> int:
        """The number of architectures."""
        return len(self.writing.choices) ** self.writing.positions

    def sample(self, rng: np.random.Generator) -> str:
        """One architecture, drawn uniformly from all."""
        return self.writing.form(draw(rng, self.writing.choices, self.writing.positions))

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after the choice at a random position was changed, `times` times."""
        choices = mutated(rng, self.writing.choices, self.writing.parse(arch), times)
        return self.writing.form(choices)

    def legal(self, arch: str) -> bool:
        """True, as the space has no budget. Raises `AzlibError` for a malformed architecture."""
        self.writing.parse(arch)
        return True

    def canonical(self, arch: str) -> str:
        """The first architecture, in the order of the list, that is the same network."""
        return self.writing.canonical(arch)


class OneSizeSpace(ListedSpace, Protocol):
    """A listed space whose networks tell one number of classes apart on images of one size.

    num_classes: the number of classes. cost_resolution: pixels along a side of the images at which
    costs are counted. Raises `AzlibError` for one that is out of its range.
    """

    num_classes: int
    cost_resolution: int

    def __post_init__(self) -> None:
        check_range(1, MOST_CLASSES, num_classes=self.num_classes)
        check_range(1, LARGEST_RESOLUTION, cost_resolution=self.cost_resolution)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape (B, C, H, W) of a batch of the paper's size, of the benchmark's images."""
        return (64, 3, self.cost_resolution, self.cost_resolution)
