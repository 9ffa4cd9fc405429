"""Each mistake of notebooks 06 and A2 does what its name says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import agreement, mistakes
from azlib.companion.metrics import kendall, spearman
from azlib.spaces.nasbench201 import form, parse

REFERENCES = pd.DataFrame({"cifar10": [0.913, 0.75]}, index=["paper", "users"])


def pair(n=30, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.Index([f"a{i}" for i in range(n)], name="arch")
    frame = pd.DataFrame(rng.normal(size=(n, 4)), index, list(AZ_NAS))
    frame.iloc[4, 0] = np.nan
    return frame, pd.Series(rng.uniform(80, 94, n), index, name="cifar10")


def right(frame, accuracies):
    return aggregate(frame), accuracies


def test_an_attempt_is_made_for_every_seed_and_draw():
    lineup = mistakes.LineUp({"cifar10": [pair(), pair(seed=1)]})
    lineup.add("none", "done right", right)
    lineup.add("one architecture", "sample", lambda f, a: (f.iloc[:1, 0], a.iloc[:1]))
    rng = np.random.default_rng(0)
    few = mistakes.of_part(lambda f, a: rng.choice(len(f), 10, replace=False))
    lineup.add("few", "sample", few, draws=3)
    lineup.add("elsewhere", "order", right, {"cifar10": [pair(seed=2)]})
    found = lineup.numbers(REFERENCES).set_index("mistake")
    assert list(found.index) == ["none", "few", "elsewhere"]  # one architecture has no τ
    taus = [kendall(aggregate(f), a) for f, a in (pair(), pair(seed=1))]
    assert found.loc["none", "kendall_tau"] == pytest.approx(np.mean(taus))
    assert list(found["seeds"]) == [2, 2, 1] and list(found["draws"]) == [1, 3, 1]
    assert list(found["n"]) == [30, 10, 30]
    assert (found["paper_rho"] == 0.913).all() and (found["users_rho"] == 0.75).all()


def test_the_table_begins_with_what_was_reported():
    lineup = mistakes.LineUp({"cifar10": [pair()]})
    lineup.add("none", "done right", right)
    lineup.add("all tied", "ranks", lambda f, a: (f["complexity"] * 0, a))
    wide = lineup.numbers(REFERENCES).set_index(["mistake", "kind", "dataset"])
    wide = wide[["kendall_tau", "spearman_rho"]].unstack("dataset", sort=False)
    table = mistakes.readable(wide, REFERENCES)
    assert list(table["mistake"][:2]) == ["reported by the paper", "reported by users"]
    assert list(table["ρ, cifar10"][:2]) == ["0.913", "0.75"]
    frame, accuracies = pair()
    assert table["ρ, cifar10"][2] == f"{spearman(aggregate(frame), accuracies):.3f}"
    assert table["τ, cifar10"][3] == ""


def test_edges_by_source_node():
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "none")
    a, b, c, d, e, f = operations  # 0→1, 0→2, 1→2, 0→3, 1→3, 2→3
    assert parse(mistakes.by_source_node(form(operations))) == (a, b, d, c, e, f)


def test_another_order_and_a_rank_upside_down():
    frame, accuracies = pair()
    scores, moved = mistakes.reordered(lambda index: index[::-1])(frame, accuracies)
    assert list(scores) == list(aggregate(frame)) and list(moved) == list(accuracies[::-1])
    scores, same = mistakes.upside_down(["trainability"])(frame, accuracies)
    turned = frame.assign(trainability=-frame["trainability"])
    assert same is accuracies and list(scores) == list(aggregate(turned))


def test_failing_sorting_twice_and_passing_on():
    frame, accuracies = pair()
    scores, same = mistakes.failing(["trainability"])(frame, accuracies)
    left = aggregate(frame, proxies=["expressivity", "progressivity", "complexity"])
    assert same is accuracies and kendall(scores, left) == pytest.approx(1)
    tied = mistakes.by_position(frame * 0)
    assert (np.diff(tied) > 0).sum() == len(
        frame
    ) - 2  # by position, but for the NaN, which is on top
    assert tied[4] > tied[3]
    assert np.isnan(mistakes.passing_on(frame)).all()
    whole = frame.fillna(0)
    assert kendall(mistakes.passing_on(whole), aggregate(whole).to_numpy()) == pytest.approx(1)


def test_the_noise_between_copies_is_a_share_of_the_variance():
    rng = np.random.default_rng(0)
    networks = np.repeat(np.arange(200), 2)
    signal = rng.normal(size=200)[networks]
    scores = pd.DataFrame({"arch": [f"a{i}" for i in range(400)], "exact": signal})
    scores["noisy"], scores["noise"] = signal + rng.normal(size=400), rng.normal(size=400)
    classes = dict(zip(scores["arch"], networks, strict=True)) | {"alone": -1}
    found = agreement.noise_shares(scores, ["exact", "noisy", "noise"], classes)
    assert found["exact"] == 0 and 0.4 < found["noisy"] < 0.6 and 0.9 < found["noise"] < 1.1
