"""The testable claims of the paper's figures, tables, algorithm and equations, on our numbers.

Each function looks at one exhibit and returns rows. Whether a claim holds is computed, and so is
everything that a row says about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from azlib.aggregation import AZ_NAS, aggregate
from azlib.companion import paper
from azlib.companion.contest import over_seeds
from azlib.companion.ledger.evidence import Evidence
from azlib.companion.ledger.rows import DIFFERS, NOT_KNOWN, REPRODUCED, Row, claim, ranged

LATER = ("VKDNW single", "VKDNW agg")
"""Methods that came after the paper, which its claims cannot be about: rows say how they do."""


def rows(evidence: Evidence) -> list[Row]:
    """The rows of all claims, in the order of the paper."""
    return [row for function in CLAIMS for row in function(evidence)]


def figure_1(evidence: Evidence) -> Iterator[Row]:
    """The bubble chart: AZ-NAS is to be found at its right upper corner."""
    shown = evidence["fig1"]
    points = shown[~shown["method"].isin(LATER)].set_index("method")
    data = points["dataset"].iloc[0]
    others = points.drop(index=["AZ-NAS", "AZ-NAS linear"])
    ours = points.loc["AZ-NAS"]
    best = others.loc[others["kendall_tau"].idxmax()]
    said = f"{_tau(ours)}, next {best.name} {_tau(best)}{_later(shown)}"
    what = f"of the paper's methods, AZ-NAS agrees best with the accuracies (τ), {data}"
    yield claim("Fig. 1", what, ours["kendall_tau"] > best["kendall_tau"], said, "fig1")
    best = others.loc[others["selected_accuracy_mean"].idxmax()]
    reached, spread = ours[["selected_accuracy_mean", "selected_accuracy_std"]]
    said = f"{reached:.2f} ± {spread:.2f} over seeds, next {best.name} "
    said += f"{best['selected_accuracy_mean']:.2f} (chosen of {best['n']:,} architectures)"
    said += _later(shown, "selected_accuracy_mean", "{:.2f}")
    what = f"of the paper's methods, AZ-NAS selects the best architecture (accuracy, %), {data}"
    yield claim("Fig. 1", what, reached > best["selected_accuracy_mean"], said, "fig1")


def figure_2(evidence: Evidence) -> Iterator[Row]:
    """The toy: isotropic features score higher."""
    scores = evidence["fig2"].groupby("cloud")["expressivity"].first()
    said = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    holds = scores.idxmax() == "isotropic" and scores["isotropic"] > scores["stretched"]
    what = "isotropic features score a higher expressivity than stretched ones"
    yield claim("Fig. 2", what, holds, said, "fig2")


def figure_3(evidence: Evidence) -> Iterator[Row]:
    """The heat map: no two proxies give the same ranking."""
    pairs = evidence["fig3"]
    apart = pairs[pairs["proxy_a"] < pairs["proxy_b"]]
    most = apart.loc[apart["kendall_tau"].idxmax()]
    together = _table_4(evidence)[most["dataset"], "+".join(AZ_NAS), "log"]
    said = (
        f"τ between proxies from {apart['kendall_tau'].min():.3f} to {_tau(most)} "
        f"({most['proxy_a']} and {most['proxy_b']}); all four with the accuracies {together:.3f}"
    )
    what = f"the four proxies say different things, {most['dataset']}"
    yield claim("Fig. 3", what, most["tau_high"] < together, said, "fig3")


def figure_4(evidence: Evidence) -> Iterator[Row]:
    """The scatter of each method: AZ-NAS has the highest τ and ρ."""
    table = evidence["table1"]
    shown = table[(table["architectures"] == "all") & (table["dataset"] == "imagenet16-120")]
    table = shown[~shown["method"].isin(LATER)].set_index("method")
    others = table.drop(index=["AZ-NAS", "AZ-NAS linear"])
    for letter, column in (("τ", "kendall_tau"), ("ρ", "spearman_rho")):
        ours, best = table.loc["AZ-NAS", column], others[column]
        said = f"{ours:.3f}, next {best.idxmax()} {best.max():.3f}{_later(shown, column)}"
        what = f"of the paper's methods, AZ-NAS has the highest {letter}, imagenet16-120"
        yield claim("Fig. 4", what, ours > best.max(), said, "table1")


def figure_5(evidence: Evidence) -> Iterator[Row]:
    """The scatter of the proxies and aggregates: each step agrees better with the accuracies."""
    table = evidence["fig5"]
    for data, part in table.groupby("dataset", sort=False):
        part = part.set_index("panel")
        alone = part.loc[list(AZ_NAS), "kendall_tau"]
        linear, log = part.loc["linear"], part.loc["log"]
        said = f"{alone.idxmax()} {alone.max():.3f}, linear {_tau(linear)}, log {_tau(log)}"
        holds = alone.max() < linear["tau_low"] and linear["tau_high"] < log["tau_low"]
        what = f"best proxy alone < linear < non-linear aggregation, intervals apart, {data}"
        yield claim("Fig. 5", what, holds, said, "fig5")


def table_1(evidence: Evidence) -> Iterator[Row]:
    """The comparison: AZ-NAS is ahead of every method in agreement, and cheap."""
    whole = evidence["table1"]
    whole = whole[whole["architectures"] == "all"]
    for data, shown in whole.groupby("dataset", sort=False):
        table = shown[~shown["method"].isin(LATER)].set_index("method")
        ours, others = table.loc["AZ-NAS"], table.drop(index=["AZ-NAS", "AZ-NAS linear"])
        nearest = others.loc[others["tau_high"].idxmax()]
        said = f"{_tau(ours)}, nearest {nearest.name} {_tau(nearest)}{_later(shown)}"
        what = f"AZ-NAS ranks better than the paper's other methods, intervals apart, {data}"
        yield claim("Table 1", what, ours["tau_low"] > others["tau_high"].max(), said, "table1")
    yield from running_times(evidence, whole)


def running_times(evidence: Evidence, table: pd.DataFrame) -> Iterator[Row]:
    """How many times as long as AZ-NAS a method takes: the paper's GPU, our processor thread."""
    here = table.set_index("method")["ms_per_arch"]
    for method in ("TE-NAS", "GradSign"):
        ours = here[method].iloc[0] / here["AZ-NAS"].iloc[0]
        times = [paper.value("Table 1", m, "ms_per_arch") for m in (method, "AZ-NAS")]
        theirs = times[0] / times[1]
        near = 0.5 < ours / theirs < 2
        yield Row(
            "Table 1",
            f"{method} takes how many times as long as AZ-NAS, within a factor of two",
            f"{theirs:.1f}",
            f"{ours:.1f}",
            REPRODUCED if near else DIFFERS,
            "" if near else f"by a factor of {theirs / ours:.1f}: the reason is not measured",
            "table1",
        )


