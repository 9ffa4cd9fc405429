"""The committed searches are what their descriptions say, and repeatable."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from conftest import ROOT

from azlib import spaces
from azlib.aggregation import aggregate
from azlib.search import COSTS, Algorithm1, Live, RandomSearch, search

FOUND = sorted((ROOT / "data" / "searches").glob("*.json"))
BUDGETS = {"450M": 450e6, "600M": 600e6, "1000M": 1000e6}


def space_of(path):
    name, budget, _ = path.stem.split("_")
    budget = budget.removesuffix("-random")
    return spaces.get(name, budget=BUDGETS.get(budget, budget))


def test_every_search_of_the_tables_is_there():
    names = {path.stem for path in FOUND}
    wanted = {
        f"mobilenetv2_450M{rule}_seed{k}" for rule in ("", "-random") for k in (123, 124, 125)
    }
    wanted |= {f"mobilenetv2_{budget}_seed123" for budget in ("600M", "1000M")}
    for size in ("tiny", "small", "base"):
        wanted |= {f"autoformer-{size}_{budget}_seed123" for budget in ("default", "tf-tas")}
    assert wanted == names


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_description_follows_from_the_log(path):
    said, log, space = (
        json.loads(path.read_text()),
        pd.read_parquet(path.with_suffix(".parquet")),
        space_of(path),
    )
    proxies = said["settings"]["proxies"]
    assert list(log) == ["step", "structure", *proxies, *COSTS]
    assert len(log) == said["candidates"] >= (2000 if space.name == "mobilenetv2" else 1000)
    assert log["step"].tolist() == list(range(len(log)))
    best = aggregate(log, proxies=proxies).idxmax()
    assert said["structure"] == log["structure"][best] and said["step"] == best
    assert log["structure"].nunique() == said["distinct"]
    assert said["settings"]["seed"] == said["settings"]["score"]["seed"]
    for row in log.iloc[:: len(log) // 50].itertuples():
        costs = space.count(row.structure)
        assert space.legal(row.structure)
        assert (row.macs, row.params) == (costs["macs"], costs["params"])
        assert row.complexity == row.macs


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_the_search_begins_like_this_again(path, tmp_path):
    """Its first candidates, scored anew at the settings that its description names."""
    said, space = json.loads(path.read_text())["settings"], space_of(path)
    n = 2 if space.name == "autoformer-base" else 6
    live = Live.at(space, "cpu", said["seed"])
    assert [said["score"]["batch"], said["score"]["resolution"]] == [live.batch, live.resolution]
    # Candidates before the 11th come from the initial structure, whatever the population.
    rule = RandomSearch() if said["rule"]["name"] == "RandomSearch" else Algorithm1(n)
    again = search(space, rule, live, iterations=n, seed=said["seed"], progress=False).log
    log = pd.read_parquet(path.with_suffix(".parquet"))[:n]
    pd.testing.assert_frame_equal(
        again.drop(columns="seconds"), log.drop(columns="seconds"), rtol=1e-3
    )


def test_found_networks_beat_their_opponents_afresh():
    table = pd.read_csv(ROOT / "figures" / "table2_contenders.csv")
    total = table.set_index(["search", "seed"])["log-rank sum"]
    start = table.loc[table["search"] == "initial structure", "log-rank sum"].item()
    rivals = ["random search", "FLOPs only"]
    wins = [
        total["Algorithm 1", k] > max(start, *(total[rival, k] for rival in rivals))
        for k in (123, 124, 125)
    ]
    assert sum(wins) >= 2
