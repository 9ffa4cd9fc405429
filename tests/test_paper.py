import dataclasses
import math

import pytest

from azlib.companion import paper
from azlib.errors import AzlibError


def test_every_number_is_found_by_its_exhibit_method_statistic_and_dataset():
    frame = paper.frame()
    assert list(frame) == [field.name for field in dataclasses.fields(paper.Published)]
    assert not frame.duplicated(["exhibit", "method", "statistic", "dataset"]).any()
    for p in paper.PUBLISHED:
        assert paper.value(p.exhibit, p.method, p.statistic, p.dataset) == p.value
        assert p.exhibit and p.method and p.statistic and p.source


def test_numbers_are_possible():
    frame = paper.frame()
    agreement = frame.statistic.isin(["kendall_tau", "spearman_rho", "ndcg"])
    assert frame.value[agreement].between(-1, 1).all()
    accuracy = frame.statistic.isin(["top1", "selected_accuracy"])
    assert frame.value[accuracy].between(50, 100).all()
    assert set(frame.architectures) == {"all", "no-dead-edges", ""}
    # |τ| < |ρ| for every published pair but Zen's on CIFAR-100, which stand at .079 and .072.
    pairs = frame.pivot_table(
        index=["exhibit", "method", "dataset"], columns="statistic", values="value"
    )
    pairs = pairs.dropna(subset=["kendall_tau", "spearman_rho"])
    odd = pairs[pairs.kendall_tau.abs() >= pairs.spearman_rho.abs()]
    assert odd.index.tolist() == [("VKDNW Table 1", "Zen", "cifar100")]
    assert len(pairs) > 90


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("Table 1", "AZ-NAS", "kendall_tau", "cifar10"), 0.741),
        (("Table 1", "AZ-NAS", "spearman_rho", "imagenet16-120"), 0.886),
        (("Table 1", "AZ-NAS", "ms_per_arch"), 42.7),
        (("Table 4", "linear", "kendall_tau", "cifar100"), 0.681),
        (("Notebook of the authors", "AZ-NAS", "selected_accuracy", "cifar10"), 93.63),
        (("Harness of the authors", "GradSign", "spearman_rho", "cifar10"), -0.153),
        (("Users", "AZ-NAS", "spearman_rho", "cifar10"), 0.75),
        (("VKDNW all", "VKDNW agg", "ndcg", "imagenet16-120"), 0.614),
        (("VKDNW Table 1", "AZ-NAS", "kendall_tau", "cifar10"), 0.712),
        (("VKDNW seeds", "GraSP", "kendall_tau_std", "imagenet16-120"), 0.0034),
        (("Table 2", "ZiCo", "flops", "450M"), 448e6),
        (("Table 3", "AutoFormer", "top1", "base"), 82.4),
        (("AutoFormer structures", "AZ-NAS", "params", "tiny"), 5921032),
    ],
)
def test_anchors(key, value):
    assert paper.value(*key) == value


def test_a_spread_that_is_printed_is_kept():
    found = [p for p in paper.PUBLISHED if (p.method, p.dataset) == ("AZ-NAS", "600M")]
    assert [(p.statistic, p.value, p.std) for p in found] == [("top1", 79.9, 0.3)]


def test_a_cell_that_nobody_published_is_nan():
    assert math.isnan(paper.value("Table 1", "ZiCo", "spearman_rho", "cifar10"))
    assert math.isnan(paper.value("Table 1", "effective depth", "kendall_tau", "cifar10"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("Tabel 1", "AZ-NAS", "kendall_tau"), "exhibit 'Tabel 1'. Did you mean 'Table 1'"),
        (("Table 1", "AZ-NAS", "tau"), "statistic 'tau'.*Known: .*kendall_tau"),
        (("Table 1", "AZ-NAS", "kendall_tau", "cifar-10"), "Did you mean 'cifar10'"),
    ],
)
def test_value_refuses(key, message):
    with pytest.raises(AzlibError, match=message):
        paper.value(*key)


@pytest.mark.parametrize(
    ("low", "high", "published", "verdict"),
    [
        (0.73, 0.75, 0.741, "reproduced"),
        (0.70, 0.725, 0.741, "reproduced"),
        (0.70, 0.72, 0.741, "differs"),
        (0.77, 0.78, 0.741, "differs"),
        (math.nan, math.nan, 0.741, "not runnable here"),
        (0.73, 0.75, math.nan, ""),
        (math.nan, math.nan, math.nan, ""),
    ],
)
def test_verdict(low, high, published, verdict):
    assert paper.verdict(low, high, published) == verdict
