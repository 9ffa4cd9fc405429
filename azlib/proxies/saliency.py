"""Saliencies of pruning at initialisation, summed over a network, and the norm of its gradient.

w is the weight of a convolution or linear layer, biases and normalisation left out; ℓ the mean
cross-entropy of a batch, g = ∂ℓ/∂w. Weights that the output does not depend on have gradient zero,
so dead branches add nothing, built or not; exceptions are noted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from azlib.errors import AzlibError
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import differentiable, logits, unfused

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_BatchNorm = nn.modules.batchnorm._BatchNorm


def layer_weights(model: nn.Module) -> list[Tensor]:
    """The weights w, each once. Raises `AzlibError` for a network without any."""
    layers = [module for module in model.modules() if isinstance(module, _LAYERS)]
    for layer in layers:
        if "weight" not in layer._parameters:
            raise AzlibError(
                f"this proxy reads weights, and that of {type(layer).__name__} is computed from "
                "others, as by weight normalisation: score the network without it"
            )
    weights = [layer.weight for layer in layers]
    if not weights:
        raise AzlibError(
            f"this proxy reads weights of convolutions and linear layers, {type(model).__name__} "
            "has none: score it with another proxy"
        )
    return list(dict.fromkeys(weights))


def gradients(value: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Derivatives of a scalar; zeros where it does not depend on an input."""
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(
        torch.autograd.grad(value, inputs, create_graph=create_graph, materialize_grads=True)
    )


def _check_twice(value: Tensor, model: nn.Module) -> None:
    """Raises `AzlibError` where a function of gradients cannot be differentiated again.

    An operation whose derivative is marked as final (`once_differentiable`) leaves a node that
    raises when it is reached. It never is if derivatives by certain tensors are asked for, as none
    of them lies behind it: its part would be missing without a word.
    """
    waiting, final = [value.grad_fn], False
    seen, made_by_hand = set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        final |= node.name() == "torch::autograd::Error"
        if node.name().endswith("Backward"):  # PyTorch's own end in a number
            made_by_hand.add(node.name().removesuffix("Backward"))
        waiting += [behind for behind, _ in node.next_functions]
    if final:
        raise AzlibError(
            f"grasp needs second derivatives, which {type(model).__name__} does not have "
            f"({', '.join(sorted(made_by_hand)) or 'one of its operations'}): leave grasp out"
        )


def loss_gradients(
    model: nn.Module, parameters: Sequence[Tensor], images: Tensor, labels: Tensor
) -> list[Tensor]:
    """∂ℓ/∂p of some of the model's parameters, for images (B, 3, H, W) and labels (B,)."""
    with differentiable(model, parameters):
        return gradients(cross_entropy(logits(model, images), labels), parameters)


def _total(terms: Iterable[Tensor]) -> float:
    """The sum of all entries of some tensors, in float64."""
    return sum(float(term.sum(dtype=torch.float64)) for term in terms)


@proxy("grad_norm", "Abdelfattah et al., ICLR 2021 (form of AZ-NAS)")
def grad_norm(probe: Probe) -> float:
    """( Σ_p ‖∂ℓ/∂p‖² )^½ over all parameters p, for noise with uniform random labels.

    The form that AZ-NAS compares with; Abdelfattah et al. sum the norms of layers, without biases
    and normalisation, for real images. Here a network without a live path still scores more than 0,
    through the bias of its classifier. In a network with dead branches (NAS-Bench-201,
    lean=False) the shift of a normalisation that is fed zeros, but does reach the output, adds its
    share; a lean network does not hold it.
    Raises `AzlibError` for a network without parameters.
    """
    rng = probe.stream("labels")
    labels = torch.randint(probe.classes, (len(probe.inputs),), generator=rng)
    parameters = list(probe.model.parameters())
    if not parameters:
        raise AzlibError(f"grad_norm reads parameters, {type(probe.model).__name__} has none")
    found = loss_gradients(probe.model, parameters, probe.inputs, labels.to(probe.inputs.device))
    return math.sqrt(_total(g.double().square() for g in found))


@proxy("snip", "Lee et al., ICLR 2019", images=1, labels=True)
def snip(probe: Probe) -> float:
    """Σ |w ⊙ g|: how much the loss reacts to a mask on each weight, for real images.

    ∂ℓ/∂c at c = 1, for weights c ⊙ w, is w ⊙ g, so no mask is needed. Not divided by the sum over
    weights as in the paper on pruning: there it ranks weights, here networks.
    """
    weights = layer_weights(probe.model)
    found = loss_gradients(probe.model, weights, *probe.batch())
    return _total((w.detach() * g).abs() for w, g in zip(weights, found, strict=True))


