"""Pictures of people's own results: a ranking of networks, and the log of a search.

Both return the matplotlib Axes that they drew on, so that a title, a limit or another colour is one
more line. In a notebook a picture appears once, below its cell; in a script, `plt.show()` opens it
and `axes.figure.savefig("ranking.png")` writes it. They need the extra `plot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from azlib.aggregation import aggregate
from azlib.errors import AzlibError, needs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from azlib.search import Result

_LEGIBLE = 40  # networks up to which every rank is written into its field


def plot_ranking(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws a ranking: a row per network, the best on top, and a column per proxy.

    The colour of a field is the network's rank by that proxy as a share of the number of networks,
    rank / m, dark for the highest; the rank itself is written into it. Beside its name stands the
    sum over proxies. So one sees whether proxies agree, and which of them made a network lose. A
    network that could not be scored has empty fields.

    Args:
        frame: what `azlib.rank` returned, also after a way through a CSV.
        ax: where to draw; by default a new figure of fitting size.

    Returns:
        The Axes.

    Raises:
        AzlibError: for a table that is no ranking, and where matplotlib is missing.
    """
    names = [str(column).removeprefix("rank_") for column in frame if f"{column}"[:5] == "rank_"]
    total = next((name for name in ("az_nas", "score") if name in frame), None)
    if not names or total is None or "place" not in frame or frame.empty:
        raise AzlibError(
            f"expected what azlib.rank returns, with place, az_nas and rank_ columns; the columns "
            f"are {', '.join(map(str, frame.columns)) or 'none'}"
        )
    frame = frame.sort_values("place", kind="stable")
    failed = frame[names].isna().all(axis=1) if set(names) <= set(frame) else frame["place"].isna()
    ranks = frame[[f"rank_{name}" for name in names]].mask(failed)
    ax = _axes(ax, (2.2 + 1.1 * len(names), 1.2 + 0.3 * len(frame)))
    ax.imshow(ranks / len(frame), cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(names)), names, rotation=20, ha="right")
    sums = [
        "not scored" if bad else f"{sum_:.2f}"
        for bad, sum_ in zip(failed, frame[total], strict=True)
    ]
    labels = [f"{name}  ({text})" for name, text in zip(frame.index, sums, strict=True)]
    ax.set_yticks(range(len(frame)), labels)
    ax.set_title("rank by each proxy (in brackets the sum)")
    if len(frame) <= _LEGIBLE:
        for (row, column), rank in np.ndenumerate(ranks.to_numpy()):
            if not np.isnan(rank):
                colour = "white" if rank > 0.6 * len(frame) else "black"
                ax.text(column, row, f"{rank:g}", ha="center", va="center", color=colour)
    return ax


def plot_search(
    log: pd.DataFrame | Result | str | Path,
    proxies: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws a search: a dot per candidate, and a line for the winner so far.

    The height is the sum over proxies of ln(rank / n) among all n candidates of the log (Eq. 12).
    The line may fall: who leads after a step is judged among those seen until then, while its
    height is its value among all.

    Args:
        log: what `azlib.search.search` returned, its log, or the path of the Parquet file.
        proxies: what the ranking sums; by default all scores of the log. Name those of an assembly
            if some count twice.
        ax: where to draw; by default a new figure.

    Returns:
        The Axes. Its first line is the winner after each step, its first collection the candidates.

    Raises:
        AzlibError: for what is no log, for an unknown proxy, and where matplotlib is missing.
    """
    from azlib.search import incumbents
    from azlib.search.history import COSTS

    table = _table(log)
    if "step" not in table or "structure" not in table or table.empty:
        columns = ", ".join(map(str, table.columns)) or "none"
        raise AzlibError(f"expected the log of a search, with step and structure; got {columns}")
    if proxies is None:
        proxies = [name for name in table if name not in ("step", "structure", *COSTS)]
    sums = aggregate(table, proxies=proxies).to_numpy()
    winners = incumbents(table, proxies)
    ax = _axes(ax, (6.4, 3.6))
    ax.scatter(table["step"], sums, s=6, color="0.7", label="candidates")
    ax.plot(table["step"], sums[winners], color="#2c7fb8", label="winner so far")
    best = winners[-1]
    ax.plot(table["step"].iloc[best], sums[best], "*", ms=12, color="#c51b7d", label="found")
    ax.set(xlabel="step", ylabel="sum of ln(rank / n)")
    ax.legend(frameon=False, loc="lower right")
    return ax


def _table(log: pd.DataFrame | Result | str | Path) -> pd.DataFrame:
    """The log itself."""
    if isinstance(log, pd.DataFrame):
        return log
    if isinstance(log, str | Path):
        from azlib.search.log import read

        if not Path(log).is_file():
            raise AzlibError(f"no search log {log}: make one with `azlib search --out {log}`")
        return read(Path(log))[0].to_pandas()
    if isinstance(found := getattr(log, "log", None), pd.DataFrame):
        return found
    raise AzlibError(f"expected the log of a search or its path, got {type(log).__name__}")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The Axes to draw on, those of a new figure unless given."""
    with needs("matplotlib", "plot"):
        import matplotlib.pyplot as plt
    return ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]
