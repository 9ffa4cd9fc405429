"""Every method on every benchmark: what a comparison over many tasks measures and says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azlib.aggregation import AGGREGATIONS, AZ_NAS, aggregate
from azlib.companion.agreement import difference, summary
from azlib.companion.methods import Method
from azlib.companion.metrics import best_of_first, kendall, kendall_difference, ndcg
from azlib.companion.places import (
    CHOSEN_HERE,
    COUNTS,
    PLACES,
    aligned,
    fitted,
    frames,
    joined,
    left_aside,
    method,
)
from azlib.companion.tables import TAU
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED

TOP = (1, 5, 10, 50)


# --- what is measured on one task -----------------------------------------------------------


def taus(method: Method, table: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    """Kendall's τ with its 95 % interval, Spearman's ρ, and on how many architectures."""
    found = summary([(method.score(table), truth)])
    return {name: found[name] for name in (*TAU, "spearman_rho", "n")}


def tops(method: Method, table: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    """What training the first k of a ranking finds: their best accuracy, as regret in points.

    For each k of `TOP`: the accuracy of the best of all that are ranked minus that of the best of
    the first k, in the mean over the orders of tied ones. nDCG of the first tenth takes accuracies
    whose gain doubles with each 0.05 of their range, so that tasks of any unit can be compared.
    """
    scores = method.score(table)
    best = truth.max()
    found = {f"regret_{k}": max(0.0, float(best - best_of_first(scores, truth, k))) for k in TOP}
    share = (truth - truth.min()) / (best - truth.min())
    found["ndcg"] = ndcg(scores, 20 * share, max(1, len(truth) // 10))
    return found | {"best": float(best), "n": len(truth)}


def claims(method: Method, table: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    """The paper's claims on how proxies are joined: τ of a method's proxies, combined otherwise.

    log: Eq. 12. linear: without the logarithm. without_<proxy>: Eq. 12 of the others. Then how far
    Eq. 12 of all is ahead, with a 95 % interval: log_lead of linear, all_lead of the best of those
    without one, which is found on the same accuracies and so a little flattered.
    """
    proxies = method.proxies
    fewer = {f"without_{p}": [q for q in proxies if q != p] for p in proxies}
    scores = {way: aggregate(table, way, proxies) for way in AGGREGATIONS}
    scores |= {name: aggregate(table, "log", rest) for name, rest in fewer.items()}
    found: dict[str, Any] = {name: kendall(score, truth) for name, score in scores.items()}
    best = max(fewer, key=lambda name: found[name])
    for name, other in (("log_lead", "linear"), ("all_lead", best)):
        bounds = kendall_difference(scores["log"], scores[other], truth)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))
    return found


# --- over all tasks ---------------------------------------------------------------------------


def mean_ranks(numbers: pd.DataFrame, value: str = "kendall_tau") -> pd.DataFrame:
    """Rank of each method on each task (1 is best), for methods that every task has.

    One row per task but the odd ones, one column per method, ordered by mean rank.
    """
    wide = numbers[~_odd(numbers)].pivot(
        index=["benchmark", "task"], columns="method", values=value
    )
    complete = wide.dropna(axis="columns")
    if complete.empty:
        raise AzlibError("no method was scored on every task: nothing to rank")
    ranks = complete.rank(axis="columns", ascending=False)
    return ranks[ranks.mean().sort_values().index]


def friedman(ranks: pd.DataFrame) -> float:
    """p of Friedman's test that the methods do not differ at all; ranks as `mean_ranks` gives."""
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*ranks.to_numpy().T).pvalue)


def critical_difference(methods_compared: int, tasks: int, level: float = 0.05) -> float:
    """The difference of mean ranks that Nemenyi's test calls significant (Demšar, JMLR 2006).

    q √(k (k + 1) / (6 N)), with k methods on N tasks and q the quantile of the studentised range
    for infinitely many degrees of freedom, divided by √2.
    """
    from scipy.stats import studentized_range

    k = methods_compared
    q = studentized_range.ppf(1 - level, k, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(k * (k + 1) / (6 * tasks)))


def first_ranks(of_tops: pd.DataFrame) -> pd.DataFrame:
    """Each method's mean rank over the tasks by what training its first networks finds.

    Args:
        of_tops: the rows of `tops`, of the same architectures for all methods of a task.

    Returns:
        One row per method, one column for each measure of `tops` but those of size ("best of 10" is
        by the regret of the first 10); 1 is best. The methods that are best in the mean over the
        measures come first.
    """
    found = {}
    for name in (*(f"regret_{k}" for k in TOP), "ndcg"):
        sign = 1 if name == "ndcg" else -1
        ranks = mean_ranks(of_tops.assign(measure=sign * of_tops[name]), "measure")
        found[name.replace("regret_", "best of ").replace("ndcg", "nDCG")] = ranks.mean()
    table = pd.DataFrame(found).rename_axis("method")
    return table.loc[table.mean(axis="columns").sort_values().index]


