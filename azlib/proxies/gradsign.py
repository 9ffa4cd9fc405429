"""GradSign (Zhang & Jia, ICLR 2022): on how many weights the gradients of single images agree."""

from __future__ import annotations

import torch

from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.proxies.saliency import layer_weights, loss_gradients

_SOURCE = "Zhang & Jia, ICLR 2022"


def agreement(probe: Probe) -> tuple[float, int]:
    """Σ_k |Σ_i sign g_ik| over weights k and images i, and the number of weights.

    g_i: gradient of the cross-entropy of image i alone. In training mode, so batch normalisation
    uses the statistics of that image: one pass per image, as a pass of the batch would mix them.
    One pass of the batch with instance normalisation and gradients per image gives the same, hardly
    faster on a CPU and only for networks of known layers.
    """
    weights = layer_weights(probe.model)
    images, labels = probe.batch()
    totals = [torch.zeros_like(w) for w in weights]
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        found = loss_gradients(probe.model, weights, image, label)
        for total, g in zip(totals, found, strict=True):
            total += g.sign()
    value = sum(float(total.abs().sum(dtype=torch.float64)) for total in totals)
    return value, sum(total.numel() for total in totals)


@proxy("gradsign", f"{_SOURCE}, sum", init="default", images=1, labels=True)
def gradsign(probe: Probe) -> float:
    """Σ_k |Σ_i sign g_ik| over the weights of convolutions and linear layers, for real images.

    At PyTorch's initialisation. The sum, as in the authors' comparison on NAS-Bench-201, not the
    mean of their stand-alone code (`gradsign_mean`): the published agreement with accuracy belongs
    to the sum, which grows with the number of live weights. Dead branches add nothing.
    Raises `AzlibError` where a normalisation sees one value per channel of a single image.
    """
    return probe.once(agreement)[0]


@proxy("gradsign_mean", f"{_SOURCE}, mean", init="default", images=1, labels=True)
def gradsign_mean(probe: Probe) -> float:
    """`gradsign` divided by the number of weights: hardly more than what chance gives any network.

    For B images of independent signs that is sqrt(2B/π). Weights without gradient count, so dead
    convolutions lower it; a lean network of NAS-Bench-201 does not hold them, and the published
    values belong to lean=False.
    """
    total, count = probe.once(agreement)
    return total / count
