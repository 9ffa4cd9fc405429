"""The AutoFormer space against the published figures, slow twins and a generic FLOP counter."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from azlib.errors import AzlibError
from azlib.spaces import autoformer
from azlib.spaces.autoformer import BUDGETS, PUBLISHED, SIZES, AutoFormer, Structure
from azlib.spaces.autoformer import network as networks

# Parameters and complexity of the published networks, measured with the authors' counters.
PUBLISHED_COUNTS = {
    ("default", "tiny"): (5_921_032, 1_380_128_376),
    ("default", "small"): (22_951_144, 4_943_341_788),
    ("default", "base"): (53_710_768, 11_386_130_712),
    ("tf-tas", "tiny"): (6_164_008, 1_432_573_626),
    ("tf-tas", "small"): (23_788_072, 5_128_885_212),
    ("tf-tas", "base"): (54_133_504, 11_464_741_464),
}
TINY = PUBLISHED["default", "tiny"]

seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from(list(SIZES))


def slow_relative_attention(x, weights, prefix, heads, side, scale, distance):
    """The definition, pair by pair: one sample (N, C) of double precision to (N, C)."""

    def patch(token):
        return divmod(token - 1, side)

    def vector(tables, query, key):
        if query == 0 or key == 0:
            return tables[0, 0] + tables[1, 0]
        rows, columns = np.subtract(patch(key), patch(query)).clip(-distance, distance)
        return tables[0, rows + distance + 1] + tables[1, columns + distance + 1]

    width, n = 64 * heads, len(x)
    qkv = x @ weights[prefix + "qkv.weight"].T + weights[prefix + "qkv.bias"]
    keys, values = weights[prefix + "key_tables"], weights[prefix + "value_tables"]
    outputs = torch.zeros(n, width, dtype=x.dtype)
    for head in range(heads):
        lanes = slice(64 * head, 64 * head + 64)
        q, k, v = (qkv[:, part * width : (part + 1) * width][:, lanes] for part in range(3))
        for i in range(n):
            logits = torch.stack([scale * q[i] @ (k[j] + vector(keys, i, j)) for j in range(n)])
            for j, a in enumerate(logits.softmax(0)):
                outputs[i, lanes] += a * (v[j] + vector(values, i, j))
    return outputs @ weights[prefix + "projection.weight"].T + weights[prefix + "projection.bias"]


def randomise(module, seed=0):
    """Weights large enough for every term to show."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.double()


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_published_networks_have_the_published_counts(key):
    budget, size = key
    params, complexity = PUBLISHED_COUNTS[key]
    space = AutoFormer(size, budget)
    assert space.count(PUBLISHED[key]) == {"macs": complexity, "params": params}
    assert space.legal(PUBLISHED[key])
    assert str(space.parse(PUBLISHED[key])) == PUBLISHED[key]
    with torch.device("meta"):
        network = autoformer.AutoFormerNetwork(
            space.parse(PUBLISHED[key]), 1000, 14, "search", [0.0] * 16
        )
    assert sum(p.numel() for p in network.parameters()) == params


@settings(deadline=None, max_examples=4)
@given(seed=seeds, classes=st.integers(1, 20), side=st.integers(1, 5))
def test_counts_are_those_of_the_built_network(seed, classes, side):
    space = AutoFormer("tiny", num_classes=classes, cost_resolution=16 * side)
    arch = space.sample(np.random.default_rng(seed))
    network = space.build(arch)
    count = space.count(arch, counting="true")
    assert sum(p.numel() for p in network.parameters()) == count["params"]
    assert space.count(arch, counting="paper")["params"] == count["params"]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(1, 3, 16 * side, 16 * side))
    # Additions that our attention writes as products with indicators, which a counter counts.
    indicators = 2 * (side**2 + 1) ** 2 * (2 * side + 1) * sum(space.parse(arch).heads)
    assert counter.get_total_flops() / 2 == count["macs"] + indicators


