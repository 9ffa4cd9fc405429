"""What makes scoring fast must change nothing: moulds, lazy imports, another precision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import azlib
from azlib import spaces
from azlib.errors import AzlibError
from azlib.inputs.initialisation import initialise
from azlib.scoring.chunk import score_architecture
from azlib.scoring.files import FileSettings
from azlib.settings import ScoreSettings
from azlib.spaces import moulds

SPACES = (
    "nasbench201",
    "nasbench201-full",
    "transnas101-micro",
    "transnas101-micro-full",
    "nasbench-macro",
    "mobilenetv2",
)
HEAVY = {"torch", "pandas", "scipy", "pyarrow", "matplotlib"}
DIAGNOSED = ("expressivity", "progressivity", "trainability", "identity_blocks")


@pytest.mark.parametrize("name", SPACES)
def test_a_network_from_moulds_is_the_one_that_constructors_build(name):
    space = spaces.get(name)
    arch = space.sample(np.random.default_rng(5))
    built = space.build(arch)
    with moulds.blank_weights():
        copied = [space.build(arch) for _ in range(2)]
    for network in (built, *copied):
        initialise(network, space.init, torch.Generator().manual_seed(1))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
    assert str(built) == str(copied[0]) and built.primary_blocks == copied[0].primary_blocks
    own = [dict(network.named_parameters()) | dict(network.named_buffers()) for network in copied]
    given = dict(built.named_parameters()) | dict(built.named_buffers())
    assert list(given) == list(own[0]) == list(own[1])
    for key, tensor in given.items():
        assert torch.equal(tensor, own[0][key]) and tensor.stride() == own[0][key].stride(), key
        assert tensor.requires_grad == own[0][key].requires_grad
        assert own[0][key].data_ptr() != own[1][key].data_ptr()


def test_copies_share_no_hooks_and_no_state():
    with moulds.blank_weights():
        first, second = (moulds.make(nn.BatchNorm2d, 3) for _ in range(2))
    first.register_forward_hook(lambda *_: None)
    first.eval()
    assert second.training and not second._forward_hooks
    with moulds.blank_weights():
        assert not moulds.make(nn.BatchNorm2d, 3)._forward_hooks


def test_outside_of_scoring_networks_have_the_weights_of_their_constructors():
    network = spaces.get("nasbench201").build(spaces.get("nasbench201").canonical(CELL))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all() and module.running_var.eq(1).all()
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert 0.5 * bound < module.weight.abs().max() <= bound


CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


@pytest.mark.parametrize("proxies", [("expressivity",), ("trainability", "expressivity", "zico")])
def test_scores_do_not_depend_on_what_the_memory_held(proxies):
    settings = ScoreSettings(proxies, input_shape=(4, 3, 8, 8))
    first, again = (
        score_architecture(spaces.get("nasbench201"), CELL, 1, settings).values for _ in "ab"
    )
    space = spaces.get("nasbench201")
    alone = azlib.score(space.build(CELL), (4, 3, 8, 8), proxies=proxies, architecture=CELL)
    assert first == again == alone


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import azlib", HEAVY | {"numpy", "typer"}),
        ("import azlib.spaces", HEAVY),
        ("import azlib.cli", HEAVY),
    ],
)
def test_importing_loads_nothing_heavy(code, heavy):
    found = f"{code}; import sys; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_is_loaded_when_it_is_used_is_there():
    assert azlib.aggregate is azlib.aggregation.aggregate
    assert azlib.aggregation.AZ_NAS is azlib.assemblies.AZ_NAS


# --- precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-macro", "autoformer-tiny"])
def test_bfloat16_changes_scores_a_little(name):
    space = spaces.get(name)
    arch = CELL if name == "nasbench201" else space.sample(np.random.default_rng(1))
    settings = ScoreSettings.for_space(space, proxies=DIAGNOSED, batch=8, resolution=32)
    usual = score_architecture(space, arch, 1, settings).values
    half = score_architecture(space, arch, 1, settings.changed(precision="bfloat16")).values
    assert usual["identity_blocks"] == half["identity_blocks"]
    for proxy in ("expressivity", "trainability"):
        assert half[proxy] != usual[proxy]
        assert half[proxy] == pytest.approx(usual[proxy], rel=0.05)


def test_identities_are_seen_in_bfloat16():
    skip = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    settings = ScoreSettings(DIAGNOSED, input_shape=(8, 3, 16, 16), precision="bfloat16")
    scores = score_architecture(spaces.get("nasbench201"), skip, 1, settings).values
    assert scores["identity_blocks"] == 15


def test_proxies_of_others_stay_in_single_precision():
    settings = ScoreSettings(("expressivity", "synflow"), input_shape=(4, 3, 8, 8))
    space = spaces.get("nasbench201")
    usual = score_architecture(space, CELL, 1, settings).values
    half = score_architecture(space, CELL, 1, settings.changed(precision="bfloat16")).values
    assert half["synflow"] == usual["synflow"]


def test_the_precision_stands_in_a_datasheet_only_if_it_was_changed():
    usual, half = ScoreSettings(), ScoreSettings(precision="bfloat16")
    assert "precision" not in usual.to_dict() and half.to_dict()["precision"] == "bfloat16"
    for settings in (usual, half):
        held = FileSettings("nasbench201", settings)
        assert FileSettings.from_dict(held.to_dict()) == held


def test_an_unknown_precision_gets_one_clear_line(tmp_path, main):
    with pytest.raises(AzlibError, match=r"unknown precision 'bfloat61'.*mean 'bfloat16'"):
        ScoreSettings(precision="bfloat61")
    out = tmp_path / "s.parquet"
    status, _, said = main("sweep", "--precision", "half", "--out", out)
    assert status == 1 and said.startswith("azlib: unknown precision 'half'")
    assert said.count("\n") == 1 and not out.exists()
