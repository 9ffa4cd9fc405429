"""What the repository promises about itself."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from azlib.companion.notebooks import parameters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ISLANDS = [  # from the ground up: an island imports from itself and from those before it
    {"errors", "assemblies"},
    {"files", "aggregation", "layouts", "running", "own_code"},
    {"block_finder", "tape"},
    {"trace"},
    {"settings"},
    {"inputs"},
    {"proxies", "spaces"},
    {"scoring"},
    {"search"},
    {"companion", "training", "plotting"},
    {"cli"},
    {"__main__", "__init__"},
]


def test_environment_yml_and_pyproject_agree():
    """conda users get what `make` installs; the ranges stand in pyproject.toml alone."""
    text = (ROOT / "environment.yml").read_text()
    assert re.findall(r"^ {6}- (.+)$", text, flags=re.MULTILINE) == ["-e .[dev]"]
    assert f"python{PROJECT['requires-python']}" in text
    assert '-e ".[dev]"' in (ROOT / "Makefile").read_text()


def test_every_dependency_has_a_tested_range():
    extras = PROJECT["optional-dependencies"]
    for_users = [extra for name, extra in extras.items() if name != "dev"]
    for requirement in sum(for_users, PROJECT["dependencies"]):
        assert re.search(r"==|<", requirement), f"{requirement} has no upper bound"


def test_the_developers_have_every_extra():
    extras = PROJECT["optional-dependencies"]
    (own,) = (line for line in extras["dev"] if line.startswith("azlib["))
    assert set(own[len("azlib[") : -1].split(",")) == set(extras) - {"dev"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_clean(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert "papermill" not in notebook["metadata"]
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1 and code[0] is tagged[0], "one `parameters` cell, first of the code"
    for line in "".join(tagged[0]["source"]).splitlines():
        if line.strip() and not line.startswith("#"):
            assert "#" in line, f"{path.name}: no comment with the unit of {line!r}"
    for cell in code:
        lines = "".join(cell["source"]).splitlines()
        assert len(lines) <= 12, f"{path.name}: {len(lines)} lines from {lines[0]!r} on"
    assigned = [node.targets[0].id for node in ast.parse("".join(tagged[0]["source"])).body]
    assert list(parameters(path)) == assigned, "papermill does not see every parameter"


def imported(path):
    """The modules of azlib that a file imports anywhere in it, as dotted names.

    Imports for the type checker alone, which never run, do not count.
    """
    todo = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module == "azlib":
            yield from (f"azlib.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("azlib."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("azlib."))


def test_islands_import_one_way():
    level = {name: depth for depth, names in enumerate(ISLANDS) for name in names}
    for path in (ROOT / "azlib").rglob("*.py"):
        own = path.relative_to(ROOT / "azlib").parts[0].removesuffix(".py")
        assert own in level, f"{own} has no place among the islands"
        for module in imported(path):
            used = module.split(".")[1]
            assert used in level, f"{path.name} imports {module}, which is no module of azlib"
            assert used == own or level[used] < level[own] or own == "__init__", (
                f"{own} imports {used}, which does not lie below it"
            )


def test_functions_are_short_and_take_few_parameters():
    public = ("score", "rank")  # what a user calls has everything by name
    for path in (ROOT / "azlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                where = f"{path.name}: {node.name}"
                assert node.end_lineno - node.lineno < 59, f"{where} has 60 lines or more"
                few = len(node.args.args + node.args.kwonlyargs) <= 8
                assert few or node.name in public, f"{where} takes more than eight parameters"


def test_make_help_lists_every_target():
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(phony.split()) > 10
    for target in set(phony.split()) - {"help"}:
        assert re.search(rf"^{target} ", shown, flags=re.MULTILINE), target


def test_make_says_when_the_ground_truth_is_not_there():
    result = subprocess.run(
        ["make", "figures", "NB201=/no/such/file.pth"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0 and "points nowhere" in result.stderr


def test_code_is_formatted_and_linted():
    for command in (["format", "--check", "."], ["check", "."]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_only_to_files_that_exist(page):
    for target in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_a_screen_and_a_half():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    assert len(re.findall(r"^!\[.{40,}\]\(", text, re.MULTILINE)) == 3, (
        "three pictures, in words too"
    )
    assert text.count("```python") == 1


def test_no_environment_is_committed():
    """A link called .venv that is committed takes the place of the environment when merged."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", ".venv"]
        held = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert not held.stdout, "git rm --cached .venv"
    assert (
        ".venv" in (ROOT / ".gitignore").read_text().splitlines()
    )  # a link, and not only a folder