@pytest.mark.parametrize(("side", "distance"), [(3, 14), (5, 2)])
def test_relative_attention_is_the_slow_one(side, distance, monkeypatch):
    monkeypatch.setattr(networks, "MAX_DISTANCE", distance)
    monkeypatch.setattr(networks, "TABLE_ROWS", 2 * distance + 2)
    attention = randomise(autoformer.RelativeAttention(24, 2, side, 0.3))
    x = torch.randn(2, side**2 + 1, 24, dtype=torch.double)
    weights = dict(attention.named_parameters())
    slow = [slow_relative_attention(s, weights, "", 2, side, 0.3, distance) for s in x]
    torch.testing.assert_close(attention(x), torch.stack(slow))


@pytest.mark.parametrize("logit_scale", ["search", "trained"])
def test_network_is_the_slow_one(logit_scale):
    """The whole network and its features, written out from the weights alone."""
    space = AutoFormer("tiny", num_classes=7, cost_resolution=32, logit_scale=logit_scale)
    structure = space.parse(TINY)
    network = randomise(space.build(TINY))
    images = torch.randn(1, 3, 32, 32, dtype=torch.double)
    features = []
    for name in network.primary_blocks:
        network.get_submodule(name).register_forward_hook(lambda *call: features.append(call[2]))
    w = network.state_dict()

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    corners = [(r, c) for r in (0, 16) for c in (0, 16)]
    patches = torch.stack([images[0, :, r : r + 16, c : c + 16].flatten() for r, c in corners])
    embedded = patches @ w["patches.weight"].flatten(1).T + w["patches.bias"]
    x = torch.cat([w["class_token"][0], embedded]) + w["positions"][0]
    expected = []
    for i, heads in enumerate(structure.heads):
        scale = 64**-0.5 if logit_scale == "search" else (192 // heads) ** -0.5
        half = f"blocks.{i}.attention"
        x = x + slow_relative_attention(
            norm(x, f"{half}.norm"), w, f"{half}.inner.", heads, 2, scale, 14
        )
        expected.append(x)
        half = f"blocks.{i}.mlp"
        hidden = linear(norm(x, f"{half}.norm"), f"{half}.inner.0")
        gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        x = x + linear(gelu, f"{half}.inner.2")
        expected.append(x)
    logits = linear(norm(x, "norm")[1:].mean(0), "head")

    torch.testing.assert_close(network(images), logits[None])
    torch.testing.assert_close(torch.cat(features), torch.stack(expected))


def test_features_at_the_paper_setting():
    space = AutoFormer()
    network = space.build(TINY)
    shapes = []
    for name in network.primary_blocks:
        network.get_submodule(name).register_forward_hook(
            lambda *call: shapes.append(tuple(call[2].shape))
        )
    assert network(torch.zeros(2, *space.input_shape[1:])).shape == (2, 1000)
    assert shapes == [(2, 197, 192)] * 24


@pytest.mark.parametrize("resolution", [16, 112, 256])
def test_other_resolutions(resolution):
    space = AutoFormer(num_classes=5, cost_resolution=resolution)
    logits = space.build(TINY)(torch.randn(1, 3, resolution, resolution))
    assert logits.shape == (1, 5)
    assert logits.isfinite().all()


def test_the_budget_is_that_of_the_imagenet_network():
    space = AutoFormer(num_classes=2000, cost_resolution=448)
    assert space.count(TINY)["params"] > 6e6
    assert space.legal(TINY)


def test_initialisation_is_seeded_and_has_the_published_scales():
    space = AutoFormer()
    torch.manual_seed(3)
    network, again, other = (
        space.build(TINY, rng=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    after = torch.rand(1)
    torch.manual_seed(3)
    assert after == torch.rand(1), "the global generator moved"
    for (name, a), b, c in zip(
        network.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b), name
        if name.startswith("patches."):
            assert 0.9 * 768**-0.5 < a.abs().max() <= 768**-0.5
        elif name.endswith("bias"):
            assert not a.any(), name
        elif "norm." in name:
            assert (a == 1).all(), name
        else:
            assert a.std().item() == pytest.approx(0.02, abs=0.02 * 5 / math.sqrt(a.numel())), name
            assert not torch.equal(a, c), name


def test_drop_path_drops_samples_in_training_only():
    residual = autoformer.Residual(4, torch.nn.Linear(4, 4), drop_path=0.25)
    x = torch.randn(400, 3, 4)
    torch.manual_seed(0)
    change = residual(x) - x
    full = residual.eval()(x) - x
    dropped = (change == 0).all(dim=(1, 2))
    assert 70 < dropped.sum() < 130
    torch.testing.assert_close(change[~dropped], full[~dropped] / 0.75)
    rates = [half.drop_path for half in _halves(AutoFormer().build(TINY, drop_path=0.1))]
    assert rates == pytest.approx(np.repeat(np.arange(12) / 130, 2))


def _halves(network):
    return [network.get_submodule(name) for name in network.primary_blocks]


@settings(deadline=None, max_examples=50)
@given(size=sizes, seed=seeds)
def test_samples_stay_in_the_space_and_parse_back(size, seed):
    space = AutoFormer(size)
    arch = space.sample(np.random.default_rng(seed))
    assert arch == space.sample(np.random.default_rng(seed))
    structure = space.parse(arch)
    assert str(structure) == arch
    assert structure.depth in SIZES[size].depth
    assert structure.embed in SIZES[size].embed
    assert set(structure.mlp) <= set(SIZES[size].mlp)
    assert set(structure.heads) <= set(SIZES[size].heads)
    assert len(structure.mlp) == len(structure.heads) == structure.depth


@pytest.mark.parametrize(
    ("budget", "size", "rate"),
    [
        ("default", "tiny", 0.094),
        ("default", "small", 0.129),
        ("default", "base", 0.147),
        ("tf-tas", "tiny", 0.118),
        ("tf-tas", "small", 0.203),
        ("tf-tas", "base", 0.228),
    ],
)
def test_uniform_samples_are_within_the_budget_as_often_as_the_authors(budget, size, rate):
    space, rng, n = AutoFormer(size, budget), np.random.default_rng(0), 1000
    accepted = sum(space.legal(space.sample(rng)) for _ in range(n))
    assert accepted / n == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / n))
    assert space.legal(space.sample_legal(rng))


@settings(deadline=None, max_examples=100)
@given(size=sizes, seed=seeds)
def test_a_mutation_changes_one_gene(size, seed):
    space, rng = AutoFormer(size), np.random.default_rng(seed)
    old = space.parse(space.sample(rng))
    new = space.parse(space.mutate(str(old), rng))
    common = min(old.depth, new.depth)
    changed = [
        old.depth != new.depth,
        old.embed != new.embed,
        *(a != b for a, b in zip(old.mlp[:common], new.mlp[:common], strict=True)),
        *(a != b for a, b in zip(old.heads[:common], new.heads[:common], strict=True)),
    ]
    assert sum(changed) == 1


def test_mutations_are_uniform_over_the_genes():
    space, rng, n = AutoFormer(), np.random.default_rng(0), 2600
    old = space.parse(TINY)
    new = [space.parse(space.mutate(TINY, rng)) for _ in range(n)]
    tolerance = 4 * math.sqrt(n / 26)
    assert sum(s.depth != old.depth for s in new) == pytest.approx(n / 26, abs=tolerance)
    assert sum(s.embed != old.embed for s in new) == pytest.approx(n / 26, abs=tolerance)
    assert sum(s.mlp[11] != old.mlp[11] for s in new) == pytest.approx(n / 26, abs=tolerance)
    assert sum(s.heads[0] != old.heads[0] for s in new) == pytest.approx(n / 26, abs=tolerance)
    assert space.mutate(TINY, rng, times=30) != TINY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TINY, "", "position 0: expected 'depth=', found the end"),
        ("depth=12", "depth=15", r"position 6: expected depth to be one of 12, 13, 14, found '15 "),
        ("depth=12", "depth=13", r"position 64: expected ',', found ' heads=4,3,4'"),
        ("embed=192", "embed=320", "position 15: expected embed to be one of 192, 216, 240"),
        ("embed=192", "width=192", "position 8: expected ' embed=', found ' width=192"),
        ("mlp=3.5,", "mlp=3,", "position 23: expected mlp to be one of 3.5, 4, found '3,3.5"),
        ("heads=4,3,", "heads=4,3.0,", "position 73: expected heads to be one of 3, 4"),
        ("heads=4,3,", "heads=4,,", "position 73: expected heads"),
        ("3,3,4,4,4", "3,3,4,4", "position 92: expected ',', found the end"),
        ("3,3,4,4,4", "3,3,4,4,4,4", "position 94: expected the end, found ',4'"),
    ],
)
def test_malformed_text_gives_position_and_reason(old, new, message):
    assert old in TINY
    with pytest.raises(AzlibError, match=message) as error:
        AutoFormer().parse(TINY.replace(old, new))
    assert "\n" not in str(error.value)


