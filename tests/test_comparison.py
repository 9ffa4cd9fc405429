"""Table 1, Table 5 and the exhibit of settings, on score files of random numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up import write_scores

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import adding, agreement, comparison, methods, sensitivity
from azlib.companion.metrics import kendall, ndcg
from azlib.spaces.nasbench201 import NASBench201, enumerate_all

SPACE = NASBench201()
ARCHS = list(enumerate_all()[::300])
TRUTH = pd.DataFrame(
    {"cifar10": np.random.default_rng(0).uniform(80, 94, len(ARCHS))},
    index=pd.Index(ARCHS, name="arch"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    plain, az = "nasbench201_32px", AZ_NAS
    write_scores(folder / f"az_{plain}.parquet", az, ARCHS, (1, 2), resolution=32)
    write_scores(folder / f"zico_{plain}.parquet", ("zico",), ARCHS[5:], labelled_images="patches")
    few = ARCHS[10:40]
    write_scores(folder / f"az_{plain}_batch-16.parquet", az, few, batch=16)
    write_scores(folder / f"az_{plain}_batch-8.parquet", az, few, batch=8)
    images = {"labelled_images": "gaussian"}
    write_scores(folder / f"zico_{plain}_input-gaussian.parquet", ("zico",), few, **images)
    write_scores(folder / f"grasp_{plain}_input-gaussian.parquet", ("grasp",), few, **images)
    return folder


def test_table_1_compares_every_method_on_every_set(folder):
    frames = {"cifar10": methods.read("cifar10", SPACE, folder)}
    compared = [methods.method("ZiCo"), methods.method("AZ-NAS")]
    sets = {"all": set(ARCHS), "no-dead-edges": set(ARCHS[:20])}
    numbers = comparison.compare(compared, frames, TRUTH, sets, {"az": 40.0, "zico": 100.0})
    assert list(numbers["method"]) == ["ZiCo", "ZiCo", "AZ-NAS", "AZ-NAS"]
    assert list(numbers["n"]) == [len(ARCHS) - 5, 15, len(ARCHS), 20]
    assert list(numbers["seeds"]) == [1, 1, 2, 2]
    assert list(numbers["paper_tau"].fillna(0)) == [0.589, 0, 0.741, 0]
    scored = frames["cifar10"]["az"]
    taus = [kendall(aggregate(f), a) for f, a in agreement.by_seed(scored, TRUTH["cifar10"])]
    assert numbers["kendall_tau"].iloc[2] == pytest.approx(np.mean(taus))
    table = comparison.readable(numbers)
    assert list(table["time"]) == ["2.50", "2.50", "1.00", "1.00"]
    assert table["selected, %"].str.contains("±").tolist() == [False, False, True, True]
    assert table["paper τ / ρ"].tolist()[0] == "0.589" and table["n"].iloc[1] == "15"
    assert set(table["verdict"]) == {"differs"}  # these numbers are random
    described = comparison.describe(compared, frames["cifar10"])
    assert described["input"].tolist() == ["patches 32 px", "gaussian 32 px"]
    assert described["batch"].tolist() == ["64", "64"]


def test_running_times_are_those_of_the_file_or_none(tmp_path):
    assert comparison.running_times(tmp_path / "none.csv") == {}
    (tmp_path / "times.csv").write_text("proxy,ms_per_arch\naz,40\n")
    assert comparison.running_times(tmp_path / "times.csv") == {"az": 40}


def test_ndcg_of_samples_looks_at_as_large_a_share():
    frame = pd.DataFrame({"zico": np.arange(100.0)}, index=[f"a{i}" for i in range(100)])
    accuracies = pd.Series(np.linspace(80, 94, 100), index=frame.index)
    found = comparison.sampled_ndcg(methods.method("ZiCo"), frame, accuracies, 20, 1000)
    assert found == pytest.approx([1.0] * 50)
    back = comparison.sampled_ndcg(methods.method("ZiCo"), -frame, accuracies, 100, 1000)
    assert back == pytest.approx([ndcg(-frame["zico"], accuracies, 100)] * 50)


def test_table_5_adds_proxies_to_a_method(folder):
    frames = {"cifar10": methods.read("cifar10", SPACE, folder)}
    numbers = adding.compare({"ZiCo": "zico"}, frames, TRUTH)
    assert list(numbers["added"]) == ["", *AZ_NAS, *["all four"] * 4]
    alone = numbers["kendall_tau"].iloc[0]
    own = numbers["base"] == "ZiCo"
    assert (numbers["tau_before"][own] == alone).all() and numbers["tau_before"][~own].isna().all()
    assert (numbers["gain"][own] == numbers["kendall_tau"][own] - alone).all()
    joined = methods.join(("zico", *AZ_NAS), frames["cifar10"])
    ((frame, accuracies),) = agreement.by_seed(joined, TRUTH["cifar10"])
    linear = numbers[own & (numbers["aggregation"] == "linear")]["kendall_tau"].item()
    assert linear == kendall(aggregate(frame, "linear", ("zico", *AZ_NAS)), accuracies)


def test_variants_are_the_files_with_a_changed_setting(folder):
    found = sensitivity.variants(folder, SPACE)
    assert [(v.group, v.varied, v.setting) for v in found] == [
        ("az", "batch size", "8"),
        ("az", "batch size", "16"),
        ("grasp", "input", "gaussian"),
        ("zico", "input", "gaussian"),
    ]


def test_a_variant_meets_the_default_on_the_same_architectures(folder):
    usual = methods.read("cifar10", SPACE, folder)
    eight, _, _, zico = sensitivity.variants(folder, SPACE)
    rows = pd.DataFrame(sensitivity.against_default(eight, usual, TRUTH))
    assert list(rows["method"]) == ["AZ-NAS", *AZ_NAS[:3]] and set(rows["n"]) == {30}
    default = usual["az"][usual["az"]["seed"] == 1].set_index("arch").loc[ARCHS[10:40]]
    there = TRUTH.loc[ARCHS[10:40], "cifar10"]
    before = kendall(aggregate(default), there)
    assert rows["difference"][0] == pytest.approx(rows["kendall_tau"][0] - before)
    (row,) = sensitivity.against_default(zico, usual, TRUTH)
    assert (row["method"], row["setting"]) == ("zico", "gaussian")


def test_seeds_and_samples(folder):
    scored = methods.read("cifar10", SPACE, folder)["az"]
    seeds = sensitivity.of_seeds(scored, TRUTH)
    assert list(seeds["setting"]) == ["1", "2"] and seeds["tau_with_default"][0] == 1
    assert seeds["difference"].isna().all()
    rng = np.random.default_rng(0)
    samples = sensitivity.of_samples(scored, TRUTH, (10, 20, 1000), 4, rng)
    assert list(samples["architectures"]) == [10] * 4 + [20] * 4
    assert (samples["shortfall, %"] >= 0).all()
    assert (samples["selected, %"] + samples["shortfall, %"]).between(80, 94).all()


def test_orders_are_compared_among_the_best():
    accuracies = pd.Series(np.arange(200.0), [f"a{n}" for n in range(200)])
    swapped = accuracies.copy()
    swapped.iloc[[198, 199]] = swapped.iloc[[199, 198]].to_numpy()  # the best two, mixed up
    orders = {"same": [accuracies], "swapped": [accuracies[::-1], swapped]}
    found = sensitivity.among_the_best(accuracies, orders).set_index(["order", "best, %"])
    assert list(found["architectures"][:5]) == [200, 100, 50, 20, 2]
    assert list(found["from, %"][:5]) == [0, 100, 150, 180, 198]
    assert (found.loc["same", "kendall_tau"] == 1).all()
    taus = found.loc["swapped", "kendall_tau"]
    pairs = 20 * 19 / 2
    assert taus[10] == pytest.approx(1 - 1 / pairs)  # mean of 1 and 1 - 2 / pairs
    assert taus[1] == 0  # mean of 1 and -1
    assert taus.is_monotonic_increasing is False and taus[100] > taus[50] > taus[25] > taus[10]
