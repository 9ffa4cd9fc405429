"""Real models on ImageNet: what a rank without training means across families, and within one.

The scores lie in `data/models`; the accuracies are timm's own, fetched by `azlib data timm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from azlib.aggregation import ASSEMBLIES, AZ_NAS, aggregate
from azlib.companion.data.truth import available, ground_truth
from azlib.companion.metrics import kendall, kendall_of_draws, spearman
from azlib.errors import AzlibError, unknown

FIGURES = Path(__file__).resolve().parents[2] / "figures"
OTHER_DATA = r"_ft_|in12k|in21k|in22k|jft|ssl|swsl|dist"
"""What the tag of a training says where it saw more than ImageNet-1k, or was taught by a model."""
LARGEST_SIDE = 256
"""Pixels up to which a table's accuracies count: some models are evaluated at larger images too."""
AZ, PARAMS, MACS = "AZ-NAS", "#Params", "MACs"
OWN = "AZ-NAS, own weights"
"""AZ-NAS with the weights that each model starts with, instead of the paper's rule for all."""
_STATISTICS = ("spearman_rho", "kendall_tau")


def load(folder: str | Path) -> pd.DataFrame:
    """The scores of timm's models by their names, with a column `family`, the letters in front.

    The columns `own_*` are the proxies of AZ-NAS with the weights that each model starts with.
    Raises `AzlibError` where a file is missing.
    """
    drawn, own = (
        _read(Path(folder) / f"{name}.csv") for name in ("timm_scores", "timm_own_weights")
    )
    scores = drawn.join(own[list(AZ_NAS)].add_prefix("own_"))
    return scores.assign(family=scores.index.str.extract(r"^([a-z]+)", expand=False))


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise AzlibError(f"no scores {file}: they are part of the repository, in data/models")
    return pd.read_csv(file, index_col="network")


def top1(names: Sequence[str]) -> pd.Series | None:
    """The best top-1 accuracy in percent that each architecture reached by ImageNet-1k alone.

    Trainings with more data or with a teacher do not count, nor do evaluations above `LARGEST_SIDE`
    pixels. None, and a line that says what to do, where the table of timm cannot be had.
    """
    if not available("timm"):
        return None
    table = ground_truth("timm").reset_index()
    table[["arch", "tag"]] = table["model"].str.split(".", n=1, expand=True)
    alone = ~table["tag"].fillna("").str.contains(OTHER_DATA)
    fair = table[alone & (table["img_size"] <= LARGEST_SIDE)]
    best = fair.groupby("arch")["top1"].max()
    if missing := sorted(set(names) - set(best.index)):
        raise AzlibError(f"timm's table has no such training of {', '.join(missing)}")
    return best.loc[list(names)]


def rankings(scores: pd.DataFrame, assemblies: Sequence[str] = ()) -> pd.DataFrame:
    """What ranks the models, higher being better: AZ-NAS, assemblies by name, and two counts."""
    found = {
        AZ: aggregate(scores, proxies=AZ_NAS),
        OWN: aggregate(scores, proxies=[f"own_{proxy}" for proxy in AZ_NAS]),
    }
    for name in assemblies:
        if name not in ASSEMBLIES:
            raise unknown("assembly", name, ASSEMBLIES)
        found[name] = aggregate(scores, proxies=ASSEMBLIES[name])
    return pd.DataFrame(found | {PARAMS: scores["params"], MACS: scores["complexity"]})


def agreement(
    ranked: pd.DataFrame, truth: pd.Series, draws: int, seed: int, against: str = AZ
) -> pd.DataFrame:
    """Spearman's ρ and Kendall's τ of each ranking with the accuracies, with 95 % intervals.

    The intervals are of the bootstrap over models: `draws` resamples, the same for all rankings.
    The columns `minus_az_*` are the differences to AZ-NAS, paired by resample; `against` says to
    which, `AZ` or `OWN`.
    """
    drawn = np.random.default_rng(seed).integers(len(truth), size=(draws, len(truth)))
    values = {
        name: (spearman(column, truth), kendall(column, truth)) for name, column in ranked.items()
    }
    samples = {
        name: _samples(column.to_numpy(), truth.to_numpy(), drawn)
        for name, column in ranked.items()
    }
    rows = []
    for name in ranked:
        row: dict[str, object] = {"ranking": name, "n": len(truth)}
        for i, statistic in enumerate(_STATISTICS):
            short = statistic.split("_")[1]
            row[statistic] = values[name][i]
            row[f"{short}_low"], row[f"{short}_high"] = _interval(samples[name][i])
            row[f"minus_az_{short}"] = values[name][i] - values[against][i]
            ends = _interval(samples[name][i] - samples[against][i])
            row[f"minus_az_{short}_low"], row[f"minus_az_{short}_high"] = ends
        rows.append(row)
    return pd.DataFrame(rows)


