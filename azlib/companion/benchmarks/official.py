"""The official files: the .pth of NAS-Bench-201 and the topology folder of NATS-Bench."""

from __future__ import annotations

import bz2
import importlib
import os
import pickle
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from azlib.companion.benchmarks.table import (
    DATASETS,
    EXPECTED,
    OFFICIAL,
    checked,
    foreign,
    md5,
    not_a_benchmark,
    unpickle,
)
from azlib.errors import AzlibError, missing, reason

# Data set and evaluation set in the official files. "cifar10" is trained on train + validation
# (the benchmark's "cifar10-valid" is not), and its test set is "ori-test"; for the other two
# "ori-test" is validation + test together, and "x-test" the test half.
_SETS = {
    "cifar10": ("cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-test"),
    "imagenet16-120": ("ImageNet16-120", "x-test"),
}

# numpy rebuilds its scalars with a function whose home moved between numpy 1 and 2; this is it.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALAR_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")

States = Iterator[tuple[str, Any]]
"""(where it was found, the state of the 200-epoch results) of one architecture after another."""


def read_accuracies(path: Path) -> pd.DataFrame:
    """The checked table of accuracies."""

    def read(results: Any) -> list[float]:
        return [float(results.get_metrics(*sets)["accuracy"]) for sets in _SETS.values()]

    rows, checksum = _read(path, read)
    frame = pd.DataFrame(
        [accuracies for _, accuracies in rows],
        index=[arch for arch, _ in rows],
        columns=list(DATASETS),
    )
    # Later decimals are the benchmark's single-precision noise; the finest step is 1/300 %.
    return checked(frame.round(6), OFFICIAL, path, checksum)


def read_costs(path: Path) -> pd.DataFrame:
    """MACs and parameters of every architecture on every data set."""

    def read(results: Any) -> list[float]:
        found = [results.get_compute_costs(key) for key, _ in _SETS.values()]
        return [round(1e6 * cost[name]) for cost in found for name in ("flops", "params")]

    rows, _ = _read(path, read)
    columns = pd.MultiIndex.from_product([DATASETS, ("macs", "params")])
    return pd.DataFrame.from_dict(dict(rows), orient="index", columns=columns).rename_axis("arch")


def _read(path: Path, read: Callable[[Any], list]) -> tuple[list[tuple[str, list]], str]:
    """(architecture, read(its 200-epoch results)) of each architecture, and the checksum's state.

    `read` gets the `ArchResults` of the benchmark's own package, built from vetted content.
    """
    if path.suffix == ".pth" and path.is_file():
        results_class = _package_class("nas_201_api.api_utils", "nas-bench-201")
        checksum = _check_md5(path)
        states = _pth_states(path)
    elif (path / "meta.pickle.pbz2").is_file():
        results_class = _package_class("nats_bench.api_utils", "nats-bench")
        checksum = "not checked: the MD5 in the folder's name is that of the one-file version"
        states = _nats_states(path)
    else:
        raise AzlibError(f"{path} is not a benchmark of this kind; {EXPECTED}")
    rows: list[tuple[str, list]] = []
    for where, state in states:
        try:
            # A state that is not a dict must not reach the packages: they would take a string
            # for the path of another pickle, and open it without any restriction.
            results = results_class.create_from_state_dict(dict(state))
            rows.append((results.arch_str, read(results)))
        except Exception as error:
            raise AzlibError(
                f"{where} of {path} lacks 200-epoch results as NAS-Bench-201 stores them "
                f"({reason(error)})"
            ) from error
    return rows, checksum


def _pth_states(path: Path) -> States:
    """(where, state) of each architecture in a file of the package nas-bench-201."""
    import torch  # only this source needs it: the others stay quick

    allowed: list[Any] = [np.dtype, *(type(np.dtype(t)) for t in ("f4", "f8", "i4", "i8"))]
    allowed += [(_NUMPY_SCALAR, name) for name in _NUMPY_SCALAR_NAMES]
    with path.open("rb") as file, _progress(file, f"reading {path.name}"):
        try:
            with torch.serialization.safe_globals(allowed):
                content = torch.load(file, map_location="cpu", weights_only=True)
            infos = dict(content["arch2infos"])
            indexes = sorted(infos)
        except Exception as error:
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            if isinstance(error, pickle.UnpicklingError) and asked:
                raise foreign(path, asked[1]) from error
            raise not_a_benchmark(path, error) from error
    for index in tqdm(indexes, desc=path.name, unit="arch", delay=1):
        info = infos.pop(index)  # what has been read is let go
        yield f"architecture {index}", info.get("full") if isinstance(info, dict) else None


def _nats_states(folder: Path) -> States:
    """(where, state) of each architecture that a NATS-Bench topology folder holds."""
    allowed: dict[str, Any] = {"collections.OrderedDict": OrderedDict, "numpy.dtype": np.dtype}
    allowed |= dict.fromkeys(_NUMPY_SCALAR_NAMES, _NUMPY_SCALAR)

    def read(file: Path) -> Any:
        with bz2.open(file) as stream:
            return unpickle(cast(BinaryIO, stream), file, allowed)

    meta = read(folder / "meta.pickle.pbz2")
    names = meta.get("meta_archs") if isinstance(meta, dict) else None
    if not isinstance(names, list):
        raise AzlibError(f"{folder / 'meta.pickle.pbz2'} has no list of architectures")
    files = sorted(folder.glob("[0-9]" * 6 + ".pickle.pbz2"))
    for file in tqdm(files, desc=folder.name, unit="arch", delay=1):
        record = read(file)
        state = record.get("200") if isinstance(record, dict) else None
        index = int(file.name[:6])
        arch = state.get("arch_str") if isinstance(state, dict) else None
        if index >= len(names) or arch != names[index]:
            raise AzlibError(
                f"{file} does not hold the 200-epoch results of architecture {index} in "
                f"{folder.name}/meta.pickle.pbz2; download the folder again"
            )
        yield file.name, state


def _package_class(module: str, package: str) -> Any:
    """The class `ArchResults` of a benchmark's own package."""
    try:
        return importlib.import_module(module).ArchResults
    except ImportError as error:
        raise missing(package, "companion") from error


def _check_md5(path: Path) -> str:
    """Compares a file with the digits of its MD5 in its name, and says in words what was done."""
    digits = re.search(r"-([0-9a-f]{5,32})$", path.stem)
    if not digits:
        return "not checked: the file name carries no MD5 digits"
    with path.open("rb") as file, _progress(file, f"MD5 of {path.name}"):
        found = md5(file)
    if not found.startswith(digits[1]):
        raise AzlibError(
            f"{path} fails its checksum: its name promises an MD5 that begins with {digits[1]}, "
            f"its content has {found}; it is truncated or altered, download it again"
        )
    return f"MD5 begins with {digits[1]} as in the file name"


@contextmanager
def _progress(file: BinaryIO, description: str) -> Iterator[None]:
    """A progress bar that follows the position in an open file from another thread.

    (Counting in each `read` would double the time: unpickling makes millions of tiny ones.)
    """
    size, done = os.fstat(file.fileno()).st_size, threading.Event()
    with tqdm(total=size, desc=description, unit="B", unit_scale=True, delay=1) as bar:

        def follow() -> None:
            while not done.wait(0.5):
                bar.update(file.tell() - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
