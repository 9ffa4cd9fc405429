"""Names of a package that are imported when they are first used, as they need torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(module: str, *names: str) -> Callable[[str], Any]:
    """A `__getattr__` for a package, which takes these names from one of its modules."""

    def __getattr__(name: str) -> Any:
        if name in names:
            return getattr(import_module(module), name)
        raise AttributeError(f"module {module.rpartition('.')[0]!r} has no attribute {name!r}")

    return __getattr__
