"""The commands and functions for people's own networks and results."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import strangers
import torch
from helpers import library
from nbclient import NotebookClient
from strangers import Head, conv
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import azlib
from azlib.cli.networks import read_networks
from azlib.cli.tables import as_table, short

SMALL = ("--batch", 2, "--resolution", 16)
NETWORKS = f"""
import sys

sys.path.insert(0, {str(Path(__file__).parent)!r})
import strangers
import torch
from strangers import Head, conv
from torch import nn


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, y):
        return self.layer(x) + y


def residual():
    return strangers.residual()


def narrow_and_wide():
    return {{w: nn.Sequential(conv(3, w), conv(w, w), conv(w, w), Head(w)) for w in (4, 8)}}


def few():
    return {{"a": nn.Linear(1, 1), "b": nn.Linear(1, 2), 1: nn.Linear(1, 3)}}


def many():
    return {{"b": nn.Linear(1, 4), "c": nn.Linear(1, 5), 1: nn.Linear(1, 6), "1": nn.Linear(1, 7)}}


def listed():
    return [nn.Linear(1, 8), nn.Linear(1, 9)]


def mixed():
    return {{"good": strangers.residual, "pair": Pair(), "towers": strangers.NoCut, "bad": broken}}


def parallel():
    return strangers.Parallel()


def broken():
    raise OSError("no weights here")


def on_meta():
    with torch.device("meta"):
        return strangers.residual()


def pair():
    return Pair()


def towers():
    return strangers.NoCut()


def number():
    return 7
