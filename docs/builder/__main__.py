"""The command: collects the sources, and has Sphinx turn them into pages."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from azlib.errors import AzlibError, needs
from docs.builder import lessons, sources

with needs("sphinx", "site"):
    from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parents[2]


def build(executed: Path, out: Path, notebooks: Path = ROOT / "notebooks") -> int:
    """Builds the site, without network access; a warning of Sphinx is an error.

    Args:
        executed: the folder where `make figures` leaves executed notebooks.
        out: the folder of the site; its sources and Sphinx's notes lie beside it.
        notebooks: the folder of the lessons.

    Returns:
        The exit status of Sphinx: 0 when every page was written and every link leads somewhere.
    """
    source, notes = (out.with_name(f"{out.name}-{what}") for what in ("source", "doctrees"))
    sources.lay_out(sources.collect(ROOT, notebooks, executed), source)
    if (out / ".buildinfo").is_file():  # written by Sphinx, so nothing else is lost
        shutil.rmtree(out)
    options = ["-c", ROOT / "docs", "-d", notes, "-b", "html", "-W", "--keep-going", "-q"]
    status = build_main([str(word) for word in (*options, source, out)])
    sources.lay_out(lessons.for_colab(notebooks), out / "colab")
    return status


def main() -> int:
    """Reads the options and builds; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.builder", description="Builds the site.")
    parser.add_argument("--executed", type=Path, default=ROOT / ".build", help="executed notebooks")
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".build" / "site", help="folder to write"
    )
    options = parser.parse_args()
    try:
        status = build(options.executed.resolve(), options.out.resolve())
    except AzlibError as error:
        print(f"azlib: {error}", file=sys.stderr)
        return 1
    if status == 0:
        print(f"wrote {options.out / 'index.html'}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
