"""What a proxy knows besides depth and size: rank correlations with these held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, pearsonr

from azlib.aggregation import rank
from azlib.companion.metrics import kendall
from azlib.companion.places import aligned, frames, joined
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED

HELD_FIXED = ("live_macs", "effective_depth", "sharp_depth")
"""Size, depth, and depth as this project counts it."""


def partial_spearman(
    x: ArrayLike, y: ArrayLike, controls: pd.DataFrame, level: float = 0.95
) -> tuple[float, float, float]:
    """Spearman's ρ of two columns with others held fixed, and its interval.

    The ranks of both are replaced by what a linear function of the ranks of the controls leaves of
    them; ρ is the correlation of the two remainders. The interval is Fisher's, with the standard
    error 1.03 / √(n - k - 3) that Fieller, Hartley and Pearson (1957) give for ranks, k controls.
    NaN where the controls leave nothing, as of a constant column.

    Raises:
        AzlibError: fewer than k + 5 rows.
    """
    n, k = len(controls), controls.shape[1]
    if n < k + 5:
        raise AzlibError(f"a partial correlation given {k} columns needs {k + 5} rows, got {n}")
    base = np.column_stack([np.ones(n), *(rank(controls[name]) for name in controls)])
    rests = [_rest(rank(values), base) for values in (x, y)]
    if min(np.std(rest) for rest in rests) < 1e-9 * n:
        return (float("nan"),) * 3
    rho = float(pearsonr(*rests).statistic)
    width = norm.ppf((1 + level) / 2) * 1.03 / np.sqrt(n - k - 3)
    low, high = np.tanh(np.arctanh(rho) + np.array([-width, width]))
    return rho, float(low), float(high)


def _rest(values: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a linear function of the columns of `base` leaves of the values."""
    return values - base @ np.linalg.lstsq(base, values, rcond=None)[0]


def within_groups(scores: pd.Series, accuracies: pd.Series, groups: pd.Series) -> float:
    """Kendall's τ of architectures within groups only, in the mean over groups, each weighing as
    many pairs as it has; NaN where no group can be ranked. Groups of fewer than five say too little
    and are left out. The three are in the same order."""
    values, truth = scores.to_numpy(), accuracies.to_numpy()
    taus, weights = [], []
    for members in groups.groupby(groups).indices.values():
        if len(members) < 5:
            continue
        tau = kendall(values[members], truth[members])
        if not np.isnan(tau):
            taus.append(tau)
            weights.append(len(members) * (len(members) - 1) / 2)
    return float(np.average(taus, weights=weights)) if taus else float("nan")


def left_over(
    accuracy: Mapping[tuple[str, str], pd.Series],
    proxies: Sequence[str],
    folder: Path = COMMITTED,
) -> pd.DataFrame:
    """What is left of each proxy on each task once depth and size are known.

    Args:
        accuracy: by (benchmark, task), as `places.once_each` gives it: copies of a network would
            make the intervals too narrow.
        proxies: the proxies, none of them `HELD_FIXED`.
        folder: of the score files.

    Returns:
        benchmark, task, proxy, n, tau (plain), partial with its interval low, high (Spearman's ρ
        with `HELD_FIXED` held fixed), and within (τ within groups of equal depths and a like size,
        fifths of the MACs; equal MACs are in the same one).
    """
    rows = []
    for (benchmark, task), truth in accuracy.items():
        parts = frames(benchmark, task, folder)
        for name in proxies:
            table = joined(parts, [name, *HELD_FIXED])
            if table is None:
                continue
            table, accuracies = aligned(table, truth)
            controls = table[list(HELD_FIXED)]
            fifths = pd.qcut(rank(table["live_macs"]), 5, labels=False, duplicates="drop")
            alike = [*(table[held] for held in HELD_FIXED[1:]), fifths]
            groups = table.groupby(alike, dropna=False).ngroup()
            partial = partial_spearman(table[name], accuracies, controls)
            rows.append(
                {
                    "benchmark": benchmark,
                    "task": task,
                    "proxy": name,
                    "n": len(table),
                    "tau": kendall(table[name], accuracies),
                    **dict(zip(("partial", "low", "high"), partial, strict=True)),
                    "within": within_groups(table[name], accuracies, groups),
                }
            )
    return pd.DataFrame(rows)
