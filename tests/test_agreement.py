from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import agreement
from azlib.companion.metrics import kendall, kendall_interval
from azlib.errors import AzlibError


def pair_count(x, y):
    """τ-b from its definition: pairs that agree minus pairs that do not."""
    x, y = (np.nan_to_num(np.asarray(c, float), nan=-1e9) for c in (x, y))
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)
    ]
    a, b = np.array(signs).T
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


def make(seeds=(1, 2), n=12, rng=0):
    rng = np.random.default_rng(rng)
    archs = [f"arch{i}" for i in range(n)]
    scores = pd.concat(
        pd.DataFrame(rng.normal(size=(n, 4)), columns=list(AZ_NAS)).assign(arch=archs, seed=seed)
        for seed in seeds
    )
    scores.iloc[0, 0] = np.nan
    truth = pd.DataFrame({"cifar10": rng.uniform(80, 94, n)}, index=pd.Index(archs, name="arch"))
    return scores, truth


def test_subsets_are_the_fifteen_of_table_4_in_the_paper_s_order():
    found = agreement.subsets()
    assert len(found) == len(set(found)) == 15
    assert found[:4] == [(name,) for name in AZ_NAS] and found[-1] == AZ_NAS
    assert all(list(s) == [name for name in AZ_NAS if name in s] for s in found)


@given(
    st.integers(0, 2**16), st.sampled_from(agreement.subsets()), st.sampled_from(["log", "linear"])
)
@settings(deadline=None, max_examples=20)
def test_agreement_is_the_mean_over_seeds_of_a_direct_pair_count(rng, proxies, method):
    scores, truth = make(rng=rng)
    taus, bounds = [], []
    for _, frame in scores.groupby("seed"):
        total = aggregate(frame, method, proxies).to_numpy()
        taus.append(pair_count(total, truth["cifar10"]))
        bounds.append(kendall_interval(total, truth["cifar10"].to_numpy()))
    row = agreement.agreement(scores, truth, proxies, method, "cifar10")
    assert row["proxies"] == "+".join(proxies) and row["aggregation"] == method
    assert (row["dataset"], row["seeds"], row["n"]) == ("cifar10", 2, 12)
    assert row["kendall_tau"] == pytest.approx(np.mean(taus))
    assert row["tau_seed_std"] == pytest.approx(np.std(taus, ddof=1))
    assert (row["tau_low"], row["tau_high"]) == pytest.approx(tuple(np.mean(bounds, axis=0)))


def test_the_order_of_rows_does_not_matter():
    scores, truth = make()
    shuffled = agreement.agreement(scores.sample(frac=1, random_state=1), truth.iloc[::-1])
    assert shuffled == pytest.approx(agreement.agreement(scores, truth))


def test_a_single_seed_has_no_spread():
    row = agreement.agreement(*make(seeds=(3,)))
    assert row["seeds"] == 1 and np.isnan(row["tau_seed_std"]) and np.isnan(row["rho_seed_std"])


def test_architectures_without_accuracy_are_left_out_before_ranking():
    scores, truth = make()
    part = truth.iloc[[7, 2, 5, 9, 1]]
    kept = scores[scores["arch"].isin(part.index)]
    row = agreement.agreement(scores, part)
    assert row["n"] == 5
    assert row == pytest.approx(agreement.agreement(kept, truth))


def test_by_seed_keeps_the_order_of_the_scores():
    scores, truth = make()
    for frame, accuracies in agreement.by_seed(scores, truth["cifar10"].iloc[::-1]):
        assert list(frame.index) == list(accuracies.index) == list(truth.index)
        assert accuracies.equals(truth["cifar10"])


def test_correlations_are_symmetric_pair_counts():
    scores, _ = make()
    table = agreement.correlations(scores)
    matrix = table.pivot(index="proxy_a", columns="proxy_b", values="kendall_tau")
    assert table["proxy_a"].iloc[0] == AZ_NAS[0] and len(table) == 16
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    for a, b in combinations(AZ_NAS, 2):
        expected = np.mean([pair_count(f[a], f[b]) for _, f in scores.groupby("seed")])
        assert matrix.loc[a, b] == pytest.approx(expected)


def test_summary_can_do_without_the_interval():
    x = [1.0, 2, 3, 4]
    row = agreement.summary([(x, [1.0, 2, 4, 3])], interval=False)
    assert "tau_low" not in row
    assert row["kendall_tau"] == pytest.approx(4 / 6) and row["spearman_rho"] == pytest.approx(0.8)


def test_wrong_names_and_foreign_architectures_get_one_line():
    scores, truth = make()
    with pytest.raises(
        AzlibError, match=r"data set of this ground truth 'cifar100'.*Known: cifar10"
    ):
        agreement.agreement(scores, truth, dataset="cifar100")
    with pytest.raises(AzlibError, match="unknown proxy 'flops'"):
        agreement.agreement(scores, truth, ["flops"])
    with pytest.raises(AzlibError, match="share no architecture"):
        agreement.agreement(scores, truth.set_axis([f"x{i}" for i in range(12)]))


def test_headline_puts_the_published_numbers_beside_ours():
    scores, truth = make()
    table = pd.DataFrame([agreement.agreement(scores, truth, AZ_NAS, m) for m in ("log", "linear")])
    found = agreement.headline(table, {"cifar10": scores}, truth).set_index("quantity")
    assert list(found.index) == ["τ, log", "τ, linear", "ρ, log", "accuracy of the selected, %"]
    assert list(found["paper"]) == [0.741, 0.697, 0.913, 93.63]
    assert found.loc["τ, log", "value"] == table.loc[0, "kendall_tau"]
    assert found.loc["τ, linear", "low"] == table.loc[1, "tau_low"]
    assert found.loc["ρ, log", "verdict"] == "differs"
    winners = [aggregate(f.set_index("arch")).idxmax() for _, f in scores.groupby("seed")]
    reached = truth["cifar10"].loc[winners]
    last = found.loc["accuracy of the selected, %"]
    assert last["architecture"] == winners[0] and last["value"] == pytest.approx(reached.mean())
    assert (last["low"], last["high"]) == (reached.min(), reached.max())


def test_difference_is_a_paired_jackknife():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80)
    first, second = truth + rng.normal(size=80), np.round(truth + 2 * rng.normal(size=80))

    def gap(rows):
        return kendall(first[rows], truth[rows]) - kendall(second[rows], truth[rows])

    found = agreement.difference(first, second, truth)
    assert found["difference"] == pytest.approx(gap(np.arange(80)), abs=1e-12)
    gaps = [gap(np.delete(np.arange(80), i)) for i in range(80)]
    bounds = found["difference"] + 1.959964 * np.sqrt(79 * np.var(gaps)) * np.array([-1, 1])
    assert [found["difference_low"], found["difference_high"]] == pytest.approx(bounds, abs=1e-6)
    drawn = [gap(rng.integers(80, size=80)) for _ in range(1000)]  # the bootstrap
    assert np.ptp(bounds) == pytest.approx(np.ptp(np.quantile(drawn, [0.025, 0.975])), rel=0.15)
