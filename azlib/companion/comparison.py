"""Table 1: every method on every data set and set of architectures, beside published numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azlib.companion import agreement, methods, paper
from azlib.companion.methods import Method
from azlib.companion.metrics import ndcg
from azlib.companion.tables import intervals, number, texts

Frames = Mapping[str, pd.DataFrame]
"""The scores of each group of proxies for one data set, as `methods.read` gives them."""
DEAD_WEIGHTS = "τ of GradSign's mean, dead weights counted"
SAMPLED = "nDCG of AZ-NAS on samples of 1,000"
"""What is measured about differences to published numbers (the exhibit `why_different`)."""
_COLUMNS = ["method", "dataset", "architectures", "kendall_tau", "tau_low", "tau_high"]
_COLUMNS += ["spearman_rho", "ndcg", "selected_accuracy_mean", "selected_accuracy_std"]
_COLUMNS += ["ms_per_arch", "n", "seeds", "input", "paper_tau", "paper_rho", "vkdnw_tau"]
_COLUMNS += ["vkdnw_rho"]


def describe(compared: Sequence[Method], frames: Frames) -> pd.DataFrame:
    """What each method reads, as the settings in the score files have it."""
    rows = []
    for method in compared:
        joined = methods.join(method.proxies, frames)
        groups = {methods.group_of(name) for name in method.proxies}
        batches = sorted({frames[group].attrs["settings"].batch for group in groups})
        rows.append(
            {
                "method": method.name,
                "proxies": f"{' + '.join(method.proxies)} ({method.kind})",
                "input": methods.fed(method.proxies, frames),
                "batch": "/".join(map(str, batches)),
                "architectures": joined["arch"].nunique(),
                "seeds": joined["seed"].nunique(),
                "failed": method.failed(joined),
                "note": method.note,
            }
        )
    return pd.DataFrame(rows)


def running_times(path: str | Path) -> dict[str, float]:
    """Milliseconds by proxy from the file that `make bench` writes; none if it is not there."""
    if not Path(path).exists():
        return {}
    return pd.read_csv(path).set_index("proxy")["ms_per_arch"].to_dict()


def compare(
    compared: Sequence[Method],
    frames: Mapping[str, Frames],
    truth: pd.DataFrame,
    sets: Mapping[str, Collection[str]],
    times: Mapping[str, float],
) -> pd.DataFrame:
    """The numbers of Table 1, one row per data set, method and set of architectures.

    Args:
        compared: the methods.
        frames: data set -> scores.
        truth: accuracies in %, one column per data set.
        sets: architectures by the name of their set.
        times: milliseconds by proxy.
    """
    rows = []
    # The accuracies say which architectures count: there are fewer of them than scores.
    known = {name: truth[[arch in archs for arch in truth.index]] for name, archs in sets.items()}
    for dataset in truth:
        for method in compared:
            joined = methods.join(method.proxies, frames[dataset])
            about = {
                "ms_per_arch": methods.milliseconds(method.proxies, times),
                "input": methods.fed(method.proxies, frames[dataset]),
            }
            for name, archs in sets.items():
                part = agreement.by_seed(joined, known[name][dataset])
                pairs = [(method.score(frame), accuracies) for frame, accuracies in part]
                row: dict[str, Any] = {"method": method.name, "dataset": dataset}
                row |= {"architectures": name} | about
                row |= agreement.performance(pairs, len(archs))
                rows.append(row | methods.published(method.name, dataset, name))
    return pd.DataFrame(rows, columns=_COLUMNS)


def readable(numbers: pd.DataFrame) -> pd.DataFrame:
    """Table 1 as a reader sees it, for all sets of architectures.

    Time is a multiple of AZ-NAS's, ours and the paper's. The verdict compares τ with VKDNW's re-run
    on the same architectures: "reproduced" means within 0.05 of our interval.
    """
    table = numbers[["architectures", "dataset", "method"]].copy()
    table["τ"] = intervals(numbers)
    table["ρ"] = texts(numbers["spearman_rho"])
    table["nDCG"] = texts(numbers["ndcg"])
    spread = texts(numbers["selected_accuracy_std"], " ± {:.2f}")
    table["selected, %"] = texts(numbers["selected_accuracy_mean"], "{:.2f}") + spread
    ours = dict(zip(numbers["method"], numbers["ms_per_arch"], strict=True))
    published = {name: paper.value("Table 1", name, "ms_per_arch") for name in ours}
    for column, ms in {"time": ours, "time, paper": published}.items():
        table[column] = [number(ms[m] / ms["AZ-NAS"], "{:.2f}") for m in numbers["method"]]
    for who in ("paper", "VKDNW"):
        pair = numbers[[f"{who.lower()}_tau", f"{who.lower()}_rho"]].map(number)
        table[f"{who} τ / ρ"] = pair.agg(" / ".join, axis=1).str.removesuffix(" / ")
    taus = numbers[["tau_low", "tau_high", "vkdnw_tau"]].to_numpy()
    table["verdict"] = [paper.verdict(low, high, theirs, 0.05) for low, high, theirs in taus]
    table["n"], table["seeds"] = numbers["n"].map("{:,}".format), numbers["seeds"].map(str)
    return table.assign(input=numbers["input"])


def sampled_ndcg(
    scores: Method, frame: pd.DataFrame, accuracies: pd.Series, size: int, whole: int
) -> list[float]:
    """nDCG of a method on 50 random samples, always the same.

    Args:
        scores: the method.
        frame: its proxies, one row per architecture.
        accuracies: of the same architectures, in %.
        size: architectures in a sample.
        whole: architectures of the set, of which the best 1000 count.
    """
    rng, positions = np.random.default_rng(0), max(1, round(1000 * size / whole))
    samples = (rng.choice(len(frame), size, replace=False) for _ in range(50))
    return [ndcg(scores.score(frame.iloc[at]), accuracies.iloc[at], positions) for at in samples]
