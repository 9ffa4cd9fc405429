from functools import partial
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from azlib.companion import metrics, paper
from azlib.errors import AzlibError

value = st.sampled_from([float("nan"), float("-inf"), -3.0, 0.0, 0.5, 2.0, float("inf")])
pairs = st.lists(st.tuples(value, value), min_size=2, max_size=25).map(
    lambda rows: tuple(np.array(rows).T)
)


def floor(values):
    return [-np.inf if np.isnan(v) else v for v in values]


def sign(a, b):
    return int(a > b) - int(a < b)


def kendall_by_pairs(x, y):
    """τ-b from every pair, as in its definition."""
    x, y = floor(x), floor(y)
    signs = [
        (sign(x[i], x[j]), sign(y[i], y[j])) for i, j in product(range(len(x)), repeat=2) if i < j
    ]
    untied = sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / untied**0.5 if untied else np.nan


@given(pairs)
@settings(deadline=None)
def test_kendall_is_a_direct_pair_count(columns):
    np.testing.assert_allclose(metrics.kendall(*columns), kendall_by_pairs(*columns), atol=1e-12)


@given(pairs)
@settings(deadline=None)
def test_spearman_is_the_correlation_of_average_ranks(columns):
    ranks = [scipy.stats.rankdata(floor(c)) for c in columns]
    constant = any(np.ptp(r) == 0 for r in ranks)
    want = np.nan if constant else np.corrcoef(*ranks)[0, 1]
    np.testing.assert_allclose(metrics.spearman(*columns), want, atol=1e-12)


@given(pairs, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_agreement_ignores_monotone_transforms_and_row_order(columns, random):
    x, y = columns
    bent = np.where(np.isfinite(x), np.exp(x) - 7, x)
    rows = random.sample(range(len(x)), len(x))
    for agreement in (metrics.kendall, metrics.spearman):
        before = agreement(x, y)
        np.testing.assert_allclose(agreement(bent, y), before, atol=1e-12)
        np.testing.assert_allclose(agreement(x[rows], y[rows]), before, atol=1e-12)
        np.testing.assert_allclose(agreement(y, x), before, atol=1e-12)
        np.testing.assert_allclose(agreement(np.tile(x, 2), np.tile(y, 2)), before, atol=1e-12)


def test_agreement_is_scipys_on_ordinary_columns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    y = np.round(x + rng.normal(size=500), 1)
    assert metrics.kendall(x, y) == pytest.approx(scipy.stats.kendalltau(x, y).statistic)
    assert metrics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "imagenet16-120"])
def test_trainable_layers_agree_with_nas_bench_201_as_published(shared, dataset):
    table = pd.read_csv(shared / "nas-bench-201" / "accuracies.csv")
    accuracies = table[dataset.replace("-", "_") + "_test"]
    layers = table.arch.str.count("nor_conv")  # every layer outside the cells is common to all
    published = partial(paper.value, "VKDNW all", "Trainable layers", dataset=dataset)
    tau, rho = published("kendall_tau"), published("spearman_rho")
    assert metrics.kendall(layers, accuracies) == pytest.approx(tau, abs=6e-4)
    assert metrics.spearman(layers, accuracies) == pytest.approx(rho, abs=6e-4)


def ndcg_by_orders(scores, accuracies, k):
    """Mean DCG over every order that the scores allow, over the ideal DCG."""

    def dcg(order):
        return sum((2 ** accuracies[a] - 1) / np.log2(p + 2) for p, a in enumerate(order[:k]))

    scores = floor(scores)
    everything = list(permutations(range(len(scores))))
    allowed = [o for o in everything if [scores[a] for a in o] == sorted(scores, reverse=True)]
    return np.mean([dcg(o) for o in allowed]) / max(dcg(o) for o in everything)


@given(
    st.lists(st.tuples(value, st.integers(0, 12)), min_size=2, max_size=6),
    st.integers(1, 8),
)
@settings(deadline=None, max_examples=50)
def test_ndcg_is_the_mean_over_the_orders_of_ties(rows, k):
    scores, accuracies = zip(*rows, strict=True)
    accuracies = [2 + a / 2 for a in accuracies]
    want = ndcg_by_orders(scores, accuracies, k)
    assert metrics.ndcg(scores, accuracies, k) == pytest.approx(want, rel=1e-12)


def test_ndcg_by_hand_and_at_benchmark_size():
    assert metrics.ndcg([3, 2, 1], [50, 51, 40], k=1) == pytest.approx(1 / 2)
    rng = np.random.default_rng(0)
    accuracies = rng.uniform(10, 94.37, 15_625)
    assert metrics.ndcg(accuracies, accuracies) == pytest.approx(1)
    assert metrics.ndcg(-accuracies, accuracies) < 1e-10
    rough = np.round(accuracies / 3)  # 28 levels, as FLOPs have
    rows = rng.permutation(len(rough))
    again = metrics.ndcg(rough[rows], accuracies[rows])
    assert metrics.ndcg(rough, accuracies) == pytest.approx(again, rel=1e-12)


