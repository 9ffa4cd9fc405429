"""Choosing and testing assemblies, on scores whose best assembly is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from azlib import proxies
from azlib.aggregation import ASSEMBLIES, AZ_NAS, aggregate
from azlib.companion import assemblies, methods
from azlib.companion.assemblies import (
    choose,
    chosen,
    evaluate,
    half,
    leave_one_out,
    load_groups,
    log_ranks,
    score,
)
from azlib.companion.metrics import kendall
from azlib.errors import AzlibError
from azlib.proxies import names, rank
from azlib.scoring.files import COMMITTED, load
from azlib.spaces import nasbench201 as nb
from azlib.spaces.nasbench201 import NASBench201

ARCHS = [f"arch{i}" for i in range(300)]
RNG = np.random.default_rng(0)
PARTS = pd.DataFrame(RNG.normal(size=(300, 4)), index=ARCHS, columns=["a", "b", "noise", "e"])
TRUTH = 70 + 5 * (PARTS["a"] + PARTS["b"] + 0.2 * PARTS["e"])


def group(columns: list[str], seeds=(1,)) -> pd.DataFrame:
    """Scores that differ between the seeds by a little noise."""
    frames = []
    for seed in seeds:
        shift = np.random.default_rng(seed).normal(scale=0.1, size=(300, len(columns)))
        frame = PARTS[columns] + (shift if len(seeds) > 1 else 0)
        frames.append(frame.assign(seed=seed, seconds=1.0, seconds_a=1.0))
    return pd.concat(frames).rename_axis("arch").reset_index()


LOGS = log_ranks([group(["a", "b"]), group(["noise"])], ARCHS)


def test_one_seed_gives_the_log_rank_sum_of_the_paper():
    expected = aggregate(PARTS[["a", "b"]], proxies=["a", "b"])
    pd.testing.assert_series_equal(score(LOGS, ["a", "b"]), expected, check_names=False)
    assert list(LOGS) == ["a", "b", "noise"]  # neither seeds nor running times


def test_logarithms_are_averaged_over_the_seeds_of_each_group():
    logs = log_ranks([group(["a"], seeds=(1, 2)), group(["b"])], ARCHS)
    apart = [
        log_ranks([rows], ARCHS)["a"] for _, rows in group(["a"], seeds=(1, 2)).groupby("seed")
    ]
    np.testing.assert_allclose(logs["a"], (apart[0] + apart[1]) / 2)
    np.testing.assert_allclose(logs["b"], LOGS["b"])


def test_architectures_are_ranked_among_those_asked_for():
    logs = log_ranks([group(["a"])], ARCHS[:10])
    assert list(logs.index) == ARCHS[:10] and logs["a"].max() == 0
    expected = aggregate(PARTS[["a"]].iloc[:10], proxies=["a"])
    np.testing.assert_allclose(logs["a"], expected)


def test_greedy_selection_finds_the_members_and_leaves_out_the_noise():
    tried = choose(LOGS, TRUTH, list(LOGS))
    assert set(chosen(tried)) == {"a", "b"}
    assert set(tried.loc[tried["step"] == 1, "change"]) == {"+a", "+b", "+noise"}
    assert tried["kendall_tau"].max() == tried.loc[tried["taken"], "kendall_tau"].iloc[-1]
    assert tried.loc[tried["taken"], "kendall_tau"].is_monotonic_increasing
    for row in tried.itertuples():
        tau = kendall(score(LOGS, row.proxies.split("+")), TRUTH.loc[LOGS.index])
        assert row.kendall_tau == pytest.approx(tau)


def test_greedy_selection_drops_a_bad_start():
    """From noise and one good proxy: the second good one is added, the noise is dropped."""
    tried = choose(LOGS, TRUTH, list(LOGS), start=["noise", "a"])
    assert set(chosen(tried)) == {"a", "b"}
    assert list(tried.loc[tried["taken"], "change"]) == ["start", "+b", "-noise"]
    assert tried.iloc[0]["proxies"] == "noise+a"


def test_accuracies_are_matched_by_name():
    shuffled = TRUTH.sample(frac=1, random_state=0)
    assert evaluate(LOGS, shuffled, ["a", "b"]) == evaluate(LOGS, TRUTH, ["a", "b"])
    assert chosen(choose(LOGS, shuffled, list(LOGS))) == chosen(choose(LOGS, TRUTH, list(LOGS)))
    both = [leave_one_out(LOGS, truth, ["a", "b"]) for truth in (TRUTH, shuffled)]
    pd.testing.assert_series_equal(*both)


def test_evaluation_and_what_each_member_is_worth():
    found = evaluate(LOGS, TRUTH, ["a", "b"])
    assert found["tau_low"] < found["kendall_tau"] < found["tau_high"] and found["n"] == 300
    assert found["selected_accuracy"] == TRUTH[found["selected"]]
    assert 0 < found["ndcg"] <= 1
    lost = leave_one_out(LOGS, TRUTH, ["a", "b", "noise"])
    alone = evaluate(LOGS, TRUTH, ["b", "noise"])["kendall_tau"]
    full = evaluate(LOGS, TRUTH, ["a", "b", "noise"])["kendall_tau"]
    assert lost["a"] == pytest.approx(full - alone)
    assert lost["noise"] < 0 < lost["b"]


def test_halves_are_halves_whatever_the_order():
    archs = list(NASBench201())
    first = half(archs)
    assert 0.48 < first.mean() < 0.52
    assert (half(archs[::-1]) == first[::-1]).all()
    assert first.sum() == 7832  # the split that the committed choice was made on


def test_what_cannot_be_assembled():
    with pytest.raises(AzlibError, match="two groups of scores hold a:"):
        log_ranks([group(["a"]), group(["a", "b"])], ARCHS)
    with pytest.raises(AzlibError, match="1 of 301 architectures have no a"):
        log_ranks([group(["a"])], [*ARCHS, "other"])
    with pytest.raises(AzlibError, match="Did you mean 'noise'"):
        score(LOGS, ["nois"])


def test_named_assemblies_are_made_of_proxies():
    for name, members in ASSEMBLIES.items():
        assert names(members) == names(name) == list(dict.fromkeys(members))
        assert proxies.members(name) == proxies.members([f" {name}"]) == members
        assert proxies.members(f"{name}, snip") == (*members, "snip")
    assert ASSEMBLIES["az-nas"] == proxies.members() == AZ_NAS


def test_a_repeated_member_weighs_twice():
    """From `a` alone: `b` is worth adding, and more than once where repeats are allowed."""
    truth = PARTS["a"] + 1.7 * PARTS["b"]
    once = chosen(choose(LOGS, truth, list(LOGS), start=["a"]))
    more = chosen(choose(LOGS, truth, list(LOGS), start=["a"], repeats=True))
    assert sorted(once) == ["a", "b"] and more.count("b") > more.count("a") > 0
    expected = sum(LOGS[name] for name in more)
    np.testing.assert_allclose(score(LOGS, more), expected)
    np.testing.assert_allclose(aggregate(PARTS, proxies=more), expected)
    tried = choose(LOGS, truth, list(LOGS), start=["a", "b", "b"], repeats=True)
    fewer = tried[(tried["step"] == 1) & (tried["change"] == "-b")]
    assert list(fewer["proxies"]) == ["a+b"]  # one copy is dropped at a time
    lost = leave_one_out(LOGS, truth, more)  # all copies at once
    assert list(lost.index) == ["a", "b"]
    alone = kendall(score(LOGS, ["a"]), truth)
    assert lost["b"] == pytest.approx(kendall(score(LOGS, more), truth) - alone)


def test_networks_are_ranked_by_an_assembly():
    """A convolution that leads nowhere counts for AZ-NAS' complexity and not for live MACs."""
    dead = nb.form(("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"))
    live = nb.form(("none", "none", "none", "nor_conv_1x1", "none", "none"))
    models = [nb.Network(arch) for arch in (dead, live)]
    table = rank(models, (4, 3, 8, 8), proxies="az-graph")
    assert list(table["rank_live_macs"]) == [1, 2] and "az_nas" not in table
    assert (rank(models, (4, 3, 8, 8))["rank_complexity"] == [2, 1]).all()
    table = rank([*models, nb.Network(dead)], (8, 3, 8, 8), proxies="az-graph-epe")
    columns = table[list(dict.fromkeys(ASSEMBLIES["az-graph-epe"]))]
    expected = aggregate(columns, proxies=ASSEMBLIES["az-graph-epe"])
    np.testing.assert_allclose(table["score"], expected)


