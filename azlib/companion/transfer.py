"""A ranking that is good on several search spaces: how its members are chosen, and on what.

The protocol, fixed before anything held out was read. It did not come at once: a greedy choice, as
in notebook 13, was tried on the choosing halves and ended at its first member, as two proxies
together are better than one only if they are the right two; and that one member must count size
was added a minute before the choice was frozen. The latter decides what is taken, as notebook 24
shows.

1. **Halves.** A hash of the text of its canonical architecture puts every network in one of two
   halves, so that architectures which are the same network are in the same one. Only the first,
   *choosing* half may be looked at: of NAS-Bench-201 on CIFAR-10, of TransNAS-Bench-101 micro on
   its tasks but the odd one, and of NAS-Bench-Macro. All else is *held out*: the other halves, the
   other data sets, the task that was left out, the vision transformers.
2. **Candidates.** Proxies that mean something on any network, read images only as noise, cost no
   more than a pass of AZ-NAS, and do not count what is dead, but for `params`, the plain size
   (`CANDIDATES`). What counts operations that one benchmark happens to have (`fewest_poolings`) is
   none, and neither is what reads one kind of layer only (NASWOT needs ReLUs, Zen batch
   normalisation).
3. **Measure.** The mean over the benchmarks of the mean τ over their tasks, so that a benchmark of
   many tasks weighs no more than one of few. It is taken on a random `SAMPLE` of each half.
4. **Choice.** Every set of at most `MOST` candidates is tried, none twice, no weights, with the
   logarithm of ranks and without. One member must count size (`SIZES`): in a space whose networks
   differ only in width, every count of layers is the same for all. Of the sets within `CLOSE` of
   the best, the one with the fewest members is taken, and of these the best.
5. **Does the choice itself transfer?** The same with each benchmark left out in turn: τ on the
   choosing half of the one left out, beside that of what was chosen with it, and of single counts.
6. **Freeze**, and only then read the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from azlib import spaces
from azlib.aggregation import AGGREGATIONS, rank
from azlib.companion.data.truth import named
from azlib.companion.metrics import kendall_of_many
from azlib.companion.places import CNNS, COUNTS, PLACES, frames, joined
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED

CANDIDATES = (
    "expressivity",
    "progressivity",
    "trainability",
    *COUNTS,
)
LEARNT_FROM = ("nas-bench-201", "transnas-bench-101-micro", "nas-bench-macro")
SIZES = ("params", "live_macs")
MOST = 6
CLOSE = 0.005
SAMPLE = 1000
ALONE = ("live_macs", "sharp_depth")
GOALS = {"nas-bench-201": 0.78, "transnas-bench-101-micro": 0.60, "nas-bench-macro": 0.80}
"""Mean τ over the tasks but the odd ones that was to be reached, asked for before the choice."""
TO_BEAT = ("AZ-NAS", "FLOPs", "NASWOT", "VKDNW single", "VKDNW agg")
"""Methods that were to be beaten on every task of `CNNS`."""
NOT_BELOW_PARAMS = ("c100_kd_acc", "flower_kd_acc")
"""Tasks of the vision transformers on which not to be below #Params."""


def first_half(benchmark: str, archs: Sequence[str]) -> np.ndarray:
    """Which architectures are in the choosing half of a benchmark: by a hash of their network."""
    space = spaces.get(str(named(benchmark).space))
    texts = [space.canonical(arch) for arch in archs]
    return np.array([sha256(text.encode()).digest()[0] % 2 == 0 for text in texts], dtype=bool)


@dataclass(frozen=True)
class Part:
    """Ranks and accuracies of the same architectures of one benchmark on one task.

    benchmark, task: what was trained. ranks: rank / m of every candidate, one row per architecture.
    accuracies: in the same order.
    """

    benchmark: str
    task: str
    ranks: pd.DataFrame
    accuracies: pd.Series


