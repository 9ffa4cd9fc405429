"""What notebook 21 says of timm's models, on numbers that can be checked by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from helpers import library

import azlib
from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import models
from azlib.companion.metrics import kendall, spearman

DATA = ROOT / "data" / "models"


@pytest.fixture(scope="module")
def scores():
    return models.load(DATA)


@pytest.fixture
def truth(scores):
    noise = np.random.default_rng(0).normal(size=len(scores))
    return np.log(scores["params"]) + noise


def test_the_committed_scores_are_complete(scores):
    assert list(scores.index) == (DATA / "timm.txt").read_text().split()
    assert len(scores) >= 60 and scores["family"].nunique() >= 20
    numbers = scores.drop(columns="family")
    assert [f"own_{proxy}" for proxy in AZ_NAS] == list(numbers.columns[-4:])
    assert np.isfinite(numbers).all(axis=None)


def test_a_committed_score_is_what_the_code_computes(scores):
    library("timm")
    from azlib.cli.networks import read_networks
    from azlib.proxies import score_each

    name = "mobilenetv3_small_050"
    for prefix, init in (("", "kaiming_norm_fanin"), ("own_", None)):
        found = score_each(read_networks([f"timm:{name}"]), batch=4, proxies="az", init=init)
        for proxy, value in found.loc[name].items():
            assert value == pytest.approx(scores.loc[name, prefix + proxy], rel=2e-3), proxy


def test_top1_takes_the_best_fair_training(monkeypatch):
    rows = [
        ("a.x_in1k", 224, 70.0),
        ("a.y_in1k", 256, 72.0),
        ("a.y_in1k", 288, 74.0),  # larger images
        ("a.z_in22k_ft_in1k", 224, 80.0),  # more data
        ("a.fb_dist_in1k", 224, 79.0),  # a teacher
        ("b", 224, 60.0),
        ("c.w_in21k_ft_in1k", 224, 90.0),
    ]
    table = pd.DataFrame(rows, columns=["model", "img_size", "top1"]).set_index("model")
    monkeypatch.setattr(models, "available", lambda name: True)
    monkeypatch.setattr(models, "ground_truth", lambda name: table)
    assert models.top1(["b", "a"]).to_dict() == {"b": 60.0, "a": 72.0}
    with pytest.raises(azlib.AzlibError, match="no such training of c, d"):
        models.top1(["d", "a", "c"])


def test_without_the_table_a_line_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("OFFLINE", "1")
    monkeypatch.setenv("AZLIB_CACHE", str(tmp_path))
    assert models.top1(["a"]) is None
    said = capsys.readouterr().out
    assert "`azlib data timm`" in said and said.count("\n") == 1


def test_agreement_and_its_intervals(scores, truth):
    ranked = models.rankings(scores, ["az-graph"])
    table = models.agreement(ranked, truth, draws=200, seed=0).set_index("ranking")
    assert list(table.index) == [models.AZ, models.OWN, "az-graph", models.PARAMS, models.MACS]
    for name, row in table.iterrows():
        assert row["spearman_rho"] == pytest.approx(spearman(ranked[name], truth))
        assert row["kendall_tau"] == pytest.approx(kendall(ranked[name], truth))
        assert row["tau_low"] < row["kendall_tau"] < row["tau_high"]
    assert (table.loc[models.AZ].filter(like="minus_az") == 0).all()
    to_own = models.agreement(ranked, truth, draws=200, seed=0, against=models.OWN)
    there, back = models.compared(table.reset_index()), models.compared(to_own, models.OWN)
    turned = back.loc[models.AZ, ["minus_az_rho", "minus_az_rho_high", "minus_az_rho_low"]]
    ends = there.loc[models.OWN, ["minus_az_rho", "minus_az_rho_low", "minus_az_rho_high"]]
    np.testing.assert_allclose(-turned.astype(float), ends.astype(float))
    assert {there.loc[models.OWN, "than_az"], back.loc[models.AZ, "than_az"]} in (
        {"better", "worse"},
        {"not resolved"},
    )
    drawn = np.random.default_rng(0).integers(len(truth), size=(200, len(truth)))
    by_hand = [
        kendall(ranked[models.PARAMS].iloc[d], truth.iloc[d])
        - kendall(ranked[models.AZ].iloc[d], truth.iloc[d])
        for d in drawn
    ]
    ends = table.loc[models.PARAMS, ["minus_az_tau_low", "minus_az_tau_high"]]
    np.testing.assert_allclose(ends.astype(float), np.quantile(by_hand, [0.025, 0.975]))


def test_pairs_within_families_are_counted(scores, truth):
    pairs = models.pairs_within(scores, truth).set_index("family")
    for family, row in pairs.iterrows():
        members = scores[scores["family"] == family]
        order = aggregate(members)
        right = sum(
            0.5 if order[a] == order[b] else (order[a] > order[b]) == (truth[a] > truth[b])
            for a, b in combinations(members.index, 2)
        )
        assert row[models.AZ] == right and row["models"] == len(members) >= 3
    shares = models.shares_within(pairs.reset_index(), draws=100, seed=0).set_index("ranking")
    expected = pairs[models.MACS].sum() / pairs["pairs"].sum()
    assert shares.loc[models.MACS, "share"] == pytest.approx(expected)
    assert (shares["low"] <= shares["share"]).all() and (shares["share"] <= shares["high"]).all()


def test_what_an_interval_says():
    said = [models.resolved(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]
    assert said == ["better", "worse", "not resolved"]
    with pytest.raises(azlib.AzlibError, match=r"no scores .*timm_scores\.csv"):
        models.load("/nowhere")
    with pytest.raises(azlib.AzlibError, match=r"no exhibit .*nothing\.csv"):
        models.committed("nothing")
