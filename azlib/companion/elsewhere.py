"""Every method on every benchmark: what a comparison over many tasks measures and says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion.agreement import difference, summary
from azlib.companion.methods import Method
from azlib.companion.metrics import best_of_first, kendall, kendall_interval, ndcg
from azlib.companion.places import (
    CHOSEN_HERE,
    PLACES,
    SEED,
    aligned,
    fitted,
    frames,
    joined,
    left_aside,
    method,
)
from azlib.companion.tables import TAU
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED, read, read_settings

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

    log: Eq. 12. linear: without the logarithm. without_<proxy>: Eq. 12 of the others.
    """

    def tau(proxies: Sequence[str], way: str = "log") -> float:
        return summary([(aggregate(table, way, proxies), truth)], interval=False)["kendall_tau"]

    proxies = method.proxies
    rest = {f"without_{p}": tau([q for q in proxies if q != p]) for p in proxies}
    return {"log": tau(proxies), "linear": tau(proxies, "linear")} | rest


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


def critical_difference(methods_compared: int, tasks: int, level: float = 0.05) -> float:
    """The difference of mean ranks that Nemenyi's test calls significant (Demšar, JMLR 2006).

    q √(k (k + 1) / (6 N)), with k methods on N tasks and q the quantile of the studentised range
    for infinitely many degrees of freedom, divided by √2.
    """
    from scipy.stats import studentized_range

    k = methods_compared
    q = studentized_range.ppf(1 - level, k, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(k * (k + 1) / (6 * tasks)))


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


def verdicts(gaps: pd.DataFrame) -> list[str]:
    """ "is ahead of", "is behind" or "is not told from", by whether an interval holds 0."""
    bounds = zip(gaps["difference_low"], gaps["difference_high"], strict=True)
    return [
        "is ahead of" if low > 0 else "is behind" if high < 0 else "is not told from"
        for low, high in bounds
    ]


# --- the settings, the seeds --------------------------------------------------------------


def settings_study(folder: Path = COMMITTED) -> pd.DataFrame:
    """How well AZ-NAS at each cheap setting agrees with the dearest of the same space.

    One row for each file `az_<space>_<pixels>px_batch-<n>` of the spaces that are compared here:
    benchmark, setting, n, agreement (τ with the dearest setting under another seed) with its
    interval, relative time, and whether the space is scored at it (`chosen`).
    """
    rows = []
    for place in PLACES.values():
        if place.files is None:
            continue
        space, _ = place.files.removesuffix("_trained").rsplit("_", 1)
        used = read_settings(folder / f"az_{place.files}.parquet").score
        found = {
            path: read_settings(path).score
            for path in folder.glob(f"az_{space}_*px_batch-*.parquet")
        }
        if not found:
            continue
        dearest = max(found, key=lambda path: (found[path].resolution, found[path].batch))
        reference = _seed(read(dearest), SEED)
        for path, held in sorted(
            found.items(), key=lambda item: (item[1].resolution, item[1].batch)
        ):
            frame = read(path)
            scored = _seed(frame, frame["seed"].max())
            proxies = [name for name in AZ_NAS if name not in left_aside(place.benchmark)]
            pair = (
                aggregate(scored, proxies=proxies),
                aggregate(reference.loc[scored.index], proxies=proxies),
            )
            rows.append(
                {
                    "benchmark": place.benchmark,
                    "setting": f"{held.resolution} px, batch {held.batch}",
                    "chosen": (held.resolution, held.batch) == (used.resolution, used.batch),
                    "agreement": summary([pair])["kendall_tau"],
                    **dict(zip(("low", "high"), kendall_interval(*pair), strict=True)),
                    "relative time": frame["seconds"].median() / read(dearest)["seconds"].median(),
                    "n": len(scored),
                }
            )
    return pd.DataFrame(rows)


