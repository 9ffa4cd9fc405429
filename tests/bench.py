"""`make bench`: what scoring costs on this machine, as ratios measured in one run.

Every measurement runs in a fresh process with one thread, so that its peak memory is its own.
Writes figures/bench.csv with a picture of how the cost grows, figures/runtimes.csv (every proxy on
the same networks) and figures/bench_profile.csv (where AZ-NAS' time goes).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import oracle
import pandas as pd
import torch
from torch import nn

from azlib.aggregation import AZ_NAS, IncrementalRanking
from azlib.companion import exhibits, plots
from azlib.inputs import generator
from azlib.inputs.initialisation import initialise
from azlib.proxies import REGISTRY, names, score_in_place
from azlib.scoring import Execution, sweep
from azlib.scoring.chunk import keep_freed_memory, score_architecture
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces import nasbench201 as nb

AZ = "azlib.proxies.az"
ROOT = Path(__file__).resolve().parents[1]


def cells(count: int) -> list[str]:
    """The same random NAS-Bench-201 cells for every measurement."""
    return random.Random(0).sample(nb.enumerate_all(), count)


def timed(function, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def shipped(arch: str, batch: int = 64, resolution: int = 32) -> None:
    space = nb.NASBench201(cost_resolution=resolution)
    settings = ScoreSettings(input_shape=(batch, 3, resolution, resolution))
    score_architecture(space, arch, 1, settings)


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


def time_proxy(name: str, count: int) -> list[float]:
    """Processor seconds of one proxy, or of AZ-NAS ("az"), on the benchmark's own networks if its
    definition needs their modules or their dead edges, else on the lean ones."""
    space = get("nasbench201-full" if name in AS_PUBLISHED else "nasbench201")
    settings = ScoreSettings(tuple(names(name)))

    def run(arch: str) -> float:
        network = space.build(arch)
        start = time.process_time()
        score_in_place(network, arch, 1, settings)
        return time.process_time() - start

    archs = cells(count)
    run(archs[0])
    return [run(arch) for arch in archs]


AS_PUBLISHED = {"naswot", "linear_regions", "zen", "params", "trainable_layers", "vkdnw_entropy"}


def write_runtimes(count: int, figures: Path) -> None:
    """What each proxy costs, all on the same networks in one run: figures/runtimes.csv."""
    rows = []
    for name in ["az", *(name for name in REGISTRY if REGISTRY[name].function.__module__ != AZ)]:
        seconds, _ = alone(time_proxy, name, count)
        rows.append({"proxy": name, "ms_per_arch": 1e3 * float(np.mean(seconds))})
        print(f"{name:<24}{rows[-1]['ms_per_arch']:>10.1f} ms", flush=True)
    table = pd.DataFrame(rows)
    table["ratio_to_az_nas"] = table["ms_per_arch"] / table["ms_per_arch"][0]
    print("wrote", exhibits.write("runtimes", figures, table.assign(networks=count)))


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


def time_sweep(workers: int, count: int) -> float:
    """Seconds of a sweep, less what starting its processes takes (a sweep of one cell each)."""
    archs = cells(count + workers)
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str, chosen: list[str], chunk: int) -> float:
            out = Path(folder) / name
            execution = Execution(workers, chunk=chunk, progress=False)
            return timed(lambda: sweep(nb.NASBench201(), out, archs=chosen, execution=execution))

        start = run("start.parquet", archs[:workers], 1)
        return run("all.parquet", archs[workers:], 10) - start


def time_small(count: int) -> list[float]:
    """Seconds of scores with 2 images of 8 pixels, where nearly nothing is arithmetic."""
    archs = cells(count)
    shipped(archs[0], 2, 8)
    return [min(timed(lambda arch=arch: shipped(arch, 2, 8)) for _ in range(3)) for arch in archs]


def candidates_per_minute(count: int) -> float:
    """Candidates of a random MobileNetV2 search within 450M FLOPs at the preset "cpu"."""
    space, execution = get("mobilenetv2", budget=450e6), Execution(1, progress=False)
    live = Live.at(space, "cpu")

    def run(iterations: int) -> None:
        search(space, RandomSearch(), live, iterations=iterations, execution=execution)

    run(1)
    return 60 * count / timed(lambda: run(count))


def time_mobilenet() -> float:
    space = get("mobilenetv2")
    settings = ScoreSettings.for_space(space)
    return timed(lambda: score_in_place(space.build(space.initial), "initial", 1, settings))


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


def time_growth(batch: int, resolution: int, count: int = 5) -> float:
    archs = cells(count)
    shipped(archs[0], batch, resolution)
    return timed(lambda: [shipped(arch, batch, resolution) for arch in archs]) / count


def memory_growth(count: int) -> float:
    """MB that the process grows by from the 50th to the last of `count` networks (batch 4)."""
    archs = cells(count)
    for k, arch in enumerate(archs):
        if k == 50:
            before = _resident()
        shipped(arch, 4, 16)
    return _resident() - before


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def time_python(code: str) -> float:
    return min(
        timed(lambda: subprocess.run([sys.executable, "-c", code], check=True, stdout=DEVNULL))
        for _ in "123"
    )


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


def main(quick: bool, figures: Path) -> None:
    count, swept, walked = (3, 12, 60) if quick else (30, 500, 2000)
    rows: list[dict] = []

    def measure(name: str, function, *arguments, scale: float = 1.0, unit: str = "s"):
        result, peak = alone(function, *arguments)
        value = float(np.mean(result)) * scale
        rows.append({"measurement": name, "value": value, "unit": unit, "peak_mb": peak})
        print(f"{name:<44}{value:>10.4g} {unit:<6}{peak:>8.0f} MB", flush=True)
        return value

    def ratio(name: str, value: float):
        rows.append({"measurement": name, "value": value, "unit": "ratio", "peak_mb": np.nan})
        print(f"{name:<44}{value:>10.3g}", flush=True)

    measure("import azlib", time_python, "import azlib")
    measure("azlib.score cold (tiny network)", time_python, _COLD)
    fast = measure("(a) shipped, per architecture", time_cells, "shipped", count)
    slow = measure("(a) plain oracle, per architecture", time_cells, "oracle", count)
    limit = measure("(b) convolutions alone, per architecture", convolution_limit, count)
    ratio("(a) oracle / shipped", slow / fast)
    ratio("(b) shipped / convolution limit", fast / limit)
    small = measure("(a) shipped with 2 images of 8 pixels", time_small, count)
    ratio("(a) with 2 images of 8 pixels / at the paper's setting", small / fast)
    ratio("(b) oracle / convolution limit: the most that is possible", slow / limit)
    one = measure(f"(c) sweep of {swept}, 1 process", time_sweep, 1, swept)
    two = measure(f"(c) sweep of {swept}, 2 processes", time_sweep, 2, swept)
    ratio("(c) 1 process / 2 processes", one / two)
    measure("(d) MobileNetV2 candidate at 224 px", time_mobilenet)
    found = 3 if quick else 60
    unit = "per minute"
    measure("(d) candidates of a search at the preset cpu", candidates_per_minute, found, unit=unit)
    measure("azlib --help", time_python, _HELP)
    for candidates in (1_000, 10_000, 100_000):
        name = f"(e) search step after {candidates:,}"
        measure(name, time_search_step, candidates, scale=1e3, unit="ms")
    measure(f"(f) memory growth over {walked} networks", memory_growth, walked, unit="MB")
    growth = [
        {"varied": varied, "setting": setting, "seconds": alone(time_growth, *arguments)[0]}
        for varied, settings in (("batch", (8, 16, 32, 64)), ("resolution", (8, 16, 32, 48)))
        for setting in settings
        for arguments in [(setting, 32) if varied == "batch" else (64, setting)]
    ]
    growth += [
        {"varied": "architectures", "setting": n, "seconds": n * fast}
        for n in (100, 1000, 5260, 15625)
    ]
    for row in growth:
        name = f"growth: {row['varied']} {row['setting']}"
        rows.append({"measurement": name, "value": row["seconds"], "unit": "s", "peak_mb": np.nan})
    picture = plots.growth(pd.DataFrame(growth))
    print("wrote", exhibits.write("bench", figures, pd.DataFrame(rows), figure=picture))


def write_profile(count: int, figures: Path) -> None:
    spent, _ = alone(profile, count)
    print(spent.to_string(index=False))
    print("wrote", exhibits.write("bench_profile", figures, spent))


_HELP = """
import sys
from azlib.cli import main
sys.argv = ["azlib", "--help"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
_COLD = """
import azlib, torch
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
azlib.score(model, (8, 3, 16, 16), blocks=["0", "1"])
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few architectures, for a try")
    parser.add_argument("--profile", action="store_true", help="only where the time goes")
    parser.add_argument("--figures", type=Path, default=ROOT / "figures", help="output folder")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if not options.profile:
            main(options.quick, options.figures)
            write_runtimes(1 if options.quick else 5, options.figures)
        write_profile(3 if options.quick else 30, options.figures)
