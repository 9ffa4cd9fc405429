"""Ground truth: test accuracies of the NAS-Bench-201 architectures through three doors, one table.

Every door gives the test accuracy after 200 epochs, in %, as the mean over the benchmark's seeds:

1. The embedded default: the table of the installed package `analog-nasbench`, CIFAR-10 only.
   It comes from an independent training of each architecture, not from NAS-Bench-201 itself.
2. The official files: `NAS-Bench-201-v1_1-096897.pth`, or the folder
   `NATS-tss-v1_0-3ffb9-simple` of NATS-Bench, which may hold a part of the architectures.
   Prefer the folder, which is read file by file: the .pth can only be read whole, at 0.06 s and
   3 MB of memory per architecture (measured on small files of its kind).
3. A CSV: what `export` writes from the other two.

Benchmarks come as pickles, and a pickle can run code. Here none is unpickled except by a reader
that refuses every name it does not expect, so a hostile file ends in an error, not in its code.
"""

from __future__ import annotations

import base64
import bz2
import hashlib
import importlib
import io
import os
import pickle
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from tqdm import tqdm

from azlib.errors import AzlibError
from azlib.files import ForeignName, RestrictedUnpickler

DATASETS = ("cifar10", "cifar100", "imagenet16-120")
EMBEDDED = "analog-nasbench"
OFFICIAL = "nas-bench-201"
ARCHITECTURES = 5**6  # five operations on six edges

# Data set and evaluation set in the official files. "cifar10" is trained on train + validation
# (the benchmark's "cifar10-valid" is not), and its test set is "ori-test"; for the other two
# "ori-test" is validation + test together, and "x-test" the test half.
_OFFICIAL_SETS = {
    "cifar10": ("cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-test"),
    "imagenet16-120": ("ImageNet16-120", "x-test"),
}
_CSV_COLUMNS = {
    "cifar10_test": "cifar10",
    "cifar100_test": "cifar100",
    "imagenet16_120_test": "imagenet16-120",
}
_CSV_HEADER = re.compile(
    rb"# azlib benchmark, source (analog-nasbench|nas-bench-201), MD5 ([0-9a-f]{32})"
)

# analog-nasbench numbers the operations in this order, and pickled these classes.
_ANALOG_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_ANALOG_CLASSES = ("Architecture", "DriftMeasurement")
_OP = f"(?:{'|'.join(_ANALOG_OPERATIONS)})"
_ARCHITECTURE = rf"\|{_OP}~0\|\+\|{_OP}~0\|{_OP}~1\|\+\|{_OP}~0\|{_OP}~1\|{_OP}~2\|"
_EXPECTED = (
    "expected a .csv written by azlib, a NAS-Bench-201 file like NAS-Bench-201-v1_1-096897.pth, "
    f"a folder like NATS-tss-v1_0-3ffb9-simple, or {EMBEDDED!r}"
)

# numpy rebuilds its scalars with a function whose home moved between numpy 1 and 2; this is it.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALAR_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


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
        return _load_embedded()
    with _readable(source) as path:
        return _load_csv(path) if path.suffix == ".csv" else _load_official(path)


def costs(source: str | Path) -> pd.DataFrame:
    """The benchmark's own costs, from an official .pth file or NATS-Bench folder.

    Returns:
        A frame indexed by architecture with two column levels: data set, then `macs` (of one
        image; the benchmark calls them FLOPs) and `params`, both absolute numbers.

    Raises:
        AzlibError: as in `load`; a CSV and the embedded default hold no costs.
    """

    def read(results) -> list[float]:
        found = [results.get_compute_costs(key) for key, _ in _OFFICIAL_SETS.values()]
        return [round(1e6 * cost[name]) for cost in found for name in ("flops", "params")]

    with _readable(source) as path:
        rows, _ = _read_official(path, read)
    columns = pd.MultiIndex.from_product([DATASETS, ("macs", "params")])
    return pd.DataFrame.from_dict(dict(rows), orient="index", columns=columns).rename_axis("arch")


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
    table = load(source)
    body = table.to_csv(lineterminator="\n").encode()
    header = f"# azlib benchmark, source {table.attrs['source']}, MD5 {_md5(io.BytesIO(body))}\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(header.encode() + body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise AzlibError(
            f"cannot write {path}: {_reason(error)}; a previous file is unchanged"
        ) from error
    finally:
        part.unlink(missing_ok=True)
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
    path = Path(source).expanduser()
    if not path.exists():
        raise AzlibError(f"the benchmark {str(source)!r} does not exist; {_EXPECTED}")
    try:
        yield path
    except OSError as error:
        raise AzlibError(f"cannot read the benchmark {path}: {_reason(error)}") from error


