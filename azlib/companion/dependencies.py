"""What the result of a notebook depends on: the modules it imports, and the files it reads."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
STYLE = PACKAGE / "companion" / "paper.mplstyle"
_LIBRARIES = ("numpy", "scipy", "pandas", "torch", "matplotlib")


def code_of(notebook: Path) -> str:
    """The source of all code cells."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def modules(code: str) -> set[Path]:
    """The files of azlib that some code imports, and those that these import, and so on."""
    found: set[Path] = set()
    waiting = set(_imported(code))
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= _imports_of(path) - found
    return found


@cache
def _imports_of(path: Path) -> set[Path]:
    return set(_imported(path.read_text(encoding="utf-8")))


@cache
def _hash(path: Path) -> bytes:
    return sha256(path.read_bytes()).digest()


def _imported(code: str) -> Iterator[Path]:
    """The files of azlib that are imported anywhere in some code."""
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] == PACKAGE.name:
                yield from _files(name)


def _files(name: str) -> Iterator[Path]:
    """The file of a dotted name of azlib; none for a name within a module."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            yield candidate


def asked_for(notebook: Path) -> set[str]:
    """The benchmarks that its code, or a module that it imports, uses if they are `available`."""
    code = code_of(notebook)
    return set(_asked(code)).union(*map(_asked_in, modules(code)))


@cache
def _asked_in(path: Path) -> set[str]:
    return set(_asked(path.read_text(encoding="utf-8")))


def _asked(code: str) -> Iterator[str]:
    """What `available` is called with anywhere in some code."""
    nodes = ast.walk(ast.parse(code)) if "available(" in code else ()
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    for call in calls:
        if getattr(call.func, "id", "") == "available" and isinstance(call.args[0], ast.Constant):
            yield str(call.args[0].value)


def digest(notebook: Path, inputs: list[Path], values: dict[str, object]) -> str:
    """A hash of all that the result of a notebook depends on, the style of pictures included.

    Args:
        notebook: its cells count, and the modules of azlib that they import.
        inputs: files, and folders whose files count.
        values: parameters that are given.
    """
    files = {notebook.resolve(), *modules(code_of(notebook)), STYLE}
    for path in inputs:
        path = path.resolve()
        files |= {p for p in path.rglob("*") if p.is_file()} if path.is_dir() else {path}
    found = sha256(json.dumps(values, sort_keys=True).encode())
    for name in _LIBRARIES:
        found.update(f"{name} {metadata.version(name)}".encode())
    for path in sorted(files):
        found.update(path.name.encode() + _hash(path))
    return found.hexdigest()
