"""How well scores agree with accuracies, how sure that is, and which architecture they select.

Scores are ranked by `aggregate.rank` first (NaN and -inf tied as the lowest), so a failed score
counts as last here too. All take two columns of equal length, one entry per architecture; two
Series must carry the same index in the same order.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, norm

from azlib.aggregation import rank
from azlib.errors import AzlibError, needs


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's τ-b; NaN if either column is constant."""
    return float(kendalltau(*_ranks(x, y)).statistic)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's ρ, the correlation of average ranks; NaN if either column is constant."""
    first, second = (ranks - ranks.mean() for ranks in _ranks(x, y))
    norms = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norms) if norms > 0 else float("nan")


def ndcg(scores: ArrayLike, accuracies: ArrayLike, k: int = 1000) -> float:
    """Normalised discounted cumulative gain of the k best-scored architectures, in 0..1.

    As in VKDNW (CVPR 2025): gain 2^accuracy - 1 with the accuracy in percent, discount
    log2(position + 1), divided by the value of the ideal order. Architectures of equal score
    share the mean over their orders, so the order of the rows never matters. One point of
    accuracy halves the gain: only the very top counts.
    """
    if k < 1:
        raise AzlibError(f"nDCG needs at least one position; got k={k}.")
    ranks = _ranks(scores, accuracies)[0]
    accuracies = np.asarray(accuracies, dtype=float)
    if not accuracies.max() > 1:
        raise AzlibError(
            f"nDCG needs accuracies in percent, without NaN; the highest is {accuracies.max():g}."
        )
    with needs("scikit-learn", "companion"):
        from sklearn.metrics import ndcg_score  # here, as it takes long to import

    gains = 2.0**accuracies - 1
    return float(ndcg_score([gains / gains.max()], [ranks], k=k))


def selected(scores: ArrayLike, accuracies: ArrayLike) -> tuple[Hashable, float]:
    """The architecture with the highest score, the first if tied, and its accuracy.

    Named by its index label where one of the columns is a Series, else by its position.
    """
    best = int(np.argmax(_ranks(scores, accuracies)[0]))
    label = next((c.index[best] for c in (scores, accuracies) if isinstance(c, pd.Series)), best)
    return label, float(np.asarray(accuracies, dtype=float)[best])


