"""Comparisons over several benchmarks: their statistics, and the choice of a ranking on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from azlib import spaces
from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import elsewhere, left_over, places, quests, steadiness, transfer
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
    assert found["log_lead"] == pytest.approx(found["log"] - found["linear"])
    assert found["log_lead_low"] < found["log_lead"] < found["log_lead_high"]
    best = max(found["without_a"], found["without_b"])
    assert found["all_lead"] == pytest.approx(found["log"] - best)


def test_a_verdict_needs_an_interval_without_0():
    low, high = pd.Series([0.1, -0.1, -0.3]), pd.Series([0.2, 0.1, -0.2])
    said = ["is ahead of", "is not told from", "is behind"]
    assert list(elsewhere.verdicts(low, high)) == said


def test_friedman_tells_methods_apart_only_where_they_differ(rng):
    same = pd.DataFrame([rng.permutation(5) for _ in range(8)])
    apart = pd.DataFrame([range(5)] * 8)
    assert elsewhere.friedman(apart) < 1e-5 < 0.01 < elsewhere.friedman(same)


# --- sentences that follow from the numbers ---------------------------------------------------


def task_rows(method, taus, benchmark="transnas-bench-101-micro"):
    """Rows of `elsewhere.taus` for the first tasks of a benchmark."""
    tasks = places.PLACES[benchmark].tasks
    rows = [(benchmark, task, method, tau) for task, tau in zip(tasks, taus, strict=False)]
    return pd.DataFrame(rows, columns=["benchmark", "task", "method", "kendall_tau"])


def test_findings_follow_from_the_numbers():
    taus = {"AZ-NAS": [0.5, 0.5, 0.2], "az-graph": [0.6, 0.6, 0.6], "FLOPs": [0.4, 0.1, 0.3]}
    rows = (task_rows(name, values) for name, values in taus.items())
    numbers = pd.concat(rows, ignore_index=True)
    gaps = pd.DataFrame({"difference_low": [0.1, -0.1, -0.2], "difference_high": [0.2, 0.1, -0.1]})
    said = elsewhere.findings(numbers, elsewhere.mean_ranks(numbers), gaps)
    assert (
        "are not shown to differ" in said[0] and "place 2 of 3" in said[1] and "3 tasks" in said[1]
    )
    assert said[1].endswith("critical difference: none.") and said[2].endswith(": az-graph.")
    assert "ahead of FLOPs on 1 of 3 tasks and behind on 1" in said[3]
    assert said[4] == "The best method of a task: az-graph on 3."


def test_what_helps_least_and_what_it_follows_is_told():
    claimed = task_rows("AZ-NAS", [0, 0])[["benchmark", "task"]].assign(log=[0.5, 0.6])
    for name, gain in zip(AZ_NAS, (-0.1, 0.02, -0.2, -0.3), strict=True):
        claimed[f"without_{name}"] = claimed["log"] + gain
    singles = pd.concat(task_rows(name, [-0.3, -0.1]) for name in AZ_NAS)
    counts = pd.DataFrame({"benchmark": "transnas-bench-101-micro", "proxy": AZ_NAS})
    counts = counts.assign(count="params", tau=-0.4)
    said = elsewhere.reasons(elsewhere.weakest(claimed, singles, counts))
    alone = "progressivity hurts (τ -0.20 alone; without it AZ-NAS gains 0.020, from 0.550)"
    assert said == [f"TransNAS micro: {alone}. It goes against params (τ -0.40)."]
    helped = claimed.assign(without_progressivity=claimed["log"] - 0.01)
    (sentence,) = elsewhere.reasons(elsewhere.weakest(helped, singles, counts))
    assert "no proxy hurts; least missed is progressivity (τ" in sentence and "loses" in sentence


def test_the_count_that_a_proxy_follows_is_found(rng, monkeypatch):
    table = pd.DataFrame(rng.normal(size=(60, 9)), columns=places.COUNTS)
    table = table.assign(**dict.fromkeys(AZ_NAS, -table["sharp_depth"]))
    monkeypatch.setattr(elsewhere, "frames", lambda *_: (table,))
    found = elsewhere.followed()
    assert set(found["count"]) == {"sharp_depth"} and found["tau"].eq(-1).all()
    monkeypatch.setattr(elsewhere, "frames", lambda *_: (table.drop(columns="params"),))
    with pytest.raises(AzlibError, match="params"):
        elsewhere.followed()


def test_the_claims_on_joining_are_counted():
    claimed = pd.DataFrame({f"without_{name}": [0.1, 0.1, 0.1] for name in AZ_NAS})
    claimed.loc[2, "without_progressivity"] = np.nan  # has three proxies
    for name in ("log_lead", "all_lead"):
        claimed[name] = [0.2, 0.1, -0.3]
        claimed[f"{name}_low"], claimed[f"{name}_high"] = [0.1, -0.1, -0.4], [0.3, 0.3, -0.2]
    logarithm, four = elsewhere.claims_found(claimed)
    assert "on 2 of 3 tasks" in logarithm and logarithm.endswith("ahead on 1 and behind on 1.")
    assert "on 2 of 2 tasks" in four and four.endswith("ahead on 1 and behind on 0.")


def test_the_first_networks_are_ranked_by_every_measure():
    rows = task_rows("AZ-NAS", [0, 0]), task_rows("FLOPs", [0, 0])
    numbers = pd.concat(rows).assign(ndcg=[0.9, 0.9, 0.1, 0.1])
    for k in elsewhere.TOP:
        numbers[f"regret_{k}"] = [1.0, 1.0, 0.5, 2.0]
    ranks = elsewhere.first_ranks(numbers)
    assert list(ranks) == ["best of 1", "best of 5", "best of 10", "best of 50", "nDCG"]
    assert ranks.loc["AZ-NAS"].to_dict() == {**dict.fromkeys(list(ranks)[:4], 1.5), "nDCG": 1}
    first = "By the nDCG: AZ-NAS is the first of 2 with a mean rank of 1.0"
    said = elsewhere.firsts_found(ranks, ["FLOPs"], critical=0.5)
    assert said[-1] == f"{first}, and 0 are not told from it; places: FLOPs 2."
    assert f"{first}, and 1 are not told" in elsewhere.firsts_found(ranks, ["FLOPs"], 1.5)[-1]


def test_a_dearer_setting_is_compared_on_the_same_architectures(rng, monkeypatch):
    truth = pd.Series(np.arange(40.0), index=[f"arch {n}" for n in range(40)])
    scores = pd.DataFrame(dict.fromkeys(AZ_NAS, truth))
    monkeypatch.setattr(steadiness, "frames_of", lambda *_: (scores[5:],))
    monkeypatch.setattr(steadiness, "frames", lambda *_: (-scores,))
    benchmark = "transnas-bench-101-micro"
    accuracy = {(benchmark, "jigsaw"): truth, (benchmark, "autoencoder"): -truth}
    rows = steadiness.dearer(accuracy | {("nas-bench-macro", "cifar10_test"): truth})
    assert rows["n"].to_list() == [35, 35]
    assert rows["usual"].to_list() == pytest.approx([-1, 1])
    assert rows["dear"].to_list() == pytest.approx([1, -1])
    said = steadiness.dearer_found(rows)  # the odd task is left out
    assert "mean τ of 1.000 where it has -1.000" in said
    assert said.endswith("it is better on 1 and worse on 0 of 1 tasks.")


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
    assert len(table) == 2 * 7 and table["sized"].sum() == 2 * 4  # those with a count of size
    row = table[(table["way"] == "linear") & (table["members"] == "a+params")].iloc[0]
    taus = [kendall(aggregate(p.ranks, "linear", ["a", "params"]), p.accuracies) for p in parts]
    assert row["one"] == pytest.approx(np.mean(taus[:2])) and row["two"] == pytest.approx(taus[2])


def test_of_those_close_to_the_best_the_smallest_is_taken():
    rows = [("log", "a", 1, 0.50), ("log", "a+b", 2, 0.597), ("linear", "b+c", 2, 0.598)]
    rows += [
        ("log", "a+b+c", 3, 0.60),
        ("log", "live_macs", 1, 0.3),
        ("log", "sharp_depth", 1, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["way", "members", "size", "one"])
    table["sized"] = table["members"] != "sharp_depth"
    assert transfer.decided(table, ["one"])["members"] == "b+c"
    assert transfer.decided(table, ["one"], sized=False)["members"] == "sharp_depth"
    found = transfer.left_out(table.assign(two=table["one"]), ["one", "two"])
    assert found["left_out"].eq(0.598).all() and found["sharp_depth"].eq(0.7).all()


def held_out(verdict):
    """Numbers and duels of az-transfer on held-out data, every duel with the same verdict."""
    pairs = [(name, task) for name, place in places.PLACES.items() for task in place.tasks]
    numbers = pd.DataFrame(pairs, columns=["benchmark", "task"]).assign(kendall_tau=0.7)
    duels = numbers.assign(verdict=verdict, first=0.7, second=0.6)
    opponents = (*transfer.TO_BEAT, "#Params")
    against = (duels.assign(opponent=name) for name in opponents)
    return numbers, pd.concat(against, ignore_index=True)


def test_goals_are_reached_or_missed():
    numbers, duels = held_out("is ahead of")
    goals = transfer.goals(numbers, duels).set_index("goal")
    assert goals["verdict"].value_counts().to_dict() == {"reached": 8, "missed": 2}
    assert goals.loc["mean τ on TransNAS micro ≥ 0.60", "verdict"] == "reached"
    assert goals.loc["mean τ on Macro ≥ 0.80"].to_list() == ["0.700", "missed"]
    one = duels["opponent"].eq("FLOPs") & duels["task"].eq("jigsaw")
    duels.loc[one, "verdict"] = "is not told from"
    goals = transfer.goals(numbers, duels)
    found = goals.set_index("goal").loc["ahead of FLOPs on every task of CNNs"].to_list()
    assert found == ["10 of 11", "missed"]
    told = transfer.goals(*held_out("is not told from")).set_index("goal")["verdict"]
    assert told["not below #Params on c100_kd_acc"] == "reached"


def test_what_is_held_out_is_told_by_how_networks_are_counted():
    numbers, duels = held_out("is behind")
    both = pd.concat(numbers.assign(method=name) for name in ("az-transfer", "AZ-NAS"))
    counted = [frame.assign(networks="all") for frame in (both, duels)]
    without = pd.DataFrame({"with_it": [0.7, 0.5], "left_out": [0.4, 0.5]})
    without = without.assign(live_macs=[0.5, 0.4], sharp_depth=[0.6, 0.6])
    said = transfer.findings(*counted, without)
    counted_out = (
        "all: ahead on 0, behind on 11 of 11; vision transformers: ahead on 0, behind on 7"
    )
    assert said[0] == f"az-transfer against AZ-NAS. Tasks of CNNs, {counted_out} of 7."
    assert "Mean τ on Macro. all: 0.700, AZ-NAS 0.700." in said
    assert "up to 0.300 of τ worse" in said[-1]
    assert said[-1].endswith(
        "than live_macs alone on 1 and than sharp_depth alone on 2 of 2 benchmarks."
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


def test_searches_are_told_by_who_leads():
    rows = [("jigsaw", "x", 1.0, 0.2), ("jigsaw", "y", 2.0, 0.4), ("normal", "x", 1.0, 0.6)]
    rows += [("normal", "y", 1.0, 0.6), ("autoencoder", "x", 9.0, 9.0)]
    numbers = pd.DataFrame(rows, columns=["task", "score", "regret", "share"])
    numbers = numbers.assign(benchmark="transnas-bench-101-micro", rule="a rule")
    said = "x leads on 2 (median share 0.40); y leads on 1 (median share 0.50)"
    assert quests.findings(numbers) == [f"a rule, 2 tasks: {said}."]
