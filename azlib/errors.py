"""The one exception that azlib raises on purpose, and its one warning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class AzlibError(ValueError):
    """Bad input, in one line: what was given, what was expected, what to do."""


class AzlibWarning(UserWarning):
    """A result that is right but may not be what was wanted, in one line."""


_MANY = 60  # names that are too many for one line


def unknown(kind: str, given: object, known: Iterable[str], hint: str = "") -> AzlibError:
    """The error for a name that is not in a list: shows the list and the nearest name.

    Of a long list it shows the three nearest names instead, and how many there are.
    hint: a sentence about what else could be given.
    """
    known, many = list(known), None
    if len(known) > _MANY:
        near, many = difflib.get_close_matches(str(given), known, n=3), f"{len(known):,} are known."
    else:
        near = difflib.get_close_matches(str(given), known, n=1, cutoff=0.5)
    said = [f"unknown {kind} {given!r}."]
    said += [f"Did you mean {' or '.join(map(repr, near))}?"] if near else []
    said += [hint] if hint else []
    return AzlibError(" ".join([*said, many or f"Known: {', '.join(known)}."]))


def reason(error: BaseException) -> str:
    """One line about any exception: its type and the first line of what it says."""
    said = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {' '.join(said.split())}"[:200].removesuffix(": ")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, in Python, on the CPU or on a GPU.

    PyTorch raises a plain RuntimeError on the CPU, so that its text has to be read.
    """
    text = str(error)
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "allocate memory" in text or "out of memory" in text


def missing(package: str, extra: str) -> AzlibError:
    """The error for a package that is not installed: says which extra of azlib brings it."""
    return AzlibError(f"this needs the package {package}: pip install 'azlib[{extra}]'")


@contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """Turns a failed import in its block into the error that says which extra brings the package.

    Put imports of optional packages into such a block, in the function that needs them:

        with needs("scikit-image", "companion"):
            from skimage.io import imread
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(package, extra) from error
