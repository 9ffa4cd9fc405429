"""The pictures of the exhibits. Frames in, matplotlib figures out; no statistics, no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from azlib.companion.drawing import drawn
from azlib.errors import needs

with needs("seaborn", "companion"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import LogLocator


@drawn
def heatmap(matrix: pd.DataFrame, label: str) -> Figure:
    """A square matrix of correlations (index = columns), annotated, from -1 to 1."""
    side = 1.4 + 0.75 * len(matrix)
    figure, axes = plt.subplots(figsize=(side + 0.6, side))
    sns.heatmap(
        matrix,
        annot=True,
        fmt=".2f",
        vmin=-1,
        vmax=1,
        cmap="RdBu_r",
        square=True,
        linewidths=0.5,
        cbar_kws={"label": label, "shrink": 0.8},
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")
    axes.tick_params(axis="x", rotation=30)
    axes.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return figure


@drawn
def rank_scatter(
    panels: Mapping[str, pd.DataFrame], colour: str = "colour", columns: int = 3
) -> Figure:
    """Predicted rank against ground-truth rank, one panel per title.

    Each frame has columns `predicted` and `truth` (ranks, 1 = worst) and optionally one named
    `colour` (light yellow = low, dark blue = high).
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.7 * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=False):
        hue = {"c": frame[colour], "cmap": "YlGnBu"} if colour in frame else {"c": "#2c7fb8"}
        axis.scatter(frame["predicted"], frame["truth"], s=1.2, rasterized=True, **hue)
        axis.set_title(title)
        axis.set(xlabel="predicted rank", ylabel="ground-truth rank")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return figure


@drawn
def clouds(points: Mapping[str, np.ndarray], shares: Mapping[str, np.ndarray]) -> Figure:
    """2-D point clouds, (N, 2) each, above the shares of their two principal components, (2,)."""
    figure, axes = plt.subplots(
        2, len(points), figsize=(2.8 * len(points), 5), squeeze=False, layout="constrained"
    )
    limit = 1.05 * max(np.abs(cloud).max() for cloud in points.values())
    for column, (title, cloud) in enumerate(points.items()):
        top, bottom = axes[:, column]
        top.scatter(*cloud.T, s=2, color="#2c7fb8")
        top.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
        bottom.bar(["1st", "2nd"], shares[title], color="#7fcdbb")
        bottom.set(ylim=(0, 1), xlabel="principal component", ylabel="share of variance")
    return figure


@drawn
def histograms(bins: pd.DataFrame, columns: int = 3) -> Figure:
    """One histogram per `panel`, from its bins `low`..`high` and `count`.

    A vertical line stands at `marked`, which is constant within a panel; NaN draws none.
    """
    panels = bins.groupby("panel", sort=False)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.7 * columns, 2.1 * rows), squeeze=False, layout="constrained"
    )
    for axis, (title, frame) in zip(axes.flat, panels, strict=False):
        edges = [*frame["low"], frame["high"].iloc[-1]]
        axis.stairs(frame["count"], edges, fill=True, color="#7fcdbb")
        axis.axvline(frame["marked"].iloc[0], color="#c51b7d", linewidth=1.5)
        axis.set(title=title, ylabel="architectures")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return figure


