"""The gallery: every exhibit with its picture or table, and its files to take away."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from PIL import Image

from azlib.errors import AzlibError

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

WRITES = re.compile(r'exhibits\.write\(\s*"(\w+)"')
TRUTHS = {"nas-bench-201": "official ground truth", "analog-nasbench": "embedded ground truth"}
LARGE = 200_000
"""A picture of more bytes than this is kept with 256 colours: a third of the size, and no blur."""
ROWS = 40
"""A CSV that has neither picture nor table is shown itself, if it has no more rows than this."""


@dataclass(frozen=True)
class Description:
    """What `exhibits.toml` says of an exhibit: a title, and what a picture shows in words."""

    title: str
    alt: str = ""


@cache
def _descriptions() -> dict[str, Description]:
    text = Path(__file__).with_name("exhibits.toml").read_text(encoding="utf-8")
    return {stem: Description(**entry) for stem, entry in tomllib.loads(text).items()}


def described(stem: str) -> Description:
    """The description of an exhibit; one that has none yet is called by its name."""
    plain = stem.replace("_", " ")
    alt = f"Picture of the exhibit {plain}; its CSV holds the numbers."
    return _descriptions().get(stem, Description(plain, alt))


def light(path: Path) -> bytes:
    """The bytes of a file of an exhibit, fewer if it is a large picture."""
    if path.suffix != ".png" or path.stat().st_size <= LARGE:
        return path.read_bytes()
    small = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
    return small.getvalue()


def gallery(figures: Path, notebooks: Path) -> str:
    """The gallery as Markdown: a section for each notebook, and in it one for each exhibit.

    Args:
        figures: folder of the exhibits.
        notebooks: folder of the notebooks that write them.

    Raises:
        AzlibError: there are no exhibits.
    """
    left = {path.stem for path in figures.rglob("*.csv")}
    if not left:
        raise AzlibError(f"no exhibit in {figures}: `make figures` writes them")
    sections = ["\n## Every exhibit\n"]
    for notebook in sorted(notebooks.glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        written = [stem for stem in dict.fromkeys(WRITES.findall(code)) if stem in left]
        if written:
            title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
            sections.append(f"### [{title}](../notebooks/{notebook.name})\n")
            sections += [_exhibit(stem, figures) for stem in written]
            left -= set(written)
    if left:
        sections.append("### Not from a notebook\n")
        sections += [_exhibit(stem, figures) for stem in sorted(left)]
    return "\n".join(sections)


def _exhibit(stem: str, figures: Path) -> str:
    """One exhibit: title, picture or table, and links to its files."""
    folders = [folder for folder in ("", *TRUTHS) if (figures / folder / f"{stem}.csv").is_file()]
    shown = figures / folders[0]
    about = described(stem)
    parts = [f"#### {about.title}\n"]
    picture, table = shown / f"{stem}.png", shown / f"{stem}.md"
    if picture.is_file():
        target = picture.relative_to(figures.parent).as_posix()
        parts.append(f"![{about.alt}](../{target})\n")
    if table.is_file():
        parts.append(table.read_text(encoding="utf-8"))
    elif not picture.is_file() and len(frame := pd.read_csv(shown / f"{stem}.csv")) <= ROWS:
        parts.append(frame.astype(object).where(frame.notna(), "").to_markdown(index=False) + "\n")
    parts += [
        f"{TRUTHS.get(folder, 'files').capitalize()}: {', '.join(_files(stem, figures / folder))}\n"
        for folder in folders
    ]
    return "\n".join(parts)


def _files(stem: str, folder: Path) -> Iterator[str]:
    """Links to the files of an exhibit in a folder."""
    for suffix in ("csv", "pdf", "tex"):
        path = folder / f"{stem}.{suffix}"
        if path.is_file():
            place = path.relative_to(
                folder.parent if folder.name == "figures" else folder.parents[1]
            )
            yield f"[{stem}.{suffix}](../{place.as_posix()})"
