"""The committed scores are what their datasheets say, and the exhibits are made from them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from azlib import benchmarks, scores, study
from azlib.proxies import names
from azlib.spaces import nasbench201 as nb

SHEETS = sorted((ROOT / "data" / "scores").glob("*.json"))
COLUMNS = ["arch", "seed", "expressivity", "progressivity", "trainability", "complexity"]


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)
def test_datasheet_describes_its_file(sheet):
    said, path = json.loads(sheet.read_text()), sheet.with_suffix(".parquet")
    frame, settings = scores.read(path), scores.read_settings(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == said["sha256"]
    assert (len(frame), sorted(frame["seed"].unique())) == (said["rows"], said["seeds"])
    assert list(settings.proxies) == said["settings"]["proxies"] == names(settings.proxies)
    assert list(frame)[: len(COLUMNS)] == COLUMNS and list(frame)[-1] == "seconds"
    assert not frame.duplicated(["arch", "seed"]).any()
    assert settings.batch == 64 and said["failed"] == 0


@pytest.mark.parametrize("resolution", [32, 16])
def test_whole_space_is_there_and_degenerates_as_it_must(resolution):
    frame = scores.read(scores.COMMITTED / f"az_nasbench201_{resolution}px.parquet")
    assert frame["arch"].tolist() == list(nb.enumerate_all())
    assert frame["complexity"].tolist() == [
        nb.count(arch, 10, resolution)["macs"] for arch in frame["arch"]
    ]
    same = frame["arch"].map(nb.canonical)
    no_path = same == nb.canonical(nb.form(("none",) * 6))
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
        row = study.agreement(frame, truth, method=method)
        assert full.loc[method, "kendall_tau"] == pytest.approx(row["kendall_tau"], abs=1e-5)
        assert full.loc[method, "seeds"] == row["seeds"] and full.loc[method, "n"] == 15625
    assert full.loc["log", "kendall_tau"] >= 0.70


def test_numbers_to_reach():
    """All 15,625, four proxies: within 0.02 of the paper, log above linear, on all data sets."""
    from azlib import paper

    table = pd.read_csv(ROOT / "figures" / "nas-bench-201" / "table4.csv")
    full = table[table["proxies"] == "+".join(names("az"))]
    full = full.set_index(["dataset", "aggregation"])["kendall_tau"]
    for dataset in nb.DATASETS:
        for method in ("log", "linear"):
            published = paper.value("Table 4", method, "kendall_tau", dataset)
            assert full[dataset, method] == pytest.approx(published, abs=0.02)
        assert full[dataset, "log"] > full[dataset, "linear"]
