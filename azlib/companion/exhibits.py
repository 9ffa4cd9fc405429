"""Names and writes the files of an exhibit: the numbers first, then the picture or the table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from azlib.companion.plots import STYLE
from azlib.companion.tables import latex, markdown
from azlib.files import replacing


def write(
    stem: str,
    folder: str | Path,
    numbers: pd.DataFrame,
    figure: Figure | None = None,
    table: pd.DataFrame | None = None,
) -> Path:
    """Writes `<stem>.csv` and then `.png` + `.pdf` (a figure) or `.md` + `.tex` (a table).

    numbers: what the exhibit shows, one tidy row per number. table: as a reader sees it. Each
    file replaces the previous one whole or not at all. Returns the path of the CSV.
    """
    folder = Path(folder)
    texts = {".csv": numbers.to_csv(index=False, float_format="%.6g")}
    if table is not None:
        texts |= {".md": markdown(table), ".tex": latex(table)}
    for suffix, text in texts.items():
        with replacing(folder / f"{stem}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    if figure is not None:
        for suffix in (".png", ".pdf"):
            # No creation date: an unchanged figure is an unchanged file.
            metadata = {"CreationDate": None} if suffix == ".pdf" else {"Software": None}
            with replacing(folder / f"{stem}{suffix}") as temporary, plt.rc_context(STYLE):
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
    return folder / f"{stem}.csv"
