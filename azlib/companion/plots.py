"""The pictures of the exhibits. Frames in, matplotlib figures out; no statistics, no files.

Those whose points carry names are in `azlib.companion.labelled`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd

from azlib.companion.drawing import MARKERS, WIDTH, drawn
from azlib.errors import needs

with needs("seaborn", "companion"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import LogLocator


@drawn
def heatmap(matrix: pd.DataFrame, label: str) -> Figure:
    """A square matrix of correlations (index = columns), annotated, from -1 to 1."""
    side = min(1.2 + 0.6 * len(matrix), WIDTH - 0.6)
    figure, axes = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
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
    return figure


@drawn
def rank_scatter(
    panels: Mapping[str, pd.DataFrame],
    about: str,
    colour: str = "colour",
    columns: int = 3,
) -> Figure:
    """Predicted rank against ground-truth rank, one panel per title, with common axes.

    Args:
        panels: frames with columns `predicted` and `truth` (shares or ranks, lowest = worst) and
            optionally one named `colour` (light yellow = low, dark blue = high).
        about: whose accuracies these are; above all panels.
        colour: name of that column.
        columns: panels beside each other.
    """
    rows = -(-len(panels) // columns)
    side = WIDTH / columns
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH, (side + 0.15) * rows + 0.6),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    points = None
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=False):
        hue = {"c": frame[colour]} if colour in frame else {"c": "C0"}
        drawn_points = axis.scatter(
            frame["predicted"], frame["truth"], s=1, linewidths=0, rasterized=True, **hue
        )
        points = drawn_points if colour in frame else points
        axis.set_title(title)
        axis.set_box_aspect(1)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(about)
    figure.supxlabel("predicted rank (right: best)")
    figure.supylabel("rank by accuracy (top: best)")
    if points is not None:
        label = "rank by AZ-NAS (dark: best)"
        figure.colorbar(points, ax=axes, label=label, shrink=0.5, aspect=40)
    return figure


@drawn
def clouds(points: Mapping[str, np.ndarray], shares: Mapping[str, np.ndarray]) -> Figure:
    """2-D point clouds, (N, 2) each, above the shares of their two principal components, (2,)."""
    figure, axes = plt.subplots(
        2, len(points), figsize=(WIDTH, 4.2), squeeze=False, layout="constrained"
    )
    limit = 1.05 * max(np.abs(cloud).max() for cloud in points.values())
    for column, (title, cloud) in enumerate(points.items()):
        top, bottom = axes[:, column]
        top.scatter(*cloud.T, s=2, linewidths=0, color="C0")
        top.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
        top.set(xlabel="channel 1", ylabel="channel 2")
        bottom.bar(["1st", "2nd"], shares[title], color="C5")
        bottom.set(ylim=(0, 1), xlabel="principal component", ylabel="share of variance")
    return figure


@drawn
def histograms(bins: pd.DataFrame, about: str, columns: int = 3) -> Figure:
    """One histogram per `panel`, from its bins `low`..`high` and `count`.

    A vertical line stands at `marked`, which is constant within a panel; NaN draws none.

    about: what is counted, and what the lines mark; above all panels.
    """
    panels = bins.groupby("panel", sort=False)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, 1.7 * rows + 0.2), squeeze=False, layout="constrained"
    )
    figure.suptitle(about)
    for axis, (title, frame) in zip(axes.flat, panels, strict=False):
        edges = [*frame["low"], frame["high"].iloc[-1]]
        axis.stairs(frame["count"], edges, fill=True, color="C5")
        axis.axvline(frame["marked"].iloc[0], color="C3", linewidth=1.5)
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
        1, len(panels), figsize=(_wide(len(panels)), 2.9), squeeze=False, layout="constrained"
    )
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=True):
        x, y, name, *flag = frame.columns
        for marker, (label, line) in zip(cycle(MARKERS), frame.groupby(name, sort=False)):
            (drawn_line,) = axis.plot(line[x], line[y], f"{marker}-", label=label)
            if flag:
                ringed, colour = line[line[flag[0]]], drawn_line.get_color()
                axis.plot(ringed[x], ringed[y], "o", mfc="none", ms=9, color=colour)
        axis.set(title=title, xlabel=x, ylabel=y)
        axis.grid(True)
        if title in log:
            _log_axis(axis, frame[x])
        elif decades:
            axis.set_xscale("log")
        elif pd.api.types.is_integer_dtype(frame[x]):
            axis.xaxis.get_major_locator().set_params(integer=True)
        if not one_legend:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    if one_legend:
        _legend_below(figure, axes.flat[-1], 1 + len(panels))
    return figure


@drawn
def bands(
    frame: pd.DataFrame,
    x: str,
    line: str,
    panels: Sequence[str] = ("dataset", "quantity"),
    log: bool = False,
    note: str = "",
) -> Figure:
    """Means with bands or bars of their intervals: a row of panels per value of the second column
    of `panels`, a column per value of the first.

    Args:
        frame: columns `mean`, `low`, `high`, and those named here; NaN bounds draw no band.
        x: column of the horizontal axis.
        line: column of the name of a line.
        panels: columns of the panels; the values of the second label the vertical axes.
        log: whether the horizontal axis is logarithmic, with a tick at every x.
        note: what the bands are, and on which benchmark; above all panels.
    """
    across, down = (list(frame[name].unique()) for name in panels)
    figure, axes = plt.subplots(
        len(down),
        len(across),
        figsize=(_wide(len(across)), 0.9 + 2.1 * len(down)),
        squeeze=False,
        layout="constrained",
        sharex=True,
    )
    figure.suptitle(note)
    for (i, row), (j, column) in product(enumerate(down), enumerate(across)):
        axis = axes[i, j]
        part = frame[(frame[panels[0]] == column) & (frame[panels[1]] == row)]
        for marker, (name, points) in zip(cycle(MARKERS), part.groupby(line, sort=False)):
            often = max(1, len(points) // 8)
            (drawn_line,) = axis.plot(
                points[x], points["mean"], f"{marker}-", label=name, markevery=often
            )
            look = {"color": drawn_line.get_color(), "alpha": 0.15, "linewidth": 0}
            axis.fill_between(points[x], points["low"], points["high"], **look)
        axis.set(title=column if i == 0 else "", ylabel=row if j == 0 else "")
        axis.set_xlabel(x if i == len(down) - 1 else "")
        axis.grid(True)
        if log:
            _log_axis(axis, part[x])
    if frame[line].nunique() > len(down):
        _legend_below(figure, axes[0, 0], 3)
    return figure


def _wide(panels: int) -> float:
    """Width of a figure with panels beside each other, in inches: one printed column or two."""
    return WIDTH if panels > 1 else WIDTH / 2 + 0.6


def _log_axis(axis: Axes, values: pd.Series) -> None:
    """A logarithmic horizontal axis with a tick at every value; crowded labels are turned."""
    ticks = sorted(set(values))
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{value:,g}" for value in ticks], rotation=45 if len(ticks) > 5 else 0)
    axis.minorticks_off()


def _legend_below(figure: Figure, axis: Axes, columns: int, label: str = "") -> None:
    """One legend for all panels, below them, where it covers no data.

    label: of the horizontal axes of all panels, above the legend.
    """
    handles = axis.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, title=label)


@drawn
def dots(
    values: pd.DataFrame,
    groups: pd.Series,
    references: pd.DataFrame,
    label: str = "",
    intervals: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    limits: tuple[float, float] | None = None,
    marks: tuple[str, pd.DataFrame] | None = None,
) -> Figure:
    """A row of dots per row of `values`, top to bottom, and a panel per column; NaN has no dot.

    Args:
        values: the numbers, named by index and columns.
        groups: the name of the colour of each row.
        references: one row per dashed vertical line (its index is the legend), the same columns as
            `values`.
        label: what the horizontal axes show.
        intervals: lower and upper ends of a line through each dot, each like `values`.
        limits: of the horizontal axes; a dot beyond stands at the edge, with its value beside it.
        marks: a legend, and a number for each row to compare its dot with, like `values`.
    """
    figure, panels = plt.subplots(
        1,
        values.shape[1],
        figsize=(WIDTH, 1 + 0.16 * len(values)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    places = np.arange(len(values))[::-1]
    for axis, name in zip(panels.flat, values, strict=True):
        low_end, high_end = limits or (-np.inf, np.inf)
        at = values[name].clip(low_end, high_end)
        for i, group in enumerate(groups.unique()):
            rows = (groups == group).to_numpy()
            look = {"marker": MARKERS[i % len(MARKERS)], "color": f"C{i}", "label": group}
            axis.plot(at[rows], places[rows], linestyle="none", ms=4, clip_on=False, **look)
        for i, (line, place) in enumerate(references[name].items()):
            axis.axvline(place, color="0.25", linestyle=("--", ":", "-.")[i % 3], lw=1, label=line)
        if marks is not None:
            axis.plot(marks[1][name], places, "|", color="black", ms=8, mew=1.5, label=marks[0])
        if intervals is not None:
            low, high = (ends[name].clip(low_end, high_end) for ends in intervals)
            axis.hlines(places, low, high, color="0.4", zorder=1, linewidth=1)
        for place, value in zip(places, values[name], strict=True):
            if value < low_end:
                look = {"va": "center", "fontsize": 7, "zorder": 3}
                look |= {"bbox": {"fc": "white", "ec": "none", "pad": 0.5}}
                axis.annotate(
                    f"← {value:.2f}", (low_end, place), (5, 0), textcoords="offset points", **look
                )
        axis.set(title=name, ylim=(-0.8, len(values) - 0.2), xlim=limits)
        axis.set_yticks(places, values.index)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(True)
        axis.set_axisbelow(True)
    _legend_below(figure, panels.flat[0], 5, label)
    return figure


@drawn
def growth(costs: pd.DataFrame) -> Figure:
    """How the cost grows: columns `varied` (one panel each), `setting`, `seconds`; log-log."""
    varied = list(dict.fromkeys(costs["varied"]))
    units = {"batch": "batch, images", "resolution": "resolution, pixels"}
    figure, axes = plt.subplots(
        1, len(varied), figsize=(WIDTH, 2.3), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes.flat, varied, strict=True):
        rows = costs[costs["varied"] == name]
        axis.loglog(rows["setting"], rows["seconds"], "o-")
        labels = [f"{value:,}" for value in rows["setting"]]
        axis.set_xticks(rows["setting"], labels, rotation=45)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(True)
        axis.set(xlabel=units.get(name, name), ylabel="seconds")
    figure.suptitle("cost of AZ-NAS on NAS-Bench-201, one processor thread")
    return figure


@drawn
def networks(layers: pd.DataFrame, about: str, note: str) -> Figure:
    """Networks layer by layer, one below the other: a bar per layer, as high as it is wide.

    Heights are on a common square-root scale, on which narrow layers can be seen beside wide ones.

    Args:
        layers: columns `network` (the title), `width` (channels), `kind` (the colour) and `text`
            (above the bar).
        about: whose networks these are; above all of them.
        note: what the text above a bar means.
    """
    panels = dict(list(layers.groupby("network", sort=False)))
    kinds = sorted(layers["kind"].unique())
    colours = {kind: f"C{i}" for i, kind in enumerate(kinds)}
    longest = max(map(len, panels.values()))
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(WIDTH, 1.05 * len(panels) + 0.8),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    figure.suptitle(about)
    for axis, (title, frame) in zip(axes.flat, panels.items(), strict=True):
        colour = [colours[kind] for kind in frame["kind"]]
        bars = axis.bar(range(len(frame)), frame["width"], color=colour)
        axis.bar_label(bars, frame["text"], fontsize=7)
        axis.set_title(title, loc="left")
        axis.set(xlim=(-0.7, longest - 0.3), xticks=[])
        axis.set_yscale("function", functions=(np.sqrt, np.square))
        axis.set_ylim(0, 1.35 * layers["width"].max())
        axis.set_yticks(_channels(layers["width"].max()))
    figure.supylabel("channels (square-root scale)")
    handles = [Rectangle((0, 0), 1, 1, color=colours[kind]) for kind in kinds]
    look: dict[str, Any] = {"ncols": len(kinds), "title": note, "title_fontsize": 7}
    figure.legend(handles, kinds, loc="outside lower center", **look)
    return figure


def _channels(most: float) -> list[int]:
    """Ticks for numbers of channels up to `most`, evenly spread on a square-root scale."""
    step = 10 ** np.floor(np.log10(most / 4))
    return [0, *(int(step * round(most * share / step)) for share in (1 / 9, 4 / 9, 1))]
