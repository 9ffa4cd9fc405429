"""Assemblies of proxies: chosen on a part of the architectures, tested on the rest.

An assembly is a list of proxies; its score is the log-rank sum of Eq. 12 (`aggregate`). A proxy may
stand in it twice, so that it weighs twice as much. Everything here reads one table: ln(rank / m) of
every proxy, averaged over its seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from azlib.aggregation import ASSEMBLIES, rank
from azlib.companion.agreement import difference
from azlib.companion.methods import Method
from azlib.companion.metrics import correlation, kendall, ndcg, selected
from azlib.errors import AzlibError, unknown
from azlib.scoring.files import COMMITTED, load_nearest
from azlib.spaces.base import EnumerableSpace

FROM_ONE_SPACE = {
    name: ASSEMBLIES[name] for name in ("az-nas", "az-live", "az-graph", "az-graph-epe")
}
"""The paper's assembly, and those that were chosen on NAS-Bench-201 alone."""


def load_groups(
    dataset: str, space: EnumerableSpace, groups: Iterable[str], folder: str | Path = COMMITTED
) -> list[pd.DataFrame]:
    """The scores of several groups of proxies for one data set, one frame per group.

    Which resolution is taken, and errors raised: see `azlib.scoring.load_nearest`.
    """
    return [load_nearest(dataset, space, group, folder) for group in groups]


def log_ranks(scored: Iterable[pd.DataFrame], archs: Sequence[str]) -> pd.DataFrame:
    """ln(rank / m) of m architectures under every proxy: one row each, one column per proxy.

    Architectures are ranked among `archs` under each seed, and the logarithms averaged over the
    seeds.

    Args:
        scored: frames of one row per (arch, seed), as `load_groups` gives them; each may have other
            seeds.
        archs: the architectures to rank.

    Raises:
        AzlibError: a proxy stands in two of the frames, or an architecture has no score.
    """
    index = pd.Index(archs, name="arch")
    columns: dict[str, np.ndarray] = {}
    for frame in scored:
        proxies = [c for c in frame if c not in ("arch", "seed") and not c.startswith("seconds")]
        if twice := sorted(set(proxies) & set(columns)):
            raise AzlibError(f"two groups of scores hold {', '.join(twice)}: leave one out")
        seeds = []
        for _, rows in frame.groupby("seed"):
            at = pd.Index(rows["arch"]).get_indexer(index)
            if missing := (at < 0).sum():
                raise AzlibError(f"{missing} of {len(index)} architectures have no {proxies[0]}")
            seeds.append(rows.iloc[at])
        for proxy in proxies:
            ranks = [rank(rows[proxy]) for rows in seeds]
            columns[proxy] = np.mean([np.log(r / len(index)) for r in ranks], axis=0)
    return pd.DataFrame(columns, index=index)


def score(logs: pd.DataFrame, members: Sequence[str]) -> pd.Series:
    """The score of an assembly: the sum over its members. Raises AzlibError for an unknown one."""
    for name in members:
        if name not in logs:
            raise unknown("proxy", name, logs.columns)
    return logs[list(members)].sum(axis=1)


def evaluate(
    logs: pd.DataFrame, accuracies: pd.Series, members: Sequence[str], positions: int = 1000
) -> dict[str, Any]:
    """How an assembly ranks: kendall_tau with its 95 % interval tau_low, tau_high, spearman_rho,
    ndcg of the first `positions`, n, and the architecture it puts first with its accuracy in %."""
    scores, accuracies = score(logs, members), accuracies.loc[logs.index]
    found = correlation(scores, accuracies)
    best, accuracy = selected(scores, accuracies)
    return {
        "kendall_tau": found.tau,
        "tau_low": found.low,
        "tau_high": found.high,
        "spearman_rho": found.rho,
        "ndcg": ndcg(scores, accuracies, positions),
        "n": len(scores),
        "selected": best,
        "selected_accuracy": accuracy,
    }


def half(archs: Iterable[str]) -> np.ndarray:
    """Which architectures to choose an assembly on: about half, by a hash of the name.

    So the choice is fixed for good, and no order or seed can change it.
    """
    return np.array([sha256(arch.encode()).digest()[0] % 2 == 0 for arch in archs])