def kendall_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of Kendall's τ-b over architectures, by the delete-one jackknife.

    τ ± z·se, where se² = (n-1)/n Σ (τ_without_i - mean)². Every τ_without_i is exact and follows
    from how many pairs of architecture i agree, which takes O(n log n) for all of them together:
    milliseconds where the bootstrap takes seconds, and no seed. The columns are held fixed: an
    aggregated score is not aggregated anew without i. NaN if leaving out one architecture makes
    a column constant.
    """
    z = norm.ppf(_tails(level)[1])
    tau = kendall(x, y)
    x, y = ((2 * ranks).astype(int) for ranks in _ranks(x, y))  # average ranks are half-integers
    n = len(x)
    agreement = _pair_signs(x, y)
    # Pairs not tied in x (in y), of each architecture and in all.
    untied_x, untied_y = (n - np.bincount(r)[r] for r in (x, y))
    scale = np.sqrt((untied_x.sum() / 2 - untied_x) * (untied_y.sum() / 2 - untied_y))
    with np.errstate(invalid="ignore", divide="ignore"):
        without = (agreement.sum() / 2 - agreement) / scale
        width = float(z * np.sqrt((n - 1) * without.var()))
    return max(tau - width, -1.0), min(tau + width, 1.0)


def kendall_of_draws(x: ArrayLike, y: ArrayLike, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """Kendall's τ-b of many resamples of the rows at once; NaN where a column is constant.

    Args:
        x, y: the columns, one row per architecture.
        counts: (draws, rows), how often each row was drawn. Copies of one row are tied.

    Where c counts the copies, the pairs that agree minus those that do not are
    ½ Σ_ij c_i c_j sign(x_i - x_j) sign(y_i - y_j). For a thousand architectures these products of
    matrices are far quicker than ranking every resample anew, and whole numbers make them exact.
    """
    ranks = [(2 * column).astype(np.float32) for column in _ranks(x, y)]
    drawn = np.asarray(counts, dtype=np.float32)
    agreement = np.zeros(len(drawn))
    for start in range(0, len(ranks[0]), 512):  # rows at a time, to bound the memory
        rows = slice(start, start + 512)
        signs = np.sign(ranks[0] - ranks[0][rows, None]) * np.sign(ranks[1] - ranks[1][rows, None])
        agreement += np.einsum("dr,dr->d", drawn[:, rows], drawn @ signs.T, dtype=float)
    untied = [_untied_pairs(column, counts) for column in ranks]
    with np.errstate(invalid="ignore"):
        return agreement / 2 / np.sqrt(untied[0] * untied[1])


def _untied_pairs(column: NDArray, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """How many pairs of each draw differ in a column, from the sizes of its groups of ties."""
    order = np.argsort(column, kind="stable")
    starts = np.flatnonzero(np.diff(column[order], prepend=-np.inf))
    groups = np.add.reduceat(counts[:, order].astype(float), starts, axis=1)
    return (counts.sum(axis=1) ** 2 - (groups**2).sum(axis=1)) / 2


def seed_spread(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; the latter is NaN for a single seed."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise AzlibError(f"a confidence level lies between 0 and 1, e.g. 0.95; got {level}.")
    return (1 - level) / 2, (1 + level) / 2


def _ranks(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both columns ranked, after a check that they belong together."""
    if isinstance(x, pd.Series) and isinstance(y, pd.Series) and not x.index.equals(y.index):
        raise AzlibError(
            "the two columns list different architectures or another order; "
            "align them first, e.g. accuracies.loc[scores.index]."
        )
    ranks = rank(x), rank(y)
    if len(ranks[0]) != len(ranks[1]) or len(ranks[0]) < 2:
        raise AzlibError(
            f"expected two columns of one length, at least 2; "
            f"got {len(ranks[0])} and {len(ranks[1])} architectures."
        )
    return ranks


def _pair_signs(x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.int_]:
    """Σ_j sign(x_i - x_j) sign(y_i - y_j) for each i: pairs that agree minus those that do not.

    Sorting is needed only for the pairs below i in both columns. What lies elsewhere follows from
    how many are below in one column alone and how many are tied.
    """
    both = _count_below(x, y)
    below_x, tied_x = _below_and_tied(x)
    below_y, tied_y = _below_and_tied(y)
    before_xy, tied_both = _below_and_tied(x * (y.max() + 1) + y)  # in order of x, then of y
    before_yx, _ = _below_and_tied(y * (x.max() + 1) + x)
    below_y_tied_x, below_x_tied_y = before_xy - below_x, before_yx - below_y
    at_most_either = below_x + tied_x + below_y + tied_y
    at_most_both = both + below_x_tied_y + below_y_tied_x + tied_both
    above = len(x) - at_most_either + at_most_both
    against = (below_x - both - below_x_tied_y) + (below_y - both - below_y_tied_x)
    return both + above - against


def _below_and_tied(values: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """#{j: v_j < v_i} and #{j: v_j = v_i} for each i."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts)[place], counts[place]


def _count_below(x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.int_]:
    """#{j: x_j < x_i and y_j < y_i} for each i; both columns hold integers from 0."""
    order = np.lexsort((-y, x))  # y falling among equal x: those never count for each other
    y = y[order]
    small = np.min_scalar_type(int(y.max()))  # numpy sorts 16-bit integers by radix
    counts = np.zeros(len(y), dtype=int)
    # y_j < y_i is settled by the highest bit where they differ: for every bit, group the rows
    # that agree above it (stable, so in order of x) and count the zeros before each one.
    for bit in range(int(y.max()).bit_length()):
        group = np.argsort((y >> (bit + 1)).astype(small), kind="stable")
        above, one = y[group] >> (bit + 1), (y[group] >> bit) & 1
        zeros = np.concatenate([[0], np.cumsum(1 - one)])
        starts = np.flatnonzero(np.diff(above, prepend=-1))
        first = np.repeat(starts, np.diff(starts, append=len(above)))
        counts[group] += one * (zeros[1:] - zeros[first])
    total = np.empty_like(counts)
    total[order] = counts
    return total
