"""The Python of README.md and of every page in docs/ runs, block after block.

A block that is fenced as ```python no-run is shown and not run: it needs what is not here. Numbers
that are typed in a page follow from the exhibits.
"""

from __future__ import annotations

import json
import re
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from azlib.aggregation import AZ_NAS, aggregate, rank_among
from azlib.companion import elsewhere
from azlib.companion.metrics import kendall
from azlib.scoring import load
from azlib.spaces import get

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    for folder in ("data", "figures", "notebooks"):  # what a page reads by its path in a checkout
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")  # classes of a page find it by name
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        exec(compile("\n" * line + block[1], page.name, "exec"), module.__dict__)


def test_the_readme_and_the_guides_have_code_that_runs():
    assert {"README", "cluster", "gpu"} <= {page.stem for page in WITH_CODE}


# --- numbers that are typed in a page follow from the exhibits --------------------------------


def said(page):
    """The text of a page, with single spaces for its line breaks."""
    return " ".join((ROOT / page).read_text().split())


def exhibit(name):
    return pd.read_csv(ROOT / "figures" / f"{name}.csv")


def test_results_say_what_the_rules_for_degenerate_cells_give():
    rules = exhibit("nas-bench-201/degenerate_rules").query("score == 'az_nas'")
    published = rules[rules["rule"] == "published: both"]["kendall_tau"]
    assert f"gives {' / '.join(f'{tau:.3f}' for tau in published)}." in said("docs/results.md")
    raised = rules[rules["rule"] == "azlib: identities"]["change"].mean()
    assert f"they raise τ by about {raised:.2f} " in said("docs/results.md")


@pytest.mark.parametrize("page", ["own-networks", "search-train-export"])
def test_the_guides_say_what_a_cheap_setting_keeps(page):
    kept = exhibit("presets").query("space == 'mobilenetv2' and proxy == 'AZ-NAS'")
    kept = kept.set_index(["pixels", "batch"])
    cheap, again = kept.loc[get("mobilenetv2").presets["cpu"][::-1]], kept.loc[224, 64]
    assert round(cheap["time"], 1) == 0.1, "no longer a tenth of the time"
    tau, ceiling = (f"{row['kendall_tau']:.2f}" for row in (cheap, again))
    assert re.search(
        rf"to τ {tau}, where another seed of [\w' ]+ has {ceiling} ", said(f"docs/{page}.md")
    )


def of_cnns(networks):
    """The duels of az-transfer on tasks of convolutional networks, by opponent and benchmark."""
    duels = exhibit("transfer_duels").query("networks == @networks")
    return duels[duels["benchmark"] != "autoformer-tiny"].set_index(["opponent", "benchmark"])


def counted(duels, opponent):
    """On how many tasks az-transfer is ahead of an opponent, and behind."""
    verdicts = duels.loc[opponent, "verdict"]
    return (verdicts == "is ahead of").sum(), (verdicts == "is behind").sum()


def test_the_guide_to_own_networks_says_how_its_ranking_stands():
    duels, once, text = of_cnns("all"), of_cnns("once each"), said("docs/own-networks.md")
    assert counted(duels, "FLOPs") == counted(duels, "#Params") == (11, 0)
    assert counted(once, "FLOPs") == counted(once, "#Params") == (11, 0)
    assert "parameters, on all eleven tasks" in text
    ahead, behind = counted(duels, "AZ-NAS")
    assert f"ahead on {ahead} of the eleven tasks and behind on {behind}; by mean rank" in text
    ranks = exhibit("elsewhere_ranks").set_index("method")["mean_rank"]
    critical = elsewhere.critical_difference(len(ranks), 10)
    assert abs(ranks["az-transfer"] - ranks["AZ-NAS"]) < critical
    behind_graph = duels.loc["az-graph"].query("verdict == 'is behind'").index
    on_201 = (behind_graph == "nas-bench-201").sum()
    assert f"ahead of it on {len(behind_graph)} of the eleven tasks, {on_201} of them on" in text
    ahead, behind = counted(duels, "VKDNW agg")
    assert f"is ahead on {behind} and behind on {ahead}." in text
    gap = duels.loc[("az-graph", "nas-bench-macro"), "difference"].item()
    assert f"behind by {gap:.2f}".replace("0.", ".") in text
    tau = exhibit("elsewhere").query("benchmark == 'nas-bench-macro'").set_index("method")
    best = tau.loc[["#Params", "FLOPs", "Depth", "Sharp depth"], "tau_high"].max()
    assert tau.loc["az-graph", "kendall_tau"] < best  # no better than counting