def _table(frame: pd.DataFrame, source: str, path: Path, checksum: str) -> pd.DataFrame:
    """The checked table: valid, distinct architectures and percentages, or an AzlibError."""
    archs = frame.index.astype(str)
    if frame.empty:
        raise AzlibError(f"{path} holds no architectures")
    bad = ~archs.str.fullmatch(_ARCHITECTURE)
    if bad.any():
        raise AzlibError(
            f"{path}: {archs[bad][0]!r} is not a NAS-Bench-201 architecture "
            f"({bad.sum()} such rows); expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| "
            f"with op one of {', '.join(_ANALOG_OPERATIONS)}"
        )
    twice = archs.duplicated()
    if twice.any():
        raise AzlibError(
            f"{path}: the architecture {archs[twice][0]} stands there more than once "
            f"({twice.sum()} repeated rows); expected one row each"
        )
    numbers = frame.apply(pd.to_numeric, errors="coerce").astype(float)
    for column in numbers:
        bad = ~numbers[column].between(0, 100).to_numpy()
        if bad.any():
            raise AzlibError(
                f"{path}: {frame[column][bad].iloc[0]!r} is not an accuracy in % (column {column}, "
                f"{archs[bad][0]}, {bad.sum()} such cells); the file is truncated or altered"
            )
    numbers.index = archs.rename("arch")
    numbers.attrs = {
        "source": source,
        "path": str(path),
        "architectures": len(numbers),
        "checksum": checksum,
    }
    return numbers


def _load_embedded() -> pd.DataFrame:
    # Importing the package needs pkg_resources, which setuptools no longer has: only its data
    # file is read, found through the list of installed files.
    try:
        files = metadata.distribution(EMBEDDED).files or []
    except metadata.PackageNotFoundError as error:
        raise AzlibError(
            f"the embedded benchmark needs the package {EMBEDDED}: pip install {EMBEDDED}==0.1.3"
        ) from error
    file = next((f for f in files if f.parts[-2:] == ("analognasbench", "data.anb")), None)
    path = Path(file.locate()) if file else None
    if path is None or not path.is_file():
        raise AzlibError(f"the package {EMBEDDED} has no data.anb: reinstall {EMBEDDED}==0.1.3")
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    if file.hash and file.hash.value != digest:
        raise AzlibError(
            f"{path} is not the file that was installed (SHA-256 differs): "
            f"pip install --force-reinstall {EMBEDDED}==0.1.3"
        )
    plain = {f"analognasbench.data.{name}": SimpleNamespace for name in _ANALOG_CLASSES}
    entries = _unpickle(io.BytesIO(content), path, plain)
    try:
        rows = {_analog_architecture(code): e.baseline_accuracy for code, e in entries.items()}
    except Exception as error:
        raise _not_a_benchmark(path, error) from error
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["cifar10"])
    checksum = "SHA-256 as installed" if file.hash else "not checked: the installation lists none"
    return _table(frame, EMBEDDED, path, checksum)


def _analog_architecture(code: tuple[int, ...]) -> str:
    """analog-nasbench lists edges by source node, NAS-Bench-201 by target node."""
    o10, o20, o30, o21, o31, o32 = (_ANALOG_OPERATIONS[i] for i in code)
    return f"|{o10}~0|+|{o20}~0|{o21}~1|+|{o30}~0|{o31}~1|{o32}~2|"


