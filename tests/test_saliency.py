"""GradNorm, SNIP, GraSP, SynFlow, Fisher, ZiCo and GradSign against their formulas."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from helpers import KEEP_WEIGHTS, scored
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from azlib.errors import AzlibError
from azlib.proxies import REGISTRY, Probe
from azlib.spaces import nasbench201 as nb

ALL = ["grad_norm", "snip", "grasp", "synflow", "fisher", "zico", "gradsign", "gradsign_mean"]
WEIGHTS = ("0.weight", "3.weight", "8.weight")  # of `tiny`, without biases and normalisation
SHAPE = (6, 3, 8, 8)

NONE = nb.form(("none",) * 6)
CUT = nb.form(("nor_conv_3x3", "none", "nor_conv_3x3", "none", "none", "none"))
SKIP = nb.form(("none", "none", "none", "skip_connect", "none", "none"))
SKIP_AND_DEAD = nb.form(("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"))
POOL = nb.form(("avg_pool_3x3",) * 6)
MIXED = nb.form(
    ("nor_conv_1x1", "skip_connect", "nor_conv_3x3", "avg_pool_3x3", "none", "nor_conv_1x1")
)


def tiny() -> nn.Sequential:
    """0: conv, 3: conv (its output overwritten by a ReLU), 8: linear; normalisation between."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    ).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def linear() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)).double()


def probe(model: nn.Module, batches: int = 2, count: int = 6) -> Probe:
    """Fixed weights, noise and labelled images, in the precision of the model."""
    rng = torch.Generator().manual_seed(7)
    dtype = next(iter(model.parameters())).dtype

    def noise() -> torch.Tensor:
        return torch.randn(count, 3, 8, 8, generator=rng).to(dtype)

    inputs = noise()
    images = [(noise(), torch.randint(5, (count,), generator=rng)) for _ in range(batches)]
    return Probe(model.train(), inputs, KEEP_WEIGHTS, batches=images)


def value(name: str, given: Probe) -> float:
    return given.run(REGISTRY[name])


def backward(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict:
    """Gradients of the mean cross-entropy as .backward() leaves them, on a copy."""
    model = copy.deepcopy(model).train()
    cross_entropy(model(images), labels).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# --- each proxy against its formula --------------------------------------------------------


def random_labels(given: Probe, classes: int = 5) -> torch.Tensor:
    return torch.randint(classes, (len(given.inputs),), generator=given.stream("labels"))


def test_grad_norm_of_a_linear_classifier_in_closed_form():
    given = probe(linear())
    with torch.no_grad():
        x = given.inputs.flatten(1)
        error = given.model(given.inputs).softmax(1) - torch.eye(5)[random_labels(given)]
        expected = ((error.T @ x / 6).square().sum() + error.mean(0).square().sum()).sqrt()
    assert value("grad_norm", given) == pytest.approx(float(expected), rel=1e-10)


def test_grad_norm_is_over_all_parameters_and_falls_as_normalised_weights_grow():
    given = probe(tiny())
    given.model[1].eps = 1e-30  # so the loss does not depend on the scale of convolution 0
    found = backward(given.model, given.inputs, random_labels(given))
    squares = {name: float(gradient.square().sum()) for name, gradient in found.items()}
    before = value("grad_norm", given)
    assert before == pytest.approx(math.sqrt(sum(squares.values())), rel=1e-10)
    given.model[0].weight.data *= 3
    given.model[0].bias.data *= 3
    lost = (1 - 1 / 9) * squares["0.weight"] + (1 - 1 / 9) * squares["0.bias"]
    assert value("grad_norm", given) == pytest.approx(math.sqrt(before**2 - lost), rel=1e-10)


def test_snip_is_the_gradient_of_a_multiplicative_mask():
    given = probe(tiny())
    parameters = dict(given.model.named_parameters())
    masks = {name: torch.ones_like(parameters[name], requires_grad=True) for name in WEIGHTS}
    masked = {name: parameters[name].detach() * mask for name, mask in masks.items()}
    images, labels = given.batches[0]
    cross_entropy(functional_call(given.model, masked, (images,)), labels).backward()
    expected = sum(float(mask.grad.abs().sum()) for mask in masks.values())
    assert value("snip", given) == pytest.approx(expected, rel=1e-10)


def test_grasp_equals_the_explicit_hessian():
    given = probe(tiny())
    images, labels = given.batches[0]
    parameters = dict(given.model.named_parameters())
    shapes = [parameters[name].shape for name in WEIGHTS]
    theta = torch.cat([parameters[name].detach().flatten() for name in WEIGHTS])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        named = {n: p.view(s) for n, p, s in zip(WEIGHTS, parts, shapes, strict=True)}
        return cross_entropy(functional_call(given.model, named, (images,)), labels)

    hessian = torch.autograd.functional.hessian(loss, theta)
    gradient = torch.autograd.functional.jacobian(loss, theta)
    expected = -float(theta @ hessian @ gradient)
    assert abs(expected) > 1e-3
    assert value("grasp", given) == pytest.approx(expected, rel=1e-9)


def chain() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 7, bias=False),
        nn.BatchNorm1d(7),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(7, 5, bias=False),
    )


