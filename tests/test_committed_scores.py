"""The committed scores are what their datasheets say, and the exhibits are made from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from random import Random

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from azlib import spaces
from azlib.companion import agreement, benchmarks, methods
from azlib.inputs.initialisation import INITIALISATIONS
from azlib.proxies import names
from azlib.scoring import scores
from azlib.scoring.sweep import sample
from azlib.spaces import nasbench201 as nb

SHEETS = sorted((ROOT / "data" / "scores").glob("*.json"))
BATCH = {"graph": 2, "counts": 2, "ntk": 16}  # other than the paper's 64
NO_PATH = nb.canonical(nb.form(("none",) * 6))


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)
def test_datasheet_describes_its_file(sheet):
    said, path = json.loads(sheet.read_text()), sheet.with_suffix(".parquet")
    frame, settings = scores.read(path), scores.read_settings(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == said["sha256"]
    assert (len(frame), sorted(frame["seed"].unique())) == (said["rows"], said["seeds"])
    assert list(settings.proxies) == said["settings"]["proxies"] == names(settings.proxies)
    assert list(frame)[: 2 + len(settings.proxies)] == ["arch", "seed", *settings.proxies]
    assert not frame.duplicated(["arch", "seed"]).any()
    assert settings.resolution == int(sheet.stem.split("_")[2].removesuffix("px"))
    family, space, _, *what = sheet.stem.split("_")
    assert settings.space.removesuffix("-full") == space
    batches = [int(w.removeprefix("batch-")) for w in what if w.startswith("batch-")]
    assert settings.batch == (batches or [BATCH.get(family, 64)])[0]
    failed = frame[list(settings.proxies)].isna().all(axis=1)
    assert failed.sum() == said["failed"]
    assert (frame["arch"][failed].map(nb.canonical) == NO_PATH).all()


@pytest.mark.parametrize(
    ("name", "budget", "count"), [("mobilenetv2", 450e6, 200), ("autoformer-tiny", "tf-tas", 32)]
)
def test_studies_of_presets_are_of_the_same_random_architectures(name, budget, count):
    drawn = sample(spaces.get(name, budget=budget), count)
    paths = sorted(scores.COMMITTED.glob(f"az_{name}*_batch-*.parquet"))
    assert len(paths) >= 5
    for path in paths:
        seeds = [1, 2] if path.stem.endswith("224px_batch-64") else [2]
        for seed, frame in scores.read(path).groupby("seed"):
            assert frame["arch"].tolist() == drawn and seed in seeds


WHOLE = ("az", "graph", "counts", "saliency", "jacobian", "patterns")


@pytest.mark.parametrize("family", methods.FAMILIES)
def test_every_family_covers_the_space_or_the_same_sample(family):
    frame = scores.load("cifar10", nb.NASBench201(), family)
    whole = nb.enumerate_all()
    expected = whole if family in WHOLE else sorted(Random(0).sample(whole, 1000))
    for _, of_seed in frame.groupby("seed"):
        assert of_seed["arch"].tolist() == list(expected)
    assert set(frame["seed"]) == (set(range(1, 6)) if family == "az" else {1})
    assert set(methods.FAMILIES[family]) <= set(frame)


VARIED = sorted(scores.COMMITTED.glob("*_nasbench201_32px_*-*.parquet"))


@pytest.mark.parametrize("path", VARIED, ids=lambda path: path.stem)
def test_a_varied_setting_is_the_one_that_the_name_tells(path):
    family, what = path.stem.split("_nasbench201_32px_")
    kind, _, value = what.partition("-")
    settings = scores.read_settings(path)
    usual = scores.read_settings(scores.COMMITTED / f"{family}_nasbench201_32px.parquet")
    field = "images" if kind == "input" and family != "az" else kind
    asked = {**asdict(usual), field: int(value) if kind == "batch" else value}
    assert {**asdict(settings), "proxies": None} == {**asked, "proxies": None}  # no diagnostics
    count = 300 if family == "grasp" else 500
    expected = sorted(Random(0).sample(nb.enumerate_all(), count))
    if settings.unique:
        expected = list(dict.fromkeys(map(nb.canonical, expected)))
    assert scores.read(path)["arch"].tolist() == expected


def test_every_initialisation_batch_size_and_input_was_varied():
    what = {path.stem.split("_32px_")[1] for path in VARIED if path.stem.startswith("az_")}
    drawn = {f"init-{name}" for name in INITIALISATIONS if name != "kaiming_norm_fanin"}
    assert what == drawn | {"batch-8", "batch-16", "batch-32", "input-patches"}


def test_graph_proxies_cover_the_space_and_agree_with_its_counts():
    space = nb.NASBench201()
    graph = scores.load("cifar10", space, "graph").set_index("arch")
    counts = scores.load("cifar10", space, "counts").set_index("arch")
    assert len(graph) == len(counts) == len(space)
    for arch in nb.enumerate_all()[::97]:
        costs, live = nb.count(arch), nb.count(arch, live=True)["macs"]
        assert counts.loc[arch, "params"] == costs["params"]
        disconnected = nb.canonical(arch) == NO_PATH
        assert graph.loc[arch, "live_macs"] == (0 if disconnected else live - 10)  # bias adds


@pytest.mark.parametrize("resolution", [32, 16])
def test_whole_space_is_there_and_degenerates_as_it_must(resolution):
    frame = scores.read(scores.COMMITTED / f"az_nasbench201_{resolution}px.parquet")
    assert frame["arch"].tolist() == list(nb.enumerate_all())
    assert frame["complexity"].tolist() == [
        nb.count(arch, 10, resolution)["macs"] for arch in frame["arch"]
    ]
    same = frame["arch"].map(nb.canonical)
    no_path = same == NO_PATH
    identity = same == nb.canonical(nb.form(("none",) * 3 + ("skip_connect", "none", "none")))
    assert (frame["expressivity"].isna() == no_path).all() and no_path.sum() == 341
    assert (np.isneginf(frame["trainability"]) == identity).all() and identity.sum() == 400


def test_committed_exhibits_come_from_the_committed_scores():
    """Embedded ground truth: recompute two rows of Table 4 and compare with the committed file."""
    truth = benchmarks.load()
    frame = scores.load("cifar10", nb.NASBench201())
    table = pd.read_csv(ROOT / "figures" / "analog-nasbench" / "table4.csv")
    full = table[table["proxies"] == "+".join(names("az"))].set_index("aggregation")
    for method in ("log", "linear"):
        row = agreement.agreement(frame, truth, method=method)
        assert full.loc[method, "kendall_tau"] == pytest.approx(row["kendall_tau"], abs=1e-5)
        assert full.loc[method, "seeds"] == row["seeds"] and full.loc[method, "n"] == 15625
    assert full.loc["log", "kendall_tau"] >= 0.70


def test_numbers_to_reach():
    """All 15,625, four proxies: within 0.02 of the paper, log above linear, on all data sets."""
    from azlib.companion import paper

    table = pd.read_csv(ROOT / "figures" / "nas-bench-201" / "table4.csv")
    full = table[table["proxies"] == "+".join(names("az"))]
    full = full.set_index(["dataset", "aggregation"])["kendall_tau"]
    for dataset in nb.DATASETS:
        for method in ("log", "linear"):
            published = paper.value("Table 4", method, "kendall_tau", dataset)
            assert full[dataset, method] == pytest.approx(published, abs=0.02)
        assert full[dataset, "log"] > full[dataset, "linear"]
