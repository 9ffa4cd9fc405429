"""The wheel and the source archive, in an environment that has none of the extras."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from PIL import Image

import azlib
from azlib.spaces.mobilenetv2 import SMALLEST

SOURCES = [
    "azlib",
    "data",
    "docs",
    "figures",
    "notebooks",
    "tests",
    "pyproject.toml",
    "MANIFEST.in",
]
SOURCES += ["README.md", "PYPI.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"]
SOURCES += ["Makefile", "environment.yml", "REPRODUCTION.md", ".dockerignore", ".gitignore"]
SOURCES += [".ci", ".devcontainer", ".github", "docker"]
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
USE = f"""
import contextlib
import io
import json
import sys
import azlib
import azlib.spaces

assert "torch" not in sys.modules, "importing azlib should be quick"
space = azlib.spaces.get("nasbench201")
networks = [space.build(cell) for cell in ({CELL!r}, {CELL.replace("none", "skip_connect")!r})]
scores = azlib.score(networks[0], input_shape=(4, 3, 8, 8), seed=1)
ranked = azlib.rank(networks, input_shape=(4, 3, 8, 8))
try:
    azlib.score(networks[0], input_shape=(4, 3, 8, 8), proxies="snip")
except azlib.AzlibError as error:
    refusal = str(error)
from azlib.scoring import files
try:
    files.load("cifar10", space)
except azlib.AzlibError as error:
    missing = str(error)
with contextlib.redirect_stdout(io.StringIO()) as page:
    exec(sys.argv[1])
print(json.dumps([azlib.__file__, azlib.__version__, scores, len(ranked), refusal, missing,
                  page.getvalue()]))
"""
WITHOUT = [  # what is asked for, the package that it lacks, and the extra that brings it
    (["run", "any.ipynb", "out.ipynb"], "papermill", "companion"),
    (["benchmark", "info"], "analog-nasbench", "companion"),
    (["train", SMALLEST, "images", "--out", "runs"], "pillow", "train"),
    (
        ["sweep", "--scheduler", "tcp://127.0.0.1:1", "--out", "s.parquet"],
        "dask[distributed]",
        "cluster",
    ),
    (["export", SMALLEST, "--to", "onnx", "--out", "n.onnx"], "onnx", "onnx"),
]
TRY = """
import contextlib
import io
import json
import sys
import traceback
from azlib.cli import main

seen = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["azlib", *arguments]
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        try:
            main()
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = traceback.print_exc()
    seen.append([status, stderr.getvalue()])
print(json.dumps(seen))
"""


def command(*arguments, cwd):
    """What a command prints; nothing of this repository is on its path."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def with_requirements(distribution):
    """A distribution and, by what each asks for on this machine, all that pip brings with it."""
    found, waiting = {}, [distribution]
    while waiting:
        one = waiting.pop()
        found[one.name] = one
        for text in one.requires or []:
            asked = Requirement(text)
            applies = asked.marker is None or asked.marker.evaluate({"extra": ""})
            if applies and asked.name not in found:
                waiting.append(metadata.distribution(asked.name))
    return found.values()