@drawn
def curves(
    panels: Mapping[str, pd.DataFrame],
    log: tuple[str, ...] = (),
    decades: bool = False,
    one_legend: bool = False,
) -> Figure:
    """Lines, one panel per title.

    Args:
        panels: frames whose columns are, in this order: x, y, the name of the line, and optionally
            a flag that puts a ring round a point. The names of the first two label the axes.
        log: titles of the panels that have a logarithmic x axis with a tick at every x.
        decades: whether all panels have a logarithmic x axis with a tick at every power of ten.
        one_legend: whether there is one legend below for all panels, which have the same lines.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.4 * len(panels), 3.2), squeeze=False, layout="constrained"
    )
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=True):
        x, y, name, *flag = frame.columns
        for label, line in frame.groupby(name, sort=False):
            (drawn_line,) = axis.plot(line[x], line[y], ".-", markersize=4, lw=1.2, label=label)
            if flag:
                ringed, colour = line[line[flag[0]]], drawn_line.get_color()
                axis.plot(ringed[x], ringed[y], "o", mfc="none", ms=9, color=colour)
        axis.set(title=title, xlabel=x, ylabel=y)
        if title in log:
            axis.set_xscale("log")
            axis.set_xticks(values := sorted(set(frame[x])), [f"{v:g}" for v in values])
            axis.minorticks_off()
        elif decades:
            axis.set_xscale("log")
        elif pd.api.types.is_integer_dtype(frame[x]):
            axis.xaxis.get_major_locator().set_params(integer=True)
        if not one_legend:
            axis.legend(fontsize=7, frameon=False)
    if one_legend:
        below = {"loc": "outside lower center", "ncols": 1 + len(panels), "frameon": False}
        figure.legend(*axes.flat[-1].get_legend_handles_labels(), **below)
    return figure


@drawn
def dots(
    values: pd.DataFrame,
    groups: pd.Series,
    references: pd.DataFrame,
    label: str = "",
    intervals: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> Figure:
    """A row of dots per row of `values`, top to bottom, and a panel per column; NaN has no dot.

    Args:
        values: the numbers, named by index and columns.
        groups: the name of the colour of each row.
        references: one row per dashed vertical line (its index is the legend), the same columns as
            `values`.
        label: what the horizontal axis shows.
        intervals: lower and upper ends of a line through each dot, each like `values`.
    """
    figure, panels = plt.subplots(
        1,
        values.shape[1],
        figsize=(2.6 + 3.4 * values.shape[1], 1.6 + 0.2 * len(values)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    colours = dict(zip(groups.unique(), sns.color_palette("colorblind"), strict=False))
    places = np.arange(len(values))[::-1]
    for axis, name in zip(panels.flat, values, strict=True):
        for group, colour in colours.items():
            rows = (groups == group).to_numpy()
            axis.plot(values[name][rows], places[rows], "o", color=colour, label=group, ms=5)
        for line, at in references[name].items():
            style = ("--", ":", "-.")[references.index.get_loc(line) % 3]
            axis.axvline(at, color="0.25", linestyle=style, linewidth=1.2, label=line)
        if intervals is not None:
            low, high = (ends[name] for ends in intervals)
            axis.hlines(places, low, high, color="0.4", zorder=1)
        axis.set(title=name, xlabel=label, ylim=(-0.8, len(values) - 0.2))
        axis.set_yticks(places, values.index)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    columns = min(len(labels), 4 * len(panels.flat))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
    return figure


@drawn
def growth(costs: pd.DataFrame) -> Figure:
    """How the cost grows: columns `varied` (one panel each), `setting`, `seconds`; log-log."""
    varied = list(dict.fromkeys(costs["varied"]))
    figure, axes = plt.subplots(
        1, len(varied), figsize=(2.7 * len(varied), 2.6), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes.flat, varied, strict=True):
        rows = costs[costs["varied"] == name]
        axis.loglog(rows["setting"], rows["seconds"], "o-", color="#2c7fb8")
        axis.set_xticks(rows["setting"], [f"{value:,}" for value in rows["setting"]])
        axis.minorticks_off()
        axis.set(xlabel=name, ylabel="seconds", title=f"cost against {name}")
    return figure


@drawn
def bubbles(
    points: pd.DataFrame, x: str, y: str, size: str, labels: tuple[str, str, str]
) -> Figure:
    """A bubble per row at `x`, `y`, its name (the index) to the right of the axes.

    size: area and colour, logarithmic; where it is 0 or NaN a bubble is small and grey. labels: of
    x, y and size. A row far below the others, by 3 interquartile ranges, stands at the lower edge
    with an arrow and its `y` beside its name, so that the others keep their room.
    """
    points = points.dropna(subset=[x, y]).sort_values([y, x])
    quarter, three_quarters = points[y].quantile([0.25, 0.75])
    near = points[y] >= quarter - 3 * (three_quarters - quarter)
    lowest = points[y][near].min()
    heights = points[y].where(near, lowest - 0.1 * (points[y].max() - lowest))
    names = points.index + np.where(near, "", " ↓ " + points[y].map("{:.1f}".format))
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    look: dict[str, Any]
    timed = points[size] > 0
    axes.scatter(points[x][~timed], heights[~timed], s=30, c="0.65")
    if timed.any():
        colours = points[size][timed]
        logs = np.log10(colours)
        areas = 40 + 250 * (logs - logs.min()) / max(np.ptp(logs), 1e-9)
        look = {"cmap": "YlGnBu", "norm": "log"}
        look |= {"edgecolors": "0.4", "linewidths": 0.5}
        bubbles = axes.scatter(points[x][timed], heights[timed], areas, colours, **look)
        figure.colorbar(bubbles, label=labels[2], location="bottom", shrink=0.5, aspect=40)
    places = np.linspace(0, 1, len(points))
    line = {"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "relpos": (0, 0.5)}
    for name, at_x, at_y, place in zip(names, points[x], heights, places, strict=True):
        look = {"textcoords": "axes fraction", "va": "center", "fontsize": 8, "zorder": 0}
        axes.annotate(name, (at_x, at_y), (1.03, place), arrowprops=line, **look)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    return figure


@drawn
def tradeoff(points: pd.DataFrame, x: str, y: str, group: str, labels: tuple[str, str]) -> Figure:
    """Cost against quality: a point per row, named by the index, with bars from `low` to `high`.

    x is logarithmic. group: the column that gives colour and line. labels: of the axes.
    """
    figure, axes = plt.subplots(figsize=(8.6, 4.2), layout="constrained")
    groups = points.sort_values(x).groupby(group, sort=False)
    colours = sns.color_palette("colorblind", len(groups))
    for i, (colour, (name, rows)) in enumerate(zip(colours, groups, strict=True)):
        bars = np.abs(rows[["low", "high"]].to_numpy() - rows[[y]].to_numpy()).T
        look: dict[str, Any] = {"fmt": "osD^vP"[i % 6] + "-", "ms": 5, "lw": 1, "alpha": 0.9}
        axes.errorbar(rows[x], rows[y], bars, color=colour, label=name, **look)
        for label, row in rows.iterrows():
            look = {"textcoords": "offset points", "fontsize": 7, "color": colour}
            axes.annotate(label, (row[x], row[y]), (4, -9), **look)
    axes.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    return figure


@drawn
def networks(layers: pd.DataFrame) -> Figure:
    """Networks layer by layer, one below the other: a bar per layer, as high as it is wide.

    Columns: `network` (the title), `width` (channels), `kind` (the colour), `text` (above the bar).
    """
    panels = dict(list(layers.groupby("network", sort=False)))
    kinds = sorted(layers["kind"].unique())
    colours = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    longest = max(map(len, panels.values()))
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(1.5 + 0.26 * longest, 1.5 * len(panels)),
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=True):
        bars = axis.bar(
            range(len(frame)), frame["width"], color=[colours[kind] for kind in frame["kind"]]
        )
        axis.bar_label(bars, frame["text"], fontsize=6)
        axis.set_title(title, loc="left")
        axis.set(xlim=(-0.7, longest - 0.3), xticks=[], ylabel="channels")
        axis.margins(y=0.15)
    handles = [Rectangle((0, 0), 1, 1, color=colours[kind]) for kind in kinds]
    figure.legend(handles, kinds, loc="outside lower center", ncols=len(kinds), frameon=False)
    return figure
