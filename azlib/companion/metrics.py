"""How well scores agree with accuracies, how sure that is, and which architecture they select.

Scores are ranked by `aggregate.rank` first (NaN and -inf tied as the lowest), so a failed score
counts as last here too. All take two columns of equal length, one entry per architecture; two
Series must carry the same index in the same order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

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
    return _rho(*_ranks(x, y))


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


def best_of_first(scores: ArrayLike, accuracies: ArrayLike, k: int) -> float:
    """The best accuracy among the first k of a ranking; NaN ranks last.

    Where the k-th place is tied, the mean over all orders of those tied for it: of g of them, m are
    still among the first k, and the best of m drawn from g is not one of the j best with the
    probability Π_{i<j} (g - m - i) / (g - i).
    """
    ranks, accuracies = _ranks(scores, accuracies)[0], np.asarray(accuracies, dtype=float)
    last = np.sort(ranks)[::-1][min(k, len(ranks)) - 1]
    sure, tied = accuracies[ranks > last], np.sort(accuracies[ranks == last])[::-1]
    m, g, j = min(k, len(ranks)) - len(sure), len(tied), np.arange(len(tied))
    later = np.cumprod(np.clip(g - m - j, 0, None) / (g - j))  # none of the first j + 1 is drawn
    found = np.maximum(tied, sure.max(initial=-np.inf))
    return float(-np.diff(later, prepend=1.0) @ found)


def kendall_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of Kendall's τ-b over architectures, by the delete-one jackknife.

    τ ± z·se, where se² = (n-1)/n Σ (τ_without_i - mean)². Every τ_without_i is exact and follows
    from how many pairs of architecture i agree, which takes O(n log n) for all of them together:
    milliseconds where the bootstrap takes seconds, and no seed. The columns are held fixed: an
    aggregated score is not aggregated anew without i. NaN if leaving out one architecture makes
    a column constant.
    """
    found = correlation(x, y, level)
    return found.low, found.high


class Correlation(NamedTuple):
    """Kendall's τ-b, the bounds of its confidence interval, and Spearman's ρ."""

    tau: float
    low: float
    high: float
    rho: float