def choosing(
    accuracy: Mapping[tuple[str, str], pd.Series],
    candidates: Sequence[str] = CANDIDATES,
    folder: Path = COMMITTED,
) -> list[Part]:
    """What an assembly may be chosen on, one part for each benchmark and task.

    Args:
        accuracy: by (benchmark, task), as `places.truths` gives it.
        candidates: the proxies.
        folder: of the score files.
    """
    found = []
    for (benchmark, task), truth in accuracy.items():
        other_set = benchmark == "nas-bench-201" and task != "cifar10"
        if benchmark not in LEARNT_FROM or task in PLACES[benchmark].odd or other_set:
            continue
        table = joined(frames(benchmark, task, folder), candidates)
        if table is None:
            raise AzlibError(f"{benchmark}: some of {', '.join(candidates)} were not scored there")
        table = table[first_half(benchmark, list(table.index))]
        drawn = np.random.default_rng(0).permutation(len(table))[:SAMPLE]
        table = table.iloc[np.sort(drawn)]
        ranks = pd.DataFrame({c: rank(table[c]) / len(table) for c in table}, index=table.index)
        found.append(Part(benchmark, task, ranks, truth.loc[table.index]))
    return found


def tried(over: Sequence[Part], candidates: Sequence[str] = CANDIDATES) -> pd.DataFrame:
    """τ of every small set of candidates, with the logarithm and without.

    One row each: `way`, `members` (joined by "+"), `size`, `sized` (whether one of them is in
    `SIZES`, so that it may be chosen), and for every benchmark its mean τ over the tasks.
    """
    sets = [m for size in range(1, MOST + 1) for m in combinations(candidates, size)]
    found = []
    for way in AGGREGATIONS:
        table = pd.DataFrame({"way": way, "members": ["+".join(m) for m in sets]})
        table["size"] = [len(m) for m in sets]
        table["sized"] = [bool(set(m) & set(SIZES)) for m in sets]
        taus: dict[str, list[np.ndarray]] = {}
        for benchmark, ranks, accuracies in _together(over):
            if way == "log":
                ranks = np.log(ranks)
            columns = {c: ranks[c].to_numpy() for c in candidates}
            sums = (np.sum([columns[c] for c in members], axis=0) for members in sets)
            of_tasks = kendall_of_many(sums, accuracies)
            taus.setdefault(benchmark, []).extend(of_tasks.T)
        found.append(table.assign(**{b: np.mean(rows, axis=0) for b, rows in taus.items()}))
    return pd.concat(found, ignore_index=True)


def _together(parts: Iterable[Part]) -> list[tuple[str, pd.DataFrame, list[pd.Series]]]:
    """Benchmark, ranks and the accuracies on all tasks of parts that share their ranks."""
    found: list[tuple[str, pd.DataFrame, list[pd.Series]]] = []
    for part in parts:
        for benchmark, ranks, accuracies in found:
            if benchmark == part.benchmark and ranks.equals(part.ranks):
                accuracies.append(part.accuracies)
                break
        else:
            found.append((part.benchmark, part.ranks, [part.accuracies]))
    return found


def decided(table: pd.DataFrame, benchmarks: Sequence[str], sized: bool = True) -> pd.Series:
    """The row of what the protocol takes, if it is chosen on these benchmarks; `measure` is added.

    table: as `tried` gives it. sized: whether one member must count size, as the protocol has it.
    """
    table = table.assign(measure=table[list(benchmarks)].mean(axis="columns"))
    table = table[table["sized"]] if sized else table
    near = table[table["measure"] >= table["measure"].max() - CLOSE]
    fewest = near[near["size"] == near["size"].min()]
    return fewest.loc[fewest["measure"].idxmax()]


