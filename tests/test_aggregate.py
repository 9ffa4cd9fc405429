import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azlib.aggregation import AZ_NAS, IncrementalRanking, aggregate, rank
from azlib.errors import AzlibError

# Few distinct values, so that ties, NaN and both infinities meet often.
score = st.sampled_from([float("nan"), float("-inf"), -1e6, -1.5, 0.0, 0.5, 2.0, float("inf")])
column = st.lists(score, min_size=1, max_size=20)
table = st.lists(st.tuples(*[score] * 4), min_size=1, max_size=20).map(
    lambda rows: pd.DataFrame(rows, columns=list(AZ_NAS))
)


def count_rank(values):
    """The rule, spelled out: one more than are lower, plus half of those tied with it."""
    low = [-np.inf if np.isnan(v) else v for v in values]
    return [1 + sum(o < v for o in low) + (sum(o == v for o in low) - 1) / 2 for v in low]


@given(column)
@settings(deadline=None)
def test_rank_is_a_direct_count(values):
    assert rank(values).tolist() == count_rank(values)


def test_nan_and_minus_infinity_share_the_lowest_rank():
    assert rank([3, np.nan, 7, -np.inf, 3, np.inf]).tolist() == [3.5, 1.5, 5, 1.5, 3.5, 6]


@given(table)
@settings(deadline=None)
def test_aggregations_are_the_formulas(scores):
    ranks = np.array([count_rank(scores[name]) for name in AZ_NAS]) / len(scores)
    np.testing.assert_allclose(aggregate(scores), np.log(ranks).sum(0), atol=1e-12)
    np.testing.assert_allclose(aggregate(scores, "linear"), ranks.sum(0), atol=1e-12)


