"""Scores many architectures: in chunks, in several processes or on a cluster, resumable.

A sweep writes `OUT.parts/<first>-<last>.parquet`, one file per chunk of positions in the list of
architectures, each written to a temporary name and renamed, so a killed sweep loses only the
chunks under way. Running the same sweep again continues; when all positions are there, the parts
become OUT, one Parquet file in the order of the list. A score depends on (architecture, settings,
seed) alone, so neither order, chunking, process count nor resuming can change it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import platform
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, is_dataclass, replace
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from azlib.errors import AzlibError
from azlib.files import differences, replacing
from azlib.scoring.scores import METADATA_KEY, Settings, read, read_settings

TRIES = 10_000  # draws without a new architecture that end a sample
_PART = r"\d{12}-\d{12}\.parquet"  # first and last position (exclusive) of a chunk


def sweep(
    space: Any,
    out: str | Path,
    *,
    proxies: str | Iterable[str] = "az",
    seeds: Iterable[int] = (1,),
    archs: Iterable[str] | None = None,
    unique: bool = False,
    batch: int = 64,
    resolution: int | None = None,
    init: str | None = None,
    train: bool | None = None,
    input: str = "gaussian",
    images: str = "patches",
    workers: int | None = None,
    chunk: int = 32,
    scheduler: str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Scores every architecture with every seed and writes one Parquet file.

    space: a search space object (see `azlib.spaces`). out: the file to write; columns `arch`,
    `seed`, one per proxy, `seconds` (of processor time). archs: an iterable of architectures,
    read as a stream (default: the whole space). unique: score `space.canonical(arch)` once for
    all architectures that are the same network, and write only those rows (`scores.expand` gives
    all). batch: images. resolution: pixels (default: the space's). init, train (default:
    those of the space, or else as the paper scores CNNs), input, images, device: see
    `proxies.score`. workers: processes of one thread each (default: one per core).
    chunk: architectures per part file and task. scheduler: address of a Dask scheduler (`tcp://...`)
    to run the chunks there instead.

    A failing architecture gets NaN scores and is listed at the end. Returns `out`.
    Raises `AzlibError` when `out` or its parts hold scores of other settings or architectures.
    """
    # Here, so that reading scores loads no torch.
    from azlib.inputs import generator
    from azlib.inputs.images import batch as load_images
    from azlib.proxies import REGISTRY, check_settings, names

    out, seeds, chosen = Path(out), tuple(dict.fromkeys(seeds)), tuple(names(proxies))
    init = init or getattr(space, "init", "kaiming_norm_fanin")
    train = getattr(space, "train", True) if train is None else train
    scored_with = Settings(
        space.name,
        chosen,
        batch,
        space.input_shape[-1] if resolution is None else resolution,
        init=init,
        train=train,
        input=input,
        images=images if any(REGISTRY[name].images for name in chosen) else None,
        unique=unique,
        device=device,
    )
    settings = scored_with.without_folders()
    shape = (batch, 3, settings.resolution, settings.resolution)
    check_settings(init, device, shape)
    for source in {scored_with.input, scored_with.images} - {"gaussian", None}:
        load_images(source, shape, 2, generator(1, "", "images"))  # or every architecture fails
    if chunk < 1 or (workers is not None and workers < 1):
        raise AzlibError(f"chunk={chunk}, workers={workers}: both must be at least 1")
    if not seeds:
        raise AzlibError("no seed given: expected at least one, such as 1")
    if out.suffix != ".parquet" or out.is_dir():
        raise AzlibError(f"cannot write scores to {out}: give a file name that ends in .parquet")
    archs = _checked(space, archs, once=len(seeds) == 1 and not unique)
    done_before: set[tuple[str, int]] = set()
    if out.exists():
        _check_settings(out, settings)
        done_before = set(_rows_held(out))
    parts = _prepare(out, done_before)

    def items() -> Iterator[tuple[str, int]]:
        for seed in seeds:
            for arch in _distinct(space, archs) if unique else archs:
                if (arch, seed) not in done_before:
                    yield arch, seed

    total = _length(space, archs, unique)
    total = None if total is None else total * len(seeds) - len(done_before)
    failures: list[str] = []
    scored = 0
    try:
        with (
            _bar(total, progress, out.name) as bar,
            executor(scheduler, workers) as pool,
        ):
            todo = _missing(items(), parts, chunk, settings, bar)
            limit = 3 * _width(pool, workers)
            for path, rows, failed in _run(pool, todo, space, scored_with, parts, limit):
                if len(failed) == len(rows) > 1 and scored == len(failures):
                    raise AzlibError(f"every architecture fails, the first is {failed[0]}")
                _write(path, rows, settings)
                scored += len(rows)
                failures += failed
                bar.update(len(rows))
    except KeyboardInterrupt:
        raise AzlibError(f"stopped; run the same command to continue from {parts}") from None
    if _join(out, parts, settings):
        _write_datasheet(out, settings)
    for failure in failures:
        tqdm.write(failure)
    if failures:
        tqdm.write(f"{len(failures)} architectures failed: their scores are NaN and rank last")
    return out


