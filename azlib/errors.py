"""The one exception that azlib raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AzlibError(ValueError):
    """Bad input, in one line: what was given, what was expected, what to do."""


def unknown(kind: str, given: object, known: Iterable[str]) -> AzlibError:
    """The error for a name that is not in a list: shows the list and the nearest name."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return AzlibError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(known)}.")
