"""A table as Markdown or LaTeX. Frame in, text out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

_SYMBOLS = {"✓": r"\checkmark", "τ": r"$\tau$", "ρ": r"$\rho$", "σ": r"$\sigma$", "±": r"$\pm$"}
_SYMBOLS |= {"∞": r"$\infty$", "→": r"$\to$", "×": r"$\times$", "−": "$-$"}
TAU = ("kendall_tau", "tau_low", "tau_high")
"""Columns of τ and of its interval."""


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


def intervals(frame: pd.DataFrame, columns: Sequence[str] = TAU, digits: int = 3) -> list[str]:
    """A column of `0.741 [0.735, 0.747]`, from the columns of a value and its two bounds."""
    rows = frame[list(columns)].to_numpy()
    return [interval(value, low, high, digits) for value, low, high in rows]


def texts(values: pd.Series, form: str = "{:.3f}") -> pd.Series:
    """A column of numbers as text; missing ones are empty."""
    return values.map(lambda value: number(value, form))


def rounded(frame: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """A frame as text: fractions with so many digits, missing ones empty, all else as it is."""
    fractions = frame.select_dtypes("float").columns
    return frame.assign(**{c: texts(frame[c], f"{{:.{digits}f}}") for c in fractions}).astype(str)
