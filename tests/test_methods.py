"""The methods of the comparison, and the statistics of Table 1."""

from __future__ import annotations

import math
from functools import cmp_to_key
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import write_scores

from azlib.companion import agreement, labelled, methods, paper
from azlib.companion.metrics import kendall, ndcg
from azlib.errors import AzlibError
from azlib.spaces.nasbench201 import NASBench201, enumerate_all

SPACE = NASBench201()
ARCHS = list(enumerate_all()[::600])
FAILED = (math.nan, -math.inf)


def average_rank(values, i):
    """Rank of the i-th value by counting, failed ones tied as the lowest."""
    values = [-math.inf if v != v else v for v in values]
    below = sum(v < values[i] for v in values)
    return below + (sum(v == values[i] for v in values) + 1) / 2


def random_frame(rng, columns, n=25):
    """Scores with many ties and some failures."""
    rng = np.random.default_rng(rng)
    frame = pd.DataFrame(rng.integers(0, 5, (n, len(columns))).astype(float), columns=columns)
    frame.iloc[3, 0], frame.iloc[5, -1] = FAILED
    return frame.set_axis([f"a{i}" for i in range(n)])


def write(folder, group, px=32, archs=ARCHS, seeds=(1,), images=None):
    """A score file of random numbers for all proxies of a group."""
    path = folder / f"{group}_nasbench201_{px}px.parquet"
    proxies = methods.groups()[group]
    return write_scores(path, proxies, archs, seeds, resolution=px, labelled_images=images)


# --- the list ------------------------------------------------------------------------------


def test_a_proxy_is_in_one_group_and_a_group_is_fed_one_thing():
    from azlib.proxies import REGISTRY

    held = [name for proxies in methods.groups().values() for name in proxies]
    assert len(held) == len(set(held)) and set(held) <= set(REGISTRY)
    for proxies in methods.groups().values():
        assert len({REGISTRY[name].images > 0 for name in proxies}) == 1


def test_methods_are_named_as_in_the_published_tables():
    names = [m.name for m in methods.METHODS]
    assert len(names) == len(set(names)) and names[-1] == "AZ-NAS"
    for exhibit in ("Table 1", "VKDNW all", "VKDNW Table 1"):
        published = {p.method for p in paper.PUBLISHED if p.exhibit == exhibit}
        assert published <= set(names), f"{exhibit} has methods that nobody runs"
    for m in methods.METHODS:
        assert m.kind in ("single", "multiple") and all(map(methods.group_of, m.proxies))
        assert (m.combine is methods.alone) == (len(m.proxies) == 1)
    assert methods.method("ZiCo").proxies == ("zico",)
    with pytest.raises(AzlibError, match=r"method 'Zico'\. Did you mean 'ZiCo'"):
        methods.method("Zico")
    with pytest.raises(AzlibError, match="proxy of a method 'snipp'"):
        methods.group_of("snipp")


def test_each_form_of_gradsign_is_compared_with_its_own_kind():
    assert methods.published("GradSign", "cifar10", "all")["paper_tau"] == 0.618
    assert math.isnan(methods.published("GradSign", "cifar10", "all")["vkdnw_tau"])
    assert methods.published("GradSign mean", "cifar10", "all")["vkdnw_rho"] == -0.122
    assert methods.published("AZ-NAS linear", "cifar10", "all")["paper_tau"] == 0.697


def test_published_numbers_of_the_two_sets_are_not_mixed():
    whole = methods.published("AZ-NAS", "cifar100", "all")
    living = methods.published("AZ-NAS", "cifar100", "no-dead-edges")
    assert (whole["paper_tau"], whole["paper_rho"]) == (0.723, 0.900)
    assert (whole["vkdnw_tau"], living["vkdnw_tau"]) == (0.722, 0.696)
    assert (whole["vkdnw_rho"], living["vkdnw_rho"]) == (0.899, 0.880)
    assert math.isnan(living["paper_tau"]) and math.isnan(living["paper_rho"])


# --- how proxies become one score ----------------------------------------------------------


def compare_rows(a, b):
    """Lexicographic order of two rows, a row with a failed score below all others."""
    lost_a, lost_b = (any(v != v or v == -math.inf for v in row) for row in (a, b))
    if lost_a or lost_b:
        return lost_b - lost_a
    return (tuple(a) > tuple(b)) - (tuple(a) < tuple(b))


