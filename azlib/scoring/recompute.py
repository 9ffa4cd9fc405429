"""Checks a score file: scores a few of its rows afresh and compares."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from azlib import spaces
from azlib.scoring.chunk import score_chunk
from azlib.scoring.files import read, read_settings
from azlib.settings import check_at_least, check_seed

_SMALLEST_SCALE = (
    1e-2  # progressivity passes through zero, where a relative difference means little
)


class Recomputed(NamedTuple):
    """How many rows were scored afresh, and their largest relative difference."""

    rows: int
    difference: float


def recompute(path: str | Path, count: int = 5, seed: int = 0) -> Recomputed:
    """Scores up to `count` random rows of a score file afresh.

    Two failed scores (NaN) agree; if only one failed, the difference is infinite.
    Raises `AzlibError` for a file that is no score file, and a count or seed out of range.
    """
    check_at_least(1, count=count)
    check_seed(seed)
    settings, rows = read_settings(path), read(path)
    space = spaces.get(settings.space).scored_at(settings.score.resolution)
    rows = rows.sample(min(count, len(rows)), random_state=np.random.default_rng(seed))
    items = [(row.arch, int(row.seed)) for row in rows.itertuples()]
    fresh, _ = score_chunk(space, items, settings.score)
    columns = list(settings.score.proxies)
    new = np.array([[row[name] for name in columns] for row in fresh])
    old = rows[columns].to_numpy(float)
    same = (old == new) | (np.isnan(old) & np.isnan(new))  # infinities, too
    with np.errstate(invalid="ignore"):
        difference = np.abs(new - old) / np.maximum(np.abs(old), _SMALLEST_SCALE)
    difference = np.nan_to_num(np.where(same, 0.0, difference), nan=np.inf)
    return Recomputed(len(rows), float(difference.max()))
