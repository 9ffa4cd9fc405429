"""What every search space promises: the protocol, its registry, networks to train, and limits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import ROOT

from azlib import spaces
from azlib.errors import AzlibError
from azlib.inputs.initialisation import initialise
from azlib.settings import INITIALISATIONS
from azlib.spaces.autoformer import PUBLISHED, AutoFormer
from azlib.spaces.base import MEMBERS, Training
from azlib.spaces.limits import LONGEST_TEXT
from azlib.spaces.mobilenetv2 import INITIAL, SMALLEST, InvertedBottleneck, MobileNetV2
from azlib.spaces.mobilenetv2.text import format, layers, parse
from azlib.spaces.nasbench201 import NASBench201
from azlib.spaces.nasbenchmacro import NASBenchMacro
from azlib.spaces.transnas101 import TransNAS101Micro

CELL = NASBench201().sample(np.random.default_rng(0))
TINY = PUBLISHED["default", "tiny"]
SMALL = {
    "nasbench201": CELL,
    "transnas101-micro": "64-41414-3_01_010",
    "nasbench-macro": "10201102",
    "mobilenetv2": SMALLEST,
    "autoformer-tiny": TINY,
}


@dataclass(frozen=True)
class Widths(spaces.SearchSpace):
    """A stranger's space, which writes only what has no default."""

    name: str = "widths"
    input_shape: tuple[int, ...] = (2, 3, 8, 8)

    def sample(self, rng):
        return str(rng.integers(1, 5))

    def mutate(self, arch, rng, times=1):
        return self.sample(rng)

    def legal(self, arch):
        return 0 < int(arch) < 5

    def build(self, arch, resolution=None):
        return torch.nn.Conv2d(3, int(arch), 1)

    def count(self, arch):
        return {"macs": 192.0 * int(arch), "params": 4.0 * int(arch)}


@pytest.mark.parametrize("name", spaces.NAMES)
def test_every_space_of_the_registry_keeps_the_protocol(name):
    space = spaces.get(name)
    spaces.check_space(space)
    assert isinstance(space, spaces.SearchSpace) and space.name == name
    small = isinstance(space, NASBench201 | TransNAS101Micro | NASBenchMacro)
    assert isinstance(space, spaces.EnumerableSpace) == small
    assert isinstance(space.presets["paper"], spaces.Preset)
    assert space.init in ("own", *INITIALISATIONS) and space.rule in ("algorithm-1", "random")
    assert len(space.input_shape) == 4 and space.input_shape[0] == space.presets["paper"].batch
    arch = space.sample(np.random.default_rng(0))
    assert space.canonical(space.canonical(arch)) == space.canonical(arch)
    assert {"macs", "params"} <= set(space.count(space.mutate(arch, np.random.default_rng(0))))
    with pytest.raises(AzlibError) as error:
        space.legal("nonsense")
    assert "\n" not in str(error.value)


def test_a_strangers_space_has_the_defaults():
    space = Widths()
    spaces.check_space(space)
    assert space.canonical("3") == "3" and space.scored_at(16) is space
    assert (space.rule, space.recipe, space.initial) == ("algorithm-1", "plain", None)
    assert space.presets == {"paper": (64, None)}
    with pytest.raises(AzlibError, match="the space Widths has no budget"):
        space.read_budget("450M")
    with pytest.raises(AzlibError, match="the space widths does not say how"):
        space.training_network("3", Training(10, 32))


def test_what_a_strangers_space_lacks_is_said():
    class Half:
        name, input_shape, proxies = "half", (2, 3, 8, 8), ("complexity",)

        def sample(self, rng):
            return "a"

    absent = [name for name in MEMBERS if not hasattr(Half, name)]
    with pytest.raises(AzlibError, match=f"type Half is no search space.*{', '.join(absent)}"):
        spaces.check_space(Half())
    assert {"build", "count", "legal", "mutate", "canonical"} < set(absent)
    with pytest.raises(AzlibError, match=r"got the class Widths: make one, as in Widths\(\)"):
        spaces.check_space(Widths)
    with pytest.raises(AzlibError, match="type str is no search space"):
        spaces.check_space("mobilenetv2")

    class Forgetful(Widths):
        build = spaces.SearchSpace.build

    with pytest.raises(TypeError, match="build"):
        Forgetful()


def test_spaces_are_found_by_name():
    assert spaces.get("nasbench201-full") == NASBench201(lean=False, name="nasbench201-full")
    assert spaces.get("autoformer-small", budget="tf-tas") == AutoFormer("small", "tf-tas")
    assert spaces.get("mobilenetv2-superblocks").taps == "superblocks"
    with pytest.raises(AzlibError, match=r"unknown search space 'mobilnetv2'. Did you mean 'mobil"):
        spaces.get("mobilnetv2")
    with pytest.raises(AzlibError, match=r"unknown option of mobilenetv2 'budgt'. Did you mean 'b"):
        spaces.get("mobilenetv2", budgt=450e6)
    with pytest.raises(AzlibError, match="unknown option of autoformer-tiny 'size'"):
        spaces.get("autoformer-tiny", size="base")


