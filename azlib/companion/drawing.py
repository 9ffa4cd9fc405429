"""How every picture is drawn: in one style, with names for readers, and with a fingerprint."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pandas as pd

from azlib.companion.naming import readable
from azlib.errors import needs

with needs("matplotlib", "companion"):
    import matplotlib.pyplot as plt
    from matplotlib import rc_params_from_file
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# A notebook's backend, loaded by the first figure, switches drawing on; inside an rc_context that
# would be undone at its end, and no later figure would be shown.
plt.switch_backend(plt.get_backend())

STYLE: dict[Any, Any] = dict(
    rc_params_from_file(Path(__file__).with_name("paper.mplstyle"), use_default_template=False)
)
"""The one style of all pictures, from the file beside this module."""
WIDTH = 6.9
"""Width of two printed columns in inches; no picture is drawn wider."""
MARKERS = "osD^vP*X"
"""Lines and groups differ by marker as well as by colour."""
P = ParamSpec("P")


def drawn(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorates a function that draws: applies the style, names things for readers, and notes the
    fingerprint.

    The fingerprint is a hash of the source of the function's module and of this one, of the style,
    of the arguments, with numbers to six digits, and of the names that were put in. Two figures
    with the same fingerprint show the same, even if different versions of matplotlib and its fonts
    render them to different pixels.
    """

    @wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = function(*args, **kwargs)
            named = _name(figure)
        parts = [_source(function.__module__), _source(__name__), _text(STYLE)]
        parts += [*map(_text, args), _text(kwargs), *named]
        figure.set_gid(sha256("\n".join(parts).encode()).hexdigest())
        return figure

    return draw


def _name(figure: Figure) -> list[str]:
    """Puts names for readers in the place of those of the code; the texts that this changed."""
    changed: list[str] = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if (named := [readable(label) for label in labels]) != labels:
            axis.set_ticks(axis.get_ticklocs(), named)
            changed += named
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if (said := readable(text.get_text())) != text.get_text():
            text.set_text(said)
            changed.append(said)
    return changed


def fingerprint(figure: Figure) -> str:
    """The fingerprint of a figure; "" for one that no `drawn` function made."""
    return figure.get_gid() or ""


@cache
def _source(module: str) -> str:
    return inspect.getsource(sys.modules[module])


def _text(value: object) -> str:
    """An argument as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray):
        value = pd.DataFrame(value)
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_csv(float_format="%.6g")
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(held)}" for key, held in value.items())
    if isinstance(value, list | tuple):  # not their `repr`: how that shows tables has settings
        return "\n".join(map(_text, value))
    return repr(value)
