"""The pictures of comparisons over many tasks. Frames in, matplotlib figures out."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from azlib.companion.drawing import WIDTH, drawn
from azlib.errors import needs

with needs("seaborn", "companion"):
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.figure import Figure


@drawn
def task_heatmap(values: pd.DataFrame, groups: list[str], label: str, lowest: float = -1) -> Figure:
    """A number for each method (row) and task (column); what is missing stays white.

    Args:
        values: the numbers, named by index and columns.
        groups: for each column, the benchmark that it belongs to; a line parts two benchmarks.
        label: what the colour shows.
        lowest: where the colours begin, -1 for correlations or 0; they end at 1, whatever lies
            beyond.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.2 * len(values)), layout="constrained")
    sns.heatmap(
        values,
        annot=values.map(lambda value: re.sub(r"^(-?)0\.", r"\1.", f"{value:.2f}")),
        fmt="",
        annot_kws={"fontsize": 7},
        vmin=lowest,
        vmax=1,
        cmap="RdBu_r" if lowest < 0 else "Reds",
        linewidths=0.4,
        cbar_kws={"label": label, "shrink": 0.5, "pad": 0.01, "aspect": 30},
        ax=axes,
    )
    axes.set(xlabel="", ylabel="")
    axes.tick_params(axis="x", rotation=90)
    starts = [i for i, name in enumerate(groups) if i == 0 or groups[i - 1] != name]
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        axes.axvline(start, color="0.1", linewidth=1.4)
        place = ((start + end) / 2, 1.01)
        look: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "ha": "center",
            "fontsize": 8,
        }
        axes.annotate(groups[start].replace(" ", "\n", 1), place, **look)
    return figure


@drawn
def mean_rank_picture(means: pd.Series, critical: float, tasks: str) -> Figure:
    """Methods by their mean rank over tasks, as a critical-difference picture (Demšar, 2006).

    Args:
        means: mean rank by method; 1 is best.
        critical: the difference that is significant; two methods whose bars overlap do not differ.
        tasks: how many were ranked, and of what, for the label.
    """
    means = means.sort_values(ascending=False)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.2 * len(means)), layout="constrained")
    places = range(len(means))
    axes.hlines(places, means - critical / 2, means + critical / 2, color="0.6", linewidth=3)
    axes.plot(means, places, "o", markersize=5)
    axes.set_yticks(places, means.index)
    axes.set_xlabel(
        f"mean rank over {tasks}; 1 is best\nbars: half the critical difference either side"
    )
    axes.axvspan(means.min() - critical / 2, means.min() + critical / 2, color="0.93", zorder=0)
    axes.set_xlim(0.5, len(means) + 0.5)  # no rank lies beyond
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure
