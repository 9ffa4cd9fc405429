"""Exercises of the lessons: each check runs a student's function and says what is not right yet.

A lesson gives the head of a function and calls `check(NAME, FUNCTION)` below it. An unsolved
exercise does not end the notebook: the check prints one line that begins with "not yet:". The
solutions lie in `docs/solutions`, a file for each lesson.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from azlib.aggregation import aggregate, rank
from azlib.companion.metrics import kendall
from azlib.companion.paper import verdict
from azlib.errors import reason, unknown
from azlib.spaces.cells.text import EDGES, live
from azlib.spaces.nasbench201.text import OPERATIONS

Attempt = Callable[..., Any]
Check = Callable[[Attempt], str]
"""Returns what is wrong with an attempt, "" where nothing is."""


def check(name: str, attempt: object) -> None:
    """Prints whether a student's function is right, and if not, what it does instead.

    Args:
        name: of the exercise, one of `EXERCISES`.
        attempt: the function.

    Raises:
        AzlibError: for an exercise that does not exist.
    """
    complaint = complain(name, attempt)
    print(f"not yet: {complaint}" if complaint else f"right: {name}")


def complain(name: str, attempt: object) -> str:
    """What is wrong with an attempt at an exercise, in one line; "" where nothing is.

    Raises `AzlibError` for an exercise that does not exist.
    """
    if name not in EXERCISES:
        raise unknown("exercise", name, EXERCISES)
    if not callable(attempt):
        return f"expected a function, got {_short(attempt)}"
    try:
        return EXERCISES[name](attempt)
    except (TypeError, ValueError) as error:  # such as lists of unequal lengths
        return f"what it gives is of another kind than the result ({reason(error)})"


def compared(
    right: Attempt, cases: Iterable[tuple], mistakes: Mapping[str, Attempt] | None = None
) -> Check:
    """A check that compares an attempt with a function that is right.

    Args:
        right: the function that is right.
        cases: the arguments of each call.
        mistakes: functions that are wrong as students often are, by the sentence that says so.
    """

    def complaint(attempt: Attempt) -> str:
        for arguments in cases:
            value, problem = _called(attempt, arguments)
            if problem:
                return problem
            if _same(value, expected := right(*arguments)):
                continue
            for sentence, mistake in (mistakes or {}).items():
                if _same(value, mistake(*arguments)):
                    return sentence
            return f"for {_call(arguments)} it gives {_short(value)}, not {_short(expected)}"
        return ""

    return complaint


def _called(attempt: Attempt, arguments: tuple) -> tuple[Any, str]:
    """What an attempt returns for a copy of the arguments, and what is wrong where it does not."""
    try:
        value = attempt(*copy.deepcopy(arguments))
    except Exception as error:  # a student's function can raise anything
        return None, f"for {_call(arguments)} it raises {reason(error)}"
    if value is None or value is ...:
        return None, "the function returns nothing so far: write the line that returns the result"
    return value, ""


def _same(value: Any, expected: Any) -> bool:
    """Whether two results are equal, numbers to five digits."""
    if isinstance(expected, str | bool | set):
        return bool(np.ndim(value) == 0 and value == expected)
    try:
        found, wanted = np.asarray(value, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError, RuntimeError):  # text, or a tensor that wants a gradient
        return False
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, equal_nan=True)


def _call(arguments: tuple) -> str:
    return ", ".join(map(_short, arguments))


def _short(value: Any) -> str:
    """A value as a student would type it, cut where it is long."""
    if isinstance(value, np.ndarray | pd.Series):
        value = np.asarray(value)
        value = (np.round(value, 4) if np.issubdtype(value.dtype, np.number) else value).tolist()
    elif isinstance(value, float | np.number):
        value = round(float(value), 6)
    return " ".join(reprlib.repr(value).split())


# --- what is right -------------------------------------------------------------------------


def _has_path(edges: Mapping[tuple[int, int], str]) -> bool:
    return any(live(tuple(edges[edge] for edge in EDGES)))


def _covariance(features: np.ndarray) -> np.ndarray:
    return np.cov(features.T, bias=True)


def _entropy(eigenvalues: np.ndarray) -> float:
    shares = np.asarray(eigenvalues) / np.sum(eigenvalues)
    return float(-(shares * np.log(shares + 1e-8)).sum())


def _jackknife(values: np.ndarray) -> float:
    means = (np.sum(values) - values) / (len(values) - 1)
    return float(np.sqrt((len(values) - 1) / len(values) * ((means - means.mean()) ** 2).sum()))


def _log_rank_sum(scores: pd.DataFrame) -> pd.Series:
    return aggregate(scores, proxies=list(scores))


def _told_apart(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"


def _subsets(attempt: Attempt) -> str:
    for names in (["a"], ["a", "b", "c"]):
        value, problem = _called(attempt, (names,))
        if problem:
            return problem
        wanted = {frozenset(s) for n in range(len(names)) for s in combinations(names, n + 1)}
        if not isinstance(value, list | tuple | set):
            return f"for {names} it gives {_short(value)}; expected a list of subsets"
        if not all(isinstance(subset, list | tuple | set | frozenset) for subset in value):
            return f"for {names} it gives {_short(value)}; expected a list of subsets"
        found = [frozenset(subset) for subset in value]
        if frozenset() in found:
            return "the empty set is among them; a ranking needs at least one proxy"
        if len(found) != len(wanted) or set(found) != wanted:
            return f"for {names} it gives {len(set(found))} different subsets, not {len(wanted)}"
    return ""


def _mutation(attempt: Attempt) -> str:
    rng = np.random.default_rng(1)
    places: set[int] = set()
    for _ in range(200):
        parent = tuple(rng.choice(OPERATIONS, size=len(EDGES)).tolist())
        child, problem = _called(lambda parent: attempt(parent, rng), (parent,))
        if problem:
            return problem
        if not isinstance(child, tuple) or len(child) != len(parent):
            return f"a child is {_short(child)}; expected a tuple of six operations"
        if strange := [operation for operation in child if operation not in OPERATIONS]:
            return f"a child has the operation {_short(strange[0])}, which is none of the five"
        changed = [i for i, (a, b) in enumerate(zip(parent, child, strict=True)) if a != b]
        if len(changed) != 1:
            return f"a child differs from its parent in {len(changed)} edges; expected exactly one"
        places |= set(changed)
    unchanged = sorted(set(range(len(EDGES))) - places)
    return f"edge {unchanged[0]} never changes; expected a random one" if unchanged else ""


def _resample(attempt: Attempt) -> str:
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(50):
        drawn, problem = _called(lambda n: attempt(n, rng), (20,))
        if problem:
            return problem
        if np.shape(drawn) != (20,) or not set(np.asarray(drawn).tolist()) <= set(range(20)):
            return f"it gives {_short(drawn)}; expected 20 indices from 0 to 19"
        seen.append(np.asarray(drawn))
    if all(len(set(drawn.tolist())) == 20 for drawn in seen):
        return "no index comes twice; a bootstrap draws with replacement"
    return "it draws the same every time" if np.ptp(seen, axis=0).max() == 0 else ""


# --- the exercises -------------------------------------------------------------------------

_CELLS = [
    dict(zip(EDGES, operations, strict=True))
    for operations in (
        ("none", "none", "none", "skip_connect", "none", "none"),
        ("nor_conv_3x3", "none", "none", "none", "none", "nor_conv_3x3"),
        ("nor_conv_3x3", "none", "nor_conv_1x1", "none", "none", "avg_pool_3x3"),
    )
]
_FEATURES = np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 7.0], [-1.0, 2.0]])
_SCORES = pd.DataFrame({"expressivity": [3.0, 1.0, 2.0], "complexity": [10.0, 30.0, 20.0]})
_RANKED = [([3.0, 1.0, 2.0],), ([2.0, 2.0, 5.0],), ([np.nan, 1.0, -np.inf, 7.0],)]
_PAIRS = [([1, 2, 3, 4], [1, 2, 4, 3]), ([1, 2, 3], [3, 2, 1]), ([5, 1, 4, 2], [8, 0, 1, 2])]
_GROWING = [([1.0, 1.5, 1.7, 2.9],), ([2.0, 2.6, 1.9],), ([0.0, 4.0, 8.0],)]


def _kendall_naive(a: Sequence[float], b: Sequence[float]) -> float:
    agree = (
        sum(
            (x - u) * (y - v) > 0
            for x, y in zip(a, b, strict=True)
            for u, v in zip(a, b, strict=True)
        )
        / 2
    )
    return agree / (len(a) * (len(a) - 1) / 2)


EXERCISES: dict[str, Check] = {
    # 00: what a search is
    "macs": compared(
        lambda inputs, outputs, kernel, side: inputs * outputs * kernel**2 * side**2,
        [(1, 1, 1, 1), (3, 16, 3, 32), (16, 32, 1, 8)],
        {
            "the kernel has kernel × kernel weights, and so many multiplications at each place": (
                lambda inputs, outputs, kernel, side: inputs * outputs * kernel * side**2
            ),
            "it counts the weights; each of them is used at every one of side × side places": (
                lambda inputs, outputs, kernel, side: inputs * outputs * kernel**2
            ),
        },
    ),
    "has_path": compared(_has_path, [(edges,) for edges in _CELLS]),
    "reached": compared(
        lambda scores, score: 100 * np.mean(np.asarray(scores) <= score),
        [([1, 2, 3, 4], 2), ([5.0, 5.0, 9.0], 5.0), ([-1.0, 0.5], -2.0)],
        {
            "it leaves out those of the same score; `reached` includes them": (
                lambda scores, score: 100 * np.mean(np.asarray(scores) < score)
            ),
            "that is a share from 0 to 1; expected percent": (
                lambda scores, score: np.mean(np.asarray(scores) <= score)
            ),
        },
    ),
    # 01: expressivity and progressivity
    "covariance": compared(
        _covariance,
        [(_FEATURES,), (_FEATURES[:3] * 2,)],
        {
            "the mean of each channel is still in it; take it away first (Eq. 1)": (
                lambda rows: rows.T @ rows / len(rows)
            ),
            "it divides by N - 1; Eq. 2 divides by N": lambda rows: np.cov(rows.T),
        },
    ),
    "entropy": compared(
        _entropy,
        [(np.array([2.0, 1.0, 1.0]),), (np.array([5.0, 5.0]),), (np.array([9.0, 0.0]),)],
        {
            "the eigenvalues are not divided by their sum (Eq. 3)": (
                lambda values: -(values * np.log(values + 1e-8)).sum()
            ),
            "it takes the logarithm to base 2; Eq. 4 takes the natural one": (
                lambda values: _entropy(values) / np.log(2)
            ),
            "the sign is wrong: an entropy is never negative": lambda values: -_entropy(values),
        },
    ),
    "progressivity": compared(
        lambda values: np.diff(values).min(),
        _GROWING,
        {
            "that is the largest growth; Eq. 5 takes the smallest": (
                lambda values: np.diff(values).max()
            ),
            "that is the smallest entropy; Eq. 5 takes the smallest step": np.min,
            "it takes the size of a step without its sign; a step down must count as such": (
                lambda values: np.abs(np.diff(values)).min()
            ),
        },
    ),
    # 02: trainability
    "deviation": compared(
        lambda sigma: 2 - sigma - 1 / sigma,
        [(1.0,), (2.0,), (0.25,)],
        {
            "the sign is wrong: the best value, at σ = 1, is 0, and all others are negative": (
                lambda sigma: sigma + 1 / sigma - 2
            )
        },
    ),
    "trainability": compared(
        lambda sigmas: float(np.mean([2 - s - 1 / s for s in sigmas])),
        [([1.0, 2.0],), ([0.5, 1.0, 3.0],)],
        {
            "that is the sum; Eq. 11 takes the mean over the blocks": (
                lambda sigmas: sum(2 - s - 1 / s for s in sigmas)
            ),
            "it takes the mean of σ first; each block deviates on its own": (
                lambda sigmas: 2 - np.mean(sigmas) - 1 / np.mean(sigmas)
            ),
        },
    ),
    "images_needed": compared(
        lambda channels, side, noise: int(np.ceil(4 * channels / (noise * side) ** 2)),
        [(64, 4, 1.0), (64, 8, 0.5), (16, 8, 0.3)],
        {
            "that is the number of positions; an image has side × side of them": (
                lambda channels, side, noise: int(np.ceil(4 * channels / noise**2))
            )
        },
    ),
    # 03: agreement of two rankings
    "kendall": compared(
        kendall,
        _PAIRS,
        {
            "that is the share of concordant pairs; take the discordant ones away": _kendall_naive,
            "that is Spearman's ρ or another correlation; τ counts pairs": (
                lambda a, b: np.corrcoef(rank(a), rank(b))[0, 1]
            ),
        },
    ),
    "jackknife": compared(
        lambda values: _jackknife(np.asarray(values, dtype=float)),
        [([1.0, 2.0, 4.0],), ([3.0, 3.5, 1.0, 0.0],)],
        {
            "that is the standard deviation of the values; the mean varies less": (
                lambda values: np.std(values, ddof=1)
            ),
            "the factor (n - 1)/n under the root is missing or another one": (
                lambda values: (
                    _jackknife(np.asarray(values, dtype=float)) / np.sqrt(len(values) - 1)
                )
            ),
        },
    ),
    # 04: aggregation
    "rank": compared(
        lambda values: rank(values),
        _RANKED,
        {
            "rank 1 is the lowest score; here it is the highest": (
                lambda values: len(values) + 1 - rank(values)
            ),
            "ranks start at 1; here they start at 0": lambda values: rank(values) - 1,
            "tied scores get different ranks; they share their average": (
                lambda values: np.argsort(np.argsort(values, kind="stable"), kind="stable") + 1
            ),
        },
    ),
    "log_rank_sum": compared(
        _log_rank_sum,
        [(_SCORES,), (_SCORES * [1, -1],)],
        {
            "the ranks are not divided by their number m (Eq. 12)": (
                lambda scores: _log_rank_sum(scores) + scores.shape[1] * np.log(len(scores))
            ),
            "that is the linear sum; take the logarithm of each rank/m before adding up": (
                lambda scores: aggregate(scores, "linear", list(scores))
            ),
        },
    ),
    # 05: which proxies
    "subsets": _subsets,
    "verdict": compared(
        lambda low, high, published: verdict(low, high, published),
        [(0.70, 0.72, 0.71), (0.70, 0.72, 0.735), (0.70, 0.72, 0.69), (0.70, 0.72, 0.60)],
        {
            "the tolerance of 0.02 on both sides of the interval is missing": (
                lambda low, high, published: verdict(low, high, published, 0.0)
            )
        },
    ),
    # 12: search
    "regret": compared(
        lambda found, accuracies: max(accuracies) - found,
        [(90.0, [90.0, 94.5, 10.0]), (94.5, [90.0, 94.5])],
        {
            "the sign is wrong: a regret is never negative": (
                lambda found, accuracies: found - max(accuracies)
            )
        },
    ),
    "parents": compared(
        lambda scores, population: set(
            np.argsort(-np.asarray(scores), kind="stable")[: population - 1].tolist()
        ),
        [([-3.0, -1.0, -2.0, -9.0], 3), ([-1.0, -4.0, -2.0], 2)],
        {
            "it takes the best `population`; the published code takes one less": (
                lambda scores, population: set(
                    np.argsort(-np.asarray(scores), kind="stable")[:population].tolist()
                )
            )
        },
    ),
    "mutate": _mutation,
    # 23: search, train, see
    "cosine_rate": compared(
        lambda step, steps, lr: lr * (1 + np.cos(np.pi * step / steps)) / 2,
        [(0, 100, 0.1), (50, 100, 0.1), (100, 100, 0.4), (25, 100, 1.0)],
        {
            "it falls along a straight line; half a cosine falls slowly, fast, slowly": (
                lambda step, steps, lr: lr * (1 - step / steps)
            )
        },
    ),
    "resample": _resample,
    "told_apart": compared(
        _told_apart,
        [(0.01, 0.3), (-0.1, 0.3), (-0.4, -0.2)],
        {
            "an interval that holds 0 says neither better nor worse": (
                lambda low, high: "better" if low + high > 0 else "worse"
            )
        },
    ),
}
