"""The pictures of the lessons: a cell, a cloud, small images, ranks against accuracies.

Data in, matplotlib figures out, as in `azlib.companion.plots`; no statistics, no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from azlib.companion.drawing import WIDTH, drawn
from azlib.errors import needs
from azlib.spaces.cells.text import EDGES, live

with needs("matplotlib", "companion"):
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.6"
_PLACES = ((0.0, 0.0), (1.0, 1.0), (2.0, -1.0), (3.0, 0.0))  # of the four nodes of a cell
_CROSSING = ((0, 3), (1, 2))  # two edges that meet in the middle, where no label can stand


@drawn
def cell(operations: tuple[str, ...], title: str = "") -> Figure:
    """A cell of four nodes with an arrow for each of its six operations, in the order of `EDGES`.

    A live edge is solid, one that no signal passes on its way to the output is dashed and grey.
    """
    figure, axes = plt.subplots(figsize=(5.2, 3), layout="constrained")
    for (i, j), operation, alive in zip(EDGES, operations, live(operations), strict=True):
        colour = BLUE if alive else GREY
        start, end = _PLACES[i], _PLACES[j]
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 2 if alive else 1}
        arrow |= {"linestyle": "-" if alive else "--", "shrinkA": 12, "shrinkB": 12}
        axes.annotate("", end, start, arrowprops=arrow)
        part = 0.28 if (i, j) in _CROSSING else 0.5
        x, y = (a + part * (b - a) for a, b in zip(start, end, strict=True))
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
        look |= {"color": "black" if alive else "0.4", "bbox": {"fc": "white", "ec": "none"}}
        axes.text(x, y, operation, **look)
    for node, (x, y) in enumerate(_PLACES):
        label = {0: "0\ninput", 3: "3\noutput"}.get(node, str(node))
        axes.text(x, y, label, ha="center", va="center", bbox={"boxstyle": "circle", "fc": "white"})
    axes.set(xlim=(-0.4, 3.4), ylim=(-1.35, 1.35), title=title)
    axes.axis("off")
    return figure


@drawn
def covariance(first: float, second: float, angle: float, title: str) -> Figure:
    """An ellipse of two standard deviations around a cloud of features in two channels.

    first, second: standard deviations along the principal components. angle: of the first one, in
    degrees.
    """
    figure, axes = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
    turn = np.deg2rad(angle)
    axis = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = np.random.default_rng(1).normal(size=(400, 2)) * [first, second] @ axis
    axes.scatter(points[:, 0], points[:, 1], s=4, color=BLUE)
    outline: dict[str, Any] = {"fill": False, "ec": ORANGE, "lw": 2}
    axes.add_patch(Ellipse((0, 0), 4 * first, 4 * second, angle=angle, **outline))
    axes.set(xlim=(-6, 6), ylim=(-6, 6), aspect="equal", title=title)
    axes.set(xlabel="channel 1", ylabel="channel 2")
    return figure


@drawn
def bars(
    values: Mapping[str, float], label: str, title: str, limits: tuple[float, float]
) -> Figure:
    """A horizontal bar for each value, with the value beside it."""
    figure, axes = plt.subplots(figsize=(5.2, 0.8 + 0.32 * len(values)), layout="constrained")
    drawn_bars = axes.barh(list(values), list(values.values()), color=BLUE)
    axes.bar_label(drawn_bars, fmt="{:.3g}", padding=3)
    axes.set(xlim=limits, xlabel=label, title=title)
    axes.invert_yaxis()
    return figure


@drawn
def images(pixels: Mapping[str, np.ndarray]) -> Figure:
    """Small grey images, (H, W) each, in a row under their titles."""
    figure, axes = plt.subplots(
        1, len(pixels), figsize=(0.8 * len(pixels), 1.1), squeeze=False, layout="constrained"
    )
    for axis, (title, image) in zip(axes.flat, pixels.items(), strict=True):
        axis.imshow(image, cmap="gray_r")
        axis.set_title(title)
        axis.axis("off")
    return figure


@drawn
def trained(points: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Predicted rank against accuracy, one panel for each way to rank.

    Args:
        points: a row for each way to rank and network: `ranking`, `rank` (1 = worst), `accuracy` in
            percent with the ends `low` and `high` of its interval, `winner` (whether the ranking
            puts this network first).
        titles: the title of each panel, by the name of the ranking.
    """
    figure, axes = plt.subplots(
        1,
        len(titles),
        figsize=(WIDTH, 2.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, title) in zip(axes.flat, titles.items(), strict=True):
        rows = points[points["ranking"] == name]
        for won, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "D")):
            part = rows[rows["winner"] == won]
            ends = [part["accuracy"] - part["low"], part["high"] - part["accuracy"]]
            label = "first of all candidates" if won else "drawn at random"
            look = {"fmt": marker, "ms": 4, "lw": 1, "color": colour, "label": label}
            axis.errorbar(part["rank"], part["accuracy"], ends, **look)
        axis.set(title=title, xlabel="predicted rank (1 = worst)")
    axes[0, 0].set_ylabel("accuracy on digits, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    note = "bars: 95 % intervals of the mean over trainings"
    figure.legend(handles, labels, title=note, loc="outside lower center", ncols=2)
    return figure
