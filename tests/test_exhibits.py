from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from PIL import Image

from azlib.companion import exhibits, plots, tables
from azlib.companion.drawing import STYLE, WIDTH, fingerprint
from azlib.companion.naming import readable
from azlib.companion.places import COMPARED
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


def lines(last: float, name: str = "a"):
    return pd.DataFrame({"x": [1, 2], "y": [0.5, last], "line": name})


def test_numbers_within_one_unit_of_the_last_digit_stay(tmp_path):
    path = exhibits.write("e", tmp_path, lines(1.234), digits=3)
    held = path.read_bytes()
    assert b"1.23," in held
    exhibits.write("e", tmp_path, lines(1.241), digits=3)
    assert path.read_bytes() == held
    for changed in (lines(1.25), lines(math.nan), lines(1.23, "b"), lines(1.23).assign(z=1)):
        exhibits.write("e", tmp_path, changed, digits=3)
        assert path.read_bytes() == changed.to_csv(index=False, float_format="%.3g").encode()
        path.write_bytes(held)
    path.write_bytes(b"")
    exhibits.write("e", tmp_path, lines(1.234), digits=3)
    assert path.read_bytes() == held


def test_a_picture_is_drawn_from_the_numbers_that_the_csv_holds(tmp_path):
    seen = []

    def draw(numbers):
        seen.append(numbers)
        return plots.curves({"title": numbers})

    for last in (1.2344, 1.2351, 1.3):
        exhibits.write("e", tmp_path, lines(last), figure=draw, digits=3)
    assert [numbers["y"].iloc[-1] for numbers in seen] == [1.23, 1.23, 1.3]
    plt.close("all")


def test_a_picture_of_the_same_is_left_alone_whatever_renders_it(tmp_path, monkeypatch):
    def write(last, **options):
        exhibits.write("e", tmp_path, FRAME, figure=plots.curves({"t": lines(last)}, **options))
        plt.close("all")
        return [(tmp_path / f"e{suffix}").read_bytes() for suffix in (".png", ".pdf")]

    first = write(1.5)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig_of_another_version)
    assert write(1.5) == write(1.5 + 1e-9) == first
    assert write(1.6) == write(1.5, decades=True) == [b"other", b"other"]
    (tmp_path / "e.pdf").unlink()
    assert write(1.5) == [b"other", b"other"]


def savefig_of_another_version(figure, path, **options):
    path.write_bytes(b"other")


def test_an_exhibit_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AzlibError, match=r"cannot write .*e\.csv"):
        exhibits.write("e", tmp_path / "file" / "figures", FRAME)


def test_plots_return_figures_with_their_panels():
    ranks = pd.DataFrame({"predicted": [1, 2], "truth": [2, 1], "colour": [0, 1]})
    drawn = plots.rank_scatter({"a": ranks, "b": ranks.drop(columns="colour")}, "cifar10")
    titles = [axis.get_title() for axis in drawn.axes if axis.get_visible()]
    assert titles == ["a", "b", ""] and drawn.get_suptitle() == "CIFAR-10"  # with a colour bar
    matrix = pd.DataFrame([[1.0, 0.2], [0.2, 1.0]], index=["p", "q"], columns=["p", "q"])
    shown = plots.heatmap(matrix, "Kendall's τ")
    assert [text.get_text() for text in shown.axes[0].texts] == ["1.00", "0.20", "0.20", "1.00"]
    costs = pd.DataFrame({"varied": ["batch"] * 2, "setting": [8, 16], "seconds": [1.0, 2.0]})
    assert isinstance(plots.growth(costs), Figure)
    values = pd.DataFrame({"cifar10": [0.1, 0.2]}, index=["a", "b"])
    ends, marks = (values - 0.1, values + 0.1), ("published", values + 0.05)
    shown = plots.dots(values, pd.Series(["k", "k"]), values[:0], intervals=ends, marks=marks)
    (drawn_lines,) = shown.axes[0].collections
    assert [segment[:, 0].tolist() for segment in drawn_lines.get_segments()] == [
        pytest.approx([0, 0.2]),
        pytest.approx([0.1, 0.3]),
    ]
    assert "published" in [text.get_text() for text in shown.legends[0].get_texts()]
    beyond = plots.dots(values, pd.Series(["k", "k"]), values[:0], limits=(0.15, 0.5))
    assert [text.get_text().strip() for text in beyond.axes[0].texts] == ["← 0.10"]
    assert beyond.axes[0].lines[0].get_xdata().tolist() == [0.15, 0.2]
    plt.close("all")