def test_bad_settings_say_what_to_do(monkeypatch):
    with pytest.raises(AzlibError, match=r"size 'smal'. Did you mean 'small'"):
        AutoFormer("smal")
    with pytest.raises(AzlibError, match=r"budget 'tftas'. Did you mean 'tf-tas'"):
        AutoFormer(budget="tftas")
    with pytest.raises(AzlibError, match=r"logit_scale 'train'.*'trained'"):
        AutoFormer(logit_scale="train")
    with pytest.raises(AzlibError, match=r"resolution 100 .* multiple of 16"):
        AutoFormer(cost_resolution=100)
    with pytest.raises(AzlibError, match="num_classes=0: expected an integer from 1 to 1,000,000"):
        AutoFormer(num_classes=0)
    with pytest.raises(AzlibError, match=r"counting 'papers'. Did you mean 'paper'"):
        AutoFormer().count(TINY, counting="papers")
    with pytest.raises(AzlibError, match="drop_path is 1: give a rate from 0 to below 1"):
        AutoFormer().build(TINY, drop_path=1)
    with pytest.raises(AzlibError, match=r"shape \(B, 3, 32, 32\), got \(1, 3, 48, 48\)"):
        AutoFormer(cost_resolution=32).build(TINY)(torch.zeros(1, 3, 48, 48))
    monkeypatch.setitem(BUDGETS["default"], "tiny", (1, 2))
    with pytest.raises(AzlibError, match=r"none of 5 autoformer-tiny .* give more tries"):
        AutoFormer().sample_legal(np.random.default_rng(0), tries=5)


def test_gradients_reach_back_from_feature_to_feature():
    """What trainability needs, and more than the identity path of the residual."""
    network = AutoFormer(cost_resolution=32).build(TINY)
    attention, mlp = _halves(network)[2:4]
    x = torch.randn(2, 5, 192, requires_grad=True)
    for half in (attention, mlp):
        v = torch.ones(2, 5, 192)
        (g,) = torch.autograd.grad(half(x), x, v)
        assert g.shape == x.shape
        assert not torch.equal(g, v)
        assert F.cosine_similarity(g.flatten(), v.flatten(), dim=0) > 0.9


def test_structure_text():
    assert str(Structure(192, (3.5, 4), (3, 4))) == "depth=2 embed=192 mlp=3.5,4 heads=3,4"


def test_layers_to_draw():
    space = AutoFormer("tiny")
    layers = space.layers(PUBLISHED["default", "tiny"])
    assert len(layers) == 2 * 12
    assert layers[:4] == [
        (256, "attention (heads)", "4"),
        (672, "MLP (ratio)", "3.5"),
        (192, "attention (heads)", "3"),
        (672, "MLP (ratio)", "3.5"),
    ]