def table_2(evidence: Evidence) -> Iterator[Row]:
    """The search in the MobileNetV2 space: within its budget, and better than its opponents."""
    table = evidence["table2"]
    ours = table[table["method"] == "AZ-NAS, azlib"]
    limits = ours["budget"].str.removesuffix("M").astype(float) * 1e6
    said = ", ".join(f"{f / 1e6:.0f}M of {b}" for f, b in ours[["flops", "budget"]].to_numpy())
    what = "what is found has at most as many FLOPs as the budget allows"
    yield claim("Table 2", what, bool((ours["flops"] <= limits).all()), said, "table2")
    judged = evidence["table2_contenders"]
    score = judged.pivot_table("log-rank sum", "seed", "search")
    initial = judged.loc[judged["search"] == "initial structure", "log-rank sum"].iloc[0]
    for opponent in ("random search", "FLOPs only", "parameters only"):
        ahead = (score["Algorithm 1"] > score[opponent]).sum()
        said = f"in {ahead} of {len(score)} searches, by AZ-NAS's score under new seeds"
        what = f"Algorithm 1 finds a better network than {opponent} at 450M"
        yield claim("Table 2", what, ahead == len(score), said, "table2_contenders")
    worst = score["Algorithm 1"].min()
    said = f"log-rank sum {worst:.2f} or more, initial structure {initial:.2f}"
    what = "Algorithm 1 finds a better network than the one it starts from, at 450M"
    yield claim("Table 2", what, worst > initial, said, "table2_contenders")


def table_3(evidence: Evidence) -> Iterator[Row]:
    """The networks that the authors published, among random ones by our scores."""
    judged = evidence["table3_contenders"]
    theirs = judged[judged["network"] == "AZ-NAS, the paper's network"]
    fresh = evidence["presets"].set_index(["space", "pixels", "batch", "proxy"])
    noise = fresh.loc[("autoformer-tiny", 224, 64, "AZ-NAS")]
    for row in theirs.itertuples():
        said = f"number {row.place} of {row.of:,} by our scores"
        reason = "the reason is not measured"
        if row.size == "tiny" and noise["low"] < 0.5:
            reason = (
                "in Tiny another seed gives another order, at the paper's own setting too: τ "
                f"{ranged(noise['kendall_tau'], noise['low'], noise['high'])}"
            )
        what = f"the authors' network is in the best hundredth, {row.size}, {row.budget} budget"
        holds = row.place <= row.of / 100
        yield claim("Table 3", what, holds, said, "table3_contenders", reason)


