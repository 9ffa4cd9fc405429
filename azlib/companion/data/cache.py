"""Fetches files into a folder of the user, and keeps them there.

The folder is that of the system for caches, or what the variable AZLIB_CACHE says. A file appears
in it whole and with the right checksum, or not at all.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from azlib.companion.data.registry import RawFile
from azlib.errors import AzlibError, needs, reason

with needs("pooch", "companion"):
    import pooch
    import requests

ADDRESS = "https://raw.githubusercontent.com"
TIMEOUT = 30.0  # seconds without an answer, where somebody asked to fetch
PATIENCE = 4.0  # the same where something else was asked for, which can do without

_answered: set[str] = set()  # addresses that did, so that no process asks again
_silent: dict[str, tuple[float, float]] = {}  # address → when, and for how long, it was asked
_AFTERWARDS = 5.0  # seconds in which the next files do not wait for a silent server as well


class _ToldToEnd(BaseException):
    """SIGTERM arrived; nothing but `_ending_cleanly` catches it."""


class NotFetched(AzlibError):
    """A file is not in the cache and was not fetched, whatever the reason."""


def folder() -> Path:
    """Where fetched files are kept. It need not exist. Raises `AzlibError` for an unknown ~user."""
    chosen = os.environ.get("AZLIB_CACHE") or str(pooch.os_cache("azlib"))
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise AzlibError(
            f"there is no home folder for the cache {chosen}: set AZLIB_CACHE to another"
        ) from error


def offline() -> bool:
    """Whether the variable OFFLINE asks to fetch nothing."""
    return os.environ.get("OFFLINE", "") not in ("", "0")


def state(file: RawFile) -> str:
    """ "there", "missing" or "damaged", which means that the content is not what it must be."""
    path = folder() / file.name
    try:
        path.stat()  # unlike exists(), which in some versions of Python hides what forbids to look
        return "there" if pooch.file_hash(str(path)) == file.sha256 else "damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise AzlibError(
            f"cannot read {path}: {reason(error)}; remove it, or set AZLIB_CACHE to a folder that "
            "you may read and write, and run `azlib data`"
        ) from error


def held(file: RawFile, command: str) -> Path:
    """The path of a file that is in the cache, with its content checked.

    Args:
        file: the file.
        command: what fetches it, for the message.

    Raises:
        AzlibError: the file is damaged.
        FileNotFoundError: it is not there.
    """
    path = folder() / file.name
    match state(file):
        case "missing":
            raise FileNotFoundError(path)
        case "damaged":
            raise AzlibError(
                f"{path} is damaged, its SHA-256 is not {file.sha256[:12]}…: fetch it again with "
                f"`{command}`"
            )
    return path


def fetch(file: RawFile, command: str, patience: float | None = None) -> Path:
    """Fetches a file unless the cache holds it whole; a damaged one is replaced.

    Args:
        file: the file.
        command: what to run to try again, for messages.
        patience: how many seconds to wait for an answer; by default `TIMEOUT`.

    Returns:
        The path of the file.

    Raises:
        NotFetched: there is no network or no answer in time, what came is not the file, or the
            cache cannot be written.
    """
    url = f"{ADDRESS}/{file.place}"
    patience = TIMEOUT if patience is None else patience
    download = functools.partial(_download, patience=patience)
    cache = pooch.create(
        folder(), ADDRESS, registry={file.name: file.sha256}, urls={file.name: url}
    )
    pooch.get_logger().setLevel(logging.WARNING)  # the commands say themselves what they do
    with _explained(file, url, command, patience), _ending_cleanly():
        return Path(cache.fetch(file.name, downloader=download))


def _download(url: str, path: str, cache: pooch.Pooch, patience: float) -> None:
    """Writes what an address sends to a file of pooch's, with a bar if it takes long.

    Pooch's own downloader leaves the connection open when it fails. And pooch made the file for
    one user alone: written anew, it has the rights of any other, so that users can share a cache.
    """
    if not answers(patience):
        raise requests.ConnectionError
    with requests.get(url, stream=True, timeout=patience) as answer:
        answer.raise_for_status()
        bar = tqdm(desc=Path(url).name, unit="B", unit_scale=True, delay=1)
        Path(path).unlink()
        with bar, open(path, "wb") as file:
            for block in answer.iter_content(1 << 16):
                bar.update(file.write(block))


def answers(patience: float) -> bool:
    """Whether the server says anything within so many seconds.

    Once it did, it is not asked again; where it did not, only after a while, or for longer. It is
    asked in a thread: looking up its name knows no time limit, and each of the several addresses
    that a name may have is given one of its own.
    """
    address, answered = ADDRESS, threading.Event()

    def ask() -> None:
        with suppress(requests.RequestException):
            requests.head(address, timeout=patience)
            answered.set()

    asked, waited = _silent.get(address, (-math.inf, 0.0))
    lately = time.monotonic() - asked < _AFTERWARDS and waited >= patience
    if address not in _answered and not lately:
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(patience)
        if answered.is_set():
            _answered.add(address)
        else:
            _silent[address] = time.monotonic(), patience
    return address in _answered


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Lets a process that is asked to end (SIGTERM) remove first what it has half fetched."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> NoReturn:
        raise _ToldToEnd

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _ToldToEnd:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _explained(file: RawFile, url: str, command: str, patience: float) -> Iterator[None]:
    """Turns whatever can go wrong with a download into one line."""
    server = url.split("/")[2]
    again = f"nothing was kept; try again with `{command}`"
    try:
        yield
    except requests.HTTPError as error:
        answer = error.response.status_code if error.response is not None else "an error"
        raise NotFetched(f"{server} answers {answer} to the request for {url}; {again}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise NotFetched(f"the connection to {server} broke within {file.name}; {again}") from error
    except requests.RequestException as error:
        if ADDRESS in _answered:
            _answered.remove(ADDRESS)
            _silent[ADDRESS] = time.monotonic(), patience
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            why = f"{server} did not answer within {patience:g} s when asked for {file.name}"
        else:
            why = f"no connection to {server}, which has {file.name}, within {patience:g} s"
        raise NotFetched(f"{why}; {again}, or work without the network: OFFLINE=1") from error
    except ValueError as error:  # pooch: the checksum
        raise NotFetched(
            f"what {url} sent is not {file.name}, whose SHA-256 begins with {file.sha256[:12]}: "
            f"half a file, or altered on the way; {again}"
        ) from error
    except OSError as error:
        forbidden = isinstance(error, PermissionError)  # pooch's has no `strerror`
        why = "Permission denied" if forbidden else error.strerror or type(error).__name__
        raise NotFetched(
            f"cannot write {file.name} ({file.size / 1e6:.1f} MB) to the cache {folder()}: {why}; "
            f"set AZLIB_CACHE to a folder with room that you may write to, and run `{command}`"
        ) from error