def _seed(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame[frame["seed"] == seed].set_index("arch")


def between_seeds(folder: Path = COMMITTED) -> pd.DataFrame:
    """How well AZ-NAS and its proxies agree with themselves under another seed, on every place."""
    rows = []
    for place in PLACES.values():
        files = place.files or "nasbench201_32px_unique"
        frame = read(folder / f"az_{files}.parquet")
        first, second = (part.set_index("arch") for _, part in list(frame.groupby("seed"))[:2])
        second = second.loc[first.index]
        pairs = {name: (first[name], second[name]) for name in AZ_NAS[:3]}
        used = [name for name in AZ_NAS if name not in left_aside(place.benchmark)]
        pairs["AZ-NAS"] = (aggregate(first, proxies=used), aggregate(second, proxies=used))
        for name, pair in pairs.items():
            rows.append({"benchmark": place.benchmark, "score": name} | summary([pair]))
    return pd.DataFrame(rows)


# --- in words ---------------------------------------------------------------------------------


def reasons(of_claims: pd.DataFrame, of_singles: pd.DataFrame) -> list[str]:
    """One sentence for each benchmark: which proxy of AZ-NAS hurts most there, and its own τ.

    A proxy hurts where AZ-NAS without it has a higher τ, in the mean over the tasks.

    Args:
        of_claims: the rows of `claims` for AZ-NAS.
        of_singles: the rows of `taus` for its proxies.
    """
    found = []
    for name, rows in of_claims[~_odd(of_claims)].groupby("benchmark", sort=False):
        used = [p for p in AZ_NAS if p not in left_aside(str(name))]
        gains = {p: (rows[f"without_{p}"] - rows["log"]).mean() for p in used}
        worst = max(gains, key=lambda p: gains[p])
        own = of_singles[(of_singles["benchmark"] == name) & (of_singles["method"] == worst)]
        tau = own[~_odd(own)]["kendall_tau"].mean()
        effect = "gains" if gains[worst] > 0 else "loses"
        found.append(
            f"{PLACES[str(name)].title}: without {worst} (τ {tau:.2f} alone) AZ-NAS {effect} "
            f"{abs(gains[worst]):.3f}, from {rows['log'].mean():.3f}"
        )
    return found


def findings(
    numbers: pd.DataFrame, ranks: pd.DataFrame, gaps: pd.DataFrame, of_claims: pd.DataFrame
) -> list[str]:
    """What the comparison says about AZ-NAS, in sentences that follow from its numbers.

    Args:
        numbers: the rows of `taus`.
        ranks: as `mean_ranks` gives them.
        gaps: AZ-NAS against FLOPs, as `against` gives them.
        of_claims: the rows of `claims` for AZ-NAS.
    """
    means = ranks.mean()
    place = int((means < means["AZ-NAS"]).sum()) + 1
    critical = critical_difference(ranks.shape[1], len(ranks))
    better = means.index[means < means["AZ-NAS"] - critical]
    chosen = [name for name in means.index[: place - 1] if name in CHOSEN_HERE]
    ahead = (gaps["difference_low"] > 0).sum()
    behind = (gaps["difference_high"] < 0).sum()
    log_wins = (of_claims["log"] > of_claims["linear"]).sum()
    with_four = of_claims.dropna(subset=[f"without_{p}" for p in AZ_NAS])
    threes = with_four[[f"without_{p}" for p in AZ_NAS]].max(axis="columns")
    usual = numbers[~_odd(numbers)]
    best = usual.loc[usual.groupby(["benchmark", "task"])["kendall_tau"].idxmax()]
    counts = best["method"].value_counts()
    return [
        f"AZ-NAS has place {place} of {len(means)} by its mean rank over {len(ranks)} tasks; "
        f"better by more than the critical difference: {', '.join(better) or 'none'}.",
        "Of those before it, these were chosen on some of the very accuracies: "
        f"{', '.join(chosen) or 'none'}.",
        f"It is ahead of FLOPs on {ahead} of {len(gaps)} tasks and behind on {behind}, with "
        "intervals that leave out 0.",
        f"The logarithm is ahead of the plain sum on {log_wins} "
        f"of {len(of_claims)} tasks. Where AZ-NAS has four proxies, all four are ahead of every "
        f"three on {(with_four['log'] >= threes).sum()} of {len(with_four)}.",
        "The best method of a task: "
        + ", ".join(f"{name} on {count}" for name, count in counts.items())
        + ".",
    ]