def test_bands_draw_the_interval_of_every_mean():
    frame = pd.DataFrame(
        {"n": [10, 100], "mean": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8]}
    )
    frame = frame.assign(rule="a", dataset="cifar10", quantity="τ")
    drawn = plots.bands(frame, "n", "rule", log=True)
    (axis,) = drawn.axes
    (band,) = axis.collections
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(0.4)
    assert (axis.get_title(), axis.get_ylabel(), axis.get_xscale()) == ("CIFAR-10", "τ", "log")
    plt.close("all")


def test_networks_share_one_scale_and_say_what_their_text_means():
    rows = [("a", 8, "3 × 3", "6↓"), ("a", 32, "3 × 3", "6"), ("b", 720, "5 × 5", "1")]
    layers = pd.DataFrame(rows, columns=["network", "width", "kind", "text"])
    drawn = plots.networks(layers, "two networks", "↓ marks a stride of 2")
    assert [axis.get_ylim()[1] for axis in drawn.axes] == pytest.approx([972, 972])
    assert drawn.legends[0].get_title().get_text() == "↓ marks a stride of 2"
    plt.close("all")


def test_every_picture_is_in_one_style_that_can_be_read_on_paper():
    sizes = {
        name: size for name, size in STYLE.items() if name.endswith(("labelsize", "font.size"))
    }
    assert len(sizes) == 5 and min([*sizes.values(), STYLE["legend.fontsize"]]) >= 7
    ranks = pd.DataFrame({"predicted": [1, 2], "truth": [2, 1]})
    many = {str(i): ranks for i in range(7)}
    values = pd.DataFrame(0.5, index=list("abc"), columns=list("xyz"))
    for drawn in (
        plots.rank_scatter(many, "cifar10", columns=5),
        plots.curves({"t": lines(1.5), "u": lines(1.5)}),
        plots.dots(values, pd.Series(["k"] * 3), values[:0]),
        plots.heatmap(pd.DataFrame(1.0, index=range(30), columns=range(30)), "τ"),
    ):
        assert drawn.get_figwidth() <= WIDTH, "wider than two printed columns"
    plt.close("all")


def test_no_committed_picture_is_wider_than_the_paper():
    pictures = sorted((ROOT / "figures").rglob("*.png"))
    assert len(pictures) > 30
    for path in pictures:
        with Image.open(path) as image:
            assert image.width <= STYLE["savefig.dpi"] * WIDTH, path.name


def test_pictures_have_the_names_of_the_papers():
    values = pd.DataFrame(0.5, index=["grad_norm", "AZ-NAS, 8"], columns=["cifar10", "c100_kd_acc"])
    shown = plots.dots(values, pd.Series(["zen", "k"]), values[:0], "τ, imagenet16-120")
    shown.draw_without_rendering()
    left = shown.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["GradNorm", "AZ-NAS, 8"]
    assert [axis.get_title() for axis in shown.axes] == ["CIFAR-10", "CIFAR-100, distilled"]
    assert shown.legends[0].get_title().get_text() == "τ, ImageNet16-120"
    assert [text.get_text() for text in shown.legends[0].get_texts()] == ["Zen", "k"]
    plain = plots.dots(values.rename(readable), pd.Series(["zen", "k"]), values[:0], "τ")
    assert fingerprint(shown) != fingerprint(plain)
    plt.close("all")


def test_a_proxy_is_called_as_the_method_that_is_nothing_else():
    for method in COMPARED:
        if len(method.proxies) == 1 and method.name != "FLOPs":  # AZ-NAS calls it complexity
            assert readable(method.proxies[0]) == method.name
