"""Score files: what stands in one, how to read it, and where the committed ones are.

Scores are computed once, by `azlib sweep`, and committed in `data/scores`; every notebook reads
them from there. Reading needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from azlib.errors import AzlibError, unknown
from azlib.settings import ScoreSettings
from azlib.spaces.base import EnumerableSpace

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "scores"
RESOLUTION = {"cifar10": 32, "cifar100": 32, "imagenet16-120": 16}
"""Resolution in pixels at which AZ-NAS scores the networks of each data set."""
_METADATA_KEY = b"azlib"  # where the settings stand in the Parquet metadata


@dataclass(frozen=True)
class FileSettings:
    """What one score file holds. Two sweeps with the same settings may continue each other's file.

    space: name of the search space. score: how its architectures were scored. unique: whether
    networks that are the same were scored once, under the name of the canonical architecture.
    """

    space: str
    score: ScoreSettings = field(default_factory=ScoreSettings)
    unique: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        return {"space": self.space, "unique": self.unique, "score": self.score.to_dict()}

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> FileSettings:
        """The settings that `to_dict` wrote. Raises for anything else."""
        return cls(held["space"], ScoreSettings(**held["score"]), held["unique"])


def metadata(settings: FileSettings) -> dict[bytes, bytes]:
    """The Parquet metadata that carries the settings of a file."""
    return {_METADATA_KEY: json.dumps(settings.to_dict()).encode()}


def read(path: str | Path) -> pd.DataFrame:
    """A score file as a DataFrame: `arch`, `seed`, one column per proxy, `seconds`.

    `seconds` is the processor time of all proxies together; `seconds_<proxy>` that of a proxy which
    makes passes of its own. Raises `AzlibError` for a file that is missing, damaged or empty.
    """
    read_settings(path)
    try:
        frame = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise AzlibError(f"{path} is damaged: restore it, or delete it and run again") from error
    if frame.empty:
        raise AzlibError(f"{path} holds no rows: delete it and score again")
    return frame


def read_settings(path: str | Path) -> FileSettings:
    """The settings a score file was made with. Raises `AzlibError` if it is no score file."""
    path = Path(path)
    if not path.exists():
        raise AzlibError(f"no score file {path}: {_origin(path)}")
    try:
        schema = pq.read_schema(path)
        settings = FileSettings.from_dict(json.loads(schema.metadata[_METADATA_KEY]))
        _check_columns(schema, settings)
        return settings
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
        raise AzlibError(f"{path} is not a score file of this version, or is damaged") from error


def _origin(path: Path) -> str:
    """Where a score file that is missing would come from."""
    if path.parent == COMMITTED and not COMMITTED.is_dir():
        return (
            "the committed scores are in the repository and in the source archive, not in the "
            "installed package: give their folder, folder='.../data/scores', or make a file of "
            "your own with `azlib sweep`"
        )
    return f"make it with `azlib scores` or `azlib sweep --out {path}`"


def _check_columns(schema: pa.Schema, settings: FileSettings) -> None:
    """Raises ValueError unless a file has the columns, and numbers in them, that it should."""
    proxies = settings.score.proxies
    timed = {f"seconds_{name}" for name in proxies}
    columns = [name for name in schema.names if name not in timed]
    if columns != ["arch", "seed", *proxies, "seconds"]:
        raise ValueError("other columns")
    if schema.field("arch").type not in (pa.string(), pa.large_string()):
        raise ValueError("architectures that are no text")
    for name in schema.names[1:]:
        if not (pa.types.is_floating(kind := schema.field(name).type) or pa.types.is_integer(kind)):
            raise ValueError(f"column {name} of {kind}")


def expand(
    scores: pd.DataFrame, space: EnumerableSpace, archs: Iterable[str] | None = None
) -> pd.DataFrame:
    """Scores of distinct networks (`unique=True`) repeated for every architecture.

    Complexity alone tells their copies apart: it counts convolutions on dead edges, so it is
    counted for each architecture, by `space.count`.

    Args:
        scores: one row per (network, seed).
        space: of the architectures.
        archs: those wanted, whose networks must all have been scored; by default the whole space.
    """
    archs = list(space) if archs is None else list(archs)
    same = [space.canonical(arch) for arch in archs]
    macs = cache(lambda: [space.count(arch)["macs"] for arch in archs])
    frames = []
    for _, of_seed in scores.groupby("seed"):
        rows = of_seed.set_index("arch").loc[same].set_axis(archs).rename_axis("arch")
        if "complexity" in rows:
            rows["complexity"] = macs()
        frames.append(rows.reset_index())
    return pd.concat(frames, ignore_index=True)


def load(
    dataset: str, space: EnumerableSpace, group: str = "az", folder: str | Path = COMMITTED
) -> pd.DataFrame:
    """`load_at` the resolution at which NAS-Bench-201 is scored for a data set.

    Raises `AzlibError` for an unknown data set and a missing or damaged file.
    """
    return load_at(_resolution(dataset), space, group, folder)


def load_at(
    resolution: int, space: EnumerableSpace, group: str = "az", folder: str | Path = COMMITTED
) -> pd.DataFrame:
    """The scores of every architecture of a space at one resolution: one row per (arch, seed).

    Reads `<group>_<space>_<resolution>px.parquet` and, where it exists, `..._unique.parquet`, whose
    rows stand for all architectures that are the same network.
    Raises `AzlibError` for a missing or damaged file.
    """
    path = _path(resolution, space, group, folder)
    paths = [path, path.with_stem(f"{path.stem}_unique")]
    frames: list[pd.DataFrame] = []
    for path in paths[: 1 + paths[1].exists()]:
        frame = read(path)
        if read_settings(path).unique:
            frame = expand(frame, space.scored_at(resolution))
        seen = {seed for earlier in frames for seed in earlier["seed"].unique()}
        frames.append(frame[~frame["seed"].isin(seen)])
    return pd.concat(frames, ignore_index=True)


def load_nearest(
    dataset: str, space: EnumerableSpace, group: str, folder: str | Path = COMMITTED
) -> pd.DataFrame:
    """`load` at the resolution of the data set, or at 32 pixels where the group has no other.

    Every group of proxies is there at 32 pixels. `.attrs["settings"]` are those of the file.
    Raises `AzlibError` as `load` does.
    """
    own = _resolution(dataset)
    scored = own if _path(own, space, group, folder).exists() else RESOLUTION["cifar10"]
    frame = load_at(scored, space, group, folder)
    frame.attrs["settings"] = read_settings(_path(scored, space, group, folder)).score
    return frame


def _resolution(dataset: str) -> int:
    if dataset not in RESOLUTION:
        raise unknown("data set", dataset, RESOLUTION)
    return RESOLUTION[dataset]


def _path(resolution: int, space: EnumerableSpace, group: str, folder: str | Path) -> Path:
    return Path(folder) / f"{group}_{space.name}_{resolution}px.parquet"
