"""Fields of settings that say their own range, and the one function that checks them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, fields
from numbers import Real
from typing import Any

from azlib.errors import AzlibError, unknown

_KINDS: dict[str, tuple[type, str]] = {
    "int": (int, "an integer"),
    "float": (Real, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
}


def between(low: float, high: float, default: float) -> Any:
    """A field of a dataclass that `check` keeps from `low` to `high`, both included."""
    return field(default=default, metadata={"range": (low, high)})


def one_of(known: Iterable[str], default: str) -> Any:
    """A field of a dataclass that `check` compares with a list of names."""
    return field(default=default, metadata={"known": tuple(known)})


def check(settings: Any) -> None:
    """Raises `AzlibError` for a field whose value has another type or is out of its range.

    settings: a dataclass whose module postpones annotations, so that types are texts. Fields of
    other types than those of one plain value are not checked.
    """
    for entry in fields(settings):
        value, kind = getattr(settings, entry.name), str(entry.type)
        if kind not in _KINDS:
            continue
        of, words = _KINDS[kind]
        fits = isinstance(value, of) and (of is bool or not isinstance(value, bool))
        if "range" in entry.metadata:
            low, high = entry.metadata["range"]
            fits, words = fits and low <= value <= high, f"{words} from {low:,} to {high:,}"
        if not fits:
            raise AzlibError(f"{entry.name}={value!r}: expected {words}")
        if value not in (known := entry.metadata.get("known", (value,))):
            raise unknown(entry.name, value, known)
