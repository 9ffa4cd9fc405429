"""`make bench`: what scoring costs on this machine, as ratios measured in one run.

Every measurement runs in a fresh process with one thread, so that its peak memory is its own.
Writes figures/bench.csv with a picture of how the cost grows, figures/runtimes.csv (every proxy on
the same networks) and figures/bench_profile.csv (where AZ-NAS' time goes).

    python bench.py --only scores sweeps --against main~20

measures some parts only, and adds how it was in another state of azlib (column `before`), which is
timed in turn with this one, three times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import numpy as np
import oracle
import pandas as pd
import torch
from timed import (
    HELP,
    PAPER,
    SMALL,
    candidates_per_minute,
    cells,
    distinct,
    shipped,
    time_python,
    time_scores,
    time_sweep,
    time_whole_space,
    timed,
)
from torch import nn

from azlib.aggregation import AZ_NAS, IncrementalRanking
from azlib.companion import exhibits, plots
from azlib.inputs import generator
from azlib.inputs.initialisation import initialise
from azlib.proxies import REGISTRY, names, score_in_place
from azlib.scoring import manifest, sample
from azlib.scoring.chunk import keep_freed_memory, score_architecture
from azlib.scoring.files import COMMITTED
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces import nasbench201 as nb

AZ = "azlib.proxies.az"
ROOT = Path(__file__).resolve().parents[1]


def plain(arch: str) -> None:
    """The oracle with everything a score needs: network, weights, input, ±1 vectors."""
    network = nb.Network(arch)
    initialise(network, "kaiming_norm_fanin", generator(1, arch, "weights"))
    rng = generator(1, arch, "signs")
    images = torch.randn((64, 3, 32, 32), generator=generator(1, arch, "input"))
    sizes = [(16, 32)] * 5 + [(32, 16)] * 6 + [(64, 8)] * 6
    shapes = [(64, channels, size, size) for channels, size in sizes]
    vectors = [torch.randint(0, 2, shape, generator=rng).float() * 2 - 1 for shape in shapes]
    oracle.az_nas(network, images, vectors)


def time_cells(which: str, count: int) -> list[float]:
    function = {"shipped": shipped, "oracle": plain}[which]
    archs = cells(count)
    function(archs[0])
    return [timed(lambda arch=arch: function(arch)) for arch in archs]


def time_proxy(name: str, arch: str) -> float:
    """Processor seconds of one proxy, or of AZ-NAS ("az"), on the benchmark's own network if its
    definition needs the modules or dead edges of that, else on the lean one."""
    space = get("nasbench201-full" if name in AS_PUBLISHED else "nasbench201")
    start = time.process_time()
    score_architecture(space, arch, 1, ScoreSettings(tuple(names(name))).sized(batch_of(name)))
    return time.process_time() - start


def batch_of(name: str) -> int:
    """How many images a proxy is fed in the committed scores: TE-NAS' kernel sees few."""
    for entry in manifest.entries(COMMITTED):
        if entry.file.endswith("_nasbench201_32px") and name in names(entry.proxies):
            return entry.settings.get("batch", 64)
    return 64


AS_PUBLISHED = {"naswot", "linear_regions", "zen", "params", "trainable_layers", "vkdnw_entropy"}


def runtimes(count: int) -> pd.DataFrame:
    """What each proxy costs: medians over the same networks of seconds, and of shares of AZ-NAS.

    A network is scored with all proxies in turn, so that a slow moment of the machine counts for
    few of them.
    """
    proxies = ["az", *(name for name in REGISTRY if REGISTRY[name].function.__module__ != AZ)]
    archs = cells(count)
    for name in proxies:
        time_proxy(name, archs[0])  # what is set up once, such as moulds
    found = pd.DataFrame([{name: time_proxy(name, arch) for name in proxies} for arch in archs])
    shares = found.div(found["az"], axis="index").median()
    table = pd.DataFrame({"ms_per_arch": 1e3 * found.median(), "ratio_to_az_nas": shares})
    return table.rename_axis("proxy").reset_index().assign(networks=count)


