"""Every published number beside ours: which exhibit holds its counterpart, and how near it is.

The verdict is that of `paper.verdict`: "reproduced" if the published value lies within a tolerance
of our interval. The tolerance is 0.02 for what the paper itself reports, and 0.05 for re-runs by
others, which differ in more than the random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from azlib.aggregation import AZ_NAS
from azlib.companion import paper
from azlib.companion.ledger import reasons
from azlib.companion.ledger.evidence import Evidence
from azlib.companion.ledger.rows import DIFFERS, NOT_MEASURED, NOT_RUNNABLE, Row, ranged
from azlib.companion.paper import Published

NEAR, RERUN = 0.02, 0.05


class Ours(NamedTuple):
    """Our counterpart of a published number: its value, interval, tolerance and exhibit."""

    value: float
    low: float
    high: float
    tolerance: float
    exhibit: str


Finder = Callable[[Published, Evidence], Ours | None]


def rows(evidence: Evidence) -> list[Row]:
    """One row for each published number, in the order of `paper.PUBLISHED`."""
    return [row_of(published, evidence) for published in paper.PUBLISHED]


def row_of(published: Published, evidence: Evidence) -> Row:
    """The row of one published number."""
    finder = FINDERS.get((published.exhibit, published.statistic)) or FINDERS.get(published.exhibit)
    ours = finder(published, evidence) if finder else None
    section, what, form = published.exhibit, words(published), form_of(published.statistic)
    unit = 1e6 if published.statistic == "flops" else 1
    spread = "" if math.isnan(published.std) else f" ± {form.format(published.std)}"
    text = form.format(published.value / unit) + spread
    if ours is None:
        because = reasons.why_not(published, evidence)
        verdict = NOT_RUNNABLE if because else NOT_MEASURED
        because = because or reasons.why_not_measured(published, evidence)
        return Row(section, what, text, "", verdict, because)
    verdict = paper.verdict(ours.low, ours.high, published.value, ours.tolerance)
    gap = (ours.value - published.value) / unit
    remark = reasons.remark(published, ours.value, evidence)
    if verdict == DIFFERS:
        signed = form.replace("{:", "{:+")
        remark = f"by {signed.format(gap)}: {remark or 'the reason is not measured'}"
    found = ranged(ours.value / unit, ours.low / unit, ours.high / unit, form)
    return Row(section, what, text, found, verdict, remark, ours.exhibit)


def words(published: Published) -> str:
    """What was published, in words: method, data set, statistic."""
    return ", ".join(
        part
        for part in (published.method, published.dataset, STATISTICS[published.statistic])
        if part
    )


STATISTICS = {
    "kendall_tau": "τ",
    "spearman_rho": "ρ",
    "absolute_spearman_rho": "absolute ρ",
    "ndcg": "nDCG",
    "kendall_tau_std": "spread of τ over seeds",
    "ms_per_arch": "ms per architecture",
    "selected_accuracy": "accuracy of the selected, %",
    "top1": "top-1, %",
    "flops": "FLOPs, M",
    "gpu_days_min": "least GPU days",
    "gpu_days_max": "most GPU days",
    "params": "parameters",
    "complexity": "FLOPs",
}
"""The published statistics, in words and with their units."""


def form_of(statistic: str) -> str:
    """How a number is written."""
    forms = {"ms_per_arch": "{:.1f}", "selected_accuracy": "{:.2f}", "top1": "{:.1f}"}
    forms |= {"flops": "{:.4g}"}
    forms |= {"params": "{:,.0f}", "complexity": "{:,.0f}", "kendall_tau_std": "{:.4f}"}
    forms |= {"gpu_days_min": "{:g}", "gpu_days_max": "{:g}"}
    return forms.get(statistic, "{:.3f}")


# --- where our counterpart is ---------------------------------------------------------------


def _one(frame: pd.DataFrame, **wanted: object) -> pd.Series | None:
    """The one row of a frame that has the wanted values; None if it has none."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame.iloc[0] if len(frame) else None


def in_table_1(tolerance: float, mean_of_signs: bool = False) -> Finder:
    """A finder for the agreement of a method in our Table 1.

    Args:
        tolerance: see the module.
        mean_of_signs: whether the source's GradSign is the mean over weights, not the sum.
    """

    def find(published: Published, evidence: Evidence) -> Ours | None:
        mean = mean_of_signs and published.method == "GradSign"
        method = "GradSign mean" if mean else published.method
        kept = published.architectures or "all"
        key = {"method": method, "dataset": published.dataset, "architectures": kept}
        exhibits = ("table1", "table1_variants")
        found = {exhibit: _one(evidence[exhibit], **key) for exhibit in exhibits}
        exhibit, row = next(((e, r) for e, r in found.items() if r is not None), ("", None))
        statistic = published.statistic.removeprefix("absolute_")
        if row is None or statistic not in row:
            return None
        value = row[statistic] if statistic == published.statistic else abs(row[statistic])
        low, high = (value, value)
        if statistic == "kendall_tau":
            low, high = row["tau_low"], row["tau_high"]
        return Ours(value, low, high, tolerance, exhibit)

    return find


