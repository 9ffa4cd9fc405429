"""Why a number differs, or is not here: each reason is given only where a measurement bears it out.

A reason is a function of the published number, ours, and the exhibits. It returns "" unless it
concerns that number and the exhibits say what it claims.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from azlib.companion import paper
from azlib.companion.comparison import DEAD_WEIGHTS, SAMPLED
from azlib.companion.ledger.evidence import Evidence
from azlib.companion.ledger.rows import ranged
from azlib.companion.paper import Published

IMAGES = 1_281_167
"""Training images of ImageNet-1k."""


def remark(published: Published, ours: float, evidence: Evidence) -> str:
    """The measured reasons for the distance of a published number from ours; "" without any."""
    found = (reason(published, ours, evidence) for reason in REASONS)
    return "; ".join(text for text in found if text)


def noise_for_images(published: Published, ours: float, evidence: Evidence) -> str:
    """Methods on labelled images saw patches of photographs here: what noise instead would do."""
    table = evidence["sensitivity"]
    row = table[
        (table["varied"] == "input")
        & (table["method"] == published.method.lower())
        & (table["dataset"] == published.dataset)
    ]
    if row.empty or abs(ours) >= abs(published.value) or row["difference_low"].iloc[0] <= 0:
        return ""
    change = ranged(*_interval(row.iloc[0], "difference"), "{:+.3f}")
    return f"on noise instead of patches of photographs its τ changes by {change}"


def shared_network(published: Published, ours: float, evidence: Evidence) -> str:
    """VKDNW's re-run passed one network through all proxies, which changes Zen's."""
    if published.method != "Zen" or not published.exhibit.startswith("VKDNW"):
        return ""
    alone = paper.value("Harness of the authors", "Zen", "kendall_tau", "cifar10")
    shared = paper.value("VKDNW all", "Zen", "kendall_tau", "cifar10")
    table = evidence["table1"].set_index(["method", "dataset", "architectures"])
    here = table.loc[("Zen", "cifar10", "all"), "kendall_tau"]
    if abs(here - alone) >= abs(here - shared):
        return ""
    return (
        f"the re-run passed one network through all proxies; the authors' harness, with a fresh "
        f"one, has τ {alone:.3f} on all of cifar10, the re-run {shared:.3f}, ours {here:.3f}"
    )


def dead_weights(published: Published, ours: float, evidence: Evidence) -> str:
    """The mean of GradSign over all weights, or over those that are alive."""
    told = ("VKDNW", "Harness")
    if published.method != "GradSign" or not published.exhibit.startswith(told):
        return ""
    table = evidence["why_different"]
    row = table[(table["what"] == DEAD_WEIGHTS) & (table["dataset"] == published.dataset)]
    tau = paper.value(published.exhibit, "GradSign", "kendall_tau", published.dataset)
    here = evidence["table1"].set_index(["method", "dataset", "architectures"])["kendall_tau"]
    now = here["GradSign mean", published.dataset, "all"]
    if row.empty or abs(row["value"].iloc[0] - tau) >= abs(now - tau) / 2:
        return ""
    then = ranged(*row[["value", "low", "high"]].iloc[0])
    return f"ours is the mean over weights that are alive; with dead ones counted its τ is {then}"


def small_sample(published: Published, ours: float, evidence: Evidence) -> str:
    """nDCG of a sample lives from the few of the best architectures that happen to be in it."""
    table = pd.concat([evidence["table1"], evidence["table1_variants"]])
    row = table[
        (table["method"] == published.method)
        & (table["dataset"] == published.dataset)
        & (table["architectures"] == published.architectures)
    ]
    if published.statistic != "ndcg" or row.empty or row["n"].iloc[0] > 1000:
        return ""
    table = evidence["why_different"]
    scatter = table[(table["what"] == SAMPLED) & (table["dataset"] == published.dataset)].iloc[0]
    if abs(ours - published.value) > (scatter["high"] - scatter["low"]) / 2:
        return ""
    return (
        f"ours is on a sample, and {SAMPLED} goes from {scatter['low']:.3f} to "
        f"{scatter['high']:.3f}"
    )


def other_resolution(published: Published, ours: float, evidence: Evidence) -> str:
    """The paper's ImageNet16-120 comes out nearer with scores of 32-pixel networks."""
    from_paper = published.exhibit == "Table 1" or (published.exhibit, published.method) == (
        "Table 4",
        "log",
    )
    if not from_paper or published.method not in ("AZ-NAS", "log"):
        return ""
    wrong = _mistake(evidence, "scores of the other resolution", published.dataset)
    value = wrong[published.statistic]
    if published.dataset != "imagenet16-120" or abs(value - published.value) >= abs(
        ours - published.value
    ):
        return ""
    return f"with the scores of 32-pixel networks ours is {value:.3f}"


