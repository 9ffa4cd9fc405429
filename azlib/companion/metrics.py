"""How well scores agree with accuracies, how sure that is, and which architecture they select.

Scores are ranked by `aggregate.rank` first (NaN and -inf tied as the lowest), so a failed score
counts as last here too. All take two columns of equal length, one entry per architecture; two
Series must carry the same index in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, norm

from azlib.aggregation import rank
from azlib.errors import AzlibError


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's τ-b; NaN if either column is constant."""
    return float(kendalltau(*_ranks(x, y)).statistic)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's ρ, the correlation of average ranks; NaN if either column is constant."""
    x, y = (ranks - ranks.mean() for ranks in _ranks(x, y))
    norms = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norms) if norms > 0 else float("nan")


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


def bootstrap(
    columns: Sequence[ArrayLike],
    statistic: Callable[..., float],
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic of several columns over n resamples of their rows.

    A row is one architecture. Architectures are drawn with replacement together with everything
    that is known about them: an aggregated score is held fixed, not aggregated anew within each
    resample.
    """
    _tails(level)
    _ranks(columns[0], columns[-1])
    found = scipy.stats.bootstrap(
        [np.asarray(column, dtype=float) for column in columns],
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=n,
        batch=1,
        method="percentile",
        confidence_level=level,
        random_state=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


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
    """Σ_j sign(x_i - x_j) sign(y_i - y_j) for each i: pairs that agree minus those that do not."""
    top_x, top_y = x.max() - x, y.max() - y  # the same columns in reverse
    return (
        _count_below(x, y)
        + _count_below(top_x, top_y)
        - _count_below(x, top_y)
        - _count_below(top_x, y)
    )


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
        counts[group] += one * (zeros[1:] - zeros[np.searchsorted(above, above)])
    total = np.empty_like(counts)
    total[order] = counts
    return total
