"""The lessons of the site: notebooks as `make figures` executed them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from docs.builder import links
from docs.builder.exhibits import WRITES, described
from docs.conf import REPOSITORY

PLACES = ("nas-bench-201", "analog-nasbench", "exhibits")
"""Where executed copies are looked for; those with the official ground truth come first."""
NOT_RUN = (
    ":::{note}\nThis lesson has not been run here, so its pictures and numbers are missing: "
    "`make figures` runs it, and `make site` then shows them.\n:::"
)
INSTALL = """\
# Colab starts without azlib: this brings the repository and installs it (a few minutes).
!git clone --quiet --depth 1 {repository} azlib
%pip install --quiet "./azlib[companion]"
%cd azlib/notebooks"""
COLAB = "https://colab.research.google.com/github"
_TO_LESSON = re.compile(r"\]\(([\w-]+)\.ipynb\)")
Notebook = dict[str, Any]
Files = dict[PurePosixPath, bytes]


def collect(folder: Path, executed: Path) -> Files:
    """Every notebook of a folder and of those in it, by its path in the site.

    An executed copy counts if its cells are those of the notebook. Where there is none, the
    notebook itself is shown, and says so.
    """
    found: Files = {}
    for path in sorted(folder.rglob("*.ipynb")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        notebook = _read(path)
        copies = (executed / place / path.name for place in PLACES)
        fresh = (copy for copy in map(_executed, copies) if copy and _same(copy, notebook))
        page = _page(next(fresh, None), notebook)
        if REPOSITORY:
            owner_and_name = REPOSITORY.removeprefix("https://github.com/")
            link = f"{COLAB}/{owner_and_name}/blob/gh-pages/colab/{path.name}"
            page["cells"].insert(1, _cell("markdown", f"[Open this lesson in Colab]({link})"))
        found["notebooks" / PurePosixPath(name)] = _dump(page)
    return found


def with_links(
    content: bytes, path: PurePosixPath, known: Collection[PurePosixPath], root: Path
) -> bytes:
    """A notebook whose text has its links rewritten, see `links.rewritten`.

    Sphinx does not follow links in what a cell displayed, so those to lessons get the name of
    their page.
    """
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = links.rewritten(_source(cell), path, known, root)
        for output in cell.get("outputs", []):
            if shown := "".join(output.get("data", {}).get("text/markdown", "")):
                output["data"]["text/markdown"] = _TO_LESSON.sub(r"](\1.html)", shown)
    return _dump(notebook)


def for_colab(folder: Path) -> Files:
    """Copies of the lessons whose first cell installs azlib in Colab, by their names.

    None while `REPOSITORY` names no address, as there is nothing to install from.
    """
    copies: Files = {}
    for path in sorted(folder.glob("*.ipynb")) if REPOSITORY else ():
        notebook = _read(path)
        install = _cell("code", INSTALL.format(repository=REPOSITORY))
        notebook["cells"].insert(0, install | {"outputs": [], "execution_count": None})
        copies[PurePosixPath(path.name)] = _dump(notebook)
    return copies


def _page(executed: Notebook | None, notebook: Notebook) -> Notebook:
    """The notebook as the site shows it: with text alternatives, and a line about how to run it."""
    shown = executed or notebook
    for cell, heading in _with_headings(shown["cells"]):
        cell["metadata"] = {"tags": cell["metadata"].get("tags", [])}
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            stems = WRITES.findall(_source(cell))
            alt = described(stems[0]).alt if stems else f"Picture of the section “{heading}”."
            cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    if executed is None:
        shown["cells"].insert(1, _cell("markdown", NOT_RUN))
    shown["metadata"] = {"kernelspec": notebook["metadata"]["kernelspec"]}
    return shown


def _with_headings(cells: list[Notebook]) -> Iterator[tuple[Notebook, str]]:
    """Each cell with the last heading above it."""
    heading = ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            heading = (re.findall(r"^#+ (.+)$", _source(cell), re.MULTILINE) or [heading])[-1]
        yield cell, heading


def _executed(path: Path) -> Notebook | None:
    """An executed copy without the cell that papermill put in."""
    if not path.is_file():
        return None
    notebook = _read(path)
    put_in = "injected-parameters"
    notebook["cells"] = [
        cell for cell in notebook["cells"] if put_in not in cell["metadata"].get("tags", [])
    ]
    return notebook


def _same(one: Notebook, other: Notebook) -> bool:
    """Whether two notebooks have the same cells, whatever these printed."""
    return [_source(cell) for cell in one["cells"]] == [_source(cell) for cell in other["cells"]]


def _cell(kind: str, source: str) -> Notebook:
    name = sha256(source.encode()).hexdigest()[:8]
    return {"cell_type": kind, "id": name, "metadata": {}, "source": source}


def _source(cell: Notebook) -> str:
    return "".join(cell["source"])


def _read(path: Path) -> Notebook:
    return json.loads(path.read_text(encoding="utf-8"))


def _dump(notebook: Notebook) -> bytes:
    return json.dumps(notebook, ensure_ascii=False, indent=1).encode()