def test_synflow_of_a_chain_is_depth_times_the_sum_over_paths():
    given = probe(chain())
    first, second = (given.model[i].weight.detach().double().abs() for i in (1, 5))
    paths = float((second @ first).sum())
    assert value("synflow", given) == pytest.approx(math.log(2 * paths), rel=1e-12)
    given.model[1].weight.data *= -1e30  # float32 would overflow, signs do not matter
    given.model[5].weight.data *= 1e30
    given.model[2].weight.data *= 5  # normalisation is not there
    expected = math.log(2 * paths) + 2 * math.log(1e30)
    assert value("synflow", given) == pytest.approx(expected, rel=1e-9)


def test_synflow_counts_biases_as_paths():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.Linear(2, 5))
    for parameter in model.parameters():
        nn.init.constant_(parameter, -1.0)
    # First layer: 192 · 10 inputs through 2 x 5 paths; second: (192 + 1) · 10.
    assert value("synflow", probe(model)) == pytest.approx(math.log(1920 + 1930), rel=1e-12)


def test_synflow_beyond_float64_is_undefined():
    model = chain().double()
    model[1].weight.data *= 1e200
    model[5].weight.data *= 1e200
    assert math.isnan(value("synflow", probe(model)))


def test_fisher_equals_a_loop_over_layers_channels_and_images():
    given = probe(tiny())
    images, labels = given.batches[0]
    m = copy.deepcopy(given.model)
    a = m[0](images)
    b = m[3](m[2](m[1](a)))
    c = m[8](m[5](b.relu()).mean((2, 3)))
    for activation in (a, b, c):
        activation.retain_grad()
    cross_entropy(c, labels).backward()
    expected = 0.0
    for activation, fan_in in ((a, 3 * 9), (b, 2 * 9), (c, 6)):
        for channel in range(activation.shape[1]):
            squares = [
                float((activation[i, channel].detach() * activation.grad[i, channel]).sum()) ** 2
                for i in range(len(images))
            ]
            expected += fan_in * sum(squares) / len(images) / 2
    assert value("fisher", given) == pytest.approx(expected, rel=1e-10)


def test_zico_equals_a_loop_over_single_weights():
    given = probe(tiny())
    given.batches[1][0][:, 0] = given.batches[0][0][:, 0]
    pairs = [backward(given.model, *batch) for batch in given.batches]
    expected = 0.0
    for name in WEIGHTS:
        stacked = np.stack([pair[name].flatten().numpy() for pair in pairs])
        total = 0.0
        for column in stacked.T:
            if column.std() > 0:
                total += np.abs(column).mean() / column.std()
        expected += math.log(total)
    assert value("zico", given) == pytest.approx(expected, rel=1e-9)


def test_zico_leaves_out_what_does_not_vary():
    given = probe(tiny())
    twice = Probe(given.model, given.inputs, KEEP_WEIGHTS, batches=[given.batches[0]] * 2)
    assert value("zico", twice) == 0
    model, images = linear(), given.batches
    for batch, _ in images:
        batch[:, 0] = 0  # a third of the weights has gradient 0 in both batches
    first, second = (backward(model, *batch)["1.weight"][:, 64:] for batch in images)
    ratios = (first.abs() + second.abs()) / (first - second).abs()
    given = Probe(model, given.inputs, KEEP_WEIGHTS, batches=images)
    assert value("zico", given) == pytest.approx(float(ratios.sum().log()), rel=1e-9)


