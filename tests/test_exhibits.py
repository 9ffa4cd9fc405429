from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from azlib.companion import exhibits, plots, tables
from azlib.errors import AzlibError

FRAME = pd.DataFrame({"method_a": ["τ", "100 %"], "value": ["0.5", None]})


def test_markdown_and_latex_show_every_cell():
    assert "| τ " in tables.markdown(FRAME)
    text = tables.latex(FRAME)
    assert r"$\tau$" in text and r"100 \%" in text and r"method\_a" in text
    assert "None" not in text and "nan" not in text
    assert tables.interval(0.74111, 0.7351, 0.7472) == "0.741 [0.735, 0.747]"


def test_an_unchanged_exhibit_is_an_unchanged_file(tmp_path):
    numbers = pd.DataFrame({"x": [0.1, 1 / 3]})
    contents = []
    for _ in range(2):
        figure, axes = plt.subplots()
        axes.plot([0, 1])
        exhibits.write("e", tmp_path, numbers, figure=figure, table=numbers)
        plt.close(figure)
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["e.csv", "e.md", "e.pdf", "e.png", "e.tex"]


def test_an_exhibit_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AzlibError, match=r"cannot write .*e\.csv"):
        exhibits.write("e", tmp_path / "file" / "figures", FRAME)


def test_plots_return_figures_with_their_panels():
    ranks = pd.DataFrame({"predicted": [1, 2], "truth": [2, 1], "colour": [0, 1]})
    drawn = plots.rank_scatter({"a": ranks, "b": ranks.drop(columns="colour")})
    assert [axis.get_title() for axis in drawn.axes if axis.get_visible()] == ["a", "b"]
    matrix = pd.DataFrame([[1.0, 0.2], [0.2, 1.0]], index=["p", "q"], columns=["p", "q"])
    shown = plots.heatmap(matrix, "Kendall's τ")
    assert [text.get_text() for text in shown.axes[0].texts] == ["1.00", "0.20", "0.20", "1.00"]
    costs = pd.DataFrame({"varied": ["batch"] * 2, "setting": [8, 16], "seconds": [1.0, 2.0]})
    assert isinstance(plots.growth(costs), Figure)
    plt.close("all")