@proxy("grasp", "Wang et al., ICLR 2020", images=1, labels=True)
def grasp(probe: Probe) -> float:
    """-Σ w ⊙ (H g), H the Hessian of ℓ, for real images.

    Half of the change of ‖g‖², to first order, if all weights were removed. Higher is better with
    the minus sign: Abdelfattah et al. found it so, though the paper on pruning removes the weights
    with the highest -w ⊙ (H g). A signed sum, often negative. H g is the derivative of <g, g> with
    one g held constant, on the graph of one forward pass.
    Raises `AzlibError` for a network with an operation that has no second derivative.
    """
    weights = layer_weights(probe.model)
    images, labels = probe.batch()
    with differentiable(probe.model, weights), unfused(probe.model):
        loss = cross_entropy(logits(probe.model, images), labels)
        first = gradients(loss, weights, create_graph=True)
        flow = torch.stack([(g * g.detach()).sum() for g in first]).sum()
        _check_twice(flow, probe.model)
        second = gradients(flow, weights)
    return _total(-w.detach() * h for w, h in zip(weights, second, strict=True))


@proxy("synflow", "Tanaka et al., NeurIPS 2020")
def synflow(probe: Probe) -> float:
    """ln Σ |w ⊙ ∂R/∂w|, R the sum of logits of an image of ones, all parameters made positive.

    The logarithm of what others report: the same ranks, and numbers that fit; minus infinity for a
    sum of zero, NaN where even float64 overflows. Float64 throughout: the sum reaches 1e65 on
    NAS-Bench-201. Every batch normalisation is taken out, those of the reduction blocks too
    (Abdelfattah et al. leave four in). Dropout is off.
    """
    _ = probe.classes  # refuses a network that returns no logits
    model = copy.deepcopy(probe.model).double().eval()
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, _BatchNorm):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    weights = layer_weights(model)
    ones = probe.inputs.new_ones((1, *probe.inputs.shape[1:]), dtype=torch.float64)
    with differentiable(model, weights):
        found = gradients(logits(model, ones).sum(), weights)
    total = _total((w.detach() * g).abs() for w, g in zip(weights, found, strict=True))
    if not math.isfinite(total):
        return math.nan
    return math.log(total) if total else -math.inf


@proxy("fisher", "Turner et al., ICLR 2020", init="default", images=1, labels=True)
def fisher(probe: Probe) -> float:
    """Σ_l n_l Σ_c ½ mean_b ( Σ_hw a ⊙ ∂ℓ/∂a )², for real images, at PyTorch's initialisation.

    a: output (B, C, H, W) of convolution l, or of a linear layer (B, C), before normalisation;
    n_l: weights per output channel, because Abdelfattah et al. give the value of a channel to each
    of its weights (without n_l the ranks differ). ℓ is a mean over the batch, so every derivative
    carries 1/B. The inner sum is the derivative by a mask m = 1, (B, C), on a: the mask survives
    what later layers write over their input, and derivatives of weights are not computed. A network
    without a live path still scores more than 0, through the bias of its classifier.
    """
    layer_weights(probe.model)  # refuses a network without any
    images, labels = probe.batch()
    masks: list[Tensor] = []
    repeats: list[int] = []

    def mask(module: nn.Module, _: object, output: Tensor) -> Tensor:
        channels = output.dim() - 1 if isinstance(module, nn.Linear) else 1
        shape = [n if dim in (0, channels) else 1 for dim, n in enumerate(output.shape)]
        masks.append(output.new_ones(shape).requires_grad_())
        weight: Tensor = module.weight  # type: ignore[assignment]
        repeats.append(weight.numel() // output.shape[channels])
        return output * masks[-1]

    hooks = [
        module.register_forward_hook(mask)
        for module in probe.model.modules()
        if isinstance(module, _LAYERS)
    ]
    try:
        with differentiable(probe.model, []):
            loss = cross_entropy(logits(probe.model, images), labels)
            found = gradients(loss, masks)
    finally:
        for hook in hooks:
            hook.remove()
    return _total(n * g.double().square().mean(0) / 2 for n, g in zip(repeats, found, strict=True))
