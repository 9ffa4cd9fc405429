"""Weights that all networks of a space share: slices of one supernet, drawn from the seed alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import azlib
from azlib.cli import app
from azlib.errors import AzlibError
from azlib.scoring import Execution, files, recompute, sample, sweep
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces.autoformer import SIZES, AutoFormer
from azlib.spaces.autoformer import network as networks

SPACE = AutoFormer("tiny", num_classes=5, cost_resolution=32)
SMALL = {"batch": 2, "resolution": 32, "init": "supernet"}


@pytest.fixture(scope="module")
def archs():
    return sample(get("autoformer-tiny"), 2)


def inherited(arch, seed=1, space=SPACE):
    network = space.build(arch)
    network.inherit(seed)
    return {name: weight.detach() for name, weight in network.named_parameters()}


def sliced(whole, structure):
    """The weights of a network by the published rule, which stores a query, a key, a value in turn.

    Written with plain indices, from the weights of the supernet in azlib's order.
    """
    c = structure.embed
    found = {
        "patches.weight": whole["patches.weight"][:c],
        "patches.bias": whole["patches.bias"][:c],
        "class_token": whole["class_token"][:, :, :c],
        "positions": whole["positions"][:, :, :c],
        "norm.weight": whole["norm.weight"][:c],
        "norm.bias": whole["norm.bias"][:c],
        "head.weight": whole["head.weight"][:, :c],
        "head.bias": whole["head.bias"],
    }
    for i, (q, hidden) in enumerate(structure.layers):
        attention, mlp = f"blocks.{i}.attention.", f"blocks.{i}.mlp."
        for half in (attention, mlp):
            for name in ("norm.weight", "norm.bias"):
                found[half + name] = whole[half + name][:c]
        qkv = whole[attention + "inner.qkv.weight"]
        in_turn = torch.empty_like(qkv)
        for kind in range(3):
            in_turn[kind::3] = qkv[kind * len(qkv) // 3 : (kind + 1) * len(qkv) // 3]
        parts = [in_turn[kind : 3 * q : 3, :c] for kind in range(3)]
        found[attention + "inner.qkv.weight"] = torch.cat(parts)
        found[attention + "inner.qkv.bias"] = torch.zeros(3 * q)
        projection = attention + "inner.projection.weight"
        found[projection] = whole[projection][:c, :q]
        found[attention + "inner.projection.bias"] = torch.zeros(c)
        for tables in ("inner.key_tables", "inner.value_tables"):
            found[attention + tables] = whole[attention + tables]
        found[mlp + "inner.0.weight"] = whole[mlp + "inner.0.weight"][:hidden, :c]
        found[mlp + "inner.0.bias"] = torch.zeros(hidden)
        found[mlp + "inner.2.weight"] = whole[mlp + "inner.2.weight"][:c, :hidden]
        found[mlp + "inner.2.bias"] = torch.zeros(c)
    return found


@settings(deadline=None, max_examples=4)
@given(draw=st.integers(0, 2**32 - 1), seed=st.integers(0, 1))
def test_a_network_has_the_leading_weights_of_the_supernet(draw, seed):
    arch = SPACE.sample(np.random.default_rng(draw))
    whole = inherited(str(SPACE.choices.largest), seed)
    expected, found = sliced(whole, SPACE.parse(arch)), inherited(arch, seed)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name]), name


@pytest.mark.parametrize("size", SIZES)
def test_no_network_is_larger_than_the_supernet(size):
    choices = SIZES[size]
    for arch in (sample(AutoFormer(size), 1)[0], str(choices.largest)):
        structure = AutoFormer(size).parse(arch)
        assert structure.depth <= choices.largest.depth and structure.embed <= choices.largest.embed
        pairs = zip(structure.layers, choices.largest.layers, strict=False)
        assert all(q <= most_q and f <= most_f for (q, f), (most_q, most_f) in pairs)


def test_the_largest_network_is_the_supernet():
    """The supernet is drawn as any network, from a stream that bears the name of the largest."""
    largest = str(SPACE.choices.largest)
    held = inherited(largest, seed=7)
    alone = SPACE.build(largest, rng=azlib.inputs.generator(7, largest, "supernet"))
    assert all(torch.equal(held[name], weight) for name, weight in alone.named_parameters())
    qkv = held["blocks.0.attention.inner.qkv.weight"]
    assert float(qkv.std()) == pytest.approx(0.02, rel=0.02)
    assert not torch.equal(qkv, inherited(largest, seed=8)["blocks.0.attention.inner.qkv.weight"])


def test_inheriting_draws_nothing_and_one_supernet_is_kept(archs):
    space = replace(SPACE, num_classes=1000)
    network = space.build(archs[0])
    before = torch.random.get_rng_state()
    for seed in (1, 2, 1):
        network.inherit(seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert networks._supernet_weights.cache_info().currsize == 1


def test_a_score_depends_on_neither_order_nor_processes(archs, tmp_path):
    space = get("autoformer-tiny")
    how = ScoreSettings.for_space(space, **SMALL)
    frames = []
    for name, listed, workers in (("a", archs, 1), ("b", archs[::-1], 2)):
        run = Execution(workers, chunk=4, progress=False)  # all in one other process
        out = sweep(
            space, tmp_path / f"{name}.parquet", how, seeds=(2, 1), archs=listed, execution=run
        )
        frame = files.read(out).drop(columns="seconds")
        frames.append(frame.sort_values(["seed", "arch"], ignore_index=True))
    assert frames[0].equals(frames[1])
    assert files.read_settings(out).score.init == "supernet"
    assert recompute(out, 2, 0).difference == 0
    row = frames[0].set_index(["seed", "arch"]).loc[1, archs[1]]
    alone = azlib.score(
        space.build(archs[1], 32),
        how.input_shape,
        seed=1,
        proxies=space.proxies,
        init="supernet",
        batch_statistics=False,
        architecture=archs[1],
        macs=space.count(archs[1])["macs"],
    )
    assert row.to_dict() == alone == Live.at(space, "paper", 1, **SMALL)(archs[1])


def test_weights_differ_from_those_of_the_networks_own_but_not_much(archs):
    live = Live.at(get("autoformer-tiny"), "paper", 1, batch=4, resolution=32)
    shared = replace(live, settings=live.settings.changed(init="supernet"))
    own, inherited_scores = live(archs[0]), shared(archs[0])
    assert own["complexity"] == inherited_scores["complexity"]
    for name in ("expressivity", "trainability"):
        assert own[name] != inherited_scores[name]
        assert math.isclose(own[name], inherited_scores[name], rel_tol=0.2)


def test_proxies_with_an_initialisation_of_their_own_keep_it(archs):
    """Only what their rule does not draw, such as the position embedding, is the supernet's."""
    space = get("autoformer-tiny", num_classes=5)
    live = Live.at(space, "paper", 1, proxies="gradsign,expressivity", batch=2, resolution=32)
    shared = replace(live, settings=live.settings.changed(init="supernet"))
    both = shared(archs[0])
    assert math.isfinite(both["gradsign"])
    alone = Live.at(space, "paper", 1, proxies="expressivity", **SMALL)(archs[0])
    assert both["expressivity"] == alone["expressivity"]


