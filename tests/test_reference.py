"""Ranks against a fixed reference, and the optimiser that needs them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from torch import nn

import azlib
from azlib.aggregation import ASSEMBLIES, AZ_NAS, aggregate, rank, rank_among
from azlib.errors import AzlibError
from azlib.scoring import Execution, FileSettings, Reference, load, sweep
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces.template import MySpace

HERE = Execution(workers=1, progress=False)
SPACE = MySpace()
ARCH = "d2w16k3-d1w32k3-d1w32k5"
VALUES = (math.nan, -math.inf, -1.0, 0.0, 2.0, math.inf)


def invented(columns, seed=1):
    """A reference with these columns of scores."""
    frame = pd.DataFrame(columns)
    frame.insert(0, "arch", [f"a{i}" for i in range(len(frame))])
    frame.insert(1, "seed", seed)
    settings = FileSettings("invented", ScoreSettings(tuple(columns)))
    return Reference(frame.assign(seconds=0.0), settings)


@pytest.fixture(scope="module")
def reference():
    settings = ScoreSettings.for_space(SPACE, batch=4, resolution=8)
    return Reference.of_space(SPACE, 6, settings=settings, execution=HERE)


def test_a_rank_among_others_is_the_rank_in_their_union():
    for held, value in product(product(VALUES, repeat=3), VALUES):
        expected = rank([*held, value])[-1]
        assert rank_among([value, 0.0], held)[0] == expected  # the 0 does not count
    with pytest.raises(AzlibError, match="pass two columns"):
        rank_among([1.0], [[1.0]])


def test_a_value_is_equation_12_of_the_union():
    rng = np.random.default_rng(1)
    for size in [2, 3, 8] * 10:
        union = pd.DataFrame(rng.choice(VALUES, (size + 1, 2)), columns=["a", "b"])
        held, one = union.iloc[:-1], union.iloc[-1].to_dict()
        if held.isna().all(axis=None):
            continue
        value = invented(held.to_dict("list")).value(one)
        expected = aggregate(union, proxies=["a", "b"]).iloc[-1]
        assert value == pytest.approx(expected, abs=1e-12)
        assert -2 * math.log(size + 1) - 1e-12 <= value <= 0


def test_the_range_ties_and_failed_scores():
    few = invented({"a": [1.0, 2.0, 2.0, math.nan]})
    least = -math.log(5)
    assert few.value({"a": 3.0}) == few.value({"a": 9.0}) == 0  # above all: not told apart
    assert few.value({"a": 2.0}) == pytest.approx(math.log(4 / 5))  # rank 4, the mean of 3, 4, 5
    assert few.value({"a": math.nan}) == few.value({"a": -math.inf}) > least  # tied with the NaN
    assert invented({"a": [1.0, 2.0, 2.0, 3.0]}).value({"a": math.nan}) == pytest.approx(least)
    twice = invented({name: [1.0, 2.0] for name in set(ASSEMBLIES["az-graph-epe"])})
    scores = dict.fromkeys(twice.settings.score.proxies, 1.0)
    share = twice.value(scores) / len(scores)  # equal ranks: what a proxy adds
    assert twice.value(scores, "az-graph-epe") == pytest.approx(11 * share)


def test_a_network_keeps_its_number(reference, tmp_path):
    value = reference.score_architecture(SPACE, ARCH)
    model = SPACE.build(ARCH)
    macs = SPACE.count(ARCH)["macs"]
    assert reference.score(model, architecture=ARCH, macs=macs) == value
    path = reference.save(tmp_path / "reference.parquet")
    sheet = json.loads(path.with_suffix(".json").read_text())
    assert sheet["rows"] == len(reference) == 6 and sheet["settings"]["space"] == "my-space"
    again = Reference.load(path)
    assert again.settings == reference.settings
    assert again.score_architecture(SPACE, ARCH) == value
    assert azlib.Reference is Reference
    more = Reference.of_space(SPACE, 9, settings=reference.settings.score, execution=HERE)
    assert more.scores["arch"].tolist()[:6] == reference.scores["arch"].tolist()
    with pytest.raises(AzlibError, match="the reference is of the space 'my-space', not 'nasbench"):
        reference.score_architecture(get("nasbench201"), "x")


def chain(width):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


def test_a_reference_of_given_models(tmp_path):
    models = {f"width {n}": chain(n) for n in (4, 8, 16)}
    made = Reference.of_models(models, (4, 3, 8, 8), seed=3)
    assert made.scores["arch"].tolist() == list(models) and made.seed == 3
    assert made.score(chain(64)) > made.score(chain(2))
    inside = made.score(models["width 8"])
    scores = azlib.score(models["width 8"], (4, 3, 8, 8), seed=3)
    assert inside == made.value(scores)
    loaded = Reference.load(made.save(tmp_path / "models.parquet"))
    assert loaded.score(models["width 8"]) == inside


def test_bad_input_gets_one_line(reference, tmp_path):
    path = tmp_path / "two.parquet"
    settings = replace(reference.settings.score, proxies=("complexity",))
    sweep(SPACE, path, settings, archs=[ARCH, "d1w8k3-d1w8k3-d1w8k3"], seeds=[1, 2], execution=HERE)
    assert Reference.load(path, seed=2).seed == 2
    unique = tmp_path / "unique.parquet"
    sweep(SPACE, unique, settings, archs=[ARCH], unique=True, execution=HERE)
    for call, message in [
        (lambda: Reference.load(path), r"holds the seeds \[1, 2\]: choose one, as in seed=1"),
        (lambda: Reference.load(path, seed=3), r"holds the seeds \[1, 2\], not 3"),
        (lambda: Reference.load(unique), "make a reference from a sweep without --unique"),
        (lambda: Reference.load(tmp_path / "none.parquet"), "no score file"),
        (lambda: reference.save(tmp_path / "x.json"), "expected a name.parquet"),
        (lambda: reference.value({"expressivity": 1.0}), "unknown score 'progressivity'"),
        (lambda: reference.value({}, "synflow"), "unknown proxy of the reference 'synflow'"),
        (lambda: invented({"a": [1.0]}), "at least two networks"),
        (lambda: invented({"a": [math.nan] * 2}), "at least two networks with scores"),
        (lambda: invented({"a": [1.0, 2.0]}, seed=[1, 2]), r"has one seed, got \[1, 2\]"),
        (lambda: Reference.of_models({}), "at least two networks, got none"),
        (
            lambda: Reference.of_models({"a": chain(4), "b": nn.Flatten()}, (4, 3, 8, 8)),
            "b cannot be in a reference",
        ),
    ]:
        with pytest.raises(AzlibError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


# --- Optuna ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known():
    """The committed scores of one seed of every architecture of NAS-Bench-201."""
    return load("cifar10", get("nasbench201")).query("seed == 1").set_index("arch")[list(AZ_NAS)]


def test_optuna_climbs_against_a_reference_and_not_against_its_history(known):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    from azlib.spaces.nasbench201 import text as nb

    held = known.sample(200, random_state=1)
    reference = Reference(
        held.reset_index().assign(seed=1, seconds=0.0), FileSettings("nasbench201")
    )
    whole = aggregate(known)
    history: list[dict] = []

    def propose(trial):
        edges = [trial.suggest_categorical(f"edge{i}", nb.OPERATIONS) for i in range(6)]
        trial.set_user_attr("arch", nb.form(tuple(edges)))
        return known.loc[trial.user_attrs["arch"]].to_dict()

    def against_reference(trial):
        return reference.value(propose(trial))

    def against_history(trial):
        history.append(propose(trial))
        return aggregate(pd.DataFrame(history)).iloc[-1]

    def best(objective, sampler):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=100)
        return study.best_trial

    seeds = range(3)
    guided = [best(against_reference, optuna.samplers.TPESampler(seed=s)) for s in seeds]
    random = [best(against_reference, optuna.samplers.RandomSampler(seed=s)) for s in seeds]
    for trial in guided:  # later trials did not change what an earlier one was told
        assert trial.value == reference.value(known.loc[trial.user_attrs["arch"]].to_dict())
    places = [[whole[t.user_attrs["arch"]] for t in found] for found in (guided, random)]
    assert np.mean(places[0]) > np.mean(places[1])
    misled = best(against_history, optuna.samplers.TPESampler(seed=0))
    assert misled.number == 0 and misled.value == 0  # the first of one, whatever it is
    assert whole[misled.user_attrs["arch"]] < whole[guided[0].user_attrs["arch"]]
