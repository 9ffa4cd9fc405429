"""Where work is done: in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import FunctionType
from typing import Any, TypeVar

from azlib import own_code
from azlib.errors import AzlibError, needs, reason
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
        except BaseException:
            # Nobody wants the rest, for which the command would wait otherwise.
            for process in (pool._processes or {}).values():
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def check_sent(self, what: str, thing: object) -> None:
        """Raises `AzlibError` where other processes of this machine could not receive a thing.

        They import what is sent to them by its name, which fails for what a notebook defines. (A
        Dask cluster is sent the code itself.)
        """
        if self.scheduler is not None or self.workers == 1:
            return
        noting = _Noting()
        advice = "use workers=1, or define it in a module and import it from there"
        try:
            noting.dump(thing)
        except Exception as error:  # what cannot be pickled says so in many ways
            raise AzlibError(
                f"{what} cannot be sent to processes ({reason(error)}): {advice}"
            ) from error
        if noting.unreachable:
            raise AzlibError(
                f"{what} cannot be sent to processes, as {noting.unreachable[0]} is defined in a "
                f"notebook, where they cannot import it: {advice}"
            )

    def ahead(self, pool: Executor) -> int:
        """How many tasks to hand out before the first is done: here each is done at once."""
        return 1 if isinstance(pool, _ThisProcess) else 3 * self.width(pool)

    def width(self, pool: Executor) -> int:
        """How many tasks run at once; 64 where nobody knows."""
        return self.workers or getattr(pool, "_max_workers", None) or 64


class _Noting(pickle.Pickler):
    """Notes the classes and functions that a new process would not find: those of a notebook.

    The module `__main__` of a script is a file, which new processes import; that of a notebook or
    an interactive session is none.
    """

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        main = sys.modules["__main__"]
        self._is_file = hasattr(main, "__file__") or main.__spec__ is not None
        self.unreachable: list[str] = []

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, type | FunctionType) and thing.__module__ == "__main__":
            self.unreachable += [] if self._is_file else [thing.__qualname__]
        return NotImplemented


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
        for path in own_code.files():
            client.upload_file(str(path))
        yield client


def end_with_parent() -> None:
    """In a process of `multiprocessing`: ends it when its parent ends, however that ends."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _follow_parent() -> None:
    """In a worker: leaves Ctrl-C to the parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
