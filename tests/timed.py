"""What `bench.py` times in two states of azlib: seconds, written as one line of JSON.

It runs as a script of its own, with the azlib that is found first, and keeps to what azlib has had
for long: an older state, too, must know every name in here.

    PYTHONPATH=/path/to/checkout python timed.py [COUNT]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import torch

from azlib.scoring import Execution, sweep
from azlib.scoring.chunk import keep_freed_memory, score_architecture
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces import nasbench201 as nb

PAPER, QUICK, SMALL = (64, 32), (12, 32), (2, 8)  # images, and their pixels along a side
HELP = """
import sys
from azlib.cli import main
sys.argv = ["azlib", "--help"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""


def cells(count: int) -> list[str]:
    """The same random NAS-Bench-201 cells for every measurement."""
    return random.Random(0).sample(nb.enumerate_all(), count)


def distinct() -> list[str]:
    """A cell for each network of the space, in a random order."""
    archs = sorted(set(map(nb.canonical, nb.enumerate_all())))
    return random.Random(0).sample(archs, len(archs))


def timed(function: Callable, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def shipped(arch: str, batch: int = 64, resolution: int = 32, device: str = "cpu") -> None:
    space = nb.NASBench201(cost_resolution=resolution)
    settings = ScoreSettings(input_shape=(batch, 3, resolution, resolution), device=device)
    score_architecture(space, arch, 1, settings)


def time_scores(setting: tuple[int, int], count: int, repeats: int = 1) -> float:
    """Mean seconds of a score, the best of several repeats for each architecture."""
    archs = cells(count)
    shipped(archs[0], *setting)
    return float(
        np.mean([
            min(timed(lambda arch=arch: shipped(arch, *setting)) for _ in range(repeats))
            for arch in archs
        ])
    )  # fmt: skip


def time_sweep(
    workers: int,
    archs: list[str],
    setting: tuple[int, int] = PAPER,
    chunk: int = 10,
    device: str = "cpu",
) -> float:
    """Seconds of a sweep, less what starting its processes takes (a sweep of one cell each)."""
    shape = (setting[0], 3, setting[1], setting[1])
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str, chosen: list[str], chunk: int) -> float:
            out = Path(folder) / name
            settings = ScoreSettings(input_shape=shape, device=device)
            execution = Execution(workers, chunk=chunk, progress=False)
            return timed(
                lambda: sweep(nb.NASBench201(), out, settings, archs=chosen, execution=execution)
            )

        start = run("start.parquet", archs[:workers], 1)
        return run("all.parquet", archs[workers:], chunk) - start


def time_whole_space(count: int) -> float:
    """Seconds of a sweep of the whole space at the preset "quick" with two processes, from some."""
    archs = distinct()
    return time_sweep(2, archs[: count + 2], QUICK) * len(archs) / count


def candidates_per_minute(count: int) -> float:
    """Candidates of a random MobileNetV2 search within 450M FLOPs at the preset "cpu"."""
    space, execution = get("mobilenetv2", budget=450e6), Execution(1, progress=False)
    live = Live.at(space, "cpu")

    def run(iterations: int) -> None:
        search(space, RandomSearch(), live, iterations=iterations, execution=execution)

    run(1)
    return 60 * count / timed(lambda: run(count))


def time_python(code: str, repeats: int = 3) -> float:
    """Seconds of a new process, the best of several."""
    command = [sys.executable, "-c", code]
    run = partial(subprocess.run, command, check=True, stdout=DEVNULL)
    return min(timed(run) for _ in range(repeats))


def main(count: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    found = {
        "with 2 images of 8 pixels": 1e3 * time_scores(SMALL, count, 3),
        "at quick, 12 images of 32 pixels": 1e3 * time_scores(QUICK, count),
        "at the paper's setting": 1e3 * time_scores(PAPER, count),
        "candidates of a search at the preset cpu": candidates_per_minute(count),
        "import azlib": time_python("import azlib", 1),
        "azlib --help": time_python(HELP, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
