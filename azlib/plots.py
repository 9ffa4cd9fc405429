"""The pictures of the exhibits. Frames in, matplotlib figures out; no statistics, no files."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
}


def heatmap(matrix: pd.DataFrame, label: str) -> Figure:
    """A square matrix of correlations (index = columns), annotated, from -1 to 1."""
    with plt.rc_context(STYLE):
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
    return figure


def rank_scatter(
    panels: Mapping[str, pd.DataFrame], colour: str = "colour", columns: int = 3
) -> Figure:
    """Predicted rank against ground-truth rank, one panel per title.

    Each frame has columns `predicted` and `truth` (ranks, 1 = worst) and optionally one named
    `colour` (light yellow = low, dark blue = high).
    """
    with plt.rc_context(STYLE):
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.7 * columns, 2.7 * rows), squeeze=False, layout="constrained"
        )
        for axis, (title, frame) in zip(axes.flat, panels.items(), strict=False):
            hue = frame.get(colour, "#2c7fb8")
            axis.scatter(
                frame["predicted"], frame["truth"], c=hue, cmap="YlGnBu", s=1.2, rasterized=True
            )
            axis.set_title(title)
            axis.set(xlabel="predicted rank", ylabel="ground-truth rank")
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
    return figure


def clouds(points: Mapping[str, np.ndarray], shares: Mapping[str, np.ndarray]) -> Figure:
    """2-D point clouds, (N, 2) each, above the shares of their two principal components, (2,)."""
    with plt.rc_context(STYLE):
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
