"""Agreement of scores with themselves under another seed, and with accuracies."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from azlib.companion.shared_weights import TOTAL, between_seeds, with_tasks

PROXIES = ("expressivity", "trainability")


def scores(seeds=(1, 2), noise=1.0):
    """20 networks whose scores are a value of their own and noise of the seed."""
    own = np.random.default_rng(0).normal(size=(20, 2))
    frames = []
    for seed in seeds:
        values = own + noise * np.random.default_rng(seed).normal(size=own.shape)
        frame = pd.DataFrame(values, columns=list(PROXIES))
        frames.append(frame.assign(arch=[f"a{i}" for i in range(20)], seed=seed))
    return pd.concat(frames, ignore_index=True)


def total(frame):
    return sum(np.log(frame[name].rank() / len(frame)) for name in PROXIES)


def test_two_seeds_agree_as_far_as_scipy_says_in_any_order_of_rows():
    table = scores()
    first, second = (of_seed.reset_index() for _, of_seed in table.groupby("seed"))
    shuffled = table.sample(frac=1, random_state=0)
    found = between_seeds({"own": shuffled, "none": scores(noise=0)}, PROXIES)
    own = found[found["weights"] == "own"].set_index("score")
    assert list(own.index) == [TOTAL, *PROXIES] and (own["n"] == 20).all()
    for name in PROXIES:
        expected = kendalltau(first[name], second[name]).statistic
        assert own.loc[name, "kendall_tau"] == pytest.approx(expected)
    expected = kendalltau(total(first), total(second)).statistic
    assert own.loc[TOTAL, "kendall_tau"] == pytest.approx(expected)
    assert (own["tau_low"] < own["kendall_tau"]).all()
    assert (found[found["weights"] == "none"]["kendall_tau"] == 1).all()


def test_three_seeds_are_three_pairs():
    three, pairs = scores((1, 2, 3)), []
    for other in ([1, 2], [1, 3], [2, 3]):
        found = between_seeds({"own": three[three["seed"].isin(other)]}, PROXIES)
        pairs.append(found["kendall_tau"].to_numpy())
    found = between_seeds({"own": three}, PROXIES)["kendall_tau"]
    np.testing.assert_allclose(found, np.mean(pairs, axis=0))


def test_within_groups_only_their_own_networks_are_ranked():
    table = scores()
    groups = {f"a{i}": i % 2 for i in range(20)}
    found = between_seeds({"own": table}, PROXIES, groups)
    alone = [
        between_seeds({"own": table[table["arch"].map(groups) == group]}, PROXIES)
        for group in (0, 1)
    ]
    assert (found["n"] == 10).all()
    for column in ("kendall_tau", "tau_low", "tau_high"):
        np.testing.assert_allclose(found[column], (alone[0][column] + alone[1][column]) / 2)


def test_tasks_are_averaged_over_seeds_and_leave_out_networks_without_accuracy():
    table = scores()
    archs = [f"a{i}" for i in range(20)]
    accuracies = np.random.default_rng(9).normal(size=20)
    truth = pd.DataFrame({"all": accuracies, "some": accuracies}, index=archs)
    truth.loc[archs[:8], "some"] = np.nan
    found = with_tasks({"own": table}, PROXIES, truth).set_index(["task", "score"])
    assert found.loc[("all", TOTAL), "n"] == 20 and found.loc[("some", TOTAL), "n"] == 12
    for task, left in (("all", archs), ("some", archs[8:])):
        expected = []
        for _, of_seed in table.groupby("seed"):
            frame = of_seed.set_index("arch").loc[left]
            expected.append(kendalltau(total(frame), truth.loc[left, task]).statistic)
        assert found.loc[(task, TOTAL), "kendall_tau"] == pytest.approx(np.mean(expected))