def sample(space: Any, count: int, archs: Iterable[str] | None = None) -> list[str]:
    """`count` different random architectures, always the same, a smaller sample being part of a
    larger one: of `archs` or of a space that can be enumerated, sorted; else drawn by
    `space.sample` from those that are legal.

    Raises `AzlibError` when there are not so many.
    """
    if archs is None and not isinstance(space, Iterable):
        if count < 1:
            raise AzlibError(f"sample={count}: expected at least 1 architecture")
        rng = np.random.default_rng(0)
        drawn: dict[str, None] = {}
        since = 0  # draws that brought nothing new
        while len(drawn) < count:
            arch = space.sample(rng)
            since = since + 1 if arch in drawn or not space.legal(arch) else 0
            if since == 0:
                drawn[arch] = None
            if since == TRIES:
                raise AzlibError(
                    f"sample={count}: {TRIES:,} draws in a row brought nothing new and legal "
                    f"after {len(drawn)} architectures; ask for fewer, or raise a limit of {space}"
                )
        return list(drawn)
    everything = list(space if archs is None else archs)
    if not 0 < count <= len(everything):
        raise AzlibError(f"sample={count}: expected 1 to {len(everything)} architectures")
    return sorted(random.Random(0).sample(everything, count))


def _checked(space: Any, archs: Iterable[str] | None, once: bool) -> Iterable[str]:
    """The architectures to score: a list is checked whole before anything is scored, a stream
    (which can be read only once) as it passes."""
    if archs is None:
        if not isinstance(space, Iterable):
            raise AzlibError(f"{space.name} is too large to enumerate: give the architectures")
        return space
    if iter(archs) is archs:
        if not once:
            raise AzlibError("a stream of architectures is read once: several seeds or unique=True "
                             "need a list")  # fmt: skip
        return (arch for arch in archs if space.count(arch))  # counting refuses a malformed one
    archs = list(dict.fromkeys(archs))
    if not archs:
        raise AzlibError("no architectures to score: the list is empty")
    for arch in archs:
        space.count(arch)
    return archs