def _samples(x: NDArray, y: NDArray, drawn: NDArray) -> tuple[NDArray, NDArray]:
    """ρ and τ of each resample of the rows."""
    first, second = (rankdata(column[drawn], axis=1) for column in (x, y))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    norms = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    counts = np.stack([np.bincount(rows, minlength=len(x)) for rows in drawn])
    return (first * second).sum(axis=1) / norms, kendall_of_draws(x, y, counts)


def _interval(values: NDArray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def pairs_within(
    scores: pd.DataFrame, truth: pd.Series, assemblies: Sequence[str] = (), least: int = 3
) -> pd.DataFrame:
    """For each family, how many pairs of its members each ranking orders as their accuracies do.

    Every family is ranked by itself, as AZ-NAS is meant to be used. A tied pair counts half.

    Args:
        scores: as `load` returns them. truth: accuracies of the same models.
        assemblies: as in `rankings`.
        least: the smallest number of members of a family that counts.

    Returns:
        One row per family: `family`, `models`, `pairs`, and for each ranking the pairs it gets
        right.
    """
    rows = []
    for family, members in scores.groupby("family"):
        if len(members) < least:
            continue
        order, accuracy = rankings(members, assemblies), truth.loc[members.index].to_numpy()
        upper = np.triu_indices(len(members), 1)
        signs = np.sign(np.subtract.outer(accuracy, accuracy))[upper]
        row: dict[str, object] = {"family": family, "models": len(members), "pairs": len(signs)}
        for name, column in order.items():
            theirs = np.sign(np.subtract.outer(column.to_numpy(), column.to_numpy()))[upper]
            row[str(name)] = float((1 + signs * theirs).sum() / 2)
        rows.append(row)
    return pd.DataFrame(rows)


def shares_within(pairs: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """The share of pairs within families that each ranking gets right, with 95 % intervals.

    The intervals are of the bootstrap over families; `minus_az` is the paired difference to AZ-NAS.
    """
    names = [name for name in pairs if name not in ("family", "models", "pairs")]
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(draws, len(pairs)))
    right, of = pairs[names].to_numpy(float), pairs["pairs"].to_numpy(float)
    samples = right[drawn].sum(axis=1) / of[drawn].sum(axis=1)[:, None]
    shares = right.sum(axis=0) / of.sum()
    az = names.index(AZ)
    rows = []
    for i, name in enumerate(names):
        low, high = _interval(samples[:, i])
        less, more = _interval(samples[:, i] - samples[:, az])
        row = {"ranking": name, "families": len(pairs), "pairs": int(of.sum()), "share": shares[i]}
        row |= {"low": low, "high": high, "minus_az": shares[i] - shares[az]}
        rows.append(row | {"minus_az_low": less, "minus_az_high": more})
    return pd.DataFrame(rows)


def committed(stem: str) -> pd.DataFrame:
    """The numbers of an exhibit as they are in the repository, for whoever lacks the accuracies."""
    file = FIGURES / f"{stem}.csv"
    if not file.is_file():
        raise AzlibError(f"no exhibit {file}: it is part of the repository")
    print(f"shown as committed: {stem}.csv")
    return pd.read_csv(file)


def panels(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[pd.DataFrame, pd.DataFrame]]:
    """What `plots.dots` draws of `agreement`: the values, and the ends of their intervals."""
    rows, titles = table.set_index("ranking"), ["Spearman's ρ", "Kendall's τ"]
    ends = [rows[[f"rho_{end}", f"tau_{end}"]].set_axis(titles, axis=1) for end in ("low", "high")]
    return rows[list(_STATISTICS)].set_axis(titles, axis=1), (ends[0], ends[1])


def compared(table: pd.DataFrame, against: str = AZ) -> pd.DataFrame:
    """The differences of ρ in a table of `agreement`, and in a word what their intervals say."""
    rows = table.set_index("ranking").drop(against)
    ends = rows[["minus_az_rho_low", "minus_az_rho_high"]]
    shown = rows[["spearman_rho", "kendall_tau", "minus_az_rho", *ends]]
    return shown.assign(than_az=[resolved(low, high) for low, high in ends.to_numpy()])


def resolved(low: float, high: float) -> str:
    """What an interval of a difference to AZ-NAS says, in a word."""
    return "better" if low > 0 else "worse" if high < 0 else "not resolved"
