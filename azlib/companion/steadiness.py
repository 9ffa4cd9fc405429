"""How much of a ranking on the benchmarks of `places` is the setting, and how much is luck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion.agreement import difference, summary
from azlib.companion.metrics import kendall, kendall_interval
from azlib.companion.places import PLACES, SEED, aligned, frames, frames_of, joined, left_aside
from azlib.errors import AzlibError
from azlib.scoring.files import COMMITTED, read, read_settings

DEARER = replace(PLACES["transnas-bench-101-micro"], files="transnas101-micro_128px")
"""TransNAS-Bench-101 at 64 images of 128 pixels, in a random sample of cells."""


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


def dearer(accuracy: Mapping[tuple[str, str], pd.Series], folder: Path = COMMITTED) -> pd.DataFrame:
    """τ of AZ-NAS on TransNAS-Bench-101 at a dearer setting beside that at which it is scored.

    Args:
        accuracy: by (benchmark, task), as `places.truths` gives it.
        folder: of the score files.

    Returns:
        One row per task: benchmark, task, n, usual and dear (the two τ over the same
        architectures), and their difference with its 95 % interval.
    """
    rows = []
    for (benchmark, task), truth in accuracy.items():
        if benchmark != DEARER.benchmark:
            continue
        table, truth = aligned(frames_of(str(DEARER.files), folder)[0], truth)
        usual = joined(frames(benchmark, task, folder), AZ_NAS)
        if usual is None:
            raise AzlibError(f"{benchmark}: some of {', '.join(AZ_NAS)} were not scored there")
        scores = aggregate(table, proxies=AZ_NAS), aggregate(usual.loc[table.index])
        row = {"benchmark": benchmark, "task": task, "n": len(table)}
        row |= {"usual": kendall(scores[1], truth), "dear": kendall(scores[0], truth)}
        rows.append(row | difference(*scores, truth))
    return pd.DataFrame(rows)


def dearer_found(rows: pd.DataFrame) -> str:
    """What the rows of `dearer` say, the odd tasks left out of the mean."""
    rows = rows[~rows["task"].isin(DEARER.odd)]
    ahead, behind = (rows["difference_low"] > 0).sum(), (rows["difference_high"] < 0).sum()
    return (
        f"Scored at the dearer setting, AZ-NAS has a mean τ of {rows['dear'].mean():.3f} where it "
        f"has {rows['usual'].mean():.3f}; with intervals that leave out 0, it is better on {ahead} "
        f"and worse on {behind} of {len(rows)} tasks."
    )


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
