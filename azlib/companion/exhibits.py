"""Names and writes the files of an exhibit: the numbers first, then the picture or the table.

An exhibit that has not changed is left alone, so that `make figures` in a fresh clone leaves the
work tree clean on any processor and with any version of matplotlib. There are three rules:

- **Numbers** (`.csv`) are written with as many digits as hold on any machine: six, as most exhibits
  are computed from committed scores, and fewer where a notebook runs networks, whose results differ
  in their last digits with the number of threads and the instructions of the processor. A CSV that
  already holds the same numbers, but for one unit in the last digit, stays as it is.
- **Tables** (`.md`, `.tex`) are written when their text differs.
- **Pictures** (`.png`, `.pdf`) carry the fingerprint of what they were drawn from (see
  `azlib.companion.drawing`), and are written when it differs. A picture of numbers that depend on
  the machine is drawn from the CSV.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from azlib.companion.drawing import STYLE, fingerprint
from azlib.companion.tables import latex, markdown
from azlib.errors import needs
from azlib.files import replacing

with needs("matplotlib", "companion"):
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure
    from PIL import Image

DIGITS = 6
_KEY = "Fingerprint"  # of the text that a PNG carries


def write(
    stem: str,
    folder: str | Path,
    numbers: pd.DataFrame,
    figure: Figure | Callable[[pd.DataFrame], Figure] | None = None,
    table: pd.DataFrame | None = None,
    digits: int = DIGITS,
) -> Path:
    """Writes `<stem>.csv` and then `.png` + `.pdf` (a figure) or `.md` + `.tex` (a table).

    Each file replaces the previous one whole or not at all.

    Args:
        stem: name of the exhibit.
        folder: where its files lie.
        numbers: what the exhibit shows, one tidy row per number.
        figure: the picture, or a function that draws it from the numbers as the CSV holds them.
        table: the numbers as a reader sees them.
        digits: significant digits of the numbers.

    Returns:
        The path of the CSV.
    """
    path = Path(folder) / f"{stem}.csv"
    text = numbers.to_csv(index=False, float_format=f"%.{digits}g")
    if not (path.is_file() and _agree(path.read_text(encoding="utf-8"), text, digits)):
        _write_text(path, text)
    if table is not None:
        _write_text(path.with_suffix(".md"), markdown(table))
        _write_text(path.with_suffix(".tex"), latex(table))
    if figure is not None:
        _write_pictures(path, figure if isinstance(figure, Figure) else figure(pd.read_csv(path)))
    return path


def _agree(held: str, new: str, digits: int) -> bool:
    """Whether two CSVs hold the same, numbers but for one unit in the last digit."""
    if held == new:
        return True
    try:
        before, after = (pd.read_csv(io.StringIO(text)) for text in (held, new))
    except ValueError:  # what lies there is no CSV
        return False
    numbers = after.select_dtypes("float").columns
    if list(before) != list(after):
        return False
    if not all(map(is_numeric_dtype, before[numbers].dtypes)) or not before.drop(
        columns=numbers
    ).equals(after.drop(columns=numbers)):
        return False
    sizes = after[numbers].abs().replace(0, np.nan)
    unit = (10 ** (np.floor(np.log10(sizes)) - digits + 1)).fillna(10.0**-digits)
    close = (before[numbers] - after[numbers]).abs() <= 1.01 * unit
    return bool((close | (before[numbers].isna() & after[numbers].isna())).all(axis=None))


def _write_text(path: Path, text: str) -> None:
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_pictures(path: Path, figure: Figure) -> None:
    png, pdf = path.with_suffix(".png"), path.with_suffix(".pdf")
    if pdf.is_file() and fingerprint(figure) and _carried(png) == fingerprint(figure):
        return
    # No date and no version: what is drawn the same is the same file. The PNG comes last, as its
    # fingerprint speaks for both.
    for target, metadata in (
        (pdf, {"CreationDate": None, "Producer": None, "Creator": None}),
        (png, {"Software": None, _KEY: fingerprint(figure)}),
    ):
        with replacing(target) as temporary, plt.rc_context(STYLE):
            figure.savefig(temporary, format=target.suffix[1:], metadata=metadata)


def _carried(png: Path) -> str | None:
    """The fingerprint that a PNG carries."""
    try:
        with Image.open(png) as image:
            return image.info.get(_KEY)
    except (OSError, ValueError):
        return None
