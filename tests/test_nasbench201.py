from __future__ import annotations

import itertools
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.inputs.initialisation import initialise
from azlib.spaces import nasbench201 as nb
from azlib.spaces.cells.network import Cell, ReLUConvBN
from azlib.spaces.nasbench201 import network
from azlib.spaces.nasbench201.network import operation

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
architectures = st.tuples(*[st.sampled_from(nb.OPERATIONS)] * 6).map(nb.form)


def randomised(network, seed=0):
    """Weights and scales of a network all random, so that nothing cancels by luck; shifts stay 0,
    as at initialisation (an edge that only a shift keeps alive counts as dead)."""
    rng = torch.Generator().manual_seed(seed)
    initialise(network, "kaiming_norm_fanin", rng)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bn.weight" in name:
                parameter.uniform_(0.5, 1.5, generator=rng)
    return network


@given(architectures)
def test_strings_survive_a_round_trip(arch):
    assert nb.form(nb.parse(arch)) == arch


def test_enumeration_is_complete_and_in_base_five_order():
    everything = nb.enumerate_all()
    assert len(set(everything)) == len(everything) == 15625
    assert everything[0] == nb.form(("none",) * 6)
    assert everything[1] == nb.form(("none",) * 5 + ("skip_connect",))
    assert everything[5**5] == nb.form(("skip_connect",) + ("none",) * 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "unknown operation 'conv'"),
        ("|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|", "Did you mean 'nor_conv_"),
        ("|none~0|+|none~0|none~1|", "expected the form"),
        ("", "not a NAS-Bench-201 architecture"),
        (None, "not a NAS-Bench-201 architecture"),
    ],
)
def test_bad_strings_say_what_is_wrong(text, message):
    with pytest.raises(AzlibError, match=message):
        nb.parse(text)


def test_counts_of_degenerate_and_distinct_cells():
    everything = nb.enumerate_all()
    live = {arch: nb.without_dead_edges(arch) for arch in everything}
    assert len(set(live.values())) == 9445
    assert sum(arch != clean for arch, clean in live.items()) == 6180
    assert sum(clean == everything[0] for clean in live.values()) == 341
    assert len(set(map(nb.canonical, everything))) == 5260


def test_canonical_merges_what_is_the_same_network():
    swapped = nb.form(("nor_conv_1x1", "nor_conv_3x3", "none", "none", "skip_connect", "none"))
    other = nb.form(("nor_conv_3x3", "nor_conv_1x1", "none", "none", "none", "skip_connect"))
    direct = nb.form(("none", "none", "none", "nor_conv_1x1", "none", "none"))
    assert nb.canonical(swapped) == nb.canonical(other) == nb.canonical(direct)


def test_canonical_tells_one_convolution_used_twice_from_two():
    twice = nb.form(("nor_conv_3x3", "none", "skip_connect", "none", "skip_connect",
                     "skip_connect"))  # fmt: skip
    two = nb.form(("nor_conv_3x3", "nor_conv_3x3", "none", "none", "skip_connect", "skip_connect"))
    assert nb.canonical(twice) != nb.canonical(two)


@settings(deadline=None)
@given(architectures)
def test_canonical_is_idempotent_and_blind_to_dead_edges(arch):
    assert nb.canonical(nb.canonical(arch)) == nb.canonical(arch)
    assert nb.canonical(nb.without_dead_edges(arch)) == nb.canonical(arch)


def _output(arch, weights, x):
    """The first cell of a network at shared random weights: convolution k of the arch, in the
    order that makes two cells equal if any order does, gets weight k."""
    cell = Cell(nb.parse(arch), partial(operation, 16, False))
    convs = [edge for edge in cell.edges.values() if isinstance(edge, ReLUConvBN)]
    for conv, weight in zip(convs, weights, strict=True):
        size = conv.conv.kernel_size[0]
        conv.conv.weight.data = weight[..., :size, :size].clone()
    return cell(x).detach()


