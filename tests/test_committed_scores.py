"""The committed scores are what their datasheets say, and the exhibits are made from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from azlib.companion import agreement, benchmarks
from azlib.proxies import REGISTRY, names
from azlib.scoring import files, manifest, sample
from azlib.settings import INITIALISATIONS
from azlib.spaces import nasbench201 as nb

ENTRIES = manifest.entries()
MADE = [entry for entry in ENTRIES if entry.made_by is None]
NO_PATH = nb.canonical(nb.form(("none",) * 6))
EMPTY = {"nasbench201": NO_PATH, "transnas101-micro": "64-41414-0_00_000"}
"""The cells without a path, on which a proxy may fail."""

TRAINED = {"autoformer-tiny": 200}
"""How many networks the benchmarks trained whose networks are scored by list."""


def path_of(entry):
    return files.COMMITTED / f"{entry.file}.parquet"


def test_the_manifest_names_every_file():
    for suffix in ("json", "parquet"):
        there = {path.stem for path in files.COMMITTED.glob(f"*.{suffix}")}
        assert there == {entry.file for entry in ENTRIES}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.file)
def test_a_file_holds_what_manifest_and_datasheet_say(entry):
    path, space = path_of(entry), entry.search_space()
    said = json.loads(path.with_suffix(".json").read_text())
    frame, settings = files.read(path), files.read_settings(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == said["sha256"]
    assert said["settings"] == settings.to_dict()
    assert (len(frame), sorted(frame["seed"].unique())) == (said["rows"], said["seeds"])
    assert tuple(said["seeds"]) == entry.seeds
    wanted = entry.score_settings(space)
    reads_images = any(REGISTRY[name].images for name in wanted.proxies)
    labelled = wanted.labelled_images if reads_images else None
    assert settings.score == replace(wanted, labelled_images=labelled)
    assert (settings.space, settings.unique) == (space.name, entry.unique)
    assert not frame.duplicated(["arch", "seed"]).any()
    proxies = list(wanted.proxies)
    failed = frame[proxies].isna().all(axis=1)
    assert failed.sum() == said["failed"]
    empty = EMPTY.get(space.name.removesuffix("-full"))
    assert set(frame["arch"][failed].map(space.canonical)) <= {empty}


@pytest.mark.parametrize("entry", MADE, ids=lambda entry: entry.file)
def test_a_file_covers_the_space_or_the_sample_that_the_manifest_names(entry):
    space = entry.search_space()
    if entry.benchmark is not None:
        archs = list(dict.fromkeys(files.read(path_of(entry))["arch"]))
        assert len(archs) == TRAINED[entry.benchmark]
    else:
        archs = list(space) if entry.sample is None else sample(space, entry.sample)
    if entry.unique:
        archs = list(dict.fromkeys(map(space.canonical, archs)))
    for _, of_seed in files.read(path_of(entry)).groupby("seed"):  # a longer sample is appended
        assert sorted(of_seed["arch"]) == sorted(archs)


def test_files_of_a_benchmark_hold_its_networks(shared):
    for entry in MADE:
        if entry.benchmark is not None:
            known = pd.read_csv(shared / entry.benchmark / "accuracies.csv")["arch"]
            assert set(files.read(path_of(entry))["arch"]) == set(known)


def test_every_initialisation_batch_size_and_input_was_varied():
    what = {e.file.split("_32px_")[1] for e in ENTRIES if e.file.startswith("az_nasbench201_32px_")}
    drawn = {f"init-{name}" for name in INITIALISATIONS if name != "kaiming_norm_fanin"}
    assert drawn | {"batch-8", "batch-16", "batch-32", "input-patches"} < what


def test_graph_proxies_cover_the_space_and_agree_with_its_counts():
    space = nb.NASBench201()
    graph = files.load("cifar10", space, "graph").set_index("arch")
    counts = files.load("cifar10", space, "counts").set_index("arch")
    assert len(graph) == len(counts) == len(space)
    for arch in nb.enumerate_all()[::97]:
        costs, live = nb.count(arch), nb.count(arch, live=True)["macs"]
        assert counts.loc[arch, "params"] == costs["params"]
        disconnected = nb.canonical(arch) == NO_PATH
        assert graph.loc[arch, "live_macs"] == (0 if disconnected else live - 10)  # bias adds


@pytest.mark.parametrize("resolution", [32, 16])
def test_whole_space_is_there_and_degenerates_as_it_must(resolution):
    frame = files.read(files.COMMITTED / f"az_nasbench201_{resolution}px.parquet")
    assert frame["arch"].tolist() == list(nb.enumerate_all())
    assert frame["complexity"].tolist() == [
        nb.count(arch, 10, resolution)["macs"] for arch in frame["arch"]
    ]
    same = frame["arch"].map(nb.canonical)
    no_path = same == NO_PATH
    identity = same == nb.canonical(nb.form(("none",) * 3 + ("skip_connect", "none", "none")))
    assert (frame["expressivity"].isna() == no_path).all() and no_path.sum() == 341
    assert (np.isneginf(frame["trainability"]) == identity).all() and identity.sum() == 400


def test_the_committed_scores_agree_with_the_embedded_ground_truth_as_ever():
    """Table 4 without anything fetched; test_notebooks.py compares all of it where files are."""
    truth = benchmarks.load()
    frame = files.load("cifar10", nb.NASBench201())
    for method, tau in {"log": 0.736769, "linear": 0.69062}.items():
        row = agreement.agreement(frame, truth, method=method)
        assert row["kendall_tau"] == pytest.approx(tau, abs=1e-5)
        assert row["seeds"] == 5 and row["n"] == 15625


def test_numbers_to_reach():
    """All 15,625, four proxies: within 0.02 of the paper, log above linear, on all data sets."""
    from azlib.companion import paper

    table = pd.read_csv(ROOT / "figures" / "nas-bench-201" / "table4.csv")
    full = table[table["proxies"] == "+".join(names("az"))]
    full = full.set_index(["dataset", "aggregation"])["kendall_tau"]
    for dataset in nb.DATASETS:
        for method in ("log", "linear"):
            published = paper.value("Table 4", method, "kendall_tau", dataset)
            assert full[dataset, method] == pytest.approx(published, abs=0.02)
        assert full[dataset, "log"] > full[dataset, "linear"]
