"""A table as Markdown or LaTeX. Frame in, text out."""

from __future__ import annotations

import pandas as pd

_SYMBOLS = {"✓": r"\checkmark", "τ": r"$\tau$", "ρ": r"$\rho$", "σ": r"$\sigma$", "±": r"$\pm$"}
_SYMBOLS |= {"∞": r"$\infty$", "→": r"$\to$", "×": r"$\times$", "−": "$-$"}


def markdown(frame: pd.DataFrame) -> str:
    """A Markdown table, index left out; missing values are empty."""
    return frame.to_markdown(index=False, missingval="", disable_numparse=True) + "\n"


def latex(frame: pd.DataFrame) -> str:
    """A LaTeX tabular with booktabs rules, special characters escaped; missing values are empty.

    Needs the packages booktabs and amssymb.
    """
    text = frame.to_latex(index=False, escape=True, na_rep="")
    for symbol, command in _SYMBOLS.items():
        text = text.replace(symbol, command)
    return text


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """`0.741 [0.735, 0.747]`."""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def number(value: float, form: str = "{:.3f}") -> str:
    """A number in a cell of a table; empty if it is missing."""
    return "" if pd.isna(value) else form.format(value)
