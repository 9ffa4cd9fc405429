"""A contest of searches on NAS-Bench-201, where the best network is known (notebook 12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import t

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion.tables import intervals
from azlib.scoring.files import RESOLUTION, load
from azlib.scoring.pool import Execution
from azlib.search import Known, Rule, search
from azlib.spaces.nasbench201 import OPERATIONS, NASBench201, parse

MEASURES: Mapping[str, tuple[str, ...]] = {"AZ-NAS": AZ_NAS} | {name: (name,) for name in AZ_NAS}
"""What a search may rank by."""
RANDOM = "random search"
KEYS = ["dataset", "rule", "score"]
_SHORT = dict(zip(OPERATIONS, ("none", "skip", "1×1", "3×3", "pool"), strict=True))
QUIET = Execution(workers=1, progress=False)
"""For searches that take a second."""


def brief(arch: str) -> str:
    """The operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3."""
    return " ".join(_SHORT[operation] for operation in parse(arch))


class Contest:
    """Searches that look their scores up, as all architectures have been scored.

    CIFAR-10 and CIFAR-100 share their scores, and so their searches; only the accuracy of what was
    found differs. What was computed once is kept.
    """

    def __init__(self, space: NASBench201, scores: str, iterations: int) -> None:
        """Takes the search space, the folder of its scores, and the evaluations of a search."""
        self.space, self.iterations = space, iterations
        counts = (10, 20, 50, 100, 200, 500, 1000, 10_000)
        self.ticks = [n for n in counts if n < iterations] + [iterations]
        self._frames = cache(lambda resolution: _by_seed(space, scores, resolution))
        self._tables = cache(lambda r: [f.to_dict("index") for f in self._frames(r)])
        self._places = cache(
            lambda r: [aggregate(f).rank(ascending=False) for f in self._frames(r)]
        )
        self._log: Callable[..., pd.DataFrame] = cache(self._search)

    def frames(self, dataset: str) -> list[pd.DataFrame]:
        """For each seed of the proxies: the four scores, one row per architecture."""
        return self._frames(RESOLUTION[dataset])

    def known(self, dataset: str) -> Known:
        """A scorer that looks up the scores under the first seed of the proxies."""
        return Known(self._tables(RESOLUTION[dataset])[0])

    def log(self, rule: Rule, dataset: str, seed: int, measure: str = "AZ-NAS") -> pd.DataFrame:
        """The log of one search."""
        return self._log(rule, RESOLUTION[dataset], seed, measure)

    def _search(self, rule: Rule, resolution: int, seed: int, measure: str) -> pd.DataFrame:
        tables = self._tables(resolution)
        known = Known(tables[(seed - 1) % len(tables)], MEASURES[measure])
        length = self.iterations
        return search(self.space, rule, known, iterations=length, seed=seed, execution=QUIET).log

    def winners(self, rules: Mapping[str, Rule], truth: pd.Series, seed: int) -> pd.DataFrame:
        """Whom each search of one seed would return after each number of evaluations.

        Algorithm 1 and random search also run with single proxies. The last rows are random search
        that trains every candidate.

        Args:
            rules: by name.
            truth: accuracies in % on one data set, named after it.
            seed: of the searches.
        """
        logs = {(name, "AZ-NAS"): self.log(rule, truth.name, seed) for name, rule in rules.items()}
        for name in AZ_NAS:
            logs["Algorithm 1", name] = self.log(rules["Algorithm 1"], truth.name, seed, name)
            logs[RANDOM, name] = logs[RANDOM, "AZ-NAS"]  # draws the same whatever the score
        rows = [
            (*key, n, log["structure"][aggregate(log[:n], proxies=MEASURES[key[1]]).idxmax()])
            for key, log in logs.items()
            for n in self.ticks
        ]
        tried = logs[RANDOM, "AZ-NAS"]["structure"]
        rows += [(RANDOM, "true accuracy", n, truth[tried[:n]].idxmax()) for n in self.ticks]
        found = pd.DataFrame(rows, columns=["rule", "score", "evaluations", "found"])
        found.insert(2, "seed", seed)
        return found.assign(dataset=truth.name, accuracy=truth[found["found"]].to_numpy())

    def trajectory(self, rule: Rule, truth: pd.Series, seed: int, points: int = 50) -> pd.DataFrame:
        """One search as it goes on, at `points` of its steps: evaluations, newest and winner.

        `newest` is the median true accuracy of the newest 50 candidates, `winner` that of the
        candidate that would have won so far, both in % on the data set that `truth` is named after.
        """
        log = self.log(rule, str(truth.name), seed)
        accuracy = truth[log["structure"]].reset_index(drop=True)
        every = max(1, self.iterations // points)
        steps = pd.DataFrame({"evaluations": np.arange(every, len(log) + 1, every)})
        last = steps["evaluations"] - 1
        steps["newest"] = accuracy.rolling(50, min_periods=1).median()[last].to_numpy()
        winners = [aggregate(log[:n]).argmax() for n in steps["evaluations"]]
        return steps.assign(winner=accuracy[winners].to_numpy())

    def trajectories(
        self, rules: Mapping[str, Rule], truth: pd.DataFrame, seeds: int
    ) -> pd.DataFrame:
        """All searches as they go on: mean over the seeds and its 95 % interval.

        Returns dataset, quantity (of `trajectory`, in words), evaluations, rule, mean, low, high.
        """
        words = {"newest": "newest 50 candidates, median", "winner": "winner so far"}
        parts = [
            self.trajectory(rule, truth[dataset], seed).assign(dataset=dataset, rule=name)
            for dataset in truth
            for name, rule in rules.items()
            for seed in range(1, seeds + 1)
        ]
        tidy = pd.concat(parts).rename(columns=words)
        keys = ["dataset", "quantity", "evaluations", "rule"]
        tidy = tidy.melt([name for name in keys if name in tidy], var_name="quantity")
        found = tidy.groupby(keys, sort=False)["value"].apply(over_seeds)
        bounds = pd.DataFrame(found.tolist(), found.index, columns=["mean", "low", "high"])
        return bounds.reset_index()

    def place(self, rule: Rule, dataset: str, seed: int) -> dict[str, object]:
        """The winner of a search, its place among all architectures by the same score, and how many
        of the evaluated candidates were different."""
        log, places = self.log(rule, dataset, seed), self._places(RESOLUTION[dataset])
        found = log["structure"][aggregate(log).idxmax()]
        return {
            "found": found,
            "place": places[(seed - 1) % len(places)][found],
            "different": log["structure"].nunique(),
        }


def _by_seed(space: NASBench201, scores: str, resolution: int) -> list[pd.DataFrame]:
    name = next(dataset for dataset, size in RESOLUTION.items() if size == resolution)
    scored = load(name, space, folder=scores)
    return [frame.set_index("arch")[list(AZ_NAS)] for _, frame in scored.groupby("seed")]


def measured(found: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Winners with their regret in points of accuracy, how many architectures are better, and in
    how many edges the operation is another than in the best network."""
    found = found.assign(regret=found["dataset"].map(truth.max()) - found["accuracy"])
    ordered = {name: np.sort(truth[name]) for name in truth}
    found["better"] = [
        len(truth) - np.searchsorted(ordered[row.dataset], row.accuracy, "right")
        for row in found.itertuples()
    ]
    goal = {name: parse(arch) for name, arch in truth.idxmax().items()}
    found["edges"] = [
        sum(a != b for a, b in zip(parse(row.found), goal[row.dataset], strict=True))
        for row in found.itertuples()
    ]
    return found


def over_seeds(values: pd.Series) -> tuple[float, float, float]:
    """Mean over the seeds and its 95 % interval (Student's t)."""
    half = t.ppf(0.975, len(values) - 1) * values.sem()
    return values.mean(), values.mean() - half, values.mean() + half


def leads(final: pd.DataFrame) -> pd.DataFrame:
    """How far Algorithm 1 with AZ-NAS is ahead of each opponent, pair by pair of seeds.

    final: winners of whole searches. Returns dataset, opponent, ahead (in points of accuracy), low,
    high (95 %) and all three as text.
    """
    reached = final.set_index([*KEYS, "seed"])["accuracy"].sort_index()
    rows = []
    for name, rule, score in final.groupby(KEYS, sort=False).groups:
        if (rule, score) != ("Algorithm 1", "AZ-NAS") and score != "true accuracy":
            ahead = over_seeds(reached[name, "Algorithm 1", "AZ-NAS"] - reached[name, rule, score])
            rows.append([name, f"{rule}, {score.replace('complexity', 'FLOPs only')}", *ahead])
    gaps = pd.DataFrame(rows, columns=["dataset", "opponent", "ahead", "low", "high"])
    return gaps.assign(text=intervals(gaps, ["ahead", "low", "high"], digits=2))
