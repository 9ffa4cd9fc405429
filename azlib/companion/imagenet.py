"""Tables 2 and 3: published networks beside those that our searches found (notebooks 16, 17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from azlib.companion import paper
from azlib.companion.judging import Summary
from azlib.companion.tables import number, texts
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.mobilenetv2 import MobileNetV2

Row = dict[str, Any]
OURS = "this repository, not trained"


def flops(budget: str) -> float:
    """A budget as in the names of the logs, such as 450M, in FLOPs."""
    return float(budget.partition("M")[0]) * 1e6


def published_table_2() -> list[Row]:
    """The rows of Table 2 as their sources give them: FLOPs, accuracy, GPU days."""
    cells = paper.frame().query("exhibit == 'Table 2' and dataset != ''")
    rows = []
    for (method, size), of_row in cells.groupby(["method", "dataset"], sort=False):
        cell = of_row.set_index("statistic")
        row = {"method": method, "budget": size, "flops": cell["value"].get("flops")}
        row |= {"top1": cell["value"]["top1"], "top1_std": cell["std"]["top1"]}
        rows.append(row | _gpu_days("Table 2", method) | {"source": cell["source"].iloc[0]})
    return rows


def our_table_2(found: Mapping[tuple[str, int], Summary], space: MobileNetV2) -> list[Row]:
    """The rows of the networks that our searches found, by budget and seed.

    A budget that ends in "-paper" is of a search whose candidates were scored as the paper does.
    """
    rows = []
    for (name, seed), summary in found.items():
        costs = space.count(summary["structure"], "true")
        budget, _, setting = name.partition("-")
        method = "AZ-NAS, azlib" + (" at the paper's setting" if setting == "paper" else "")
        row = {"method": method, "budget": budget, "seed": seed}
        row |= {"candidates": summary["candidates"], "flops": summary["macs"]}
        row |= {"true_macs": costs["macs"], "true_params": costs["params"]}
        row |= {"core_hours": summary["core_hours"], **summary["scores"]}
        rows.append(row | {"structure": summary["structure"], "source": OURS})
    return rows


def published_table_3() -> list[Row]:
    """The rows of Table 3 as the paper gives them; costs are those of published structures."""
    cells = paper.frame().query("exhibit == 'Table 3' and statistic == 'top1'")
    rows = []
    for cell in cells.itertuples():
        row = {"method": cell.method, "size": cell.dataset, "top1": cell.value}
        row |= {"source": cell.source} | _gpu_days("Table 3", cell.method)
        for name, statistic in {"params": "params", "macs": "complexity"}.items():
            counted = paper.value("AutoFormer structures", cell.method, statistic, cell.dataset)
            row[name] = counted
        rows.append(row)
    return rows


def our_table_3(
    judged: pd.DataFrame,
    found: Mapping[tuple[str, str], Summary],
    spaces: Mapping[tuple[str, str], AutoFormer],
) -> list[Row]:
    """The rows of the networks that our searches found, by budget and size.

    Args:
        judged: one row per contender, with budget, size, network, structure, scores and costs.
        found: (budget, size) -> summary of the search.
        spaces: (budget, size) -> search space.
    """
    rows = []
    for row in judged[judged["network"] == "AZ-NAS, azlib"].to_dict("records"):
        space, summary = spaces[row["budget"], row["size"]], found[row["budget"], row["size"]]
        rows.append(
            {
                "method": f"AZ-NAS, azlib, {row['budget']} budget",
                "size": row["size"],
                "candidates": summary["candidates"],
                "params": row["params"],
                "macs": row["macs"],
                "true_macs": space.count(row["structure"], "true")["macs"],
                "core_hours": summary["core_hours"],
                **{name: row[name] for name in space.proxies},
                "structure": row["structure"],
                "source": OURS,
            }
        )
    return rows


def readable(
    numbers: pd.DataFrame, first: Sequence[str], columns: Sequence[tuple[str, str, float, str]]
) -> pd.DataFrame:
    """Table 2 or 3 as a reader sees it, but for the structures.

    Args:
        numbers: one row per network.
        first: columns that stand as they are.
        columns: title, column of `numbers`, unit and form of those with numbers.
    """
    table = numbers[list(first)].astype(str)
    for title, column, unit, form in columns:
        table[title] = texts(numbers[column] / unit, form)
    if "top1_std" in numbers:
        table["top-1, %"] += texts(numbers["top1_std"], " ± {:.1f}")
    table.loc[numbers["top1"].isna(), "top-1, %"] = "not trained"
    days = numbers[["gpu_days_min", "gpu_days_max"]].to_numpy()
    ranges = ["–".join(dict.fromkeys(number(value, "{:g}") for value in pair)) for pair in days]
    return table.assign(**{"GPU days": ranges})


def _gpu_days(exhibit: str, method: str) -> Row:
    return {
        f"gpu_days_{end}": paper.value(exhibit, method, f"gpu_days_{end}") for end in ("min", "max")
    }
