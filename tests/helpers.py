"""What several test files need to score networks and to run the command line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from azlib.proxies import names, score_in_place
from azlib.settings import ScoreSettings

KEEP_WEIGHTS = ScoreSettings(init=None)


def scored(
    model: nn.Module,
    shape: tuple[int, ...],
    arch: str,
    *,
    seed: int = 1,
    proxies: str | Iterable[str] = "az",
    images=None,
    **more,
) -> dict[str, float]:
    """The scores of a network that is built for them; images: batches of the caller's own."""
    settings = ScoreSettings(tuple(names(proxies)), shape)
    return score_in_place(model, arch, seed, settings, batches=images, **more).values


def library(name: str) -> ModuleType:
    """timm or torchvision, also where torchvision was built for another PyTorch.

    PyPI's torchvision does not load its operators beside the CPU build of PyTorch, and then its
    import ends on the first of two that it wants to describe. Classifiers use neither; they only
    have to be declared.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs the optional extra azlib[models]: {error}")
    except RuntimeError:
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            declared.define(f"{operator}(Tensor boxes, Tensor scores, float iou) -> Tensor")
        DECLARED.append(declared)
        return importlib.import_module(name)


DECLARED: list[torch.library.Library] = []  # what is declared is forgotten with its library


def azlib(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `azlib ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "azlib", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")  # one that nobody has asked after stays as a zombie
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def end_soon(*pids: int) -> bool:
    """Whether all of these processes end within half a minute."""
    patience = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < patience:
        time.sleep(0.1)
    return not any(map(runs, pids))