@pytest.mark.parametrize("arch", [None, MIXED, POOL])
def test_gradsign_equals_one_backward_pass_per_image(arch):
    if arch is None:
        model = tiny()
    else:
        torch.manual_seed(4)
        model = nb.Network(arch, num_classes=5, lean=True)
    given = probe(model)
    sums: dict[str, np.ndarray] = {}
    images, labels = given.batch()  # in the layout that is scored: some gradients are round-off
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        for name, gradient in backward(model, image, label).items():
            if gradient.dim() > 1:  # normalisation and biases have one dimension
                sums[name] = sums.get(name, 0) + np.sign(gradient.numpy())
    total = sum(np.abs(each).sum() for each in sums.values())
    count = sum(each.size for each in sums.values())
    assert value("gradsign", given) == total
    assert value("gradsign_mean", given) == total / count
    # Gradients that vanish are round-off, or exactly zero with other instructions.
    assert (0 if arch == POOL else 1) <= total < 6 * count


def test_gradsign_of_one_image_repeated_is_full_agreement():
    given = probe(linear())
    image, label = given.batches[0][0][:1], given.batches[0][1][:1]
    given.batches = [(image.repeat(6, 1, 1, 1), label.repeat(6))]
    assert value("gradsign", given) == 6 * 192 * 5
    assert value("gradsign_mean", given) == 6


# --- NAS-Bench-201 -------------------------------------------------------------------------


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("arch", [NONE, CUT])
def test_a_cell_without_a_path_scores_zero(arch, lean):
    scores = scored(nb.Network(arch, lean=lean), SHAPE, arch, seed=1, proxies=ALL)
    assert scores.pop("synflow") == -math.inf
    assert scores.pop("grad_norm") > 0 and scores.pop("fisher") > 0  # the bias of the classifier
    assert scores == dict.fromkeys(scores, 0.0) and len(scores) == 5


def test_pools_and_skips_score_as_the_authors_code_has_them():
    """Values that the code of AZ-NAS gives for noise, 16 images of 16 x 16, within their spread."""
    rng = torch.Generator().manual_seed(1)
    images = [
        (torch.randn(16, 3, 16, 16, generator=rng), torch.randint(10, (16,), generator=rng))
        for _ in range(2)
    ]
    skip, pool = (
        scored(
            nb.Network(arch, lean=True), (16, 3, 16, 16), arch, seed=1, proxies=ALL, images=images
        )
        for arch in (SKIP, POOL)
    )
    assert all(map(math.isfinite, [*skip.values(), *pool.values()]))
    assert skip["grad_norm"] == pytest.approx(1.6, rel=0.3)
    assert pool["grad_norm"] == pytest.approx(2.6, rel=0.3)
    assert skip["zico"] == pytest.approx(79, abs=5) and pool["zico"] == pytest.approx(82, abs=5)
    assert skip["gradsign_mean"] == pytest.approx(3.23, abs=0.2)
    assert pool["gradsign_mean"] == pytest.approx(3.25, abs=0.2)
    assert pool["grasp"] < 0


def test_dead_convolutions_change_nothing_but_the_mean_of_gradsign():
    torch.manual_seed(5)
    full = nb.Network(SKIP_AND_DEAD, num_classes=5)
    lean = nb.Network(SKIP_AND_DEAD, num_classes=5, lean=True)
    lean.load_state_dict(full.state_dict(), strict=False)
    scores = [{name: value(name, probe(net)) for name in ALL} for net in (full, lean)]
    means = [each.pop("gradsign_mean") for each in scores]
    assert means[0] < 0.5 * means[1]
    assert scores[0].pop("gradsign") == pytest.approx(scores[1].pop("gradsign"), rel=1e-3)
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def test_the_shift_of_a_normalisation_fed_zeros_counts_in_grad_norm_alone():
    arch = nb.form(("none", "none", "none", "skip_connect", "nor_conv_3x3", "none"))
    torch.manual_seed(5)
    full, lean = nb.Network(arch, num_classes=5), nb.Network(arch, num_classes=5, lean=True)
    lean.load_state_dict(full.state_dict(), strict=False)
    given, pruned = probe(full.double()), probe(lean.double())
    found = backward(full, given.inputs, random_labels(given))
    shifts = [g for name, g in found.items() if name.endswith("1to3.bn.bias")]
    extra = float(sum(gradient.square().sum() for gradient in shifts))
    assert len(shifts) == 15 and extra > 0
    expected = math.sqrt(value("grad_norm", pruned) ** 2 + extra)
    assert value("grad_norm", given) == pytest.approx(expected, rel=1e-9)
    assert value("snip", given) == pytest.approx(value("snip", pruned), rel=1e-9)