def choose(
    logs: pd.DataFrame,
    accuracies: pd.Series,
    candidates: Sequence[str],
    start: Sequence[str] = (),
    repeats: bool = False,
) -> pd.DataFrame:
    """Greedy selection: the one change that raises τ most, again and again, until none does.

    A change adds a candidate or drops a member. repeats: a member may be added again, so that it
    weighs more (selection with replacement, Caruana et al., ICML 2004). Returns every assembly
    that was tried, one row each: `step`, `change` ("start", "+proxy" or "-proxy"), `kendall_tau`,
    `taken` and `proxies`, the members joined by "+". The members of the last row taken are the
    choice.
    """
    accuracies = accuracies.loc[logs.index]
    rows: list[dict[str, Any]] = []
    best = -math.inf
    changes = {"start": tuple(start)} if start else _changes((), candidates, repeats)
    for step in count(0 if start else 1):
        tried: list[dict[str, Any]] = [
            {
                "step": step,
                "change": change,
                "kendall_tau": kendall(score(logs, members), accuracies),
                "taken": False,
                "proxies": "+".join(members),
            }
            for change, members in changes.items()
        ]
        rows += tried
        top = max(tried, key=lambda row: row["kendall_tau"])
        if top["kendall_tau"] <= best:
            return pd.DataFrame(rows)
        top["taken"], best = True, top["kendall_tau"]
        changes = _changes(changes[top["change"]], candidates, repeats)


def _changes(
    members: tuple[str, ...], candidates: Sequence[str], repeats: bool
) -> dict[str, tuple[str, ...]]:
    """The assemblies that are one proxy larger or smaller, by the name of the change."""
    added = [name for name in candidates if repeats or name not in members]
    changes = {f"+{name}": (*members, name) for name in added}
    for name in members if len(members) > 1 else ():
        at = members.index(name)
        changes[f"-{name}"] = members[:at] + members[at + 1 :]
    return changes


def chosen(tried: pd.DataFrame) -> tuple[str, ...]:
    """The members that `choose` ended with."""
    return tuple(tried.loc[tried["taken"], "proxies"].iloc[-1].split("+"))


def leave_one_out(logs: pd.DataFrame, accuracies: pd.Series, members: Sequence[str]) -> pd.Series:
    """What τ loses without each member, all copies of it, indexed by member; negative if it is
    better without."""
    accuracies = accuracies.loc[logs.index]
    full = kendall(score(logs, members), accuracies)
    without = {m: score(logs, [n for n in members if n != m]) for m in dict.fromkeys(members)}
    return pd.Series({m: full - kendall(scores, accuracies) for m, scores in without.items()})


def against(
    scored: Iterable[pd.DataFrame],
    members: Sequence[str],
    opponent: Method,
    theirs: pd.DataFrame,
    accuracies: pd.Series,
) -> dict[str, float]:
    """τ of an assembly minus τ of a method, on the architectures and the one seed that both have.

    Args:
        scored: scores of the assembly's proxies, as `load_groups` gives them.
        members: the assembly.
        opponent: the method.
        theirs: scores of the method's proxies, of which the first seed counts.
        accuracies: in %, by architecture.

    Returns:
        n, kendall_tau of the assembly, that of the opponent, and the paired difference with its
        95 % interval.
    """
    seed = theirs["seed"].iloc[0]
    theirs = theirs[theirs["seed"] == seed].set_index("arch")
    same_seed = [frame[frame["seed"] == seed] for frame in scored]
    ours = score(log_ranks(same_seed, list(theirs.index)), members)
    other, accuracies = opponent.score(theirs), accuracies.loc[theirs.index]
    taus = {"kendall_tau": kendall(ours, accuracies), "opponent": kendall(other, accuracies)}
    return {"n": len(theirs), **taus, **difference(ours, other, accuracies)}


FORMS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "ln r": np.log,
    "-1/√r": lambda r: -1 / np.sqrt(r),
    "r^¼": lambda r: r**0.25,
    "√r": np.sqrt,
    "r": lambda r: r,
    "probit": lambda r: norm.ppf(r * len(r) / (len(r) + 1)),
    "ln r, dense": lambda r: np.log(r.rank(method="dense") / r.nunique()),
}
"""Functions of a rank r, given as a share, that could be summed instead of its logarithm."""


def other_forms(
    logs: pd.DataFrame, accuracies: pd.Series, members: Sequence[str]
) -> dict[str, float]:
    """τ of an assembly under each of the `FORMS`."""
    accuracies = accuracies.loc[logs.index]
    return {
        name: kendall(sum(form(np.exp(logs[m])) for m in members), accuracies)
        for name, form in FORMS.items()
    }
