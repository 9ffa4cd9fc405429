"""NASWOT, Jacov, EPE-NAS, TE-NAS, Zen and VKDNW against their formulas, written out plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import KEEP_WEIGHTS, scored
from torch import nn

from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.inputs.initialisation import initialise
from azlib.proxies import REGISTRY, Probe
from azlib.proxies.ntk import tangent_kernel
from azlib.proxies.vkdnw import _factor, jacobian
from azlib.scoring.chunk import score_architecture
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces import nasbench201 as nb

PROXIES = (
    "naswot",
    "linear_regions",
    "jacov",
    "epe_nas",
    "ntk",
    "zen",
    "vkdnw_entropy",
    "vkdnw_entropy_exact",
)
SHAPE = (16, 3, 16, 16)
CELLS = {
    "none": ("none",) * 6,
    "dead": ("nor_conv_3x3", "none", "nor_conv_3x3", "none", "none", "none"),
    "skip": ("none", "none", "none", "skip_connect", "none", "none"),
    "skip, dead": ("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"),
    "pool": ("avg_pool_3x3",) * 6,
}


class Tiny(nn.Module):
    """Two strided, grouped, biased convolutions, in-place ReLUs, a layer that runs twice."""

    def __init__(self, classes: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2, bias=False)
        self.last = nn.BatchNorm2d(6, momentum=0.3)
        self.end = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, classes)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = x + self.twice(self.twice(x))
        return self.head(self.pool(self.end(self.last(x))).flatten(1))


def tiny(classes: int = 4) -> Tiny:
    """With weights, scales, shifts and running statistics that are all different."""
    rng = torch.Generator().manual_seed(5)
    model = Tiny(classes)
    for tensor in (*model.parameters(), model.norm.running_mean, model.last.running_mean):
        tensor.data.copy_(0.4 * torch.randn(tensor.shape, generator=rng))
    for norm in (model.norm, model.last):
        norm.weight.data.add_(1)
        norm.running_var.copy_(0.5 + torch.rand(6, generator=rng))
    return model


def probe_of(model: nn.Module, count: int = 8, size: int = 10, classes: int = 4) -> Probe:
    """A probe that keeps the model's weights; noise, one batch of images, labels."""
    rng = torch.Generator().manual_seed(7)
    inputs, images = torch.randn(2, count, 3, size, size, generator=rng)
    labels = torch.randint(classes, (count,), generator=rng)
    return Probe(model.train(), inputs, KEEP_WEIGHTS, batches=[(images, labels)])


def value(name: str, probe: Probe) -> float:
    return probe.run(REGISTRY[name])


def patterns(model: Tiny, inputs: torch.Tensor) -> torch.Tensor:
    """(B, units): which ReLU outputs are positive, layer after layer by hand."""
    a = model.norm(model.stem(inputs))
    x = a.relu()
    b = model.last(x + model.twice(model.twice(x)))
    return torch.cat([(a > 0).flatten(1), (b > 0).flatten(1)], dim=1)


# --- NASWOT and linear regions -------------------------------------------------------------


def test_naswot_is_the_log_determinant_of_hamming_similarities():
    probe = probe_of(tiny())
    active = patterns(probe.model, probe.inputs).numpy()
    kernel = [[active.shape[1] - np.sum(a != b) for b in active] for a in active]
    expected = np.log(abs(np.linalg.det(np.array(kernel, dtype=float))))
    assert value("naswot", probe) == pytest.approx(expected, rel=1e-9)
    assert value("naswot", probe) == value("naswot", probe)  # no hook is left to count twice


def test_linear_regions_counts_distinct_patterns():
    probe = probe_of(tiny())
    probe.inputs[[1, 2, 5]] = probe.inputs[[0, 0, 4]]
    distinct = {tuple(row) for row in patterns(probe.model, probe.inputs).tolist()}
    assert value("linear_regions", probe) == len(distinct) == 5
    assert value("naswot", probe) == -math.inf  # three equal rows


def test_regions_of_a_layer_that_folds_positions_into_the_batch():
    class Folded(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x.permute(0, 2, 3, 1).reshape(-1, 3))).reshape(len(x), -1)

    probe = probe_of(Folded(nn.Linear(3, 4), nn.ReLU()))
    probe.inputs[1] = probe.inputs[0]
    assert value("linear_regions", probe) == len(probe.inputs) - 1
    probe.inputs[1] = -probe.inputs[0]
    assert np.isfinite(value("naswot", probe))


