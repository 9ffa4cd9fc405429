"""The contest of searches: what was found, and how far that is from the best."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import benchmarks, contest
from azlib.scoring import files
from azlib.search import Algorithm1, RandomSearch
from azlib.spaces.nasbench201 import NASBench201, parse

RULES = {"Algorithm 1": Algorithm1(4), "random search": RandomSearch()}
TRUTH = benchmarks.load()


@pytest.fixture(scope="module")
def games():
    return contest.Contest(NASBench201(), str(files.COMMITTED), iterations=30)


def test_a_search_looks_up_the_scores_of_its_seed(games):
    frames = games.frames("cifar10")
    assert len(frames) == 5 and games.frames("cifar100") is frames
    log = games.log(RandomSearch(), "cifar10", seed=7)  # of five seeds the second
    found = frames[1].loc[log["structure"], list(AZ_NAS)]
    np.testing.assert_array_equal(log[list(AZ_NAS)], found)
    assert games.log(RandomSearch(), "cifar100", seed=7) is log
    first = log["structure"][0]
    assert games.known("cifar10")(first) == frames[0].loc[first].to_dict()


def test_winners_are_the_best_of_the_first_candidates(games):
    found = games.winners(RULES, TRUTH["cifar10"], seed=1)
    assert games.ticks == [10, 20, 30]
    kinds = found.groupby(["rule", "score"]).size()
    assert len(kinds) == 11 and (kinds == 3).all()
    log = games.log(RULES["Algorithm 1"], "cifar10", 1, "trainability")
    own = found[(found["rule"] == "Algorithm 1") & (found["score"] == "trainability")]
    for n, arch in own[["evaluations", "found"]].itertuples(index=False):
        assert arch == log["structure"][log["trainability"][:n].idxmax()]
    trained = found[found["score"] == "true accuracy"]["accuracy"]
    tried = games.log(RULES["random search"], "cifar10", 1)["structure"]
    assert list(trained) == [TRUTH["cifar10"][tried[:n]].max() for n in games.ticks]


def test_regret_better_and_edges(games):
    best = TRUTH["cifar10"].idxmax()
    second = TRUTH["cifar10"].nlargest(2).index[1]
    found = pd.DataFrame({"dataset": "cifar10", "found": [best, second]})
    found["accuracy"] = TRUTH["cifar10"][found["found"]].to_numpy()
    measured = contest.measured(found, TRUTH)
    assert measured["regret"][0] == 0 and measured["regret"][1] > 0
    assert list(measured["better"]) == [0, (TRUTH["cifar10"] > found["accuracy"][1]).sum()]
    edges = sum(a != b for a, b in zip(parse(best), parse(second), strict=True))
    assert list(measured["edges"]) == [0, edges]


def test_the_place_of_a_winner_is_among_all_architectures(games):
    row = games.place(Algorithm1(4), "cifar10", 1)
    total = aggregate(games.frames("cifar10")[0])
    assert row["place"] == (total > total[row["found"]]).sum() + 1
    assert 1 < row["different"] <= 30


def test_leads_are_paired_over_the_seeds():
    rows = []
    for seed, (ours, theirs) in enumerate([(94.0, 93.0), (92.0, 91.5), (93.0, 92.6)], start=1):
        rows.append(["cifar10", "Algorithm 1", "AZ-NAS", seed, ours])
        rows.append(["cifar10", "random search", "complexity", seed, theirs])
        rows.append(["cifar10", "random search", "true accuracy", seed, 95.0])
    final = pd.DataFrame(rows, columns=[*contest.KEYS, "seed", "accuracy"])
    (lead,) = contest.leads(final).to_dict("records")
    assert lead["opponent"] == "random search, FLOPs only"
    gaps = np.array([1.0, 0.5, 0.4])
    low, high = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert (lead["ahead"], lead["low"], lead["high"]) == pytest.approx((gaps.mean(), low, high))
    assert lead["text"] == f"{gaps.mean():.2f} [{low:.2f}, {high:.2f}]"