@pytest.mark.parametrize("name", SMALL)
def test_costs_are_counted_at_the_cost_resolution(name):
    cheap, dear = spaces.get(name, 16), spaces.get(name, 64)
    assert cheap.input_shape[2:] == (16, 16)
    assert cheap.count(SMALL[name])["macs"] < dear.count(SMALL[name])["macs"]


def test_only_nasbench201_counts_at_the_scoring_size():
    assert NASBench201().scored_at(16) == NASBench201(cost_resolution=16)
    assert NASBench201("imagenet16-120").input_shape == (64, 3, 16, 16)
    assert MobileNetV2(450e6).scored_at(112) == MobileNetV2(450e6)
    assert AutoFormer().scored_at(112) == AutoFormer()
    assert TransNAS101Micro().scored_at(64) == TransNAS101Micro()
    assert NASBenchMacro().scored_at(16) == NASBenchMacro()


def test_networks_are_built_for_the_scoring_size():
    images = torch.zeros(2, 3, 48, 48)
    for name, arch in SMALL.items():
        network = spaces.get(name).build(arch, resolution=48)
        assert len(network(images)) == 2
        assert all(network.get_submodule(block) for block in network.primary_blocks)
    with pytest.raises(AzlibError, match="resolution 40 does not split into 16-pixel patches"):
        AutoFormer().build(TINY, resolution=40)


@pytest.mark.parametrize("text", ["450M", "450e6", "450000000", "0.45e9"])
def test_budgets_of_flops_are_read(text):
    assert MobileNetV2.read_budget(text) == {"budget": 450e6}


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (MobileNetV2, "450Mega", "expected FLOPs, such as 450M or 450e6"),
        (MobileNetV2, "nan", "expected FLOPs"),
        (MobileNetV2, "infM", "expected FLOPs"),
        (MobileNetV2, "-450M", "expected FLOPs"),
        (AutoFormer, "tf-ta", "unknown AutoFormer budget 'tf-ta'. Did you mean 'tf-tas'"),
        (NASBench201, "450M", "has no budget"),
        (NASBenchMacro, "450M", "has no budget"),
    ],
)
def test_bad_budgets_are_refused(space, text, message):
    with pytest.raises(AzlibError, match=message):
        space.read_budget(text)


def test_rules_and_recipes_are_those_of_the_papers():
    said = {name: (spaces.get(name).rule, spaces.get(name).recipe) for name in spaces.NAMES}
    assert said == {
        "nasbench201": ("algorithm-1", "plain"),
        "nasbench201-full": ("algorithm-1", "plain"),
        "transnas101-micro": ("algorithm-1", "plain"),
        "transnas101-micro-full": ("algorithm-1", "plain"),
        "nasbench-macro": ("algorithm-1", "plain"),
        "mobilenetv2": ("algorithm-1", "plain"),
        "mobilenetv2-superblocks": ("algorithm-1", "plain"),
        "autoformer-tiny": ("random", "autoformer"),
        "autoformer-small": ("random", "autoformer"),
        "autoformer-base": ("random", "autoformer-base"),
    }
    assert AutoFormer.read_budget("tf-tas") == {"budget": "tf-tas"}


# --- networks to train ---------------------------------------------------------------------


def seeded():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", SMALL)
def test_training_networks_have_the_classes_asked_for_and_seeded_weights(name):
    space = spaces.get(name)
    one, two = (
        space.training_network(SMALL[name], Training(5, 32, rng=seeded())) for _ in range(2)
    )
    for (key, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert one(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_cnns_train_from_kaiming_normal_weights():
    network = NASBench201().training_network(CELL, Training(5, 32, rng=seeded()))
    reference = NASBench201(lean=False).build(CELL)
    assert [n for n, _ in network.named_modules()] == [n for n, _ in reference.named_modules()]
    first = network.stem[0].weight
    initialise(reference, "kaiming_norm_fanin", seeded())
    assert torch.equal(first, reference.stem[0].weight)
    assert first.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.1)


@pytest.mark.parametrize("taps", ["all", "superblocks"])
def test_mobilenetv2_trains_with_gates_and_last_norms_at_zero(taps):
    network = MobileNetV2(450e6, taps=taps).training_network(
        SMALLEST, Training(5, 32, rng=seeded())
    )
    bottlenecks = [m for m in network.modules() if isinstance(m, InvertedBottleneck)]
    assert len(bottlenecks) == 8
    for bottleneck in bottlenecks:
        assert not bottleneck.main[-1].weight.any() and bottleneck.main[1].weight.all()
    se = MobileNetV2(se=True, num_classes=5).count(SMALLEST, counting="true")["params"]
    assert sum(p.numel() for p in network.parameters()) == se


def test_vision_transformers_train_with_their_scale_and_drop_path():
    network = AutoFormer().training_network(TINY, Training(5, 32, drop_path=0.1, rng=seeded()))
    scored = AutoFormer(num_classes=5).build(TINY, 32, rng=seeded())
    for a, b in zip(network.parameters(), scored.parameters(), strict=True):
        assert torch.equal(a, b)
    attention = network.blocks[0].attention.inner
    assert (attention.scale, scored.blocks[0].attention.inner.scale) == (48**-0.5, 64**-0.5)
    assert network.blocks[11].mlp.drop_path == pytest.approx(0.1 * 11 / 13)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "wrong",
    [
        {"num_classes": 0},
        {"num_classes": 1_000_001},
        {"resolution": 0},
        {"resolution": 100_000},
        {"drop_path": 1.5},
    ],
    ids=str,
)
def test_impossible_networks_to_train_are_refused(name, wrong):
    arguments = {"num_classes": 5, "resolution": 32, **wrong}
    with pytest.raises(AzlibError, match=next(iter(wrong))):
        spaces.get(name).training_network(SMALL[name], Training(**arguments))


