"""Searches of a toy space with invented scores; one tiny search scores real networks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from toy import Rooted, Toy, deadly_score, score, slow_search

import azlib
from azlib.aggregation import AZ_NAS, aggregate
from azlib.errors import AzlibError
from azlib.files import check_writable
from azlib.scoring import Execution
from azlib.search import (
    Algorithm1,
    Count,
    Live,
    RandomSearch,
    RegularisedEvolution,
    incumbents,
    loop,
    population_of,
    search,
)
from azlib.search import log as logs
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.mobilenetv2 import MobileNetV2
from azlib.spaces.nasbench201 import NASBench201


def find(space, rule, score=score, *, workers=1, scheduler=None, progress=False, **options):
    execution = Execution(workers, scheduler, progress=progress)
    return search(space, rule, score, execution=execution, **{"seed": 7, **options})


class Ranked:
    """A scorer that says what it is ranked by."""

    def __init__(self, score, *proxies):
        self.score, self.proxies = score, proxies

    def __call__(self, arch):
        return self.score(arch)


def same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return a.drop(columns="seconds").equals(b.drop(columns="seconds"))


# --- trajectories --------------------------------------------------------------------------


def naive_algorithm1(space, iterations, population, seed):
    """The published loop, written out: the whole history is ranked again at every step."""
    found, scores = [], np.empty((4, iterations))
    for n in range(iterations):
        rng = np.random.default_rng([seed, n])
        if n >= population - 1:
            total = aggregate(dict(zip(AZ_NAS, scores[:, :n], strict=True)))
            best = np.argsort(-total.to_numpy(), kind="stable")[: population - 1]
        while True:
            if n <= 10 and space.initial is not None:
                child = space.mutate(space.initial, rng, times=1)
            elif n <= 10:
                child = space.sample(rng)
            elif n < population - 1:
                child = space.mutate(found[rng.integers(n)], rng, times=2)
            else:
                child = space.mutate(found[best[rng.integers(population - 1)]], rng, times=2)
            if space.legal(child):
                break
        found.append(child)
        scores[:, n] = list(score(child).values())
    total = aggregate(dict(zip(AZ_NAS, scores, strict=True)))
    return found, found[int(np.argmax(total))]


@pytest.mark.parametrize(
    "space, iterations, population",
    [(Rooted(), 700, 128), (Toy(), 400, 200), (Rooted(54), 50, 5), (NASBench201(), 300, 64)],
)
def test_algorithm1_takes_the_path_of_the_naive_loop(space, iterations, population):
    result = find(space, Algorithm1(population), iterations=iterations)
    found, winner = naive_algorithm1(space, iterations, population, seed=7)
    assert result.log["structure"].tolist() == found
    assert result.structure == winner


def test_the_three_phases():
    calls = []

    @dataclass(frozen=True)
    class Spy(Rooted):
        def mutate(self, arch, rng, times=1):
            calls.append((arch, times))
            return super().mutate(arch, rng, times)

    log = find(Spy(budget=54), Algorithm1(40), iterations=200).log  # nothing is illegal
    assert len(calls) == 200
    assert calls[:11] == [("aaaaaa", 1)] * 11
    assert {times for _, times in calls[11:]} == {2}
    ranks = []  # of each parent in the history at its time, 0 for the best
    for n, (parent, _) in enumerate(calls[11:], start=11):
        total = aggregate(log[:n]).to_numpy()
        ranked = log["structure"][np.argsort(-total, kind="stable")].tolist()
        ranks.append(ranked.index(parent) / n)
    assert max(ranks[:28]) > 0.9  # any of the history
    n = np.arange(39, 200)
    assert (np.array(ranks[28:]) * n < 39).all()  # one of the 39 best
    assert (np.array(ranks[28:]) * n > 30).any()


def test_regularised_evolution_is_ageing_evolution():
    def fitness(arch):
        return {"accuracy": sha256(arch.encode()).digest()[0] // 8}

    space, living, found = Toy(), deque(maxlen=20), []
    for n in range(400):
        rng = np.random.default_rng([7, n])
        while True:
            if n < 20:
                child = space.sample(rng)
            else:
                players = [living[i] for i in rng.integers(20, size=5)]
                parent = max(players, key=lambda arch: fitness(arch)["accuracy"])
                child = space.mutate(parent, rng)
            if space.legal(child):
                break
        living.append(child)
        found.append(child)
    rule = RegularisedEvolution(population=20, tournament=5)
    result = find(space, rule, Ranked(fitness, "accuracy"), iterations=400)
    assert result.log["structure"].tolist() == found
    assert result.structure == max(found, key=lambda arch: fitness(arch)["accuracy"])


def test_random_search_samples_what_is_legal():
    result = find(Toy(), RandomSearch(), iterations=300)
    for step, structure in enumerate(result.log["structure"]):
        rng = np.random.default_rng([7, step])
        samples = (Toy().sample(rng) for _ in range(1000))
        assert structure == next(filter(Toy().legal, samples))
    assert result.structure == result.log["structure"][aggregate(result.log).idxmax()]


def test_incumbents_are_the_winners_of_every_prefix():
    log = find(Toy(), RandomSearch(), iterations=60).log
    assert incumbents(log).tolist() == [aggregate(log[: n + 1]).idxmax() for n in range(60)]


def test_the_earliest_of_equals_wins():
    result = find(Toy(), RandomSearch(), lambda _: dict.fromkeys(AZ_NAS, 1.0), iterations=20)
    assert result.summary["step"] == 0 and result.summary["aggregate"] == 4 * np.log(10.5 / 20)


def test_duplicates_are_scored_once():
    scored = []

    def count_calls(arch):
        scored.append(arch)
        return score(arch)

    result = find(Rooted(3), Algorithm1(20, generation=7), count_calls, iterations=200)
    log = result.log
    assert len(log) == 200 and sorted(scored) == sorted(set(log["structure"]))
    assert result.summary["distinct"] == len(scored) < 200
    assert (log["seconds"] > 0).sum() == len(scored)
    assert log.groupby("structure")[list(AZ_NAS)].nunique().le(1).all(axis=None)


def test_failed_scores_rank_last(capsys):
    def fails_often(arch):
        if arch < "d":
            raise AzlibError("no path")
        return score(arch)

    result = find(Toy(), RandomSearch(), fails_often, iterations=60)
    failed = result.log[list(AZ_NAS)].isna().all(axis=1)
    assert (failed == (result.log["structure"] < "d")).all()
    assert 0 < failed.sum() == result.summary["failed"] < 60 and result.structure > "d"
    shown = capsys.readouterr()
    assert "AzlibError: no path; its scores are NaN" in shown.err and shown.out == ""


def test_the_bar_shows_the_best_so_far(monkeypatch, capsys):
    class Eager(loop.tqdm):
        def __init__(self, mininterval, **options):
            super().__init__(mininterval=0, **options)

    monkeypatch.setattr(loop, "tqdm", Eager)
    summary = find(Toy(), RandomSearch(), iterations=30, progress=True).summary
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "toy: 100%" in shown and "30/30" in shown
    best = f"best={summary['step']}, macs={summary['macs'] / 1e6:.1f}M"
    assert f"{best}, score={summary['aggregate']:.3f}" in shown


# --- processes and machines ----------------------------------------------------------------


def test_the_number_of_processes_changes_nothing():
    rule = Algorithm1(20, generation=8)
    one = find(Rooted(), rule, iterations=60)
    assert same(find(Rooted(), rule, workers=2, iterations=60).log, one.log)
    assert not same(find(Rooted(), Algorithm1(20), iterations=60).log, one.log)


def test_a_dead_worker_says_what_to_lower():
    with pytest.raises(AzlibError, match=r"worker process died .*lower batch, resolution or work"):
        find(Toy(), RandomSearch(), deadly_score, iterations=1, workers=2)


def test_a_dask_cluster_changes_nothing():
    distributed = pytest.importorskip("distributed")
    rule = Algorithm1(20, generation=8)
    with distributed.LocalCluster(
        n_workers=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        far = find(Rooted(), rule, scheduler=cluster.scheduler_address, iterations=60)
    assert same(far.log, find(Rooted(), rule, iterations=60).log)


def test_a_generation_sees_the_history_before_it():
    log = find(Rooted(54), Algorithm1(20, generation=25), iterations=100).log
    first = log["structure"][:25]
    assert all(sum(letter != "a" for letter in arch) <= 1 for arch in first)  # still phase 1


# --- files ---------------------------------------------------------------------------------


def test_a_killed_search_resumes_to_the_same_log(tmp_path):
    out = tmp_path / "log.parquet"
    code = f"import toy; toy.slow_search({str(out)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    while not out.exists() or pq.read_metadata(out).num_rows < 30:
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = pd.read_parquet(out)
    assert 30 <= len(before) < 240
    result = slow_search(out)
    assert result.log[: len(before)].equals(before)  # to the second: not scored again
    reference = slow_search()
    assert same(result.log, reference.log) and result.structure == reference.structure
    assert pd.read_parquet(out).equals(result.log)


def test_an_interrupted_search_keeps_what_it_has(tmp_path):
    calls = []

    def interrupted(arch):
        calls.append(arch)
        if len(calls) == 41:
            raise KeyboardInterrupt
        return score(arch)

    options = {"iterations": 80, "out": tmp_path / "log.parquet"}
    with pytest.raises(AzlibError, match="run the same search again to continue"):
        find(Toy(), RandomSearch(), interrupted, **options)
    assert len(pd.read_parquet(options["out"])) == 40
    log = find(Toy(), RandomSearch(), interrupted, **options).log
    assert same(log, find(Toy(), RandomSearch(), iterations=80).log)
    assert len(calls) == 1 + log["structure"].nunique()


def test_a_finished_search_can_be_extended(tmp_path):
    rule, options = Algorithm1(20, generation=8), {"out": tmp_path / "log.parquet"}
    short = find(Rooted(), rule, iterations=60, **options)  # ends inside a generation
    again = find(Rooted(), rule, iterations=60, **options)
    assert again.log.equals(short.log) and again.summary == short.summary
    long = find(Rooted(), rule, iterations=90, **options).log
    assert long[:60].equals(short.log)
    assert same(long, find(Rooted(), rule, iterations=90).log)
    with pytest.raises(AzlibError, match="holds 90 candidates, more than iterations=60"):
        find(Rooted(), rule, iterations=60, **options)


def test_a_repeated_member_weighs_twice_and_is_logged_once(tmp_path):
    members = (AZ_NAS[0], *AZ_NAS, AZ_NAS[0])
    out = tmp_path / "s.parquet"
    heavy = Ranked(score, *members)
    result = find(Rooted(), Algorithm1(20), heavy, iterations=80, out=out)
    assert list(result.log) == ["step", "structure", *AZ_NAS, "macs", "params", "seconds"]
    best = aggregate(result.log, proxies=members).idxmax()
    assert result.structure == result.log["structure"][best]
    assert incumbents(result.log, members)[-1] == best
    assert find(Rooted(), Algorithm1(20), iterations=80, out=tmp_path / "p.parquet").log[
        "structure"
    ].tolist() != (result.log["structure"].tolist())
    again = find(Rooted(), Algorithm1(20), heavy, iterations=80, out=out)
    assert again.log.equals(result.log)


def test_the_log_and_its_summary(tmp_path):
    out = tmp_path / "new" / "toy_30_seed7.parquet"
    result = find(Rooted(), Algorithm1(20), iterations=50, out=out)
    log = pd.read_parquet(out)
    assert list(log) == ["step", "structure", *AZ_NAS, "macs", "params", "seconds"]
    assert log["step"].tolist() == list(range(50)) and log.equals(result.log)
    assert (log["macs"] <= 30e6).all() and (log["params"] == log["macs"] / 1e6 + 1).all()
    summary = json.loads(out.with_suffix(".json").read_text())
    best = aggregate(log).idxmax()
    assert summary["structure"] == result.structure == log["structure"][best]
    assert summary["step"] == best and summary["aggregate"] == aggregate(log)[best]
    assert summary["scores"] == log.loc[best, list(AZ_NAS)].to_dict()
    assert summary["macs"] == log["macs"][best] and summary["candidates"] == 50
    assert summary["core_hours"] == pytest.approx(log["seconds"].sum() / 3600)
    assert summary["settings"]["rule"] == {
        "name": "Algorithm1",
        "population": 20,
        "generation": 1,
    }
    assert summary["settings"]["space"] == {"name": "toy", "budget": 30}
    held = json.loads(pq.read_schema(out).metadata[logs.METADATA_KEY])
    assert held == summary["settings"] and held["seed"] == 7
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "toy_30_seed7.json",
        "toy_30_seed7.parquet",
    ]


def test_a_full_disk_leaves_the_log_intact(tmp_path, monkeypatch):
    out = tmp_path / "log.parquet"
    find(Toy(), RandomSearch(), iterations=20, out=out)
    before = out.read_bytes()

    def full(table, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs.pq, "write_table", full)
    with pytest.raises(AzlibError, match="No space left on device; the previous file is untouched"):
        find(Toy(), RandomSearch(), iterations=40, out=out)
    assert out.read_bytes() == before and not list(tmp_path.glob("*.tmp"))


# --- errors --------------------------------------------------------------------------------


def test_a_log_that_cannot_be_written_is_said_before_anything_is_scored(tmp_path):
    (tmp_path / "file").write_text("")
    scored: list[str] = []
    with pytest.raises(AzlibError, match=r"cannot write .*file/log.parquet: .*another output"):
        find(Toy(), RandomSearch(), scored.append, iterations=9, out=tmp_path / "file/log.parquet")
    assert scored == [] and [path.name for path in tmp_path.iterdir()] == ["file"]
    check_writable(tmp_path / "new" / "folder" / "log.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(AzlibError, match="is no regular file"):
        check_writable(tmp_path)


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    out = tmp_path / "log.parquet"
    find(Toy(), RandomSearch(), iterations=20, out=out)
    with pytest.raises(AzlibError, match=r"another search: seed=7 \(now 8\); choose another"):
        find(Toy(), RandomSearch(), iterations=20, out=out, seed=8)
    different = (
        r"rule.name='RandomSearch' \(now 'Algorithm1'\), space.budget=30 \(now 31\), "
        r"rule.population=None \(now 9\), rule.generation=None \(now 1\)"
    )
    with pytest.raises(AzlibError, match=different):
        find(Toy(31), Algorithm1(9), iterations=20, out=out)
    out.write_bytes(b"not a log")
    with pytest.raises(AzlibError, match="is not a search log, or is damaged"):
        find(Toy(), RandomSearch(), iterations=20, out=out)


@pytest.mark.parametrize(
    "text, options",
    [
        ("population=1024 is larger than iterations=100", {"rule": Algorithm1()}),
        ("population=100 is larger than iterations=99", {"rule": RegularisedEvolution()}),
        ("iterations=0: expected an integer of at least 1", {"iterations": 0}),
        ("workers=0: expected an integer of at least 1", {"workers": 0}),
        ("seed=-1: expected an integer from 0 to", {"seed": -1}),
        ("seed=9223372036854775808: expected", {"seed": 2**63}),
        ("expected at most 10,000,000", {"iterations": 10**12}),
        ("out='a.json': expected a name that ends in .parquet", {"out": "a.json"}),
        (
            "unknown score 'complexty'. Did you mean 'complexity'",
            {"score": Ranked(score, "complexty")},
        ),
        (r"columns \['macs'\] of its own", {"score": Ranked(score, "macs")}),
        ("cannot be sent to processes", {"score": lambda arch: {}, "workers": 2}),
        ("10,000 candidates in a row were illegal.*raise a limit of Toy", {"space": Toy(-1)}),
    ],
)
def test_bad_input(text, options):
    options = {"space": Toy(), "rule": RandomSearch(), "iterations": 99, **options}
    options["iterations"] += options["rule"] == Algorithm1()
    with pytest.raises(AzlibError, match=text):
        find(**options)


def test_bad_rules():
    with pytest.raises(AzlibError, match="population=1: expected an integer of at least 2"):
        Algorithm1(1)
    with pytest.raises(AzlibError, match="tournament=0: expected an integer of at least 1"):
        RegularisedEvolution(10, 0)
    with pytest.raises(AzlibError, match="below the smallest network"):
        MobileNetV2(budget=1e6)


def test_a_search_in_which_everything_fails_stops(tmp_path):
    def fails(arch):
        raise RuntimeError("broken")

    out = tmp_path / "log.parquet"
    with pytest.raises(AzlibError, match=r"no candidate could be scored.*RuntimeError: broken"):
        find(Toy(), RandomSearch(), fails, iterations=100, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_out_of_memory_says_what_to_lower(error):
    def fails(arch):
        raise error

    with pytest.raises(
        AzlibError, match=r"out of memory on .*: lower batch, resolution or workers"
    ):
        find(Toy(), RandomSearch(), fails, iterations=100)


# --- real networks -------------------------------------------------------------------------


def test_live_scores(tmp_path):
    space = NASBench201(cost_resolution=16)
    rule, out = Algorithm1(13), tmp_path / "log.parquet"
    live = Live.at(space, batch=2, resolution=8)
    result = find(space, rule, live, iterations=14, seed=123, out=out)
    row = result.log.iloc[-1]
    assert row["complexity"] == space.count(row["structure"])["macs"]  # not at resolution 8
    again = azlib.score(
        space.build(row["structure"]),
        (2, 3, 8, 8),
        seed=123,
        macs=row["macs"],
        architecture=row["structure"],
    )
    assert row[list(AZ_NAS)].to_dict() == again  # both on one thread, so to the last digit
    assert result.summary["settings"]["score"]["settings"]["input_shape"] == [2, 3, 8, 8]
    other = Live.at(space, batch=2, resolution=9)
    with pytest.raises(AzlibError, match=r"score.settings.input_shape=\[2, 3, 8, 8\] \(now"):
        find(space, rule, other, iterations=14, seed=123, out=out)


def test_vision_transformers_are_scored_with_their_own_weights():
    space = AutoFormer("tiny", cost_resolution=32)
    live = Live.at(space, "paper", batch=2, resolution=32)
    arch = space.sample_legal(np.random.default_rng(0))
    first = live(arch)
    assert list(first) == list(space.proxies) and live(arch) == first
    assert replace(live, settings=live.settings.changed(init="plain_norm"))(arch) != first
    larger = replace(live, settings=live.settings.sized(resolution=48))(
        arch
    )  # of a network built for 48 pixels
    assert larger["expressivity"] != first["expressivity"]
    assert larger["complexity"] == space.count(arch)["macs"]  # costs are the space's
    with pytest.raises(AzlibError, match="resolution 40 does not split into 16-pixel patches"):
        find(
            space,
            RandomSearch(),
            replace(live, settings=live.settings.sized(resolution=40)),
            iterations=99,
        )


@pytest.mark.parametrize("space", [MobileNetV2(450e6), AutoFormer("small")], ids=lambda s: s.name)
def test_presets_are_a_batch_and_a_resolution_by_name(space):
    paper, cpu = Live.at(space, "paper", 5), Live.at(space, "cpu", 5)
    assert (paper.settings.input_shape, paper.seed) == ((64, 3, 224, 224), 5)
    assert cpu.settings.batch * cpu.settings.resolution**2 < 64 * 224**2
    assert paper.proxies == space.proxies
    with pytest.raises(AzlibError, match=f"unknown preset of {space.name} 'laptop'.*cpu"):
        Live.at(space, "laptop")
    with pytest.raises(AzlibError, match=r"unknown preset of nasbench201 'cpu'.*paper"):
        Live.at(NASBench201(), "cpu")


def test_a_finished_search_is_read_and_not_written_again(tmp_path):
    def never(arch):
        raise AssertionError("scored again")

    out = tmp_path / "log.parquet"
    first = find(Toy(), Algorithm1(5), iterations=30, out=out)
    paths = [out, out.with_suffix(".json")]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    again = find(Toy(), Algorithm1(5), never, iterations=30, out=out)
    assert again.structure == first.structure and again.summary == first.summary
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before


def test_random_search_is_the_same_for_any_generation(tmp_path, monkeypatch):
    out = tmp_path / "log.parquet"
    alone = find(Toy(), RandomSearch(), iterations=30)
    monkeypatch.setattr(RandomSearch, "generation", 7)
    find(Toy(), RandomSearch(), iterations=20, out=out)
    monkeypatch.setattr(RandomSearch, "generation", 4)
    assert same(find(Toy(), RandomSearch(), iterations=30, out=out).log, alone.log)


def test_scores_of_another_budget_are_taken_over(tmp_path):
    scored = []

    @dataclass(frozen=True)
    class Scorer:
        space: Toy
        sharpness: float = 1.0

        def __call__(self, arch):
            scored.append(arch)
            return score(arch)

    wide, narrow = Toy(), Toy(budget=Toy().budget - 2)
    logs = [tmp_path / name for name in ("wide.parquet", "narrow.parquet")]
    first = find(wide, RandomSearch(), Scorer(wide), iterations=40, out=logs[0]).log
    alone = find(narrow, RandomSearch(), Scorer(narrow), iterations=40).log
    scored.clear()
    options = {"iterations": 40, "out": logs[1], "reuse": [logs[0]]}
    again = find(narrow, RandomSearch(), Scorer(narrow), **options).log
    assert same(again, alone)
    assert {*scored} == {*alone["structure"]} - {*first["structure"]} != {*alone["structure"]}
    shared = again.drop_duplicates("structure").merge(
        first.drop_duplicates("structure"), "inner", "structure"
    )
    assert len(shared) and (shared["seconds_x"] == shared["seconds_y"]).all()
    with pytest.raises(AzlibError, match=r"scored in another way: sharpness=1.0 \(now 2.0\)"):
        find(wide, RandomSearch(), Scorer(wide, 2.0), iterations=9, reuse=logs)
    with pytest.raises(AzlibError, match="no search log"):
        find(wide, RandomSearch(), Scorer(wide), iterations=9, reuse=[tmp_path / "none.parquet"])


def test_a_description_of_another_log_is_written_again(tmp_path):
    out = tmp_path / "log.parquet"
    find(Toy(), RandomSearch(), iterations=9, out=out)
    said = out.with_suffix(".json")
    for stale in ("{", json.dumps({**json.loads(said.read_text()), "candidates": 8})):
        said.write_text(stale)
        assert find(Toy(), RandomSearch(), iterations=9, out=out).summary["candidates"] == 9
        assert json.loads(said.read_text())["candidates"] == 9


def test_counts_are_a_score_without_networks():
    space = MobileNetV2(450e6)
    for cost in ("macs", "params"):
        result = find(space, Algorithm1(5), Count(space, cost), iterations=60)
        counts = [space.count(arch)[cost] for arch in result.log["structure"]]
        assert result.log["count"].tolist() == counts
        assert space.count(result.structure)[cost] == max(counts)


def test_population_is_the_papers_share():
    assert [population_of(n) for n in (1, 1000, 2000, 100_000)] == [2, 10, 20, 1024]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_cuda_asked_for_and_absent():
    space = NASBench201(cost_resolution=8)
    with pytest.raises(AzlibError, match='PyTorch sees no GPU here: use device="cpu"'):
        find(space, RandomSearch(), Live.at(space, device="cuda"), iterations=1)
