"""Searches on benchmarks where the best network is known: what each score finds, and its regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from azlib import spaces
from azlib.aggregation import ASSEMBLIES, aggregate
from azlib.companion.contest import QUIET, over_seeds
from azlib.companion.data.truth import named
from azlib.companion.places import PLACES, frames, joined, left_aside
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED
from azlib.search import Algorithm1, Known, RandomSearch, Rule, search
from azlib.spaces.base import EnumerableSpace

RULES: Mapping[str, Rule] = {"Algorithm 1": Algorithm1(10), "random search": RandomSearch()}
"""The rules; a population of 10 is the paper's share of 1,000 evaluations."""


def scores_to_compare(recommended: str) -> dict[str, tuple[str, ...]]:
    """What a search may rank by: AZ-NAS, another assembly of `ASSEMBLIES`, a count of FLOPs."""
    return {
        "AZ-NAS": ASSEMBLIES["az-nas"],
        recommended: ASSEMBLIES[recommended],
        "FLOPs": ("complexity",),
    }


def searched(
    benchmark: str,
    tasks: Sequence[str],
    measures: Mapping[str, tuple[str, ...]],
    iterations: int,
    seeds: int,
    folder: Path = COMMITTED,
) -> pd.DataFrame:
    """What every search finds in the space of a benchmark, whose scores are looked up.

    Args:
        benchmark: whose space is searched; all its architectures must have been scored.
        tasks: that share these scores.
        measures: proxies by the name of the score that they make.
        iterations: evaluations of a search.
        seeds: searches of each kind, under the seeds 1, 2, ...
        folder: of the score files.

    Returns:
        One row per task, rule, score and seed: `found`, the architecture with the highest score of
        those evaluated. Random search draws the same whatever the score.
    """
    proxies = dict.fromkeys(name for names in measures.values() for name in names)
    table = joined(frames(benchmark, tasks[0], folder), list(proxies))
    space = spaces.get(str(named(benchmark).space))
    if table is None or not isinstance(space, EnumerableSpace) or len(table) < len(space):
        raise AzlibError(f"not all of {benchmark} has been scored by {', '.join(proxies)}")
    known = table.to_dict("index")
    rows = []
    for rule_name, rule in RULES.items():
        for seed in range(1, seeds + 1):
            log = None
            for score, members in measures.items():
                if log is None or rule_name != "random search":
                    scorer = Known(known, members)
                    log = search(
                        space, rule, scorer, iterations=iterations, seed=seed, execution=QUIET
                    ).log
                tried = table.loc[log["structure"]].reset_index()
                found = log["structure"].iloc[int(aggregate(tried, proxies=members).idxmax())]
                rows += [(benchmark, task, rule_name, score, seed, found) for task in tasks]
    columns = ["benchmark", "task", "rule", "score", "seed", "found"]
    return pd.DataFrame(rows, columns=columns)


def ranked(
    benchmark: str,
    accuracy: Mapping[tuple[str, str], pd.Series],
    measures: Mapping[str, tuple[str, ...]],
    folder: Path = COMMITTED,
) -> pd.DataFrame:
    """The first of each ranking, for a benchmark that trained so few that all are evaluated.

    Its rows carry the rule "all ranked" and seed 1. accuracy: by (benchmark, task), whose
    architectures are ranked.
    """
    rows = []
    for (name, task), truth in accuracy.items():
        if name != benchmark:
            continue
        for score, names in measures.items():
            members = [name for name in names if name not in left_aside(benchmark)]
            table = joined(frames(benchmark, task, folder), list(dict.fromkeys(members)))
            if table is None:
                raise AzlibError(f"{benchmark} has not been scored by {', '.join(members)}")
            found = aggregate(table.loc[truth.index], proxies=members).idxmax()
            rows.append((benchmark, task, "all ranked", score, 1, found))
    return pd.DataFrame(rows, columns=["benchmark", "task", "rule", "score", "seed", "found"])


def regrets(found: pd.DataFrame, accuracy: Mapping[tuple[str, str], pd.Series]) -> pd.DataFrame:
    """Winners with their accuracy, and their regret: the best accuracy of the task minus theirs.

    `regret` is in the unit of the task; `share` is the regret as a share of what lies between the
    median of the task and its best, so that tasks can be compared (0 is the best network, 1 is no
    better than the median).
    """
    reached, best, middle = [], [], []
    for row in found.itertuples():
        truth = accuracy[row.benchmark, row.task]
        reached.append(truth[row.found])
        best.append(truth.max())
        middle.append(truth.median())
    found = found.assign(accuracy=reached, regret=np.subtract(best, reached))
    return found.assign(share=found["regret"] / np.subtract(best, middle))


def summed_up(winners: pd.DataFrame) -> pd.DataFrame:
    """Mean regret over the seeds with its 95 % interval (Student's t), and the mean share."""
    rows = []
    keys = ["benchmark", "task", "rule", "score"]
    for key, group in winners.groupby(keys, sort=False):
        mean, low, high = (
            over_seeds(group["regret"]) if len(group) > 1 else (*group["regret"], np.nan, np.nan)
        )
        row = dict(zip(keys, key, strict=True)) | {"regret": mean, "low": low, "high": high}
        rows.append(row | {"share": group["share"].mean(), "seeds": len(group)})
    return pd.DataFrame(rows)


def places_searched(tasks: Sequence[tuple[str, str]]) -> dict[str, list[list[str]]]:
    """The tasks of each benchmark, grouped by what shares its scores.

    NAS-Bench-201 is scored at another resolution for ImageNet16-120.
    """
    found: dict[str, list[list[str]]] = {}
    for benchmark, task in tasks:
        groups = found.setdefault(benchmark, [[]])
        if PLACES[benchmark].files is None and task == "imagenet16-120":
            groups.append([task])
        else:
            groups[0].append(task)
    return found


def findings(numbers: pd.DataFrame) -> list[str]:
    """What the searches say about each score, in sentences that follow from `summed_up`.

    A score leads a rule on a task where its mean regret is the lowest of all scores, ties included.
    The share of a single task can be far above 1, so that the median over tasks is told.
    """
    usual = numbers[
        [
            task not in PLACES[name].odd
            for name, task in zip(numbers["benchmark"], numbers["task"], strict=True)
        ]
    ]
    sentences = []
    for rule, rows in usual.groupby("rule", sort=False):
        wide = rows.pivot(index=["benchmark", "task"], columns="score", values="regret")
        leads = wide.eq(wide.min(axis="columns"), axis="index").sum()
        shares = rows.groupby("score", sort=False)["share"].median()
        parts = (
            f"{name} leads on {leads[name]} (median share {shares[name]:.2f})"
            for name in shares.index
        )
        sentences.append(f"{rule}, {len(wide)} tasks: {'; '.join(parts)}.")
    return sentences
