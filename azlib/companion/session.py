"""How a notebook begins: the ground truth, the folder of its exhibits, the search space."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from azlib.companion import benchmarks, data
from azlib.errors import AzlibError
from azlib.scoring.files import load
from azlib.spaces.nasbench201 import NASBench201


def check_place(folder: str = "../data") -> None:
    """Raises `AzlibError` where a notebook does not find the data of azlib's repository.

    folder: what it reads, as seen from where it runs.
    """
    if not Path(folder).exists():
        raise AzlibError(
            f"no {folder} beside this notebook: open it in the folder notebooks/ of a checkout of "
            "azlib (make lab), or say in its parameters where that lies"
        )


def begin(
    source: str, figures: str = "../figures", whole: bool = False
) -> tuple[pd.DataFrame, Path, NASBench201]:
    """What a notebook on NAS-Bench-201 needs, and a line about it.

    Args:
        source: ground truth, see `benchmarks.load`; "" is what `data.nas_bench_201` finds.
        figures: folder of all exhibits.
        whole: whether the notebook needs the accuracy of every architecture.

    Returns:
        The accuracies, one column per data set; the folder for exhibits of this ground truth; and
        the search space.

    Raises:
        AzlibError: as `benchmarks.load`, and where some of the accuracies are needed and missing.
    """
    truth, space = benchmarks.load(source or data.nas_bench_201()), NASBench201()
    name = truth.attrs["source"]
    if whole and len(truth) < len(space):
        raise AzlibError(
            f"{name} has {len(truth):,} accuracies; a search may find any of {len(space):,}: give "
            "all of them"
        )
    print(f"ground truth {name}: {len(truth):,} architectures, {', '.join(truth)}")
    return truth, Path(figures) / name, space


def load_all(truth: pd.DataFrame, space: NASBench201, scores: str) -> dict[str, pd.DataFrame]:
    """The scores of AZ-NAS for each data set of a ground truth, and a line about their seeds."""
    scored = {dataset: load(dataset, space, folder=scores) for dataset in truth}
    seeds = (f"{name}: {frame['seed'].nunique()}" for name, frame in scored.items())
    print(f"seeds of the scores: {', '.join(seeds)}")
    return scored


def shown(truth: pd.DataFrame, dataset: str = "") -> str:
    """The data set of a figure: the one asked for, else the paper's, ImageNet16-120, if known."""
    return dataset or ("imagenet16-120" if "imagenet16-120" in truth else "cifar10")
