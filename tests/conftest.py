from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Tests run on all cores at once, so each of them has one thread. PyTorch reads the variable when it
# is imported, which is why it is set before anything else is.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The help of a command is read as plain text of a usual width, wherever the tests run.
os.environ.pop("GITHUB_ACTIONS", None)
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("PY_COLORS", None)
os.environ["COLUMNS"] = "80"

# No test waits for a network, or depends on what the user has fetched.
os.environ["OFFLINE"] = "1"
os.environ["AZLIB_CACHE"] = os.devnull

import pytest
import torch
from hypothesis import settings

from azlib import cli

settings.register_profile("repeatable", derandomize=True)  # a run that passed passes again
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

sys.path.insert(0, str(ROOT / "tests"))  # for `oracle`


@pytest.fixture(autouse=True)
def _own_stream() -> None:
    """What a test draws without a generator does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs `azlib ARGUMENTS` in this process: (exit status, what it printed, its error lines)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["azlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


@pytest.fixture
def shared() -> Path:
    """Real benchmark files that may not be published; a clone of the repository has none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (development only)")
    return SHARED


@pytest.fixture
def fetched(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds every benchmark, as `azlib data` leaves it."""
    monkeypatch.setenv("AZLIB_CACHE", str(shared / "raw"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks go first: they take longest, and nobody should wait for the last of them."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: the garbage collector need not search it again."""
    gc.freeze()
