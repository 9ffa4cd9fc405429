"""Assemblies of proxies: chosen on a part of the architectures, tested on the rest.

An assembly is a list of proxies; its score is the log-rank sum of Eq. 12 (`aggregate`), without
weights. Everything here reads one table: ln(rank / m) of every proxy, averaged over its seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azlib.aggregate import rank
from azlib.errors import AzlibError, unknown
from azlib.metrics import kendall, kendall_interval, ndcg, selected, spearman
from azlib.scores import COMMITTED, RESOLUTION, load


def load_families(
    dataset: str, space: Any, families: Iterable[str], folder: str | Path = COMMITTED
) -> list[pd.DataFrame]:
    """The scores of several families of proxies for one data set, one frame per family.

    A family that was not scored at the resolution of the data set is taken at 32 pixels, as for
    CIFAR-10. Raises `AzlibError` as `scores.load` does.
    """

    def scored_for(family: str) -> str:
        own = Path(folder) / f"{family}_{space.name}_{RESOLUTION[dataset]}px.parquet"
        return dataset if own.exists() else "cifar10"

    return [load(scored_for(family), space, family, folder) for family in families]


def log_ranks(families: Iterable[pd.DataFrame], archs: Sequence[str]) -> pd.DataFrame:
    """ln(rank / m) of m architectures under every proxy: one row each, one column per proxy.

    families: frames of one row per (arch, seed), as `scores.load` gives them; each may have other
    seeds. Architectures are ranked among `archs` under each seed, and the logarithms averaged over
    the seeds. Raises AzlibError if a proxy stands in two families, or an architecture has no score.
    """
    index = pd.Index(archs, name="arch")
    columns: dict[str, np.ndarray] = {}
    for family in families:
        proxies = [c for c in family if c not in ("arch", "seed") and not c.startswith("seconds")]
        if twice := sorted(set(proxies) & set(columns)):
            raise AzlibError(f"two families of scores hold {', '.join(twice)}: leave one out")
        seeds = [rows.set_index("arch") for _, rows in family.groupby("seed")]
        for rows in seeds:
            if missing := len(index.difference(rows.index)):
                raise AzlibError(f"{missing} of {len(index)} architectures have no {proxies[0]}")
        for proxy in proxies:
            ranks = [rank(rows.loc[index, proxy]) for rows in seeds]
            columns[proxy] = np.mean([np.log(r / len(index)) for r in ranks], axis=0)
    return pd.DataFrame(columns, index=index)


def score(logs: pd.DataFrame, members: Sequence[str]) -> pd.Series:
    """The score of an assembly: the sum over its members. Raises AzlibError for an unknown one."""
    for name in members:
        if name not in logs:
            raise unknown("proxy", name, logs.columns)
    return logs[list(members)].sum(axis=1)


def evaluate(logs: pd.DataFrame, accuracies: pd.Series, members: Sequence[str]) -> dict[str, Any]:
    """How an assembly ranks: kendall_tau with its 95 % interval tau_low, tau_high, spearman_rho,
    ndcg (of the first 1000), n, and the architecture it puts first with its accuracy in %."""
    scores, accuracies = score(logs, members), accuracies.loc[logs.index]
    low, high = kendall_interval(scores, accuracies)
    best, accuracy = selected(scores, accuracies)
    return {
        "kendall_tau": kendall(scores, accuracies),
        "tau_low": low,
        "tau_high": high,
        "spearman_rho": spearman(scores, accuracies),
        "ndcg": ndcg(scores, accuracies),
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
) -> pd.DataFrame:
    """Greedy selection: adds the proxy that raises τ most, then drops any that τ rises without.

    Ends when no addition raises τ. Returns every assembly that was tried, one row each: `step`,
    `change` ("start", "+proxy" or "-proxy"), `kendall_tau`, `taken` and `proxies`, the members
    joined by "+". The members of the last row taken are the choice.
    """
    accuracies = accuracies.loc[logs.index]
    rows: list[dict[str, Any]] = []

    def attempt(changes: dict[str, tuple[str, ...]], best: float) -> tuple[tuple, float] | None:
        """Tries assemblies, named by their change; the best of them if it is above `best`."""
        step = rows[-1]["step"] + 1 if rows else 0
        tried = [
            {
                "step": step,
                "change": change,
                "kendall_tau": kendall(score(logs, names), accuracies) if names else 0.0,
                "taken": False,
                "proxies": "+".join(names),
            }
            for change, names in changes.items()
        ]
        rows.extend(tried)
        top = max(tried, key=lambda row: row["kendall_tau"], default=None)
        if top is None or top["kendall_tau"] <= best:
            return None
        top["taken"] = True
        return changes[top["change"]], top["kendall_tau"]

    found = attempt({"start": tuple(start)}, -2.0)
    while found is not None:
        members, best = found
        others = {f"+{c}": (*members, c) for c in candidates if c not in members}
        found = attempt(others, best)
        while found is not None and len(found[0]) > 2:
            fewer = {f"-{m}": tuple(n for n in found[0] if n != m) for m in found[0]}
            dropped = attempt(fewer, found[1])
            if dropped is None:
                break
            found = dropped
    return pd.DataFrame(rows)


def chosen(tried: pd.DataFrame) -> tuple[str, ...]:
    """The members that `choose` ended with."""
    return tuple(tried.loc[tried["taken"], "proxies"].iloc[-1].split("+"))


def leave_one_out(logs: pd.DataFrame, accuracies: pd.Series, members: Sequence[str]) -> pd.Series:
    """What τ loses without each member, indexed by member; negative if it is better without."""
    accuracies = accuracies.loc[logs.index]
    full = kendall(score(logs, members), accuracies)
    without = {m: score(logs, [n for n in members if n != m]) for m in members}
    return pd.Series({m: full - kendall(scores, accuracies) for m, scores in without.items()})