def test_scores_do_not_depend_on_the_other_proxies():
    def scores(chosen: list[str]) -> dict[str, float]:
        network = nb.Network(MIXED, lean=True)
        return scored(network, SHAPE, MIXED, seed=3, proxies=chosen)

    together = scores(ALL)
    assert scores(ALL[::-1]) == together
    assert {name: scores([name])[name] for name in ALL} == together


# --- what every proxy keeps to -------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_network_is_left_as_found_and_frozen_weights_count(name):
    given = probe(tiny())
    free = value(name, given)
    given = probe(tiny())
    for parameter in list(given.model.parameters())[::2]:
        parameter.requires_grad_(False)
    given.model[8].weight.grad = torch.full((5, 6), 9.0).double()
    before = {key: p.detach().clone() for key, p in given.model.named_parameters()}
    flags = [p.requires_grad for p in given.model.parameters()]
    with torch.no_grad():
        assert value(name, given) == free
    assert all(torch.equal(before[key], p) for key, p in given.model.named_parameters())
    assert [p.requires_grad for p in given.model.parameters()] == flags
    assert given.model[8].weight.grad.eq(9).all() and given.model[0].weight.grad is None
    assert not any(m._forward_hooks or m._backward_hooks for m in given.model.modules())


@pytest.mark.parametrize("name", ALL)
def test_no_convolution_and_no_normalisation_are_needed(name):
    assert math.isfinite(value(name, probe(linear())))


class Detached(nn.Module):
    """A classifier whose logits depend on none of its weights."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return x.flatten(1)[:, :5]


@pytest.mark.parametrize("name", [name for name in ALL if name != "synflow"])
def test_weights_that_are_not_used_score_zero(name):
    assert value(name, probe(Detached())) == 0


@pytest.mark.parametrize("name", [name for name in ALL if name != "grad_norm"])
def test_a_network_without_weights_of_layers_is_refused(name):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d((5, 1)), nn.Flatten())
    with pytest.raises(AzlibError, match="reads weights of convolutions and linear layers"):
        value(name, probe(model))


def test_grad_norm_needs_parameters():
    given = probe(linear())
    given.model = nn.Flatten()
    with pytest.raises(AzlibError, match="reads parameters, Flatten has none"):
        value("grad_norm", given)


@pytest.mark.parametrize("name", ["snip", "grasp", "fisher", "zico", "gradsign", "gradsign_mean"])
def test_labels_and_batches_that_are_missing_are_said(name):
    given = probe(tiny())
    images, labels = given.batches[0]
    for wrong, message in [
        ([images], "needs labels"),
        ([(images, None)], "needs labels"),
        ([(images, labels + 5)], "one integer from 0 to 4"),
        ([], "reads 1 batches"),
    ]:
        with pytest.raises(AzlibError, match=message):
            value(name, Probe(given.model, given.inputs, KEEP_WEIGHTS, batches=wrong))


def test_zico_asks_for_two_batches():
    with pytest.raises(AzlibError, match="reads 2 batches"):
        value("zico", probe(tiny(), batches=1))


def test_gradsign_refuses_one_value_per_channel():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.BatchNorm1d(5))
    with pytest.raises(AzlibError, match="more than 1 value per channel"):
        value("gradsign", probe(model))


@pytest.mark.parametrize("name", ALL)
def test_a_network_that_is_no_classifier_is_refused(name):
    with pytest.raises(AzlibError, match="needs a classifier"):
        value(name, probe(nn.Sequential(nn.Conv2d(3, 4, 3))))
