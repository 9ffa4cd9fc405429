"""Tables of scored networks as text: for people, as CSV, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pandas as pd

_TOTALS = ("az_nas", "score")


def as_csv(frame: pd.DataFrame) -> str:
    """One line per network, all digits; empty where a score is NaN."""
    return frame.rename_axis("network").to_csv().rstrip("\n")


def as_json(frame: pd.DataFrame) -> str:
    """A list with one object per network; null where a score is NaN, "inf" where it is infinite."""
    rows = frame.rename_axis("network").reset_index().to_dict("records")
    clean = [{key: _json(value) for key, value in row.items()} for row in rows]
    return json.dumps(clean, indent=2)


def _json(value: object) -> object:
    """JSON knows neither NaN nor infinity: NaN is null, infinity its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def as_table(frame: pd.DataFrame) -> str:
    """For people: the best first, each score with its rank in brackets, reasons below."""
    reasons = frame.get("reason", pd.Series(dtype=object)).dropna()
    if "place" in frame:
        frame = frame.sort_values("place", kind="stable")
    shown = pd.DataFrame({"network": frame.index})
    for column in ("place", *_TOTALS):
        if column in frame:
            shown[column] = [short(value) for value in frame[column]]
    for name in frame:
        if name in (*shown, "reason") or str(name).startswith("rank_"):
            continue
        shown[name] = [short(value) for value in frame[name]]
        if f"rank_{name}" in frame:
            ranks = frame[f"rank_{name}"].map("({:g})".format)
            width = max(map(len, ranks))
            shown[name] += [" " + rank.rjust(width) for rank in ranks]
    lines = [shown.to_string(index=False)]
    lines += [f"{name} was not scored: {why}" for name, why in reasons.items()]
    if "place" in frame:
        lines.append("place 1 is the best; in brackets the rank, 1 is the lowest")
    return "\n".join(lines)


def short(value: float) -> str:
    """A number for people, with four digits: 0.1234, 12.34, 1.819 G."""
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:g}" if isinstance(value, float) else str(value)
    for size, unit in ((1e9, " G"), (1e6, " M"), (9999.5, " k")):  # less has four digits itself
        if abs(value) >= size:
            return f"{value / (1e3 if unit == ' k' else size):.4g}{unit}"
    return f"{value:.4g}"


FORMS: dict[str, Callable[[pd.DataFrame], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
"""How a table of networks is written, by name."""
