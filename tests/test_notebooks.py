"""Every notebook runs, writes its exhibits, and refuses a parameter that it does not have."""

from __future__ import annotations

import re
import sys

import nbformat
import pandas as pd
import pytest
from conftest import ROOT

from azlib.companion import forked
from azlib.companion.notebooks import parameters, run
from azlib.errors import AzlibError

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXHIBITS = {  # folder "" is for exhibits without a benchmark
    "00": ["{}/start_here.png"],
    "01": ["fig2.csv", "fig2.pdf", "entropy_by_block.csv"],
    "02": ["trainability.png", "{}/single_proxies.md"],
    "03": ["{}/fig3.csv", "{}/fig3.png"],
    "04": ["{}/fig5.csv", "{}/fig5.pdf"],
    "05": ["{}/table4.csv", "{}/table4.tex", "{}/headline.md"],
    "06": ["{}/nearest_mistakes.csv", "{}/nearest_mistakes.png"],
    "07": ["{}/unique.csv"],
    "08": ["{}/table1.csv", "{}/table1_no_dead_edges.md", "{}/fig1.png", "{}/table1_variants.csv"],
    "09": ["{}/fig4.csv", "{}/fig4.png"],
    "10": ["{}/table5.csv", "{}/table5.md"],
    "11": ["{}/sensitivity.csv", "{}/sample_size.csv"],
    "12": ["{}/search_regret.csv", "{}/search_regret.png", "{}/search_trajectory.csv"],
    "13": ["{}/beyond.csv", "{}/beyond.png", "{}/beyond_vkdnw.md"],
    "14": ["presets.csv", "presets.md", "presets.png"],
    "15": ["mobilenetv2_search.csv", "mobilenetv2_search.png", "mobilenetv2_networks.png"],
    "16": ["table2.csv", "table2.md", "table2_contenders.csv", "table2_networks.pdf"],
    "17": ["table3.csv", "table3.tex", "autoformer_search.png", "supernet.md"],
    "18": ["elsewhere.csv", "elsewhere.png", "elsewhere_ranks.png", "elsewhere_firsts.md"],
    "19": ["left_over.csv", "left_over.png"],
    "20": ["own_space.csv", "own_space.md"],
    "21": [
        "model_rankings.csv",
        "model_agreement.png",
        "model_own_weights.csv",
        "model_families.csv",
        "model_pairs.csv",
    ],
    "23": ["search_train_see.csv", "search_train_see.png", "search_train_see_found.md"],
    "22": ["cheap_settings.csv", "cheap_frontier.png", "bfloat16.md", "gpu.md"],
    "24": ["transfer.csv", "transfer.png", "transfer_goals.md", "transfer_duels.csv"],
    "25": ["search_elsewhere.csv", "search_elsewhere.md", "search_elsewhere.png"],
    "A1": ["{}/degenerate_rules.csv", "{}/degenerate_rules.tex"],
    "A2": ["{}/reproduction.csv", "{}/reproduction.png"],
}
RUN_LIVE = {"entropy_by_block": 2e-3, "trainability": 2e-2, "own_space": 2e-2}
"""Exhibits of networks that the notebook runs: the last digit written depends on the processor."""
CHEAPER = {"11": {"draws": 5}, "12": {"seeds": 2}}
"""Fewer repetitions than by default, where they change no exhibit that is compared."""
TABLE4 = ["proxies", "aggregation", "dataset", "kendall_tau", "spearman_rho"]
TABLE4 += ["tau_low", "tau_high", "seeds", "n"]


@pytest.fixture(scope="module", autouse=True)
def _forked_kernels():
    """As `make figures` runs them."""
    forked.use()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_the_embedded_ground_truth(path, tmp_path, request):
    known = parameters(path)
    if "benchmarks" in known:  # it is nothing without them
        request.getfixturevalue("fetched")
    values = {"figures": str(tmp_path / "figures"), "source": "analog-nasbench"}
    values |= CHEAPER.get(path.name[:2], {})
    run(path, tmp_path / path.name, {name: values[name] for name in values if name in known})
    for name in EXHIBITS[path.name[:2]]:
        exhibit = tmp_path / "figures" / name.format("analog-nasbench")
        assert exhibit.stat().st_size > 0, exhibit
    for made in (tmp_path / "figures").glob("*.csv"):  # not those that need a ground truth
        numbers, held = pd.read_csv(made), pd.read_csv(ROOT / "figures" / made.name)
        tolerance = RUN_LIVE.get(made.stem, 1e-5)
        pd.testing.assert_frame_equal(numbers, held, rtol=tolerance, atol=1e-6)
    cells = nbformat.read(tmp_path / path.name, 4).cells
    for cell in cells:
        if cell.cell_type == "code" and re.search(r"^\S.*plots\.\w+\(", cell.source, re.MULTILINE):
            assert any("image/png" in out.get("data", {}) for out in cell.outputs), cell.source


