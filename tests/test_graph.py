"""Graph proxies against paths written out one by one."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from helpers import KEEP_WEIGHTS, scored
from torch import nn

import azlib
from azlib.aggregation import rank
from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.proxies import REGISTRY, Probe, count_macs
from azlib.proxies.graph import Operation, extreme, live_graph, mean, prune
from azlib.spaces import nasbench201 as nb
from azlib.spaces.cells.network import Zero
from azlib.spaces.cells.text import EDGES

LIVE = ("live_macs", "live_layers", "live_paths", "effective_depth", "mean_depth")
LIVE += ("shortest_path", "fewest_poolings", "sharp_depth", "mean_sharp_depth")
NONE = nb.form(("none",) * 6)
IMAGES = (2, 3, 16, 16)


def probe(model: nn.Module, shape=IMAGES) -> Probe:
    """Of a network whose weights stay as they are."""
    inputs = torch.randn(shape, generator=generator(1, "graph", "input"))
    return Probe(model, inputs, KEEP_WEIGHTS)


def values(model: nn.Module, shape=IMAGES) -> dict[str, float]:
    probed = probe(model, shape)
    return {name: probed.run(REGISTRY[name]) for name in LIVE}


class Residual(nn.Module):
    """conv3×3 - conv3×3 and a shortcut (1×1 convolution after a pooling), summed, ReLU."""

    def __init__(self, inplace=False, gate=1.0):
        super().__init__()
        self.gate = gate
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 8, 1))
        self.norm, self.relu = nn.BatchNorm2d(8), nn.ReLU(inplace)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        y = self.gate * self.norm(self.b(self.relu(self.a(x))))
        y += self.shortcut(x)
        return self.head(self.relu(y).mean((2, 3)))


# --- any network ---------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
def test_a_residual_network_counted_by_hand(inplace):
    model = Residual(inplace)
    main, shortcut, head = 8 * 8 * (27 * 8 + 72 * 8), 8 * 8 * 3 * 8, 8 * 4
    found = values(model)
    assert found == {
        "live_macs": main + shortcut + head,
        "live_layers": 4,
        "live_paths": pytest.approx(math.log(2)),
        "effective_depth": 3,
        "mean_depth": 2.5,
        "shortest_path": -2,
        "fewest_poolings": 0,
        "sharp_depth": 2,
        "mean_sharp_depth": 0.5,  # two spatial convolutions; a pooling
    }
    assert found["live_macs"] == count_macs(model, torch.zeros(IMAGES))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_multiplication_by_zero_kills_the_whole_branch(inplace):
    """Also on a trained network: biases and shifts do not bring it back."""
    model = Residual(inplace, gate=0.0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    found = values(model)
    assert found["live_macs"] == 8 * 8 * 3 * 8 + 8 * 4
    assert (found["live_layers"], found["live_paths"]) == (2, 0)
    assert (found["effective_depth"], found["shortest_path"]) == (2, -2)
    assert (found["fewest_poolings"], found["sharp_depth"]) == (-1, -1)


def test_what_the_output_never_reads_and_what_follows_a_zero_is_dead():
    class Dead(Residual):
        def forward(self, x):
            self.b(self.a(x))  # into nothing
            after_zero = self.norm(self.b(self.relu(self.a(x * 0.0))))  # out of nothing
            return super().forward(x) + after_zero.mean()

    torch.manual_seed(0)
    model = Dead()
    alive = Residual()
    alive.load_state_dict(model.state_dict())
    assert values(model) == values(alive)


def test_no_path_is_not_a_number_and_costs_nothing():
    found = values(nn.Sequential(Residual(), nn.Linear(4, 4), Zero()))
    assert (found.pop("live_macs"), found.pop("live_layers")) == (0, 0)
    assert all(map(math.isnan, found.values()))


def test_a_fixed_filter_is_a_pooling_and_a_product_of_features_is_no_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 2, bias=False)

        def forward(self, x):
            y = nn.functional.conv2d(self.embed(x), torch.ones(4, 1, 3, 3), groups=4)
            y = y.flatten(2)
            return self.head((y @ y.transpose(1, 2)).flatten(1).repeat(1, 16))

    found = values(Net())
    assert found["live_macs"] == 256 * 27 * 4 + 4 * 4 * 14 * 14 + 256 * 2
    assert (found["live_layers"], found["effective_depth"], found["sharp_depth"]) == (2, 2, 1)


def test_attention_is_seen_as_its_products():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    found = values(nn.Sequential(nn.Linear(8, 16), layer), (2, 10, 8))
    assert found["sharp_depth"] == 2  # queries meet keys, and their products the values
    dense = 10 * (8 * 16 + 3 * 16 * 16 + 16 * 16 + 2 * 16 * 32)
    assert found["live_macs"] == dense + 2 * 10 * 10 * 16
    assert found["live_layers"] == 5
    assert found["shortest_path"] == -1  # both sub-blocks have a shortcut
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_network_is_left_as_it_was():
    model = Residual()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    values(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


class Moody(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else x.relu().flatten(1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Moody(), "same operations for every image"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), "does not run on an input of shape"),
    ],
)
def test_what_has_no_graph_is_refused_in_one_line(model, message):
    inputs = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    with pytest.raises(AzlibError, match=message) as error:
        live_graph(Probe(model, inputs, KEEP_WEIGHTS))
    assert "\n" not in str(error.value)


def test_infinite_features_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    nn.init.constant_(model[1].weight, math.inf)
    with pytest.raises(AzlibError, match="not finite"):
        live_graph(probe(model, (2, 3, 4, 4)))


# --- NAS-Bench-201 -------------------------------------------------------------------------


def cell_paths(arch: str) -> list[tuple[str, ...]]:
    """The operations along every path through a cell, "none" left out."""
    operations = dict(zip(EDGES, nb.parse(arch), strict=True))
    routes = [(0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3)]
    paths = [tuple(operations[edge] for edge in pairwise(route)) for route in routes]
    return [path for path in paths if "none" not in path]


def by_hand(arch: str) -> dict[str, float]:
    """The proxies of a network of 15 equal cells; stem, head and reductions by their definition."""
    paths = cell_paths(arch)
    convs = [sum("conv" in op for op in path) for path in paths]
    pools = [sum("pool" in op for op in path) for path in paths]
    sharp = [path.count("nor_conv_3x3") - pool for path, pool in zip(paths, pools, strict=True)]
    live = sum(
        "conv" in op for op, on in zip(nb.parse(arch), nb.live_edges(arch), strict=True) if on
    )
    # Each of the two reduction blocks: two convolutions, or a pooling and a 1×1 convolution.
    return {
        "live_macs": nb.count(arch, resolution=16, live=True)["macs"] - 10,  # without bias adds
        "live_layers": 15 * live + 8,
        "live_paths": 15 * math.log(len(paths)) + 2 * math.log(2),
        "effective_depth": 15 * max(convs) + 6,
        "mean_depth": 15 * sum(convs) / len(paths) + 5,
        "shortest_path": -15 * min(convs) - 4,
        "fewest_poolings": -15 * min(pools),
        "sharp_depth": 15 * max(sharp) + 5,
        "mean_sharp_depth": 15 * sum(sharp) / len(paths) + 2,
    }


@pytest.mark.parametrize("arch", nb.enumerate_all()[7::2203])
def test_benchmark_networks_equal_their_paths_written_out(arch):
    expected = by_hand(arch) if cell_paths(arch) else None
    for lean in (False, True):
        found = values(nb.Network(arch, lean=lean))
        if expected is None:
            assert found["live_macs"] == 0 and math.isnan(found["mean_depth"])
        else:
            assert found == pytest.approx(expected), lean


def test_disconnected_network():
    assert values(nb.Network(NONE))["live_macs"] == 0


def test_params_and_trainable_layers_of_the_benchmark():
    archs = nb.enumerate_all()[3::1999]
    scores = [
        scored(nb.Network(arch), IMAGES, arch, seed=1, proxies="params,trainable_layers")
        for arch in archs
    ]
    for arch, found in zip(archs, scores, strict=True):
        convs = sum("conv" in operation for operation in nb.parse(arch))
        assert found == {"params": nb.count(arch)["params"], "trainable_layers": 21 + 45 * convs}


def test_params_and_macs_rank_the_space_alike():
    costs = [nb.count(arch) for arch in nb.enumerate_all()]
    ranks = [rank([cost[name] for cost in costs]) for name in ("params", "macs")]
    assert (ranks[0] == ranks[1]).all()


def test_graph_proxies_depend_on_no_seed():
    arch = nb.enumerate_all()[12345]
    scores = [azlib.score(nb.Network(arch), IMAGES, seed=seed, proxies=LIVE) for seed in (1, 2)]
    assert scores[0] == scores[1]


# --- paths of a graph ----------------------------------------------------------------------


def all_paths(operations: list[Operation], end: int) -> list[list[int]]:
    if end == 0:
        return [[0]]
    return [[*path, end] for i in operations[end].inputs for path in all_paths(operations, i)]


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_against_every_path(seed):
    """Pruning and path lengths against a list of all paths; a source can be read twice."""
    rng = torch.Generator().manual_seed(seed)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=rng))

    operations = [Operation(())] + [
        Operation(tuple(draw(n) for _ in range(1 + draw(3))), macs=n, layer=bool(draw(2)))
        for n in range(1, 9)
    ]
    passing = [True] + [draw(4) > 0 for _ in range(1, 9)]
    # As values do, an operation passes on only what reaches it.
    for n in range(1, 9):
        passing[n] &= any(passing[i] for i in operations[n].inputs)
    paths = [p for p in all_paths(operations, 8) if all(passing[i] for i in p)]
    graph = prune(operations, passing)
    assert [o.macs for o in graph[1:]] == sorted({i for path in paths for i in path if i})
    lengths = [sum(operations[i].layer for i in path) for path in paths]
    length = lambda operation: int(operation.layer)  # noqa: E731
    if not paths:
        assert (
            graph == [] and math.isnan(extreme(graph, length)) and math.isnan(mean(graph, length))
        )
        return
    assert extreme(graph, length) == max(lengths)
    assert extreme(graph, length, min) == min(lengths)
    assert mean(graph, length) == pytest.approx(sum(lengths) / len(lengths))


def test_many_branches_do_not_overflow():
    chain = [Operation(())] + [Operation((n, n), layer=True) for n in range(2000)]
    assert mean(chain, lambda operation: int(operation.layer)) == 2000
