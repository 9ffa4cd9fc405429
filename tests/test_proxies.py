from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from helpers import KEEP_WEIGHTS, scored
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import azlib
from azlib import spaces
from azlib.aggregation import ASSEMBLIES, AZ_NAS
from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.inputs.initialisation import DRAWS, initialise
from azlib.proxies import Probe, names
from azlib.proxies.az import deviation, entropy, under_rule
from azlib.proxies.models import default_shape
from azlib.running import laid_out, moved
from azlib.settings import INITIALISATIONS, ScoreSettings
from azlib.spaces import nasbench201 as nb
from azlib.trace import Trace, signs, trace

SHAPE = (16, 3, 16, 16)
THREE = ("expressivity", "progressivity", "trainability")
NONE = nb.form(("none",) * 6)
IDENTITY = nb.form(("none", "none", "none", "skip_connect", "none", "none"))


class Tiny(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(width, 4)
        self.unused = nn.Linear(2, 2)
        self.primary_blocks = ["a", "b"]

    def forward(self, x):
        return self.head(self.b(self.a(x)).mean((2, 3)))


class NoNumbers(Tiny):
    def forward(self, x):
        return super().forward(x * math.nan)


@pytest.mark.parametrize("init", ["kaiming_norm_fanin", "xavier_uni"])
@pytest.mark.parametrize("arch", nb.enumerate_all()[4::1801])
def test_shipped_proxies_equal_the_plain_oracle(arch, init):
    """Fixed weights, input and ±1 vectors: lean network and tapped pass against plain formulas."""
    full, lean = nb.Network(arch), nb.Network(arch, lean=True)
    initialise(full, init, generator(3, arch, "weights"))
    lean.load_state_dict(full.state_dict(), strict=False)
    images = torch.randn(SHAPE, generator=generator(3, arch, "input"))
    probe = Probe(lean.train(), images, KEEP_WEIGHTS, arch, 3)
    ours = {name: azlib.proxies.REGISTRY[name].function(probe) for name in THREE}

    rng = generator(3, arch, "signs")
    sizes = [(16, 16)] * 5 + [(32, 8)] * 6 + [(64, 4)] * 6
    vectors = [signs((SHAPE[0], c, size, size), rng) for c, size in sizes]
    expected = oracle.az_nas(full, images, vectors)
    for name in THREE:
        assert ours[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-4, nan_ok=True), name


def test_oracle_notices_a_wrong_formula():
    torch.manual_seed(0)
    features = torch.randn(4, 8, 5, 5) * torch.arange(1, 9).view(8, 1, 1)
    uncentred = oracle.entropy(features + 3) - oracle.entropy(features)
    assert abs(uncentred) < 1e-3  # centred: a constant shift changes nothing
    assert oracle.entropy(features) < math.log(8) - 0.1  # not whitened: below the maximum


def test_entropy_of_known_spectra():
    assert entropy(torch.full((5,), 0.2)) == pytest.approx(math.log(5), rel=1e-6)
    assert entropy(torch.tensor([0.0, 0.0, 1.0])) == pytest.approx(0, abs=1e-6)
    round_off = torch.tensor([-1e-6, 1.0])
    assert entropy(round_off) == pytest.approx(0, abs=1e-6)
    assert math.isnan(entropy(torch.tensor([math.nan, math.nan])))


@pytest.mark.parametrize("images", [2, 5])  # 8 or 20 positions, 12 channels
def test_entropy_of_features_with_fewer_positions_than_channels(images):
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU())
    x = torch.randn(images, 3, 2, 2)
    shares = trace(model, x, torch.Generator(), ["0", "1"]).shares
    assert len(shares[1]) == min(12, 4 * images)
    assert entropy(shares[1]) == pytest.approx(oracle.entropy(model(x).detach()), rel=1e-5)


def test_deviation_is_largest_for_an_isometry():
    assert deviation(1.0) == pytest.approx(0, abs=1e-5)
    assert deviation(1.0) > deviation(1.1) and deviation(1.0) > deviation(0.9)