KINDS = {
    "convolutions": ("convolution", "mkldnn"),
    "normalisation": ("batch_norm",),
    "ReLU and sums": ("relu", "threshold", "add", "mul", "clone", "copy_", "sum", "zero", "fill"),
    "covariances and transfers": ("mm", "mean", "sub", "div"),
    "eigenvalues": ("linalg", "eig"),
    "weights, input and signs": ("normal", "randint", "embedding", "uniform", "random"),
}
"""Names of operations, by what they do in a score; the first kind that fits counts."""


def profile(count: int) -> pd.DataFrame:
    """Where the time of the shipped proxies goes: seconds per architecture and share, by kind."""
    archs = cells(count)
    shipped(archs[0])
    with torch.profiler.profile() as profiler:
        for arch in archs:
            shipped(arch)
    spent = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in profiler.key_averages():
        kinds = (kind for kind, parts in KINDS.items() if any(part in event.key for part in parts))
        spent[next(kinds, "other")] += event.self_cpu_time_total / 1e6 / count
    seconds = pd.Series(spent, name="seconds_per_architecture")
    return (
        seconds.to_frame().assign(share=seconds / seconds.sum()).rename_axis("kind").reset_index()
    )


def convolution_limit(count: int) -> list[float]:
    """For each cell, the time of its live convolutions alone, forward and (but for the stem, whose
    gradient is not needed) backward to the input, each shape at its fastest measured rate."""
    rate: dict[tuple, float] = {}

    def cost(inputs, outputs, kernel, stride, size, backward=True) -> float:
        key = (inputs, outputs, kernel, stride, size, backward)
        if key not in rate:
            rate[key] = _convolution(*key)
        return rate[key]

    totals = []
    for arch in cells(count):
        total = cost(3, 16, 3, 1, 32, backward=False)
        for stage, (channels, size) in enumerate(((16, 32), (32, 16), (64, 8))):
            if stage:
                half = channels // 2
                total += cost(half, channels, 3, 2, 2 * size) + cost(channels, channels, 3, 1, size)
                total += cost(half, channels, 1, 1, size)
            for name in nb.parse(nb.without_dead_edges(arch)):
                if name.startswith("nor_conv"):
                    total += 5 * cost(channels, channels, int(name[-1]), 1, size)
        totals.append(total)
    return totals


