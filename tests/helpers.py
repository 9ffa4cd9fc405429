"""What several test files need to score networks and to run the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

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


def azlib(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `azlib ARGUMENTS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "azlib", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
