"""The parts of an unfinished sweep: one small score file for each chunk of positions.

A part is named `<first>-<last>.parquet` after the positions in the list of architectures that it
holds (the last one is exclusive). It appears whole or not at all, so that a killed sweep loses only
the chunks under way.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm import tqdm

from azlib.errors import AzlibError
from azlib.files import differences, replacing
from azlib.scoring.files import FileSettings, metadata, read_settings

Item = tuple[str, int]
"""An architecture and a seed."""
_LOCK = ".lock"
_NAME = r"\d{12}-\d{12}\.parquet"
_ROWS_AT_ONCE = 65_536  # rows that are joined in memory


@contextlib.contextmanager
def opened(out: Path, settings: FileSettings) -> Iterator[tuple[Path, set[Item]]]:
    """The folder of the parts, without what an earlier run left over, and what OUT already holds.

    Inside, no other process works on the same OUT. Raises `AzlibError` if one does, if the folder
    cannot be made, and if OUT or a part holds scores of other settings.
    """
    parts = out.with_name(out.name + ".parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AzlibError(f"cannot create {parts}: {error.strerror}") from error
    lock = FileLock(parts / _LOCK, timeout=0)
    try:
        with contextlib.suppress(NotImplementedError):  # on a file system that knows no locks
            lock.acquire()
    except Timeout:
        raise AzlibError(
            f"another process is writing {out}: wait for it, or choose another output"
        ) from None
    except OSError as error:
        raise AzlibError(f"cannot write to {parts}: {error.strerror}") from error
    try:
        yield parts, _prepared(out, parts, settings)
    finally:
        with contextlib.suppress(OSError):  # some systems keep a file that is open
            (parts / _LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # parts, or something of the user's own, may lie there
            parts.rmdir()


def _prepared(out: Path, parts: Path, settings: FileSettings) -> set[Item]:
    """What OUT holds; removes from the parts what a killed run left over."""
    done: set[Item] = set()
    if out.exists():
        check_settings(out, settings)
        done = set(rows_held(out))
    for stale in parts.glob("*.tmp"):
        if stale.is_file():
            stale.unlink()
    for path in files(parts) if done else ():
        check_settings(path, settings)
        if done >= set(rows_held(path)):  # killed between joining the parts and removing them
            path.unlink()
    return done


def files(parts: Path) -> list[Path]:
    """The parts that are there, in the order of their positions."""
    return sorted(path for path in parts.iterdir() if re.fullmatch(_NAME, path.name))


def rows_held(path: Path) -> list[Item]:
    """(architecture, seed) of each row of a score file, in order."""
    table = pq.read_table(path, columns=["arch", "seed"])
    return list(zip(table["arch"].to_pylist(), table["seed"].to_pylist(), strict=True))


def unfinished(
    items: Iterator[Item], parts: Path, chunk: int, settings: FileSettings, bar: tqdm
) -> Iterator[tuple[Path, list[Item]]]:
    """Chunks of positions that no part covers; parts that exist are checked as they pass.

    Raises `AzlibError` for a part of other architectures than the items.
    """
    ready = {int(path.stem.split("-")[0]): path for path in files(parts)}
    position = 0
    pending: list[Item] = []
    while True:
        if position in ready:
            if pending:
                yield _name(parts, position, pending), pending
                pending = []
            held = _checked_rows(ready.pop(position), items, settings)
            position += held
            bar.update(held)
            if not bar.disable:
                bar.initial += held  # what was there before is not part of the rate
            continue
        item = next(items, None)
        if item is not None:
            pending.append(item)
            position += 1
        if pending and (item is None or len(pending) == chunk):
            yield _name(parts, position, pending), pending
            pending = []
        if item is None and not ready:
            return
        if item is None:
            raise _of_others(next(iter(ready.values())))


def _checked_rows(path: Path, items: Iterator[Item], settings: FileSettings) -> int:
    """How many items a part holds, if they are the next ones of the sweep."""
    check_settings(path, settings)
    held = rows_held(path)
    if not held or held != list(itertools.islice(items, len(held))):
        raise _of_others(path)
    return len(held)


def _of_others(path: Path) -> AzlibError:
    return AzlibError(
        f"{path} holds other architectures than this sweep: delete {path.parent} or choose "
        "another output"
    )


def _name(parts: Path, end: int, items: list[Item]) -> Path:
    return parts / f"{end - len(items):012d}-{end:012d}.parquet"


def write(path: Path, rows: list[dict], settings: FileSettings) -> None:
    """Writes rows of scores as a score file, whole or not at all."""
    table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata(settings))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def join(out: Path, parts: Path, settings: FileSettings) -> bool:
    """Streams the parts, in order, behind what OUT held, into a new OUT; then removes them.

    Returns whether there was anything to add.
    """
    new = files(parts)
    if new:
        paths = ([out] if out.exists() else []) + new
        for path in paths:
            check_settings(path, settings)
        schema = pq.read_schema(paths[0])
        with replacing(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            batch: list[pa.Table] = []
            for path in paths:
                batch.append(pq.read_table(path, schema=schema))
                if sum(map(len, batch)) >= _ROWS_AT_ONCE or path == paths[-1]:
                    writer.write_table(pa.concat_tables(batch))
                    batch = []
    for path in new:
        path.unlink()
    return bool(new)


def check_settings(path: Path, settings: FileSettings) -> None:
    """Raises `AzlibError` if a score file was made with other settings."""
    if (held := read_settings(path)) != settings:
        what = differences(held.to_dict(), settings.to_dict())
        raise AzlibError(f"{path} holds scores of other settings: {what}; choose another output")
