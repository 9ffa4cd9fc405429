"""Checks a score file: scores a few of its rows afresh and compares."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from azlib import spaces
from azlib.errors import AzlibError
from azlib.scoring.chunk import score_chunk
from azlib.scoring.files import read, read_settings
from azlib.settings import check_at_least, check_seed
from azlib.spaces.base import SearchSpace

SMALLEST_SCALE = 1e-2
"""Progressivity passes through zero, where a relative difference means little."""


class Recomputed(NamedTuple):
    """How many rows were scored afresh, and their largest relative difference."""

    rows: int
    difference: float


def recompute(
    path: str | Path,
    count: int = 5,
    seed: int = 0,
    space: SearchSpace | None = None,
    images: Iterable[str] = (),
    device: str = "cpu",
) -> Recomputed:
    """Scores up to `count` random rows of a score file afresh.

    Two failed scores (NaN) agree.

    Args:
        path: the score file.
        count: how many rows.
        seed: of the choice of rows.
        space: the search space, needed where it is one of your own.
        images: where images are, for scores that read some: "cifar10=FOLDER".
        device: where to compute, wherever the file was made, so that everybody can check it.

    Raises:
        AzlibError: for a file that is no score file, a count or seed out of range, and a space that
            is not that of the file; and where an architecture fails that did not fail before.
    """
    check_at_least(1, count=count)
    check_seed(seed)
    from azlib.proxies import check_device, names

    check_device(device)
    settings, rows = read_settings(path), read(path)
    space = _space(settings.space, path, space).scored_at(settings.score.resolution)
    names(settings.score.proxies)  # refuses what this process does not know
    rows = rows.sample(min(count, len(rows)), random_state=np.random.default_rng(seed))
    items = [(row.arch, int(row.seed)) for row in rows.itertuples()]
    here = settings.score.with_folders(images).changed(device=device)
    fresh, failures = score_chunk(space, items, here)
    columns = list(settings.score.proxies)
    new = np.array([[row[name] for name in columns] for row in fresh])
    old = rows[columns].to_numpy(float)
    if failures and np.isnan(new).all(axis=1).sum() > np.isnan(old).all(axis=1).sum():
        raise AzlibError(f"{path} cannot be checked: {failures[0]}")
    same = (old == new) | (np.isnan(old) & np.isnan(new))  # infinities, too
    with np.errstate(invalid="ignore"):
        difference = np.abs(new - old) / np.maximum(np.abs(old), SMALLEST_SCALE)
    difference = np.nan_to_num(np.where(same, 0.0, difference), nan=np.inf)
    return Recomputed(len(rows), float(difference.max()))


def _space(name: str, path: str | Path, given: SearchSpace | None) -> SearchSpace:
    """The space that a file names: the one that is given, or one that azlib knows."""
    if given is not None and given.name != name:
        raise AzlibError(f"{path} holds scores of the space {name!r}, not of {given.name!r}")
    try:
        return spaces.get(name) if given is None else given
    except AzlibError as error:
        raise AzlibError(f"{path} holds scores of a space that is not found: {error}") from error
