"""Search rules: from the history of a search, how to draw its next candidates.

A rule is a small frozen dataclass. `selected` says how many of the best candidates it looks at, and
`generation` how many candidates are proposed from the same history and scored together: one as
published, more to keep several processes busy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from azlib.search.history import History
from azlib.settings import check_at_least
from azlib.spaces.base import SearchSpace

START = 11  # candidates of Algorithm 1 that descend from the initial structure

Draw = Callable[[np.random.Generator], str]
"""A function that draws one candidate."""


class Rule(Protocol):
    """What the loop asks of a search rule."""

    @property
    def generation(self) -> int: ...

    @property
    def selected(self) -> int: ...

    @property
    def shortest(self) -> int:
        """The fewest iterations with which the rule does more than draw samples."""
        ...

    def proposals(self, space: SearchSpace, history: History) -> Draw:
        """How to draw the candidates that follow this history."""
        ...


def population_of(iterations: int) -> int:
    """The population of Algorithm 1 in the paper's proportion, 1,024 to 100,000; at least 2."""
    return max(2, round(iterations * 1024 / 100_000))


@dataclass(frozen=True)
class Algorithm1:
    """The paper's evolutionary search, with the published code's three phases.

    With n candidates in the history: the first 11 are one mutation from the space's `initial`
    structure (random samples where it has none); the next are two mutations from any candidate;
    from n = population - 1, two mutations from one of the `population` - 1 best.
    """

    population: int = 1024
    generation: int = 1

    def __post_init__(self) -> None:
        check_at_least(2, population=self.population)
        check_at_least(1, generation=self.generation)

    @property
    def selected(self) -> int:
        return self.population - 1

    @property
    def shortest(self) -> int:
        return self.population

    def proposals(self, space: SearchSpace, history: History) -> Draw:
        n = len(history)
        if n < START:
            if (start := space.initial) is None:
                return space.sample
            return lambda rng: space.mutate(start, rng, times=1)
        parents = history.ranking.top() if n >= self.selected else np.arange(n)

        def draw(rng: np.random.Generator) -> str:
            parent = history.rows[parents[rng.integers(len(parents))]]
            return space.mutate(parent["structure"], rng, times=2)

        return draw


@dataclass(frozen=True)
class RandomSearch:
    """Independent samples, as in the paper's search of the AutoFormer space.

    It asks no history, so that the generation changes nothing but how many processes are busy.
    """

    selected: ClassVar[int] = 1
    shortest: ClassVar[int] = 1
    generation: ClassVar[int] = 16

    def proposals(self, space: SearchSpace, history: History) -> Draw:
        return space.sample


@dataclass(frozen=True)
class RegularisedEvolution:
    """Ageing evolution (Real et al., AAAI 2019): the last `population` candidates are alive.

    They start as random samples; then a child is one mutation from the fittest of `tournament`
    living candidates, drawn with replacement. Fitness is the aggregated score among the living,
    which with one proxy orders them as the proxy does.
    """

    population: int = 100
    tournament: int = 25
    generation: int = 1
    selected: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_at_least(
            1, population=self.population, tournament=self.tournament, generation=self.generation
        )

    @property
    def shortest(self) -> int:
        return self.population

    def proposals(self, space: SearchSpace, history: History) -> Draw:
        oldest = len(history) - self.population
        if oldest < 0:
            return space.sample
        fitness = history.aggregate(oldest)

        def draw(rng: np.random.Generator) -> str:
            players = rng.integers(self.population, size=self.tournament)
            parent = oldest + players[np.argmax(fitness[players])]
            return space.mutate(history.rows[parent]["structure"], rng)

        return draw
