"""The log of a search: a Parquet file that holds all that is needed to continue it.

The randomness of a step comes from (seed, step) alone, and a score from the architecture and the
scorer's settings. So the rows and the settings of a log are a complete checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from azlib.errors import AzlibError
from azlib.files import differences, replacing
from azlib.scoring.datasheet import machine
from azlib.search.history import COSTS, History
from azlib.settings import ScoreSettings
from azlib.spaces.base import SearchSpace

METADATA_KEY = b"azlib.search"  # where the settings stand in the Parquet metadata
Row = dict[str, Any]


def describe(thing: object) -> dict[str, Any]:
    """A rule, a space or a scorer as its name and fields, to tell one search from another."""
    fields = asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else {}
    if isinstance(settings := getattr(thing, "settings", None), ScoreSettings):
        fields["settings"] = settings.to_dict()
    return {"name": getattr(thing, "name", type(thing).__name__), **fields}


def as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they will be read back: lists for tuples, text for what JSON does not know."""
    return json.loads(json.dumps(settings, default=str))


def continued(out: Path, settings: dict, iterations: int, space: SearchSpace) -> list[Row]:
    """The rows of a log of the same search; none if there is no log.

    Raises `AzlibError` for a log of another search, one that is longer than asked for, one with
    structures that the space does not know, and a file that is no log.
    """
    if out.suffix != ".parquet":
        raise AzlibError(f"out={str(out)!r}: expected a name that ends in .parquet")
    if not out.exists():
        return []
    table, held = read(out)
    if held != settings:
        raise AzlibError(
            f"{out} holds another search: {differences(held, settings)}; choose another output"
        )
    if len(table) > iterations:
        raise AzlibError(
            f"{out} holds {len(table)} candidates, more than iterations={iterations}: "
            "give at least as many, or choose another output"
        )
    rows = table.to_pandas().to_dict("records")
    for row in rows:
        try:
            known = space.legal(row["structure"])
        except AzlibError as error:
            raise AzlibError(f"{out} is damaged at step {row['step']}: {error}") from error
        if not known:
            raise AzlibError(
                f"{out} is damaged at step {row['step']}: {row['structure']!r} is not within "
                f"{space}; delete the file or choose another output"
            )
    return rows


def scored_elsewhere(logs: Iterable[str | Path], settings: dict) -> dict[str, Row]:
    """The rows of other searches by structure, without their steps.

    Raises `AzlibError` for a log that is missing, damaged, or scored in another way.
    """

    def scoring(settings: dict) -> dict:
        score = settings["score"]
        space = {k: v for k, v in score.get("space", {}).items() if k != "budget"}
        return {"proxies": settings["proxies"], **score, "space": space}

    known: dict[str, Row] = {}
    for path in map(Path, logs):
        if not path.exists():
            raise AzlibError(f"no search log {path} to reuse")
        table, theirs = read(path)
        if scoring(theirs) != scoring(settings):
            what = differences(scoring(theirs), scoring(settings))
            raise AzlibError(f"{path} was scored in another way: {what}; do not reuse it")
        known |= {row["structure"]: {**row, "step": None} for row in reversed(table.to_pylist())}
    return known


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A log and its settings. Raises `AzlibError` for a file that is no log."""
    try:
        table = pq.read_table(path)
        settings = json.loads(table.schema.metadata[METADATA_KEY])
        if table.schema.names != list(_schema(dict.fromkeys(settings["proxies"]), {}).names):
            raise ValueError("other columns")
        if not isinstance(settings["score"], dict):
            raise ValueError("no scorer")
        return table.cast(_schema(dict.fromkeys(settings["proxies"]), settings)), settings
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
        raise AzlibError(
            f"{path} is not a search log, or is damaged: delete it or choose another output"
        ) from error


def _schema(proxies: Iterable[str], settings: dict) -> pa.Schema:
    floats = [(name, pa.float64()) for name in (*proxies, *COSTS)]
    columns = [("step", pa.int64()), ("structure", pa.string()), *floats]
    return pa.schema(columns, metadata={METADATA_KEY: json.dumps(settings)})


def save(out: Path, history: History, settings: dict) -> None:
    """Writes the whole log anew, so that there is one file, valid at any time."""
    table = pa.Table.from_pylist(history.rows, schema=_schema(history.proxies, settings))
    with replacing(out) as temporary:
        pq.write_table(table, temporary)


def described(path: Path, row: Row, log: pd.DataFrame, settings: dict) -> dict | None:
    """What a JSON file says of a search, if it is about this log."""
    try:
        said = json.loads(path.read_text())
        held = said["structure"], said["candidates"], said["settings"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return said if held == (row["structure"], len(log), settings) else None


def summarise(history: History, log: pd.DataFrame, settings: dict) -> dict[str, Any]:
    """What the JSON file beside a log says: the found structure, and how it was found."""
    best = history.ranking.best()
    row = history.rows[best]
    return {
        "structure": row["structure"],
        "step": best,
        "aggregate": float(history.aggregate()[best]),
        "scores": {name: row[name] for name in history.proxies},
        "macs": row["macs"],
        "params": row["params"],
        "candidates": len(log),
        "distinct": int(log["structure"].nunique()),
        "failed": history.failed,
        "core_hours": float(log["seconds"].sum() / 3600),
        "settings": settings,
        **machine(_device(settings)),
    }


def _device(settings: dict) -> str:
    """Where candidates were scored; what is not scored by azlib counts as the processor's."""
    try:
        return str(settings["score"]["settings"]["device"])
    except (LookupError, TypeError):
        return "cpu"


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes the JSON file beside a log."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