def test_gain_of_a_linear_block_is_its_spectral_norm():
    """Trainability's gain tends to the largest singular value of a linear map (many positions)."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 6, generator=rng)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1, bias=False))
    model[1].weight.data = weight[:, :, None, None]
    got = trace(model, torch.randn(64, 3, 32, 32, generator=rng), rng, blocks=["0", "1"])
    assert got.gains[0] == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), rel=0.02)


@pytest.mark.parametrize("width", [64, 256, 300])  # float64, then float32
def test_gains_are_largest_singular_values(width):
    rng = torch.Generator().manual_seed(width)
    matrices = [torch.eye(width) + torch.randn(width, 320, generator=rng)[:, :width] / 40]
    gains = Trace([], matrices, [], []).gains
    exact = torch.linalg.svdvals(matrices[0].double())[0]
    assert gains == [pytest.approx(float(exact), rel=3e-6)]


def test_signs_are_fair_and_independent():
    values = signs((64, 16, 32, 32), torch.Generator().manual_seed(0))
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert abs(values.mean()) < 5 / 1024
    rows = values.permute(0, 2, 3, 1).reshape(-1, 16)
    correlation = rows.T @ rows / len(rows) - torch.eye(16)
    assert correlation.abs().max() < 5 / 256


@pytest.mark.parametrize("arch", [NONE, IDENTITY])
def test_degenerate_cells_under_the_three_rules(arch):
    diagnostics = [*THREE, "trainability_formula", "smallest_share", "identity_blocks"]
    scores = scored(nb.Network(arch, lean=True), SHAPE, arch, seed=1, proxies=diagnostics)
    frame = pd.DataFrame([scores])
    default, formula, published = (
        under_rule(frame, rule).iloc[0] for rule in ("azlib", "formula", "published")
    )
    if arch == NONE:  # no path: constant features have no spectrum, no gradient passes
        assert math.isnan(default["expressivity"]) and math.isnan(formula["progressivity"])
        assert default["trainability"] < -8e5
        assert published["expressivity"] == published["progressivity"] == -math.inf
    else:  # 15 of 17 blocks do nothing; by the formula that is nearly the best trainability
        assert default["identity_blocks"] == 15
        assert default["trainability"] == published["trainability"] == -math.inf
        assert -1 < formula["trainability"] < 0
        assert published["expressivity"] == default["expressivity"]


class Shift(nn.Module):
    def __init__(self, scaled):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.zeros(4, 1, 1)) if scaled else 0.0
        self.offset = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        return x + self.scale * self.norm(self.conv(x)) + self.offset


@pytest.mark.parametrize("scaled", [False, True])
def test_a_block_that_can_only_be_shifted_is_an_identity(scaled):
    stem, end = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(stem, Shift(scaled), end, nn.Flatten(), nn.Linear(1024, 3))
    found = azlib.score(
        net, SHAPE, blocks=["0", "1", "2"], init=None, proxies="trainability,identity_blocks"
    )
    assert found["identity_blocks"] == (not scaled)
    assert (found["trainability"] == -math.inf) == (not scaled)


def test_dead_paths_do_not_hide_an_identity():
    """A normalisation that is fed zeros adds its shift, which leaves the Jacobian alone."""
    arch = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
    for lean in (True, False):
        found = azlib.score(nb.Network(arch, lean=lean), SHAPE, proxies="identity_blocks")
        assert found["identity_blocks"] == 15


def test_published_rule_punishes_round_off_below_the_epsilon_alone():
    frame = pd.DataFrame({"expressivity": 1.0, "progressivity": 0.0, "trainability": -1.0,
                          "smallest_share": [-2e-8, -0.5e-8, 1e-3]})  # fmt: skip
    published = under_rule(frame, "published")
    assert published["expressivity"].tolist() == [-math.inf, 1.0, 1.0]
    assert frame["expressivity"].tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(AzlibError, match=r"unknown rule .*Known: azlib, formula, published"):
        under_rule(frame, "paper")


def test_dead_convolutions_change_complexity_alone():
    dead = nb.form(("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"))
    both = [
        scored(nb.Network(arch, lean=True), SHAPE, "same", seed=1, macs=nb.count(arch)["macs"])
        for arch in (dead, IDENTITY)  # both are the identity where it counts
    ]
    assert {name: both[0][name] for name in THREE} == {name: both[1][name] for name in THREE}
    assert both[0]["complexity"] > both[1]["complexity"]


def test_score_leaves_the_model_alone_and_depends_on_its_arguments_only():
    model = Tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    first = azlib.score(model, SHAPE)
    torch.manual_seed(123)
    assert azlib.score(model, SHAPE) == first
    assert azlib.score(model, SHAPE, seed=2) != first
    assert list(first) == ["expressivity", "progressivity", "trainability", "complexity"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_dropout_and_other_dimensions_are_seeded_too():
    layers = [nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.ConvTranspose1d(8, 8, 3)]
    first, again = (
        azlib.score(nn.Sequential(*layers), (8, 3, 12), blocks=["1", "2"], proxies="expressivity")
        for _ in "ab"
    )
    assert first == again


def test_complexity_of_any_model_is_its_macs():
    macs = 3 * 8 * 9 * 16 * 16 + 8 * 8 * 9 * 8 * 8 + 8 * 4
    assert azlib.score(Tiny(), SHAPE, proxies="complexity") == {"complexity": macs}


def test_rank_prefers_the_network_that_dominates():
    frame = azlib.rank([Tiny(4), Tiny(8), Tiny(32)], SHAPE)
    assert list(frame.filter(like="rank_")) == [f"rank_{name}" for name in names("az")]
    assert frame["rank_complexity"].tolist() == [1, 2, 3]
    assert frame["place"].tolist()[2] == 1
    assert frame["az_nas"].idxmax() == "Tiny_3"


def test_blocks_may_be_tokens_or_vectors():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 16), layer)
    scores = azlib.score(model, (8, 10, 8), blocks=["0", "1"], batch_statistics=False)
    assert all(map(math.isfinite, scores.values()))


def test_a_shape_may_hold_integers_of_numpy():
    assert azlib.score(Tiny(), [np.int64(n) for n in SHAPE]) == azlib.score(Tiny(), SHAPE)


def test_odd_sizes_are_padded_not_refused():
    assert all(map(math.isfinite, azlib.score(Tiny(), (8, 3, 7, 7)).values()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: azlib.score(nn.Linear(2, 2), (4, 2)), "has 0 blocks that every path passes"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks=["a", "bb"]), "unknown block 'bb'"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks=["a"]), "at least 2 are needed"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks=["a", "unused"]), "never reached.*unused"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks=["a", "a"]), "block 'a' named twice"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks=[Tiny().a]), "got the module Sequential"),
        (lambda: azlib.score(NoNumbers(), SHAPE), "no numbers"),
        (lambda: azlib.score(Tiny(), (16, 5, 16, 16)), "does not run on an input of shape"),
        (lambda: azlib.score(Tiny(), (16, 5, 16, 16), proxies="complexity"), "does not run"),
        (lambda: azlib.score(Tiny(), 64), "expected positive integers"),
        (lambda: azlib.score(Tiny(), SHAPE, device="gpu"), "unknown device 'gpu'"),
        (
            lambda: azlib.score(nn.Sequential(Tiny(), nn.Unfold(99)), SHAPE, blocks=["0.a", "0.b"]),
            "does not run",
        ),
        (lambda: azlib.score(Tiny(), (1, 3, 16, 16)), "at least 2"),
        (lambda: azlib.score(Tiny(), (16, 3, 16.5, 16)), "expected positive integers"),
        (lambda: azlib.score(Tiny(), SHAPE, proxies="expresivity"), "mean 'expressivity'"),
        (lambda: azlib.score(Tiny(), SHAPE, init="kaiming"), "unknown initialisation"),
        (lambda: azlib.score(Tiny(), SHAPE, device="mps"), "unknown device 'mps'"),
        (
            lambda: azlib.score(nn.Sequential(nn.LazyConv2d(4, 3)), SHAPE),
            "lazy layers.*run it once",
        ),
        (lambda: azlib.rank([Tiny()], SHAPE), "at least 2"),
        (lambda: azlib.rank([Tiny()] * 2, SHAPE, device="gpu"), "^unknown device 'gpu'"),
        (lambda: azlib.rank([Tiny()] * 2, SHAPE, batch=0), "^batch=0: expected"),
        (lambda: azlib.rank([Tiny()] * 2, SHAPE, init="kaiming"), "^unknown initialisation"),
        (lambda: azlib.score(Tiny(), SHAPE, init="own"), "Tiny has no method `initialise`"),
        (lambda: azlib.score(Tiny(), SHAPE, blocks="a"), "^1 primary block named"),
        (lambda: azlib.rank([Tiny(), Tiny()], batchh=3), "'batchh'. Did you mean 'batch'"),
    ],
)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises(AzlibError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_an_assembly_stands_for_its_proxies_wherever_proxies_are_named():
    members = ASSEMBLIES["az-transfer"]
    assert ScoreSettings("az-transfer").proxies == members == ScoreSettings(members).proxies
    assert ScoreSettings("az,zen").proxies == (*AZ_NAS, "zen")
    assert ScoreSettings("az-graph-epe").proxies.count("live_macs") == 1  # weighs twice, once here


@pytest.mark.parametrize("computed", [weight_norm, spectral_norm])
def test_weights_that_are_computed_from_others_are_drawn_anew(computed):
    def build():
        net = Tiny()
        computed(net.a[0])
        return net

    first, second = (azlib.score(build(), SHAPE, architecture="one") for _ in range(2))
    assert first == pytest.approx(second)  # spectral norms are iterated from a random vector
    net, plain = build(), Tiny()
    for network in (net, plain):
        initialise(network, "plain_uni", generator(1, "one", "weights"))
    if computed is weight_norm:
        torch.testing.assert_close(net.a[0].weight, plain.a[0].weight)


def test_weights_that_cannot_be_drawn_anew_are_said():
    net = Tiny()
    del net.a[0]._parameters["weight"]
    net.a[0].weight = torch.ones(8, 3, 3, 3)  # as a hook leaves it
    with pytest.raises(AzlibError, match=r"Conv2d is computed from others .*use init=None to keep"):
        azlib.score(net, SHAPE)
    assert azlib.score(net, SHAPE, init=None)["complexity"] > 0


def test_seeds_may_be_numpys_and_assemblies_have_names():
    ours = azlib.score(Tiny(), SHAPE, architecture="one", seed=2)
    assert azlib.score(Tiny(), SHAPE, architecture="one", seed=np.int64(2)) == ours
    frame = pd.DataFrame({name: [1.0, 3.0, 2.0] for name in azlib.proxies.names("az-transfer")})
    members = ASSEMBLIES["az-transfer"]
    assert azlib.aggregate(frame, proxies="az-transfer").equals(
        azlib.aggregate(frame, proxies=members)
    )


def test_double_precision_is_scored_in_single_and_devices_may_be_objects():
    ours = azlib.score(Tiny(), SHAPE, architecture="one", device=torch.device("cpu"))
    assert azlib.score(Tiny().double(), SHAPE, architecture="one") == ours


def test_an_image_model_may_have_a_vocabulary():
    """As BEiT has, whose pictures were cut into tokens while it was trained."""
    net = Tiny()
    net.config = SimpleNamespace(vocab_size=8192, image_size=16, num_channels=3)
    net.main_input_name = "pixel_values"
    assert default_shape(net) == (64, 3, 16, 16)
    net.main_input_name = "input_ids"
    assert default_shape(net) == (64, 128)


def test_only_the_device_that_is_used_is_touched(monkeypatch):
    def started(*_):
        raise AssertionError("the random state of a GPU was read")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", started)
    azlib.score(Tiny(), (4, 3, 16, 16), blocks=["a", "b"], init=None)
    with pytest.raises(AzlibError, match=r'PyTorch sees 2 here, the last is "cuda:1"'):
        azlib.score(Tiny(), SHAPE, device="cuda:2")
    for wrong in ("gpu", "cuda:x", "cuda:-1"):
        with pytest.raises(AzlibError, match=f"unknown device '{wrong}'"):
            azlib.blocks(Tiny(), SHAPE, device=wrong)


ROUNDING = """
import torch
from torch import nn
from azlib.running import exact, unfused

cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

def state():
    def read(thing, name):
        try:
            return getattr(thing, name)
        except RuntimeError:
            return "mixed"
    found = [read(cudnn, name) for name in ("enabled", "deterministic", "allow_tf32")]
    found += [read(matmul, "allow_tf32")]
    if hasattr(cudnn, "conv"):
        parts = (cudnn.conv, cudnn.rnn, matmul, torch.backends.mkldnn.matmul)
        found += [part.fp32_precision for part in parts]
    try:
        return [*found, torch.get_float32_matmul_precision()]
    except RuntimeError:
        return [*found, "mixed"]

def check(exactly):
    before = state()
    try:
        with exact("cuda"), unfused(nn.LSTM(2, 2)):
            inside = state()
            raise KeyError
    except KeyError:
        pass
    assert state() == before, (before, state())
    assert inside[:2] == [False, True], inside
    assert exactly(inside), inside

for precision in ("highest", "high", "medium"):
    torch.set_float32_matmul_precision(precision)
    check(lambda s: not s[2] and not s[3] and s[-1] == "highest")
torch.set_float32_matmul_precision("highest")
matmul.allow_tf32 = True
check(lambda s: not s[2] and not s[3])
if hasattr(cudnn, "conv"):
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = "tf32", "ieee"
    check(lambda s: s[4:7] == ["ieee"] * 3)
    torch.set_float32_matmul_precision("high")
    torch.backends.fp32_precision = "tf32"
    check(lambda s: s[4:7] == ["ieee"] * 3)
