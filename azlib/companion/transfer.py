"""A ranking that is good on several search spaces: how its members are chosen, and on what.

The protocol, fixed before anything was chosen by it:

1. **Halves.** A hash of the text of its canonical architecture puts every network in one of two
   halves, so that architectures which are the same network are in the same one. Only the first,
   *choosing* half may be looked at: of NAS-Bench-201 on CIFAR-10, of TransNAS-Bench-101 micro on
   its tasks but the odd one, and of NAS-Bench-Macro. All else is *held out*: the other halves, the
   other data sets, the task that was left out, the vision transformers.
2. **Candidates.** Proxies that mean something on any network, read images only as noise, and cost
   no more than a pass of AZ-NAS (`CANDIDATES`). What counts operations that one benchmark happens
   to have (`fewest_poolings`) is none.
3. **Measure.** The mean over the benchmarks of the mean τ over their tasks, so that a benchmark of
   many tasks weighs no more than one of few.
4. **Choice.** From nothing, the one change (a member added or dropped) that raises the measure
   most, as long as it raises it by `GAIN`; at most `MOST` members, none twice, no weights. With
   the logarithm of ranks and without; the better of the two is taken.
5. **Does the choice itself transfer?** The same with each benchmark left out in turn: τ on the
   choosing half of the one left out, beside that of what was chosen with it.
6. **Freeze**, and only then read the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from azlib import spaces
from azlib.aggregation import AGGREGATIONS, aggregate, rank
from azlib.companion.assemblies import chosen, greedy
from azlib.companion.data.truth import named
from azlib.companion.metrics import kendall
from azlib.companion.places import PLACES, frames, joined
from azlib.scoring.files import COMMITTED

CANDIDATES = (
    "expressivity",
    "progressivity",
    "trainability",
    "complexity",
    "params",
    "trainable_layers",
    "live_macs",
    "live_layers",
    "live_paths",
    "effective_depth",
    "mean_depth",
    "shortest_path",
    "sharp_depth",
    "mean_sharp_depth",
)
LEARNT_FROM = ("nas-bench-201", "transnas-bench-101-micro", "nas-bench-macro")
MOST = 6
GAIN = 0.002


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


def parts(
    accuracy: Mapping[tuple[str, str], pd.Series],
    held_out: bool,
    candidates: Sequence[str] = CANDIDATES,
    folder: Path = COMMITTED,
) -> list[Part]:
    """The halves of what an assembly may be chosen on, one for each benchmark and task.

    Args:
        accuracy: by (benchmark, task), as `places.truths` gives it.
        held_out: whether the other half is wanted; the ranks are those among its architectures.
        candidates: the proxies.
        folder: of the score files.
    """
    found = []
    for (benchmark, task), truth in accuracy.items():
        if benchmark not in LEARNT_FROM or task in PLACES[benchmark].odd:
            continue
        if benchmark == "nas-bench-201" and task != "cifar10" and not held_out:
            continue
        table = joined(frames(benchmark, task, folder), candidates)
        assert table is not None, f"{benchmark}: not all candidates have been scored"
        wanted = first_half(benchmark, list(table.index)) != held_out
        table = table[wanted]
        ranks = pd.DataFrame({c: rank(table[c]) / len(table) for c in table}, index=table.index)
        found.append(Part(benchmark, task, ranks, truth.loc[table.index]))
    return found


def measure(over: Sequence[Part], members: Sequence[str], way: str = "log") -> float:
    """Mean over benchmarks of the mean τ over their tasks, of members joined by `aggregate`."""
    taus: dict[str, list[float]] = {}
    for part in over:
        tau = kendall(aggregate(part.ranks, way, members), part.accuracies)
        taus.setdefault(part.benchmark, []).append(tau)
    return float(np.mean([np.mean(values) for values in taus.values()]))


def choice(
    over: Sequence[Part], candidates: Sequence[str] = CANDIDATES, most: int = MOST
) -> pd.DataFrame:
    """Every assembly that the protocol tries, as `assemblies.greedy` lists them, with the logarithm
    and without (`way`), in this order."""
    found = []
    for way in AGGREGATIONS:

        def value(members: Sequence[str], way: str = way) -> float:
            return measure(over, members, way)

        found.append(greedy(value, candidates, most=most, gain=GAIN).assign(way=way))
    return pd.concat(found, ignore_index=True)


def decided(tried: pd.DataFrame) -> tuple[str, tuple[str, ...], float]:
    """What the protocol takes of what it tried: the way of joining, the members, the measure."""
    ends = []
    for way, rows in tried.groupby("way", sort=False):
        ends.append((rows.loc[rows["taken"], "kendall_tau"].iloc[-1], str(way), chosen(rows)))
    value, way, members = max(ends, key=lambda end: end[0])
    return way, members, float(value)


def left_out(over: Sequence[Part], candidates: Sequence[str] = CANDIDATES) -> pd.DataFrame:
    """What is chosen without each benchmark in turn, and how it ranks the one that was left out.

    One row per benchmark: what was chosen on the others (`way`, `members`), its mean τ over the
    tasks of the one left out (`left_out`), and that of the choice on all benchmarks (`with_it`).
    """
    all_way, all_members, _ = decided(choice(over, candidates))
    rows = []
    for name in dict.fromkeys(part.benchmark for part in over):
        others = [part for part in over if part.benchmark != name]
        own = [part for part in over if part.benchmark == name]
        way, members, _ = decided(choice(others, candidates))
        rows.append(
            {
                "benchmark": name,
                "way": way,
                "members": ", ".join(members),
                "left_out": measure(own, members, way),
                "with_it": measure(own, all_members, all_way),
            }
        )
    return pd.DataFrame(rows)


def rest_of(
    accuracy: Mapping[tuple[str, str], pd.Series],
) -> dict[tuple[str, str], pd.Series]:
    """The accuracies that no choice has seen: of every task the half that is held out.

    Of the vision transformers all are.
    """
    found = {}
    for (benchmark, task), truth in accuracy.items():
        if benchmark in LEARNT_FROM:
            truth = truth[~first_half(benchmark, list(truth.index))]
        found[benchmark, task] = truth
    return found
