"""Writing a file whole or not at all; unpickling without running what a file asks for."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from azlib.errors import AzlibError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place if the block succeeds.

    Whatever fails, the previous file stays. Raises `AzlibError` for a full disk and the like.
    """
    path = Path(path)
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


class ForeignName(pickle.UnpicklingError):
    """A pickle asks to load `name`."""

    def __init__(self, name: str):
        super().__init__(f"refused, it asks to load {name}")
        self.name = name


class RestrictedUnpickler(pickle.Unpickler):
    """Knows the names in `allowed` (dotted name -> stand-in); any other raises `ForeignName`."""

    def __init__(self, stream: BinaryIO, allowed: dict[str, Any], **options):
        super().__init__(stream, **options)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allowed:
            raise ForeignName(f"{module}.{name}")
        return self._allowed[f"{module}.{name}"]
