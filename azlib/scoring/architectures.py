"""Which architectures are scored: a whole space, a list, a stream, or a random sample."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sized

import numpy as np

from azlib.errors import AzlibError
from azlib.settings import check_at_least
from azlib.spaces.base import EnumerableSpace, SearchSpace
from azlib.spaces.own import Asked

TRIES = 10_000  # draws without a new architecture that end a sample


def sample(space: SearchSpace, count: int, archs: Iterable[str] | None = None) -> list[str]:
    """`count` different random architectures, always the same.

    A smaller sample is part of a larger one. It is drawn from `archs` or from a space that can be
    enumerated, and then sorted; from any other space by `space.sample`, keeping those that are
    legal. Raises `AzlibError` when there are not so many.
    """
    check_at_least(1, sample=count)
    if archs is None:
        if not isinstance(space, EnumerableSpace):
            return _drawn(space, count)
        archs = space
    everything = list(dict.fromkeys(archs))
    if count > len(everything):
        raise AzlibError(f"sample={count}: expected 1 to {len(everything)} architectures")
    # Not `random.sample`: how that draws depends on the count, so that its samples are not nested.
    rng = random.Random(0)
    places: set[int] = set()
    while len(places) < count:
        places.add(rng.randrange(len(everything)))
    return sorted(everything[place] for place in places)


def _drawn(space: SearchSpace, count: int) -> list[str]:
    rng, ask = np.random.default_rng(0), Asked(space)
    drawn: dict[str, None] = {}
    fruitless = 0  # draws in a row that brought nothing new
    while len(drawn) < count:
        arch = ask.sample(rng)
        fruitless = fruitless + 1 if arch in drawn or not ask.legal(arch) else 0
        if fruitless == 0:
            drawn[arch] = None
        if fruitless == TRIES:
            raise AzlibError(
                f"sample={count}: {TRIES:,} draws in a row brought nothing new and legal "
                f"after {len(drawn)} architectures; ask for fewer, or raise a limit of {space}"
            )
    return list(drawn)


def checked(space: SearchSpace, archs: Iterable[str] | None, once: bool) -> Iterable[str]:
    """The architectures to score.

    A list is checked whole before anything is scored, and duplicates are left out; a stream is
    checked as it passes, as it can be read only once and may be too long to remember.
    once: whether the caller will read it only once.
    Raises `AzlibError` for a malformed architecture, an empty list, and a stream that would have to
    be read again.
    """
    ask = Asked(space)
    if archs is None:
        if not isinstance(space, EnumerableSpace):
            raise AzlibError(
                f"{space.name} is too large to enumerate: give the architectures (on the command "
                "line `--archs FILE`, or `--sample N` for random ones)"
            )
        return space
    if iter(archs) is archs:
        if not once:
            raise AzlibError(
                "a stream of architectures is read once: several seeds or unique=True need a list"
            )
        return (arch for arch in archs if ask.count(arch))  # counting refuses a malformed one
    archs = list(dict.fromkeys(archs))
    if not archs:
        raise AzlibError("no architectures to score: the list is empty")
    for arch in archs:
        ask.count(arch)
    return archs


def with_seeds(
    space: SearchSpace, archs: Iterable[str], seeds: Iterable[int], unique: bool
) -> Iterator[tuple[str, int]]:
    """(architecture, seed) pairs in the order of scoring; `unique`: of each network one alone."""
    for seed in seeds:
        for arch in distinct(space, archs) if unique else archs:
            yield arch, seed


def distinct(space: SearchSpace, archs: Iterable[str]) -> Iterator[str]:
    """The canonical architecture of each network, once."""
    ask, seen = Asked(space), set[str]()
    for arch in archs:
        same = ask.canonical(arch)
        if same not in seen:
            seen.add(same)
            yield same


def length(space: SearchSpace, archs: Iterable[str], unique: bool) -> int | None:
    """How many architectures there are to score; None for a stream."""
    if unique:
        return sum(1 for _ in distinct(space, archs))
    return len(archs) if isinstance(archs, Sized) else None
