"""Pictures whose points have their names beside them, placed so that none covers another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from azlib.companion.drawing import MARKERS, STYLE, WIDTH, drawn
from azlib.errors import needs

with needs("adjusttext", "companion"):
    import matplotlib.pyplot as plt
    from adjustText import adjust_text
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator


@drawn
def bubbles(
    points: pd.DataFrame, x: str, y: str, size: str, labels: tuple[str, str, str]
) -> Figure:
    """A bubble per row at `x`, `y`, with its name (the index) beside it.

    A row far below the others, by 3 interquartile ranges, or far to their left, stands at the edge
    with its true position in its name, so that the others keep their room.

    Args:
        points: one row per bubble.
        x, y: columns of the position.
        size: column of the area and colour, logarithmic; where it is 0 or NaN, for instance
            because nothing had to run, the bubble is a small grey square.
        labels: of x, y and size.
    """
    points = points.dropna(subset=[x, y]).sort_values([y, x])
    names = pd.Series(points.index, points.index)
    places = points[[x, y]].copy()
    for column, arrow in ((y, "↓"), (x, "←")):
        quarter, three_quarters = points[column].quantile([0.25, 0.75])
        near = points[column] >= quarter - 3 * (three_quarters - quarter)
        lowest = points[column][near].min()
        edge = lowest - 0.08 * (points[column].max() - lowest)
        places.loc[~near, column] = edge
        for name, value in points[column][~near].items():
            names[name] += f" ({arrow} {value:.3g})"
    figure, axes = plt.subplots(figsize=(WIDTH, 5), layout="constrained")
    timed = points[size] > 0
    logs = np.log10(points[size].where(timed, np.nan))
    areas = (25 + 90 * (logs - logs.min())).fillna(22)
    free, run = places[~timed], places[timed]
    look: dict[str, Any] = {"c": "0.6", "marker": "s", "label": "none, or not timed"}
    axes.scatter(free[x], free[y], areas[~timed], **look)
    look = {"edgecolors": "0.3", "linewidths": 0.5}
    shown = axes.scatter(run[x], run[y], areas[timed], points[size][timed], norm="log", **look)
    if timed.any():
        decades = 10.0 ** np.arange(np.floor(logs.min()) + 1, np.floor(logs.max()) + 1)
        for value in decades:
            area = 25 + 90 * (np.log10(value) - logs.min())
            colour = shown.cmap(shown.norm(value))
            axes.scatter([], [], area, color=[colour], label=f"{value:,.0f}", **look)
    axes.margins(0.12)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(True)
    axes.set_axisbelow(True)
    figure.legend(title=labels[2], loc="outside lower center", ncols=5)
    _beside(axes, places[x], places[y], list(names), np.sqrt(areas.to_numpy()) / 2)
    return figure


@drawn
def tradeoff(
    points: pd.DataFrame, x: str, y: str, group: str, labels: tuple[str, str, str]
) -> Figure:
    """Cost against quality: a point per row, named by the index, with bars from `low` to `high`.

    Args:
        points: one row per point.
        x, y: columns of the position; x is logarithmic.
        group: the column that gives colour, marker and line.
        labels: of the axes; and what the names and bars mean, above the legend.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4), layout="constrained")
    for i, (name, rows) in enumerate(points.sort_values(x).groupby(group, sort=False)):
        bars = np.abs(rows[["low", "high"]].to_numpy() - rows[[y]].to_numpy()).T
        look: dict[str, Any] = {"fmt": MARKERS[i % len(MARKERS)] + "-", "ms": 5, "elinewidth": 0.8}
        axes.errorbar(rows[x], rows[y], bars, label=name, **look)
    axes.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(True)
    axes.set_axisbelow(True)
    figure.legend(title=labels[2], loc="outside lower center", ncols=3)
    _beside(axes, points[x], points[y], [str(name) for name in points.index])
    return figure


def _beside(axes: Any, x: pd.Series, y: pd.Series, names: list[str], radius: Any = 3.0) -> None:
    """Writes names beside points, each where it covers neither a point nor another name.

    Names of the same point are written as one. radius: of the points, in points of print.
    """
    axes.figure.draw_without_rendering()  # the layout must be known
    places = pd.DataFrame({"x": x.to_numpy(), "y": y.to_numpy(), "name": names, "r": radius})
    places = places.groupby(["x", "y"], sort=False).agg({"name": ", ".join, "r": "max"})
    centres = np.array(places.index.to_list())
    size = STYLE["legend.fontsize"]
    texts = [
        axes.text(*at, name, fontsize=size)
        for at, name in zip(centres, places["name"], strict=True)
    ]
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * axes.figure.dpi / 72
    rims = axes.transData.transform(centres)[:, None] + places["r"].to_numpy()[:, None, None] * ring
    kept_off = np.concatenate([centres, axes.transData.inverted().transform(rims.reshape(-1, 2))])
    line = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.4}
    move: dict[str, Any] = {"expand": (1.3, 1.6), "force_static": (0.3, 0.5), "iter_lim": 600}
    adjust_text(
        texts,
        *kept_off.T,
        target_x=centres[:, 0],
        target_y=centres[:, 1],
        ax=axes,
        arrowprops=line,
        **move,
    )
