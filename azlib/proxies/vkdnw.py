"""VKDNW (Tybl & Neumann, 2025): how even the eigenvalues of the Fisher information are.

The Fisher information of 128 weights or fewer: the first entry of each of the first 128 parameter
tensors.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import logits

_SOURCE = "Tybl & Neumann, 2025 (VKDNW)"
_TENSORS = 128
_SMOOTHING = 0.05  # α: share of the uniform distribution in the predicted one
_EPSILON = 1e-10
_BatchNorm = nn.modules.batchnorm._BatchNorm


@proxy("vkdnw_entropy", _SOURCE)
def vkdnw_entropy(probe: Probe) -> float:
    """H, entropy (nats, 0 to ln 9) of the nine deciles of the Fisher information's eigenvalues.

    F = mean_b (L_b J_b)ᵀ (L_b J_b), with J_b = ∂ logits / ∂ weights (see `jacobian`) and
    L_b L_bᵀ = diag(p) - p pᵀ. As published: the Fisher information has L_bᵀ where the authors' code
    has L_b, and their ranks come from the code; `vkdnw_entropy_exact` is the formula.

    Noise as input, evaluation mode with fresh running statistics, so normalisations hardly
    normalise and logits are large; p is softmax mixed with 5 % of the uniform distribution.
    Parameters on dead edges are among the 128: on NAS-Bench-201 the published values belong to
    lean=False networks. Disconnected cells have zero eigenvalues where the authors' have round-off,
    so their published H is arbitrary. NaN where logits overflow.
    """
    logits, weights = probe.once(jacobian)
    return _entropy(_factor(logits) @ weights)


@proxy("vkdnw_entropy_exact", _SOURCE, shared=True)
def vkdnw_entropy_exact(probe: Probe) -> float:
    """`vkdnw_entropy` of the Fisher information itself, J_bᵀ L_b L_bᵀ J_b."""
    logits, weights = probe.once(jacobian)
    return _entropy(_factor(logits).mT @ weights)


def _factor(logits: Tensor) -> Tensor:
    """The lower-triangular L of a multinomial covariance, L Lᵀ = diag(p) - p pᵀ, (B, K, K).

    In closed form (Tanabe & Sagae, 1992), because the matrix is singular: with q_j the sum of
    p_i over i > j, L_jj = √(p_j q_j / q_{j-1}) and L_ij = -p_i √(p_j / (q_{j-1} q_j)).
    """
    p = (1 - _SMOOTHING) * logits.softmax(1) + _SMOOTHING / logits.shape[1]
    before = p.flip(1).cumsum(1).flip(1)  # q_{j-1}
    after = torch.cat([before[:, 1:], torch.zeros_like(p[:, :1])], dim=1)  # q_j
    column = torch.sqrt(p / (before * after.clamp(min=_EPSILON)))  # the last one is not used
    below = -(p[:, :, None] * column[:, None, :]).tril(-1)
    return below + torch.diag_embed(torch.sqrt(p * after / before))


def _entropy(rows: Tensor) -> float:
    """Entropy of the deciles of the eigenvalues of mean_b R_bᵀ R_b, R (B, K, S)."""
    if not rows.isfinite().all():
        return float("nan")
    flat = rows.flatten(0, 1)
    values = torch.linalg.eigvalsh(flat.T @ flat / len(rows)).clamp(min=0)
    deciles = values.quantile(torch.arange(1, 10).to(values) / 10)
    shares = deciles / (deciles.sum() + _EPSILON)
    return -float((shares * torch.log(shares + _EPSILON)).sum())


def jacobian(probe: Probe) -> tuple[Tensor, Tensor]:
    """Logits (B, K), and their derivatives (B, K, S) with respect to S weights; float64.

    The weights are the first entries of the first 128 parameter tensors, in order of registration.
    In evaluation mode images do not influence each other, so K backward passes over the batch do:
    a weight moves channel 0 of its layer's output, at a rate that `_rate` reads off the layer's
    input, and autograd tells how that output moves the logits.
    Raises `AzlibError` if one of these tensors is not of a 2-D convolution with zero padding, a
    linear layer or a batch normalisation with running statistics.
    """
    classes, model = probe.classes, probe.model.eval()
    index = {parameter: i for i, parameter in enumerate(islice(model.parameters(), _TENSORS))}
    layers = [m for m in model.modules() if index.keys() & set(m.parameters(recurse=False))]
    for layer in layers:
        _check(layer)
    images = probe.inputs.detach().clone().requires_grad_()
    slopes = images.new_zeros(len(index), len(images))  # of the logit under way

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rates = {
            index[parameter]: _rate(layer, inputs[0].detach(), name)
            for name, parameter in layer.named_parameters(recurse=False)
            if parameter in index
        }

        def add(gradient: Tensor) -> None:
            first = gradient[..., :1] if isinstance(layer, nn.Linear) else gradient[:, :1]
            for i, rate in rates.items():
                slopes[i] += (first * rate).flatten(1).sum(1)

        output.register_hook(add)

    hooks = [layer.register_forward_hook(watch) for layer in layers]
    try:
        outputs = logits(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    columns = []
    for k in range(classes):
        slopes.zero_()
        torch.autograd.grad(outputs[:, k].sum(), images, retain_graph=True, allow_unused=True)
        columns.append(slopes.T.double())
    return outputs.detach().double(), torch.stack(columns, dim=1)


def _rate(layer: nn.Module, x: Tensor, name: str) -> Tensor:
    """∂ (channel 0 of the layer's output) / ∂ (first entry of a parameter), given its input x."""
    if name == "bias":
        return x.new_ones(())
    if isinstance(layer, nn.Linear):
        return x[..., :1]
    if isinstance(layer, nn.Conv2d):
        corner = torch.zeros_like(layer.weight[:1, :1], requires_grad=False)
        corner[0, 0, 0, 0] = 1
        return nn.functional.conv2d(
            x[:, :1], corner, None, layer.stride, layer.padding, layer.dilation
        )
    mean, variance = layer.get_buffer("running_mean"), layer.get_buffer("running_var")
    return (x[:, :1] - mean[0]) / torch.sqrt(variance[0] + layer.eps)  # type: ignore[operator]


def _check(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        return
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        return
    if isinstance(layer, _BatchNorm) and layer.running_var is not None:
        return
    raise AzlibError(
        f"vkdnw knows the parameters of nn.Conv2d with zero padding, nn.Linear and batch "
        f"normalisation with running statistics; got {layer}"
    )