def test_same_network_means_equal_outputs():
    """For classes of cells without dead edges, some matching of the weights gives equal outputs,
    and cells of two classes differ under every matching."""
    from itertools import permutations

    rng = torch.Generator().manual_seed(1)
    x = torch.randn(4, 16, 5, 5, generator=rng)
    pool = [torch.randn(16, 16, 3, 3, generator=rng) for _ in range(3)]
    classes: dict[str, list[str]] = {}
    for arch in nb.enumerate_all()[::7]:
        if nb.without_dead_edges(arch) == arch and arch.count("conv") in (1, 2, 3):
            classes.setdefault(nb.canonical(arch), []).append(arch)
    several = [members for members in classes.values() if len(members) > 1][:25]
    assert len(several) == 25

    def outputs(arch):
        return [_output(arch, ws, x) for ws in permutations(pool[: arch.count("conv")])]

    def equal(one, other):
        first = outputs(one)[0]
        return any(torch.allclose(first, output, atol=1e-4) for output in outputs(other))

    for members in several:
        assert equal(members[0], members[1]), members[:2]
    for one, other in itertools.pairwise(several):
        if one[0].count("conv") == other[0].count("conv"):
            assert not equal(one[0], other[0]), (one[0], other[0])


@settings(max_examples=8, deadline=None)
@given(architectures, st.booleans())
def test_lean_network_is_the_same_function(arch, train):
    full = randomised(nb.Network(arch)).double().train(train)
    lean = nb.Network(arch, lean=True).double().train(train)
    missing, _ = lean.load_state_dict(full.state_dict(), strict=False)
    assert not missing
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():  # in float64: 15 batch normalisations in a row magnify round-off
        torch.testing.assert_close(lean(x), full(x), rtol=1e-7, atol=1e-7)


def test_pooling_has_gradients_after_a_first_call_in_inference_mode():
    for cached in (network._box, network._inverse_counts):
        cached.cache_clear()
    x = torch.rand(64, 16, 8, 8)
    assert x.numel() >= network._SMALL
    with torch.inference_mode():
        before = network.BoxPool()(x)
    after = network.BoxPool()(x.requires_grad_())
    after.sum().backward()
    assert torch.equal(before, after) and x.grad is not None


@pytest.mark.parametrize("dataset", nb.DATASETS)
def test_analytic_counts_equal_a_generic_counter(dataset):
    classes, resolution = nb.DATASETS[dataset]
    for arch in nb.enumerate_all()[::3907]:
        network = nb.Network(arch, classes)
        expected = nb.count(arch, classes, resolution)
        assert sum(p.numel() for p in network.parameters()) == expected["params"]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(2, 3, resolution, resolution))
        biases = classes  # the benchmark counts the classifier's bias adds; torch does not
        assert counter.get_total_flops() / 4 == expected["macs"] - biases


def test_live_count_ignores_dead_convolutions():
    dead = nb.form(("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"))
    clean = nb.form(("none", "none", "none", "skip_connect", "none", "none"))
    assert nb.count(dead, live=True) == nb.count(clean) != nb.count(dead)


def test_counts_equal_the_benchmarks_own(shared):
    from azlib.companion.benchmarks import costs

    real = costs(shared / "nats-tss-sample" / "NATS-tss-v1_0-3ffb9-simple")
    assert len(real) == 3
    for arch, row in real.iterrows():
        for dataset, size in nb.DATASETS.items():
            assert nb.count(arch, *size) == pytest.approx(row[dataset].to_dict(), rel=1e-9)


def test_space_samples_uniformly_and_mutates_one_edge():
    space, rng = nb.NASBench201(), np.random.default_rng(0)
    first_edges = Counter(nb.parse(space.sample(rng))[0] for _ in range(2000))
    assert set(first_edges) == set(nb.OPERATIONS)
    assert max(first_edges.values()) < 480
    for _ in range(50):
        child = space.mutate(RESNET, rng)
        changed = [a != b for a, b in zip(nb.parse(child), nb.parse(RESNET), strict=True)]
        assert sum(changed) == 1


def test_reduction_blocks_take_odd_sizes():
    network = randomised(nb.Network(RESNET)).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 17, 17)).shape == (2, 10)


def test_unknown_dataset_is_refused():
    with pytest.raises(AzlibError, match="Did you mean 'cifar10'"):
        nb.NASBench201("cifar-10")


def test_random_streams_depend_on_every_part_of_their_name():
    draws = {
        torch.randint(2**62, (1,), generator=generator(seed, arch, stream)).item()
        for seed in (1, 2)
        for arch in ("a", "b")
        for stream in ("weights", "signs")
    }
    assert len(draws) == 8
