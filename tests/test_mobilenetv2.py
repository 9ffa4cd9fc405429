"""The MobileNetV2 space: published numbers, an independent count of real networks, its mutation."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from azlib.errors import AzlibError
from azlib.spaces import get, mobilenetv2
from azlib.spaces.mobilenetv2 import (
    INITIAL,
    SMALLEST,
    TYPES,
    WEIGHTS,
    Convolution,
    InvertedBottleneck,
    MobileNetV2,
    Residual,
    channel_candidates,
    layer_candidates,
    parse,
    split,
)

SPACE = MobileNetV2()
BUDGETED = MobileNetV2(450e6)
STEM, LAST = Convolution(3, 3, 8, 2), Convolution(1, 32, 2048, 1)


def walk(seed: int, steps: int = 8) -> str:
    """A mutated structure with a few blocks more or fewer layers and other widths."""
    rng = np.random.default_rng(seed)
    arch = INITIAL
    for _ in range(steps):
        child = SPACE.mutate(arch, rng, times=2)
        arch = child if SPACE.count(child)["macs"] < 2e9 else arch
    return arch


def measure(arch: str, se: bool, resolution: int) -> dict[str, float]:
    """What a real network does: every count of `count`, by hooks and torch's own counter.

    `paper` follows the published rule from measured sizes, so only where sizes divide evenly.
    """
    with torch.device("meta"):
        network = MobileNetV2(se=se).build(arch)
        x = torch.empty(2, 3, resolution, resolution)
    bn = paper_bn = paper_projections = projections = 0
    inside_projection = {
        id(module)
        for half in network.modules()
        if isinstance(half, InvertedBottleneck)
        for module in half.shortcut.modules()
    }
    inside_gate = {
        id(module)
        for se_module in network.modules()
        if isinstance(se_module, mobilenetv2.SqueezeExcitation)
        for module in se_module.modules()
    }

    def hook(module, _, output):
        nonlocal bn, paper_bn, paper_projections, projections
        size = output[0].numel()
        if isinstance(module, nn.BatchNorm2d):
            bn += size
            if id(module) not in inside_projection | inside_gate:
                paper_bn += size
        elif isinstance(module, mobilenetv2.SqueezeExcitation):
            paper_bn += size + output.shape[1]
        elif isinstance(module, nn.Conv2d) and id(module) in inside_projection:
            projections += size * module.in_channels
            paper_projections += size * (module.in_channels + 1) / module.stride[0] ** 2

    for module in network.modules():
        module.register_forward_hook(hook)
    with FlopCounterMode(display=False) as counter:
        network(x)
    macs = counter.get_total_flops() // 2 // len(x)
    return {
        "macs": macs,
        "bn": bn,
        "params": sum(p.numel() for p in network.parameters()),
        "paper": macs - projections + paper_projections + paper_bn,
    }


def test_initial_structure_has_the_published_counts():
    assert SPACE.count(INITIAL) == {"macs": 162_396_776, "params": 2_813_889}
    true = {"macs": 159_334_080, "bn": 4_540_928, "params": 2_824_264}
    assert SPACE.count(INITIAL, counting="true") == true


def test_initial_structure_has_the_published_counts_with_se():
    space = MobileNetV2(se=True)
    assert space.count(INITIAL) == {"macs": 164_511_512, "params": 3_568_857}
    assert space.count(INITIAL, counting="true")["params"] == 3_579_232
    assert space.count(INITIAL, se=False) == SPACE.count(INITIAL)
    assert SPACE.count(INITIAL, se=True) == space.count(INITIAL)


@pytest.mark.parametrize("se", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_the_real_network(seed, se):
    arch = walk(seed)
    measured = measure(arch, se, resolution=224)
    paper = SPACE.count(arch, se=se)
    assert paper["macs"] == measured.pop("paper")
    assert SPACE.count(arch, counting="true", se=se) == measured


@pytest.mark.parametrize("resolution", [33, 160])
def test_true_counts_hold_at_odd_sizes(resolution):
    arch = walk(5)
    measured = measure(arch, True, resolution)
    del measured["paper"]
    assert SPACE.count(arch, counting="true", se=True, resolution=resolution) == measured


def test_paper_counting_rounds_down_at_odd_sizes_as_published():
    block = Residual(1, 3, 8, 16, 2, 8, 1)
    arch = mobilenetv2.format([STEM, block, Convolution(1, 16, 2048, 1)])
    # Sizes 35 -> 17 -> 8; written out by the rule, item by item.
    stem = 3 * 8 * 9 * 35**2 / 4 + 8 * 17**2
    first = 8 * 8 * 17**2 + 8 * 17**2 + 8 * 9 * 17**2 / 4 + 8 * 8**2 + 8 * 8 * 8**2 + 8 * 8**2
    first += (8 * 8 + 8) * (8 / 2) ** 2
    second = (8 * 16 + 16 + 16 * 9 + 16 + 16 * 16 + 16 + 8 * 16 + 16) * 8**2
    last = (16 * 2048 + 2048) * 8**2 + 2048 * 1000
    expected = stem + first + second + last
    assert SPACE.count(arch, resolution=35)["macs"] == expected


def test_published_size_differs_from_the_true_one_by_its_quirks():
    network = SPACE.build(walk(6))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    shortcuts = [m.shortcut for m in network.modules() if isinstance(m, InvertedBottleneck)]
    projected = [m[1] for m in shortcuts if isinstance(m, nn.Sequential)]
    missing = sum(m.num_features for m in norms + projected) + network.head.out_features - 1
    true = sum(p.numel() for p in network.parameters())
    assert SPACE.count(walk(6))["params"] == true - missing


def taps(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    outputs = []
    for name in network.primary_blocks:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _module, _input, output: outputs.append(output))
    network(x)
    return outputs


def test_layers_are_those_of_the_network():
    arch = walk(6)
    network = SPACE.build(arch)
    bottlenecks = [m for m in network.modules() if isinstance(m, InvertedBottleneck)]
    assert len(bottlenecks) == len(SPACE.layers(arch))
    for module, (width, kind, text) in zip(bottlenecks, SPACE.layers(arch), strict=True):
        wide, deep, narrow = (m for m in module.main if isinstance(m, nn.Conv2d))
        kernel, stride = deep.kernel_size[0], deep.stride[0]
        assert (width, kind) == (narrow.out_channels, f"{kernel} × {kernel}")
        assert int(text.rstrip("↓")) * width == wide.out_channels
        assert text.endswith("↓") == (stride == 2)


def test_fewer_taps_are_the_last_of_each_superblock():
    few, arch = MobileNetV2(taps="superblocks"), walk(6)
    assert (few.name, SPACE.name) == ("mobilenetv2-superblocks", "mobilenetv2")
    assert few == get(few.name) and few.count(arch) == SPACE.count(arch)
    ends = [
        f"blocks.{i}.{2 * block.layers - 1}"
        for i, block in enumerate(b for b in parse(arch) if isinstance(b, Residual))
    ]
    assert list(few.build(arch).primary_blocks) == ["stem", *ends, "last"]
    with pytest.raises(AzlibError, match="unknown choice of taps 'few'"):
        MobileNetV2(taps="few")


def test_taps_of_the_initial_structure_are_the_published_ones():
    network = SPACE.build(INITIAL).to("meta")
    x = torch.empty(2, 3, 224, 224, device="meta")
    shapes = [f"{t.shape[1]}x{t.shape[2]}" for t in taps(network, x)]
    published = "8x112, 8x56, 32x56, 32x28, 48x28, 48x14, 96x14, 96x7, 128x7, 2048x7"
    assert shapes == published.split(", ")


@pytest.mark.parametrize("resolution", [33, 64])
def test_networks_run_and_taps_end_in_a_relu(resolution):
    torch.manual_seed(0)
    arch = walk(2, steps=4)
    network = MobileNetV2(se=True, num_classes=7).build(arch)
    x = torch.randn(2, 3, resolution, resolution)
    features = taps(network, x)
    layers = sum(block.layers for block in parse(arch) if isinstance(block, Residual))
    assert len(features) == 2 + 2 * layers
    assert all(feature.min() == 0 < feature.max() for feature in features)
    assert network(x).shape == (2, 7)


def test_half_is_its_definition_written_out():
    torch.manual_seed(0)
    half = InvertedBottleneck(mobilenetv2.Half(8, 48, 16, 5, 2, True), se=False)
    x = torch.randn(2, 8, 9, 9)
    conv1, bn1, _, depthwise, bn2, _, conv2, bn3 = half.main
    projection, bn4 = half.shortcut

    def relu(y):
        return y.clamp(min=0)

    main = bn3(conv2(relu(bn2(depthwise(relu(bn1(conv1(x))))))))
    torch.testing.assert_close(half(x), relu(main + bn4(projection(x))))
    assert (depthwise.groups, depthwise.kernel_size, depthwise.stride) == (48, (5, 5), (2, 2))
    assert (conv1.stride, projection.stride) == ((1, 1), (2, 2))
    assert [m.bias is None for m in (conv1, depthwise, conv2, projection)] == [True] * 3 + [False]


def test_batch_norms_have_the_published_epsilon():
    norms = [m for m in MobileNetV2(se=True).build(INITIAL).modules() if hasattr(m, "eps")]
    assert norms
    assert all(norm.eps == 1e-3 for norm in norms)


def test_shortcuts_project_first_and_where_widths_differ():
    halves = list(Residual(1, 3, 32, 32, 1, 32, 2).halves())
    assert [half.projected for half in halves] == [True, False, False, False]
    halves = list(Residual(6, 3, 8, 32, 2, 16, 2).halves())
    assert [half.projected for half in halves] == [True, True, True, True]
    assert [half.stride for half in halves] == [2, 1, 1, 1]
    assert [half.width for half in halves] == [96, 192, 96, 192]


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (8, [8, 16]),
        (16, [8, 16, 24, 32, 40]),
        (32, [16, 24, 32, 40, 48, 64, 80]),
        (48, [16, 24, 32, 40, 48, 64, 72, 96, 120]),
        (128, [48, 64, 88, 104, 128, 160, 192, 256, 320]),
    ],
)
def test_channel_candidates_are_the_published_ones(channels, expected):
    assert channel_candidates(channels) == expected


def test_layer_candidates_are_within_two():
    assert [layer_candidates(n) for n in (1, 2, 5)] == [[1, 2, 3], [1, 2, 3, 4], [3, 4, 5, 6, 7]]


def test_types_and_weights_are_the_published_ones():
    names = "E1K3 E2K3 E4K3 E6K3 E1K5 E2K5 E4K5 E6K5 E1K7 E2K7 E4K7 E6K7"
    assert [f"E{e}K{k}" for e, k in TYPES] == names.split()
    assert WEIGHTS == (12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
    assert sum(WEIGHTS) == len(mobilenetv2.TYPE_LISTS["published"]) == 89


@pytest.mark.parametrize(("types", "weights"), [("published", WEIGHTS), ("uniform", [1] * 12)])
def test_mutation_draws_types_widths_and_layers_as_it_says(types, weights):
    block = Residual(6, 7, 8, 32, 2, 8, 1)
    arch = mobilenetv2.format([STEM, block, LAST])
    space, rng, n = MobileNetV2(types=types), np.random.default_rng(0), 6_000
    children = [parse(space.mutate(arch, rng))[1] for _ in range(n)]
    # A third of the mutations draw the residual block; the others leave it as it is.
    expected = n / 3 * np.array(weights) / sum(weights)
    expected[-1] += n * 2 / 3
    drawn = Counter((child.expansion, child.kernel) for child in children)
    assert chisquare([drawn[t] for t in TYPES], expected).pvalue > 1e-3
    changed = [child for child in children if (child.expansion, child.kernel) != (6, 7)]
    for field, candidates in {
        "out": channel_candidates(32),
        "bottleneck": channel_candidates(8),
        "layers": [1, 2, 3],
    }.items():
        drawn = Counter(getattr(child, field) for child in changed)
        assert set(drawn) == set(candidates)
        assert chisquare([drawn[c] for c in candidates]).pvalue > 1e-3


def test_mutation_draws_the_stem_and_never_the_last_convolution():
    rng = np.random.default_rng(0)
    children = [parse(SPACE.mutate(INITIAL, rng)) for _ in range(600)]
    stems = Counter(child[0] for child in children)
    assert set(stems) == {Convolution(3, 3, 8, 2), Convolution(3, 3, 16, 2)}
    assert stems[Convolution(3, 3, 16, 2)] == pytest.approx(600 / 6 / 2, abs=30)
    assert {child[-1].out for child in children} == {2048}


def test_two_draws_of_one_block_are_one_mutation():
    # Three blocks, two draws: the residual block is drawn with probability 1 - (2/3)^2 and, once
    # drawn, keeps to the candidates of a single mutation.
    arch = mobilenetv2.format([STEM, Residual(1, 3, 8, 32, 2, 8, 1), LAST])
    rng, n = np.random.default_rng(0), 4000
    children = [parse(SPACE.mutate(arch, rng, times=2))[1] for _ in range(n)]
    assert {child.bottleneck for child in children} == {8, 16}
    changed = sum(child.bottleneck == 16 for child in children) / n
    assert changed == pytest.approx((1 - 4 / 9) / 2, abs=4 * math.sqrt(0.25 / n))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_mutated_structures_parse_chain_and_stay_split(seed):
    rng = np.random.default_rng(seed)
    arch = INITIAL
    for _ in range(8):
        arch = SPACE.mutate(arch, rng, times=2)
        blocks = parse(arch)  # checks that widths chain
        assert mobilenetv2.format(blocks) == arch
        assert len(blocks) >= 6
        assert all(block.layers <= 5 for block in blocks)
        assert math.prod(block.stride for block in blocks) == 32
        assert split(blocks) == blocks


def test_mutation_is_its_generators():
    one, two = (SPACE.mutate(INITIAL, np.random.default_rng(3), times=4) for _ in range(2))
    assert one == two


def test_split_is_the_published_one():
    def after(layers):
        blocks = split([STEM, Residual(2, 5, 8, 32, 2, 16, layers), LAST])
        assert (blocks[0], blocks[-1]) == (STEM, LAST)
        return blocks[1:-1]

    assert after(5) == (Residual(2, 5, 8, 32, 2, 16, 5),)
    for layers in (6, 7):
        first, second = after(layers)
        assert first == Residual(2, 5, 8, 32, 2, 16, 3)
        assert second == Residual(2, 5, 32, 32, 1, 16, layers - 3)


def test_budget_is_met_at_equality_and_counted_without_se():
    assert MobileNetV2(162_396_776).legal(INITIAL)
    assert MobileNetV2(162_396_776, se=True).legal(INITIAL)
    assert not MobileNetV2(162_396_775).legal(INITIAL)


def test_layer_limit_counts_stem_and_last_convolution():
    assert MobileNetV2(max_layers=6).legal(INITIAL)
    longer = INITIAL.replace("(96,128,2,96,1)", "(96,128,2,96,2)")
    assert not MobileNetV2(max_layers=6).legal(longer)
    assert MobileNetV2(max_layers=7).legal(longer)
    limits = [MobileNetV2(budget).layer_limit for budget in (450e6, 600e6, 1000e6, 500e6, None)]
    assert limits == [14, 14, 16, 1000, 1000]
    assert MobileNetV2(450e6, max_layers=99).layer_limit == 99


def test_samples_are_legal_and_varied():
    rng = np.random.default_rng(0)
    archs = [BUDGETED.sample(rng) for _ in range(40)]
    assert all(map(BUDGETED.legal, archs))
    assert len(set(archs)) > 35
    assert BUDGETED.sample(np.random.default_rng(1)) == BUDGETED.sample(np.random.default_rng(1))


def test_text_is_read_with_names_and_space_and_written_without():
    named = INITIAL.replace("(", "(a-b_1|").replace("Super", "\n  Super") + "\n"
    assert mobilenetv2.format(parse(named)) == INITIAL


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        (INITIAL, "", "", "the stem"),
        ("SuperConvK3BNRELU(3,8,2,1)", "", "SuperResIDWE6K3(8", "the stem"),
        ("SuperConvK1BNRELU(128,2048,1,1)", "", "", "SuperResIDWE{e}K{k}(...) or SuperConvK1"),
        ("2048,1,1)", "2048,1,1)!", "!", "the end: "),
        ("8,2,1)", "8,2,1) ?", "?Super", "SuperResIDWE{e}K{k}(...) or SuperConvK1"),
        ("3(8,32", "3[8,32", "[8,32", "the numbers (in,out,stride,bottleneck,layers)"),
        ("2,8,1)", "2,8,1", "(8,32", "the numbers (in,out,stride,bottleneck,layers)"),
        ("K1BNRELU(", "K1BNRELU", "128,2048", "the numbers (in,out,stride,1)"),
        ("E6K3(8", "E3K3(8", "3K3(8", "an expansion in (1, 2, 4, 6)"),
        ("E6K3(8", "E6K9(8", "9(8", "a kernel in (3, 5, 7)"),
        ("32,2,8,1", "32,two,8,1", "two", "a positive integer"),
        ("32,2,8,1", "32,0,8,1", "0,8", "a positive integer"),
        ("32,2,8,1", "32,2,8,", ")SuperResIDWE6K3(32", "a positive integer"),
        ("32,2,8,1", "32,2,8", "8,32,2,8)", "5 numbers (in,out,stride,bottleneck,layers)"),
        ("(32,48", "(40,48", "40,48", "in = 32, the channels that the block before gives"),
        ("(3,8", "(1,8", "1,8,2", "in = 3, the channels that an image has"),
        ("32,2,8,1", "32,3,8,1", "3,8,1)Super", "stride 1 or 2"),
        ("32,2,8,1", "32,2,12,1", "12,1", "a multiple of 8"),
        ("2048,1,1", "2048,1,2", "2)", "a count of 1"),
        ("2048,1,1", "2048,1," + "9" * 5000, "9999", "a positive integer below 1000000"),
    ],
)
def test_malformed_text_is_refused_with_position_and_reason(old, new, found, expected):
    assert INITIAL.count(old) == 1
    text = INITIAL.replace(old, new)
    index = text.index(found) if found else len(text)
    shown = repr(text[index : index + 24]) if found else "the end of the text"
    reason = f"malformed MobileNetV2 structure at index {index}: found {shown}, expected {expected}"
    with pytest.raises(AzlibError, match=re.escape(reason)) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_text_that_is_not_text_is_refused():
    with pytest.raises(AzlibError, match=r"structure is a text such as .* got 7"):
        SPACE.build(7)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(INITIAL)), st.text(max_size=3), st.integers(0, 3))
def test_damaged_text_is_parsed_or_refused_never_worse(index, inserted, removed):
    text = INITIAL[:index] + inserted + INITIAL[index + removed :]
    try:
        blocks = parse(text)
    except AzlibError as error:
        position = int(re.search(r"at index (\d+)", str(error))[1])
        assert 0 <= position <= len(text)
    else:
        assert parse(mobilenetv2.format(blocks)) == blocks


def test_settings_out_of_range_are_refused():
    smallest = SPACE.count(SMALLEST)["macs"]
    assert MobileNetV2(smallest).legal(SMALLEST)
    for budget in (smallest - 1, 450, math.nan, "450M"):
        with pytest.raises(AzlibError, match="below the smallest network's 8,601,554 FLOPs"):
            MobileNetV2(budget)
    with pytest.raises(AzlibError, match="max_layers=5: expected an integer from 6 to 1,000"):
        MobileNetV2(max_layers=5)
    with pytest.raises(AzlibError, match=r"unknown type distribution 'unifrom'.*'uniform'"):
        MobileNetV2(types="unifrom")
    with pytest.raises(AzlibError, match=r"unknown counting 'real'.*paper, true"):
        SPACE.count(INITIAL, counting="real")
    with pytest.raises(AzlibError, match="cost_resolution=0: expected an integer from 1 to 4,096"):
        MobileNetV2(cost_resolution=0)
    with pytest.raises(AzlibError, match="times=0: expected an integer of at least 1"):
        SPACE.mutate(INITIAL, np.random.default_rng(0), times=0)


def test_smallest_network_is_the_end_of_descending_mutation():
    rng = np.random.default_rng(0)
    arch, cost = INITIAL, SPACE.count(INITIAL)["macs"]
    for _ in range(3000):
        child = SPACE.mutate(arch, rng)
        if (less := SPACE.count(child)["macs"]) < cost:
            arch, cost = child, less
    assert arch == SMALLEST


def test_no_legal_mutation_is_an_error_not_a_hang(monkeypatch):
    monkeypatch.setattr(mobilenetv2.space, "TRIES", 50)
    with pytest.raises(AzlibError, match=r"none of 50 mutations of 'SuperConv.* budget=10000000"):
        MobileNetV2(10_000_000).sample(np.random.default_rng(0))