# --- limits --------------------------------------------------------------------------------

WIDE = INITIAL.replace("(96,128,2,96,1)", "(96,16384,2,16384,900)").replace("(128,2", "(16384,2")


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (INITIAL.replace("96,1)", "96,999999)"), "at most 1000 layers"),
        (INITIAL.replace("2,96,1)", "2,999992,1)"), "at most 16384 channels"),
        (INITIAL.replace("2048", "16392"), "at most 16384 channels"),
        (INITIAL.replace("8,1)", "8,900)"), "has 1,804 layers"),
        (WIDE, "has 5,799,001,385,896 parameters: expected at most 1,000,000,000"),
        (INITIAL + " " * LONGEST_TEXT, "expected at most 100,000"),
    ],
)
def test_structures_beyond_memory_are_refused_before_they_are_built(arch, message):
    with pytest.raises(AzlibError, match=message) as error:
        MobileNetV2().build(arch)
    assert len(str(error.value)) < 1000


def test_too_many_layers_are_illegal_and_mutations_stay_within_the_widths():
    stem, block, *_, last = parse(SMALLEST)
    longest = format([stem, *([block._replace(stride=1, layers=499)] * 2), last])
    assert layers(parse(longest)) == 1000 and MobileNetV2().legal(longest)
    longer = longest.replace("499)", "500)", 1)
    assert not MobileNetV2().legal(longer)
    with pytest.raises(AzlibError, match="has 1,001 layers"):
        MobileNetV2().count(longer)
    widest = format([stem, block._replace(out=16_384, layers=1), last._replace(inputs=16_384)])
    rng = np.random.default_rng(0)
    assert max(parse(MobileNetV2().mutate(widest, rng))[1].out for _ in range(50)) == 16_384


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MobileNetV2(num_classes=10**7), "num_classes=10000000: expected an integer from"),
        (lambda: MobileNetV2(cost_resolution=5000), "cost_resolution=5000: .* to 4,096"),
        (lambda: MobileNetV2(cost_resolution=True), "cost_resolution=True: expected an integer"),
        (lambda: MobileNetV2(max_layers=1001), "max_layers=1001: .* from 6 to 1,000"),
        (lambda: NASBench201(cost_resolution=0), "cost_resolution=0: .* to 4,096"),
        (lambda: NASBench201().scored_at(-32), "cost_resolution=-32: expected"),
        (lambda: TransNAS101Micro(num_classes=0), "num_classes=0: expected an integer from 1"),
        (lambda: TransNAS101Micro(cost_resolution=5000), "cost_resolution=5000: .* to 4,096"),
        (lambda: NASBenchMacro(num_classes=0), "num_classes=0: expected an integer from 1"),
        (lambda: NASBenchMacro(cost_resolution=5000), "cost_resolution=5000: .* to 4,096"),
        (lambda: AutoFormer(cost_resolution=4096), "cost_resolution=4096: .* to 1,024"),
        (lambda: AutoFormer().build(TINY, 16.0), "resolution=16.0: expected an integer from 16"),
        (lambda: MobileNetV2(num_classes=999_999).build(SMALLEST), "parameters: expected at most"),
    ],
)
def test_sizes_beyond_memory_are_refused(make, message):
    with pytest.raises(AzlibError, match=message):
        make()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("arch", ["x" * 10**7, "[" * 200_000, 7, None, b"depth", ["a"]], ids=type)
def test_absurd_texts_are_refused_in_a_short_line(name, arch):
    for ask in (spaces.get(name).legal, spaces.get(name).count, spaces.get(name).build):
        with pytest.raises(AzlibError) as error:
            ask(arch)
        assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


def test_texts_and_costs_load_no_torch():
    code = """
import sys
import numpy
from azlib import spaces
from azlib.spaces.nasbench201 import canonical
for name in spaces.NAMES:
    space = spaces.get(name)
    arch = space.sample(numpy.random.default_rng(0))
    assert space.count(arch)["params"] > 0 and space.legal(space.canonical(arch)) in (True, False)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_that_a_package_lacks_are_refused_as_python_does():
    from azlib.spaces import nasbench201

    with pytest.raises(AttributeError, match=r"'azlib.spaces.nasbench201' has no attribute 'Cel'"):
        nasbench201.Cel  # noqa: B018
