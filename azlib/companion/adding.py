"""Table 5: what AZ-NAS's proxies add to a method of one proxy (notebook 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from azlib.aggregation import AGGREGATIONS, AZ_NAS, aggregate
from azlib.companion import agreement, methods
from azlib.companion.comparison import Frames

_COLUMNS = ["base", "added", "aggregation", "dataset", "tau_before", "kendall_tau"]
_COLUMNS += ["tau_low", "tau_high", "gain", "spearman_rho", "n", "seeds"]


def compare(
    bases: Mapping[str, str], frames: Mapping[str, Frames], truth: pd.DataFrame
) -> pd.DataFrame:
    """Each method alone, with one proxy of AZ-NAS more, with all four; and the four without it.

    All rows of a method are on the architectures and seeds that it was scored on.

    Args:
        bases: name of a method -> its proxy.
        frames: data set -> scores, as `methods.read` gives them.
        truth: accuracies in %, one column per data set.

    Returns:
        One row per combination, with τ before (of the method alone) and what is gained.
    """
    rows: list[dict[str, Any]] = []
    for base, own in bases.items():
        for dataset in truth:
            joined = methods.join((own, *AZ_NAS), frames[dataset])
            pairs = agreement.by_seed(joined, truth[dataset])
            for name, added, proxies, aggregation in _combinations(base, own):
                ranked = [(aggregate(f, aggregation, proxies), a) for f, a in pairs]
                row = {"base": name, "added": added, "aggregation": aggregation}
                rows.append(row | {"dataset": dataset} | agreement.summary(ranked))
    numbers = pd.DataFrame(rows)
    alone = numbers[numbers["added"] == ""].set_index(["base", "dataset"])["kendall_tau"]
    keys = pd.MultiIndex.from_frame(numbers[["base", "dataset"]])
    numbers["tau_before"] = alone.reindex(keys).to_numpy()
    numbers["gain"] = numbers["kendall_tau"] - numbers["tau_before"]
    return numbers[_COLUMNS]


def _combinations(base: str, own: str) -> list[tuple[str, str, tuple[str, ...], str]]:
    """(method, what is added, all proxies, aggregation) of each row, in the order of the table."""
    rows: list[tuple[str, str, tuple[str, ...], str]] = [(base, "", (own,), "log")]
    rows += [(base, proxy, (own, proxy), "log") for proxy in AZ_NAS]
    for aggregation in AGGREGATIONS:
        rows.append((base, "all four", (own, *AZ_NAS), aggregation))
        rows.append((f"(AZ-NAS, architectures of {base})", "all four", AZ_NAS, aggregation))
    return rows