torch.backends.disable_global_flags()
with exact("cuda"), unfused(nn.LSTM(2, 2)):
    assert cudnn.deterministic and not cudnn.enabled
"""


def test_on_a_gpu_nothing_is_rounded_and_the_switches_are_put_back():
    """The switches are there without a GPU, too; some cannot be put back, hence a process."""
    subprocess.run([sys.executable, "-W", "error", "-c", ROUNDING], check=True)


@pytest.mark.parametrize("space", ["nasbench201", "transnas101-micro", "nasbench-macro"])
def test_only_on_a_cpu_channels_come_last(space):
    """Features on another device are looked at without one: PyTorch's "meta" has no numbers."""
    space, seen = spaces.get(space), {"cpu": [], "meta": []}
    for device, found in seen.items():
        model = moved(space.build(space.sample(np.random.default_rng(2)), 64), device).train()
        for module in model.modules():
            module.register_forward_pre_hook(
                lambda _, inputs, found=found: found.extend(x for x in inputs if x.dim() == 4)
            )
        model(laid_out(torch.randn(2, 3, 64, 64).to(device)))
    last = {
        device: [
            x.is_contiguous(memory_format=torch.channels_last) for x in found if x[0, 0].numel() > 1
        ]
        for device, found in seen.items()
    }
    assert len(last["meta"]) > 20 and not any(last["meta"])
    assert np.mean(last["cpu"]) > 0.8  # not those that a reduction shifts


