"""What the site is made from: the files of the repository, and the pages made from them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from docs.builder import exhibits, layers, lessons, links

GUIDES = [
    *["install", "own-networks", "reference-set", "own-space", "own-proxy", "command-line"],
    *["cluster", "gpu", "search-train-export", "ground-truth", "elsewhere"],
]
RESULTS = ["results", "exhibits", "speed"]
COURSE = ["course", "glossary"]
REFERENCE = ["api", "architecture"]
Files = dict[PurePosixPath, bytes]


def collect(root: Path, notebooks: Path, executed: Path) -> Files:
    """The sources of the site by their paths, in the layout of the repository.

    Args:
        root: of the repository.
        notebooks: the folder of the lessons.
        executed: the folder with executed copies of them.
    """
    found: Files = {
        PurePosixPath(path.relative_to(root)): exhibits.light(path)
        for path in sorted((root / "figures").rglob("*.*"))
        if path.suffix != ".md"
    }
    lesson_files = lessons.collect(notebooks, executed)
    pages = {
        PurePosixPath(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]
    }
    pages[EXHIBITS] += exhibits.gallery(root / "figures", notebooks)
    pages[INDEX] = pages.pop(README) + contents(pages, lesson_files)
    known = {*found, *pages, *lesson_files}
    for path, text in pages.items():
        page = layers.drawn(links.rewritten(text, path, known, root))
        found[path] = page.encode()
    for path, notebook in lesson_files.items():
        found[path] = lessons.with_links(notebook, path, known, root)
    return found


README, INDEX = PurePosixPath("README.md"), PurePosixPath("index.md")
EXHIBITS = PurePosixPath("docs/exhibits.md")


def contents(pages: dict[PurePosixPath, str], lesson_files: Files) -> str:
    """The tables of contents, which the first page holds unseen and every page shows at its side.

    A page that no list names is a guide, and one that a list names and that is not there is left
    out.
    """
    lists = {"Course": COURSE, "Guides": GUIDES, "Results": RESULTS, "Reference": REFERENCE}
    groups = {
        caption: [f"docs/{name}" for name in names if PurePosixPath(f"docs/{name}.md") in pages]
        for caption, names in lists.items()
    }
    course = pages.get(PurePosixPath("docs/course.md"), "")  # its order; then what it leaves out
    places = {path: course.find(path.name) for path in lesson_files}
    ordered = sorted(places, key=lambda path: (places[path] < 0, places[path], path))
    groups["Course"] += [str(path.with_suffix("")) for path in ordered]
    at_the_root = [str(path.with_suffix("")) for path in sorted(pages) if len(path.parts) == 1]
    reports = [name for name in at_the_root if name == "REPRODUCTION"]
    groups["Results"] = reports + groups["Results"]
    groups["Reference"] += [name for name in at_the_root if name not in ("README", *reports)]
    listed = {name for names in groups.values() for name in names}
    groups["Guides"] += [
        name
        for page in sorted(pages)
        if (name := str(page.with_suffix(""))) not in listed and name != "README"
    ]
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"
        for caption, names in groups.items()
    )


def lay_out(files: Files, folder: Path) -> None:
    """Makes a folder hold exactly these files; those that have not changed keep their dates."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and PurePosixPath(path.relative_to(folder)) not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not (path.is_file() and path.read_bytes() == content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
