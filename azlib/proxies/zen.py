"""Zen-score (Lin et al., ICCV 2021): how far features move when the input does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import forward

_GAMMA = 0.01  # size of the perturbation
_BatchNorm = nn.modules.batchnorm._BatchNorm


@proxy("zen", "Lin et al., ICCV 2021", init="unit_norm")
def zen(probe: Probe) -> float:
    """ln mean_b Σ |f(x) - f(x + 0.01 ε)| + Σ_m ½ ln mean_c v_m, over batch normalisations m.

    x, ε noise, weights N(0, 1), two forward passes in training mode. f is the last feature map with
    more than one position that a module returns: what global pooling reads (on NAS-Bench-201, the
    output of the last normalisation and ReLU). v, per channel, is not the batch variance but the
    running one that two passes leave: with momentum 0.1, 0.81 + 0.09 v₁ + 0.10 v₂. It shifts the
    score by about -0.8 per layer, which changes ranks. Normalisations on dead edges add their term,
    so on NAS-Bench-201 the published values belong to lean=False networks.

    Minus infinity where f does not depend on x. Raises `AzlibError` for a network without batch
    normalisation, and one whose modules return no feature map.
    """
    if not any(isinstance(module, _BatchNorm) for module in probe.model.modules()):
        raise AzlibError(
            f"zen reads batch normalisation layers, {type(probe.model).__name__} has none: score "
            "it with another proxy"
        )
    noise = torch.randn(probe.inputs.shape, generator=probe.stream("zen")).to(probe.inputs)
    running: dict[nn.Module, Tensor] = {}
    before = _features(probe.model, probe.inputs, running)
    after = _features(probe.model, probe.inputs + _GAMMA * noise, running)
    moved = (before - after).abs().sum((1, 2, 3)).mean().log()
    return float(moved + sum(0.5 * v.mean().log() for v in running.values()))


def _features(model: nn.Module, images: Tensor, running: dict[nn.Module, Tensor]) -> Tensor:
    """The last feature map (B, C, H, W) of one pass; each normalisation's batch variances, (C,),
    are folded into its `running` ones, which start at 1."""
    features = None

    def read(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        nonlocal features
        if isinstance(module, _BatchNorm):
            variances = _variances(inputs[0])
            start = running.get(module, torch.ones_like(variances))
            momentum = 0.1 if module.momentum is None else module.momentum
            running[module] = (1 - momentum) * start + momentum * variances
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            features = output

    hooks = [module.register_forward_hook(read) for module in model.modules()]
    try:
        with torch.no_grad():
            forward(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    if features is None:
        raise AzlibError(
            f"zen reads feature maps (B, C, H, W), no module of {type(model).__name__} returns one "
            "with more than one position: raise the resolution"
        )
    return features


def _variances(x: Tensor) -> Tensor:
    """Unbiased variances of channels, (C,), as x.var() but several times faster on a CPU."""
    dims = [0, *range(2, x.dim())]
    centred = x - x.mean(dims, keepdim=True)
    return centred.square().sum(dims) / (x.numel() // x.shape[1] - 1)