def test_the_guide_to_own_networks_says_what_counting_networks_once_changes():
    text, micro = said("docs/own-networks.md"), "benchmark == 'transnas-bench-101-micro'"
    taus = exhibit("transfer_distinct").query(f"{micro} and task != 'autoencoder'")
    ours, theirs = taus.groupby("method")["kendall_tau"].mean()[["az-transfer", "AZ-NAS"]]
    assert f"mean τ there is {ours:.2f}, that of AZ-NAS {theirs:.2f}.".replace("0.", ".") in text
    everyone = exhibit("transfer").query(f"{micro} and task != 'autoencoder'")
    ours, theirs = everyone.groupby("method")["kendall_tau"].mean()[["az-transfer", "AZ-NAS"]]
    assert ours > theirs, "its lead rests on cells that are the same network"
    sharp = of_cnns("all").loc["Sharp depth"].groupby(level=0)["verdict"].unique().map(list)
    assert sharp.pop("transnas-bench-101-micro") == ["is behind"]
    assert all(verdicts == ["is ahead of"] for verdicts in sharp)
    once = of_cnns("once each").loc[("Sharp depth", "transnas-bench-101-micro"), "verdict"]
    behind = (once == "is behind").sum()
    assert f"(with each network counted once, on {behind} of {len(once)})" in text


def test_the_guide_to_own_networks_says_which_goals_were_missed():
    goals, text = exhibit("transfer_goals"), said("docs/own-networks.md")
    goals = goals.query("networks == 'all'").set_index("goal")
    means = goals[goals.index.str.startswith("mean τ")]
    short = means.index.str.split("≥ ").str[1].astype(float) - means["found"].astype(float)
    assert (means["verdict"] == "missed").all()
    assert f"by {short.min():.2f} to {short.max():.2f}; being".replace("0.", ".") in text
    missed = goals.index[goals["verdict"] == "missed"]
    assert set(missed[missed.str.startswith("ahead of")]) == {
        f"ahead of {name} on every task of CNNs"
        for name in ("AZ-NAS", "NASWOT", "VKDNW single", "VKDNW agg")
    }
    assert "ahead of AZ-NAS, NASWOT and the two rankings of VKDNW on every task" in text
    assert "not below #Params on flower_kd_acc" in missed
    assert "not below #Params on c100_kd_acc" not in missed and "one of two tasks" in text
    assert f"**{len(missed)} of its {len(goals)} goals were missed.**" in text
    assert len(missed) > len(goals) / 2
    readme = said("README.md")
    assert "missed most of the goals" in readme and "on all eleven tasks of conv" in readme
    vits = exhibit("transfer_duels").query("networks == 'all' and opponent == 'FLOPs'")
    vits = vits[vits["benchmark"] == "autoformer-tiny"]
    behind = (vits["verdict"] == "is behind").sum()
    assert behind and f"multiply-accumulates on {behind} of {len(vits)} tasks." in text


def test_the_guide_to_own_networks_says_what_the_choice_rests_on():
    text, left_out = said("docs/own-networks.md"), exhibit("transfer_left_out")
    lost = (left_out["with_it"] - left_out["left_out"]).set_axis(left_out["benchmark"])
    assert lost.idxmax() == "nas-bench-macro" and f"{lost.max():.2f} worse"[1:] in text
    worse = (left_out["left_out"] < left_out["live_macs"]).sum()
    assert f"on {worse} of the {len(left_out)} benchmarks what is chosen without them" in text
    found = exhibit("search_elsewhere").query("rule == 'Algorithm 1' and task != 'autoencoder'")
    by_score = found.pivot(index=["benchmark", "task"], columns="score", values="regret")
    leads = by_score.eq(by_score.min(axis="columns"), axis="index").sum()
    assert len(by_score) == 10 and (
        f"least regret with az-transfer on {leads['az-transfer']}, with AZ-NAS on "
        f"{leads['AZ-NAS']}, with multiply-accumulates on {leads['FLOPs']}." in text
    )


def test_the_guide_to_searching_says_where_the_searches_end():
    judged = exhibit("table2_contenders")
    ours = judged.query("search == 'Algorithm 1'")
    assert sorted(ours["place"]) == [1, 3, 4]
    on_gpu = judged.query('search == "Algorithm 1 at the paper\'s setting"')
    assert on_gpu["place"].item() == 2
    runs = exhibit("table2").query("method == 'AZ-NAS, azlib' and budget == '450M'")
    assert len(runs) == len(ours) == 3 and round(60 * runs["core_hours"].mean()) == 11
    text = said("docs/search-train-export.md")
    assert f"Of {judged['place'].max()} networks within 450M FLOPs" in text
    assert (
        f"three such searches of {runs['candidates'].max():,.0f} candidates found (eleven" in text
    )


def test_results_say_which_methods_stand_on_a_sample():
    table = exhibit("nas-bench-201/table1").query("architectures == 'all'")
    few = table[table["n"] <= 1000]["method"].str.removesuffix(" mean")
    names = set(few.str.replace(r"VKDNW .*", "VKDNW", regex=True))
    (listed,) = re.findall(
        r"In Table 1, (.*?) were scored on a random 1,000", said("docs/results.md")
    )
    assert set(re.split(", | and ", listed)) == names


