"""Found networks judged afresh, Tables 2 and 3, and the study of cheap settings."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from made_up import write_scores

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import imagenet, judging, presets
from azlib.companion.metrics import kendall
from azlib.errors import AzlibError
from azlib.scoring import files
from azlib.settings import ScoreSettings
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.mobilenetv2 import MobileNetV2
from azlib.spaces.nasbench201 import NASBench201, enumerate_all

ARCHS = list(enumerate_all()[5000:5012])
SEARCHES = ROOT / "data" / "searches"


def test_scores_that_a_file_lacks_are_computed_and_kept(tmp_path, monkeypatch):
    space, path = NASBench201(), tmp_path / "s.parquet"
    settings = ScoreSettings.for_space(space, batch=2, resolution=8)
    first = judging.scores_of(ARCHS[:2], space, path, settings, [1])
    assert list(first["arch"]) == ARCHS[:2]
    both = judging.scores_of([ARCHS[2], ARCHS[0], ARCHS[2]], space, path, settings, [1])
    assert sorted(both["arch"]) == sorted([ARCHS[0], ARCHS[2]])
    assert len(files.read(path)) == 3
    monkeypatch.setattr(
        sys.modules["azlib.scoring.sweep"], "sweep", None
    )  # what is there is only read
    again = judging.scores_of(ARCHS[:3], space, path, settings, [1])
    pd.testing.assert_frame_equal(again, files.read(path))
    monkeypatch.undo()
    with pytest.raises(AzlibError, match="other settings"):
        judging.scores_of(ARCHS[:1], space, path, settings.sized(batch=4), [1])


def test_summaries_are_listed_by_name_and_seed():
    found = judging.summaries(SEARCHES, "mobilenetv2")
    assert {("450M", 123), ("450M-random", 124), ("1000M", 123)} <= set(found)
    table = judging.listed(found).set_index(["search", "seed"])
    said = json.loads((SEARCHES / "mobilenetv2_450M_seed123.json").read_text())
    row = table.loc[("450M", 123)]
    assert (row["batch"], row["pixels"]) == MobileNetV2.presets["cpu"]
    assert row["FLOPs, M"] == said["macs"] / 1e6 <= 450
    assert row["expressivity"] == said["scores"]["expressivity"]


def random_scores(archs, seeds=(1, 2)):
    rng = np.random.default_rng(0)
    rows = [(arch, seed, *rng.normal(size=4)) for seed in seeds for arch in archs]
    return pd.DataFrame(rows, columns=["arch", "seed", *AZ_NAS])


def test_contenders_are_ranked_among_everyone_under_each_seed():
    scored = random_scores([f"a{i}" for i in range(9)])
    contenders = {("initial structure", None): "a0"}
    names = ("Algorithm 1", "random search", "FLOPs only", "parameters only")
    contenders |= {(name, 7): f"a{i}" for i, name in enumerate(names, start=1)}
    judged = judging.judge(contenders, scored)
    totals = {s: aggregate(f.set_index("arch")) for s, f in scored.groupby("seed")}
    mean = (totals[1] + totals[2]) / 2
    assert judged["log-rank sum"].tolist() == pytest.approx(mean[judged["structure"]].tolist())
    assert judged["under seed 2"].tolist() == totals[2][judged["structure"]].tolist()
    places = mean.rank(ascending=False)[judged["structure"]]
    assert judged["place"].tolist() == places.tolist()
    others = mean[[f"a{i}" for i in range(5, 9)]]
    ahead = [(others > mean[arch]).sum() for arch in judged["structure"]]
    assert judged["random structures ahead"].tolist() == ahead
    assert judged["trainability"][1] == scored[scored["arch"] == "a1"]["trainability"].mean()
    wins = judging.wins(judged, [7])
    assert list(wins.index) == ["initial structure", *names[1:]]
    assert wins[7].tolist() == [bool(mean["a1"] > mean[a]) for a in ("a0", "a2", "a3", "a4")]


def test_networks_are_ranked_among_the_candidates_of_their_search():
    space = AutoFormer("tiny")
    rng = np.random.default_rng(0)
    archs = [space.sample_legal(rng) for _ in range(6)]
    everyone = pd.DataFrame({"structure": [*archs, archs[0]]})
    for name in space.proxies:
        everyone[name] = [*rng.normal(size=6), 0.0]
    found = judging.among({"ours": archs[2], "first": archs[0]}, everyone, space)
    total = aggregate(everyone[:6].set_index("structure"), proxies=space.proxies)
    assert found["log-rank sum"].tolist() == total[[archs[2], archs[0]]].tolist()
    assert set(found["of"]) == {6} and found["macs"][0] == space.count(archs[2])["macs"]


def test_layers_are_named_by_their_network():
    space = MobileNetV2()
    bars = judging.layers({"first": space.initial, "again": space.initial}, space)
    assert list(bars) == ["network", "width", "kind", "text"]
    assert len(bars) == 2 * len(space.layers(space.initial)) and bars["network"][0] == "first"


def test_table_2_gives_published_rows_and_ours():
    published = pd.DataFrame(imagenet.published_table_2()).set_index(["method", "budget"])
    assert published.loc[("AZ-NAS", "450M"), ["flops", "top1", "top1_std"]].tolist() == [
        462e6,
        78.6,
        0.2,
    ]
    assert published.loc[("ZiCo", "1000M"), "gpu_days_max"] == 0.4
    assert math.isnan(published.loc[("ZiCo", "1000M"), "flops"])
    found = judging.summaries(SEARCHES, "mobilenetv2")
    (ours,) = imagenet.our_table_2({("450M", 123): found["450M", 123]}, MobileNetV2())
    assert ours["true_macs"] == MobileNetV2().count(ours["structure"], "true")["macs"]
    assert ours["flops"] == found["450M", 123]["macs"] and ours["source"] == imagenet.OURS
    numbers = pd.DataFrame([*imagenet.published_table_2()[:1], ours])
    table = imagenet.readable(
        numbers,
        ["budget", "method"],
        [("FLOPs, M", "flops", 1e6, "{:.0f}"), ("top-1, %", "top1", 1, "{:.1f}")],
    )
    assert table["top-1, %"].tolist() == ["78.6 ± 0.2", "not trained"]
    assert table["GPU days"].tolist() == ["0.4–0.7", ""]
    assert table["FLOPs, M"].tolist() == ["462", f"{ours['flops'] / 1e6:.0f}"]
    assert imagenet.flops("600M") == imagenet.flops("600M-random") == 600e6


def test_table_3_gives_published_rows_and_ours():
    published = pd.DataFrame(imagenet.published_table_3()).set_index(["method", "size"])
    assert published.loc[("AZ-NAS", "tiny"), "params"] == 5921032
    assert published.loc[("AutoFormer", "base"), "top1"] == 82.4
    key, space = ("default", "tiny"), AutoFormer("tiny")
    arch = space.sample_legal(np.random.default_rng(0))
    judged = pd.DataFrame(
        [{"budget": "default", "size": "tiny", "network": name, "structure": arch,
          "params": 1, "macs": 2, **dict.fromkeys(space.proxies, 0.5)}
         for name in ("AZ-NAS, azlib", "most FLOPs")]
    )  # fmt: skip
    summary = {"candidates": 10, "core_hours": 0.25}
    (row,) = imagenet.our_table_3(judged, {key: summary}, {key: space})
    assert row["method"] == "AZ-NAS, azlib, default budget" and row["core_hours"] == 0.25
    assert row["true_macs"] == space.count(arch, "true")["macs"]


@pytest.fixture
def tried(tmp_path):
    space = MobileNetV2()
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(20)]
    for pixels, batch, seeds in ((224, 64, (1, 2)), (112, 16, (2,)), (64, 8, (2,))):
        path = tmp_path / f"az_mobilenetv2_{pixels}px_batch-{batch}.parquet"
        shape = {"batch": batch, "resolution": pixels}
        write_scores(path, AZ_NAS, archs, seeds, "mobilenetv2", **shape)
    write_scores(tmp_path / "az_nasbench201_32px_batch-8.parquet", AZ_NAS, ARCHS, batch=8)
    return presets.load(tmp_path)


def test_cheap_settings_are_compared_with_the_paper_s_under_another_seed(tried):
    assert set(tried) == {("mobilenetv2", *s) for s in ((224, 64), (112, 16), (64, 8))}
    assert presets.listed(tried)["structures"].tolist() == [20] * 3
    numbers = presets.compare(tried).set_index(["pixels", "proxy"])
    paper = presets.under(tried, ("mobilenetv2", 224, 64), seed=1)
    cheap = presets.under(tried, ("mobilenetv2", 112, 16), seed=2)
    assert list(paper) == [*AZ_NAS[:3], "AZ-NAS"]
    row = numbers.loc[(112, "AZ-NAS")]
    assert row["kendall_tau"] == kendall(cheap["AZ-NAS"], paper["AZ-NAS"])
    assert row["time"] == pytest.approx(64 / 16)


def test_the_best_preset_is_the_cheapest_that_is_not_told_from_the_best():
    settings = pd.DataFrame(
        {
            "batch": [64, 16, 8, 4],
            "pixels": [224, 112, 112, 32],
            "time": [1.0, 0.1, 0.05, 0.01],
            "seconds": [10.0, 1.0, 0.5, 0.1],
            "kendall_tau": [0.9, 0.8, 0.79, 0.3],
            "high": [0.92, 0.83, 0.82, 0.4],
        }
    )
    assert presets.best(settings, slowest=0.1) == (8, 112)
    assert presets.best(settings, slowest=1.0) == (64, 224)
