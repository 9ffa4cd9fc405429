"""Blocks that are found, features whose layout is found, and rankings of strangers' networks."""

from __future__ import annotations

import math
import os
import time
from itertools import islice

import numpy as np
import pytest
import strangers
import torch
from helpers import library
from strangers import IMAGES, KINDS
from torch import nn

import azlib
from azlib import AzlibError, AzlibWarning, spaces
from azlib.block_finder import find
from azlib.inputs import generator
from azlib.layouts import channel_axis
from azlib.proxies import count_macs
from azlib.proxies.models import default_shape, noise_for
from azlib.running import main_tensor, with_main_tensor
from azlib.spaces.cells.text import live
from azlib.spaces.transnas101.text import parse
from azlib.trace import trace


def inputs_of(model: nn.Module, shape: tuple[int, ...], stream: str = "input") -> torch.Tensor:
    return noise_for(model, shape, generator(1, "stranger", stream))


# --- what is found -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_those_that_a_person_would_name(kind):
    build, shape, expected = KINDS[kind]
    found = azlib.blocks(build(), shape)
    assert list(found) == expected
    assert found.table["paired"].tolist() == [False] + [True] * (len(expected) - 1)
    assert found.coverage > (0.8 if kind in ("vit", "mixer", "perceptron") else 0.95)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_passes_by_a_block(kind):
    """With its output held, the network returns the same for any input: a cut point it is."""
    build, shape, _ = KINDS[kind]
    model = build().eval()
    first, second = inputs_of(model, shape), inputs_of(model, shape, "another")
    assert not torch.equal(main_tensor(model(first)), main_tensor(model(second)))
    for name in azlib.blocks(model, shape):
        held = []

        def hold(module, arguments, output, held=held):
            held.append(torch.randn_like(main_tensor(output)))
            return with_main_tensor(output, held[0].clone())

        hook = model.get_submodule(name).register_forward_hook(hold)
        results = [main_tensor(model(inputs)) for inputs in (first, second)]
        hook.remove()
        assert torch.equal(*results), name


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("nasbench201", 8),
        ("nasbench201-full", 8),
        ("transnas101-micro", 64),
        ("transnas101-micro-full", 64),
        ("nasbench-macro", 16),
        ("mobilenetv2", 32),
        ("autoformer-tiny", 32),
    ],
)
def test_our_own_spaces_name_what_is_found(name, resolution):
    """8 random networks of each, or as many as NETWORKS says, that an image passes through."""
    space, rng = spaces.get(name), np.random.default_rng(1)
    drawn = iter(lambda: space.sample(rng), "")
    passed = (arch for arch in drawn if "transnas" not in name or any(live(parse(arch))))
    for arch in islice(passed, int(os.environ.get("NETWORKS", "8"))):
        model = space.build(arch, resolution)
        named = list(model.primary_blocks)
        assert find(model, torch.randn(2, 3, resolution, resolution)).names == named, arch


def test_finding_changes_nothing_and_costs_less_than_a_score():
    model, shape = strangers.residual(), (16, 3, 16, 16)
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    start = time.process_time()
    find(model, torch.randn(shape, generator=torch.Generator()))
    finding = time.process_time() - start
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    start = time.process_time()
    azlib.score(model, shape)
    assert finding < time.process_time() - start


def test_partial_coverage_is_said_loudly():
    found = azlib.blocks(strangers.Parallel(), IMAGES)
    assert found.partial and 0 < found.coverage < 0.5
    assert found.left_out["fine"] == "runs in parallel: not every path passes through its output"
    assert "ONLY IN PART" in repr(found) and "fine" in repr(found)
    with pytest.warns(AzlibWarning, match=r"ONLY IN PART.*fine"):
        azlib.score(strangers.Parallel(), IMAGES)


def test_what_is_read_before_a_module_returns_is_no_block_there():
    """The backbone returns an early map that its later layers have already read."""

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.early, self.late = strangers.conv(3, 8), strangers.conv(8, 8, s=2)

        def forward(self, x):
            x = self.early(x)
            return {"early": x, "late": self.late(x)}

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.backbone = strangers.conv(3, 3), Backbone()
            self.head = strangers.Head(8)

        def forward(self, x):
            maps = self.backbone(self.stem(x))
            return self.head(maps["early"]) + self.head(maps["late"])

    assert list(azlib.blocks(Both(), IMAGES)) == ["stem", "backbone.early"]


def test_found_blocks_can_be_given_back():
    model = strangers.residual()
    found = azlib.blocks(model, IMAGES)
    assert azlib.score(model, IMAGES) == azlib.score(model, IMAGES, blocks=found)
    assert azlib.score(model, IMAGES) == azlib.score(model, IMAGES, blocks=list(found))
    assert "1.2" in found._repr_html_() and len(found) == 4