def dense(frame):
    """Dense lexicographic ranks by sorting and counting steps."""
    rows = frame.to_numpy().tolist()
    order = sorted(range(len(rows)), key=cmp_to_key(lambda i, j: compare_rows(rows[i], rows[j])))
    ranks, level = {}, 1
    for before, i in zip([None, *order], order, strict=False):
        level += before is not None and compare_rows(rows[before], rows[i]) != 0
        ranks[i] = level
    return [ranks[i] for i in range(len(rows))]


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=20)
def test_lexicographic_ranks_are_dense_and_put_failures_last(rng):
    frame = random_frame(rng, ["layers", "entropy"])
    found = methods.lexicographic(frame)
    assert found.tolist() == dense(frame) and list(found.index) == list(frame.index)
    assert found.iloc[3] == found.iloc[5] == found.min()
    assert set(found) == set(range(1, len(set(found)) + 1))


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=20)
def test_vkdnw_agg_is_its_formula_up_to_a_constant(rng):
    method = methods.method("VKDNW agg")
    frame = random_frame(rng, list(method.proxies))
    first, others = dense(frame.iloc[:, :2]), list(method.proxies)[2:]
    assert others == ["expressivity", "trainability", "complexity", "jacov"]
    expected = [
        math.log(first[i]) + sum(math.log(average_rank(frame[name], i)) for name in others)
        for i in range(len(frame))
    ]
    shift = method.score(frame) - expected
    assert np.ptp(shift) < 1e-9


def test_te_nas_adds_ranks_without_a_logarithm():
    method = methods.method("TE-NAS")
    frame = random_frame(1, ["linear_regions", "ntk"])  # in another order than the method's
    expected = [sum(average_rank(frame[name], i) for name in frame) for i in range(len(frame))]
    assert method.score(frame).tolist() == expected
    assert method.failed(frame) == 2 and method.failed(frame.fillna(0)) == 1


def test_the_two_aggregations_are_those_of_the_paper():
    frame = random_frame(2, list(methods.method("AZ-NAS").proxies))
    shares = np.array([[average_rank(frame[c], i) for c in frame] for i in range(25)]) / 25
    np.testing.assert_allclose(methods.method("AZ-NAS").score(frame), np.log(shares).sum(axis=1))
    np.testing.assert_allclose(methods.method("AZ-NAS linear").score(frame), shares.sum(axis=1))


# --- their scores --------------------------------------------------------------------------


def test_groups_are_read_at_the_data_set_s_resolution_where_it_was_scored(tmp_path):
    write(tmp_path, "az", 32, seeds=(1, 2))
    write(tmp_path, "az", 16)
    write(tmp_path, "jacobian", 32, archs=ARCHS[5:12], images="patches")
    at16, at32 = (methods.read(d, SPACE, tmp_path) for d in ("imagenet16-120", "cifar100"))
    assert set(at16) == set(at32) == {"az", "jacobian"}
    assert at16["az"].attrs["settings"].resolution == 16
    assert at16["jacobian"].attrs["settings"].resolution == 32
    assert methods.fed(("expressivity", "jacov"), at16) == "gaussian 16 px + patches 32 px"
    assert methods.fed(("expressivity", "trainability"), at32) == "gaussian 32 px"
    assert methods.fed(("complexity",), at16) == "none"
    assert methods.missing(("complexity", "jacov", "zico"), at16) == ["zico"]


def test_join_keeps_what_all_groups_scored_and_matches_by_name(tmp_path):
    az = write(tmp_path, "az", seeds=(1, 2))
    few = write(tmp_path, "jacobian", archs=ARCHS[11:4:-1])
    joined = methods.join(("jacov", "expressivity"), methods.read("cifar10", SPACE, tmp_path))
    assert set(joined) == {"arch", "seed", "jacov", "expressivity"}
    assert sorted(joined["arch"]) == sorted(ARCHS[5:12]) and set(joined["seed"]) == {1}
    for row in joined.itertuples():
        own = az[(az["arch"] == row.arch) & (az["seed"] == 1)]
        assert own["expressivity"].item() == row.expressivity
        assert few.set_index("arch").loc[row.arch, "jacov"] == row.jacov


def test_scores_that_are_not_there_get_one_line(tmp_path):
    write(tmp_path, "az", seeds=(2,))
    write(tmp_path, "zico")
    frames = methods.read("cifar10", SPACE, tmp_path)
    with pytest.raises(AzlibError, match=r"no scores of snip, jacov here.*azlib scores"):
        methods.join(("snip", "complexity", "jacov"), frames)
    with pytest.raises(AzlibError, match=r"az, zico: no architecture was scored by all"):
        methods.join(("complexity", "zico"), frames)


def test_running_time_is_the_sum_over_passes():
    times = {"az": 40.0, "jacov": 5.0, "vkdnw_entropy": 100.0}
    time = {m.name: methods.milliseconds(m.proxies, times) for m in methods.METHODS}
    assert time["AZ-NAS"] == 40 and time["Jacov"] == 5
    assert time["VKDNW agg"] == 145 and time["VKDNW single"] == 100
    assert time["FLOPs"] == time["#Params"] == time["Trainable layers"] == 0
    assert math.isnan(time["TE-NAS"]) and math.isnan(time["ZiCo"])


