"""One call for each thing to do with a ground truth, whatever its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from azlib.companion.benchmarks.embedded import read_embedded
from azlib.companion.benchmarks.exported import read_csv, write_csv
from azlib.companion.benchmarks.official import read_accuracies, read_costs
from azlib.companion.benchmarks.table import EMBEDDED, EXPECTED
from azlib.errors import AzlibError, reason


def load(source: str | Path | None = None) -> pd.DataFrame:
    """The accuracy table of a benchmark.

    Args:
        source: None (or empty) or "analog-nasbench" for the embedded default; else the path of an
            official .pth file, of a NATS-Bench folder, or of a CSV with the column `arch` and
            some of `cifar10`, `cifar100`, `imagenet16-120`.

    Returns:
        A frame of shape (architectures, data sets) indexed by architecture string `arch`, with
        the columns of `DATASETS` that the source has: test accuracy in %, mean over seeds.
        `.attrs` has `source` ("analog-nasbench" or "nas-bench-201"), `path`, `architectures`
        (how many of the 15,625 are there) and `checksum` (what was compared with what).

    Raises:
        AzlibError: the path does not exist, is not a benchmark, is truncated, fails its checksum,
            asks for foreign classes, or holds anything but valid architectures and percentages;
            or the package that the source needs is missing.
    """
    if not source or str(source) == EMBEDDED:
        return read_embedded()
    with _readable(source) as path:
        return read_csv(path) if path.suffix == ".csv" else read_accuracies(path)


def costs(source: str | Path) -> pd.DataFrame:
    """The benchmark's own costs, from an official .pth file or NATS-Bench folder.

    Returns:
        A frame indexed by architecture with two column levels: data set, then `macs` (of one
        image; the benchmark calls them FLOPs) and `params`, both absolute numbers.

    Raises:
        AzlibError: as in `load`; a CSV and the embedded default hold no costs.
    """
    with _readable(source) as path:
        return read_costs(path)


def export(source: str | Path | None, path: str | Path) -> Path:
    """Write the table of any source as a CSV that `load` reads in a fraction of a second.

    The first line names the source and carries the MD5 of the rest
    (`pandas.read_csv(path, comment="#")` skips it). The file appears whole or not at all.

    Returns:
        The path written.

    Raises:
        AzlibError: as in `load`; or the file cannot be written (a previous one stays as it was).
    """
    path = Path(path).expanduser()
    if path.suffix != ".csv":
        raise AzlibError(f"cannot export to {str(path)!r}: give a file name that ends in .csv")
    write_csv(load(source), path)
    return path


def info(source: str | Path | None = None) -> pd.DataFrame:
    """A summary of a benchmark.

    Returns:
        A frame indexed by data set with the columns `mean` and `best` (test accuracy in %) and
        `best_arch`; `.attrs` as in `load`.

    Raises:
        AzlibError: as in `load`.
    """
    table = load(source)
    summary = pd.DataFrame(
        {"mean": table.mean(), "best": table.max(), "best_arch": table.idxmax()}
    ).rename_axis("dataset")
    summary.attrs = table.attrs
    return summary


@contextmanager
def _readable(source: str | Path) -> Iterator[Path]:
    """Yields the path of a source that exists; what the system refuses becomes an `AzlibError`."""
    path = Path(source).expanduser()
    if not path.exists():
        raise AzlibError(f"the benchmark {str(source)!r} does not exist; {EXPECTED}")
    try:
        yield path
    except OSError as error:
        raise AzlibError(f"cannot read the benchmark {path}: {reason(error)}") from error
