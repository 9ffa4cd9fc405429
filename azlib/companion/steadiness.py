"""How much of a ranking on the benchmarks of `places` is the setting, and how much is luck."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion.agreement import summary
from azlib.companion.metrics import kendall_interval
from azlib.companion.places import PLACES, SEED, left_aside
from azlib.scoring.files import COMMITTED, read, read_settings


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
