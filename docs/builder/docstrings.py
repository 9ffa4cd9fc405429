"""What the docstrings of azlib hold besides plain text, in the form that Sphinx expects.

The fields of a class are lines such as `name: what it is.`, and become lists. A paragraph that is
indented is code.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

import azlib

_FIELD = re.compile(r"^(\w+(?:, \w+)*): (.+)$")


def setup(app: Sphinx) -> dict[str, Any]:
    """Puts the conversion before that of Google's sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-skip-member", _Once())
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class _Once:
    """Leaves out what azlib offers itself where the module that defines it is described later."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(
        self, app: Sphinx, kind: str, name: str, item: object, skip: bool, options: Any
    ) -> bool | None:
        if name not in azlib.__all__ or getattr(azlib, name) is not item:
            return None  # as autodoc would have it
        again = id(item) in self.seen
        self.seen.add(id(item))
        return True if again else None


def _process(
    app: Sphinx, kind: str, name: str, item: object, options: Any, lines: list[str]
) -> None:
    lines[:] = with_code(listed(lines) if kind == "class" else lines)


def listed(lines: list[str]) -> list[str]:
    """Lines in which every field and what continues it is an item of a list."""
    result = [""]
    in_field = False
    for line in lines:
        field = _FIELD.match(line)
        continues = in_field and line.startswith("    ")
        if line and result[-1] and bool(field) != in_field and not continues:
            result.append("")  # a list stands apart from the text around it
        in_field = bool(field) or continues
        if field:
            line = f"- **{field[1]}**: {field[2]}"
        result.append(line[2:] if continues else line)
    return result[1:]


def with_code(lines: list[str]) -> list[str]:
    """Lines in which an indented paragraph between plain ones is marked as code."""
    result: list[str] = []
    plain = True
    for before, line in zip(["", *lines], lines, strict=False):
        indented = line.startswith("    ")
        if indented and not before and plain:
            result += ["::", ""]
        plain = plain if not line else not indented
        result.append(line)
    return result
