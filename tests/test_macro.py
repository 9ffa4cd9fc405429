"""NAS-Bench-Macro: texts, distinct networks, networks, costs."""

from __future__ import annotations

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from helpers import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_networks import Macro, with_weights_of
from torch.utils.flop_counter import FlopCounterMode

from azlib.errors import AzlibError
from azlib.inputs import gaussian, generator
from azlib.inputs.initialisation import initialise
from azlib.spaces import nasbenchmacro as macro
from azlib.spaces.base import Training
from azlib.trace import signs

SPACE = macro.NASBenchMacro()
architectures = st.sampled_from(macro.enumerate_all())
PUBLISHED = {  # parameters, FLOPs
    "00000000": (387882, 7713280),
    "02012100": (890666, 47327744),
    "11111221": (2181386, 65012224),
    "00011110": (1118378, 31390208),
}


def randomised(network):
    rng = torch.Generator().manual_seed(0)
    initialise(network, "kaiming_norm_fanin", rng)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=rng)
                module.bias.uniform_(-0.5, 0.5, generator=rng)
    return network


def test_enumeration_is_complete_and_in_alphabetical_order():
    everything = list(SPACE)
    assert len(set(everything)) == len(SPACE) == 6561 and everything == sorted(everything)


@pytest.mark.parametrize(
    "text", ["", "0201210", "020121000", "02012103", "0201210\n", None, 2012100]
)
def test_bad_texts_say_what_is_expected(text):
    with pytest.raises(AzlibError, match=r"not a NAS-Bench-Macro arch.*expected eight digits"):
        SPACE.count(text)


@pytest.mark.parametrize("arch", PUBLISHED)
def test_costs_are_the_published_ones(arch):
    assert SPACE.count(arch) == dict(zip(("params", "macs"), PUBLISHED[arch], strict=True))


def test_all_costs_are_the_published_ones(shared):
    path = shared / "nas-bench-macro" / "accuracies.csv"
    table = pd.read_csv(path, dtype={"arch": str}).set_index("arch")
    assert set(table.index) == set(SPACE)
    counted = pd.DataFrame({arch: SPACE.count(arch) for arch in table.index}).T
    assert (counted["params"] == table["params"]).all()
    assert (counted["macs"] == table["flops"]).all()


@settings(max_examples=6, deadline=None)
@given(architectures, st.sampled_from([32, 45]))
def test_costs_equal_a_generic_counter(arch, resolution):
    plain = Macro(arch, 10)
    expected = macro.count(arch, 10, resolution)
    assert sum(p.numel() for p in plain.parameters()) == expected["params"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(torch.zeros(2, 3, resolution, resolution))
    assert counter.get_total_flops() / 4 == expected["macs"]


@settings(max_examples=10, deadline=None)
@given(architectures, st.booleans(), st.sampled_from([32, 45]))
def test_networks_are_those_of_the_definition(arch, train, size):
    network = randomised(SPACE.build(arch)).double().train(train)
    plain = with_weights_of(Macro(arch, 10).double(), network).train(train)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x), rtol=1e-7, atol=1e-7)


def test_the_place_of_identities_does_not_matter_behind_the_first_layer():
    assert len(set(map(SPACE.canonical, SPACE))) == 3969
    assert SPACE.canonical("10210120") == SPACE.canonical("10201120") == "10201102"
    assert SPACE.canonical("02" * 4) != SPACE.canonical("20" * 4)
    for arch in list(SPACE)[::7]:
        same = SPACE.canonical(arch)
        assert same <= arch and SPACE.canonical(same) == same
        assert macro.layers(same) == macro.layers(arch)
    layers = {tuple(macro.layers(arch)) for arch in SPACE}
    assert len(layers) == 3969  # as layers are all that networks are built of


def test_primary_blocks_are_the_layers_that_are_there():
    network = SPACE.build("01000002")
    assert list(network.primary_blocks) == ["stem", *(f"layers.{i}" for i in range(5)), "last"]
    assert all(network.get_submodule(name) for name in network.primary_blocks)
    values = scored(network, (4, 3, 32, 32), "01000002", proxies="az,identity_blocks")
    assert values["identity_blocks"] == 0 and np.isfinite(list(values.values())).all()


@pytest.mark.parametrize("arch", ["00000000", "12012100"])
def test_scores_equal_the_plain_oracle(arch):
    shape, seed = (8, 3, 32, 32), 3
    values = scored(SPACE.build(arch), shape, arch, seed=seed)
    network = SPACE.build(arch)
    initialise(network, SPACE.init, generator(seed, arch, "weights"))
    plain = with_weights_of(Macro(arch, 10), network)
    images = gaussian(shape, generator(seed, arch, "input"))
    rng = generator(seed, arch, "signs")
    with torch.no_grad():
        features = [plain.stem(images)]
        for block in plain.cells:
            features.append(block(features[-1]))
    vectors = [signs(feature.shape, rng) for feature in features[1:]]
    expected = oracle.az_nas(plain, images, vectors)
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=2e-3)


def test_space_samples_uniformly_and_mutates_one_layer():
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng) for _ in range(2000)]
    for position in range(8):
        column = [arch[position] for arch in drawn]
        assert all(590 < column.count(digit) < 745 for digit in "012")
    for _ in range(50):
        child = SPACE.mutate("02012100", rng)
        assert sum(a != b for a, b in zip(child, "02012100", strict=True)) == 1


def test_training_networks_have_seeded_weights():
    one, two = (
        SPACE.training_network("02012100", Training(5, 32, rng=torch.Generator().manual_seed(1)))
        for _ in range(2)
    )
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert one(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
