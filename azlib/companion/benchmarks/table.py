"""The checked table of accuracies that every source gives, and the errors of those that do not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from azlib.errors import AzlibError, reason
from azlib.files import ForeignName, RestrictedUnpickler

DATASETS = ("cifar10", "cifar100", "imagenet16-120")
EMBEDDED = "analog-nasbench"
OFFICIAL = "nas-bench-201"
ARCHITECTURES = 5**6  # five operations on six edges
OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
"""The operations of an edge, numbered as analog-nasbench does."""
EXPECTED = (
    "expected a .csv written by azlib, a NAS-Bench-201 file like NAS-Bench-201-v1_1-096897.pth, "
    f"a folder like NATS-tss-v1_0-3ffb9-simple, or {EMBEDDED!r}"
)

_OP = f"(?:{'|'.join(OPERATIONS)})"
_ARCHITECTURE = rf"\|{_OP}~0\|\+\|{_OP}~0\|{_OP}~1\|\+\|{_OP}~0\|{_OP}~1\|{_OP}~2\|"


def checked(frame: pd.DataFrame, source: str, path: Path, checksum: str) -> pd.DataFrame:
    """The table that `load` returns, once every cell was looked at.

    Args:
        frame: accuracies, one row per architecture (the index) and one column per data set.
        source: `EMBEDDED` or `OFFICIAL`.
        path: where it was read, for `.attrs` and for messages.
        checksum: what was compared with what, in words.

    Raises:
        AzlibError: an architecture is malformed or repeated, or an accuracy is not a percentage.
    """
    archs = frame.index.astype(str)
    if frame.empty:
        raise AzlibError(f"{path} holds no architectures")
    bad = ~archs.str.fullmatch(_ARCHITECTURE)
    if bad.any():
        raise AzlibError(
            f"{path}: {archs[bad][0]!r} is not a NAS-Bench-201 architecture "
            f"({bad.sum()} such rows); expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| "
            f"with op one of {', '.join(OPERATIONS)}"
        )
    repeated = archs.duplicated()
    if repeated.any():
        raise AzlibError(
            f"{path}: the architecture {archs[repeated][0]} has more than one row "
            f"({repeated.sum()} repeated rows); expected one row each"
        )
    numbers = frame.apply(pd.to_numeric, errors="coerce").astype(float)
    for column in numbers:
        bad = ~numbers[column].between(0, 100).to_numpy()
        if bad.any():
            raise AzlibError(
                f"{path}: {frame[column][bad].iloc[0]!r} is not an accuracy in % (column {column}, "
                f"{archs[bad][0]}, {bad.sum()} such cells); the file is truncated or altered"
            )
        if numbers[column].max() <= 1:
            raise AzlibError(
                f"{path}: the highest accuracy of {column} is {numbers[column].max():g}, so these "
                "are fractions; expected percent, from 0 to 100: multiply the column by 100"
            )
    numbers.index = archs.rename("arch")
    numbers.attrs = {
        "source": source,
        "path": str(path),
        "architectures": len(numbers),
        "checksum": checksum,
    }
    return numbers


def unpickle(stream: BinaryIO, path: Path, allowed: dict[str, object]) -> object:
    """What a pickle holds, if it asks for nothing but the `allowed` names; else `AzlibError`."""
    try:
        return RestrictedUnpickler(stream, allowed).load()
    except ForeignName as error:
        raise foreign(path, error.name) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise not_a_benchmark(path, error) from error


def foreign(path: Path, name: str) -> AzlibError:
    """The error for a file that asks to load `name`. Nothing in it has been run."""
    return AzlibError(
        f"{path} is refused: it asks to load {name}, which no benchmark needs; nothing in it was "
        "run. Download the file again from its authors"
    )


def not_a_benchmark(path: Path, error: Exception) -> AzlibError:
    """The error for a file that could not be read as a benchmark, with the reason."""
    return AzlibError(f"{path} is truncated or not a benchmark ({reason(error)}); {EXPECTED}")


def md5(file: BinaryIO) -> str:
    """The MD5 of the rest of an open file, in hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()