@pytest.mark.parametrize("name", ["naswot", "linear_regions"])
def test_lean_cells_hide_their_activations_and_are_refused(name):
    arch = nb.form((*CELLS["dead"][:3], "nor_conv_1x1", "none", "skip_connect"))
    with pytest.raises(AzlibError, match=r"never runs the nn.ReLU 'cells.0.*lean=False"):
        scored(nb.Network(arch, lean=True), SHAPE, arch, seed=1, proxies=name)


# --- Jacov and EPE-NAS ---------------------------------------------------------------------


def input_gradients(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    """∂ (sum of the batch's logits) / ∂ image, flattened, by central differences in float64."""
    model.double()
    flat, step = images.double().flatten(), 1e-6
    rows = torch.zeros_like(flat)
    with torch.no_grad():
        for i in range(len(flat)):
            for sign in (1, -1):
                moved = flat.clone()
                moved[i] += sign * step
                rows[i] += sign * model(moved.view(images.shape)).sum() / (2 * step)
    model.float()
    return rows.view(len(images), -1).numpy()


def test_jacov_is_the_formula_on_correlations_of_input_gradients():
    probe = probe_of(tiny(), count=5, size=6)
    rows = input_gradients(probe.model, probe.batches[0][0])
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5))
    assert value("jacov", probe) == pytest.approx(expected, rel=1e-4)
    assert value("jacov", probe) < -len(rows)  # -B only for uncorrelated gradients


@pytest.mark.parametrize("classes", [4, 101])
def test_epe_nas_groups_correlations_by_class(classes):
    probe = probe_of(tiny(classes), count=6, size=6, classes=classes)
    images, labels = probe.batches[0][0], torch.tensor([0, 3, 0, 3, 2, 0])
    probe.batches = [(images, labels)]
    rows = input_gradients(probe.model, images)
    sums = {}
    for label in (0, 2, 3):
        members = rows[labels.numpy() == label]
        sums[label] = np.log(np.abs(np.atleast_2d(np.corrcoef(members))) + 1e-5).sum()
    if classes <= 100:
        expected = sum(map(abs, sums.values()))
    else:  # the class with one image is left out
        expected = 2 * abs(sums[0] / 3 - sums[3] / 2) / 2
    assert value("epe_nas", probe) == pytest.approx(expected, rel=1e-3)


def test_epe_nas_of_singletons_only():
    for classes, expected in ((4, 3e-5), (101, math.nan)):
        probe = probe_of(tiny(classes), count=3, size=6)
        probe.batches = [(probe.batches[0][0], torch.tensor([0, 1, 2]))]
        assert value("epe_nas", probe) == pytest.approx(expected, rel=1e-3, nan_ok=True)


# --- NTK -----------------------------------------------------------------------------------


def test_ntk_is_the_condition_number_of_the_gram_matrix_of_weight_gradients():
    probe = probe_of(tiny())
    model, images = probe.model, probe.batches[0][0]
    weights = [model.stem.weight, model.norm.weight, model.twice.weight, model.last.weight]
    rows = []
    for i in range(len(images)):  # a forward pass of the whole batch for each image
        gradients = torch.autograd.grad(model(images)[i].sum(), [*weights, model.head.weight])
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    jacobian = torch.stack(rows).double().numpy()
    expected = np.linalg.cond(jacobian @ jacobian.T)
    assert value("ntk", probe) == pytest.approx(-expected, rel=1e-4)
    assert tangent_kernel(probe).numpy() == pytest.approx(jacobian @ jacobian.T, rel=1e-5)


def test_ntk_without_gradient_or_of_equal_images_is_the_worst():
    probe = probe_of(tiny())
    probe.model.head.weight.data.zero_()
    probe.model.last.weight.data.zero_()
    probe.model.last.bias.data.fill_(-1)
    assert value("ntk", probe) == -1e5
    probe = probe_of(tiny())
    probe.batches[0][0][1] = probe.batches[0][0][0]
    assert value("ntk", probe) <= -1e5


@pytest.mark.parametrize("arch", ["64-41414-3_11_111", "64-41414-1_23_132"])
def test_ntk_of_a_network_that_ends_in_a_normalisation_is_not_defined(arch):
    settings = ScoreSettings(("ntk",), (8, 3, 64, 64))
    assert score_architecture(get("transnas101-micro"), arch, 1, settings).values["ntk"] == -1e5


