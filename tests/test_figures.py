"""Only what has changed is run again, on all cores, with one line about each notebook."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from helpers import end_soon
from test_notebooks import EXHIBITS, write_notebook

from azlib.companion import dependencies, figures
from azlib.errors import AzlibError


def stale(project):
    """The notebooks that would run."""
    todo = figures.tasks(project / "notebooks", project / "build")
    return [task.notebook.stem for task in todo if task.stale(task.digest())]


@pytest.fixture
def project(tmp_path):
    """Two notebooks; `first` reads a file and imports the aggregation, both write an exhibit."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "input.txt").write_text("1")
    code = "import pandas as pd\nfrom azlib.companion import exhibits\n"
    for name, more in (("first", "from azlib import aggregation\n"), ("second", "")):
        path = write_notebook(
            folder / f"{name}.ipynb",
            f'{code}{more}exhibits.write("{name}", figures, pd.DataFrame({{"n": [1]}}))',
        )
        notebook = nbformat.read(path, 4)
        notebook.cells[0].source = 'data = "../input.txt"  # path\nfigures = "../figures"  # path'
        if name == "second":
            notebook.cells[0].source = 'figures = "../figures"  # path'
        nbformat.write(notebook, path)
    return tmp_path


def test_what_has_not_changed_is_not_run(project, monkeypatch, capfd):
    ran: list[str] = []

    def make() -> list[str]:
        ran.clear()
        figures.make(
            project / "notebooks",
            project / "build",
            source="analog-nasbench",
            workers=2,
            say=ran.append,
        )
        return sorted(line.split(":")[0] for line in ran)

    assert make() == ["first", "second"]
    assert (project / "figures" / "first.csv").read_text() == "n\n1\n"
    assert capfd.readouterr() == ("", "")
    assert make() == []
    dependencies._hash.cache_clear()
    (project / "input.txt").write_text("2")
    assert make() == ["first"] and stale(project) == []
    (project / "figures" / "second.csv").unlink()
    assert stale(project) == ["second"]
    monkeypatch.setattr(dependencies, "_hash", lambda path: path.name.encode())
    assert stale(project) == ["first", "second"]  # everything has another hash now


def test_a_notebook_that_fails_is_named_after_the_others_have_run(project):
    write_notebook(project / "notebooks" / "first.ipynb", "raise ValueError('no good')")
    ran: list[str] = []
    with pytest.raises(AzlibError, match="1 of 2 notebooks failed: first"):
        figures.make(project / "notebooks", project / "build", workers=1, say=ran.append)
    assert any("ValueError: no good" in line for line in ran)
    assert (project / "figures" / "second.csv").exists()
    assert stale(project) == ["first"]