"""


@pytest.fixture(autouse=True)
def _no_pictures_left():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a file of networks, which a process loads once, wherever tests are moved."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "nets.py").write_text(NETWORKS)
    return folder


@pytest.fixture
def file(folder, monkeypatch):
    """A file of networks in the current folder."""
    monkeypatch.chdir(folder)
    return "nets.py"


def test_score_prints_what_the_library_computes(main, file):
    status, shown, said = main("score", f"{file}:residual", *SMALL, "--json", "--seed", 3)
    assert status == 0, said
    (row,) = json.loads(shown)
    assert row.pop("network") == "residual"
    model = read_networks(["nets.py:residual"], seed=3)["residual"]
    assert row == azlib.score(model, batch=2, resolution=16, seed=3)
    _, same, _ = main(
        "score", f"{file}:residual", "--input-shape", "2,3,16,16", "--json", "--seed", 3
    )
    assert same == shown
    _, kept, _ = main("score", f"{file}:residual", *SMALL, "--init", "none", "--json")
    assert kept != shown
    status, _, said = main("score", f"{file}:residual", "--seed", -1)
    assert status == 1 and "seed=-1: expected" in said and "ends on" not in said


def test_rank_shows_a_table_with_reasons(main, file):
    status, shown, said = main(
        "rank", f"{file}:mixed", f"{file}:narrow_and_wide", *SMALL, "--quiet"
    )
    assert status == 0 and said == ""
    header, *rows = shown.splitlines()
    assert header.split()[:4] == ["network", "place", "az_nas", "expressivity"]
    places = [row.split()[1] for row in rows[:6]]
    assert places[0] == "1" and places[3:] == ["4"] * 3 and places == sorted(places)
    assert {row.split()[0] for row in rows[:3]} == {"good", "4", "8"}
    reasons = "\n".join(rows[6:])
    assert "pair was not scored: Pair does not run" in reasons and "argument" in reasons
    assert "towers was not scored: " in reasons
    assert "bad was not scored: bad cannot be built: OSError: no weights here" in reasons


def test_proxies_of_ones_own_are_imported(main, file, tmp_path):
    own = tmp_path / "counting.py"
    own.write_text(
        "import azlib\n\n\n"
        '@azlib.proxy("people_count", "here")\n'
        "def people_count(probe):\n"
        "    return float(sum(p.numel() for p in probe.model.parameters()))\n"
    )
    chosen = ("--proxies", "people_count", "--import", own, "--json")
    status, shown, said = main("score", f"{file}:residual", *SMALL, *chosen)
    assert status == 0, said
    model = read_networks(["nets.py:residual"], seed=1)["residual"]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert json.loads(shown)[0]["people_count"] == count


def test_csv_and_json_go_to_a_file_too(main, file):
    _, shown, _ = main("rank", f"{file}:narrow_and_wide", *SMALL, "--csv")
    for name in ("made.csv", "made.json"):
        status, said, _ = main("rank", f"{file}:narrow_and_wide", *SMALL, "--out", name)
        assert status == 0 and said == f"wrote {name}\n"
    assert Path("made.csv").read_text() == shown
    frame = pd.read_csv("made.csv", index_col="network")
    assert frame["place"].tolist() == [
        r["place"] for r in json.loads(Path("made.json").read_text())
    ]
    ours = azlib.rank(read_networks(["nets.py:narrow_and_wide"]), batch=2, resolution=16)
    pd.testing.assert_frame_equal(frame, ours.set_axis(frame.index), rtol=1e-14)


def test_names_that_are_shared_carry_their_source(file):
    Path("others.py").write_text("from nets import residual")
    found = read_networks([f"{file}:residual", "others.py:residual", f"{file}:towers"])
    assert list(found) == ["nets.py:residual", "others.py:residual", "towers"]


def test_the_networks_of_a_list_are_numbered(file):
    found = read_networks([f"{file}:listed"])
    assert {label: network.out_features for label, network in found.items()} == {
        "listed[0]": 8,
        "listed[1]": 9,
    }


def test_keys_that_functions_share_lose_no_network(file):
    for texts in ([f"{file}:few,many"], [f"{file}:few", f"{file}:many", f"{file}:few,few"]):
        found = read_networks(texts)
        assert {label: network.out_features for label, network in found.items()} == {
            "a": 1,
            "nets.py:few:b": 2,
            "nets.py:few:1": 3,
            "nets.py:many:b": 4,
            "c": 5,
            "nets.py:many:1 (6)": 6,
            "nets.py:many:1 (7)": 7,
        }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "resnet18"], "expected timm:resnet18,resnet50"),
        (["score", "nets.py:"], "expected timm:resnet18,resnet50"),
        (["score", "none.py:net"], "none.py is not there"),
        (["score", "no.such.module:net"], "the module 'no.such.module' cannot be imported"),
        (["score", "nets.py:residul"], "Did you mean 'residual'"),
        (["score", "nets.py:broken"], "nets.py:broken ends on OSError: no weights here (line "),
        (["score", "nets.py:number"], "gives int: expected a torch.nn.Module"),
        (
            ["score", "raises.py:net"],
            "raises.py cannot be loaded: ZeroDivisionError: division by zero (line 1)",
        ),
        (["score", "nets.py:on_meta"], "is on the meta device"),
        (["score", "nets.py:pair"], "a wrapper that takes one tensor"),
        (["score", "nets.py:towers"], "blocks="),
        (["rank", "nets.py:residual"], "got 1, expected at least 2"),
        (["rank", "nets.py:narrow_and_wide", "--method", "sum"], "unknown aggregation method"),
        (["score", "nets.py:residual", "--proxies", "snap"], "Did you mean 'snip'"),
        (["score", "nets.py:residual", "--input-shape", "2x3"], "as in 64,3,32,32"),
        (["score", "nets.py:residual", "--batch", 0], "batch=0: expected an integer of at least 2"),
        (["score", "nets.py:residual", "--out", "made.txt"], "expected a name in .csv or .json"),
        (["score", "nets.py:residual", "--json", "--csv"], "json and for csv: expected one"),
        (["score", "nets.py:residual", "--json", "--out", "a.csv"], "expected one of them"),
        (["score", "nets.py:broken", "--out", "nets.py/a.csv"], "cannot write nets.py/a.csv: "),
    ],
)
def test_bad_networks_get_one_line(main, file, arguments, message):
    Path("raises.py").write_text("1 / 0")
    before = [path for path in sorted(Path().iterdir()) if path.name != "__pycache__"]
    status, shown, said = main(*arguments, *([] if "--batch" in arguments else SMALL[:2]))
    assert status == 1 and message in said, said
    assert shown == "" and said.count("\n") == 1
    assert [path for path in sorted(Path().iterdir()) if path.name != "__pycache__"] == before


def test_libraries_of_models_by_name(main):
    library("timm")
    few = ["--batch", 2, "--resolution", 32, "--proxies", "params"]
    names = ["timm:resnet18,mobilenetv3_small_050", "torchvision:resnet18"]
    status, shown, said = main("score", *names, *few, "--csv")
    assert status == 0, said
    assert shown.splitlines() == [
        "network,params",
        "timm:resnet18,11689512.0",
        "mobilenetv3_small_050,1593224.0",
        "torchvision:resnet18,11689512.0",
    ]
    for source in ("timm", "torchvision"):
        status, _, said = main("score", f"{source}:resnet19")
        assert status == 1 and said.count("\n") == 1 and len(said) < 200
        assert "Did you mean 'resnet18' or" in said and "are known" in said


def test_a_library_that_is_not_there_is_named(main, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    status, _, said = main("score", "timm:resnet18")
    assert status == 1 and "needs the package timm: pip install 'azlib[models]'" in said


def test_warnings_are_one_line_and_quiet_has_none(main, file):
    options = [f"{file}:parallel", "--batch", 2, "--csv"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        status, loud, said = main("score", *options)
        assert status == 0 and said.startswith("azlib: Parallel: ") and said.count("\n") == 1
        assert main("score", *options, "--quiet") == (0, loud, "")


def test_version_and_completion_need_no_torch(main):
    assert main("--version") == (0, f"azlib {azlib.__version__}\n", "")
    assert "azlib --install-completion" in main("--help")[1]
    complete = """
