"""Files: writing one whole or not at all, unpickling without running what it asks for, and how the
settings that one holds differ from ours."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from azlib.errors import AzlibError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place if the block succeeds.

    Whatever fails, the previous file stays. Raises `AzlibError` for a full disk and the like, and
    for a path that is there but is no regular file (a folder, a device).
    """
    path = Path(path)
    _check_kind(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise AzlibError(
            f"cannot write {path}: {error.strerror or error}; the previous file is untouched"
        ) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Raises `AzlibError` where `replacing` could not write a file, before hours are spent on it.

    It tries the folder, or the next one above that is there, and leaves nothing behind.
    """
    path = Path(path)
    try:
        _check_kind(path)
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AzlibError(
            f"cannot write {path}: {error.strerror or error}; choose another output"
        ) from error


def _check_kind(path: Path) -> None:
    """Raises `AzlibError` for a path that is there but is no regular file."""
    if path.exists() and not path.is_file():
        raise AzlibError(f"cannot write {path}: it is no regular file; choose another name")


def differences(held: dict[str, Any], ours: dict[str, Any]) -> str:
    """Where two nested settings differ, as `name=held (now ours)`, for an error message."""
    import pandas as pd  # here, as nearly everything else in azlib starts without it

    held, ours = (pd.json_normalize(s).to_dict("records")[0] for s in (held, ours))
    return ", ".join(
        f"{name}={held.get(name)!r} (now {ours.get(name)!r})"
        for name in {**held, **ours}
        if held.get(name) != ours.get(name)
    )


class ForeignName(pickle.UnpicklingError):
    """A pickle asks to load `name`."""

    def __init__(self, name: str):
        super().__init__(f"refused, it asks to load {name}")
        self.name = name


class RestrictedUnpickler(pickle.Unpickler):
    """Knows the names in `allowed` (dotted name -> stand-in); any other raises `ForeignName`."""

    def __init__(self, stream: BinaryIO, allowed: dict[str, Any], **options: Any):
        super().__init__(stream, **options)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allowed:
            raise ForeignName(f"{module}.{name}")
        return self._allowed[f"{module}.{name}"]
