"""From scores to one ranking: the tie and NaN rule, the two aggregations, re-ranking in a search.

Every rank in azlib comes from `rank`, so one rule holds everywhere: rank 1 is the lowest score,
ties share their average rank, NaN (a failed score) and -inf are tied together as the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from azlib.assemblies import ASSEMBLIES as ASSEMBLIES
from azlib.assemblies import AZ_NAS as AZ_NAS
from azlib.errors import AzlibError, unknown

AGGREGATIONS = ("log", "linear")


def rank(values: ArrayLike) -> NDArray[np.float64]:
    """Ascending ranks 1..m of m scores; ties averaged, NaN and -inf tied as the lowest.

    Raises AzlibError unless `values` is one-dimensional and numeric.
    """
    values = _floats(values)
    if values.ndim != 1:
        raise AzlibError(f"rank() got an array of shape {values.shape}; pass one column of scores.")
    # The same as scipy's `rankdata`, whose checks would be most of the time of a simulated search.
    values = _nan_lowest(values)
    order = np.argsort(values)
    rising = values[order]
    starts = np.flatnonzero(np.append(True, rising[1:] != rising[:-1])[: len(values)])
    sizes = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (1 + sizes) / 2, sizes)
    return ranks


def rank_among(values: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The rank, 1..m+1, that each value gets among m scores and itself: `rank` of these m + 1.

    The values do not see each other. Raises AzlibError as `rank` does.
    """
    values, held = _floats(values), _floats(reference)
    if values.ndim != 1 or held.ndim != 1:
        raise AzlibError(
            f"rank_among() got arrays of shapes {values.shape} and {held.shape}; pass two columns."
        )
    values, held = _nan_lowest(values), np.sort(_nan_lowest(held))
    below, upto = (np.searchsorted(held, values, side) for side in ("left", "right"))
    return 1 + (below + upto) / 2


def aggregate(
    scores: pd.DataFrame | Mapping[str, ArrayLike],
    method: str = "log",
    proxies: Sequence[str] | None = None,
) -> pd.Series:
    """One score per architecture from the ranks of several proxies; higher is better.

    log: sum over proxies of ln(rank / m), at most 0 (Eq. 12). linear: sum of rank / m.
    `scores` has one column per proxy and one row per architecture; the index is kept.
    `proxies` defaults to those of the four AZ-NAS proxies that are among the columns; an assembly
    may be given by its name.

    Raises AzlibError for an unknown method or proxy, for columns of unequal length, for no rows,
    and without `proxies` for columns that look like another assembly than AZ-NAS.
    """
    if method not in AGGREGATIONS:
        raise unknown("aggregation method", method, AGGREGATIONS)
    try:
        frame = pd.DataFrame(scores)
    except ValueError as error:
        raise AzlibError(
            f"scores must be columns of one length, one per proxy ({error})."
        ) from None
    if proxies is None:
        proxies = [name for name in AZ_NAS if name in frame]
        _check_meant(proxies, frame)
    if isinstance(proxies, str):
        proxies = ASSEMBLIES.get(proxies, (proxies,))
    for name in proxies:
        if name not in frame:
            raise unknown("proxy", name, map(str, frame.columns))
    if not len(proxies):
        columns = ", ".join(map(str, frame.columns)) or "none"
        raise AzlibError(
            f"no proxies to aggregate: the columns are {columns}; name some with proxies=[...]."
        )
    if frame.empty:
        raise AzlibError("cannot rank 0 architectures; pass at least one row of scores.")
    total = rank_sum([frame[name].to_numpy() for name in proxies], method)
    return pd.Series(total, index=frame.index, name="score")


def _check_meant(proxies: list[str], frame: pd.DataFrame) -> None:
    """Raises `AzlibError` where a frame looks like the scores of another assembly than AZ-NAS.

    The others have none of complexity, and something else instead.
    """
    known = dict.fromkeys(name for members in ASSEMBLIES.values() for name in members)
    others = [name for name in known if name in frame and name not in AZ_NAS]
    if proxies and others and "complexity" not in proxies:
        raise AzlibError(
            f"complexity is not among the columns, but {', '.join(others)}: say what to sum with "
            "proxies=, a list or an assembly such as 'az-transfer'"
        )


def rank_sum(columns: Sequence[ArrayLike], method: str = "log") -> NDArray[np.float64]:
    """What `aggregate` gives for columns without names, and quickly where they are short."""
    ranks = np.stack([rank(column) for column in columns])
    m = ranks.shape[1]
    return _log_sum(ranks, m) if method == "log" else (ranks / m).sum(axis=0)