def _load_csv(path: Path) -> pd.DataFrame:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    first, _, body = content.partition(b"\n")
    header = _CSV_HEADER.fullmatch(first)
    checksum = "not checked: the file has no azlib header"
    if header:
        if _md5(io.BytesIO(body)) != header[2].decode():
            raise AzlibError(
                f"{path} fails the checksum in its first line: it is truncated or altered; "
                "export it again"
            )
        checksum = "MD5 as in the header"
    try:
        frame = pd.read_csv(io.BytesIO(body if header else content), dtype="object").rename(
            columns=_CSV_COLUMNS
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise _not_a_benchmark(path, error) from error
    columns = [name for name in DATASETS if name in frame]
    if "arch" not in frame or not columns:
        raise AzlibError(
            f"{path} has the columns {', '.join(map(str, frame))[:200]}; expected arch and some of "
            f"{', '.join(DATASETS)} (or {', '.join(_CSV_COLUMNS)})"
        )
    if not header and len(columns) < len(DATASETS):
        raise AzlibError(
            f"{path} does not say which benchmark it comes from: it has neither the first line "
            f"that azlib's export writes nor the columns of all of {', '.join(DATASETS)}"
        )
    source = header[1].decode() if header else OFFICIAL
    return _table(frame.set_index("arch")[columns], source, path, checksum)


def _load_official(path: Path) -> pd.DataFrame:
    def read(results) -> list[float]:
        return [float(results.get_metrics(*sets)["accuracy"]) for sets in _OFFICIAL_SETS.values()]

    rows, checksum = _read_official(path, read)
    frame = pd.DataFrame(
        [accuracies for _, accuracies in rows],
        index=[arch for arch, _ in rows],
        columns=list(DATASETS),
    )
    # Later decimals are the benchmark's single-precision noise; the finest step is 1/300 %.
    return _table(frame.round(6), OFFICIAL, path, checksum)


def _read_official(path: Path, read: Callable) -> tuple[list[tuple[str, list[float]]], str]:
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
        raise AzlibError(f"{path} is not a benchmark of this kind; {_EXPECTED}")
    rows = []
    for where, state in states:
        try:
            # A state that is not a dict must not reach the packages: they would take a string
            # for the path of another pickle, and open it without any restriction.
            results = results_class.create_from_state_dict(dict(state))
            rows.append((results.arch_str, read(results)))
        except Exception as error:
            raise AzlibError(
                f"{where} of {path} lacks 200-epoch results as NAS-Bench-201 stores them "
                f"({_reason(error)})"
            ) from error
    return rows, checksum


def _pth_states(path: Path) -> Iterator[tuple[str, dict]]:
    """(where, state) of each architecture in a file of the package nas-bench-201."""
    import torch  # only this door needs it: the others stay quick

    allowed = [np.dtype, *(type(np.dtype(t)) for t in ("f4", "f8", "i4", "i8"))]
    allowed += [(_NUMPY_SCALAR, name) for name in _NUMPY_SCALAR_NAMES]
    with path.open("rb") as file, _progress(file, f"reading {path.name}"):
        try:
            with torch.serialization.safe_globals(allowed):
                content = torch.load(file, map_location="cpu", weights_only=True)
            infos = dict(content["arch2infos"])
            indexes = sorted(infos)
        except Exception as error:
            foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
            if isinstance(error, pickle.UnpicklingError) and foreign:
                raise _foreign(path, foreign[1]) from error
            raise _not_a_benchmark(path, error) from error
    for index in tqdm(indexes, desc=path.name, unit="arch", delay=1):
        info = infos.pop(index)  # what has been read is let go
        yield f"architecture {index}", info.get("full") if isinstance(info, dict) else None


def _nats_states(folder: Path) -> Iterator[tuple[str, dict]]:
    """(where, state) of each architecture that a NATS-Bench topology folder holds."""
    allowed = {"collections.OrderedDict": OrderedDict, "numpy.dtype": np.dtype}
    allowed |= dict.fromkeys(_NUMPY_SCALAR_NAMES, _NUMPY_SCALAR)

    def read(file: Path):
        with bz2.open(file) as stream:
            return _unpickle(stream, file, allowed)

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


def _unpickle(stream, path: Path, allowed: dict[str, object]):
    try:
        return RestrictedUnpickler(stream, allowed).load()
    except ForeignName as error:
        raise _foreign(path, error.name) from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise _not_a_benchmark(path, error) from error


def _package_class(module: str, package: str):
    try:
        return importlib.import_module(module).ArchResults
    except ImportError as error:
        raise AzlibError(
            f"this benchmark needs the package {package}: pip install {package} ({_reason(error)})"
        ) from error


def _check_md5(path: Path) -> str:
    digits = re.search(r"-([0-9a-f]{5,32})$", path.stem)
    if not digits:
        return "not checked: the file name carries no MD5 digits"
    with path.open("rb") as file, _progress(file, f"MD5 of {path.name}"):
        found = _md5(file)
    if not found.startswith(digits[1]):
        raise AzlibError(
            f"{path} fails its checksum: its name promises an MD5 that begins with {digits[1]}, "
            f"its content has {found}; it is truncated or altered, download it again"
        )
    return f"MD5 begins with {digits[1]} as in the file name"


@contextmanager
def _progress(file, description: str) -> Iterator[None]:
    """A progress bar that follows the position in an open file from another thread.

    (Counting in each `read` would double the time: unpickling makes millions of tiny ones.)
    """
    size, done = os.fstat(file.fileno()).st_size, threading.Event()
    with tqdm(total=size, desc=description, unit="B", unit_scale=True, delay=1) as bar:

        def follow():
            while not done.wait(0.5):
                bar.update(file.tell() - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _md5(file) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def _foreign(path: Path, name: str) -> AzlibError:
    return AzlibError(
        f"{path} is refused: it asks to load {name}, which no benchmark needs; nothing in it was "
        "run. Download the file again from its authors"
    )


def _not_a_benchmark(path: Path, error: Exception) -> AzlibError:
    return AzlibError(f"{path} is truncated or not a benchmark ({_reason(error)}); {_EXPECTED}")


def _reason(error: Exception) -> str:
    """One line about any exception."""
    text = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:200]
