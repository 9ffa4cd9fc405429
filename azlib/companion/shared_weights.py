"""Whether scores of vision transformers gain from weights that all of them share.

Two questions of the same table of scores: how far two seeds agree about the order of the networks,
and how far a seed agrees with their accuracies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import pandas as pd

from azlib.aggregation import aggregate
from azlib.companion.agreement import by_seed, summary
from azlib.companion.tables import TAU

TOTAL = "AZ-NAS"
"""The name of the log-rank sum among the scores."""


def between_seeds(
    frames: Mapping[str, pd.DataFrame],
    proxies: Sequence[str],
    groups: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """τ between the orders of every two seeds, averaged over these pairs.

    Args:
        frames: scores by the name of what is compared, one row per (arch, seed), every seed with
            the same architectures.
        proxies: whose log-rank sum, among these architectures, is looked at beside each of them.
        groups: the group of each architecture. Then only architectures of one group are ranked
            against each other, and τ and the bounds of its interval are averaged over the groups.

    Returns:
        A row for each name and score, with the columns `weights`, `score`, `kendall_tau`,
        `tau_low`, `tau_high` (95 %, over the architectures of a group) and `n` of a group.
    """
    rows = []
    for name, scores in frames.items():
        group = scores["arch"].map(groups) if groups is not None else pd.Series(0, scores.index)
        pairs: dict[str, list[tuple[pd.Series, pd.Series]]] = {}
        for _, of_group in scores.groupby(group):
            seeds = [
                dict(_columns(of_seed.set_index("arch").sort_index(), proxies))
                for _, of_seed in of_group.groupby("seed")
            ]
            for (first, second), score in product(combinations(seeds, 2), seeds[0]):
                pairs.setdefault(score, []).append((first[score], second[score]))
        rows += [{"weights": name, "score": score} | _shown(of) for score, of in pairs.items()]
    return pd.DataFrame(rows)


def with_tasks(
    frames: Mapping[str, pd.DataFrame], proxies: Sequence[str], truth: pd.DataFrame
) -> pd.DataFrame:
    """τ with the accuracies of each task, over the networks that have one, averaged over seeds.

    Args:
        frames, proxies: as in `between_seeds`.
        truth: accuracies, one column per task, indexed by architecture.

    Returns:
        A row for each name, task and score, with the columns of `between_seeds` and `task`.
    """
    rows = []
    for name, scores in frames.items():
        for task in truth:
            seeds = [
                (dict(_columns(frame, proxies)), accuracies)
                for frame, accuracies in by_seed(scores, truth[task].dropna())
            ]
            for score in seeds[0][0]:
                pairs = [(columns[score], accuracies) for columns, accuracies in seeds]
                rows.append({"weights": name, "task": task, "score": score} | _shown(pairs))
    return pd.DataFrame(rows)


def _columns(frame: pd.DataFrame, proxies: Sequence[str]) -> Iterator[tuple[str, pd.Series]]:
    """The log-rank sum, and then each proxy."""
    yield TOTAL, aggregate(frame, proxies=proxies)
    for name in proxies:
        yield name, frame[name]


def _shown(pairs: list[tuple[pd.Series, pd.Series]]) -> dict[str, float]:
    found = summary(pairs)
    return {name: found[name] for name in (*TAU, "n")}
