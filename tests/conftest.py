from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)  # a run that passed passes again
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

sys.path.insert(0, str(ROOT / "tests"))  # for `oracle`


@pytest.fixture
def shared() -> Path:
    """Real benchmark files that may not be published; a clone of the repository has none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (development only)")
    return SHARED