@given(table, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_aggregate_ignores_monotone_transforms_and_row_order(scores, random):
    before = aggregate(scores)
    bent = np.exp(scores / 1e6).where(scores > -np.inf)  # increasing, and -inf becomes NaN
    np.testing.assert_array_equal(aggregate(bent), before)
    rows = random.sample(range(len(scores)), len(scores))
    np.testing.assert_array_equal(aggregate(scores.iloc[rows]), before.iloc[rows])


@given(table)
@settings(deadline=None)
def test_a_duplicated_set_of_columns_changes_no_rank(scores):
    twice = aggregate(scores, proxies=AZ_NAS * 2)
    np.testing.assert_allclose(twice, 2 * aggregate(scores), atol=1e-12)


def test_aggregate_picks_the_az_nas_columns_and_keeps_the_index():
    frame = pd.DataFrame(
        {"arch": ["a", "b"], "trainability": [1, 2], "seconds": [2, 1], "zico": [2.0, 1.0]},
        index=["x", "y"],
    )
    score = aggregate(frame)
    assert score.index.tolist() == ["x", "y"]
    np.testing.assert_allclose(score, [np.log(1 / 2), 0])
    np.testing.assert_allclose(aggregate(frame, proxies=["zico"]), [0, np.log(1 / 2)])
    np.testing.assert_allclose(aggregate({"complexity": [1, 2, 3]}, "linear"), [1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ({"complexity": [1]}, {"method": "logs"}, "unknown aggregation method 'logs'.*'log'"),
        ({"complexity": [1]}, {"proxies": ["complexty"]}, "Did you mean 'complexity'"),
        ({"complexity": []}, {}, "cannot rank 0 architectures"),
        ({"zico": [1]}, {}, "no proxies to aggregate: the columns are zico"),
        (
            {"trainability": [1], "live_macs": [1], "sharp_depth": [1]},
            {},
            "complexity is not among the columns, but live_macs, sharp_depth: .*'az-transfer'",
        ),
        ({}, {}, "the columns are none"),
        ({"complexity": [1], "zico": [1, 2]}, {}, "columns of one length"),
        ({"complexity": 1.0}, {}, "columns of one length"),
        ({"complexity": ["high"]}, {}, "scores must be numbers.*'high'"),
    ],
)
def test_aggregate_refuses(scores, options, message):
    with pytest.raises(AzlibError, match=message):
        aggregate(scores, **options)


def test_rank_refuses_a_table():
    with pytest.raises(AzlibError, match=r"shape \(2, 2\).*one column"):
        rank([[1, 2], [3, 4]])


def naive_top(history, proxies, size):
    frame = pd.DataFrame(history, columns=list(proxies))
    return np.argsort(-aggregate(frame, proxies=proxies), kind="stable")[:size]


def check_incremental(rows, size, look):
    """Appends the rows and compares with the naive ranking after those that `look` names."""
    proxies = AZ_NAS[: len(rows[0])]
    ranking = IncrementalRanking(proxies, size)
    for n, row in enumerate(rows, start=1):
        ranking.append(dict(zip(proxies, row, strict=True)))
        if look(n):
            want = naive_top(rows[:n], proxies, size)
            np.testing.assert_array_equal(ranking.top(), want, err_msg=f"after {n}")
            assert ranking.best() == want[0]
    assert len(ranking) == len(rows)
    return ranking


@given(
    st.integers(1, 4).flatmap(
        lambda p: st.lists(st.tuples(*[score] * p), min_size=1, max_size=300)
    ),
    st.integers(1, 40),
    st.integers(1, 90),
)
@settings(deadline=None, max_examples=30)
def test_incremental_is_naive(rows, size, every):
    check_incremental(rows, size, lambda n: n % every == 0)


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("drift", [-3, 3])
def test_incremental_is_naive_over_many_full_rankings(levels, drift):
    rng = np.random.default_rng(levels)
    rows = rng.normal(size=(1500, 4)) + drift * np.linspace(0, 1, 1500)[:, None]
    rows = np.round(rows * levels) / levels
    rows[rng.random(rows.shape) < 0.02] = np.nan
    rows[rng.random(rows.shape) < 0.02] = -np.inf
    rows[700:800] = rows[100:200]
    check_incremental(rows, 30, lambda n: n % 7 == 0)


def test_a_search_follows_the_same_trajectory():
    """Parents drawn from the top, children near them, some failing, at every one of the steps."""
    rng = np.random.default_rng(0)
    steps, size = 1200, 60
    history = np.zeros((steps, 4))
    ranking = IncrementalRanking(AZ_NAS, size)
    for n in range(1, steps):
        ranking.append(dict(zip(AZ_NAS, history[n - 1], strict=True)))
        top = ranking.top()
        np.testing.assert_array_equal(top, naive_top(history[:n], AZ_NAS, size))
        parent = history[rng.choice(top)]
        child = np.round(parent + rng.normal(size=4) * [0.3, 0.3, 1, 0.1], 1)
        failed = rng.random(4) < 0.01
        history[n] = np.where(failed | ~np.isfinite(child), [np.nan, -np.inf, np.nan, 0], child)
    assert len(np.unique(history, axis=0)) > steps / 2


def test_incremental_catches_up_after_many_appends():
    """A resumed search appends its whole history before it asks for the first parent."""
    rows = np.random.default_rng(0).normal(size=(3000, 2)).round(1)
    check_incremental(rows, 50, lambda n: n in (1000, 1030, 3000))


def test_a_step_at_100_000_takes_under_a_millisecond():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(102_000, 4)), columns=list(AZ_NAS)).to_dict("records")
    ranking = IncrementalRanking(AZ_NAS, 1023)
    for row in rows[:100_000]:
        ranking.append(row)
    ranking.top()
    start = time.process_time()
    for row in rows[100_000:]:
        ranking.append(row)
        ranking.top()
    assert (time.process_time() - start) / 2000 < 1e-3
    np.testing.assert_array_equal(ranking.top(), naive_top(rows, AZ_NAS, 1023))


def test_incremental_refuses():
    with pytest.raises(AzlibError, match="a size of at least 1; got 0 proxies"):
        IncrementalRanking([], 5)
    with pytest.raises(AzlibError, match="size 0"):
        IncrementalRanking(AZ_NAS, 0)
    ranking = IncrementalRanking(("complexity",), 5)
    with pytest.raises(AzlibError, match="append at least one candidate"):
        ranking.top()
    with pytest.raises(AzlibError, match="unknown proxy 'complexity'"):
        ranking.append({"zico": 1.0})
