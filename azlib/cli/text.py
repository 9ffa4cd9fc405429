"""Text of the command line turned into values, with one line of explanation where it cannot be."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from azlib.errors import AzlibError
from azlib.settings import check_seed

MOST_SEEDS = 10_000


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones.

    Raises `AzlibError` for anything but a regular file of UTF-8 text.
    """
    if not path.is_file():
        what = "is no regular file" if path.exists() else "is not there"
        raise AzlibError(f"{path} {what}: expected a text file, one architecture a line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AzlibError(
            f"{path} is not UTF-8 text (byte {error.start}): expected one architecture a line"
        ) from error
    except OSError as error:
        raise AzlibError(f"cannot read {path}: {error.strerror}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_seeds(text: str) -> list[int]:
    """Seeds from `1`, `1,2,3` or `1-5`.

    Raises `AzlibError` for other text, for a range that runs backwards, for a seed out of range,
    and for too many seeds.
    """
    expected = f"seeds {text!r}: expected 1 or 1,2,3 or 1-5"
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
            raise AzlibError(expected)
        low = check_seed(int(first[:40]))
        high = check_seed(int(last[:40])) if dash else low
        if high < low:
            raise AzlibError(f"{expected}, got the range {part.strip()}, which runs backwards")
        if high - low + len(seeds) >= MOST_SEEDS:
            raise AzlibError(f"seeds {text!r}: expected at most {MOST_SEEDS:,} of them")
        seeds += range(low, high + 1)
    return seeds


def read_shape(text: str) -> tuple[int, ...]:
    """The shape of an input from text such as `64,3,32,32`. Raises `AzlibError` for other text."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise AzlibError(f"input shape {text!r}: expected positive integers, as in 64,3,32,32")
    return tuple(map(int, parts))


def read_values(texts: list[str] | None) -> dict[str, Any]:
    """`name=value` texts as a dictionary. Raises `AzlibError` for text without `=`."""
    values = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator:
            raise AzlibError(f"parameter {text!r}: expected name=value")
        values[name.strip()] = _literal(value)
    return values


def _literal(text: str) -> Any:
    """A Python literal such as 3, 0.5, True or [1, 2]; any other text is itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