def test_a_group_without_the_resolution_is_taken_at_32_pixels(tmp_path):
    space = NASBench201()
    (own,) = load_groups("imagenet16-120", space, ["az"])
    pd.testing.assert_frame_equal(own, load("imagenet16-120", space))
    link = tmp_path / "other_nasbench201_32px.parquet"
    link.symlink_to(COMMITTED / "az_nasbench201_32px.parquet")
    (other,) = load_groups("imagenet16-120", space, ["other"], tmp_path)
    assert (other["complexity"] != own.loc[own["seed"] == 1, "complexity"].to_numpy()).all()


def test_an_assembly_meets_a_method_on_what_both_have():
    opponent = methods.Method("b alone", ("b",))
    scored = [group(["a", "b"], seeds=(1, 2)), group(["noise"], seeds=(1, 2))]
    theirs = scored[0][scored[0]["arch"].isin(ARCHS[5:])]
    accuracies = pd.Series(np.arange(len(ARCHS)) * 1.0, index=ARCHS)
    found = assemblies.against(scored, ["a", "noise"], opponent, theirs, accuracies)
    first = [frame[frame["seed"] == 1] for frame in scored]
    ours = score(log_ranks(first, ARCHS[5:]), ["a", "noise"])
    other = first[0].set_index("arch").loc[ARCHS[5:], "b"]
    there = accuracies[ARCHS[5:]]
    assert found["n"] == len(ARCHS) - 5
    assert found["kendall_tau"] == kendall(ours, there) and found["opponent"] == kendall(
        other, there
    )
    assert found["difference"] == found["kendall_tau"] - found["opponent"]


def test_other_forms_of_the_sum():
    truth = PARTS["a"] + PARTS["b"]
    found = assemblies.other_forms(LOGS, truth, ["a", "b"])
    assert set(found) == set(assemblies.FORMS)
    assert found["ln r"] == kendall(score(LOGS, ["a", "b"]), truth)
    shares = np.exp(LOGS)
    assert found["r"] == pytest.approx(kendall(shares["a"] + shares["b"], truth))
    one = assemblies.other_forms(LOGS, truth, ["a"])  # alone, they all give the same ranking
    assert list(one.values()) == pytest.approx([one["ln r"]] * len(one))
