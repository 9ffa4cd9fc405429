"""The CSV that `export` writes: a first line that names its source, then one row per architecture.

A plain CSV of the accuracies of NAS-Bench-201 is read as well if it has all three data sets, which
the one that `azlib data` fetches has.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd

from azlib.companion.benchmarks.table import DATASETS, OFFICIAL, checked, md5, not_a_benchmark
from azlib.errors import AzlibError
from azlib.files import replacing

_COLUMNS = {  # as others name them
    "ArchitectureString": "arch",
    "CIFAR10TestAccuracy200Epochs": "cifar10",
    "CIFAR100TestAccuracy200Epochs": "cifar100",
    "ImageNetTestAccuracy200Epochs": "imagenet16-120",
    "cifar10_test": "cifar10",
    "cifar100_test": "cifar100",
    "imagenet16_120_test": "imagenet16-120",
}
_HEADER = re.compile(
    rb"# azlib benchmark, source (analog-nasbench|nas-bench-201), MD5 ([0-9a-f]{32})"
)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a checked table. The file appears whole or not at all."""
    body = table.to_csv(lineterminator="\n").encode()
    header = f"# azlib benchmark, source {table.attrs['source']}, MD5 {md5(io.BytesIO(body))}\n"
    with replacing(path) as temporary:
        temporary.write_bytes(header.encode() + body)


def read_csv(path: Path) -> pd.DataFrame:
    """The checked table of a CSV."""
    content = path.read_bytes().replace(b"\r\n", b"\n")
    first, _, body = content.partition(b"\n")
    header = _HEADER.fullmatch(first)
    checksum = "not checked: the file has no azlib header"
    if header:
        if md5(io.BytesIO(body)) != header[2].decode():
            raise AzlibError(
                f"{path} fails the checksum in its first line: it is truncated or altered; "
                "export it again"
            )
        checksum = "MD5 as in the header"
    frame = _read_columns(path, body if header else content)
    columns = [name for name in DATASETS if name in frame]
    if not header and len(columns) < len(DATASETS):
        raise AzlibError(
            f"{path} does not say which benchmark it comes from: it has neither the first line "
            f"that azlib's export writes nor the columns of all of {', '.join(DATASETS)}"
        )
    source = header[1].decode() if header else OFFICIAL
    table = checked(frame.set_index("arch")[columns], source, path, checksum)
    # Later decimals are the benchmark's single-precision noise, as in `official`.
    return table if header else table.round(6)


def _read_columns(path: Path, content: bytes) -> pd.DataFrame:
    """The rows as text, under our names of the columns, of which none may stand there twice."""
    try:
        # Without header=None pandas would rename a repeated column and say nothing.
        lines = pd.read_csv(io.BytesIO(content), header=None, dtype="object")
    except ValueError as error:
        raise not_a_benchmark(path, error) from error
    names = lines.iloc[0].astype(str).replace(_COLUMNS)
    if names.duplicated().any():
        raise AzlibError(
            f"{path} has the column {names[names.duplicated()].iloc[0]} more than once; "
            "expected each once: delete one of them"
        )
    if "arch" not in set(names) or not set(DATASETS) & set(names):
        raise AzlibError(
            f"{path} has the columns {', '.join(names)[:200]}; expected arch and some of "
            f"{', '.join(DATASETS)} (or {', '.join(_COLUMNS)})"
        )
    return lines.iloc[1:].set_axis(list(names), axis=1)