def correlation(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Correlation:
    """What `kendall`, `kendall_interval` and `spearman` say, from one ranking of each column."""
    ranks = _ranks(x, y)
    tau, without = _leaving_one_out(*ranks)
    width = _width(without, level)
    return Correlation(tau, max(tau - width, -1.0), min(tau + width, 1.0), _rho(*ranks))


class Difference(NamedTuple):
    """Kendall's τ-b of one column minus that of another, and the bounds of its interval."""

    difference: float
    difference_low: float
    difference_high: float


def kendall_difference(
    first: ArrayLike, second: ArrayLike, y: ArrayLike, level: float = 0.95
) -> Difference:
    """τ of `first` with y minus τ of `second` with y, with its interval by the jackknife.

    The same architecture is left out of both, so that what both τ owe to the architectures cancels:
    the interval is narrower than those of the two τ suggest. See `kendall_interval`.
    """
    taus = [_leaving_one_out(*_ranks(column, y)) for column in (first, second)]
    found = taus[0][0] - taus[1][0]
    width = _width(taus[0][1] - taus[1][1], level)
    return Difference(found, found - width, found + width)


def _leaving_one_out(x: NDArray, y: NDArray) -> tuple[float, NDArray[np.float64]]:
    """τ-b of two columns of ranks, and that without each of the architectures."""
    doubled = [(2 * column).astype(int) for column in (x, y)]  # average ranks are half-integers
    agreement = _pair_signs(*doubled)
    # Pairs not tied in x (in y), of each architecture and in all.
    untied = [len(column) - np.bincount(column)[column] for column in doubled]
    pairs = [each.sum() / 2 for each in untied]
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = agreement.sum() / 2 / np.sqrt(pairs[0]) / np.sqrt(pairs[1])
        tau = float(np.clip(tau, -1, 1))  # rounding may lead beyond
        scale = np.sqrt((pairs[0] - untied[0]) * (pairs[1] - untied[1]))
        return tau, (agreement.sum() / 2 - agreement) / scale


def _width(without: NDArray[np.float64], level: float) -> float:
    """How far an interval reaches to each side, from a value without each of n architectures."""
    z = norm.ppf(_tails(level)[1])
    with np.errstate(invalid="ignore"):
        return float(z * np.sqrt((len(without) - 1) * without.var()))


def kendall_of_draws(x: ArrayLike, y: ArrayLike, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """Kendall's τ-b of many resamples of the rows at once; NaN where a column is constant.

    Args:
        x, y: the columns, one row per architecture.
        counts: (draws, rows), how often each row was drawn. Copies of one row are tied.

    Where c counts the copies, the pairs that agree minus those that do not are
    Σ_i<j c_i c_j sign(x_i - x_j) sign(y_i - y_j). For a thousand architectures these products of
    matrices are far quicker than ranking every resample anew, and whole numbers make them exact.
    """
    ranks = [(2 * column).astype(np.float32) for column in _ranks(x, y)]
    drawn = np.asarray(counts, dtype=np.float32)
    agreement = np.zeros(len(drawn))
    for start in range(0, len(ranks[0]), 128):  # rows at a time, so that the cache holds them
        rows, after = slice(start, start + 128), slice(start, None)
        first, second = (column[after] - column[rows, None] for column in ranks)
        signs = np.sign(first * second)
        signs[:, :128] /= 2  # here both (i, j) and (j, i) are counted
        agreement += np.einsum("dr,dr->d", drawn[:, rows], drawn[:, after] @ signs.T, dtype=float)
    untied = [_untied_pairs(column, counts) for column in ranks]
    with np.errstate(invalid="ignore"):
        return agreement / np.sqrt(untied[0] * untied[1])


def kendall_of_many(
    columns: Iterable[ArrayLike], others: Sequence[ArrayLike]
) -> NDArray[np.float64]:
    """Kendall's τ-b of each of many columns (rows of the result) with each of a few others.

    All pairs of architectures are compared, once for each column and not for each τ, and kept as
    bits. For a thousand architectures that is far quicker than sorting. NaN if a column is
    constant.
    """
    beside = [(_higher(rank(other)), _higher(-rank(other))) for other in others]
    untied = [_ones(pairs) for pairs, _ in beside]
    found = []
    for column in columns:
        pairs = _higher(rank(column))
        agreement = [_ones(pairs & same) - _ones(pairs & opposite) for same, opposite in beside]
        with np.errstate(invalid="ignore"):
            found.append(agreement / np.sqrt(_ones(pairs)) / np.sqrt(untied))
    return np.clip(np.array(found), -1, 1)  # rounding may lead beyond


def _higher(ranks: NDArray[np.float64]) -> NDArray[np.uint64]:
    """For each pair (i, j) one bit: whether i has the higher rank."""
    short = (2 * ranks).astype(np.min_scalar_type(-2 * len(ranks) - 1))  # such numbers compare fast
    packed = np.packbits(short[:, None] > short)
    return np.pad(packed, (0, -len(packed) % 8)).view(np.uint64)


def _ones(bits: NDArray[np.uint64]) -> int:
    """How many bits are set."""
    if not hasattr(np, "bitwise_count"):  # before NumPy 2
        return int(np.unpackbits(bits.view(np.uint8)).sum(dtype=int))
    return int(np.bitwise_count(bits).sum(dtype=int))


def _untied_pairs(column: NDArray, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """How many pairs of each draw differ in a column, from the sizes of its groups of ties."""
    order = np.argsort(column, kind="stable")
    starts = np.flatnonzero(np.diff(column[order], prepend=-np.inf))
    groups = counts
    if len(starts) < len(column):
        groups = np.add.reduceat(counts[:, order], starts, axis=1)
    return (counts.sum(axis=1) ** 2 - np.einsum("dg,dg->d", groups, groups, dtype=float)) / 2


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


def _rho(x: NDArray, y: NDArray) -> float:
    """The correlation of two columns of ranks; NaN if either is constant."""
    first, second = x - x.mean(), y - y.mean()
    norms = np.sqrt((first * first).sum() * (second * second).sum())
    return float((first * second).sum() / norms) if norms > 0 else float("nan")


def _pair_signs(x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.int_]:
    """Σ_j sign(x_i - x_j) sign(y_i - y_j) for each i: pairs that agree minus those that do not.

    Let i be number p when sorted by x, and number q when sorted by y, both counted from 0, and
    let c architectures be before i in both orders. Without ties c + (n - 1 - p - q + c) pairs
    agree and (p - c) + (q - c) do not. Equal x are ordered by falling y, equal y by falling x, and
    copies once one way and once the other. So no tied pair is among the c, and the others are
    made up for by how many are tied with i in x, in y and in both, itself included.
    """
    n = len(x)
    by_x, tied = _sorted(x * (y.max() + 1) - y)
    p, q = np.empty_like(by_x), np.empty_like(by_x)
    p[by_x] = np.arange(n)
    by_y, _ = _sorted(y * n - p)
    q[by_y] = np.arange(n)
    before = np.empty_like(p)
    before[by_y] = _earlier_and_smaller(q[by_x])
    return 4 * before + n - 2 - 2 * (p + q) + np.bincount(x)[x] + np.bincount(y)[y] - tied


def _sorted(values: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The order that sorts the values, and for each value how many are equal to it."""
    order = np.argsort(values)
    starts = np.flatnonzero(np.diff(values[order], prepend=values.min() - 1))
    sizes = np.diff(starts, append=len(values))
    tied = np.empty_like(order)
    tied[order] = np.repeat(sizes, sizes)
    return order, tied


def _earlier_and_smaller(places: NDArray[np.int_]) -> NDArray[np.int_]:
    """For each v = 0..n-1, how many smaller ones stand before it in a permutation of these.

    Whether u < v is settled by the highest bit where they differ. So for every bit, from the
    highest: among the values that agree above it, each that has the bit set counts those without
    it that stand before; then the two halves are parted, in the order in which they stood.
    """
    n, bits = len(places), int(len(places) - 1).bit_length()
    size = 2**bits
    places = np.append(places, np.arange(n, size)).astype(np.int32)  # so that all halves are equal
    counts = np.zeros(size, dtype=np.int32)
    for half in (2**bit for bit in reversed(range(bits))):
        high = (places & half) > 0
        low, high = np.flatnonzero(~high), np.flatnonzero(high)
        counts[high] += ((high % (2 * half)).reshape(-1, half) - np.arange(half)).ravel()
        parted = np.stack([low.reshape(-1, half), high.reshape(-1, half)], axis=1).ravel()
        places, counts = places[parted], counts[parted]
    return counts[:n]
