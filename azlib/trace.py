"""One forward pass with the outputs of the primary blocks tapped, and one backward pass per block.

Every AZ-NAS proxy reads the small matrices that `trace` returns, never the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from azlib.errors import AzlibError, out_of_memory, reason, unknown


@dataclass(frozen=True)
class Trace:
    """What one pass leaves behind. L blocks, block l with features of C_l channels.

    covariances: L matrices (C_l, C_l), the covariance of the features over all N = B·H·W positions
        (divided by their number, float32). Where N < C_l, the (N, N) products of the centred
        positions instead: the same eigenvalues but for zeros, in less time.
    transfers: L-1 matrices (C_{l-1}·s², C_l): the mean over positions of g vᵀ, where v is random
        ±1 on the output of block l, g its vector-Jacobian product on the output of block l-1,
        and s the down-sampling factor of the block.
    identities: L-1 booleans (0-d tensors): g equals v, so the block is the identity.
    """

    covariances: list[Tensor]
    transfers: list[Tensor]
    identities: list[Tensor]

    @cached_property
    def shares(self) -> list[Tensor]:
        """For each block, the eigenvalues of its covariance divided by their sum (Eq. 3).

        Shape (C_l,), or (N,) where there are fewer positions: the missing ones are zeros.
        All NaN where the features are constant. Round-off can leave tiny negative shares.
        """
        values = _batched(torch.linalg.eigvalsh, self.covariances)
        return [v / v.sum() for v in values]

    @cached_property
    def gains(self) -> list[float]:
        """For each pair of blocks, the largest singular value of its transfer matrix (Eq. 10)."""
        # The Gram matrix of the smaller side has the same largest eigenvalue, and there float32 has
        # an error of about 1e-6. Small matrices get float64, which costs nothing.
        grams = [_gram(m if min(m.shape) >= 256 else m.double()) for m in self.transfers]
        values = _batched(lambda g: torch.linalg.eigvalsh(g)[..., -1], grams)
        return [float(v.clamp(min=0).sqrt()) for v in values]


def _gram(m: Tensor) -> Tensor:
    return m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m


def _batched(function: Callable[[Tensor], Tensor], matrices: list[Tensor]) -> list[Tensor]:
    """Applies a batched linear-algebra function once per shape; results on the CPU, in order."""
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    for shape in dict.fromkeys(m.shape for m in matrices):
        where = [i for i, m in enumerate(matrices) if m.shape == shape]
        for i, value in zip(
            where, function(torch.stack([matrices[i] for i in where])).cpu(), strict=True
        ):
            results[i] = value
    return results


def primary_blocks(model: nn.Module, blocks: list[str] | None = None) -> list[str]:
    """The names of the blocks to tap: `blocks`, or else the model's own `primary_blocks`.

    Raises `AzlibError` when neither exists, when fewer than two are named or one is unknown.
    """
    names = blocks if blocks is not None else getattr(model, "primary_blocks", None)
    known = [name for name, _ in model.named_modules() if name]
    if names is None:
        raise AzlibError(
            f"{type(model).__name__} names no primary blocks: pass blocks=[...] or set "
            f"model.primary_blocks, choosing from {', '.join(known[:12]) or 'its submodules'}"
            f"{', ...' if len(known) > 12 else ''}"
        )
    names = list(names)
    for name in names:
        if name not in known:
            raise unknown("block", name, known)
    if len(names) < 2:
        raise AzlibError(f"{len(names)} primary block named; at least 2 are needed")
    return names


def trace(
    model: nn.Module, inputs: Tensor, rng: torch.Generator, blocks: list[str] | None = None
) -> Trace:
    """Runs the model once, in the mode it is in, and one vector-Jacobian product per block.

    inputs: (B, ...) on the model's device. Features of a block may be (B, C, H, W), (B, N, C) or
    (B, C). rng: draws the ±1 vectors, block after block. Nothing of the model is changed but the
    running statistics of its normalisation layers.
    Raises `AzlibError` when a block is never reached, runs twice, does not return one tensor, or
    enlarges the resolution; and when the input does not fit the network.
    """
    names = primary_blocks(model, blocks)
    tap = _Tap(rng)
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: tap(name, output)
        )
        for name in names
    ]
    try:
        with differentiable(model, []):  # only gradients of features are wanted
            forward(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if missed := [name for name in names if name not in tap.seen]:
        raise AzlibError(f"block never reached by the forward pass: {', '.join(missed)}")
    return Trace(tap.covariances, tap.transfers, tap.identities)


@contextmanager
def differentiable(model: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """Inside, gradients flow to these parameters of the model alone, frozen ones included.

    Afterwards every parameter has the `requires_grad` that it had before.
    """
    wanted = set(map(id, parameters))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in wanted)
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def forward(model: nn.Module, inputs: Tensor) -> Any:
    """What the model returns; whatever it raises becomes an `AzlibError` of one line."""
    try:
        return model(inputs)
    except AzlibError:
        raise
    except Exception as error:  # a stranger's forward pass can fail in any way
        if out_of_memory(error):
            raise AzlibError("out of memory: lower the batch or the resolution") from error
        raise AzlibError(
            f"{type(model).__name__} does not run on an input of shape {tuple(inputs.shape)}: "
            f"{reason(error)}"
        ) from error


class _Tap:
    """Reads each block's output the moment it exists, then passes on a leaf in its place.

    So the graph of a block is freed before the next one runs, and memory holds one block.
    """

    def __init__(self, rng: torch.Generator):
        self.rng = rng
        self.seen: list[str] = []
        self.leaf: Tensor | None = None
        self.covariances: list[Tensor] = []
        self.transfers: list[Tensor] = []
        self.identities: list[Tensor] = []

    def __call__(self, name: str, output: Tensor) -> Tensor:
        if name in self.seen:
            raise AzlibError(f"block {name!r} runs twice in one forward pass: name others")
        if not isinstance(output, Tensor) or output.dim() not in (2, 3, 4):
            raise AzlibError(
                f"block {name!r} must return one tensor (B, C, H, W), (B, N, C) or (B, C)"
            )
        with torch.no_grad():
            self.covariances.append(_covariance(output.detach()))
            if self.leaf is not None:
                self._pair(name, self.leaf, output)
        self.seen.append(name)
        self.leaf = output.detach().requires_grad_()
        return self.leaf.clone()  # the model may write into it; a leaf would refuse

    def _pair(self, name: str, leaf: Tensor, output: Tensor) -> None:
        v = signs(output.shape, self.rng, output.device).to(output.dtype)
        g = None
        if output.requires_grad:  # else nothing of the block depends on the one before
            (g,) = torch.autograd.grad(output, leaf, v, allow_unused=True)
        if g is None:
            g = torch.zeros_like(leaf)
        out_rows, in_rows = _rows(v), _rows(_to_depth(g, v, name))
        transfer = in_rows.T @ out_rows / out_rows.shape[0]
        self.transfers.append(transfer)
        # g = v makes the diagonal of g vᵀ exactly one (±1 squared), and hardly anything else does;
        # this costs C comparisons where comparing g with v costs B·C·H·W.
        self.identities.append((transfer.diagonal() == 1).all() & (g.shape == v.shape))


def _rows(features: Tensor) -> Tensor:
    """Features as (positions, channels)."""
    if features.dim() == 4:
        features = features.permute(0, 2, 3, 1)
    return features.reshape(-1, features.shape[-1])


def _covariance(features: Tensor) -> Tensor:
    """Eqs. 1-2: covariance over positions, (C, C), or (N, N) products where those are fewer."""
    rows = _rows(features)
    centred = rows - rows.mean(0)
    product = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return product / len(rows)


def _to_depth(g: Tensor, v: Tensor, name: str) -> Tensor:
    """Moves s×s neighbourhoods of g into channels so that it has as many positions as v.

    Where s does not divide the size, g is padded with zeros (the padding adds nothing to g vᵀ).
    """
    if g.dim() != v.dim() or (g.dim() == 3 and g.shape[1] != v.shape[1]):
        raise AzlibError(
            f"block {name!r} turns features {tuple(g.shape)} into {tuple(v.shape)}: primary "
            "blocks must keep the number of tokens"
        )
    if g.dim() < 4 or g.shape[2:] == v.shape[2:]:
        return g
    batch, channels, height, width = g.shape
    rows, columns = v.shape[2:]
    if rows > height or columns > width:
        raise AzlibError(f"block {name!r} enlarges the resolution: name blocks that do not")
    s, t = -(-height // rows), -(-width // columns)
    g = nn.functional.pad(g, (0, columns * t - width, 0, rows * s - height))
    g = g.permute(0, 2, 3, 1).reshape(batch, rows, s, columns, t, channels)
    g = g.transpose(2, 3).reshape(batch, rows, columns, s * t * channels)
    return g.permute(0, 3, 1, 2)


@cache
def _bytes_to_signs(device: torch.device) -> Tensor:
    """(256, 8): the eight bits of each byte as ±1."""
    byte, bit = torch.arange(256)[:, None], torch.arange(8)
    return (1.0 - 2.0 * ((byte >> bit) & 1).float()).to(device)


def signs(
    shape: tuple[int, ...], rng: torch.Generator, device: str | torch.device = "cpu"
) -> Tensor:
    """Random ±1, float32, of the given shape; (B, C, H, W) comes in channels-last layout.

    Drawn on the CPU, as bits, so that a seed means the same signs on every device and a GPU is
    sent an eighth of a byte for each.
    """
    order = [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else list(shape)
    size = torch.Size(order).numel()
    words = torch.randint(-(2**63), 2**63 - 1, (size // 64 + 1,), generator=rng)
    index = words.view(torch.uint8).to(device, non_blocking=True).int()
    flat = nn.functional.embedding(index, _bytes_to_signs(torch.device(device)))
    values = flat.view(-1)[:size].view(order)
    return values.permute(0, 3, 1, 2) if len(shape) == 4 else values