# --- layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layers", "axis"),
    [
        ((4, 12, 8, 8), [(1, 12)], 1),
        ((4, 8, 8, 12), [(-1, 12)], -1),
        ((4, 8, 8, 12), [(1, 12)], -1),  # a convolution whose output was permuted
        ((4, 12, 8, 8), [(1, 12), (-1, 48), (-1, 12)], 1),  # ConvNeXt
        ((4, 8, 8, 8), [(1, 8), (-1, 8)], 1),  # ConvNeXt where all sides are alike
        ((4, 8, 8, 8), [(-1, 8)], -1),  # Swin where all sides are alike
        ((4, 16, 16, 8), [(1, 16)], 1),  # no square
        ((4, 32, 16, 16), [(1, 16)], 1),  # two halves with 16 channels each, side by side
        ((4, 16, 30), [(1, 16)], 1),
        ((4, 30, 16), [(-1, 16)], -1),
        ((4, 30, 16), [(1, 16)], -1),  # patches
        ((4, 6, 5, 5, 5), [(1, 6)], 1),
        ((4, 6), [], 1),
    ],
)
def test_layers_tell_where_channels_are(shape, layers, axis):
    assert channel_axis(shape, layers) == axis


def test_channels_last_is_read_as_channels_first():
    """The same network written both ways has the same spectra and gains of the same size."""

    class Permuted(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = nn.Linear(layer.in_channels, layer.out_channels)
            self.layer.weight.data = layer.weight.data.flatten(1)
            self.layer.bias.data = layer.bias.data

        def forward(self, x):
            return self.layer(x).relu()

    first = nn.Sequential(nn.Conv2d(6, 12, 1), nn.ReLU(), nn.Conv2d(12, 10, 1), nn.ReLU())
    last = nn.Sequential(Permuted(first[0]), Permuted(first[2]))
    x = torch.randn(16, 6, 8, 8)
    a = trace(first, x, torch.Generator().manual_seed(0), ["1", "3"])
    b = trace(last, x.permute(0, 2, 3, 1), torch.Generator().manual_seed(0), ["0", "1"])
    for one, other in zip(a.shares, b.shares, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert a.gains == pytest.approx(b.gains, rel=0.1)  # other signs, the same operator
    assert a.transfers[0].shape == b.transfers[0].shape == (12, 10)


def test_a_signal_has_an_expressivity_below_its_maximum():
    scores = azlib.score(strangers.signal(), (8, 2, 64), proxies="expressivity")
    assert 0 < scores["expressivity"] < sum(map(math.log, (8, 16, 16)))


def test_the_axis_of_channels_can_be_said():
    model = nn.Sequential(nn.Conv1d(2, 8, 3), nn.Conv1d(8, 8, 3))
    read = azlib.score(model, (4, 2, 30), blocks=["0", "1"], proxies="expressivity")
    said = azlib.score(model, (4, 2, 30), blocks={"0": 1, "1": 1}, proxies="expressivity")
    wrong = azlib.score(model, (4, 2, 30), blocks={"0": -1, "1": -1}, proxies="expressivity")
    assert read == said != wrong
    with pytest.raises(AzlibError, match=r"axis 2 of block '0'.*1 or -1"):
        azlib.score(model, (4, 2, 30), blocks={"0": 2, "1": 1})


def test_a_block_that_enlarges_is_the_mirror_of_one_that_shrinks():
    """Transposed convolution: the Jacobian's singular values are those of the convolution."""
    rng = torch.Generator().manual_seed(0)
    down, up = nn.Conv2d(3, 3, 2, 2, bias=False), nn.ConvTranspose2d(3, 3, 2, 2, bias=False)
    up.weight = down.weight
    shrinks = nn.Sequential(nn.Conv2d(3, 3, 1), down)
    grows = nn.Sequential(nn.Conv2d(3, 3, 1), up)
    x = torch.randn(64, 3, 32, 32, generator=rng)
    gain = trace(shrinks, x, rng, ["0", "1"]).gains[0]
    assert gain == pytest.approx(trace(grows, x, rng, ["0", "1"]).gains[0], rel=0.05)
    exact = float(torch.linalg.matrix_norm(down.weight.detach().flatten(1), 2))
    assert gain == pytest.approx(exact, rel=0.05)


# --- identities ----------------------------------------------------------------------------


def zero_scales(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        if name.endswith("scale"):
            nn.init.zeros_(parameter)
    return model


def test_a_branch_that_starts_at_zero_decides_nothing():
    """All blocks start as identities but for the stride: they are left out, not punished."""
    alive, dormant = strangers.residual(), zero_scales(strangers.residual())
    dormant.load_state_dict(
        {k: v for k, v in alive.state_dict().items() if not k.endswith("scale")}, strict=False
    )
    names = "trainability,identity_blocks,trainability_formula"
    scores = azlib.score(dormant, IMAGES, proxies=names, init=None)
    assert scores["identity_blocks"] == 0
    assert math.isfinite(scores["trainability"]) and scores["trainability"] < -0.01
    assert scores["trainability"] != scores["trainability_formula"]


def test_a_branch_that_starts_with_a_group_normalisation_is_read():
    """PyTorch crashes where the gradient of its input, channels last, is not asked for."""

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 1)
            self.scale = nn.Parameter(torch.zeros(8, 1, 1))

        def forward(self, x):
            return x + self.scale * self.layer(self.norm(x))

    model = nn.Sequential(strangers.conv(3, 8), Branch(), strangers.conv(8, 8))
    scores = azlib.score(model, IMAGES, blocks=["0", "1", "2"], init=None)
    assert math.isfinite(scores["trainability"])


def test_a_block_without_live_parameters_is_an_identity_for_good():
    class Skip(nn.Module):
        def __init__(self, dead):
            super().__init__()
            self.dead = nn.Conv2d(8, 8, 1) if dead else None

        def forward(self, x):
            return x + 0 * self.dead(x) if self.dead else x * 1

    for dead in (True, False):
        model = nn.Sequential(strangers.conv(3, 8), Skip(dead), strangers.conv(8, 8))
        scores = azlib.score(model, IMAGES, blocks=["0", "1", "2"])
        assert scores["trainability"] == -math.inf


def test_layer_scales_start_at_one_like_normalisations():
    class LayerScale(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
            self.gamma = nn.Parameter(torch.full((8,), value))
            self.token = nn.Parameter(torch.zeros(1, 1, 8))

        def forward(self, x):
            return x + self.gamma * self.linear(self.norm(x + self.token))

    def scores(value, **more):
        layers = (LayerScale(value) for _ in range(3))
        model = nn.Sequential(nn.Linear(8, 8), *layers, nn.Linear(8, 3))
        return azlib.score(model, (8, 10, 8), architecture="same", batch_statistics=False, **more)

    assert scores(1e-6) == scores(1.0) == scores(0.0)


# --- kinds of models -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_scored(kind):
    build, shape, _ = KINDS[kind]
    model = build()
    scores = azlib.score(model, shape)
    assert all(map(math.isfinite, scores.values())), scores
    assert azlib.score(model, shape) == scores


def test_attention_and_recurrent_layers_are_counted():
    tokens, width, shape = 17, 16, (2, 3, 16, 16)
    block = tokens * width * (4 * width + 4 * width) + 2 * tokens**2 * width
    assert (
        count_macs(strangers.ViT(), torch.zeros(shape)) == 3 * block + 16 * 48 * width + width * 5
    )
    lstm = 9 * 4 * 12 * (12 + 12) * 3  # three of them: one is bidirectional
    ids = torch.zeros(2, 9, dtype=torch.long)
    assert count_macs(strangers.Recurrent(), ids) == lstm + 24 * 5
    graph = azlib.score(strangers.ViT(), shape, proxies="live_macs,complexity")
    assert graph["live_macs"] == graph["complexity"]


def test_half_precision_and_compiled_models_score_as_the_model_itself():
    model = strangers.residual()
    expected = azlib.score(model, IMAGES)
    half = strangers.residual().half()
    assert azlib.score(half, IMAGES) == expected and next(half.parameters()).dtype == torch.half
    assert azlib.score(torch.compile(model, backend="eager"), IMAGES) == expected
    inside = strangers.residual()
    inside.compile(backend="eager")
    assert azlib.score(inside, IMAGES) == expected


def test_the_input_is_what_the_model_says():
    class Config:
        image_size, num_channels, vocab_size, max_position_embeddings = 20, 1, None, None

    model = nn.Linear(1, 1)
    assert default_shape(model) == (64, 3, 32, 32)
    model.config = Config()
    assert default_shape(model) == (64, 1, 20, 20)
    model.config.vocab_size, model.config.max_position_embeddings = 100, 48
    assert default_shape(model) == (64, 48)
    model.pretrained_cfg = {"input_size": (3, 224, 224)}
    assert default_shape(model) == (16, 3, 224, 224)


def test_proxies_that_need_a_classifier_find_logits_in_a_dictionary():
    shape = (4, 9)
    assert azlib.score(strangers.Text(), shape, proxies="grad_norm")["grad_norm"] > 0
    ids = torch.randint(40, shape)
    given = [(ids, torch.arange(4))]
    found = azlib.score(strangers.Text(), shape, proxies="snip,grasp", labelled_images=given)
    assert all(map(math.isfinite, found.values()))


def test_a_long_run_is_said_before(monkeypatch):
    monkeypatch.setattr("azlib.proxies.probe._LONG", 1e6)
    with pytest.warns(AzlibWarning, match=r"can take minutes.*batch=2, or --batch 2"):
        azlib.score(strangers.residual(), (16, 3, 16, 16), proxies="progressivity")


TIMM = [
    "resnet18",
    "regnety_002",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mixer_s32_224",
    "levit_128s",
    "edgenext_xx_small",
    "ghostnet_050",
    "densenet121",
    "inception_v3",
    "dla34",
    "legacy_xception",
    "poolformer_s12",
    "mobilevit_xxs",
    "pvt_v2_b0",
    "coat_lite_tiny",
    "repvgg_a0",
]


LARGE = {  # and take smaller images than their own, so that the tests are quick
    "legacy_xception",
    "inception_v3",
    "hrnet_w18_small",
    "densenet121",
    "dla34",
    "poolformer_s12",
    "repvgg_a0",
    "resnet18",
}


@pytest.mark.parametrize("name", [*TIMM, "hrnet_w18_small"])
def test_timm_models_are_scored_in_one_line(name):
    model = library("timm").create_model(name)
    shape = (2, 3, 96, 96) if name in LARGE else (2, *model.pretrained_cfg["input_size"])
    found = azlib.blocks(model, shape)
    assert found.partial == name.startswith("hrnet")
    assert all(map(math.isfinite, azlib.score(model, shape, blocks=found).values()))


TORCHVISION = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "squeezenet1_0",
    "swin_t",
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_macs_of_known_models_are_the_published_ones(name):
    models = library("torchvision").models
    published = models.get_model_weights(name).DEFAULT.meta["_ops"] * 1e9
    model = models.get_model(name, weights=None)
    assert count_macs(model, torch.zeros(2, 3, 224, 224)) == pytest.approx(published, rel=0.01)


class Pair(nn.Module):
    def forward(self, x, y):
        return x + y


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        return self.a(x).detach()


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return strangers.residual()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: azlib.score(strangers.NoCut(), IMAGES), r"left, right run in parallel.*blocks="),
        (lambda: azlib.score(Pair(), IMAGES), r"missing 1 required.*wrapper that takes one tensor"),
        (lambda: azlib.score(Detached(), (4, 4)), r"no differentiable path.*blocks="),
        (lambda: azlib.score(on_meta(), IMAGES), "on the meta device.*build it on the CPU"),
        (lambda: azlib.score(nn.Linear, (4, 4)), r"expected a torch.nn.Module.*Linear\(\)"),
        (lambda: azlib.blocks("resnet18"), "expected a torch.nn.Module, got str"),
        (lambda: azlib.score(strangers.Recurrent(), (4, 9), proxies="snip"), "takes token ids"),
        (
            lambda: azlib.score(
                nn.Sequential(nn.Flatten(), nn.Linear(768, 8), strangers.NoSecondDerivative()),
                IMAGES,
                proxies="grasp",
            ),
            "grasp cannot be computed for Sequential: .*is not implemented",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(AzlibError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# --- rank ----------------------------------------------------------------------------------


def test_rank_names_its_networks():
    models = {"small": strangers.residual(), "dense": strangers.dense()}
    frame = azlib.rank(models, IMAGES)
    assert frame.index.tolist() == ["small", "dense"] and "reason" not in frame
    listed = azlib.rank(list(models.values()), IMAGES, names=["small", "dense"])
    assert listed.equals(frame)
    unnamed = azlib.rank([strangers.ViT(), strangers.residual(), strangers.dense()], IMAGES)
    assert unnamed.index.tolist() == ["ViT", "Sequential_1", "Sequential_2"]


def test_a_network_that_fails_is_nan_with_its_reason_and_last():
    models = {"a": strangers.residual(), "b": strangers.NoCut(), "c": strangers.branches()}
    frame = azlib.rank(models, IMAGES)
    assert frame.loc["b", list(azlib.aggregation.AZ_NAS)].isna().all()
    assert "run in parallel" in frame.loc["b", "reason"] and frame.loc["b", "place"] == 3
    assert frame["reason"].isna().tolist() == [True, False, True]
    named = azlib.rank(models, IMAGES, blocks={"b": ["left.0", "left.1"]})
    assert "reason" not in named and named.loc["b", "complexity"] > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: azlib.rank(strangers.ViT(), IMAGES), "got one, expected a list"),
        (lambda: azlib.rank([strangers.ViT()] * 2, IMAGES, names=["a"]), "expected 2 names"),
        (lambda: azlib.rank({"a": 1, "b": 2}, names=["a", "b"]), "has names already"),
        (
            lambda: azlib.rank([strangers.ViT()] * 2, IMAGES, blocks={"vit": ["blocks.0"]}),
            "unknown network 'vit'",
        ),
        (lambda: azlib.rank([strangers.NoCut()] * 2, IMAGES), "none of the 2 networks can be"),
    ],
)
def test_bad_input_of_rank_gets_one_clear_line(call, message):
    with pytest.raises(AzlibError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
