"""What a GPU computes is what a processor computes; skipped where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from strangers import IMAGES, KINDS, ViT
from test_train import RECIPE, Toy, train, write_images

import azlib
from azlib import spaces
from azlib.proxies import REGISTRY
from azlib.running import exact, laid_out
from azlib.scoring import Execution, files, recompute, sweep
from azlib.scoring.chunk import score_architecture
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings
from azlib.spaces import nasbench201 as nb
from azlib.trace import signs

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    # PyTorch says so once in a process whose first matrix product is one of autograd.
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),
]
CELLS = [
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
    "|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_1x1~2|",
]


SENSITIVE = {"grasp": 0.05, "zico": 0.05, "ntk": 0.02, "epe_nas": 0.01}
"""Proxies in which round-off grows: they differ as much between two processors."""


def difference(one, other):
    """The largest relative difference of two scores' values, as `check-scores` computes it."""
    a, b = (np.array(list(values.values())) for values in (one, other))
    return np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-2))


def on_both(space, arch, settings):
    return [
        score_architecture(space, arch, 1, settings.changed(device=device)).values
        for device in ("cpu", "cuda")
    ]


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("arch", CELLS)
def test_every_proxy_is_the_same_but_for_round_off(name, arch):
    settings = ScoreSettings((name,), (16, 3, 16, 16))
    one, other = on_both(spaces.get("nasbench201-full"), arch, settings)
    assert difference(one, other) < SENSITIVE.get(name, 1e-3)


@pytest.mark.parametrize("arch", [*CELLS, nb.form(("avg_pool_3x3",) * 5 + ("nor_conv_3x3",))])
def test_small_features_are_pooled_right(arch):
    """At this preset lean networks call PyTorch's average pooling, whose gradient can be wrong."""
    space = spaces.get("nasbench201")
    one, other = on_both(space, arch, ScoreSettings.for_space(space, "quick"))
    assert difference(one, other) < 0.02


@pytest.mark.parametrize("name", spaces.NAMES)
def test_az_nas_is_the_same_in_every_space(name):
    space = spaces.get(name)
    arch = space.canonical(space.sample(np.random.default_rng(0)))
    resolution = 224 if name.startswith("autoformer") else 64
    settings = ScoreSettings.for_space(space, batch=4, resolution=resolution)
    one, other = on_both(space.scored_at(resolution), arch, settings)
    assert difference(one, other) < 0.02  # the signs of few features, and so slopes of ReLUs


def test_a_score_repeats_itself_whatever_the_user_allows():
    space, settings = spaces.get("nasbench201"), ScoreSettings(device="cuda")
    first = score_architecture(space, CELLS[0], 1, settings).values
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        assert score_architecture(space, CELLS[0], 1, settings).values == first
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held


@pytest.mark.parametrize("size", [16, 15])
def test_pooling_with_padding_is_differentiated_in_the_layout_that_is_used(size):
    """For channels that are last, some versions of PyTorch return a wrong gradient."""
    x = torch.randn(2, 4, size, size, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        images = laid_out(x.to(device)).requires_grad_()
        v = signs(tuple(x.shape), torch.Generator().manual_seed(0), device)
        pooled = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        found.append(torch.autograd.grad(pooled, images, v)[0].cpu())
    assert torch.allclose(*found, atol=1e-5)


def test_convolutions_are_not_rounded():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 16, 16, generator=generator)
    w = torch.randn(64, 64, 3, 3, generator=generator)
    right = torch.nn.functional.conv2d(x.double(), w.double())
    with exact("cuda"):
        found = torch.nn.functional.conv2d(x.cuda(), w.cuda()).cpu().double()
    assert (found - right).norm() / right.norm() < 1e-5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sweep_of_several_processes_holds_what_score_returns(tmp_path, precision):
    space = spaces.get("nasbench201")
    settings = ScoreSettings(device="cuda", precision=precision)
    out = tmp_path / "s.parquet"
    execution = Execution(2, chunk=1, progress=False)
    sweep(space, out, settings, archs=CELLS, execution=execution)
    rows = files.read(out).set_index("arch")
    for arch in CELLS:
        again = score_architecture(space, arch, 1, settings).values
        assert rows.loc[arch, list(again)].to_dict() == again
    assert json.loads(out.with_suffix(".json").read_text())["gpu"]
    if precision == "float32":
        assert recompute(out).difference < 0.005  # on the processor


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_others(kind):
    build, shape, _ = KINDS[kind]
    model = build().eval()
    given = {"batch_statistics": kind != "text"}  # its dropout draws other numbers on a GPU
    one, other = (azlib.score(model, shape, device=device, **given) for device in ("cpu", "cuda"))
    assert difference(one, other) < 0.02
    assert not any(parameter.is_cuda for parameter in model.parameters())


def test_a_model_on_the_gpu():
    model = ViT()
    names = list(azlib.blocks(model, IMAGES))
    score = azlib.score(model, IMAGES, device="cuda")
    model.cuda()
    assert azlib.score(model, IMAGES, device="cuda") == score
    assert list(azlib.blocks(model, IMAGES, device="cuda")) == names
    assert all(parameter.is_cuda for parameter in model.parameters())


def test_a_search(tmp_path):
    space, out = spaces.get("mobilenetv2", budget=450e6), tmp_path / "log.parquet"
    live = Live.at(space, "cpu", device="cuda")
    execution = Execution(1, progress=False)
    search(space, RandomSearch(), live, iterations=2, out=out, execution=execution)
    assert json.loads(out.with_suffix(".json").read_text())["gpu"]


def test_training(tmp_path):
    folder = write_images(tmp_path / "images")
    log = train(Toy(), folder, tmp_path / "out", RECIPE, device="cuda")
    assert log["train_loss"].iloc[-1] < 0.8 * log["train_loss"].iloc[0]
    assert log["top1"].max() > 60
