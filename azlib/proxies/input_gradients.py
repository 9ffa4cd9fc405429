"""Proxies that compare the gradients of the images of one batch: Jacov and EPE-NAS.

Batch normalisation is in training mode, as their authors run it, so the images of a batch influence
each other. Dead edges pass no gradient and are not seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import logits

_K = 1e-5  # the guard of logarithms and quotients


def correlations(probe: Probe) -> tuple[Tensor, Tensor]:
    """Pearson correlations of the images' gradients, and the labels (B,) of the images.

    The gradient of image b is that of the sum of all logits of the batch, flattened: images are
    coupled through batch statistics. Correlations are (B, B), float64, NaN for zero gradients.
    """
    images, labels = probe.batch()
    images = images.detach().clone().requires_grad_()
    total = logits(probe.model, images).sum()
    (rows,) = torch.autograd.grad(total, images, allow_unused=True, materialize_grads=True)
    return torch.corrcoef(rows.flatten(1).double()).reshape(len(rows), len(rows)), labels


@proxy("jacov", "Mellor et al., 2020 (arXiv 2006.04647v1)", images=1)
def jacov(probe: Probe) -> float:
    """-Σ [ln(v + k) + 1/(v + k)], v the eigenvalues of `correlations`, k = 1e-5; at most about -B.

    NaN where the network passes no gradient to its input. Negative eigenvalues are round-off and
    count as 0, or one below -k would make the logarithm NaN; each of them costs 1e5, so that
    images with the same gradient make a heavy tail. Kaiming weights, as in the comparison of
    VKDNW; the authors use PyTorch's.
    """
    matrix, _ = correlations(probe)
    if not matrix.isfinite().all():
        return math.nan
    values = torch.linalg.eigvalsh(matrix).clamp(min=0) + _K
    return -float((values.log() + 1 / values).sum())


@proxy("epe_nas", "Lopes et al., ICANN 2021", init="default", images=1, labels=True)
def epe_nas(probe: Probe) -> float:
    """With s_c = Σ ln(|M| + 1e-5) over the `correlations` M within class c: Σ_c |s_c|.

    Above 100 classes the definition changes: s_c is divided by the number of images of the class,
    classes with one image are left out, and the score is the sum of |s_c - s_d| over all pairs
    divided by the number of classes, NaN when none is left. A class with one image has s_c = 1e-5,
    so batches need several images a class. NaN where the network passes no gradient to its input.
    """
    matrix, labels = correlations(probe)
    groups = [matrix[labels == c][:, labels == c] for c in labels.unique()]
    if probe.classes <= 100:
        return sum(abs(float(torch.log(group.abs() + _K).sum())) for group in groups)
    groups = [group for group in groups if len(group) > 1]
    sums = torch.tensor([float(torch.log(g.abs() + _K).sum()) / len(g) for g in groups])
    return float((sums[:, None] - sums).abs().sum()) / len(sums) if groups else math.nan
