"""ZiCo (Li et al., ICLR 2023): how much larger gradients are than their spread over batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.proxies.saliency import layer_weights, loss_gradients


@proxy("zico", "Li et al., ICLR 2023", init="default", images=2, labels=True)
def zico(probe: Probe) -> float:
    """Σ_l ln Σ_k mean_b |g_bk| / σ_k over the weights k of layer l, with two batches b.

    g_b: gradient of the mean cross-entropy for real images, at PyTorch's initialisation, each batch
    on its own (the authors' stored code adds the second to the first; AZ-NAS' does not). σ:
    standard deviation over the batches, divided by their number. Weights with σ = 0 are left out; a
    layer that has no others adds nothing, so a network without a live path scores 0.
    """
    weights = layer_weights(probe.model)
    a, b = (loss_gradients(probe.model, weights, *probe.batch(number)) for number in (0, 1))
    sums = [_ratios(*pair) for pair in zip(a, b, strict=True)]
    return sum(math.log(total) for total in sums if total != 0)


def _ratios(a: Tensor, b: Tensor) -> float:
    """Σ_k mean|g| / σ of two gradients, in float64: tiny σ make single terms large."""
    a, b = (g.to(torch.float64, copy=True) for g in (a, b))  # copies, which are written to
    spread = (a - b).abs_()  # twice σ, as the numerator is twice the mean
    ratios = a.abs_().add_(b.abs_()).div_(spread)
    return float(ratios.masked_fill_(spread == 0, 0).sum())