# --- Zen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lean", [False, True])
def test_zen_reads_running_variances_as_two_passes_leave_them(lean):
    """On a fresh network they are in the buffers; features come from the head, cut by hand."""
    arch = nb.form(("nor_conv_3x3", *CELLS["pool"][:2], "skip_connect", "nor_conv_1x1", "none"))
    network = nb.Network(arch, lean=lean)
    initialise(network, "unit_norm", torch.Generator().manual_seed(1))
    probe = Probe(network, torch.randn(8, 3, 16, 16), KEEP_WEIGHTS)
    got = value("zen", probe)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    noise = torch.randn(probe.inputs.shape, generator=probe.stream("zen"))
    with torch.no_grad():
        f, g = (
            network.head[:2](network.cells(network.stem(x)))
            for x in (probe.inputs, probe.inputs + 0.01 * noise)
        )
    expected = math.log(float((f - g).abs().sum()) / 8)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    expected += sum(0.5 * math.log(float(m.running_var.mean())) for m in norms)
    assert got == pytest.approx(expected, rel=1e-5)
    assert value("zen", probe) == got  # buffers of earlier passes play no part


def test_zen_follows_each_layers_own_momentum():
    model = tiny()
    values = [value("zen", probe_of(model))]
    model.last.momentum = 0.1
    values.append(value("zen", probe_of(model)))
    x = probe_of(model).inputs
    y = model.relu(model.norm(model.stem(x)))
    variances = (y + model.twice(model.twice(y))).detach().var((0, 2, 3))
    terms = [
        0.5 * math.log(float(((1 - m) ** 2 + (1 - (1 - m) ** 2) * variances).mean()))
        for m in (0.3, 0.1)  # the perturbation hardly changes the variance
    ]
    assert values[0] - values[1] == pytest.approx(terms[0] - terms[1], abs=1e-3)


# --- VKDNW ---------------------------------------------------------------------------------


def test_jacobian_of_chosen_weights_equals_one_taken_image_by_image():
    probe = probe_of(tiny())
    logits, ours = jacobian(probe)
    model = probe.model.eval()
    base = {name: p.detach() for name, p in model.named_parameters()}

    def of(shift, image):
        moved = {}
        for k, (name, p) in enumerate(base.items()):
            corner = torch.zeros_like(p).flatten()
            corner[0] = 1
            moved[name] = p + shift[k] * corner.view_as(p)
        return torch.func.functional_call(model, moved, (image[None],))[0]

    zero = torch.zeros(len(base))
    expected = torch.stack(
        [torch.autograd.functional.jacobian(lambda s, i=i: of(s, i), zero) for i in probe.inputs]
    )
    assert torch.allclose(ours.float(), expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(logits.float(), model(probe.inputs), atol=1e-5)
    assert ours[:, :, -2:].eq(0).all() and ours[:, :, :-2].ne(0).any(0).any(0).all()


def test_factor_of_the_multinomial_covariance():
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.0], [900.0, -900.0, 0.0, 3.0]]).double()
    factor = _factor(logits)
    p = 0.95 * logits.softmax(1) + 0.05 / 4
    expected = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    assert torch.allclose(factor @ factor.mT, expected, atol=1e-12)
    assert factor.triu(1).eq(0).all() and (factor.diagonal(dim1=1, dim2=2) >= 0).all()


@pytest.mark.parametrize("name", ["vkdnw_entropy", "vkdnw_entropy_exact"])
def test_vkdnw_is_the_entropy_of_deciles(name):
    probe = probe_of(tiny())
    logits, weights = (tensor.numpy() for tensor in jacobian(probe))
    information = np.zeros((weights.shape[2],) * 2)
    for z, J in zip(logits, weights, strict=True):
        p = 0.95 * np.exp(z) / np.exp(z).sum() + 0.05 / 4
        covariance = np.diag(p) - np.outer(p, p)
        if name == "vkdnw_entropy":  # LᵀL, not LLᵀ; the last row and column of L are singular
            L = np.zeros((4, 4))
            L[:3, :3] = np.linalg.cholesky(covariance[:3, :3])
            L[3, :3] = np.linalg.solve(L[:3, :3], covariance[:3, 3])
            covariance = L.T @ L
        information += J.T @ covariance @ J / len(logits)
    deciles = np.quantile(np.linalg.svd(information)[1], np.arange(1, 10) / 10)
    r = deciles / deciles.sum()
    assert value(name, probe) == pytest.approx(-(r * np.log(r + 1e-10)).sum(), rel=1e-5, abs=1e-7)


def test_vkdnw_reads_the_first_128_tensors_of_a_deep_network():
    arch = nb.form(("nor_conv_1x1",) * 4 + ("none",) * 2)
    network = nb.Network(arch)
    _, weights = jacobian(probe_of(network, count=2, size=8))
    assert weights.shape == (2, 10, 128)


