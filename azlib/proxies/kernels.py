"""Proxies that compare the images of one batch: activation patterns, input and weight gradients.

NASWOT, Jacov, EPE-NAS and the two terms of TE-NAS. Batch normalisation is in training mode, as
their authors run it, so the images of a batch influence each other. Those that read gradients
do not see dead edges, which pass none; those that read activation patterns do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from azlib.blocks import forward
from azlib.errors import AzlibError
from azlib.proxies import Probe, proxy

_K = 1e-5  # Jacov's and EPE-NAS' guard of logarithms and quotients
_TE_NAS = "Chen et al., ICLR 2021 (TE-NAS)"
_WORST_KAPPA = 1e5  # what TE-NAS' code gives to a network without gradient


# --- activation patterns -------------------------------------------------------------------


def agreements(probe: Probe) -> Tensor:
    """For two images each, the number of ReLU outputs where both are positive or neither is.

    (B, B), float64; its diagonal is the number of ReLU outputs of an image. One forward pass.
    Raises `AzlibError` for a network without nn.ReLU modules, and for one that leaves some of them
    unused: its activations are functions, which cannot be seen.
    """
    unseen = {m: name for name, m in probe.model.named_modules() if isinstance(m, nn.ReLU)}
    if not unseen:
        raise AzlibError(
            f"this proxy reads nn.ReLU modules, {type(probe.model).__name__} has none: write its "
            "activations as nn.ReLU modules"
        )
    count = len(probe.inputs)
    kernel = torch.zeros(count, count, dtype=torch.float64, device=probe.inputs.device)

    def add(module: nn.Module, _, output: Tensor) -> None:
        unseen.pop(module, None)
        active = (output > 0).reshape(count, -1).float()
        both = (active @ active.T).double()  # counts: exact in float32 up to 2^24
        own = both.diagonal()
        kernel.add_(active.shape[1] - own[:, None] - own + 2 * both)

    hooks = [module.register_forward_hook(add) for module in unseen]
    try:
        with torch.no_grad():
            forward(probe.model, probe.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if unseen:
        raise AzlibError(
            f"the forward pass never runs the nn.ReLU {min(unseen.values())!r}: this proxy sees no "
            "functional activations, use modules (for NAS-Bench-201, lean=False)"
        )
    return kernel


@proxy("naswot", "Mellor et al., ICML 2021")
def naswot(probe: Probe) -> float:
    """ln |det K|, K_ij the number of ReLUs on which images i and j agree (see `agreements`).

    Noise as input, one forward pass in training mode: the authors' hooks count a ReLU once, after
    a first pass has marked it, and so does this. Minus infinity where K is singular, as when no
    image changes any ReLU. ReLUs on dead edges count, and only nn.ReLU modules are seen: on
    NAS-Bench-201 the published values belong to lean=False networks, not to lean ones.
    """
    return float(torch.linalg.slogdet(agreements(probe)).logabsdet)


@proxy("linear_regions", _TE_NAS, init="default")
def linear_regions(probe: Probe) -> float:
    """The number of distinct ReLU patterns among the images of a batch of noise, 1 to B.

    At batch 64 nearly every network has 64. Like NASWOT it sees nn.ReLU modules only: use
    lean=False networks. TE-NAS runs it after the NTK on one network; here it runs on its own,
    which changes nothing, since running statistics are not read in training mode.
    """
    kernel = agreements(probe)
    alike = (kernel == kernel.diagonal()).sum(1)  # images with this image's pattern
    return float(round(float((1 / alike.double()).sum())))


# --- gradients with respect to the images --------------------------------------------------


def correlations(probe: Probe) -> tuple[Tensor, Tensor]:
    """Pearson correlations of the images' gradients, and the labels (B,) of the images.

    The gradient of image b is that of the sum of all logits of the batch, flattened: images are
    coupled through batch statistics. Correlations are (B, B), float64, NaN for zero gradients.
    """
    images, labels = probe.batch()
    images = images.detach().clone().requires_grad_()
    total = forward(probe.model, images).sum()
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


# --- gradients with respect to the weights -------------------------------------------------


def tangent_kernel(probe: Probe) -> Tensor:
    """Θ = G Gᵀ, (B, B), float64: row i of G is the gradient of the summed logits of image i.

    With respect to every parameter whose name contains "weight": convolutions, the classifier and
    the scales of batch normalisation, but no biases. Images share batch statistics, so each row is
    taken through the forward pass of the whole batch: B backward passes, one after another (as
    quick on a CPU as batched ones, for less memory: B numbers per weight).
    """
    weights = [p for name, p in probe.model.named_parameters() if "weight" in name]
    images, _ = probe.batch()
    flags = [p.requires_grad for p in weights]
    try:
        for p in weights:
            p.requires_grad_(True)
        sums = forward(probe.model, images).sum(1)
        rows = [torch.autograd.grad(s, weights, retain_graph=True, allow_unused=True) for s in sums]
    finally:
        for p, flag in zip(weights, flags, strict=True):
            p.requires_grad_(flag)
    kernel = torch.zeros(len(sums), len(sums), dtype=torch.float64, device=sums.device)
    for gradients in zip(*rows, strict=True):
        if gradients[0] is not None:  # the parameter is used
            flat = torch.stack(gradients).flatten(1).double()
            kernel += flat @ flat.T
    return kernel


@proxy("ntk", _TE_NAS, init="default", images=1)
def ntk(probe: Probe) -> float:
    """-κ, κ the largest over the smallest eigenvalue of the `tangent_kernel`.

    κ = 1e5 where it is not defined: no gradient, or a smallest eigenvalue that round-off left at 0
    or below and that would otherwise rank first. PyTorch's initialisation, as TE-NAS' code has it
    in effect; real images, labels unused.
    """
    kernel = tangent_kernel(probe)
    if not kernel.isfinite().all():
        return -_WORST_KAPPA
    values = torch.linalg.eigvalsh(kernel)
    return -float(values[-1] / values[0]) if values[0] > 0 else -_WORST_KAPPA
