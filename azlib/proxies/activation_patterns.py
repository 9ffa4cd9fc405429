"""Proxies that compare the activation patterns of the images of one batch: NASWOT, linear regions.

Batch normalisation is in training mode, as their authors run it, so the images of a batch influence
each other. ReLUs on dead edges count.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError
from azlib.proxies.probe import Probe
from azlib.proxies.registry import proxy
from azlib.running import forward

_TE_NAS = "Chen et al., ICLR 2021 (TE-NAS)"


def _visit(probe: Probe, read: Callable[[Tensor], None]) -> None:
    """Runs one forward pass and calls read(output) for each ReLU, as often as it runs.

    Raises `AzlibError` for a network without nn.ReLU modules, and for one that leaves some of them
    unused: its activations are functions, which cannot be seen.
    """
    modules = probe.model.named_modules()
    unseen: dict[nn.Module, str] = {m: name for name, m in modules if isinstance(m, nn.ReLU)}
    if not unseen:
        raise AzlibError(
            f"this proxy reads nn.ReLU modules, {type(probe.model).__name__} has none: write its "
            "activations as nn.ReLU modules"
        )

    def see(module: nn.Module, _: object, output: Tensor) -> None:
        unseen.pop(module, None)
        read(output)

    hooks = [module.register_forward_hook(see) for module in unseen]
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


def agreements(probe: Probe) -> Tensor:
    """For two images each, the number of ReLU outputs where both are positive or neither is.

    (B, B), float64; its diagonal is the number of ReLU outputs of an image. One forward pass.
    Raises `AzlibError` where some activations cannot be seen, see `_visit`.
    """
    count = len(probe.inputs)
    kernel = torch.zeros(count, count, dtype=torch.float64, device=probe.inputs.device)

    def add(output: Tensor) -> None:
        active = (output > 0).reshape(count, -1).float()
        both = (active @ active.T).double()  # counts: exact in float32 up to 2^24
        own = both.diagonal()
        kernel.add_(active.shape[1] - own[:, None] - own + 2 * both)

    _visit(probe, add)
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
    count = len(probe.inputs)
    region = torch.zeros(count, dtype=torch.long, device=probe.inputs.device)  # of each image

    def split(output: Tensor) -> None:
        nonlocal region
        if int(region.max()) + 1 == count:
            return  # images that a layer has told apart stay apart
        active = (output > 0).reshape(count, -1)
        _, alike = torch.unique(active, dim=0, return_inverse=True)
        _, region = torch.unique(region * count + alike, return_inverse=True)

    _visit(probe, split)
    return float(region.max() + 1)