def in_table_4(published: Published, evidence: Evidence) -> Ours | None:
    """All four proxies under one aggregation."""
    key = {"proxies": "+".join(AZ_NAS), "aggregation": published.method}
    row = _one(evidence["table4"], dataset=published.dataset, **key)
    if row is None:
        return None
    return Ours(row["kendall_tau"], row["tau_low"], row["tau_high"], NEAR, "table4")


def in_headline(published: Published, evidence: Evidence) -> Ours | None:
    """The accuracy of the selected architecture, the range over the seeds for an interval."""
    quantity = "accuracy of the selected, %"
    row = _one(evidence["headline"], dataset=published.dataset, quantity=quantity)
    return None if row is None else Ours(row["value"], row["low"], row["high"], 0.5, "headline")


def as_users_report(published: Published, evidence: Evidence) -> Ours | None:
    """The correct ranking of AZ-NAS beside what users of the published code report."""
    key = {"mistake": "no mistake", "dataset": published.dataset}
    row = _one(evidence["reproduction"], **key)
    if row is None:
        return None
    return Ours(row["spearman_rho"], row["spearman_rho"], row["spearman_rho"], NEAR, "reproduction")


def at_a_setting(published: Published, evidence: Evidence) -> Ours | None:
    """τ of AZ-NAS at a batch size and resolution: "log, batch 64, 32 px"."""
    aggregation, batch, pixels = published.method.split(", ")
    own = "16 px" if published.dataset == "imagenet16-120" else "32 px"
    key: dict[str, object]
    if batch == "batch 64" and pixels == own:
        exhibit, key = "table4", {"proxies": "+".join(AZ_NAS), "aggregation": aggregation}
    elif aggregation == "linear":
        key = {"method": f"AZ-NAS linear, {pixels}", "architectures": "all"}
        exhibit = "table1_variants"
    elif batch == "batch 64":
        exhibit, key = "reproduction", {"mistake": "scores of the other resolution"}
    elif pixels == "32 px":
        key = {"varied": "batch size", "setting": batch.split()[1], "method": "AZ-NAS"}
        exhibit = "sensitivity"
    else:
        key = {"pixels": int(pixels.split()[0]), "batch": int(batch.split()[1]), "seeds": 1}
        exhibit = "cheap_settings"
    row = _one(evidence[exhibit], dataset=published.dataset, **key)
    if row is None:
        return None
    row = row.rename({"tau": "kendall_tau", "low": "tau_low", "high": "tau_high"})
    value = row["kendall_tau"]
    return Ours(value, row.get("tau_low", value), row.get("tau_high", value), NEAR, exhibit)


def flops_found(published: Published, evidence: Evidence) -> Ours | None:
    """FLOPs of what Algorithm 1 found under a budget, the range over searches for an interval."""
    table = evidence["table2"]
    ours = table[(table["method"] == "AZ-NAS, azlib") & (table["budget"] == published.dataset)]
    if published.method != "AZ-NAS" or not len(ours):
        return None
    found = ours["flops"]
    return Ours(found.mean(), found.min(), found.max(), 0.05 * published.value, "table2")


def recounted(published: Published, evidence: Evidence) -> Ours | None:
    """Parameters and FLOPs of the vision transformers that the authors published.

    The exhibit holds six digits, so that is how far the two can agree.
    """
    budget = "tf-tas" if "TF-TAS" in published.method else "default"
    key = {"network": "AZ-NAS, the paper's network", "size": published.dataset, "budget": budget}
    row = _one(evidence["table3_contenders"], **key)
    if row is None:
        return None
    value = row[published.statistic]
    return Ours(value, value, value, 5e-6 * published.value, "table3_contenders")


FINDERS: dict[str | tuple[str, str], Finder] = {
    "Table 1": in_table_1(NEAR),
    "Table 4": in_table_4,
    ("Notebook of the authors", "selected_accuracy"): in_headline,
    "Notebook of the authors": in_table_1(NEAR),
    "Harness of the authors": in_table_1(RERUN, mean_of_signs=True),
    "Users": as_users_report,
    "VKDNW all": in_table_1(RERUN, mean_of_signs=True),
    "VKDNW all, first 128 tensors": in_table_1(RERUN),
    "VKDNW Table 1": in_table_1(RERUN, mean_of_signs=True),
    "VKDNW ablation": in_table_1(RERUN),
    "GradSign paper": in_table_1(RERUN),
    "zero-cost-nas": in_table_1(RERUN),
    "Clean re-implementation": at_a_setting,
    ("Table 2", "flops"): flops_found,
    "AutoFormer structures": recounted,
}
"""Who finds our counterpart: by exhibit, or by exhibit and statistic where those differ."""
