"""What a command has finished when something unforeseen ends it, for the line that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_kept: list[str] = []


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """While the block runs, `kept` says what is safe already; also after it failed."""
    _kept.append(what)
    yield
    _kept.remove(what)


def kept() -> str:
    """What is safe already, in words."""
    return _kept[-1] if _kept else "no file was changed"