def test_bad_input_gets_one_line(tmp_path, monkeypatch):
    with pytest.raises(AzlibError, match="no notebooks in"):
        figures.make(tmp_path)
    with pytest.raises(AzlibError, match="ground truth 'nowhere' does not exist"):
        figures.make(tmp_path, source="nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "truth.csv").touch()
    with pytest.raises(AzlibError, match="no notebooks in"):  # the file is there
        figures.make(tmp_path, source="~/truth.csv")
    for workers in (-1, 0):
        with pytest.raises(AzlibError, match=f"workers={workers}"):
            figures.make(tmp_path, workers=workers)


@pytest.mark.parametrize("written", ["2 * 3", "[1", "{[]: 1}"])
def test_a_parameter_that_is_no_plain_value_is_said_with_its_notebook(project, written):
    path = project / "notebooks" / "second.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = f"k = {written}"
    nbformat.write(notebook, path)
    with pytest.raises(AzlibError, match=r"second.ipynb: the parameter k = .* cannot be read"):
        figures.make(project / "notebooks", project / "build", source="analog-nasbench")


def test_no_more_processes_than_notebooks(project, monkeypatch):
    asked = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers, **_):
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(figures, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(figures, "_run", lambda task: task.stamp.parent.mkdir(parents=True) or 0.0)
    (project / "notebooks" / "first.ipynb").unlink()
    folders = project / "notebooks", project / "build"
    options = {"source": "analog-nasbench", "workers": 7, "say": lambda _: None}
    assert figures.make(*folders, **options) == 1 and asked == [1]


def test_a_ground_truth_goes_to_the_notebooks_that_compare_with_one(tmp_path):
    (tmp_path / "truth.csv").write_text("")
    made = figures.tasks(ROOT / "notebooks", tmp_path, str(tmp_path / "truth.csv"))
    folders = {task.notebook.name[:2]: task.output.parent.name for task in made}
    assert folders["05"] == "nas-bench-201" and folders["16"] == "exhibits"
    assert all(("source" in t.values) == (t.output.parent.name == "nas-bench-201") for t in made)
    embedded = figures.tasks(ROOT / "notebooks", tmp_path)
    assert {t.output.parent.name for t in embedded} == {"analog-nasbench", "exhibits"}
    assert {t.values.get("source", "analog-nasbench") for t in embedded} == {"analog-nasbench"}


def names(code):
    return {str(p.relative_to(dependencies.PACKAGE)) for p in dependencies.modules(code)}


def test_a_notebook_depends_on_the_modules_it_imports_and_on_theirs():
    few = names("import numpy\nfrom azlib.aggregation import rank")
    assert few == {"aggregation.py", "assemblies.py", "errors.py"}
    found = names("from azlib.companion import agreement, exhibits")
    assert {"companion/metrics.py", "companion/drawing.py", "aggregation.py"} <= found
    assert not any(name.startswith(("training", "search", "proxies")) for name in found)
    assert "proxies/az.py" in names("import azlib")  # azlib.score, imported when it is used


def test_a_notebook_depends_on_the_style_and_on_what_it_may_do_without(monkeypatch):
    for number, wanted in (("21", {"timm"}), ("08", set())):
        (path,) = (ROOT / "notebooks").glob(f"{number}-*.ipynb")
        assert dependencies.asked_for(path) == wanted
        task = figures.Task(path, {"scores": "nowhere"}, Path("out.ipynb"))
        digests = []
        for there in (True, False):
            monkeypatch.setattr(figures.data, "available", lambda *_, there=there, **__: there)
            digests.append(task.digest())
        assert (digests[0] != digests[1]) == bool(wanted)
    monkeypatch.setattr(dependencies, "STYLE", path)
    assert task.digest() != digests[1]


def test_every_notebook_has_its_exhibits_under_watch():
    for task in figures.tasks(ROOT / "notebooks", ROOT / ".build", source="official.csv"):
        watched = list(task._exhibits())
        assert all(watched), task.notebook.name
        assert bool(watched) == bool(EXHIBITS[task.notebook.name[:2]]), task.notebook.name


def test_the_notebooks_that_take_longest_are_those_of_the_course():
    numbers = [path.stem.partition("-")[0] for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert set(figures.LONGEST) <= set(numbers)


def test_notebooks_run_where_something_else_started_the_server(project):
    """As in these tests, where sweeps do: what is forked from them cannot have a server."""
    forkserver.ensure_running()
    ran: list[str] = []
    folders = project / "notebooks", project / "build"
    figures.make(*folders, source="analog-nasbench", workers=1, say=ran.append)
    assert sorted(line.split(":")[0] for line in ran) == ["first", "second"]


def test_kernels_end_with_a_killed_command(project):
    """Else they go on computing for nobody."""
    for name in ("first", "second"):
        code = f"import os, time\nopen('{name}.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"
        write_notebook(project / "notebooks" / f"{name}.ipynb", code)
    script = project / "script.py"
    script.write_text(
        "from azlib.companion import figures\n"
        "if __name__ == '__main__':\n"
        "    figures.make('notebooks', 'build', source='analog-nasbench', workers=1)\n"
    )
    command = subprocess.Popen([sys.executable, script], cwd=project)
    said = project / "notebooks" / "first.pid"
    while not (said.exists() and said.read_text()):
        assert command.poll() is None, "it ended too early"
        time.sleep(0.1)
    kernel = int(said.read_text())
    if sys.platform == "linux":
        assert "forkserver" in Path(f"/proc/{kernel}/cmdline").read_text()
    command.kill()
    command.wait()
    assert end_soon(kernel)