def left_out(table: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """What is chosen without each benchmark in turn, and how it ranks the one that was left out.

    One row per benchmark: `chosen_without_it` (way and members), its mean τ on the tasks of the one
    left out (`left_out`), that of what is chosen on all benchmarks (`with_it`), and those of the
    counts of `ALONE`, each under its name, which nobody had to choose.
    """
    everywhere = decided(table, benchmarks)
    alone = table[table["way"] == "log"].set_index("members").loc[list(ALONE)]
    rows = []
    for name in benchmarks:
        without = decided(table, [other for other in benchmarks if other != name])
        text = f"{without['way']}: {without['members']}"
        rows.append(
            {
                "benchmark": name,
                "chosen_without_it": text,
                "left_out": without[name],
                "with_it": everywhere[name],
                **alone[name],
            }
        )
    return pd.DataFrame(rows)


def rest_of(accuracy: Mapping[tuple[str, str], pd.Series]) -> dict[tuple[str, str], pd.Series]:
    """The accuracies that no choice has seen: of every task the half that is held out.

    Of the vision transformers all are.
    """
    found = {}
    for (benchmark, task), truth in accuracy.items():
        if benchmark in LEARNT_FROM:
            truth = truth[~first_half(benchmark, list(truth.index))]
        found[benchmark, task] = truth
    return found


def goals(numbers: pd.DataFrame, duels: pd.DataFrame) -> pd.DataFrame:
    """The goals that were asked for before the choice, and which the held-out data bear out.

    Args:
        numbers: rows of `elsewhere.taus` of az-transfer.
        duels: rows of `elsewhere.against` of it with the columns opponent and verdict.

    Returns:
        goal, found and verdict ("reached" or "missed"), all of them text.
    """
    rows = []
    for name, least in GOALS.items():
        mean = _mean_tau(numbers, name)
        rows.append((f"mean τ on {PLACES[name].title} ≥ {least:.2f}", f"{mean:.3f}", mean >= least))
    for opponent in TO_BEAT:
        mine = duels[(duels["opponent"] == opponent) & duels["benchmark"].isin(CNNS)]
        ahead = int((mine["verdict"] == "is ahead of").sum())
        found = f"{ahead} of {len(mine)}"
        rows.append((f"ahead of {opponent} on every task of CNNs", found, ahead == len(mine) > 0))
    against = duels[duels["opponent"] == "#Params"].set_index("task")
    for task in NOT_BELOW_PARAMS:
        row = against.loc[task]
        found = f"{row['first']:.3f} and {row['second']:.3f}"
        rows.append((f"not below #Params on {task}", found, row["verdict"] != "is behind"))
    table = pd.DataFrame(rows, columns=["goal", "found", "verdict"])
    return table.assign(verdict=table["verdict"].map({True: "reached", False: "missed"}))


def _mean_tau(numbers: pd.DataFrame, benchmark: str) -> float:
    """The mean τ over the tasks of a benchmark but the odd ones, of rows of one method."""
    rows = numbers[numbers["benchmark"] == benchmark]
    return float(rows[~rows["task"].isin(PLACES[benchmark].odd)]["kendall_tau"].mean())


def _counted(duels: pd.DataFrame) -> str:
    """On how many tasks the first is ahead and behind."""
    ahead, behind = ((duels["verdict"] == said).sum() for said in ("is ahead of", "is behind"))
    return f"ahead on {ahead}, behind on {behind} of {len(duels)}"


def findings(numbers: pd.DataFrame, duels: pd.DataFrame, without: pd.DataFrame) -> list[str]:
    """What the held-out data say about the assembly, in sentences that follow from the numbers.

    Args:
        numbers: rows of `elsewhere.taus` on the held-out data, with a column networks: "all" where
            every architecture counts, "once each" where equal networks count once.
        duels: rows of `elsewhere.against` with the columns opponent, verdict and networks.
        without: as `left_out` gives it.
    """
    sentences = []
    for opponent, rows in duels.groupby("opponent", sort=False):
        cnns = rows[rows["benchmark"].isin(CNNS)]
        parts = [
            f"{networks}: {_counted(counted)}"
            for networks, counted in cnns.groupby("networks", sort=False)
        ]
        vits = rows[~rows["benchmark"].isin(CNNS)].drop_duplicates("task")
        parts += [f"vision transformers: {_counted(vits)}"] if len(vits) else []
        sentences.append(f"az-transfer against {opponent}. Tasks of CNNs, {'; '.join(parts)}.")
    for name in LEARNT_FROM:
        parts = []
        for networks, rows in numbers.groupby("networks", sort=False):
            ours, theirs = (
                _mean_tau(rows[rows["method"] == method], name)
                for method in ("az-transfer", "AZ-NAS")
            )
            parts.append(f"{networks}: {ours:.3f}, AZ-NAS {theirs:.3f}")
        sentences.append(f"Mean τ on {PLACES[name].title}. {'; '.join(parts)}.")
    lost = (without["with_it"] - without["left_out"]).max()
    worse = (
        f"than {name} alone on {(without['left_out'] < without[name]).sum()}" for name in ALONE
    )
    sentences.append(
        f"Chosen without a benchmark, an assembly ranks it up to {lost:.3f} of τ worse than the "
        f"one chosen with it, and worse {' and '.join(worse)} of {len(without)} benchmarks."
    )
    return sentences
