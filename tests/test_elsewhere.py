"""What runs elsewhere (containers, GitHub Actions) and cannot be started here: its form."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def targets():
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_workflows_keep_to_their_schema():
    schema = ["--builtin-schema", "vendor.github-workflows"]
    result = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert WORKFLOWS and result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_workflows_run_only_targets_that_exist(path):
    used = set(re.findall(r"\bmake ([a-z-]+)", path.read_text()))
    assert used and used <= targets()


def test_the_image_ends_in_the_lab_and_installs_what_make_does():
    assert not (ROOT / "Dockerfile").exists()  # or Binder would build that
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    assert lines[-1] == 'CMD ["make", "lab"]'
    copied = next(number for number, line in enumerate(lines) if line.startswith("COPY"))
    assert any("make .venv/.ready" in line for line in lines[copied:])
    (config,) = re.findall(r"echo '(.*)'", "\n".join(lines))
    assert json.loads(config)["ServerApp"]["ip"] == "0.0.0.0"
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", ".build", ".git"} <= set(ignored)
    assert not {"data", "figures", "notebooks", "azlib", "Makefile"} & set(ignored)


def test_the_devcontainer_ends_in_the_lab():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"].startswith("make .venv/.ready")
    assert container["postAttachCommand"] == "make lab"
    assert container["forwardPorts"] == [8888]
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.1\d", container["image"])