def _convolution(inputs, outputs, kernel, stride, size, backward) -> float:
    last = {"memory_format": torch.channels_last}
    x = torch.randn(64, inputs, size, size).contiguous(**last)
    weight = torch.randn(outputs, inputs, kernel, kernel).contiguous(**last)
    padding = [kernel // 2] * 2
    with torch.no_grad():
        y = nn.functional.conv2d(x, weight, None, stride, padding)
        ways = [lambda: nn.functional.conv2d(x, weight, None, stride, padding)]
        if backward:
            ways.append(
                lambda: torch.ops.aten.convolution_backward(
                    y, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1,
                    [True, False, False],
                )
            )  # fmt: skip
        return sum(min(timed(way, 5) for _ in range(4)) for way in ways)


def time_mobilenet() -> float:
    space = get("mobilenetv2")
    settings = ScoreSettings.for_space(space)
    return timed(lambda: score_in_place(space.build(space.initial), "initial", 1, settings))


def time_on_gpu(which: str, count: int) -> float:
    """Seconds of a score at the paper's setting on a GPU, once its kernels have been chosen."""
    space = get(which)
    settings = ScoreSettings.for_space(space, device="cuda")
    archs = sample(space, count)

    def run() -> None:
        for arch in archs:
            score_architecture(space, arch, 1, settings)

    run()
    return timed(run) / count


def time_search_step(candidates: int, steps: int = 2000) -> float:
    """Seconds to append one candidate and find the parents, with so many candidates before."""
    rng = np.random.default_rng(0)
    history = IncrementalRanking(AZ_NAS, 1023)
    for row in rng.normal(size=(candidates, 4)):
        history.append(dict(zip(AZ_NAS, row, strict=True)))
    history.top()

    def step() -> None:
        history.append(dict(zip(AZ_NAS, rng.normal(size=4), strict=True)))
        history.top()

    return timed(step, steps)


_STATM = Path("/proc/self/statm")


def memory_growth(count: int) -> float:
    """MB that the process grows by from the 50th to the last of `count` networks (batch 4)."""
    archs = cells(count)
    for k, arch in enumerate(archs):
        if k == 50:
            before = _resident()
        shipped(arch, 4, 16)
    return _resident() - before


def _resident() -> float:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize() / 1e6


def alone(function, *arguments):
    """Runs a measurement in a process of its own: its result and peak memory in MB."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_one_thread) as pool:
        return pool.submit(_with_peak, function, arguments).result()


def _one_thread() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def _with_peak(function, arguments):
    result = function(*arguments)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return result, max(own, children) / (1e6 if sys.platform == "darwin" else 1e3)


class Bench:
    """The rows of figures/bench.csv, as they are measured.

    quick: whether to take few architectures, for a try.
    """

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.count = 3 if quick else 30
        self.rows: list[dict] = []
        self.growth: list[dict] = []

    def row(self, name: str, value: float, unit: str, **others: float) -> None:
        self.rows.append({"measurement": name, "value": value, "unit": unit, **others})
        notes = "".join(f"  {key} {number:.4g}" for key, number in others.items())
        print(f"{name:<58}{value:>10.4g} {unit}{notes}", flush=True)

    def measure(
        self, name: str, function: Callable, *arguments: Any, scale: float = 1.0, unit: str = "s"
    ) -> float:
        result, peak = alone(function, *arguments)
        value = float(np.mean(result)) * scale
        self.row(name, value, unit, peak_mb=peak)
        return value

    def imports(self) -> None:
        self.measure("import azlib", time_python, "import azlib")
        self.measure("azlib --help", time_python, HELP)
        self.measure("azlib.score cold (tiny network)", time_python, _COLD)

    def scores(self) -> None:
        count = self.count
        fast = self.measure("(a) shipped, per architecture", time_cells, "shipped", count)
        slow = self.measure("(a) plain oracle, per architecture", time_cells, "oracle", count)
        limit = self.measure("(b) convolutions alone, per architecture", convolution_limit, count)
        self.row("(a) oracle / shipped", slow / fast, "ratio")
        self.row("(b) shipped / convolution limit", fast / limit, "ratio")
        self.row("(b) oracle / convolution limit: the most that is possible", slow / limit, "ratio")
        small = self.measure("(a) with 2 images of 8 pixels", time_scores, SMALL, count, 3)
        name = "(a) with 2 images of 8 pixels / at the paper's setting"
        self.row(name, small / fast, "ratio")

    def sweeps(self) -> None:
        swept, few = (12, 12) if self.quick else (60, 600)
        archs = [cells(swept + workers) for workers in (1, 2)]
        one = self.measure(f"(c) sweep of {swept}, 1 process", time_sweep, 1, archs[0])
        two = self.measure(f"(c) sweep of {swept}, 2 processes", time_sweep, 2, archs[1])
        self.row("(c) 1 process / 2 processes", one / two, "ratio")
        name = f"(c) the whole space at quick, 2 processes, from {few}"
        self.measure(name, time_whole_space, few)

    def searches(self) -> None:
        self.measure("(d) MobileNetV2 candidate at 224 px", time_mobilenet)
        name, found = "(d) candidates of a search at the preset cpu", 3 if self.quick else 40
        self.measure(name, candidates_per_minute, found, unit="per minute")
        for candidates in (1_000, 10_000, 100_000):
            name = f"(e) search step after {candidates:,}"
            self.measure(name, time_search_step, candidates, scale=1e3, unit="ms")

    def gpu(self) -> None:
        if not torch.cuda.is_available():
            print("(h) on a GPU: left out, as there is none")
            return
        count, gpu = 2 if self.quick else 20, torch.cuda.get_device_name()
        for name, networks in (("nasbench201", count), ("mobilenetv2", 3)):
            self.measure(f"(h) {name} on one {gpu}", time_on_gpu, name, networks)
        workers = 8
        archs = cells(20 * count + workers)
        seconds, _ = alone(time_sweep, workers, archs, PAPER, 4, "cuda")
        name = f"(h) nasbench201 on one {gpu}, {workers} processes"
        self.row(name, 20 * count / seconds, "per second")

    def memory(self) -> None:
        walked = 60 if self.quick else 600
        name = f"(f) memory growth over {walked} networks"
        if not _STATM.exists():
            print(f"{name}: left out, as only Linux says how large a process is now")
            return
        self.measure(name, memory_growth, walked, unit="MB")

    def grow(self) -> None:
        settings = [("batch", n, (n, 32)) for n in (8, 16, 32, 64)]
        settings += [("resolution", n, (64, n)) for n in (8, 16, 32, 48)]
        for varied, setting, arguments in settings:
            name = f"growth: {varied} {setting}"
            seconds = self.measure(name, time_scores, arguments, 5)
            self.growth.append({"varied": varied, "setting": setting, "seconds": seconds})
        usual = next(row["seconds"] for row in self.growth if row["setting"] == 64)
        for n in (100, 1000, len(distinct()), 15625):
            self.growth.append({"varied": "architectures", "setting": n, "seconds": n * usual})

    def against(self, state: str) -> None:
        """Rows that say how it was in another state of azlib, in turn with this one."""
        for name, values in compare(state, 2 if self.quick else 12).items():
            before, after = np.median(values, axis=1)
            self.row(f"(g) {name}", after, UNITS.get(name, "ms"), before=before)

    def write(self, figures: Path, whole: bool) -> None:
        """Rows of parts that did not run, as of a missing GPU, stay as an earlier run wrote them.

        whole: whether all the other parts did.
        """
        picture = plots.growth(pd.DataFrame(self.growth)) if self.growth else None
        rows = pd.DataFrame(self.rows, columns=COLUMNS).set_index("measurement")
        if (path := figures / "bench.csv").exists():
            held = pd.read_csv(path).reindex(columns=COLUMNS).set_index("measurement")
            if whole:  # but for the comparison with another state and a GPU
                held = held[held.index.str.startswith(("(g)", "(h)"))]
            rows = pd.concat([held.drop(rows.index, errors="ignore"), rows])
        print("wrote", exhibits.write("bench", figures, rows.reset_index(), figure=picture))


COLUMNS = ["measurement", "before", "value", "unit", "peak_mb"]
UNITS = {
    "candidates of a search at the preset cpu": "per minute",
    "import azlib": "s",
    "azlib --help": "s",
}
PARTS = ("imports", "scores", "sweeps", "searches", "memory", "grow", "gpu")


def compare(state: str, count: int) -> dict[str, np.ndarray]:
    """What `timed.py` measures in another state of azlib and here, (2, 3): three times, in turn.

    state: a folder with azlib in it, or anything that git knows as a commit.
    """
    with ExitStack() as stack:
        other = Path(state)
        if not (other / "azlib").is_dir():
            other = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "azlib"
            git = ["git", "-C", str(ROOT), "worktree"]
            subprocess.run([*git, "add", "--detach", str(other), state], check=True, stdout=DEVNULL)
            stack.callback(subprocess.run, [*git, "remove", "--force", str(other)], check=True)
        found: list[list[dict]] = [[], []]
        for _ in range(3):
            for results, folder in zip(found, (other.resolve(), ROOT), strict=True):
                done = subprocess.run(
                    [sys.executable, str(ROOT / "tests" / "timed.py"), str(count)],
                    env=os.environ | {"PYTHONPATH": str(folder)},
                    check=True,
                    stdout=PIPE,
                )
                results.append(json.loads(done.stdout))
    names = found[0][0]
    return {name: np.array([[row[name] for row in rows] for rows in found]) for name in names}


_COLD = """
import azlib, torch
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
azlib.score(model, (8, 3, 16, 16), blocks=["0", "1"])
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few architectures, for a try")
    parts = (*PARTS, "runtimes", "bench_profile")
    parser.add_argument("--only", nargs="*", default=parts, help=f"some of {', '.join(parts)}")
    parser.add_argument("--against", help="another state of azlib to compare with (commit, folder)")
    parser.add_argument("--figures", type=Path, default=ROOT / "figures", help="output folder")
    options = parser.parse_args()
    if wrong := set(options.only) - set(parts):
        parser.error(f"no such part: {', '.join(wrong)}")
    with suppress(KeyboardInterrupt):
        bench = Bench(options.quick)
        for part in options.only:
            if part in PARTS:
                getattr(bench, part)()
        if options.against:
            bench.against(options.against)
        if bench.rows:
            bench.write(options.figures, whole=set(PARTS) <= set(options.only))
        for part, function, count in (("runtimes", runtimes, 5), ("bench_profile", profile, 30)):
            if part in options.only:
                table, _ = alone(function, 1 if options.quick else count)
                print(table.to_string(index=False))
                print("wrote", exhibits.write(part, options.figures, table))
