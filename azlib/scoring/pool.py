"""Where work is done: in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from azlib.errors import AzlibError, needs
from azlib.settings import check_at_least

T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """How work is carried out. Nothing in here changes a result.

    workers: processes of one thread each; None is one per core, 1 is this process itself.
    scheduler: address of a Dask scheduler (`tcp://...`) that has workers of its own.
    chunk: architectures per task and part file of a sweep.
    checkpoint: seconds between two savings of a search's log.
    progress: whether to show a bar.
    """

    workers: int | None = None
    scheduler: str | None = None
    chunk: int = 32
    checkpoint: float = 60.0
    progress: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, chunk=self.chunk)
        if self.workers is not None:
            check_at_least(1, workers=self.workers)
        if not self.checkpoint >= 0:
            raise AzlibError(f"checkpoint={self.checkpoint}: expected 0 seconds or more")

    @contextlib.contextmanager
    def executor(self) -> Iterator[Executor]:
        """Local processes, or a Dask cluster behind the same interface.

        Raises `AzlibError` when Dask is not installed and when no scheduler answers.
        """
        if self.scheduler is not None:
            with _cluster(self.scheduler) as client:
                yield client.get_executor(pure=False)
            return
        if self.workers == 1:
            yield _ThisProcess()
            return
        count = self.workers or os.cpu_count() or 1
        pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_follow_parent)
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def width(self, pool: Executor) -> int:
        """How many tasks run at once; 64 where nobody knows."""
        return self.workers or getattr(pool, "_max_workers", None) or 64


class _ThisProcess(Executor):
    """Does the work at once, in the process that asks for it: nothing to start, nothing to send."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@contextlib.contextmanager
def _cluster(scheduler: str) -> Iterator:
    with needs("dask[distributed]", "cluster"):
        from distributed import Client
    try:
        client = Client(scheduler, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise AzlibError(f"no Dask scheduler answers at {scheduler!r}: start one first") from error
    with client:
        yield client


def _follow_parent() -> None:
    """In a worker: leaves Ctrl-C to the parent, and ends when the parent does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
