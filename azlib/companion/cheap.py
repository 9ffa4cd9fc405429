"""Cheaper settings for NAS-Bench-201: what they cost and what they lose (notebook 22)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion.agreement import difference
from azlib.companion.metrics import kendall, kendall_interval
from azlib.scoring.files import COMMITTED, RESOLUTION, read, read_settings
from azlib.scoring.recompute import SMALLEST_SCALE

PAPER = 64  # images in the batch of the paper
PRECISE = "float32"
CLOSE = 0.005
"""How much of τ a cheap setting may lose on each data set, at most, to be a preset."""


def tried(folder: Path = COMMITTED) -> dict[tuple[int, int, str], pd.DataFrame]:
    """The scores at every setting that was tried: (pixels, batch, precision) -> file.

    They are the paper's (whole space, 32 and 16 pixels), the batches of notebook 11, and those that
    were scored for this question.
    """
    paths = [folder / f"az_nasbench201_{pixels}px.parquet" for pixels in (32, 16)]
    paths += sorted(folder.glob("az_nasbench201_32px_batch-*.parquet"))
    paths += sorted(folder.glob("cheap_nasbench201_*.parquet"))
    found = {}
    for path in paths:
        held = read_settings(path).score
        found[held.resolution, held.batch, held.precision] = read(path)
    return found


def common(files: dict[tuple[int, int, str], pd.DataFrame]) -> list[str]:
    """The architectures that were scored at every setting, in alphabetical order."""
    return sorted(set.intersection(*(set(frame["arch"]) for frame in files.values())))


def averaged(frame: pd.DataFrame, archs: Sequence[str], seeds: int) -> pd.Series:
    """The log-rank sum of AZ-NAS, averaged over the first seeds of a file."""
    found = []
    for seed in sorted(frame["seed"].unique())[:seeds]:
        of_seed = frame[frame["seed"] == seed].set_index("arch").loc[list(archs)]
        found.append(aggregate(of_seed))
    return pd.Series(np.mean(found, axis=0), index=list(archs))


def trade_offs(truth: pd.DataFrame, folder: Path = COMMITTED) -> pd.DataFrame:
    """τ on every data set against processor time, a row for each setting, seeds and data set.

    Args:
        truth: accuracies, one column per data set.
        folder: of the score files.

    Returns:
        pixels, batch, seeds (averaged), dataset, tau with its interval low, high, seconds (median
        of a network, all seeds together, as the files have them), and the difference to the paper's
        setting for the data set under one seed, with its interval.
    """
    files = {key[:2]: frame for key, frame in tried(folder).items() if key[2] == PRECISE}
    archs = [arch for arch in common(tried(folder)) if arch in truth.index]
    rows = []
    for (pixels, batch), frame in files.items():
        for seeds in range(1, frame["seed"].nunique() + 1):
            scores = averaged(frame, archs, seeds)
            for dataset in truth:
                accuracies = truth[dataset].loc[archs]
                paper = averaged(files[RESOLUTION[dataset], PAPER], archs, 1)
                low, high = kendall_interval(scores, accuracies)
                row = {"pixels": pixels, "batch": batch, "seeds": seeds, "dataset": dataset}
                row |= {"tau": kendall(scores, accuracies), "low": low, "high": high}
                row |= {"seconds": seeds * frame["seconds"].median(), "n": len(archs)}
                rows.append(row | difference(scores, paper, accuracies))
    return pd.DataFrame(rows)


def quickest(table: pd.DataFrame) -> pd.Series:
    """The cheapest setting whose τ is within `CLOSE` of the paper's on every data set.

    table: as `trade_offs` gives it. Returns pixels, batch, seeds, seconds and the worst difference.
    """
    keys = ["pixels", "batch", "seeds"]
    worst = table.groupby(keys).agg(worst=("difference", "min"), seconds=("seconds", "first"))
    return worst[worst["worst"] >= -CLOSE].reset_index().sort_values("seconds").iloc[0]


def on_gpu(folder: Path = COMMITTED) -> pd.DataFrame:
    """Agreement of the scores of a GPU with those of a processor, at the paper's setting.

    One row for each proxy of AZ-NAS and for their sum: kendall_tau, the largest difference as a
    share of the score (see `azlib.scoring.recompute`), and the number n of networks.
    """
    gpu = read(folder / "az_nasbench201_32px_gpu.parquet").set_index("arch")
    cpu = read(folder / "az_nasbench201_32px.parquet").set_index("arch").loc[gpu.index]
    rows = []
    for name in AZ_NAS:
        shares = (gpu[name] - cpu[name]).abs() / cpu[name].abs().clip(lower=SMALLEST_SCALE)
        row = {"score": name, "kendall_tau": kendall(gpu[name], cpu[name])}
        rows.append(row | {"largest_difference": shares.max(), "n": len(gpu)})
    tau = kendall(aggregate(gpu), aggregate(cpu))
    rows.append({"score": "AZ-NAS", "kendall_tau": tau, "n": len(gpu)})
    return pd.DataFrame(rows)


def bfloat16(folder: Path = COMMITTED) -> pd.DataFrame:
    """Agreement of scores in bfloat16 with those in single precision, by proxy.

    One row for each proxy of AZ-NAS and for their sum: kendall_tau and n.
    """
    files = tried(folder)
    rows = []
    for (pixels, batch, precision), half in files.items():
        if precision == PRECISE:
            continue
        archs = common({(0, 0, ""): half, (1, 1, ""): files[pixels, batch, PRECISE]})
        full = files[pixels, batch, PRECISE]
        pair = [f[f["seed"] == 1].set_index("arch").loc[archs] for f in (half, full)]
        for name in AZ_NAS:
            tau = kendall(pair[0][name], pair[1][name])
            rows.append((pixels, batch, name, tau, len(archs)))
        tau = kendall(aggregate(pair[0]), aggregate(pair[1]))
        rows.append((pixels, batch, "AZ-NAS", tau, len(archs)))
    return pd.DataFrame(rows, columns=["pixels", "batch", "score", "kendall_tau", "n"])