def table_4(evidence: Evidence) -> Iterator[Row]:
    """The ablation: the logarithm helps, and every proxy is needed."""
    tau, full = _table_4(evidence), "+".join(AZ_NAS)
    table = evidence["table4"].set_index(["dataset", "proxies", "aggregation"])
    for data in evidence["table4"]["dataset"].unique():
        log, linear = tau[data, full, "log"], tau[data, full, "linear"]
        what = f"non-linear aggregation ranks better than linear, {data}"
        yield claim("Table 4", what, log > linear, f"{log - linear:+.3f} in τ", "table4")
        gains = {x: log - tau[data, _without(x), "log"] for x in AZ_NAS}
        said = ", ".join(f"{name} {gain:+.3f}" for name, gain in gains.items())
        least = min(gains, key=lambda name: gains[name])
        fewer = table.loc[(data, _without(least), "log")]
        ours = table.loc[(data, full, "log")]
        overlap = "overlap" if fewer["tau_low"] < ours["tau_high"] else "are apart"
        reason = (
            f"by {min(gains.values()):+.3f}: without {least} τ is "
            f"{_tau(fewer)}, with it {_tau(ours)}; the intervals {overlap}"
        )
        what = f"every one of the four proxies adds to the other three, {data}"
        yield claim("Table 4", what, min(gains.values()) > 0, said, "table4", reason)


def table_5(evidence: Evidence) -> Iterator[Row]:
    """Adding AZ-NAS's proxies to other methods makes those better."""
    table = evidence["table5"]
    table = table[(table["aggregation"] == "log") & ~table["base"].str.startswith("(")]
    for (base, data), part in table.groupby(["base", "dataset"], sort=False):
        part = part.set_index(part["added"].fillna(""))
        alone, full = part.loc[""], part.loc["all four"]
        said = f"τ {_tau(alone)} → {_tau(full)}"
        what = f"{base} ranks better with the four proxies, intervals apart, {data}"
        yield claim("Table 5", what, full["tau_low"] > alone["tau_high"], said, "table5")


def algorithm_1(evidence: Evidence) -> Iterator[Row]:
    """The search finds better networks than chance does, on average over its seeds."""
    runs = evidence["search_regret"]
    final = runs[runs["evaluations"] == runs["evaluations"].max()]
    keys = ["dataset", "rule", "score", "seed"]
    reached = final.set_index(keys)["accuracy"].unstack("seed")
    for data in final["dataset"].unique():
        ahead = reached.loc[(data, "Algorithm 1", "AZ-NAS")]
        ahead = ahead - reached.loc[(data, "random search", "AZ-NAS")]
        mean, low, high = over_seeds(ahead)
        said = f"{ranged(mean, low, high, '{:+.2f}')} points, interval over the seeds"
        what = f"Algorithm 1 finds a better network than random search by the same score, {data}"
        reason = f"the interval over the seeds {'holds' if high > 0 else 'lies below'} zero"
        yield claim("Alg. 1", what, low > 0, said, "search_regret", reason)


def equations(evidence: Evidence) -> Iterator[Row]:
    """The equations, recomputed from the numbers of exhibits that were made with them."""
    clouds = evidence["fig2"].groupby("cloud")
    entropy = clouds["share"].apply(lambda p: -(p * np.log(p + 1e-8)).sum())
    off = (entropy - clouds["expressivity"].first()).abs().max()
    sums = (clouds["share"].sum() - 1).abs().max()
    said = (
        f"entropy of the shares within {off:.0e} of the expressivity, shares sum to 1 ± {sums:.0e}"
    )
    what = "expressivity is the entropy of the shares of the principal components"
    yield claim("Eqs. 1–4", what, max(off, sums) < 1e-5, said, "fig2")
    blocks = evidence["entropy_by_block"]
    steps = blocks.groupby("cell")["expressivity"].diff()
    ringed = steps[blocks["smallest_step"]].to_numpy()
    least = steps.groupby(blocks["cell"]).min()[blocks.loc[blocks["smallest_step"], "cell"]]
    off = np.abs(ringed - least.to_numpy()).max()
    said = f"so is the marked step of {len(ringed)} cells, to three decimals"
    what = "progressivity is the smallest step of expressivity from block to block"
    yield claim("Eq. 5", what, off <= 1.01e-3, said, "entropy_by_block")
    yield from trainability(evidence["trainability"])
    frame = evidence["table3_contenders"][["expressivity", "trainability", "complexity"]]
    by_hand = np.log(rankdata(frame, axis=0) / len(frame)).sum(axis=1)
    off = np.abs(aggregate(frame, proxies=list(frame)) - by_hand).max()
    what = "the score is the sum of ln(rank / m) over the proxies"
    said = f"azlib.aggregate and scipy's ranks differ by less than 1e-9 on {len(frame)} networks"
    yield claim("Eq. 12", what, off < 1e-9, said, "table3_contenders")


