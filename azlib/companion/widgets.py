"""Pictures with sliders, for the lessons: move something and see what becomes of it.

Each function draws its picture and, where the notebook is open in Jupyter, puts sliders below it
that draw it anew. A run without anybody to move them (`azlib run`, `make figures`) leaves the
picture alone, and so does a page made of it. Without the package ipywidgets there is the picture
and a line that says so.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from azlib.aggregation import AZ_NAS, rank
from azlib.companion import NOBODY_WATCHES, pictures
from azlib.companion.metrics import kendall
from azlib.errors import needs
from azlib.spaces.cells.text import EDGES
from azlib.spaces.nasbench201.text import OPERATIONS, form, parse

with needs("matplotlib", "companion"):
    import matplotlib.pyplot as plt
    from IPython.display import Image, display
    from matplotlib.figure import Figure

Range = tuple[float, float, float]  # from, to, step
Controls = Mapping[str, Range | Sequence[str]]
_HINT = "sliders: open this notebook in Jupyter (make lab) and run it"
_MISSING = "sliders: this needs the package ipywidgets: pip install 'azlib[companion]'"


def show(draw: Callable[..., Figure], controls: Controls, start: Mapping[str, Any]) -> None:
    """Shows a picture, and below it a control for each of its values.

    Args:
        draw: a function of the values, by name, that returns a figure.
        controls: for each value a range of numbers, or the texts to choose from.
        start: the values of the first picture.
    """
    picture = display(_image(draw, start), display_id=True)
    if os.environ.get(NOBODY_WATCHES):
        print(_HINT)
        return
    try:
        import ipywidgets
    except ModuleNotFoundError:
        print(_MISSING)
        return
    moved = {name: _control(ipywidgets, name, controls[name], start[name]) for name in controls}

    def redraw(_: object) -> None:
        picture.update(_image(draw, {name: control.value for name, control in moved.items()}))

    for control in moved.values():
        control.observe(redraw, names="value")
    box = ipywidgets.VBox(list(moved.values()))
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    shown = {"application/vnd.jupyter.widget-view+json": view, "text/plain": _HINT}
    display(shown, raw=True)


def _control(ipywidgets: Any, name: str, values: Range | Sequence[str], start: Any) -> Any:
    """A slider for a range of numbers, a list for texts."""
    style = {"description_width": "140px"}
    if isinstance(values[0], str):
        return ipywidgets.Dropdown(options=values, value=start, description=name, style=style)
    low, high, step = values
    settings = {"min": low, "max": high, "step": step, "continuous_update": False}
    return ipywidgets.FloatSlider(value=start, description=name, style=style, **settings)


def _image(draw: Callable[..., Figure], values: Mapping[str, Any]) -> Image:
    """The picture for some values, whose title is also its text for those who cannot see it."""
    figure = draw(**values)
    held = io.BytesIO()
    figure.savefig(held, format="png")
    said = [axes.get_title() for axes in figure.axes]
    plt.close(figure)
    return Image(held.getvalue(), alt=" ".join(filter(None, said)).replace("\n", ", "))


# --- what can be moved ---------------------------------------------------------------------


def covariance(first: float = 2.0, second: float = 0.5, angle: float = 30.0) -> None:
    """A cloud of features in two channels: its standard deviations, its angle and its entropy."""

    names = ["1st deviation", "2nd deviation", "angle, degrees"]

    def draw(**values: float) -> Figure:
        first, second, angle = (values[name] for name in names)
        variances = np.array([first, second]) ** 2
        shares = variances / variances.sum()
        entropy = float(-(shares * np.log(shares + 1e-8)).sum())
        title = f"entropy {entropy:.3f}\nat most ln 2 = 0.693"
        return pictures.covariance(first, second, angle, title)

    ranges = [(0.1, 2.5, 0.1), (0.1, 2.5, 0.1), (0.0, 180.0, 5.0)]
    start = zip(names, (first, second, angle), strict=True)
    show(draw, dict(zip(names, ranges, strict=True)), dict(start))


def cell(percent: pd.DataFrame, accuracies: pd.Series, arch: str) -> None:
    """A cell of NAS-Bench-201 built edge by edge: where it stands by each proxy and in truth.

    Args:
        percent: for each architecture the share of others that it reaches or beats, in percent, one
            column for each way to rank.
        accuracies: in percent, by architecture.
        arch: the one to begin with.
    """

    def draw(**chosen: str) -> Figure:
        operations = tuple(chosen.values())
        name = form(operations)
        lines = [f"{column} {percent[column][name]:.0f}" for column in percent]
        lines = [", ".join(lines[:3]), ", ".join(lines[3:])]
        title = "reaches or beats, in % of all: " + "\n".join(filter(None, lines))
        known = accuracies.get(name, np.nan)
        return pictures.cell(operations, f"{title}\naccuracy once trained: {known:.2f} %")

    names = [f"{i} → {j}" for i, j in EDGES]
    show(draw, dict.fromkeys(names, OPERATIONS), dict(zip(names, parse(arch), strict=True)))


def weights(scores: pd.DataFrame, accuracies: pd.Series) -> None:
    """Weights of the four proxies in the log-rank sum, and Kendall's τ with the accuracies.

    Args:
        scores: one row for each architecture, in the order of `accuracies`.
        accuracies: in percent.
    """
    logs = {name: np.log(rank(scores[name]) / len(scores)) for name in AZ_NAS}

    def draw(**weight: float) -> Figure:
        total = sum(weight[name] * logs[name] for name in AZ_NAS)
        title = f"τ = {kendall(total, accuracies):.3f}"
        return pictures.bars(weight, "weight", title, (0, 2.4))

    ranges = dict.fromkeys(AZ_NAS, (0.0, 2.0, 0.25))
    show(draw, ranges, dict.fromkeys(AZ_NAS, 1.0))