# --- all of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("none", {"naswot": -math.inf, "zen": -math.inf, "ntk": -1e5, "linear_regions": 1}),
        ("none", {"jacov": math.nan, "epe_nas": math.nan}),
        ("dead", {"naswot": 138, "zen": -math.inf, "ntk": -1e5, "linear_regions": 16}),
        ("dead", {"jacov": math.nan, "epe_nas": math.nan}),
        ("skip", {"naswot": 139, "zen": 10, "ntk": -4, "linear_regions": 16, "jacov": -16.3}),
        ("skip, dead", {"naswot": 163, "zen": 45, "ntk": -3, "linear_regions": 16, "jacov": -16.4}),
        ("pool", {"naswot": 137, "zen": 46, "linear_regions": 16}),
    ],
)
def test_degenerate_cells_score_as_in_the_authors_codes(cell, expected):
    """Their values, at batch 16, 16 pixels and noise for images; seeds move them a little."""
    arch = nb.form(CELLS[cell])
    rng = generator(1, arch, "noise")
    images = [(torch.randn(SHAPE, generator=rng), torch.arange(16) % 10)]
    settings = {"seed": 1, "proxies": expected, "images": images}
    scores = scored(nb.Network(arch), SHAPE, arch, **settings)
    assert scores == pytest.approx(expected, rel=0.02, abs=2, nan_ok=True)


def test_all_pool_cells_have_nearly_equal_gradients():
    """Heavy tails: the authors' codes give -190 and -9,500 on one draw."""
    arch = nb.form(CELLS["pool"])
    images = [(torch.randn(SHAPE, generator=generator(1, arch, "noise")), torch.arange(16) % 10)]
    settings = {"seed": 1, "proxies": ["ntk", "jacov"], "images": images}
    scores = scored(nb.Network(arch), SHAPE, arch, **settings)
    assert -2000 < scores["ntk"] < -20 and -1e5 < scores["jacov"] < -1000


@pytest.mark.parametrize("name", PROXIES)
def test_the_network_is_left_as_found(name):
    arch = nb.form(("nor_conv_1x1", *CELLS["skip"][1:]))
    network = nb.Network(arch)
    probe = Probe(network, torch.randn(4, 3, 8, 8), KEEP_WEIGHTS, arch)
    network.stem[0].weight.requires_grad_(False)
    network.classifier.bias.grad = torch.ones(10)
    before = {key: p.detach().clone() for key, p in network.named_parameters()}
    assert isinstance(value(name, probe), float)
    for key, p in network.named_parameters():
        assert torch.equal(p, before[key])
        assert p.requires_grad == (key != "stem.0.weight")
        assert (p.grad is None) == (key != "classifier.bias")
    assert network.classifier.bias.grad.eq(1).all()
    assert probe.batches is None and not probe.inputs.requires_grad
    for module in network.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


@pytest.mark.parametrize("name", PROXIES)
def test_a_score_depends_on_the_seed_alone(name):
    arch = nb.form(("nor_conv_1x1", *CELLS["skip"][1:]))
    settings = {"shape": (4, 3, 8, 8), "arch": arch}
    first = scored(nb.Network(arch), **settings, seed=1, proxies=name)
    after = scored(nb.Network(arch), **settings, seed=1, proxies=PROXIES)
    other = scored(nb.Network(arch), **settings, seed=2, proxies=name)
    assert first[name] == after[name]
    assert first != other or name == "linear_regions"


NO_RELU = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 3))


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("naswot", NO_RELU, "reads nn.ReLU modules, Sequential has none"),
        ("linear_regions", NO_RELU, "reads nn.ReLU modules, Sequential has none"),
        ("zen", NO_RELU, "reads batch normalisation layers, Sequential has none"),
        ("zen", nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)), "reads feature maps"),
        ("jacov", nn.Conv2d(3, 4, 1), "needs a classifier"),
        ("epe_nas", nn.Conv2d(3, 4, 1), "needs a classifier"),
        ("ntk", nn.Conv2d(3, 4, 1), "needs a classifier"),
        ("vkdnw_entropy", nn.Conv2d(3, 4, 1), "needs a classifier"),
        ("vkdnw_entropy", nn.Sequential(nn.PReLU(), NO_RELU), "knows the .* got PReLU"),
        (
            "vkdnw_entropy",
            nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), NO_RELU),
            "with running statistics",
        ),
        *((name, nn.Sequential(nn.Flatten(), nn.Linear(7, 2), nn.ReLU()), "does not run")
          for name in PROXIES if name != "zen"),
        *((name, Tiny(), r"input shape \(1, 3, 8, 8\).*at least 2") for name in PROXIES),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line(name, model, message):
    shape = (1 if "at least 2" in message else 4, 3, 8, 8)
    with pytest.raises(AzlibError, match=message) as error:
        scored(model, shape, "bad", seed=1, proxies=name)
    assert "\n" not in str(error.value) and "this proxy" not in str(error.value)
    assert not any(module._forward_hooks for module in model.modules())
