"""Comparisons over several benchmarks: their statistics, and the choice of a ranking on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from azlib import spaces
from azlib.aggregation import aggregate
from azlib.companion import elsewhere, left_over, places, quests, transfer
from azlib.companion.methods import Method
from azlib.companion.metrics import best_of_first, kendall
from azlib.errors import AzlibError
from azlib.scoring.files import expand


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_expand_gives_every_wanted_architecture_the_scores_of_its_network():
    space = spaces.get("transnas101-micro")
    archs = list(space)[:40]
    networks = sorted({space.canonical(arch) for arch in archs})
    scored = pd.DataFrame({"arch": networks, "seed": 1, "naswot": np.arange(len(networks))})
    found = expand(scored, space, archs).set_index("arch")["naswot"]
    assert list(found.index) == archs
    assert all(found[arch] == networks.index(space.canonical(arch)) for arch in archs)


def test_joined_keeps_what_all_have_and_is_none_where_a_proxy_is_missing():
    first = pd.DataFrame({"a": [1.0, 2.0]}, index=["x", "y"])
    second = pd.DataFrame({"b": [5.0, 6.0]}, index=["y", "z"])
    assert places.joined([first, second], ["b", "a"]).to_dict("index") == {"y": {"b": 5, "a": 2}}
    assert places.joined([first, second], ["a", "c"]) is None


def test_an_unknown_place_or_method_is_refused():
    with pytest.raises(AzlibError, match="nas-bench-macro"):
        places.frames("nas-bench-macros", "cifar10_test")
    with pytest.raises(AzlibError, match="AZ-NAS"):
        places.method("AZNAS")


def test_the_first_of_a_perfect_ranking_has_no_regret(rng):
    truth = pd.Series(rng.permutation(100).astype(float))
    table = pd.DataFrame({"good": truth, "bad": -truth})
    good = elsewhere.tops(Method("good", ("good",)), table, truth)
    bad = elsewhere.tops(Method("bad", ("bad",)), table, truth)
    assert [good[f"regret_{k}"] for k in elsewhere.TOP] == [0, 0, 0, 0]
    assert [bad[f"regret_{k}"] for k in elsewhere.TOP] == [99, 95, 90, 50]
    assert good["ndcg"] == pytest.approx(1) and bad["ndcg"] < 0.01


def test_critical_difference_is_that_of_the_literature():
    # Demšar (2006): four classifiers on 14 data sets, q = 2.569, critical difference 1.25.
    assert elsewhere.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_mean_ranks_leave_out_methods_that_a_task_lacks():
    rows = [("normal", "x", 0.5), ("normal", "y", 0.4), ("jigsaw", "x", 0.1), ("jigsaw", "y", 0.3)]
    rows += [("jigsaw", "z", 0.9), ("autoencoder", "x", 0.7), ("autoencoder", "y", 0.8)]
    numbers = pd.DataFrame(rows, columns=["task", "method", "kendall_tau"])
    numbers["benchmark"] = "transnas-bench-101-micro"
    ranks = elsewhere.mean_ranks(numbers)  # the odd task does not count
    assert sorted(ranks) == ["x", "y"] and ranks.mean().to_dict() == {"x": 1.5, "y": 1.5}
    extremes = elsewhere.extremes(numbers).set_index("method")
    assert extremes.loc["x", "best task"] == "autoencoder" and extremes.loc["x", "mean"] == 0.3


def test_regret_does_not_depend_on_the_order_of_ties(rng):
    truth = pd.Series(rng.permutation(30).astype(float))
    scores = pd.Series(rng.integers(0, 4, 30).astype(float)).where(truth != 7)  # NaN ranks last
    for k in (1, 5, 12, 40):
        found = []
        for _ in range(4000):
            shuffled = scores.sample(frac=1, random_state=rng)
            first = shuffled.sort_values(ascending=False, kind="stable").index[:k]
            found.append(truth[first].max())
        error = np.std(found) / len(found) ** 0.5
        assert best_of_first(scores, truth, k) == pytest.approx(
            np.mean(found), abs=5 * error + 1e-9
        )


def test_methods_are_compared_on_what_all_have_scored(monkeypatch):
    truth = pd.Series(range(4), index=list("abcd"), dtype=float)
    parts = (
        pd.DataFrame({"x": 1.0}, index=list("abc")),
        pd.DataFrame({"y": 1.0}, index=list("bcd")),
    )
    monkeypatch.setattr(places, "frames", lambda *_: parts)
    compared = [Method(name, (name,)) for name in "xyz"]
    found = places.in_common({("nas-bench-macro", "t"): truth}, compared)
    assert list(found["nas-bench-macro", "t"].index) == ["b", "c"]


def test_claims_compare_joins_of_the_same_proxies(rng):
    table = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"])
    truth = pd.Series(rng.normal(size=50))
    found = elsewhere.claims(Method("m", ("a", "b")), table, truth)
    assert found["without_a"] == pytest.approx(kendall(table["b"], truth))
    assert found["linear"] == pytest.approx(kendall(aggregate(table, "linear", ["a", "b"]), truth))


# --- what is left of a proxy ---------------------------------------------------------------


def test_partial_correlation_is_the_textbook_formula_for_one_control(rng):
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["x", "y", "z"])
    frame["x"] += frame["z"]
    frame["y"] -= frame["z"]
    xy, xz, yz = (spearmanr(frame[a], frame[b]).statistic for a, b in ("xy", "xz", "yz"))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    rho, low, high = left_over.partial_spearman(frame["x"], frame["y"], frame[["z"]])
    assert rho == pytest.approx(expected)
    assert low < rho < high and high - low == pytest.approx(2 * 1.96 * 1.03 / 14, abs=0.02)


def test_nothing_is_left_of_a_copy_of_a_control(rng):
    controls = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"])
    assert np.isnan(left_over.partial_spearman(controls["a"] * 3, rng.normal(size=50), controls)[0])
    with pytest.raises(AzlibError, match="7 rows"):
        left_over.partial_spearman([1, 2], [1, 2], controls[:2])


def test_within_groups_sees_no_difference_between_groups():
    groups = pd.Series(["low"] * 6 + ["high"] * 6)
    scores = pd.Series([*range(6), *range(10, 16)], dtype=float)
    accuracies = pd.Series([*range(5, -1, -1), *range(15, 9, -1)], dtype=float)
    assert kendall(scores, accuracies) > 0
    assert left_over.within_groups(scores, accuracies, groups) == pytest.approx(-1)


# --- a ranking that transfers ----------------------------------------------------------------


def part(benchmark, rng, columns=("a", "b", "params")):
    ranks = pd.DataFrame({c: (rng.permutation(80) + 1) / 80 for c in columns})
    return transfer.Part(benchmark, "task", ranks, pd.Series(rng.normal(size=80)))


def test_every_small_set_is_tried_and_measured_as_aggregate_joins_it(rng):
    parts = [part("one", rng), part("one", rng), part("two", rng)]
    table = transfer.tried(parts, ("a", "b", "params"))
    assert len(table) == 2 * 4, "sets without a count of size may not be chosen"
    row = table[(table["way"] == "linear") & (table["members"] == "a+params")].iloc[0]
    taus = [kendall(aggregate(p.ranks, "linear", ["a", "params"]), p.accuracies) for p in parts]
    assert row["one"] == pytest.approx(np.mean(taus[:2])) and row["two"] == pytest.approx(taus[2])


def test_of_those_close_to_the_best_the_smallest_is_taken():
    rows = [("log", "a", 1, 0.50), ("log", "a+b", 2, 0.597), ("linear", "b+c", 2, 0.598)]
    rows += [("log", "a+b+c", 3, 0.60)]
    table = pd.DataFrame(rows, columns=["way", "members", "size", "one"])
    assert transfer.decided(table, ["one"])["members"] == "b+c"
    assert (
        transfer.left_out(table.assign(two=table["one"]), ["one", "two"])["left_out"]
        .eq(0.598)
        .all()
    )


@pytest.mark.parametrize("benchmark", transfer.LEARNT_FROM)
def test_no_network_is_in_both_halves(benchmark):
    space = spaces.get(places.named(benchmark).space)
    archs = list(space)[::3]
    halves = dict(zip(archs, transfer.first_half(benchmark, archs), strict=True))
    by_network: dict[str, set[bool]] = {}
    for arch, half in halves.items():
        by_network.setdefault(space.canonical(arch), set()).add(bool(half))
    assert all(len(found) == 1 for found in by_network.values())
    assert 0.2 < np.mean(list(halves.values())) < 0.8


def test_candidates_are_registered_proxies():
    from azlib.proxies.registry import REGISTRY

    assert set(transfer.SIZES) < set(transfer.CANDIDATES) <= set(REGISTRY)


# --- searches ---------------------------------------------------------------------------------


def test_regret_is_what_the_best_has_more():
    found = pd.DataFrame({"benchmark": ["b"], "task": ["t"], "rule": ["r"], "score": ["s"]})
    found = found.assign(seed=1, found="x")
    truth = {("b", "t"): pd.Series({"x": 7.0, "y": 9.0, "z": 5.0})}
    row = quests.regrets(found, truth).iloc[0]
    assert (row["accuracy"], row["regret"], row["share"]) == (7, 2, 1)
    assert quests.summed_up(quests.regrets(found, truth)).iloc[0]["regret"] == 2