def link(distribution, folder):
    """Makes the installed files of a distribution importable from another folder, too."""
    tops = {Path(file).parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for top in tops:
        if not (folder / top).exists():
            (folder / top).symlink_to(distribution.locate_file(top))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the wheel and the source archive, built from a copy of the sources."""
    copy, dist = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    command(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, cwd=copy)
    return dist


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    """The interpreter of an environment with the wheel and the light distributions alone."""
    place = tmp_path_factory.mktemp("light")
    command(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = place / "bin" / "python"
    say = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(command(python, "-c", say, cwd=place).strip())
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    command(*pip, "--quiet", "--no-deps", "--no-index", wheel, cwd=place)
    (installed,) = metadata.distributions(name="azlib", path=[str(packages)])
    for distribution in with_requirements(installed):
        link(distribution, packages)
    return python


def test_the_archives_hold_the_package_and_pass_the_check_of_the_index(built):
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    command(sys.executable, "-m", "twine", "check", "--strict", wheel, archive, cwd=built)
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert "azlib/py.typed" in names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "azlib").rglob("*.py")}
    assert sources == {name for name in names if name.endswith(".py")}
    assert {name.split("/")[0] for name in names} == {
        "azlib",
        f"azlib-{azlib.__version__}.dist-info",
    }
    with tarfile.open(archive) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert sources | {"azlib/py.typed", "CHANGELOG.md", "CITATION.cff", "LICENSE"} <= inside
    assert {"tests/conftest.py", "data/scores/manifest.toml", "Makefile"} <= inside
    assert not any("__pycache__" in name or ".parts" in name for name in inside)


def test_the_tests_of_the_source_archive_run(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    few = [f"tests/test_{name}.py" for name in ("aggregate", "paper", "committed_searches")]
    few += [f"tests/test_{name}.py" for name in ("elsewhere", "ledger", "repository")]
    some = "test_paper or rank_is or manifest or description"  # code and data, and then the rest
    some += " or image or devcontainer or committed_page or links"
    shown = command(sys.executable, "-m", "pytest", "-n0", *few, "-k", some, cwd=folder)
    assert "100%" in shown
    where = "import azlib, pathlib; print(pathlib.Path(azlib.__file__).parents[1].resolve())"
    assert command(sys.executable, "-c", where, cwd=folder).strip() == str(folder.resolve())


def test_score_and_rank_without_the_extras(python, tmp_path):
    """With the code of the page that the index shows, and where committed scores are looked for."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "PYPI.md").read_text(), re.DOTALL)
    shown = command(python, "-c", USE, code, cwd=tmp_path)
    file, version, scores, ranked, refusal, missing, page = json.loads(shown)
    assert Path(file).is_relative_to(python.parents[1]) and version == azlib.__version__
    assert list(scores) == ["expressivity", "progressivity", "trainability", "complexity"]
    assert ranked == 2
    assert refusal == "this needs the package scikit-image: pip install 'azlib[companion]'"
    assert "are in the repository and in the source archive" in missing and "\n" not in missing
    assert "az_nas" in page


def test_the_page_of_the_index_has_no_dead_links():
    """The index shows one file of the repository and none of those that it would link to."""
    page = (ROOT / "PYPI.md").read_text()
    targets = re.findall(r"\]\(([^)]+)\)|(?:href|src)=", page)
    assert targets and all(target.startswith("https://") for target in targets)


def test_the_command_sweeps_without_the_extras(python, tmp_path):
    tool = python.with_name("azlib")
    assert "sweep" in command(tool, "--help", cwd=tmp_path)
    options = ["--sample", 3, "--batch", 4, "--resolution", 8, "--workers", 1]
    made = command(tool, "sweep", *options, "--out", "s.parquet", cwd=tmp_path)
    assert "wrote s.parquet" in made
    assert len(pd.read_parquet(tmp_path / "s.parquet")) == 3


def test_a_missing_extra_is_named_when_it_is_needed(python, tmp_path):
    shutil.copy(ROOT / "notebooks" / "00-start-here.ipynb", tmp_path / "any.ipynb")
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / folder / "1.jpg")
    commands = [arguments for arguments, _, _ in WITHOUT]
    shown = command(python, "-c", TRY, json.dumps(commands), cwd=tmp_path)
    seen = json.loads(shown.splitlines()[-1])
    for (_, package, extra), (status, stderr) in zip(WITHOUT, seen, strict=True):
        assert status == 1, stderr
        expected = f"azlib: this needs the package {package}: pip install 'azlib[{extra}]'"
        assert stderr.splitlines()[-1] == expected, stderr


def test_what_is_said_of_this_version_is_complete():
    released = azlib.__version__.partition(".dev")[0]
    assert f"## [{released}]" in (ROOT / "CHANGELOG.md").read_text()
    page = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "azlib").iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            island = path.name.removesuffix(".py")
            assert island.startswith("__") or island in page, f"architecture.md leaves out {island}"
