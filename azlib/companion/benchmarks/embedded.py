"""The embedded ground truth: the table that the package analog-nasbench brings, CIFAR-10 only."""

from __future__ import annotations

import base64
import hashlib
import io
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from azlib.companion.benchmarks.table import (
    EMBEDDED,
    OPERATIONS,
    checked,
    not_a_benchmark,
    unpickle,
)
from azlib.errors import AzlibError, missing

_REINSTALL = f"pip install --force-reinstall {EMBEDDED}==0.1.3"
_CLASSES = ("Architecture", "DriftMeasurement")  # those that the package has pickled


def read_embedded() -> pd.DataFrame:
    """The checked table of the package's data file.

    Importing the package needs pkg_resources, which setuptools no longer has. So only its data file
    is read, which is found through the list of installed files.
    """
    try:
        files = metadata.distribution(EMBEDDED).files or []
    except metadata.PackageNotFoundError as error:
        raise missing(EMBEDDED, "companion") from error
    file = next((f for f in files if f.parts[-2:] == ("analognasbench", "data.anb")), None)
    path = Path(str(file.locate())) if file else None
    if file is None or path is None or not path.is_file():
        raise AzlibError(f"the package {EMBEDDED} has no data.anb: {_REINSTALL}")
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    if file.hash and file.hash.value != digest:
        raise AzlibError(
            f"{path} is not the file that was installed (SHA-256 differs): {_REINSTALL}"
        )
    plain: dict[str, object] = {f"analognasbench.data.{name}": SimpleNamespace for name in _CLASSES}
    entries: Any = unpickle(io.BytesIO(content), path, plain)
    try:
        rows = {_architecture(code): e.baseline_accuracy for code, e in entries.items()}
    except Exception as error:
        raise not_a_benchmark(path, error) from error
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["cifar10"])
    checksum = "SHA-256 as installed" if file.hash else "not checked: the installation lists none"
    return checked(frame, EMBEDDED, path, checksum)


def _architecture(code: tuple[int, ...]) -> str:
    """analog-nasbench lists edges by source node, NAS-Bench-201 by target node."""
    o10, o20, o30, o21, o31, o32 = (OPERATIONS[i] for i in code)
    return f"|{o10}~0|+|{o20}~0|{o21}~1|+|{o30}~0|{o31}~1|{o32}~2|"
