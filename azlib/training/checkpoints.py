"""The files of a run: its checkpoints, its log, and the images that it could not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from azlib.errors import AzlibError, out_of_memory, reason
from azlib.files import differences, replacing

State = dict[str, Any]


class Row(NamedTuple):
    """A line of the log: what an epoch did. top1 is in percent."""

    epoch: int
    lr: float
    train_loss: float
    top1: float
    seconds: float


def log(rows: list[Row]) -> pd.DataFrame:
    """The log as a table, one row an epoch."""
    return pd.DataFrame(rows, columns=list(Row._fields))


def read_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> State:
    """A file that `train` wrote: `settings`, `rows` of the log, `model` (a state dict), ...

    Nothing in the file is run. Raises `AzlibError` for a missing or damaged file, and for any other
    than a checkpoint.
    """
    if not Path(path).is_file():
        raise AzlibError(f"no checkpoint {path}: expected best.pt or last.pt of azlib train")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        state["rows"] = [Row(int(epoch), *map(float, rest)) for epoch, *rest in state["rows"]]
        if not all(isinstance(part, dict) for part in _parts(state)):
            raise TypeError("a part of it is no dictionary")
    except Exception as error:  # a damaged file fails in as many ways as there are parts of it
        if out_of_memory(error):
            raise
        raise AzlibError(
            f"{path} is no checkpoint of azlib train, or is damaged ({reason(error)}): expected "
            "best.pt or last.pt of azlib train"
        ) from error
    return state


def _parts(state: State) -> list[object]:
    return [state["settings"], state["settings"]["network"], state["model"]]


def write_epoch(out: Path, state: State, resuming: State) -> None:
    """Writes what is new after an epoch, `last.pt` last, so that a killed run repeats the rest.

    state: what `read_checkpoint` gives of `best.pt`. resuming: what `last.pt` holds besides it.
    """
    rows = state["rows"]
    if rows[-1].top1 > max((row.top1 for row in rows[:-1]), default=-1):
        _save(out / "best.pt", state)
    with replacing(out / "log.csv") as path:
        log(rows).to_csv(path, index=False)
    if state["unreadable"]:
        names = "".join(f"{name}\n" for name in state["unreadable"])
        with replacing(out / "unreadable.txt") as path:  # with the bytes that file names have
            path.write_text(names, encoding="utf-8", errors="surrogateescape")
    _save(out / "last.pt", {**state, **resuming})


def read_last(out: Path, settings: State, device: torch.device) -> State | None:
    """The state to continue from, if there is one.

    Raises `AzlibError` where it belongs to a run of other settings.
    """
    path = out / "last.pt"
    if not path.exists():
        return None
    state = read_checkpoint(path, device)
    if what := differences(state["settings"], settings):
        raise AzlibError(f"{path} is another run: {what}; choose another output")
    return state


def _save(path: Path, state: State) -> None:
    plain = {**state, "rows": [list(row) for row in state["rows"]]}
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(plain, file)
