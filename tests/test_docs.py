"""The Python of README.md and of every page in docs/ runs, block after block.

A block that is fenced as ```python no-run is shown and not run: it needs what is not here.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
from conftest import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    for folder in ("data", "figures", "notebooks"):  # what a page reads by its path in a checkout
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")  # classes of a page find it by name
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + block[1], page.name, "exec"), module.__dict__)


def test_the_readme_and_the_guides_have_code_that_runs():
    assert {"README", "cluster", "gpu"} <= {page.stem for page in WITH_CODE}