import sys
from azlib.cli import main
sys.argv = ["azlib"]
try:
    main()
except SystemExit:
    print("torch" in sys.modules)
"""
    shell = {"_AZLIB_COMPLETE": "complete_bash", "COMP_WORDS": "azlib ra", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", complete],
        env={**os.environ, **shell},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["rank", "False"]


def test_rank_builds_networks_when_their_turn_comes():
    alive = []

    def build():
        alive.append(len(alive))
        return strangers.residual(torch.rand(()).item())

    frame = azlib.rank({"a": build, "b": build}, (2, 3, 8, 8), init=None)
    assert alive == [0, 1] and frame["az_nas"].nunique() == 1, "both draw the same"


def test_numbers_for_people():
    assert [short(v) for v in (0.12345, 12.345678, 1.8191e9, 4.2e6, 23456.0, 3)] == [
        "0.1235",
        "12.35",
        "1.819 G",
        "4.2 M",
        "23.46 k",
        "3",
    ]
    assert [short(v) for v in (9999.4, 9999.7, -9999.7)] == ["9999", "10 k", "-10 k"]
    assert [short(v) for v in (float("nan"), -float("inf"))] == ["nan", "-inf"]
    frame = pd.DataFrame({"complexity": [2e9, float("nan")], "reason": [None, "no"]}, ["a", "b"])
    assert as_table(frame).splitlines()[-1] == "b was not scored: no"


@pytest.fixture
def ranking():
    """Three networks by two proxies, of which one could not be scored."""
    scores = pd.DataFrame(
        {"a": [1.0, 2.0, float("nan")], "b": [5.0, 4.0, float("nan")]}, list("xyz")
    )
    ranks = pd.DataFrame({"rank_a": [2.0, 3.0, 1.0], "rank_b": [3.0, 2.0, 1.0]}, list("xyz"))
    more = {"score": [-0.5, -0.4, -2.2], "place": [2, 1, 3], "reason": [None, None, "no blocks"]}
    return scores.join(ranks).assign(**more)


def test_plot_ranking_draws_ranks_from_the_best_on(ranking, tmp_path):
    axes = azlib.plot_ranking(ranking)
    (image,) = axes.images
    expected = np.array([[3, 2], [2, 3], [np.nan, np.nan]]) / 3
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected)
    assert [text.get_text() for text in axes.texts] == ["3", "2", "2", "3"]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "y  (-0.40)",
        "x  (-0.50)",
        "z  (not scored)",
    ]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b"]
    ranking.rename_axis("network").to_csv(tmp_path / "r.csv")
    again = azlib.plot_ranking(pd.read_csv(tmp_path / "r.csv", index_col="network"), ax=axes)
    assert again is axes and len(plt.get_fignums()) == 1
    with pytest.raises(azlib.AzlibError, match=r"what azlib\.rank returns.*the columns are a, b$"):
        azlib.plot_ranking(ranking[["a", "b"]])


def test_plot_search_draws_every_candidate_and_the_winner(tmp_path):
    from azlib.search import Count, RandomSearch, search
    from azlib.spaces import get

    space, out = get("nasbench201"), tmp_path / "log.parquet"
    result = search(space, RandomSearch(), Count(space), iterations=12, seed=1, out=out)
    axes = azlib.plot_search(result)
    sums = np.log(result.log["count"].rank() / 12)
    np.testing.assert_allclose(axes.collections[0].get_offsets()[:, 1], sums)
    leading = result.log["count"].cummax().map(dict(zip(result.log["count"], sums, strict=True)))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), leading)
    for same in (result.log, out, str(out)):
        other = azlib.plot_search(same)
        np.testing.assert_array_equal(other.lines[0].get_xydata(), axes.lines[0].get_xydata())
    with pytest.raises(azlib.AzlibError, match=r"unknown proxy .macz.\. Did you mean .macs."):
        azlib.plot_search(result, ["macz"])
    for wrong in (result.log[["count"]], 3, tmp_path / "none.parquet"):
        with pytest.raises(azlib.AzlibError, match=r"search log|log of a search"):
            azlib.plot_search(wrong)


def test_matplotlib_is_asked_for_when_it_is_needed(ranking, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(azlib.AzlibError, match=r"matplotlib: pip install 'azlib\[plot\]'"):
        azlib.plot_ranking(ranking)


def test_a_picture_is_shown_once_in_a_notebook():
    code = """
