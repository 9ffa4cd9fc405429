"""The neural tangent kernel of one batch and its condition number, a term of TE-NAS.

Batch normalisation is in training mode, as the authors run it, so the images of a batch influence
each other. Dead edges pass no gradient and are not seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import differentiable, logits

_TE_NAS = "Chen et al., ICLR 2021 (TE-NAS)"
_WORST_KAPPA = 1e5  # what TE-NAS' code gives to a network without gradient
_ZERO = 1e-9  # of the largest eigenvalue: what single precision leaves of one that is zero


def tangent_kernel(probe: Probe) -> Tensor:
    """Θ = G Gᵀ, (B, B), float64: row i of G is the gradient of the summed logits of image i.

    With respect to every parameter whose name contains "weight": convolutions, the classifier and
    the scales of batch normalisation, but no biases. Images share batch statistics, so each row is
    taken through the forward pass of the whole batch: B backward passes, one after another (as
    quick on a CPU as batched ones, for less memory: B numbers per weight).
    """
    weights = [p for name, p in probe.model.named_parameters() if "weight" in name]
    images, _ = probe.batch()
    with differentiable(probe.model, weights):
        sums = logits(probe.model, images).sum(1)
        rows = [torch.autograd.grad(s, weights, retain_graph=True, allow_unused=True) for s in sums]
    kernel = torch.zeros(len(sums), len(sums), dtype=torch.float64, device=sums.device)
    for gradients in zip(*rows, strict=True):
        if gradients[0] is not None:  # the parameter is used
            flat = torch.stack(gradients).flatten(1).double()
            kernel += flat @ flat.T
    return kernel


@proxy("ntk", _TE_NAS, init="default", images=1)
def ntk(probe: Probe) -> float:
    """-κ, κ the largest over the smallest eigenvalue of the `tangent_kernel`.

    κ = 1e5, as in TE-NAS' code, where it is not defined: no gradient, or a smallest eigenvalue that
    is zero but for round-off, so that κ would be round-off, too. It is zero in every network that
    ends in a batch normalisation, a mean and a classifier, as those of TransNAS-Bench-101 do: the
    mean features of a batch sum to the same whatever the weights, and so the rows of G to nothing.
    (A few networks of NAS-Bench-201 have a larger κ, which is defined, and rank behind these.)
    PyTorch's initialisation, as TE-NAS' code has it in effect; real images, labels unused.
    """
    kernel = tangent_kernel(probe)
    if not kernel.isfinite().all():
        return -_WORST_KAPPA
    values = torch.linalg.eigvalsh(kernel)
    singular = bool(values[0] <= _ZERO * values[-1])
    return -_WORST_KAPPA if singular else -float(values[-1] / values[0])
