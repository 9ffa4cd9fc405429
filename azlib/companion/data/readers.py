"""Turns each of the fetched files into a table, one row per architecture in azlib's own text."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd

from azlib.companion.benchmarks.exported import read_csv
from azlib.spaces.autoformer.text import Structure
from azlib.spaces.nasbenchmacro import enumerate_all as macro_archs
from azlib.spaces.transnas101 import OPERATIONS
from azlib.spaces.transnas101 import enumerate_all as transnas_archs
from azlib.spaces.transnas101 import form as transnas_form

TRANSNAS_TASKS = (
    "class_object",
    "class_scene",
    "room_layout",
    "jigsaw",
    "segmentsemantic",
    "normal",
    "autoencoder",
)


def read_nasbench201(paths: Sequence[Path]) -> pd.DataFrame:
    """NAS-Bench-201 from a CSV of what the API of NATS-Bench says."""
    (path,) = paths
    return read_csv(path)


def read_transnas101(paths: Sequence[Path]) -> pd.DataFrame:
    """TransNAS-Bench-101 micro from NAS-Bench-Suite-Zero: lists of JSON, several for each task."""
    (path,) = paths
    found: dict[str, dict[str, float]] = {task: {} for task in TRANSNAS_TASKS}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not (part := re.search(r"--transbench101_micro--(\w+)--\d+\.json$", name)):
                continue
            for entry in json.loads(archive.read(name)):
                digits = map(int, re.findall(r"\d", entry["arch"]))
                arch = transnas_form(tuple(OPERATIONS[digit] for digit in digits))
                found[part[1]][arch] = entry["val_accuracy"]
    return pd.DataFrame(found).loc[list(transnas_archs())].rename_axis("arch")


def read_nasbenchmacro(paths: Sequence[Path]) -> pd.DataFrame:
    """NAS-Bench-Macro from the authors' JSON: three trainings, their mean, and costs."""
    (path,) = paths
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = {}
    for arch in macro_archs():
        entry = content[arch]
        # Accuracies on 10,000 images have two decimals; the others are single-precision noise.
        runs = [round(accuracy, 2) for accuracy in entry["test_acc"]]
        mean = round(sum(runs) / len(runs), 4)
        rows[arch] = (*runs, mean, entry["params"], entry["flops"])
    runs_named = [f"cifar10_test_{n}" for n in (1, 2, 3)]
    columns = [*runs_named, "cifar10_test", "params", "flops"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("arch")


def read_autoformer(paths: Sequence[Path]) -> pd.DataFrame:
    """200 vision transformers from two files of Auto-Prox, of which one lacks some columns.

    PyTorch wrote them, but they hold no tensor: lists, numbers and text are read without it.
    """
    rows = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            content = _Plain(archive.open(name)).load()
        for entry in content:
            given = entry["arch"]
            mlp, heads = tuple(given["mlp_ratio"]), tuple(given["num_heads"])
            arch = str(Structure(given["hidden_dim"], mlp, heads))
            rows[arch] = {name: value for name, value in entry.items() if name != "arch"}
    return pd.DataFrame.from_dict(rows, orient="index").astype(float).rename_axis("arch")


class _Plain(pickle.Unpickler):
    """Reads what is no object of any class, so that nothing in a file can run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def read_timm(paths: Sequence[Path]) -> pd.DataFrame:
    """The table of timm's pretrained models, indexed by their names."""
    (path,) = paths
    return pd.read_csv(path).set_index("model")