import pandas as pd, azlib
columns = {"rank_a": [1.0, 2.0], "score": [-0.7, 0.0], "place": [2, 1]}
azlib.plot_ranking(pd.DataFrame(columns, ["x", "y"]))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [o for o in notebook.cells[0].outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 1


# --- what strangers' networks do ------------------------------------------------------------


class Wild(nn.Module):
    """Draws from every global stream, and replaces a buffer, whenever it runs."""

    primary_blocks = ("first", "second")

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)
        self.register_buffer("mean", torch.ones(1).expand(4))
        self.config = object()  # printed with its address

    def extra_repr(self):
        return f"config={self.config}"

    def forward(self, x):
        x = self.first(x) * (1 + random.random() + np.random.rand() + torch.rand(()))
        if self.training and torch.rand(()) < 0.5:
            return self.head(x.mean((2, 3)))
        self.mean = self.mean * 0.5 + x.detach().mean((0, 2, 3))
        return self.head((self.second(x) + self.mean[:, None, None]).mean((2, 3)))


def test_a_score_of_a_network_that_draws_and_changes_itself_repeats():
    names = ["live_macs", "naswot", "complexity", "grad_norm"]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    model = nn.Sequential(Wild(), nn.ReLU())
    first = azlib.score(model, (4, 3, 8, 8), proxies=names, blocks=["0.first", "0.second"])
    random.seed(7)
    again = nn.Sequential(Wild(), nn.ReLU())  # printed with another address
    order = names[::-1]
    assert azlib.score(again, (4, 3, 8, 8), proxies=order, blocks=["0.first", "0.second"]) == first
    assert first["complexity"] == 36 * 36 * 3 + 16 * 36 * 4 + 12  # of all layers, always
    random.seed(3)
    before = random.getstate()
    azlib.score(model, (4, 3, 8, 8), proxies="naswot")
    assert random.getstate() == before and len(states) == 3


def test_the_original_is_not_reached_through_what_it_holds():
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.post = lambda x: self.norm(x)

        def forward(self, x):
            return self.post(x).mean((2, 3))

    model = Held()
    for ask in (azlib.score, azlib.blocks):
        with pytest.raises(azlib.AzlibError, match="reaches the original by a function"):
            ask(model, (4, 3, 8, 8))
    assert model.norm.num_batches_tracked == 0 and not model.norm._forward_pre_hooks


def test_threads_score_one_after_another():
    nets = [nn.Sequential(conv(3, 4), nn.Dropout(), conv(4, 4), Head(4)) for _ in range(4)]
    alone = [azlib.score(net, (4, 3, 8, 8)) for net in nets]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda net: azlib.score(net, (4, 3, 8, 8)), nets * 2))
    assert together == alone * 2
    assert torch.backends.mha.get_fastpath_enabled()


def test_compiled_parts_and_weights_that_are_computed():
    plain = nn.Sequential(conv(3, 4), conv(4, 4), Head(4))
    with warnings.catch_warnings():  # PyTorch warns of itself
        warnings.simplefilter("ignore")
        compiled = nn.Sequential(conv(3, 4), torch.compile(conv(4, 4)), Head(4))
        script = torch.jit.trace(plain, torch.zeros(2, 3, 8, 8))
    assert azlib.score(compiled, (4, 3, 8, 8)) == azlib.score(plain, (4, 3, 8, 8))
    chain = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(3, 3, 3), nn.ReLU())))
    found = list(azlib.blocks(chain, (4, 3, 12, 12)))
    for layer in chain[::2]:
        weight_norm(layer)
    assert list(azlib.blocks(chain, (4, 3, 12, 12))) == found
    chain.extend([nn.Flatten(), nn.Linear(108, 3)])
    with pytest.raises(azlib.AzlibError, match="of ParametrizedConv2d is computed from others"):
        azlib.score(chain, (4, 3, 12, 12), proxies="synflow")
    with pytest.raises(azlib.AzlibError, match="got TorchScript, which cannot be looked into"):
        azlib.score(script)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: azlib.rank(5), "expected networks in a list or a dictionary, got int"),
        (lambda: azlib.rank({1: Head(3), "1": Head(3)}), "two networks have the same name"),
        (lambda: azlib.rank([Head(3)] * 2, method="lin"), "'lin'. Did you mean 'linear'"),
        (lambda: azlib.Reference.of_models([Head(3)]), "expected a dictionary from names"),
        (lambda: azlib.Reference.of_models({"a": Head(3)}, batchs=2), "Did you mean 'batch'"),
        (lambda: azlib.Reference.of_space("nasbench201"), "type str is no search space"),
    ],
)
def test_a_wrong_argument_gets_one_line(call, message):
    with pytest.raises(azlib.AzlibError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
