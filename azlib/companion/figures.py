"""Makes the exhibits: runs the notebooks whose result may have changed, on all cores."""

from __future__ import annotations

import ast
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from azlib.companion import benchmarks, data, forked, notebooks
from azlib.companion.dependencies import asked_for, code_of, digest
from azlib.errors import AzlibError
from azlib.scoring.pool import end_with_parent
from azlib.settings import check_at_least

LONGEST = ("12", "24", "18", "13", "25", "08", "11", "04", "16", "05")
"""The notebooks that take longest, by number, the longest first."""


@dataclass(frozen=True)
class Task:
    """One notebook to run.

    notebook: its path. values: the parameters that are given. output: the executed copy.
    """

    notebook: Path
    values: dict[str, object]
    output: Path

    @property
    def stamp(self) -> Path:
        """The file that holds the digest of what the executed copy was made from."""
        return self.output.with_suffix(".digest")

    @cached_property
    def parameters(self) -> dict[str, object]:
        """The parameters that the notebook runs with."""
        written = notebooks.parameters(self.notebook)
        return {name: self._value(name, text) for name, text in written.items()} | self.values

    def _value(self, name: str, text: str) -> object:
        """The default of a parameter, which no code is run for."""
        try:
            return ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise AzlibError(
                f"{self.notebook}: the parameter {name} = {' '.join(text.split())[:60]} cannot be "
                "read without running it; expected text, a number, True, False, None, or a list or "
                "dictionary of these"
            ) from error

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks without which the notebook is nothing: its parameter of that name."""
        return cast(list[str], self.parameters.get("benchmarks", []))

    def digest(self) -> str:
        """A hash of the notebook, the code it imports, and the files that it reads.

        Those files are where its parameters point, but for the folder of exhibits, and the
        benchmarks in the cache that it uses if they are there.
        """
        inputs = [
            path
            for name, value in self.parameters.items()
            if name != "figures" and isinstance(value, str) and value
            if (path := self.notebook.parent / value).exists()
        ]
        there = [name for name in sorted(asked_for(self.notebook)) if _is_there(name)]
        return digest(self.notebook, inputs, self.values | {"benchmarks that are there": there})

    def stale(self, digest: str) -> bool:
        """Whether the notebook must run: something it depends on changed, or an exhibit is gone."""
        if not (self.output.is_file() and self.stamp.is_file()):
            return True
        return self.stamp.read_text() != digest or not all(self._exhibits())

    def _exhibits(self) -> Iterator[bool]:
        """For each exhibit that the notebook writes, whether its numbers are there."""
        folder = self.notebook.parent / str(self.values.get("figures", "../figures"))
        places = folder, folder / self.output.parent.name
        for stem in re.findall(r'exhibits\.write\(\s*"(\w+)"', code_of(self.notebook)):
            yield any((place / f"{stem}.csv").is_file() for place in places)


def tasks(
    folder: Path, build: Path, source: str = benchmarks.EMBEDDED, figures: str = ""
) -> list[Task]:
    """The notebooks of a folder, each with the ground truth if it compares with one.

    Args:
        folder: of the notebooks.
        build: where executed copies go, apart for each kind of ground truth.
        source: ground truth, see `benchmarks.load`.
        figures: folder of the exhibits; "" leaves what the notebooks say.
    """
    embedded = source == benchmarks.EMBEDDED
    found = []
    for notebook in sorted(folder.glob("*.ipynb")):
        known = notebooks.parameters(notebook)
        values: dict[str, object] = {"figures": str(Path(figures).resolve())} if figures else {}
        place = "exhibits"
        if "source" in known:
            place = benchmarks.EMBEDDED if embedded else benchmarks.OFFICIAL
            values["source"] = source if embedded else str(Path(source).resolve())
        found.append(Task(notebook, values, build / place / notebook.name))
    if not found:
        raise AzlibError(f"no notebooks in {folder}: run in a checkout of azlib's repository")
    return found


def make(
    folder: str | Path = "notebooks",
    build: str | Path = ".build",
    *,
    source: str = "",
    figures: str = "",
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Runs the notebooks that are stale, so that all exhibits are up to date.

    Args:
        folder, build, figures: see `tasks`.
        source: ground truth, see `benchmarks.load`; "" is NAS-Bench-201 as fetched, or what
            `data.nas_bench_201` falls back to. Files of the user's own are compared with the
            fetched table if the cache holds it.
        workers: notebooks at a time, each on one thread; by default one per core.
        say: what to do with the line about each notebook.

    Returns:
        How many notebooks ran. One whose benchmarks cannot be had is left alone, with a line.

    Raises:
        AzlibError: a notebook failed (after the others have run), or there are none; a parameter is
            no plain value; a file of a ground truth is damaged, or differs from the fetched one.
    """
    if source not in ("", benchmarks.EMBEDDED):
        source = str(Path(source).expanduser())  # which not every shell does
    if source not in ("", benchmarks.EMBEDDED) and not Path(source).exists():
        raise AzlibError(f"the ground truth {source!r} does not exist")
    workers = os.cpu_count() or 1 if workers is None else workers
    check_at_least(1, workers=workers)
    data.complete(say)
    truth = source or data.nas_bench_201(say=say)
    todo = [
        (task, found)
        for task in sorted(tasks(Path(folder), Path(build), truth, figures), key=_longest_first)
        if task.stale(found := task.digest()) and _possible(task, say)
    ]
    if source and any("source" in task.values for task, _ in todo):
        data.check_official(source, say)
    failures = []
    many = len(todo) > workers
    processes = max(1, min(workers, len(todo)))  # all of them are started with the first notebook
    with ProcessPoolExecutor(processes, initializer=_alone, initargs=(many,)) as pool:
        running = {pool.submit(_run, task): (task, found) for task, found in todo}
        for future in as_completed(running):
            task, found = running[future]
            try:
                say(f"{task.notebook.stem}: {future.result():.0f} s")
                task.stamp.write_text(found)
            except AzlibError as error:
                say(str(error))
                failures.append(task.notebook.stem)
    if failures:
        raise AzlibError(f"{len(failures)} of {len(todo)} notebooks failed: {', '.join(failures)}")
    return len(todo)


def _possible(task: Task, say: Callable[[str], None]) -> bool:
    """Whether all benchmarks are there that a notebook cannot do without; if not, a line."""
    lacking = [name for name in task.benchmarks if not _is_there(name)]
    if lacking:
        fetching = f"azlib data {' '.join(lacking)}"
        say(f"{task.notebook.stem}: left as it is, as it needs what `{fetching}` fetches")
    return not lacking


def _is_there(benchmark: str) -> bool:
    return data.available(benchmark, fetch=False, say=lambda _: None)


def _longest_first(task: Task) -> int:
    """The place of a notebook in the queue, so that none still runs long after all the others."""
    number = task.notebook.stem.partition("-")[0]
    return LONGEST.index(number) if number in LONGEST else len(LONGEST)


def _alone(many: bool) -> None:
    """Notebooks run side by side, so each has one thread; kernels inherit this.

    And none of them waits for a network: what can be fetched has been. many: whether a process will
    run several, so that it pays to import everything beforehand.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OFFLINE"] = "1"
    end_with_parent()
    if many:
        forked.use()


def _run(task: Task) -> float:
    """Runs one notebook; how many seconds it took."""
    start = time.perf_counter()
    task.stamp.unlink(missing_ok=True)
    notebooks.run(task.notebook, task.output, task.values)
    return time.perf_counter() - start