def test_selected_takes_the_first_of_the_best_and_no_failure():
    accuracies = pd.Series([10.0, 90.0, 80.0, 70.0], index=["a", "b", "c", "d"])
    assert metrics.selected([np.nan, 5, 7, 7], accuracies) == ("c", 80.0)
    assert metrics.selected([np.nan, 5, 7, 7], accuracies.to_list()) == (2, 80.0)
    scores = pd.Series([1, 2, np.nan, -np.inf], index=accuracies.index)
    assert metrics.selected(scores, accuracies.to_numpy()) == ("b", 90.0)


def noisy(n, seed=0, digits=1):
    rng = np.random.default_rng(seed)
    accuracies = rng.normal(size=n)
    return np.round(accuracies + 0.5 * rng.normal(size=n), digits), np.round(accuracies, digits)


@given(pairs)
@settings(deadline=None)
def test_jackknife_leaves_each_out_in_turn(columns):
    x, y = columns
    without = [
        kendall_by_pairs(np.delete(x, i), np.delete(y, i)) if len(x) > 2 else np.nan
        for i in range(len(x))
    ]
    error = np.sqrt((len(x) - 1) * np.var(without))
    tau = kendall_by_pairs(x, y)
    want = np.clip([tau - 1.959964 * error, tau + 1.959964 * error], -1, 1)
    np.testing.assert_allclose(metrics.kendall_interval(x, y), want, atol=1e-6)


@pytest.mark.parametrize(("digits", "level"), [(6, 0.95), (0, 0.95), (6, 0.5)])
def test_jackknife_and_bootstrap_agree(digits, level):
    x, y = noisy(400, digits=digits)
    quick = metrics.kendall_interval(x, y, level=level)
    draws = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400), size=1000)
    tails = (1 - level) / 2, (1 + level) / 2
    slow = np.quantile(metrics.kendall_of_draws(x, y, draws), tails)
    np.testing.assert_allclose(quick, slow, atol=0.12 * np.ptp(slow))


@given(pairs, st.integers(0, 2**16))
@settings(deadline=None)
def test_kendall_of_draws_is_that_of_repeated_rows(columns, rng):
    x, y = columns
    drawn = np.random.default_rng(rng).integers(len(x), size=(3, len(x)))
    counts = np.stack([np.bincount(rows, minlength=len(x)) for rows in drawn])
    found = metrics.kendall_of_draws(x, y, counts)
    want = [kendall_by_pairs(x[rows], y[rows]) for rows in drawn]
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("n", [2, 9, 64, 130])  # 2 · 64 does not fit 8 bits
def test_kendall_of_many_is_kendall_of_each(n):
    rng = np.random.default_rng(n)
    columns, others = rng.integers(0, 5, (4, n)).astype(float), rng.normal(size=(3, n)).round(1)
    columns[0, 0], columns[1] = np.nan, 1.0
    want = [[metrics.kendall(x, y) for y in others] for x in columns]
    np.testing.assert_allclose(metrics.kendall_of_many(columns, others), want, atol=1e-15)


def test_kendall_of_draws_takes_more_rows_than_fit_one_block():
    x, y = noisy(1100, digits=6)
    drawn = np.random.default_rng(0).integers(1100, size=1100)
    (found,) = metrics.kendall_of_draws(x, y, np.bincount(drawn, minlength=1100)[None])
    assert found == pytest.approx(metrics.kendall(x[drawn], y[drawn]), abs=1e-12)


def test_jackknife_covers_the_truth_as_often_as_it_says():
    # For bivariate normal columns τ = 2/π asin ρ; ρ = 1 / sqrt(1 + 0.5²).
    truth = 2 / np.pi * np.arcsin(1 / np.sqrt(1.25))
    intervals = np.array([metrics.kendall_interval(*noisy(100, s, 6), 0.9) for s in range(400)])
    covered = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
    assert 0.86 < covered < 0.94


def test_seed_spread():
    assert metrics.seed_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
    mean, std = metrics.seed_spread([0.7])
    assert mean == 0.7
    assert np.isnan(std)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.kendall([1, 2], [1, 2, 3]), "one length.*got 2 and 3 architectures"),
        (lambda: metrics.spearman([1], [1]), "at least 2"),
        (
            lambda: metrics.kendall(pd.Series([1, 2], ["a", "b"]), pd.Series([1, 2], ["b", "a"])),
            "another order; align them first",
        ),
        (lambda: metrics.ndcg([1, 2], [0.93, 0.9]), "in percent.*the highest is 0.93"),
        (lambda: metrics.ndcg([1, 2], [93, np.nan]), "without NaN"),
        (lambda: metrics.ndcg([1, 2], [93, 90], k=0), "at least one position; got k=0"),
        (lambda: metrics.kendall_interval([1, 2], [1, 2], level=0), "level.*got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(AzlibError, match=message):
        call()