def extremes(numbers: pd.DataFrame) -> pd.DataFrame:
    """Each method's best and worst task by τ of all, and the mean over tasks but the odd ones."""
    rows = []
    for name, of_method in numbers.groupby("method", sort=False):
        usual = of_method[~_odd(of_method)]
        best = of_method.loc[of_method["kendall_tau"].idxmax()]
        worst = of_method.loc[of_method["kendall_tau"].idxmin()]
        row = {"method": name, "tasks": len(of_method), "mean": usual["kendall_tau"].mean()}
        row |= {"best": best["kendall_tau"], "best task": best["task"]}
        rows.append(row | {"worst": worst["kendall_tau"], "worst task": worst["task"]})
    return pd.DataFrame(rows).sort_values("mean", ascending=False, ignore_index=True)


def _odd(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of tasks that are left out of means."""
    pairs = zip(rows["benchmark"], rows["task"], strict=True)
    return pd.Series([task in PLACES[name].odd for name, task in pairs], index=rows.index)


def against(
    accuracy: Mapping[tuple[str, str], pd.Series],
    first: str,
    second: str,
    folder: Path = COMMITTED,
) -> pd.DataFrame:
    """τ of one method minus τ of another over the same architectures, on every task.

    Args:
        accuracy: by (benchmark, task), as `truths` gives it.
        first: the method whose lead is measured.
        second: the other.
        folder: of the score files.

    Returns:
        benchmark, task, n, τ of both, and the difference with its 95 % interval; tasks where one
        of the two is not defined are left out.
    """
    rows = []
    for (benchmark, task), truth in accuracy.items():
        ours, theirs = (fitted(method(name), benchmark) for name in (first, second))
        if ours is None or theirs is None:
            continue
        parts = frames(benchmark, task, folder)
        table = joined(parts, [*ours.proxies, *theirs.proxies])
        if table is None:
            continue
        table, truth = aligned(table, truth)
        scores = ours.score(table), theirs.score(table)
        row = {"benchmark": benchmark, "task": task, "n": len(table)}
        row |= {"first": kendall(scores[0], truth), "second": kendall(scores[1], truth)}
        rows.append(row | difference(*scores, truth))
    return pd.DataFrame(rows)


def verdicts(low: pd.Series, high: pd.Series) -> pd.Series:
    """ "is ahead of", "is behind" or "is not told from", by whether an interval holds 0."""
    found = pd.Series("is not told from", index=low.index)
    return found.mask(low > 0, "is ahead of").mask(high < 0, "is behind")


# --- why ----------------------------------------------------------------------------------------


def followed(folder: Path = COMMITTED) -> pd.DataFrame:
    """Which plain count each proxy of AZ-NAS follows, or goes against, most closely.

    One row for each place and proxy: benchmark, proxy, count (of `COUNTS`) and their τ over all
    architectures. A proxy that mostly repeats a count sees no more than it.
    """
    rows = []
    for place in PLACES.values():
        parts = frames(place.benchmark, place.tasks[0], folder)
        used = [p for p in AZ_NAS if p not in left_aside(place.benchmark)]
        table = joined(parts, [*used, *COUNTS])
        if table is None:
            raise AzlibError(f"{place.benchmark}: some of {', '.join(COUNTS)} were not scored")
        for proxy in used:
            taus = pd.Series({count: kendall(table[proxy], table[count]) for count in COUNTS})
            nearest = str(taus.abs().idxmax())
            row = {"benchmark": place.benchmark, "proxy": proxy, "count": nearest}
            rows.append(row | {"tau": taus[nearest]})
    return pd.DataFrame(rows)


def weakest(
    of_claims: pd.DataFrame, of_singles: pd.DataFrame, counts: pd.DataFrame
) -> pd.DataFrame:
    """For each benchmark the proxy of AZ-NAS that helps least there, and what it sees instead.

    Args:
        of_claims: the rows of `claims` for AZ-NAS.
        of_singles: the rows of `taus` for its proxies.
        counts: as `followed` gives it.

    Returns:
        benchmark, proxy, alone (its own τ), gain (of AZ-NAS without it, so negative where it
        helps), az_nas (τ with it), seen and seen_tau (see `followed`). All τ are means over the
        tasks but the odd ones.
    """
    found = []
    for name, rows in of_claims[~_odd(of_claims)].groupby("benchmark", sort=False):
        used = [p for p in AZ_NAS if p not in left_aside(str(name))]
        gains = {p: (rows[f"without_{p}"] - rows["log"]).mean() for p in used}
        worst = max(gains, key=lambda p: gains[p])
        own = of_singles[(of_singles["benchmark"] == name) & (of_singles["method"] == worst)]
        row = {"benchmark": name, "proxy": worst, "alone": own[~_odd(own)]["kendall_tau"].mean()}
        row |= {"gain": gains[worst], "az_nas": rows["log"].mean()}
        near = counts[(counts["benchmark"] == name) & (counts["proxy"] == worst)].iloc[0]
        found.append(row | {"seen": near["count"], "seen_tau": near["tau"]})
    return pd.DataFrame(found)


def reasons(of_weakest: pd.DataFrame) -> list[str]:
    """One sentence for each benchmark, from the rows of `weakest`."""
    found = []
    for row in of_weakest.itertuples():
        hurts = row.gain > 0
        way = "follows" if row.seen_tau > 0 else "goes against"
        found.append(
            f"{PLACES[row.benchmark].title}: "
            + ("" if hurts else "no proxy hurts; least missed is ")
            + f"{row.proxy} {'hurts ' if hurts else ''}(τ {row.alone:.2f} alone; without it AZ-NAS "
            f"{'gains' if hurts else 'loses'} {abs(row.gain):.3f}, from {row.az_nas:.3f}). "
            f"It {way} {row.seen} (τ {row.seen_tau:.2f})."
        )
    return found


def findings(numbers: pd.DataFrame, ranks: pd.DataFrame, gaps: pd.DataFrame) -> list[str]:
    """What the comparison says about AZ-NAS, in sentences that follow from its numbers.

    Args:
        numbers: the rows of `taus`.
        ranks: as `mean_ranks` gives them.
        gaps: AZ-NAS against FLOPs, as `against` gives them.
    """
    means = ranks.mean()
    place = int((means < means["AZ-NAS"]).sum()) + 1
    critical = critical_difference(ranks.shape[1], len(ranks))
    better = means.index[means < means["AZ-NAS"] - critical]
    p = friedman(ranks)
    chosen = [name for name in means.index[: place - 1] if name in CHOSEN_HERE]
    ahead = (gaps["difference_low"] > 0).sum()
    behind = (gaps["difference_high"] < 0).sum()
    usual = numbers[~_odd(numbers)]
    best = usual.loc[usual.groupby(["benchmark", "task"])["kendall_tau"].idxmax()]
    counts = best["method"].value_counts()
    return [
        f"The methods {'differ' if p < 0.05 else 'are not shown to differ'} (Friedman's test, "
        f"p = {p:.0e}).",
        f"AZ-NAS has place {place} of {len(means)} by its mean rank over {len(ranks)} tasks; "
        f"better by more than the critical difference: {', '.join(better) or 'none'}.",
        "Of those before it, these were chosen on some of the very accuracies: "
        f"{', '.join(chosen) or 'none'}.",
        f"It is ahead of FLOPs on {ahead} of {len(gaps)} tasks and behind on {behind}, with "
        "intervals that leave out 0.",
        "The best method of a task: "
        + ", ".join(f"{name} on {count}" for name, count in counts.items())
        + ".",
    ]


def claims_found(of_claims: pd.DataFrame) -> list[str]:
    """What the rows of `claims` for AZ-NAS say about the paper's claims, in sentences."""
    found = []
    four = of_claims.dropna(subset=[f"without_{p}" for p in AZ_NAS])
    for name, rows, what in (
        ("log_lead", of_claims, "The logarithm against the plain sum"),
        ("all_lead", four, "All four proxies against the best three"),
    ):
        counts = verdicts(rows[f"{name}_low"], rows[f"{name}_high"]).value_counts()
        ahead, behind = counts.get("is ahead of", 0), counts.get("is behind", 0)
        found.append(
            f"{what}: a higher τ on {(rows[name] > 0).sum()} of {len(rows)} tasks; with intervals "
            f"that leave out 0, ahead on {ahead} and behind on {behind}."
        )
    return found


def firsts_found(ranks: pd.DataFrame, named: Sequence[str], critical: float) -> list[str]:
    """Who finds good networks among the first, in a sentence for each column of `first_ranks`.

    named: the methods whose places are told beside the first. critical: see `critical_difference`.
    """
    found = []
    for measure, means in ranks.items():
        near = (means < means.min() + critical).sum() - 1
        places = ", ".join(f"{name} {(means < means[name]).sum() + 1}" for name in named)
        found.append(
            f"By the {measure}: {means.idxmin()} is the first of {len(means)} with a mean rank of "
            f"{means.min():.1f}, and {near} are not told from it; places: {places}."
        )
    return found
