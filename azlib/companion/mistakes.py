"""What others may have done wrong: attempts to compare a ranking with accuracies, each with one
mistake, and the agreement that each would have reported (notebooks 06 and A2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import agreement
from azlib.companion.tables import texts
from azlib.spaces.nasbench201 import form, parse

Columns = tuple[pd.DataFrame, pd.Series]
"""Scores and accuracies of one seed, row by row the same architectures."""
Attempt = Callable[[pd.DataFrame, pd.Series], tuple[Any, Any]]
"""Takes scores and accuracies, and returns the two columns that someone would compare."""


class LineUp:
    """All attempts, each made for every data set and seed."""

    def __init__(self, pairs: Mapping[str, list[Columns]]) -> None:
        """pairs: data set -> scores and accuracies of each seed (`agreement.by_seed`)."""
        self.pairs = pairs
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        mistake: str,
        kind: str,
        attempt: Attempt,
        pairs: Mapping[str, list[Columns]] | None = None,
        draws: int = 1,
    ) -> None:
        """Makes one mistake for every data set, and notes the agreement.

        Args:
            mistake: what is done wrong, for the reader.
            kind: of the mistake, one colour in the picture.
            attempt: how the two columns are made.
            pairs: scores and accuracies of its own, where not those of the line-up.
            draws: how often an attempt that draws a sample is repeated for each seed.
        """
        for dataset, of_seeds in (pairs or self.pairs).items():
            results = [attempt(*pair) for pair in of_seeds for _ in range(draws)]
            if len(results[0][0]) < 2:  # possible where the ground truth holds a part of the space
                continue
            found = agreement.summary(results, interval=False)
            found |= {"seeds": len(of_seeds), "draws": draws}
            self._rows.append({"mistake": mistake, "kind": kind, "dataset": dataset} | found)

    def numbers(self, references: pd.DataFrame) -> pd.DataFrame:
        """One row per attempt and data set, beside what the paper and its users report.

        references: ρ, with rows "paper" and "users" and one column per data set.
        """
        tried = pd.DataFrame(self._rows).rename(columns={"rho_seed_std": "rho_std"})
        for who in ("paper", "users"):
            tried[f"{who}_rho"] = tried["dataset"].map(references.loc[who])
        columns = ["mistake", "kind", "dataset", "kendall_tau", "spearman_rho", "rho_std"]
        return tried[[*columns, "paper_rho", "users_rho", "seeds", "draws", "n"]]


def readable(wide: pd.DataFrame, references: pd.DataFrame) -> pd.DataFrame:
    """The line-up as a table: a row per attempt, after those of the paper and its users.

    Args:
        wide: τ and ρ, with a column for each of them and each data set, and an index of mistake
            and kind.
        references: as in `LineUp.numbers`.
    """
    names = list(references)
    table = wide.index.to_frame(index=False)
    for dataset in names:
        for symbol, statistic in {"τ": "kendall_tau", "ρ": "spearman_rho"}.items():
            table[f"{symbol}, {dataset}"] = texts(wide[statistic, dataset]).to_numpy()
    said = {f"ρ, {d}": references.loc[["paper", "users"], d].map("{:.3g}".format) for d in names}
    first = pd.DataFrame(said).assign(mistake=["reported by the paper", "reported by users"])
    return pd.concat([first, table], ignore_index=True)[list(table)].fillna("")


# --- mistakes that need more than a line ---------------------------------------------------


@cache
def by_source_node(arch: str) -> str:
    """The cell that has these operations if edges are read source by source."""
    a, b, c, d, e, f = parse(arch)
    return form((a, b, d, c, e, f))


def reordered(order: Callable[[pd.Index], Any]) -> Attempt:
    """The accuracies come in another order than the scores, and nobody matches them by name.

    order: from the architectures as the scores have them to the order of the accuracies.
    """
    return lambda frame, accuracies: (
        aggregate(frame).to_numpy(),
        accuracies.reindex(order(frame.index)).to_numpy(),
    )


def upside_down(proxies: list[str]) -> Attempt:
    """Some of the proxies rank the best architecture lowest."""
    return lambda frame, accuracies: (
        aggregate(frame.assign(**{name: -frame[name] for name in proxies})),
        accuracies,
    )


def failing(proxies: list[str]) -> Attempt:
    """Some of the proxies fail for every architecture."""
    lost = dict.fromkeys(proxies, -np.inf)
    return lambda frame, accuracies: (aggregate(frame.assign(**lost)), accuracies)


def by_position(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Ranks by sorting twice, as often done: NaN on top, and ties in the order of the list."""
    ranks = frame[list(AZ_NAS)].to_numpy().argsort(axis=0, kind="stable").argsort(axis=0) + 1
    return np.log(ranks / len(frame)).sum(axis=1)


def passing_on(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Ranks that are all NaN as soon as one score is."""
    return np.sum(
        [np.log(rankdata(frame[name], nan_policy="propagate")) for name in AZ_NAS], axis=0
    )


def of_part(rows: Callable[[pd.DataFrame, pd.Series], NDArray[np.int_]]) -> Attempt:
    """Only some of the architectures are compared, those in the rows that are chosen."""

    def attempt(frame: pd.DataFrame, accuracies: pd.Series) -> Columns:
        chosen = rows(frame, accuracies)
        return aggregate(frame.iloc[chosen]), accuracies.iloc[chosen]

    return attempt


NEAREST: Mapping[str, Attempt] = MappingProxyType(
    {
        "all but FLOPs fail": failing(["expressivity", "progressivity", "trainability"]),
        "edges by source node": reordered(lambda index: index.map(by_source_node)),
        "expressivity reversed": upside_down(["expressivity"]),
        "progressivity reversed": upside_down(["progressivity"]),
    }
)
"""The mistakes that come nearest to what users report: notebook A2 makes them all and checks it."""
