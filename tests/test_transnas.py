"""TransNAS-Bench-101's micro space: texts, distinct networks, networks, costs, degenerate cells."""

from __future__ import annotations

import itertools
import math

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from helpers import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_networks import TransNAS, with_weights_of
from torch.utils.flop_counter import FlopCounterMode

from azlib.errors import AzlibError
from azlib.inputs import gaussian, generator
from azlib.inputs.initialisation import initialise
from azlib.spaces import nasbench201 as nb
from azlib.spaces import transnas101 as trans
from azlib.spaces.base import Training
from azlib.spaces.cells.network import Cell, ReLUConvBN
from azlib.spaces.transnas101.network import operation
from azlib.trace import signs

SPACE = trans.TransNAS101Micro()
RICH = "64-41414-3_21_132"
architectures = st.sampled_from(trans.enumerate_all())


def cell(a, b, c, d, e, f):
    return f"64-41414-{a}_{b}{c}_{d}{e}{f}"


def randomised(network, seed=0):
    """Weights and scales all random, so that nothing cancels by luck; shifts stay 0, as at
    initialisation (an edge that only a shift keeps alive counts as dead)."""
    rng = torch.Generator().manual_seed(seed)
    initialise(network, "kaiming_norm_fanin", rng)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=rng)
    return network


def test_enumeration_is_complete_and_in_alphabetical_order():
    everything = list(SPACE)
    assert len(set(everything)) == len(SPACE) == 4096 and everything == sorted(everything)
    assert all(trans.form(trans.parse(arch)) == arch for arch in everything)
    assert trans.parse(RICH) == ("nor_conv_3x3", "nor_conv_1x1", "skip_connect", "skip_connect",
                                 "nor_conv_3x3", "nor_conv_1x1")  # fmt: skip


def test_the_texts_are_those_of_the_benchmark(shared):
    table = pd.read_csv(shared / "transnas-bench-101-micro" / "accuracies.csv")
    assert set(table["arch"]) == set(SPACE)


@pytest.mark.parametrize(
    "text",
    [
        "", "64-41414-4_00_000", "64-41414-0_00_00", "64-41414-000000", "64-41415-0_00_000",
        "32-41414-0_00_000", "64-41414-0_00_000\n", "64-41414-٣_00_000", None, 7,
    ],
)  # fmt: skip
def test_bad_texts_say_what_is_expected(text):
    with pytest.raises(AzlibError, match=r"not a TransNAS.*expected the form 64-41414-a_bc_def"):
        SPACE.count(text)


def test_counts_of_distinct_and_degenerate_cells():
    canonical = {arch: SPACE.canonical(arch) for arch in SPACE}
    assert len(set(canonical.values())) == 1376
    assert all(canonical[same] == same <= arch for arch, same in canonical.items())
    without_path = [a for a in SPACE if canonical[a] == cell(0, 0, 0, 0, 0, 0)]
    dead = [a for a in SPACE if not any(nb.live_edges(nb.form(trans.parse(a))))]
    assert without_path == dead and len(dead) == 169


def test_skips_are_contracted_except_where_they_are_reductions():
    direct = cell(0, 0, 0, 3, 0, 0)
    assert SPACE.canonical(cell(3, 0, 0, 0, 1, 0)) == direct  # a skip behind a convolution
    before = cell(1, 0, 0, 0, 3, 0)  # a skip before it is a layer of its own where sizes change
    one, two = cell(1, 0, 1, 0, 1, 1), cell(1, 1, 0, 0, 1, 1)  # one reduction used twice, and two
    for arch, other in ((before, direct), (one, two)):
        assert SPACE.canonical(arch) != SPACE.canonical(other)
        as_in_201 = {nb.canonical(nb.form(trans.parse(text))) for text in (arch, other)}
        assert len(as_in_201) == 1  # there no cell changes sizes


def outputs_of(arch, stride, weights, x):
    """Outputs of a cell for every way to give its layers the weights: what a network can be."""
    made = Cell(trans.parse(arch), lambda i, name: operation(4, 4 * stride, stride, i, name))
    layers = [m for m in made.edges.values() if list(m.parameters())]
    for order in itertools.permutations(range(len(layers))):
        for layer, k in zip(layers, order, strict=True):
            convs = [m for m in layer.modules() if isinstance(m, torch.nn.Conv2d)]
            for part, conv in enumerate(convs):
                source = weights[k, part, : conv.out_channels, : conv.in_channels]
                size = conv.kernel_size[0]
                conv.weight.data = source[..., :size, :size].clone()
        yield made(x).detach()