class IncrementalRanking:
    """The best `size` of a growing history, re-ranked at every step by the log-rank sum.

    `top()` is exactly `np.argsort(-aggregate(history), kind="stable")[:size]`, so ties go to the
    earlier candidate, but it does not rank the whole history each time. Appending a candidate
    raises any rank by at most 1 and lowers none. So between two full rankings, `span` appends
    apart, the size-th best Σ ln(rank) cannot fall below its value at the first one, and a
    candidate whose Σ ln(rank + span) is below that value cannot enter the top: only the others
    and the newcomers, together the pool, need their ranks kept up to date.
    """

    def __init__(self, proxies: Sequence[str], size: int):
        if not len(proxies) or size < 1:
            raise AzlibError(
                f"a ranking needs at least one proxy and a size of at least 1; "
                f"got {len(proxies)} proxies and size {size}."
            )
        self.proxies = tuple(proxies)
        self.size = size
        self._history = np.empty((len(proxies), 0))  # the values at the last full ranking
        self._new: list[NDArray[np.float64]] = []  # those appended since, one per candidate
        self._span = 0  # how many new ones the pool is good for
        self._pooled = self._old = 0  # how many the pool holds, and how many of these are not new

    def __len__(self) -> int:
        return self._history.shape[1] + len(self._new)

    def append(self, scores: Mapping[str, float]) -> None:
        """Adds a candidate, given as proxy name -> score; constant time, ranked when asked for."""
        for name in self.proxies:
            if name not in scores:
                raise unknown("proxy", name, scores)
        self._new.append(_nan_lowest(_floats([scores[name] for name in self.proxies])))

    def top(self) -> NDArray[np.intp]:
        """Positions in the history of the best `size` (or all, if fewer), best first."""
        if not len(self):
            raise AzlibError("nothing to rank: append at least one candidate before top().")
        if len(self._new) > self._span:
            self._rank_all()
        for new in self._new[self._pooled - self._old :]:
            self._enter(new)
        pool = self._pool[: self._pooled]
        total = _log_sum(self._ranks[:, : self._pooled], len(self))
        if len(pool) > self.size:
            kept = np.flatnonzero(total >= np.partition(total, -self.size)[-self.size])
            total, pool = total[kept], pool[kept]
        return pool[np.argsort(-total, kind="stable")[: self.size]]

    def best(self) -> int:
        """Position of the candidate with the highest aggregated score, the earliest if tied."""
        return int(self.top()[0])

    def _rank_all(self) -> None:
        """A full ranking of the history, and the pool of those that can matter before the next."""
        self._history = np.column_stack([self._history, *self._new])
        self._new = []
        m = self._history.shape[1]
        self._span = max(64, m // 64)
        self._sorted = np.sort(self._history, axis=1)
        ranks = np.stack([rank(values) for values in self._history])
        pool = np.arange(m)
        if m > self.size:
            cut = np.partition(_log_sum(ranks, m), -self.size)[-self.size]
            # The margin is far above the rounding of the sums and costs hardly a candidate.
            pool = np.flatnonzero(_log_sum(ranks + self._span, m) >= cut - 1e-9)
        self._old = self._pooled = len(pool)
        self._pool = np.append(pool, m + np.arange(self._span))
        room = ((0, 0), (0, self._span))
        self._values = np.pad(self._history[:, pool], room)
        self._ranks = np.pad(ranks[:, pool], room)

    def _enter(self, new: NDArray[np.float64]) -> None:
        """Puts one newcomer's values in the pool, with its ranks, and moves the others' ranks."""
        values = self._values[:, : self._pooled]
        below, upto = values < new[:, None], values <= new[:, None]
        # Ranks above the newcomer rise by 1, those tied with it by 1/2.
        self._ranks[:, : self._pooled] += 1 - (below + upto.astype(float)) / 2
        in_history = [
            row.searchsorted(value) + row.searchsorted(value, "right")
            for row, value in zip(self._sorted, new, strict=True)
        ]
        among_new = (below[:, self._old :] + upto[:, self._old :].astype(int)).sum(axis=1)
        self._values[:, self._pooled] = new
        self._ranks[:, self._pooled] = 1 + (in_history + among_new) / 2
        self._pooled += 1


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise AzlibError(f"scores must be numbers, NaN where scoring failed ({error}).") from None


def _nan_lowest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(values), -np.inf, values)


def _log_sum(ranks: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """Σ ln(rank / m) over the rows of `ranks`, shape (proxies, architectures)."""
    return np.log(ranks / m).sum(axis=0)
