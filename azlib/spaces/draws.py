"""Random choices that several spaces make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def draw(rng: np.random.Generator, choices: Sequence[T], n: int) -> tuple[T, ...]:
    """So many independent draws, in which all choices are equally likely."""
    return tuple(choices[i] for i in rng.integers(len(choices), size=n))


def redraw(
    rng: np.random.Generator, choices: Sequence[T], values: tuple[T, ...], i: int
) -> tuple[T, ...]:
    """The values with another choice in place of the one at index `i`."""
    (new,) = draw(rng, [choice for choice in choices if choice != values[i]], 1)
    return (*values[:i], new, *values[i + 1 :])


def mutated(
    rng: np.random.Generator, choices: Sequence[T], values: tuple[T, ...], times: int
) -> tuple[T, ...]:
    """The values after one at a random index was replaced by another choice, `times` times."""
    for _ in range(times):
        values = redraw(rng, choices, values, int(rng.integers(len(values))))
    return values