def test_table4_on_the_fetched_accuracies(fetched, tmp_path):
    (path,) = (p for p in NOTEBOOKS if p.name.startswith("05"))
    run(path, tmp_path / path.name, {"figures": str(tmp_path)})
    table = pd.read_csv(tmp_path / "nas-bench-201" / "table4.csv")
    assert list(table)[: len(TABLE4)] == TABLE4
    assert len(table) == 15 * 2 * 3
    committed = pd.read_csv(ROOT / "figures" / "nas-bench-201" / "table4.csv")
    pd.testing.assert_frame_equal(table, committed, rtol=1e-4)


def test_the_ceiling_is_that_of_the_fetched_accuracies(fetched, tmp_path):
    values = {"figures": str(tmp_path), "draws": 2}
    (path,) = (p for p in NOTEBOOKS if p.name.startswith("11"))
    run(path, tmp_path / path.name, values)
    made, committed = (folder / "ceiling.csv" for folder in (tmp_path, ROOT / "figures"))
    assert made.read_bytes() == committed.read_bytes()
    assert (tmp_path / "ceiling.png").is_file()


def test_unknown_parameter_is_refused_with_the_nearest(tmp_path):
    path = NOTEBOOKS[0]
    with pytest.raises(AzlibError, match="Did you mean 'figures'") as error:
        run(path, tmp_path / "out.ipynb", {"figure": "x"})
    assert "scores" in str(error.value)  # the known ones are listed
    assert not (tmp_path / "out.ipynb").exists()


def write_notebook(path, *cells, kernel="python3"):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("n = 1  # how many", metadata={"tags": ["parameters"]}),
            *map(nbformat.v4.new_code_cell, cells),
        ],
        metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path


def test_failing_notebook_leaves_no_result(tmp_path):
    source = write_notebook(tmp_path / "broken.ipynb", "raise ValueError('no good')")
    assert parameters(source) == {"n": "1"}
    with pytest.raises(AzlibError, match=r"failed in cell .*ValueError: no good"):
        run(source, tmp_path / "out.ipynb", {"n": 2})
    assert not (tmp_path / "out.ipynb").exists()
    assert (tmp_path / "out.failed.ipynb").exists()


def test_a_run_is_quiet_and_takes_lists_and_dictionaries(tmp_path, capfd):
    source = write_notebook(tmp_path / "n.ipynb", "assert n == [1, {'a': None, 'b': [0.5, True]}]")
    run(source, tmp_path / "out.ipynb", {"n": [1, {"a": None, "b": [0.5, True]}]})
    assert capfd.readouterr() == ("", "")


def test_a_forked_kernel_is_like_a_new_one(tmp_path, monkeypatch):
    source = write_notebook(
        tmp_path / "n.ipynb",
        "import os, sys, matplotlib\nprint(os.getcwd(), os.environ.get('HELD'), n)",
        "print('inline' in matplotlib.get_backend(), __name__, '' in sys.path)",
        "print('torch' in sys.modules)",
        "print(__import__('numpy').random.rand())",
    )
    said = []
    for held in ("1", "2"):
        monkeypatch.setenv("HELD", held)
        run(source, tmp_path / "out.ipynb", {"n": 2})
        cells = nbformat.read(tmp_path / "out.ipynb", 4).cells[2:]
        said.append([cell.outputs[0].text for cell in cells])
        assert said[-1][0] == f"{tmp_path} {held} 2\n"
        assert said[-1][1:3] == ["True __main__ True\n", f"{sys.platform == 'linux'}\n"]
    assert said[0][3] != said[1][3], "what is drawn without a seed differs, as in new processes"


@pytest.mark.parametrize("value", [{1, 2}, [{1}], {1: 2}, {"a": b"x"}, (1, 2), 1j])
def test_a_parameter_that_cannot_be_written_into_a_cell_is_refused(tmp_path, value):
    source = write_notebook(tmp_path / "n.ipynb")
    with pytest.raises(AzlibError, match=r"^parameter n=.* is a \w+; expected text, a number"):
        run(source, tmp_path / "out.ipynb", {"n": value})


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", "[" * 200_000, '{"a":' * 200_000, '{"cells": [1]}', "\x00"]
)
def test_a_file_that_is_no_notebook_gets_one_line(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text)
    with pytest.raises(AzlibError, match=r"n\.ipynb is not a notebook that can be run") as error:
        run(tmp_path / "n.ipynb", tmp_path / "out.ipynb")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_kernel_that_is_not_there_and_a_folder_for_output_get_one_line(tmp_path):
    source = write_notebook(tmp_path / "n.ipynb", kernel="no-such-kernel")
    with pytest.raises(AzlibError, match="asks for the kernel 'no-such-kernel'"):
        run(source, tmp_path / "out.ipynb")
    with pytest.raises(AzlibError, match="is a folder; expected the name of a notebook"):
        run(source, tmp_path)
    (tmp_path / "n.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    with pytest.raises(AzlibError, match="could not be run: ValueError: No kernel name"):
        run(source, tmp_path / "out.ipynb")


def test_the_page_of_results_shows_the_committed_headline():
    text = (ROOT / "docs" / "results.md").read_text()
    (shown,) = re.findall(r"<!-- headline: (\S+) -->", text)
    assert (ROOT / shown).read_text().strip() in text
