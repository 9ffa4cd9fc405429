"""Score files: what a row depends on, how to read them, where the committed ones are.

Scores are computed once, by `azlib sweep`, and committed in `data/scores`; every notebook reads
them from there. Reading needs no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from azlib.errors import AzlibError, unknown

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "scores"
RESOLUTION = {"cifar10": 32, "cifar100": 32, "imagenet16-120": 16}
"""Resolution in pixels at which AZ-NAS scores the networks of each data set."""
METADATA_KEY = b"azlib"  # where the settings stand in the Parquet metadata


@dataclass(frozen=True)
class Settings:
    """What, besides architecture and seed, a score depends on. Two sweeps with the same settings
    may continue each other's files."""

    space: str
    proxies: tuple[str, ...]
    batch: int
    resolution: int
    init: str = "kaiming_norm_fanin"
    train: bool = True
    input: str = "gaussian"
    images: str | None = None  # where labelled images come from, if a proxy reads them
    unique: bool = False
    device: str = "cpu"

    def without_folders(self) -> Settings:
        """The same with sources of images by name: where a user keeps them changes no score."""
        name = {
            field: value and value.partition("=")[0]
            for field, value in (("input", self.input), ("images", self.images))
        }
        return replace(self, **name)


def read(path: str | Path) -> pd.DataFrame:
    """A score file as a DataFrame: `arch`, `seed`, one column per proxy, `seconds`.

    `seconds` of processor time for all proxies together; `seconds_<proxy>` for those that make
    passes of their own.
    """
    read_settings(path)
    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise AzlibError(f"{path} is damaged: restore it, or delete it and run again") from error


def expand(scores: pd.DataFrame, space: Any) -> pd.DataFrame:
    """Scores of distinct networks (`unique=True`) repeated for every architecture of the space.

    Complexity alone tells their copies apart: it counts convolutions on dead edges, so it is
    counted for each architecture, by `space.count`.
    """
    archs = list(space)
    same = [space.canonical(arch) for arch in archs]
    macs = [space.count(arch)["macs"] for arch in archs]
    frames = []
    for _, of_seed in scores.groupby("seed"):
        rows = of_seed.set_index("arch").loc[same].set_axis(archs).rename_axis("arch")
        if "complexity" in rows:
            rows["complexity"] = macs
        frames.append(rows.reset_index())
    return pd.concat(frames, ignore_index=True)


def read_settings(path: str | Path) -> Settings:
    """The settings a score file was made with. Raises `AzlibError` if it is no score file."""
    path = Path(path)
    if not path.exists():
        raise AzlibError(
            f"no score file {path}: make it with `make scores` or `python -m azlib sweep`"
        )
    try:
        schema = pq.read_schema(path)
        fields = json.loads(schema.metadata[METADATA_KEY])
        settings = Settings(**{**fields, "proxies": tuple(fields["proxies"])})
        timed = {f"seconds_{name}" for name in settings.proxies}
        columns = [name for name in schema.names if name not in timed]
        if columns != ["arch", "seed", *settings.proxies, "seconds"]:
            raise ValueError("other columns")
        return settings
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise AzlibError(f"{path} is not a score file of this version, or is damaged") from error


def load(
    dataset: str, space: Any, family: str = "az", folder: str | Path = COMMITTED
) -> pd.DataFrame:
    """The scores of every architecture of a space for one data set: one row per (arch, seed).

    Reads `<family>_<space>_<resolution>px.parquet` and, where it exists, `..._unique.parquet`.
    Rows of a sweep with `unique=True` stand for all architectures that are the same network.
    Raises `AzlibError` for an unknown data set and a missing or damaged file.
    """
    path = _path(dataset, space, family, folder)
    paths = [path, path.with_stem(f"{path.stem}_unique")]
    frames: list[pd.DataFrame] = []
    for path in paths[: 1 + paths[1].exists()]:
        frame = read(path)
        if read_settings(path).unique:
            frame = expand(frame, replace(space, resolution=RESOLUTION[dataset]))
        seen = {seed for earlier in frames for seed in earlier["seed"].unique()}
        frames.append(frame[~frame["seed"].isin(seen)])
    return pd.concat(frames, ignore_index=True)


def load_nearest(
    dataset: str, space: Any, family: str, folder: str | Path = COMMITTED
) -> pd.DataFrame:
    """`load` at the resolution of the data set, or at 32 pixels where the family has no other.

    Every family is there at 32 pixels. `.attrs["settings"]` are those of the file.
    Raises `AzlibError` as `load` does.
    """
    own = _path(dataset, space, family, folder)
    scored = dataset if own.exists() else "cifar10"
    frame = load(scored, space, family, folder)
    frame.attrs["settings"] = read_settings(_path(scored, space, family, folder))
    return frame


def _path(dataset: str, space: Any, family: str, folder: str | Path) -> Path:
    if dataset not in RESOLUTION:
        raise unknown("data set", dataset, RESOLUTION)
    return Path(folder) / f"{family}_{space.name}_{RESOLUTION[dataset]}px.parquet"
