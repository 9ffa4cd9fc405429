"""The course: what its table says stands at the top of every notebook."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT

from azlib.companion import course
from azlib.companion.session import check_place
from azlib.errors import AzlibError

NOTEBOOKS = course.read(ROOT / "docs" / "course.md")
LESSONS = [notebook for notebook in NOTEBOOKS if notebook.kind == "lesson"]


def markdown(path):
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_every_notebook_carries_what_the_table_says():
    for path, text in course.written(ROOT).items():
        assert path.read_text() == text, f"{path.name}: run python -m azlib.companion.course"


def test_the_lessons_fit_a_seminar_and_come_first():
    assert sum(lesson.minutes for lesson in LESSONS) <= 90
    assert NOTEBOOKS[: len(LESSONS)] == LESSONS
    for lesson in LESSONS:
        path = ROOT / "notebooks" / f"{lesson.stem}.ipynb"
        assert markdown(path).count("**Exercise ") + markdown(path).count("\n1. ") >= 1, path.name
        assert "**Predict.**" in markdown(path) or "predict.**" in markdown(path), path.name
        assert 2 <= path.read_text().count("exercises.check(") <= 3, path.name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.number)
def test_the_minutes_are_those_of_reading(notebook):
    """200 words of text a minute, and 24 lines of code."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook.stem}.ipynb").read_text())["cells"]
    text, code = (
        "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == kind)
        for kind in ("markdown", "code")
    )
    minutes = len(text.split()) / 200 + len(code.splitlines()) / 24
    assert abs(notebook.minutes - minutes) <= 5, f"{minutes:.0f} minutes"


def test_the_first_lesson_has_no_notebook_before_it_and_the_last_none_behind():
    first, second, *_ = NOTEBOOKS
    assert "←" not in course.top(NOTEBOOKS, first.stem)
    assert f"[{second.stem}]({second.stem}.ipynb) →" in course.top(NOTEBOOKS, first.stem)
    assert "→" not in course.top(NOTEBOOKS, NOTEBOOKS[-1].stem)
    assert course.top(NOTEBOOKS, second.stem).startswith(f"**Lesson 2 of {len(LESSONS)}**")


def test_links_of_course_and_notebooks_lead_somewhere():
    pages = [ROOT / "docs" / "course.md", ROOT / "docs" / "glossary.md"]
    texts = {page: page.read_text() for page in pages}
    texts |= {path: markdown(path) for path in (ROOT / "notebooks").glob("*.ipynb")}
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)#:\s]+)\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_glossary_is_in_order_and_has_the_words_of_the_lessons():
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert [w.lower() for w in words] == sorted(w.lower() for w in words)
    for word in ("jackknife", "Kendall's τ", "VKDNW", "zero-cost proxy", "regret", "MAC"):
        assert word in words


def test_a_table_that_is_not_understood_is_refused(tmp_path):
    page = tmp_path / "course.md"
    page.write_text("| [00-x](../notebooks/00-x.ipynb) | leson | 5 | a | b |\n")
    with pytest.raises(AzlibError, match=r"expected \| \[NOTEBOOK"):
        course.read(page)
    page.write_text("no table\n")
    with pytest.raises(AzlibError, match="names no notebook"):
        course.read(page)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "course.md").write_text("| [00-x](x.ipynb) | lesson | 5 | a | b |\n")
    with pytest.raises(AzlibError, match=r"00-x is in .* but not in both"):
        course.written(tmp_path)


def test_a_notebook_outside_the_repository_says_where_to_open_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AzlibError, match=r"no \.\./data/scores beside this notebook: open it in"):
        check_place("../data/scores")
    monkeypatch.chdir(ROOT / "notebooks")
    check_place()


def test_without_azlib_the_first_cell_that_needs_it_says_what_to_do(monkeypatch):
    cells = json.loads((ROOT / "notebooks" / "00-start-here.ipynb").read_text())["cells"]
    (guard,) = ("".join(c["source"]) for c in cells if c["id"] == "00-place")
    monkeypatch.setitem(__import__("sys").modules, "azlib.companion.session", None)
    with pytest.raises(ModuleNotFoundError, match="In a checkout of azlib, run `make lab`"):
        exec(guard, {})
    code = [c for c in cells if c["cell_type"] == "code"]
    assert code[1]["id"] == "00-place", "nothing of azlib is imported before it"