def test_inputs_go_to_the_device_whatever_they_are():
    for shape in ((2, 3, 4, 4), (2, 3)):
        assert laid_out(torch.empty(shape, device="meta")).device.type == "meta"
    assert laid_out(torch.empty(2, 3, 4, 4, device="meta").mT).is_contiguous()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_gpu_is_said():
    with pytest.raises(AzlibError, match="sees no GPU"):
        azlib.score(Tiny(), SHAPE, device="cuda")


def test_the_names_of_initialisations_stand_in_the_settings():
    assert tuple(DRAWS) == INITIALISATIONS


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_initialisations_have_the_stated_spread(name):
    conv, linear = nn.Conv2d(64, 32, 3, groups=2), nn.Linear(300, 200)
    model = nn.Sequential(conv, nn.BatchNorm2d(32), linear)
    initialise(model, name, torch.Generator().manual_seed(0))
    for layer, fan_in, fan_out in ((conv, 32 * 9, 32 * 9), (linear, 300, 200)):
        variance = {
            "kaiming_norm_fanin": 2 / fan_in,
            "kaiming_uni_fanin": 2 / fan_in,
            "kaiming_norm_fanout": 2 / fan_out,
            "kaiming_uni_fanout": 2 / fan_out,
            "xavier_norm": 2 / (fan_in + fan_out),
            "xavier_uni": 2 / (fan_in + fan_out),
            "plain_norm": 0.01,
            "plain_uni": 0.01 / 3,
        }[name]
        assert layer.weight.var().item() == pytest.approx(variance, rel=0.08)
        assert not layer.bias.any()
        if "uni" in name:  # a uniform law ends at √3 standard deviations
            assert layer.weight.abs().max().item() == pytest.approx((3 * variance) ** 0.5, rel=0.05)
        else:
            assert layer.weight.abs().max().item() > (5 * variance) ** 0.5
    assert model[1].weight.eq(1).all() and model[1].bias.eq(0).all()


def test_import_loads_no_torch():
    code = "import azlib, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
