"""How well a cheap setting orders networks as the paper's does, and which is the best trade-off
(notebook 14)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from azlib import spaces
from azlib.aggregation import aggregate
from azlib.companion.metrics import kendall, kendall_interval
from azlib.scoring.files import read, read_settings

Key = tuple[str, int, int]
"""Name of a space, pixels, batch."""
PAPER = (224, 64)
"""Pixels and batch of the paper."""


def load(scores: str | Path) -> dict[Key, pd.DataFrame]:
    """The scores of the ImageNet spaces at every setting that was tried."""
    frames = {}
    for path in sorted(Path(scores).glob("az_*px_batch-*.parquet")):
        held = read_settings(path)
        paper = spaces.get(held.space).presets["paper"]
        if (paper.resolution, paper.batch) == PAPER:
            frames[held.space, held.score.resolution, held.score.batch] = read(path)
    return frames


def listed(frames: dict[Key, pd.DataFrame]) -> pd.DataFrame:
    """What was scored at each setting, and the median of its processor seconds."""
    columns = ["space", "pixels", "batch", "structures", "seeds", "seconds"]
    rows = [
        [*key, frame["arch"].nunique(), sorted(frame["seed"].unique()), frame["seconds"].median()]
        for key, frame in frames.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def under(frames: dict[Key, pd.DataFrame], key: Key, seed: int) -> dict[str, pd.Series]:
    """The measured proxies and the log-rank sum at a setting under one seed, by architecture."""
    scored = frames[key]
    frame = scored[scored["seed"] == seed].set_index("arch")
    proxies = list(spaces.get(key[0]).proxies)
    measured = {name: frame[name] for name in proxies if name != "complexity"}
    return measured | {"AZ-NAS": aggregate(frame, proxies=proxies)}


def compare(frames: dict[Key, pd.DataFrame]) -> pd.DataFrame:
    """τ of every setting with the paper's, one row per proxy.

    The paper's setting is seen under the first seed and everything else under the second, so that
    no setting profits from sharing weights with it. `time` is a multiple of the paper's in the same
    space.
    """
    rows = []
    for key, frame in frames.items():
        whole = key[0].removesuffix("-superblocks")
        reference = under(frames, (whole, *PAPER), seed=1)
        seconds = frame["seconds"].median()
        for name, values in under(frames, key, seed=2).items():
            low, high = kendall_interval(values, reference[name])
            row = dict(zip(("space", "pixels", "batch"), key, strict=True), n=len(values))
            row |= {"proxy": name, "kendall_tau": kendall(values, reference[name])}
            row |= {"low": low, "high": high, "seconds": seconds}
            rows.append(row | {"time": seconds / frames[(whole, *PAPER)]["seconds"].median()})
    return pd.DataFrame(rows)


def best(settings: pd.DataFrame, slowest: float) -> tuple[int, int]:
    """(batch, pixels) of the cheapest affordable setting that is not told from the best.

    Args:
        settings: rows of `compare` for one space and ranking.
        slowest: the most processor time, as a share of the paper's.
    """
    affordable = settings[settings["time"] <= slowest]
    as_good = affordable[affordable["high"] >= affordable["kendall_tau"].max()]
    chosen = as_good.loc[as_good["seconds"].idxmin()]
    return int(chosen["batch"]), int(chosen["pixels"])