def test_a_search_carries_the_supernet(tmp_path):
    space = get("autoformer-tiny")
    live = Live.at(space, "paper", 1, **SMALL)
    out = tmp_path / "log.parquet"
    how = {"iterations": 2, "seed": 1, "execution": Execution(1, progress=False)}
    result = search(space, RandomSearch(), live, out=out, **how)
    first = result.log.iloc[0]
    assert first[list(space.proxies)].to_dict() == live(first["structure"])
    assert result.summary["settings"]["score"]["settings"]["init"] == "supernet"
    own = Live.at(space, "paper", 1, batch=2, resolution=32)
    with pytest.raises(AzlibError, match=r"another search: score\.settings\.init='supernet'"):
        search(space, RandomSearch(), own, out=out, **how)


@pytest.mark.parametrize("name", ["nasbench201", "mobilenetv2", "nasbench-macro"])
def test_a_space_without_a_supernet_refuses(name, tmp_path):
    space, refusal = get(name), f'init="supernet": the space {name} has no supernet, the AutoFormer'
    usual = ScoreSettings.for_space(space)
    for ask in (
        lambda: ScoreSettings.for_space(space, init="supernet"),
        lambda: Live(space, settings=usual.changed(init="supernet")),
        lambda: sweep(space, tmp_path / "s.parquet", usual.changed(init="supernet"), archs=["x"]),
    ):
        with pytest.raises(AzlibError, match=refusal) as error:
            ask()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_strangers_network_has_no_supernet():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3))
    with pytest.raises(AzlibError, match='init="supernet": Sequential has no supernet'):
        azlib.score(model, (2, 3, 8, 8), init="supernet", blocks=["0", "2"])
    with pytest.raises(AzlibError, match=r"initialisation 'supernets'\. Did you mean 'supernet'"):
        ScoreSettings(init="supernets")


def test_the_command_line_carries_it(archs, tmp_path):
    listed, out = tmp_path / "archs.txt", tmp_path / "s.parquet"
    listed.write_text(archs[0])
    command = ["sweep", "--out", str(out), "--space", "autoformer-tiny", "--archs", str(listed)]
    command += ["--batch", "2", "--resolution", "32", "--init", "supernet", "--workers", "1"]
    done = CliRunner().invoke(app, [*command, "--quiet"])
    assert done.exit_code == 0, done.output
    assert files.read_settings(out).score.init == "supernet"
    assert CliRunner().invoke(app, ["check-scores", str(out), "--count", "1"]).exit_code == 0