def trainability(table: pd.DataFrame) -> Iterator[Row]:
    """Eqs. 6 to 11 on the exhibit of notebook 02, which holds three digits."""
    estimate = table[table["panel"] == "estimate"]
    sigma = estimate.pivot(index="batch", columns="line", values="sigma").sort_index()
    cells = sigma.drop(columns=[name for name in sigma if name.startswith("noise")])
    what = "the estimate of the largest singular value is a mean over positions"
    said = f"more images, less noise in all of {cells.shape[1]} cells: σ of average pooling "
    said += f"{cells['average pooling'].iloc[0]:.2f} → {cells['average pooling'].iloc[-1]:.2f}"
    holds = bool((cells.diff().dropna() < 0).all(axis=None))
    yield claim("Eqs. 6–10", what, holds, said, "trainability")
    curve = table[table["panel"] == "deviation"]
    off = (curve["deviation"] - (2 - curve["sigma"] - 1 / curve["sigma"])).abs()
    what = "the deviation of a block is 2 - σ - 1/σ, zero at σ = 1"
    said = f"within {off.max():.3f} at {len(curve)} values of σ, which are held to three digits"
    best = curve.loc[curve["deviation"].idxmax(), "sigma"]
    yield claim("Eq. 11", what, off.max() < 0.02 and best == 1, said, "trainability")


def supplement(evidence: Evidence) -> Iterator[Row]:
    """What stands here in the place of the figures and tables whose contents are not known."""
    whole = evidence["sensitivity"]
    whole = whole[whole["method"] == "AZ-NAS"]
    for varied in ("initialisation", "batch size", "input"):
        part = whole[whole["varied"] == varied]
        least, most = part["difference"].min(), part["difference"].max()
        names = ", ".join(part["setting"].unique())
        said = f"τ changes by {least:+.3f} to {most:+.3f} over the data sets"
        yield _ours(f"{varied} ({names})", said, "sensitivity")
    seeds = whole[whole["varied"] == "seed"].groupby("dataset")["kendall_tau"]
    said = f"τ of one data set moves by {(seeds.max() - seeds.min()).max():.3f} at most"
    yield _ours("seeds 1 to 5", said, "sensitivity")
    sizes = evidence["sample_size"].set_index("architectures")["tau_std"]
    for size in (1000, 3000):
        low, high = sizes[size].min(), sizes[size].max()
        said = f"τ of {size:,} random architectures scatters by {low:.3f} to {high:.3f}"
        yield _ours(f"samples of {size:,} architectures", said, "sample_size")
    even = evidence["reproduction"]
    even = even[even["mistake"] == "every 15th by accuracy"]
    said = ", ".join(f"{row.dataset} τ {row.kendall_tau:.3f}" for row in even.itertuples())
    yield _ours("architectures even in accuracy", said, "reproduction")
    found = evidence["table3_contenders"]
    found = found[found["network"] == "AZ-NAS, azlib"]
    said = ", ".join(f"{r.size} ({r.budget}) {r.params / 1e6:.1f}M" for r in found.itertuples())
    yield _ours("vision transformers within both budgets: parameters", said, "table3_contenders")


def _ours(what: str, said: str, exhibit: str) -> Row:
    """A row of an exhibit that is ours and has no published counterpart."""
    return Row(SUPPLEMENT, f"ours in their place: {what}", "", said, NOT_KNOWN, exhibit=exhibit)


SUPPLEMENT = "Figs. 6, 7, 8, 9 and Tables 6, 7, 8, 9, 10"


def _tau(row: pd.Series) -> str:
    """τ of a row with its interval."""
    return ranged(row["kendall_tau"], row["tau_low"], row["tau_high"])


def _later(table: pd.DataFrame, column: str = "kendall_tau", form: str = "{:.3f}") -> str:
    """The best method that came after the paper, as the end of what a row says."""
    best = table[table["method"].isin(LATER)].set_index("method")[column].dropna()
    return "" if best.empty else f"; later {best.idxmax()} {form.format(best.max())}"


def _table_4(evidence: Evidence) -> pd.Series:
    keys = ["dataset", "proxies", "aggregation"]
    return evidence["table4"].set_index(keys)["kendall_tau"]


def _without(proxy: str) -> str:
    return "+".join(name for name in AZ_NAS if name != proxy)


CLAIMS: tuple[Callable[[Evidence], Iterator[Row]], ...] = (
    figure_1,
    figure_2,
    figure_3,
    figure_4,
    figure_5,
    table_1,
    table_2,
    table_3,
    table_4,
    table_5,
    algorithm_1,
    equations,
    supplement,
)
"""In the order of the paper."""