def test_the_pages_on_gpus_say_what_was_measured():
    gpu, bench = (
        exhibit("gpu").set_index("score"),
        exhibit("bench").set_index("measurement")["value"],
    )
    page, speed = said("docs/gpu.md"), said("docs/speed.md")
    assert f"the {gpu['n'].max():,} distinct networks" in page
    assert gpu["kendall_tau"]["AZ-NAS"] > 0.9999 and "is above .9999" in page
    assert gpu["largest_difference"].max() < 0.004 and "by more than .4 %" in page
    cell, candidate = (bench[f"(h) {n} on one NVIDIA H200"] for n in ("nasbench201", "mobilenetv2"))
    assert f"{1e3 * cell:.0f} ms there in one process" in speed
    assert f"takes {1e3 * candidate:.0f} ms, a twentieth" in speed
    assert round(bench["(d) MobileNetV2 candidate at 224 px"] / candidate) in range(18, 23)
    log = json.loads((ROOT / "data/searches/mobilenetv2_450M-paper_seed123.json").read_text())
    assert f"got to {log['candidates']:,} candidates" in speed


def test_notebook_08_says_what_noise_does_to_grasp():
    noise = exhibit("nas-bench-201/sensitivity").query("setting == 'gaussian'")
    change = noise.groupby("method")["difference"].mean()
    assert change.abs().idxmax() == "grasp"
    says = f"noise is {change['grasp']:.2f} above that on patches in the mean".replace(" 0.", " .")
    assert says in said("notebooks/08-every-method.ipynb")
    on_patches = exhibit("nas-bench-201/table1").query("method == 'GraSP'")
    assert (on_patches["kendall_tau"] < on_patches["vkdnw_tau"]).all()
    on_noise = noise[noise["method"] == "grasp"].set_index("dataset")["kendall_tau"]
    everywhere = on_patches.query("architectures == 'all'").set_index("dataset")["vkdnw_tau"]
    assert (everywhere < on_noise[everywhere.index]).all()


def test_the_page_on_speed_says_what_cheap_settings_lose():
    one_seed = exhibit("cheap_settings").query("seeds == 1").set_index(["pixels", "batch"])
    quick, small = one_seed.loc[(32, 12)], one_seed.loc[(16, 16)]
    assert tuple(get("nasbench201").presets["quick"]) == (12, 32)
    assert (quick["difference"] >= -0.005).all()
    assert 0.5 < small["seconds"].mean() / quick["seconds"].mean() < 0.65
    lost = [f"{-loss:.2f}".lstrip("0") for loss in small["difference"]]
    text = said("docs/speed.md")
    assert f"half as much and lose {min(lost)} to {max(lost)}." in text
    assert "cheapest setting that loses at most 0.005 of τ" in text
    minutes = 5260 * quick["seconds"].mean() / 2 / 60  # without what it takes to start
    assert 3 < minutes < 5 and "in about five minutes of two cores" in said("README.md")


def test_the_page_on_speed_says_what_was_gained_and_what_is_left():
    text, bench = said("docs/speed.md"), exhibit("bench").set_index("measurement")
    settings = (
        "with 2 images of 8 pixels",
        "at quick, 12 images of 32 pixels",
        "at the paper's setting",
    )
    rows = bench.loc[[f"(g) {setting}" for setting in settings]]
    searched = bench.loc["(g) candidates of a search at the preset cpu"]
    shares = [*(rows["value"] / rows["before"]), searched["before"] / searched["value"]]
    assert " | ".join(f"{share:.2f}".lstrip("0") for share in shares) in text
    share = exhibit("bench_profile").set_index("kind")["share"]
    between = share["normalisation"] + share["ReLU and sums"]
    assert f"it would be {(1 - between) / share['convolutions']:.1f} times" in text
    assert share["normalisation"] == pytest.approx(0.2, abs=0.02) and "are a fifth of it" in text
    assert share["convolutions"] == pytest.approx(0.4, abs=0.04) and "two fifths on one" in text


def test_the_guide_to_references_says_how_they_agree_near_the_top():
    scores = load("cifar10", get("nasbench201")).query("seed == 1").reset_index(drop=True)
    whole = aggregate(scores)
    best = whole.nlargest(100).index
    found = {}
    for m in (50, 200, 1000):
        taus = []
        for draw in range(1, 6):
            held = scores.sample(m, random_state=draw)
            ranks = [rank_among(scores.loc[best, name], held[name]) for name in AZ_NAS]
            taus.append(kendall(np.log(np.array(ranks) / (m + 1)).sum(axis=0), whole[best]))
        found[m] = np.mean(taus)
    typed = re.search(
        r"was ([\d.]+) for 50 networks, ([\d.]+) for 200 and ([\d.]+) for 1,000",
        said("docs/reference-set.md"),
    )
    assert [float(text) for text in typed.groups()] == pytest.approx(
        list(found.values()), abs=0.006
    )
