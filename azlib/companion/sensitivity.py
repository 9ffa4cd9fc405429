"""What a score depends on: settings changed one at a time, and samples of architectures
(notebook 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import agreement, methods
from azlib.companion.metrics import kendall
from azlib.scoring import manifest
from azlib.scoring.files import read
from azlib.spaces.base import SearchSpace

VARIED = {
    "init": "initialisation",
    "batch": "batch size",
    "noise_source": "input",
    "labelled_images": "input",
}
"""What a variant changes, in words, by the name of the setting."""
COLUMNS = ["varied", "setting", "method", "dataset", "kendall_tau", "tau_low"]
COLUMNS += ["tau_high", "difference", "difference_low", "difference_high"]
COLUMNS += ["tau_with_default", "n"]
BEST = (100, 50, 25, 10, 1)
"""Shares of a space, in %, its best architectures, that `among_the_best` looks at."""


class Variant(NamedTuple):
    """A group of proxies that was scored with one setting changed."""

    group: str
    varied: str
    setting: str
    path: Path


def variants(scores: str | Path, space: SearchSpace) -> list[Variant]:
    """The score files in which one setting differs from the usual one, as the manifest has them."""
    found = []
    for entry, name, value in manifest.variants(space.name, 32):
        path = Path(scores) / f"{entry.file}.parquet"
        if name in VARIED and path.exists():
            found.append(Variant(entry.group, VARIED[name], str(value), path))
    return sorted(found, key=lambda v: (v.group != "az", v.varied, v.setting.zfill(3), v.path))


def against_default(
    variant: Variant, usual: Mapping[str, pd.DataFrame], truth: pd.DataFrame
) -> list[dict]:
    """A changed setting beside the default, on the same architectures under the same seed.

    Args:
        variant: the changed setting.
        usual: group of proxies -> scores at the default.
        truth: accuracies in %, one column per data set.

    Returns:
        A row for each data set and ranking that reads what was changed: τ, the difference to the
        default and its paired interval, and τ between the two rankings.
    """
    changed, default = (
        frame[frame["seed"] == 1].set_index("arch")
        for frame in (read(variant.path), usual[variant.group])
    )
    archs = changed.index.intersection(default.index).intersection(truth.index)
    rows = []
    for dataset in truth:
        for name, proxies in _rankings(variant, changed, default).items():
            accuracies = truth.loc[archs, dataset]
            new, old = (aggregate(f.loc[archs], proxies=proxies) for f in (changed, default))
            row: dict[str, Any] = {"varied": variant.varied, "setting": variant.setting}
            row |= {"method": name, "dataset": dataset}
            row |= agreement.summary([(new, accuracies)])
            row |= agreement.difference(new, old, accuracies)
            rows.append(row | {"tau_with_default": kendall(new, old)})
    return rows


def _rankings(
    variant: Variant, changed: pd.DataFrame, default: pd.DataFrame
) -> dict[str, tuple[str, ...]]:
    """The rankings that a setting can change: AZ-NAS and its measured proxies, or those of the
    group that are fed images."""
    if variant.group == "az":
        return {"AZ-NAS": AZ_NAS} | {name: (name,) for name in AZ_NAS[:3]}
    names = methods.groups()[variant.group]
    return {name: (name,) for name in names if name in changed and name in default}


def of_seeds(scores: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """AZ-NAS under each seed, and τ of its ranking with that under the lowest seed."""
    rows = []
    for dataset in truth:
        scored = [aggregate(frame) for frame, _ in agreement.by_seed(scores, truth[dataset])]
        for seed, new in zip(sorted(scores["seed"].unique()), scored, strict=True):
            row = {"varied": "seed", "setting": str(seed), "method": "AZ-NAS", "dataset": dataset}
            row |= agreement.summary([(new, truth.loc[new.index, dataset])])
            rows.append(row | {"tau_with_default": kendall(new, scored[0].loc[new.index])})
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def of_samples(
    scores: pd.DataFrame,
    truth: pd.DataFrame,
    sizes: Sequence[int],
    draws: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """AZ-NAS on random samples of architectures, under the lowest seed: one row per sample.

    `shortfall, %` is the accuracy that the best architecture of the sample has above the selected
    one.
    """
    rows = []
    for dataset in truth:
        frame, accuracies = agreement.by_seed(scores, truth[dataset])[0]
        for size in (n for n in sizes if n < len(frame)):
            for _ in range(draws):
                at = rng.choice(len(frame), size, replace=False)
                found, reached = aggregate(frame.iloc[at]), accuracies.iloc[at]
                best = agreement.top_accuracy(found, reached)
                rows.append([dataset, size, kendall(found, reached), best, reached.max() - best])
    columns = ["dataset", "architectures", "τ", "selected, %", "shortfall, %"]
    return pd.DataFrame(rows, columns=columns)


def among_the_best(
    accuracies: pd.Series, orders: Mapping[str, Sequence[pd.Series]]
) -> pd.DataFrame:
    """How well scores agree with accuracies over a whole space, and among its best architectures.

    Args:
        accuracies: in %, one per architecture; they also say which are the best.
        orders: name → scores of the same architectures, one series per seed.

    Returns:
        A row for each order and share of `BEST`: `order`, `best, %` (the share), `architectures`,
        `from, %` (the lowest accuracy among them), and τ with its 95 % interval over architectures,
        averaged over the seeds.
    """
    falling = accuracies.sort_values(ascending=False, kind="stable")
    rows = []
    for name, scores in orders.items():
        for share in BEST:
            part = falling.iloc[: round(share / 100 * len(falling))]
            found = agreement.summary([(series.loc[part.index], part) for series in scores])
            row = {"order": name, "best, %": share, "architectures": len(part)}
            row |= {"from, %": part.iloc[-1]}
            rows.append(row | {key: found[key] for key in ("kendall_tau", "tau_low", "tau_high")})
    return pd.DataFrame(rows)