def test_same_network_means_equal_outputs():
    """Members of a class compute the same under some matching of their weights, where the size
    changes and where it stays; cells of two classes differ under every matching somewhere."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 6, 6, generator=rng)
    weights = torch.randn(4, 2, 8, 8, 3, 3, generator=rng)
    classes: dict[str, list[str]] = {}
    for arch in itertools.islice(SPACE, 0, None, 3):
        layers = sum(digit in "23" for digit in arch[9:]) + arch[9:].count("1")
        live = nb.live_edges(nb.form(trans.parse(arch)))
        if layers <= 3 and sum(live) == 6 - arch[9:].count("0"):
            classes.setdefault(SPACE.canonical(arch), []).append(arch)

    def equal(one, other):
        def once(stride):
            first = next(outputs_of(one, stride, weights, x))
            found = outputs_of(other, stride, weights, x)
            return any(torch.allclose(first, output, atol=1e-4) for output in found)

        return once(1) and once(2)

    several = [members for members in classes.values() if len(members) > 1]
    assert len(several) >= 3
    assert all(equal(members[0], members[1]) for members in several)
    alone = [members[0] for members in classes.values()]
    assert not any(equal(one, other) for one, other in itertools.pairwise(alone))


@settings(max_examples=5, deadline=None)
@given(architectures, st.booleans(), st.sampled_from([32, 41]))
def test_networks_are_those_of_the_definition(arch, train, size):
    network = randomised(trans.Network(arch, 5)).double().train(train)
    plain = with_weights_of(TransNAS(arch, 5).double(), network).train(train)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x), rtol=1e-7, atol=1e-7)


@settings(max_examples=6, deadline=None)
@given(architectures, st.booleans())
def test_lean_network_is_the_same_function(arch, train):
    full = randomised(trans.Network(arch)).double().train(train)
    lean = trans.Network(arch, lean=True).double().train(train)
    missing, _ = lean.load_state_dict(full.state_dict(), strict=False)
    assert not missing
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        torch.testing.assert_close(lean(x), full(x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("arch", trans.enumerate_all()[::1023])
@pytest.mark.parametrize("resolution", [256, 65])
def test_analytic_costs_equal_a_generic_counter(arch, resolution):
    plain = TransNAS(arch, 75)
    expected = SPACE.count(arch) if resolution == 256 else trans.count(arch, 75, resolution)
    assert sum(p.numel() for p in plain.parameters()) == expected["params"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(torch.zeros(2, 3, resolution, resolution))
    assert counter.get_total_flops() / 4 == expected["macs"]


def test_scores_equal_the_plain_oracle():
    shape, seed = (4, 3, 32, 32), 3
    values = scored(SPACE.build(RICH), shape, RICH, seed=seed)
    network = SPACE.build(RICH)
    initialise(network, SPACE.init, generator(seed, RICH, "weights"))
    plain = with_weights_of(TransNAS(RICH, 75), network)
    images = gaussian(shape, generator(seed, RICH, "input"))
    rng = generator(seed, RICH, "signs")
    with torch.no_grad():
        features = [plain.stem(images)]
        for block in plain.cells:
            features.append(block(features[-1]))
    vectors = [signs(feature.shape, rng) for feature in features[1:]]
    assert oracle.az_nas(plain, images, vectors) == pytest.approx(
        {name: values[name] for name in ("expressivity", "progressivity", "trainability")},
        rel=2e-3,
    )


def test_degenerate_cells_score_as_those_of_nasbench201_do():
    shape = (4, 3, 32, 32)
    for digits in ("000000", "300000"):  # no path; a dead convolution beside none
        arch = cell(*digits)
        same = nb.form(trans.parse(arch))
        ours = scored(SPACE.build(arch), shape, arch, proxies="az,smallest_share,identity_blocks")
        theirs = scored(nb.NASBench201().build(same), shape, same,
                        proxies="az,smallest_share,identity_blocks")  # fmt: skip
        for name in ("expressivity", "progressivity"):
            assert math.isnan(ours[name]) and math.isnan(theirs[name])
        # No gradient passes a cell: a deviation of 2 - 1/1e-6 in all of ours, and in 15 blocks of
        # NAS-Bench-201, whose other two are the same in every architecture.
        assert ours["trainability"] == pytest.approx(2 - 1e6)
        assert theirs["trainability"] == pytest.approx(15 / 17 * (2 - 1e6), rel=1e-3)
    identity = cell(0, 0, 0, 1, 0, 0)
    found = scored(SPACE.build(identity), shape, identity, proxies="az,identity_blocks")
    assert found["trainability"] == -math.inf and math.isfinite(found["expressivity"])
    assert found["identity_blocks"] == 7  # the cells that keep the size


def test_space_samples_uniformly_and_mutates_one_edge():
    rng = np.random.default_rng(0)
    first = [SPACE.sample(rng)[9] for _ in range(2000)]
    assert all(440 < first.count(digit) < 560 for digit in "0123")
    for _ in range(50):
        child = SPACE.mutate(RICH, rng)
        assert sum(a != b for a, b in zip(child, RICH, strict=True)) == 1


def test_training_networks_are_the_benchmarks_own_with_its_initialisation():
    network = SPACE.training_network(cell(3, 0, 0, 0, 0, 0), Training(5, 32, rng=torch.Generator()))
    convs = [m for m in network.modules() if isinstance(m, ReLUConvBN)]
    assert len(convs) == 10  # dead edges are trained as the benchmark trained them
    assert convs[-1].conv.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
