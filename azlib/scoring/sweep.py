"""Scores many architectures, in several processes or on a cluster, and can be continued.

A sweep writes one part file for each chunk of architectures (see `azlib.scoring.parts`). Running
the same sweep again continues it; when all parts are there they become OUT, one Parquet file in the
order of the list. A sweep of more architectures adds rows to an OUT of fewer, behind those that it
holds. A score depends on (architecture, settings, seed) alone, so neither order, chunks, the number
of processes nor a pause can change it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from azlib.errors import AzlibError
from azlib.scoring import architectures, parts
from azlib.scoring.chunk import score_chunk
from azlib.scoring.datasheet import describes, write_datasheet
from azlib.scoring.files import FileSettings
from azlib.scoring.pool import Execution
from azlib.settings import ScoreSettings, distinct
from azlib.spaces.base import SearchSpace, check_space

if TYPE_CHECKING:
    from azlib.proxies import Proxy


_ANY = 1000  # classes: more than any source of images has


Chunk = tuple[Path, list[parts.Item]]
"""The part file of a task, and what it is to hold."""


class _Task(NamedTuple):
    """What every chunk of a sweep shares."""

    space: SearchSpace
    settings: ScoreSettings  # with the folders that images are read from
    own: tuple[Proxy, ...]  # the user's own proxies
    folder: Path  # of the parts
    new: bool  # whether nothing was scored before


def sweep(
    space: SearchSpace,
    out: str | Path,
    settings: ScoreSettings | None = None,
    *,
    seeds: Iterable[int] = (1,),
    archs: Iterable[str] | None = None,
    unique: bool = False,
    execution: Execution | None = None,
) -> Path:
    """Scores every architecture with every seed and writes one Parquet file.

    Args:
        space: the search space that the architectures belong to.
        out: file to write; its columns are `arch`, `seed`, one for each proxy, and `seconds` of
            processor time.
        settings: how to score; by default what the space says.
        seeds: integers from 0 on.
        archs: architectures, read as a stream; by default the whole space.
        unique: score `space.canonical(arch)` once for all architectures that are the same network,
            and write only those rows (`scoring.files.expand` gives all).
        execution: how many processes, or which cluster.

    Returns:
        The path of the file. An architecture that fails has NaN scores and is listed at the end.

    Raises:
        AzlibError: when `out` or its parts hold scores of other settings or architectures.
    """
    check_space(space)
    out, seeds = Path(out), distinct(seeds)
    execution = Execution() if execution is None else execution
    settings = ScoreSettings.for_space(space) if settings is None else settings
    settings = _checked(space, settings)
    space = space.scored_at(settings.resolution)
    own = _own(space, settings, execution)
    held_as = FileSettings(space.name, settings.without_folders(), unique)
    if out.suffix != ".parquet" or out.is_dir():
        raise AzlibError(f"cannot write scores to {out}: give a file name that ends in .parquet")
    archs = architectures.checked(space, archs, once=len(seeds) == 1 and not unique)
    with parts.opened(out, held_as) as (folder, done):
        pairs = architectures.with_seeds(space, archs, seeds, unique)
        todo = (pair for pair in pairs if pair not in done)
        total = architectures.length(space, archs, unique)
        total = None if total is None else total * len(seeds) - len(done)
        task = _Task(space, settings, own, folder, new=not done and not parts.files(folder))
        shown = {"unit": "arch", "disable": not execution.progress, "smoothing": 0.05}
        with tqdm(total=total, desc=out.name, **shown) as bar:
            failures = _score_all(todo, task, held_as, execution, bar)
        parts.join(out, folder, held_as)
        if not out.exists():
            raise AzlibError("no architectures to score: the stream is empty")
        if not describes(out):  # also where a killed run came no further than the file
            write_datasheet(out, held_as)
    _report(failures)
    return out


def _checked(space: SearchSpace, settings: ScoreSettings) -> ScoreSettings:
    """The settings with names resolved; refuses now what every architecture would fail on."""
    settings = settings.suited_to(space)
    from azlib.inputs import generator
    from azlib.inputs.images import batch
    from azlib.proxies import REGISTRY, names

    chosen = tuple(names(settings.proxies))
    reads_images = any(REGISTRY[name].images for name in chosen)
    labelled = settings.labelled_images if reads_images else None
    for source in {settings.noise_source, labelled or "gaussian"} - {"gaussian"}:
        batch(source, settings.input_shape, _ANY, generator(1, "", "images"))
    return replace(settings, proxies=chosen, labelled_images=labelled)


def _own(space: SearchSpace, settings: ScoreSettings, execution: Execution) -> tuple[Proxy, ...]:
    """The user's own proxies. Raises `AzlibError` if they or the space cannot reach processes."""
    from azlib.proxies import own

    proxies = own(settings.proxies)
    execution.check_sent(f"the space {space.name}", space)
    for proxy in proxies:
        execution.check_sent(f"the proxy {proxy.name}", proxy.function)
    return proxies


def _score_all(
    items: Iterator[parts.Item],
    task: _Task,
    held_as: FileSettings,
    execution: Execution,
    bar: tqdm,
) -> list[str]:
    """Scores what no part holds yet, and writes each chunk as it comes; a line for each failure."""
    failures: list[str] = []
    none_yet = task.new
    todo = parts.unfinished(items, task.folder, execution.chunk, held_as, bar)
    if execution.scheduler is None:
        todo = _on(task.settings.device, todo)
    try:
        with execution.executor() as pool:
            for path, rows, failed in _run(pool, todo, task, execution.ahead(pool)):
                if none_yet and len(failed) == len(rows) > 1:
                    raise AzlibError(f"every architecture fails, the first is {failed[0]}")
                parts.write(path, rows, held_as)
                none_yet = none_yet and len(failed) == len(rows)
                failures += failed
                bar.update(len(rows))
    except KeyboardInterrupt:
        raise AzlibError(f"stopped; run the same command to continue from {task.folder}") from None
    except BrokenProcessPool as error:
        raise AzlibError(
            "a worker process died (killed, out of memory: lower batch or workers, or started by a "
            "script without `if __name__ == '__main__':`); run the same command to continue from "
            f"{task.folder}"
        ) from error
    return failures


def _on(device: str, todo: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks. Raises `AzlibError` if there are any, but not the device."""
    from azlib.proxies import check_device

    for chunk in todo:
        check_device(device)
        yield chunk


def _run(
    pool: Executor, todo: Iterator[Chunk], task: _Task, limit: int
) -> Iterator[tuple[Path, list[dict], list[str]]]:
    """Keeps `limit` chunks in flight, so that the list of architectures is never held whole."""
    flying: dict[Future, Path] = {}
    while True:
        for path, items in itertools.islice(todo, limit - len(flying)):
            flying[pool.submit(score_chunk, task.space, items, task.settings, task.own)] = path
        if not flying:
            return
        finished, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in finished:
            rows, failed = future.result()
            yield flying.pop(future), rows, failed


def _report(failures: list[str]) -> None:
    if failures:
        failures += [f"{len(failures)} architectures failed: their scores are NaN and rank last"]
    for line in failures:
        tqdm.write(line, file=sys.stderr)
