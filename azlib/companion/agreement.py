"""The tables behind the exhibits: how well scores of several seeds agree with accuracies.

Every statistic is taken per seed, over the architectures that have a score and an accuracy, and
then averaged over the seeds; intervals are over architectures (`metrics.kendall_interval`), their
bounds averaged over the seeds likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from azlib.aggregation import AGGREGATIONS, AZ_NAS, aggregate, rank
from azlib.companion import paper
from azlib.companion.metrics import (
    correlation,
    kendall_difference,
    ndcg,
    seed_spread,
    selected,
)
from azlib.companion.tables import TAU, interval
from azlib.errors import AzlibError, unknown

ANCHOR = "Notebook of the authors"  # the only published accuracy of a selected architecture


def subsets(proxies: Sequence[str] = AZ_NAS) -> list[tuple[str, ...]]:
    """All non-empty subsets, small ones first, each in the order given: 15 of the four."""
    return [s for size in range(1, len(proxies) + 1) for s in combinations(proxies, size)]


def by_seed(scores: pd.DataFrame, truth: pd.Series) -> list[tuple[pd.DataFrame, pd.Series]]:
    """(scores, accuracies) of each seed, lowest first, row by row the same architectures.

    scores: one row per (arch, seed). truth: accuracies indexed by architecture; those it lacks
    are left out. Both come back indexed by architecture, in the order of `scores`.
    Raises AzlibError if the two have no architecture in common.
    """
    pairs = []
    for seed, of_seed in scores.groupby("seed"):
        at = truth.index.get_indexer(of_seed["arch"])
        accuracies = truth.iloc[at[at >= 0]]
        frame = of_seed[at >= 0].drop(columns="arch").set_axis(accuracies.index)
        if frame.empty:
            raise AzlibError(
                f"scores of seed {seed} and ground truth share no architecture; "
                "both must name them as NAS-Bench-201 does"
            )
        pairs.append((frame, accuracies))
    return pairs


def summary(
    pairs: Iterable[tuple[ArrayLike, ArrayLike]], interval: bool = True
) -> dict[str, float]:
    """Agreement of two columns, one pair of columns per seed, averaged over the seeds.

    Returns kendall_tau, spearman_rho, tau_low and tau_high (95 %; unless `interval` is False),
    seeds, n (architectures per seed), tau_seed_std and rho_seed_std (NaN for a single seed).
    """
    pairs = list(pairs)
    found = [correlation(*pair) for pair in pairs]
    tau, tau_std = seed_spread([each.tau for each in found])
    rho, rho_std = seed_spread([each.rho for each in found])
    row = {"kendall_tau": tau, "spearman_rho": rho}
    if interval:
        row["tau_low"] = float(np.mean([each.low for each in found]))
        row["tau_high"] = float(np.mean([each.high for each in found]))
    n = len(np.asarray(pairs[0][0]))
    return row | {"seeds": len(pairs), "n": n, "tau_seed_std": tau_std, "rho_seed_std": rho_std}


def agreement(
    scores: pd.DataFrame,
    truth: pd.DataFrame,
    proxies: Sequence[str] = AZ_NAS,
    method: str = "log",
    dataset: str = "cifar10",
) -> dict[str, str | float]:
    """One row of Table 4: how a set of proxies, aggregated, ranks the architectures of a data set.

    scores: one row per (arch, seed), as `azlib.scoring.load` gives them.
    truth: as `benchmarks.load` gives it.
    Returns proxies (joined with "+"), aggregation, dataset and the fields of `summary`.
    Raises AzlibError for an unknown proxy or method, and a data set that the truth lacks.
    """
    if dataset not in truth:
        raise unknown("data set of this ground truth", dataset, map(str, truth.columns))
    pairs = [
        (aggregate(frame, method, proxies), accuracies)
        for frame, accuracies in by_seed(scores, truth[dataset])
    ]
    row = {"proxies": "+".join(proxies), "aggregation": method, "dataset": dataset}
    return row | summary(pairs)


def correlations(scores: pd.DataFrame, proxies: Sequence[str] = AZ_NAS) -> pd.DataFrame:
    """Agreement between every two proxies over all scored architectures: one row per ordered pair.

    Columns proxy_a, proxy_b and those of `summary`.
    """
    frames = [frame for _, frame in scores.groupby("seed")]
    found = {
        frozenset(pair): summary([(frame[pair[0]], frame[pair[1]]) for frame in frames])
        for pair in [*combinations(proxies, 2), *zip(proxies, proxies, strict=True)]
    }
    return pd.DataFrame(
        [
            {"proxy_a": a, "proxy_b": b} | found[frozenset((a, b))]
            for a, b in product(proxies, repeat=2)
        ]
    )


def noise_shares(
    scores: pd.DataFrame, proxies: Sequence[str], classes: Mapping[str, str]
) -> dict[str, float]:
    """How much of the variance of a proxy's ranks lies between copies of one network.

    Copies differ by their random weights and input alone, so this is the share of noise. Ranks are
    compared, so that no outlier dominates.

    Args:
        scores: one row per architecture, under one seed.
        proxies: columns to look at.
        classes: the network of each architecture; those with one architecture are left out.
    """
    network = scores["arch"].map(classes)
    shares = {}
    for name in proxies:
        ranks = scores[name].rank()
        groups = ranks.groupby(network)
        several = groups.transform("size") > 1
        apart = ((ranks - groups.transform("mean"))[several] ** 2).sum()
        freedom = several.sum() - network[several].nunique()  # each mean is of the copies, too
        shares[name] = float(apart / freedom / ranks[several].var())
    return shares


def headline(
    table: pd.DataFrame, scores: Mapping[str, pd.DataFrame], truth: pd.DataFrame
) -> pd.DataFrame:
    """All four proxies beside the published numbers, four rows per data set of the truth.

    table: rows of `agreement`, in it those of the full set. scores: data set -> scores. Returns
    dataset, quantity, value, low, high, paper, verdict, architecture. low..high is the interval
    of τ; for the accuracy (in %) of the architecture that each seed selects, the range over seeds,
    with half a point of tolerance: about what training it again changes. ρ has no interval.
    `architecture` is the one selected under the first seed.
    """
    full = table[table["proxies"] == "+".join(AZ_NAS)].set_index(["dataset", "aggregation"])
    rows: list[list[Any]] = []

    def add(
        dataset: str,
        quantity: str,
        ours: tuple[float, float, float],  # value, low, high
        published: float,
        tolerance: float = 0.02,
        architecture: Any = "",
    ) -> None:
        verdict = paper.verdict(ours[1], ours[2], published, tolerance)
        rows.append([dataset, quantity, *ours, published, verdict, architecture])

    for dataset in truth:
        for method in AGGREGATIONS:
            row = full.loc[(dataset, method)]
            published = paper.value("Table 4", method, "kendall_tau", dataset)
            add(dataset, f"τ, {method}", tuple(row[list(TAU)]), published)
        rho = full.loc[(dataset, "log"), "spearman_rho"]
        published = paper.value("Table 1", "AZ-NAS", "spearman_rho", dataset)
        add(dataset, "ρ, log", (rho, rho, rho), published)
        best = [
            selected(aggregate(frame), accuracies)
            for frame, accuracies in by_seed(scores[dataset], truth[dataset])
        ]
        reached = np.array([accuracy for _, accuracy in best])
        bounds = reached.mean(), reached.min(), reached.max()
        published = paper.value(ANCHOR, "AZ-NAS", "selected_accuracy", dataset)
        add(dataset, "accuracy of the selected, %", bounds, published, 0.5, best[0][0])
    columns = ["dataset", "quantity", "value", "low", "high", "paper", "verdict", "architecture"]
    return pd.DataFrame(rows, columns=columns)


def top_accuracy(scores: pd.Series, accuracies: pd.Series) -> float:
    """Accuracy in % of the architecture with the highest score; the mean of those tied for it."""
    ranks = rank(scores)
    return float(accuracies.to_numpy()[ranks == ranks.max()].mean())


def performance(
    pairs: Iterable[tuple[pd.Series, pd.Series]], whole: int = 15625
) -> dict[str, float]:
    """One row of Table 1: how a method ranks architectures and which one it selects.

    pairs: (scores, accuracies in %), one per seed. whole: how many architectures the set has of
    which these may be a sample: nDCG looks at the best 1000 of the whole set, and at as large a
    share of a sample. Returns the fields of `summary`, ndcg, and the mean and standard deviation
    over seeds of the selected architecture's accuracy (NaN for a single seed).
    """
    pairs = list(pairs)
    found = summary(pairs)
    positions = max(1, round(1000 * found["n"] / whole))
    best, best_std = seed_spread([top_accuracy(*pair) for pair in pairs])
    gains = np.mean([ndcg(*pair, positions) for pair in pairs])
    found |= {"ndcg": float(gains), "selected_accuracy_mean": best}
    return found | {"selected_accuracy_std": best_std}


def lead(table: pd.DataFrame, method: str, others: Sequence[str]) -> str:
    """One sentence: is a method ahead of the others, and are their intervals of τ apart?

    table: rows of one data set and one set of architectures, with the columns method, kendall_tau,
    tau_low, tau_high. `others` that it lacks are left out.
    """
    rows = table.set_index("method")[["kendall_tau", "tau_low", "tau_high"]]
    ours, theirs = rows.loc[method], rows[rows.index.isin(others)].sort_values("kendall_tau")

    def named(row: pd.Series) -> str:
        return f"{row.name} {interval(*row)}"

    apart = theirs["tau_high"] < ours["tau_low"]
    sentence = f"{named(ours)} is ahead of {apart.sum()} of {len(theirs)} with intervals apart"
    if apart.all():
        return sentence + (f"; the nearest is {named(theirs.iloc[-1])}." if len(theirs) else ".")
    return f"{sentence}, not of {', '.join(named(row) for _, row in theirs[~apart].iterrows())}."


def difference(first: ArrayLike, second: ArrayLike, accuracies: ArrayLike) -> dict[str, float]:
    """τ of the first scores minus τ of the second over the same architectures.

    Returns difference, difference_low, difference_high, see `metrics.kendall_difference`.
    Aggregated scores are held fixed, not aggregated anew without an architecture.
    """
    return kendall_difference(first, second, accuracies)._asdict()