def _prepare(out: Path, done: set[tuple[str, int]]) -> Path:
    """The folder of the parts, without what an earlier run left over."""
    parts = out.with_name(out.name + ".parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AzlibError(f"cannot create {parts}: {error.strerror}") from error
    for stale in parts.glob("*.tmp"):
        stale.unlink()
    for path in _part_files(parts):  # killed between joining the parts and removing them
        if done and done >= set(_rows_held(path)):
            path.unlink()
    return parts


# --- one chunk, in a worker process --------------------------------------------------------


def score_chunk(
    space: Any, items: list[tuple[str, int]], settings: Settings
) -> tuple[list[dict], list[str]]:
    """Rows of scores for (architecture, seed) pairs, and a line for each that failed."""
    import torch

    from azlib.proxies import REGISTRY

    torch.set_num_threads(1)
    keep_freed_memory()
    rows, failures = [], []
    timed = [name for name in settings.proxies if not REGISTRY[name].shared]
    for arch, seed in items:
        start = time.process_time()
        spent = dict.fromkeys(timed, math.nan)
        try:
            scores = score_architecture(space, arch, seed, settings, spent)
        except Exception as error:  # one bad architecture must not end a night's sweep
            if isinstance(error, MemoryError) or "out of memory" in str(error):
                raise AzlibError(f"out of memory on {arch}: lower batch or workers") from error
            scores = dict.fromkeys(settings.proxies, math.nan)
            failures.append(f"{arch} seed {seed}: {type(error).__name__}: {error}")
        seconds = time.process_time() - start
        times = {f"seconds_{name}": spent[name] for name in timed}
        rows.append({"arch": arch, "seed": seed, **scores, **times, "seconds": seconds})
    return rows, failures


def score_architecture(
    space: Any,
    arch: str,
    seed: int,
    settings: Settings,
    seconds: dict[str, float] | None = None,
) -> dict[str, float]:
    """Builds the network at the resolution of the settings and scores it; costs are the space's.

    seconds: is given the processor time of each proxy.
    """
    from azlib.proxies import score_in_place

    size = settings.resolution
    sized = is_dataclass(space) and hasattr(space, "resolution")
    builder = replace(space, resolution=size) if sized else space
    return score_in_place(
        builder.build(arch),
        (settings.batch, 3, size, size),
        arch,
        seed=seed,
        proxies=settings.proxies,
        init=settings.init,
        train=settings.train,
        macs=space.count(arch)["macs"],
        input=settings.input,
        images=settings.images or "patches",
        device=settings.device,
        seconds=seconds,
    )


def keep_freed_memory() -> None:
    """Asks glibc to keep freed blocks: features of 4 MB otherwise cost a page fault per 4 kB."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 1 << 30)


# --- many chunks ---------------------------------------------------------------------------


@contextlib.contextmanager
def executor(scheduler: str | None, workers: int | None) -> Iterator[Executor]:
    """Local processes, or a Dask cluster behind the same interface."""
    if scheduler is None:
        count = workers or os.cpu_count() or 1
        pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_follow_parent)
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise AzlibError("a scheduler needs Dask: pip install dask distributed") from error
    try:
        client = Client(scheduler, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise AzlibError(f"no Dask scheduler answers at {scheduler!r}: start one first") from error
    with client:
        yield client.get_executor(pure=False)


def _follow_parent() -> None:
    """In a worker: leaves Ctrl-C to the parent, and ends when the parent does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _width(pool: Executor, workers: int | None) -> int:
    return workers or getattr(pool, "_max_workers", None) or 64


def _run(
    pool: Executor,
    todo: Iterator[tuple[Path, list[tuple[str, int]]]],
    space: Any,
    settings: Settings,
    parts: Path,
    limit: int,
) -> Iterator[tuple[Path, list[dict], list[str]]]:
    """Keeps `limit` chunks in flight, so that the list of architectures is never held whole."""
    flying: dict[Future, Path] = {}
    try:
        while True:
            for path, items in itertools.islice(todo, limit - len(flying)):
                flying[pool.submit(score_chunk, space, items, settings)] = path
            if not flying:
                return
            finished, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in finished:
                rows, failed = future.result()
                yield flying.pop(future), rows, failed
    except BrokenProcessPool as error:
        raise AzlibError(
            "a worker process died (killed, or out of memory: lower batch or workers); run the "
            f"same command to continue from {parts}"
        ) from error


def _missing(
    items: Iterator[tuple[str, int]], parts: Path, chunk: int, settings: Settings, bar: tqdm
) -> Iterator[tuple[Path, list[tuple[str, int]]]]:
    """Chunks of positions that no part covers; parts that exist are checked as they pass."""
    ready = {int(path.stem.split("-")[0]): path for path in _part_files(parts)}
    position, pending = 0, []
    while True:
        if position in ready:
            if pending:
                yield _part(parts, position, pending), pending
                pending = []
            path = ready[position]
            _check_settings(path, settings)
            held = _rows_held(path)
            if held != list(itertools.islice(items, len(held))):
                raise AzlibError(
                    f"{path} holds other architectures than this sweep: delete {parts} or choose "
                    "another output"
                )
            position += len(held)
            bar.update(len(held))
            if not bar.disable:
                bar.initial += len(held)  # what was there before is not part of the rate
            continue
        item = next(items, None)
        if item is not None:
            pending.append(item)
            position += 1
        if pending and (item is None or len(pending) == chunk):
            yield _part(parts, position, pending), pending
            pending = []
        if item is None:
            return


def _part(parts: Path, end: int, items: list) -> Path:
    return parts / f"{end - len(items):012d}-{end:012d}.parquet"


def _part_files(parts: Path) -> list[Path]:
    return sorted(path for path in parts.iterdir() if re.fullmatch(_PART, path.name))


def _rows_held(path: Path) -> list[tuple[str, int]]:
    """(architecture, seed) of each row of a score file, in order."""
    table = pq.read_table(path, columns=["arch", "seed"])
    return list(zip(table["arch"].to_pylist(), table["seed"].to_pylist(), strict=True))


def _distinct(space: Any, archs: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for arch in archs:
        same = space.canonical(arch)
        if same not in seen:
            seen.add(same)
            yield same


def _length(space: Any, archs: Iterable[str], unique: bool) -> int | None:
    if unique:
        return len({space.canonical(arch) for arch in archs})
    return len(archs) if isinstance(archs, Sized) else None


def _bar(total: int | None, progress: bool, name: str) -> tqdm:
    return tqdm(total=total, desc=name, unit="arch", disable=not progress, smoothing=0.05)


# --- files ---------------------------------------------------------------------------------


def _write(path: Path, rows: list[dict], settings: Settings) -> None:
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(asdict(settings)).encode()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _join(out: Path, parts: Path, settings: Settings) -> bool:
    """Streams the parts, in order, behind what OUT held, into a new OUT; then removes them.

    Returns whether there was anything to add.
    """
    new = _part_files(parts)
    if new:
        paths = ([out] if out.exists() else []) + new
        for path in paths:
            _check_settings(path, settings)
        schema = pq.read_schema(paths[0])
        with replacing(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            batch: list[pa.Table] = []
            for path in paths:
                batch.append(pq.read_table(path, schema=schema))
                if sum(map(len, batch)) >= 65536 or path == paths[-1]:
                    writer.write_table(pa.concat_tables(batch))
                    batch = []
    shutil.rmtree(parts)
    return bool(new)


def _check_settings(path: Path, settings: Settings) -> None:
    if (held := read_settings(path)) != settings:
        what = differences(asdict(held), asdict(settings))
        raise AzlibError(f"{path} holds scores of other settings: {what}; choose another output")


def recompute(path: str | Path, count: int, seed: int) -> float:
    """Scores `count` random rows of a score file afresh; the largest relative difference.

    Two failed scores (NaN) agree; one does not (infinite difference).
    """
    from azlib import spaces

    if count < 1:
        raise AzlibError(f"count={count}: expected at least 1 row to recompute")
    settings, rows = read_settings(path), read(path)
    space = spaces.get(settings.space, settings.resolution)
    rows = rows.sample(min(count, len(rows)), random_state=seed)
    items = [(row.arch, int(row.seed)) for row in rows.itertuples()]
    fresh, _ = score_chunk(space, items, settings)
    columns = list(settings.proxies)
    new = np.array([[row[name] for name in columns] for row in fresh])
    old = rows[columns].to_numpy(float)
    scale = np.maximum(np.abs(old), 1e-2)  # progressivity and round-off pass through zero
    same = (old == new) | (np.isnan(old) & np.isnan(new))  # infinities, too
    difference = np.where(same, 0.0, np.abs(new - old) / scale)
    return float(np.nan_to_num(difference, nan=np.inf).max())


def _write_datasheet(out: Path, settings: Settings) -> None:
    """A JSON file beside the scores: what they are and how they came about."""
    scores = read(out)
    sheet = {
        "file": out.name,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "rows": len(scores),
        "seeds": sorted(int(seed) for seed in scores["seed"].unique()),
        "settings": asdict(settings),
        "seconds_per_architecture": {
            "median": float(scores["seconds"].median()),
            "total_hours": float(scores["seconds"].sum() / 3600),
        },
        "failed": int(scores[list(settings.proxies)].isna().all(axis=1).sum()),
        "versions": {name: metadata.version(name) for name in ("azlib", "torch", "numpy")},
        "python": platform.python_version(),
        "cpu": cpu_name(),
    }
    with replacing(out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(sheet, indent=2) + "\n")


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()