# --- Table 1 -------------------------------------------------------------------------------


def test_a_row_of_table_1_against_its_definitions():
    rng = np.random.default_rng(0)
    accuracies = pd.Series(rng.uniform(80, 94, 40), index=[f"a{i}" for i in range(40)])
    pairs = [(pd.Series(rng.integers(0, 6, 40) * 1.0, accuracies.index), accuracies) for _ in "ab"]
    row = agreement.performance(pairs, whole=1000)
    assert row["kendall_tau"] == pytest.approx(np.mean([kendall(*pair) for pair in pairs]))
    assert row["ndcg"] == pytest.approx(np.mean([ndcg(*pair, k=40) for pair in pairs]))
    tied = [a[s == s.max()].mean() for s, a in pairs]
    assert row["selected_accuracy_mean"] == pytest.approx(np.mean(tied))
    assert row["selected_accuracy_std"] == pytest.approx(np.std(tied, ddof=1))
    assert (row["n"], row["seeds"]) == (40, 2)
    few = agreement.performance(pairs, whole=15625)
    assert few["ndcg"] == pytest.approx(np.mean([ndcg(*pair, k=3) for pair in pairs]))
    assert math.isnan(agreement.performance(pairs[:1], 1000)["selected_accuracy_std"])


def test_selected_accuracy_ranks_failures_last_and_does_not_see_the_order():
    scores, accuracies = pd.Series([math.nan, 1, 3, 3]), pd.Series([95.0, 90, 80, 84])
    assert agreement.top_accuracy(scores, accuracies) == 82
    assert agreement.top_accuracy(scores[::-1], accuracies[::-1]) == 82
    assert agreement.top_accuracy(scores * math.nan, accuracies) == accuracies.mean()


def test_the_sentence_follows_from_the_numbers():
    table = pd.DataFrame(
        [("ours", 0.7, 0.69, 0.71), ("near", 0.68, 0.65, 0.695), ("low", 0.5, 0.4, 0.6)],
        columns=["method", "kendall_tau", "tau_low", "tau_high"],
    )
    said = agreement.lead(table, "ours", ["near", "low", "unknown"])
    assert said == (
        "ours 0.700 [0.690, 0.710] is ahead of 1 of 2 with intervals apart, "
        "not of near 0.680 [0.650, 0.695]."
    )
    said = agreement.lead(table, "ours", ["low"])
    assert said.endswith(
        "ahead of 1 of 1 with intervals apart; the nearest is low 0.500 [0.400, 0.600]."
    )
    assert "0 of 2" in agreement.lead(table, "low", ["ours", "near"])


def test_difference_is_paired():
    rng = np.random.default_rng(1)
    accuracies = rng.uniform(80, 94, 120)
    good = accuracies + rng.normal(0, 3, 120)
    worse = good + rng.normal(0, 1, 120)
    found = agreement.difference(good, worse, accuracies)
    assert found["difference"] == pytest.approx(
        kendall(good, accuracies) - kendall(worse, accuracies)
    )
    assert found["difference_low"] < found["difference"] < found["difference_high"]
    back = agreement.difference(worse, good, accuracies)
    assert back["difference_low"] == pytest.approx(-found["difference_high"])
    same = agreement.difference(good, 2 * good, accuracies)
    assert list(same.values()) == [0, 0, 0]
    single = agreement.summary([(good, accuracies)])
    width = found["difference_high"] - found["difference_low"]
    assert width < single["tau_high"] - single["tau_low"]


def test_bubbles_name_every_point_and_bring_outliers_to_the_edge():
    points = pd.DataFrame(
        {"tau": [0.1, 0.5, 0.6, 0.7, 0.65], "best": [10.0, 92, 93, 93.5, 92.5]}
        | {"ms": [5.0, 0, 30, math.nan, 300]},
        index=["lost", "counted", "b", "untimed", "c"],
    )
    labels = "x", "y", "ms"
    figure = labelled.bubbles(points, "tau", "best", "ms", labels)
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {
        "lost (↓ 10)",
        "counted",
        "b",
        "untimed",
        "c",
    }
    grey, coloured, *sizes = axes.collections
    assert len(grey.get_offsets()) == 2 and sorted(coloured.get_array()) == [5, 30, 300]
    assert 91 < coloured.get_offsets()[:, 1].min() < 92.5
    assert [circle.get_label() for circle in sizes] == ["10", "100"]
    drawn_boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(drawn_boxes, 2))
    labelled.bubbles(points.assign(ms=math.nan), "tau", "best", "ms", labels)
    plt.close("all")
