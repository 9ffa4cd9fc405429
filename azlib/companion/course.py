"""The course: which notebooks are lessons, in which order, and the lines at the top of each.

The tables of `docs/course.md` say it once. From them comes the second cell of every notebook: its
kind, for whom it is, how long it takes, what it needs, and the notebooks before and behind it.
Another cell that all of them share tells what to do where azlib or its data are missing. After a
change of the tables, and for a new notebook, write both again in the root of the repository with

    python -m azlib.companion.course
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azlib.errors import AzlibError

_ROW = re.compile(
    r"\| \[([\w-]+)\]\(\S+\) \| (lesson|reference|appendix) \| (\d+) \| [^|]+ \| ([^|]+) \|"
)
_READERS = {
    "lesson": "readers who know PyTorch and have never heard of architecture search",
    "reference": "readers who know the lessons, or the field",
    "appendix": "those who implement AZ-NAS, or want to know exactly",
}
_GUARD = """\
try:
    from azlib.companion.session import check_place
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{{error}}. In a checkout of azlib, run `make lab` and open this notebook there; or, with "
        "another Python, `pip install -e '.[companion]'` in the checkout, and restart the kernel"
    ) from None

check_place({})"""


@dataclass(frozen=True)
class Notebook:
    """A row of the tables.

    stem: the name of its file, without `.ipynb`. kind: "lesson", "reference" or "appendix".
    minutes: what it takes to read it. needs: the number of another notebook, or what else a reader
    should know.
    """

    stem: str
    kind: str
    minutes: int
    needs: str

    @property
    def number(self) -> str:
        """What its file name begins with."""
        return self.stem.partition("-")[0]

    @property
    def link(self) -> str:
        """A link to it from another notebook."""
        return f"[{self.stem}]({self.stem}.ipynb)"


def read(page: str | Path = "docs/course.md") -> list[Notebook]:
    """The notebooks in the order of the course.

    Raises `AzlibError` for a page without tables, or with a row that is not understood.
    """
    found = []
    for line in Path(page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ["):
            continue
        row = _ROW.fullmatch(line)
        if row is None:
            raise AzlibError(
                f"{page} has the row {line!r}: expected | [NOTEBOOK](LINK) | lesson, reference or "
                "appendix | minutes | what for | needs |"
            )
        stem, kind, minutes, needs = row.groups()
        found.append(Notebook(stem, kind, int(minutes), needs))
    if not found:
        raise AzlibError(f"{page} names no notebook: expected tables of notebooks")
    return found


def top(notebooks: list[Notebook], stem: str) -> str:
    """The lines at the top of a notebook, as Markdown."""
    (place,) = (i for i, notebook in enumerate(notebooks) if notebook.stem == stem)
    this, by_number = notebooks[place], {n.number: n for n in notebooks}
    lessons = [n for n in notebooks if n.kind == "lesson"]
    kind = {"reference": "Reference, to look things up", "appendix": "Appendix"}.get(this.kind)
    kind = kind or f"Lesson {lessons.index(this) + 1} of {len(lessons)}"
    needs = by_number[this.needs].link if this.needs in by_number else this.needs
    links = ["[the course](../docs/course.md)", "[glossary](../docs/glossary.md)"]
    if place > 0:
        links.insert(0, f"← {notebooks[place - 1].link}")
    if place + 1 < len(notebooks):
        links.append(f"{notebooks[place + 1].link} →")
    said = f"**{kind}**, {this.minutes} minutes, for {_READERS[this.kind]}. Needs: {needs}."
    return f"{said}\n\n{' · '.join(links)}"


def dressed(notebook: dict[str, Any], lines: str) -> dict[str, Any]:
    """The JSON of a notebook with these lines as its second cell.

    Behind its parameters it gets the cell that tells what to do without azlib or its data.
    """
    prefix = notebook["cells"][0]["id"].partition("-")[0]
    own = (f"{prefix}-about", f"{prefix}-place")
    cells = [cell for cell in notebook["cells"] if cell["id"] not in own]
    tagged = next(i for i, c in enumerate(cells) if "parameters" in c["metadata"].get("tags", []))
    reads = any(line.startswith("scores = ") for line in cells[tagged]["source"])
    guard = _GUARD.format("scores" if reads else "")
    about: dict[str, Any] = {"cell_type": "markdown", "id": own[0], "metadata": {}}
    about |= {"source": _lines(lines)}
    place: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": own[1]}
    place |= {"metadata": {}, "outputs": [], "source": _lines(guard)}
    cells = [cells[0], about, *cells[1 : tagged + 1], place, *cells[tagged + 1 :]]
    return {**notebook, "cells": cells}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def written(root: str | Path = ".") -> dict[Path, str]:
    """What every notebook of the course should hold, by its path.

    root: of the repository. Raises `AzlibError` for a notebook that the tables do not name, and for
    one that they alone name.
    """
    root = Path(root)
    notebooks = read(root / "docs" / "course.md")
    paths = {path.stem: path for path in sorted((root / "notebooks").glob("*.ipynb"))}
    if odd := sorted(set(paths) ^ {notebook.stem for notebook in notebooks}):
        raise AzlibError(
            f"{odd[0]} is in docs/course.md or in notebooks/, but not in both: add or remove it"
        )
    texts = {}
    for stem, path in paths.items():
        held = json.loads(path.read_text(encoding="utf-8"))
        new = dressed(held, top(notebooks, stem))
        texts[path] = json.dumps(new, indent=1, ensure_ascii=False) + "\n"
    return texts


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