def flops_alone(published: Published, ours: float, evidence: Evidence) -> str:
    """What users report is what FLOPs alone say."""
    if published.exhibit != "Users":
        return ""
    value = _mistake(evidence, "all but FLOPs fail", published.dataset)["spearman_rho"]
    if abs(value - published.value) > 0.02:
        return ""
    return f"if all proxies but FLOPs fail, ours is {value:.3f}"


REASONS: tuple[Callable[[Published, float, Evidence], str], ...] = (
    noise_for_images,
    shared_network,
    dead_weights,
    small_sample,
    other_resolution,
    flops_alone,
)


def why_not(published: Published, evidence: Evidence) -> str:
    """What stands in the way of a number that cannot be measured here; "" if nothing does."""
    if published.statistic == "top1":
        return training(published, evidence)
    if published.statistic.startswith("gpu_days"):
        if published.method != "AZ-NAS":
            return "a search of another paper on GPUs, quoted there for comparison"
        table = evidence[{"Table 2": "table2", "Table 3": "table3"}[published.exhibit]]
        cheap = ~table["method"].str.contains("at the paper's setting")  # that one had a GPU
        hours = table.loc[cheap, "core_hours"].dropna()
        return (
            "the time of a GPU; our searches with fewer candidates took "
            f"{hours.min():.2f} to {hours.max():.2f} hours of one processor core"
        )
    if published.statistic == "ms_per_arch":
        times = evidence["table1"].set_index("method")["ms_per_arch"]
        here = times[published.method].iloc[0]
        return f"the time of a GPU; one processor thread takes {here:,.0f} ms"
    if published.exhibit == "Table 2":
        return "a network of another paper, quoted there for comparison"
    return ""


def training(published: Published, evidence: Evidence) -> str:
    """How long training on ImageNet would take on one core, from the measured seconds of a pass.

    The epochs are those of the paper's recipes. Of the vision transformers only the smallest was
    timed, so that the larger ones take more than is said.
    """
    space = {"Table 2": "mobilenetv2", "Table 3": "autoformer-tiny"}[published.exhibit]
    epochs = {"Table 2": 480}.get(published.exhibit, 300 if published.dataset == "base" else 500)
    times = evidence["presets"].set_index(["space", "pixels", "batch"])["seconds"]
    seconds = times[space, 224, 64].iloc[0]
    hours = IMAGES / 64 * epochs * seconds / 3600
    return (
        f"needs ImageNet-1k and GPUs: {epochs} epochs at the {seconds:.1f} s that 64 images of 224 "
        f"pixels take here ({space}) would be {hours:,.0f} hours of one processor core"
    )


def why_not_measured(published: Published, evidence: Evidence) -> str:
    """What a number without a counterpart here would take."""
    if published.exhibit == "VKDNW seeds":
        table = evidence["table1"].drop_duplicates("method").set_index("method")
        row = table.loc[{"VKDNW": "VKDNW agg"}.get(published.method, published.method)]
        hours = 4 * row["n"] * row["ms_per_arch"] / 3.6e6
        return (
            f"scored under one seed, {row['n']:,} architectures; four more seeds would take "
            f"{hours:.1f} hours of one processor core"
        )
    if published.exhibit == "VKDNW Table 1, trained":
        return "a ranking that learns from accuracies is no training-free method"
    return "no exhibit holds its counterpart"


def _interval(row: pd.Series, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _mistake(evidence: Evidence, name: str, dataset: str) -> pd.Series:
    """What one of the mistakes of notebook 06 leads to on a data set."""
    table = evidence["reproduction"].set_index(["mistake", "dataset"])
    return table.loc[(name, dataset)]
