"""Makes the exhibits: runs the notebooks whose result may have changed, on all cores."""

from __future__ import annotations

import ast
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from azlib.companion import benchmarks, notebooks
from azlib.companion.dependencies import code_of, digest
from azlib.errors import AzlibError
from azlib.settings import check_at_least


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

    def digest(self) -> str:
        """A hash of the notebook, the code it imports, and the files that it reads.

        Those files are where its parameters point, but for the folder of exhibits.
        """
        held = {n: ast.literal_eval(v) for n, v in notebooks.parameters(self.notebook).items()}
        given = held | self.values
        inputs = [
            path
            for name, value in given.items()
            if name != "figures" and isinstance(value, str) and value
            if (path := self.notebook.parent / value).exists()
        ]
        return digest(self.notebook, inputs, self.values)

    def stale(self, digest: str) -> bool:
        """Whether the notebook must run: something it depends on changed, or an exhibit is gone."""
        if not (self.output.is_file() and self.stamp.is_file()):
            return True
        return self.stamp.read_text() != digest or not all(self._exhibits())

    def _exhibits(self) -> Iterator[bool]:
        """For each exhibit that the notebook writes, whether its numbers are there."""
        folder = self.notebook.parent / str(self.values.get("figures", "../figures"))
        for stem in re.findall(r'exhibits\.write\(\s*"(\w+)"', code_of(self.notebook)):
            yield any(folder.glob(f"{stem}.csv")) or any(folder.glob(f"*/{stem}.csv"))


def tasks(folder: Path, build: Path, source: str = "", figures: str = "") -> list[Task]:
    """The notebooks of a folder, each with the ground truth if it compares with one.

    Args:
        folder: of the notebooks.
        build: where executed copies go, apart for each kind of ground truth.
        source: ground truth, see `benchmarks.load`; "" is the embedded one.
        figures: folder of the exhibits; "" leaves what the notebooks say.
    """
    found = []
    for notebook in sorted(folder.glob("*.ipynb")):
        known = notebooks.parameters(notebook)
        values: dict[str, object] = {"figures": str(Path(figures).resolve())} if figures else {}
        place = "exhibits"
        if "source" in known:
            place = benchmarks.OFFICIAL if source else benchmarks.EMBEDDED
            values |= {"source": str(Path(source).resolve())} if source else {}
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
        folder, build, source, figures: see `tasks`.
        workers: notebooks at a time, each on one thread; by default one per core.
        say: what to do with the line about each notebook.

    Returns:
        How many notebooks ran.

    Raises:
        AzlibError: a notebook failed (after the others have run), or there are none.
    """
    if source and not Path(source).exists():
        raise AzlibError(f"the ground truth {source!r} does not exist")
    check_at_least(1, workers=(workers := workers or os.cpu_count() or 1))
    todo = [
        (task, found)
        for task in tasks(Path(folder), Path(build), source, figures)
        if task.stale(found := task.digest())
    ]
    failures = []
    with ProcessPoolExecutor(workers, initializer=_one_thread) as pool:
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


def _one_thread() -> None:
    """Notebooks run side by side, so each has one thread; kernels inherit this."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _run(task: Task) -> float:
    """Runs one notebook; how many seconds it took."""
    start = time.perf_counter()
    task.stamp.unlink(missing_ok=True)
    notebooks.run(task.notebook, task.output, task.values)
    return time.perf_counter() - start
