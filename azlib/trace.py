"""One forward pass with the outputs of the primary blocks tapped, and one backward pass per block.

Every AZ-NAS proxy reads the small matrices that `trace` returns, never the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from azlib.block_finder import Features, FoundBlocks, find
from azlib.errors import AzlibError, unknown
from azlib.layouts import FIRST, LAST, Witnesses
from azlib.running import (
    differentiable,
    forked_rng,
    forward,
    main_tensor,
    modules,
    with_main_tensor,
)
from azlib.tape import Session, taping

_LARGE = 512  # rows of a matrix whose eigenvalues a GPU finds sooner than a CPU


@dataclass(frozen=True)
class Trace:
    """What one pass leaves behind. L blocks, block l with features of C_l channels.

    covariances: L matrices (C_l, C_l), the covariance of the features over all N = B·H·W positions
        (divided by their number, float32). Where N < C_l, the (N, N) products of the centred
        positions instead: the same eigenvalues but for zeros, in less time.
    transfers: L-1 matrices (C_{l-1}·s², C_l): the mean over positions of g vᵀ, where v is random
        ±1 on the output of block l, g its vector-Jacobian product on the output of block l-1,
        and s the down-sampling factor of the block.
    identities: L-1 booleans: g equals v, so the block is the identity but for a shift, and no
        parameter of the block changes that.
    dormant: L-1 booleans: g equals v, but only at these weights, as a scale is zero that training
        will move. Its gain of 1 says nothing about the network.

    Blocks that do not pair with the one before (their positions do not correspond) have a
    covariance but no transfer, so that there may be fewer than L-1 of these.
    """

    covariances: list[Tensor]
    transfers: list[Tensor]
    identities: list[bool]
    dormant: list[bool]

    @cached_property
    def shares(self) -> list[Tensor]:
        """For each block, the eigenvalues of its covariance divided by their sum (Eq. 3).

        Shape (C_l,), or (N,) where there are fewer positions: the missing ones are zeros.
        All NaN where the covariance is zero; that of constant features may be round-off instead,
        which can also leave tiny negative shares.
        """
        wrong = AzlibError("the network computes features that are infinite or no numbers (NaN)")
        try:
            values = _batched(torch.linalg.eigvalsh, self.covariances)
        except RuntimeError as error:
            if all(bool(matrix.isfinite().all()) for matrix in self.covariances):
                raise
            raise wrong from error
        if bool(torch.cat(values).isnan().any()):  # where a GPU returns what a CPU refuses
            raise wrong
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
    """Applies a batched linear-algebra function once per shape; results on the CPU, in order.

    The eigenvalues of small matrices take a GPU longer than they take a CPU.
    """
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    for shape in dict.fromkeys(m.shape for m in matrices):
        where = [i for i, m in enumerate(matrices) if m.shape == shape]
        stacked = torch.stack([matrices[i] for i in where])
        found = function(stacked if shape[0] >= _LARGE else stacked.cpu()).cpu()
        for i, value in zip(where, found, strict=True):
            results[i] = value
    return results


def primary_blocks(
    model: nn.Module, inputs: Tensor, blocks: Iterable[str] | None = None
) -> Iterable[str]:
    """The names of the blocks to tap: `blocks`, the model's own `primary_blocks`, or those found.

    blocks: names, or a dictionary from names to the axis of their channels (1 or -1), for features
    whose layout is not seen. inputs: what the model is run on where blocks have to be found.
    Raises `AzlibError` when fewer than two are named, one is unknown, or none can be found.
    """
    names = blocks if blocks is not None else getattr(model, "primary_blocks", None)
    if names is None:
        return find(model, inputs)
    if isinstance(names, FoundBlocks):
        return names
    names = [names] if isinstance(names, str) else names
    names = dict(names) if isinstance(names, Mapping) else list(names)
    for name in names:
        if isinstance(name, nn.Module):
            raise AzlibError(
                "a block is named, as in model.named_modules(): got the module "
                f"{type(name).__name__}"
            )
        if list(names).count(name) > 1:
            raise AzlibError(f"block {name!r} named twice")
        if not _has(model, name):
            raise unknown("block", name, [known for known, _ in model.named_modules() if known])
        if isinstance(names, dict) and names[name] not in (FIRST, LAST):
            raise AzlibError(f"axis {names[name]} of block {name!r}: channels lie at axis 1 or -1")
    if len(names) < 2:
        raise AzlibError(f"{len(names)} primary block named; at least 2 are needed")
    return names


def _has(model: nn.Module, name: str) -> bool:
    """Whether a module other than the model itself bears the name."""
    try:
        return bool(name) and model.get_submodule(name) is not None
    except AttributeError:
        return False


def trace(
    model: nn.Module,
    inputs: Tensor,
    rng: torch.Generator,
    blocks: Iterable[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Trace:
    """Runs the model once, in the mode it is in, and one vector-Jacobian product per block.

    inputs: (B, ...) on the model's device. Features of a block may be vectors (B, C), tokens
    (B, N, C), signals (B, C, L), maps (B, C, H, W) and volumes, or have their channels last (see
    `azlib.layouts`). rng: draws the ±1 vectors, block after block. blocks: see `primary_blocks`.
    dtype: the format of the numbers in the products of layers and in features (`torch.autocast`);
    what is kept is always summed in single precision.
    Nothing of the model is changed but the running statistics of its normalisation layers.

    Blocks that were found may include some that do not pair with the one before; these give no
    transfer. Raises `AzlibError` when a block is never reached, runs twice, returns no tensor of
    features, or was named and does not pair; and when the input does not fit the network.
    """
    names = primary_blocks(model, inputs, blocks)
    axes = names if isinstance(names, Mapping) else {}
    witnesses = Witnesses()
    tapped = {name: model.get_submodule(name) for name in names}
    device, lower = inputs.device.type, dtype != torch.float32
    lowered = partial(torch.autocast, device, dtype) if lower else nullcontext

    def read(run: _Run, output: Any) -> Any:
        with torch.autocast(device, enabled=False) if lower else nullcontext():
            return tap(run, output)

    unclear = any(name not in axes for name in names)
    on_tape = not unclear and not lower and device == "cpu" and _unheard(model)
    outermost = [block for name, block in tapped.items() if not _holds_another(name, tapped)]
    session = Session(outermost) if on_tape else None
    tap = _Tap(rng, witnesses, axes, session, may_skip=isinstance(names, FoundBlocks))
    hooks = []
    try:
        with differentiable(model, []), witnesses.listening(model) if unclear else nullcontext():
            # Only gradients of features are wanted. The taps come after the listeners.
            hooks = [
                block.register_forward_hook(
                    lambda module, arguments, keywords, output, name=name: read(
                        _Run(name, module, arguments, keywords, lowered), output
                    ),
                    with_kwargs=True,
                )
                for name, block in tapped.items()
            ]
            with lowered(), taping(session):
                forward(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if missed := [name for name in names if name not in tap.seen]:
        raise AzlibError(f"block never reached by the forward pass: {', '.join(missed)}")
    return Trace(tap.covariances, tap.transfers, tap.identities, tap.dormant)


def _holds_another(name: str, names: Iterable[str]) -> bool:
    """Whether another of the blocks lies inside this one."""
    return any(other.startswith(name + ".") for other in names)


def _unheard(model: nn.Module) -> bool:
    """Whether nobody listens to the layers of the model, which may then run on a tape."""
    return not any(m._forward_hooks or m._forward_pre_hooks for m in modules(model))


@dataclass(frozen=True)
class _Run:
    """One run of a block, which can be repeated."""

    name: str
    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    lowered: Callable[[], AbstractContextManager[Any]]  # the precision that it runs in

    def has_live_parameters(self) -> bool:
        """Whether any parameter of the block, moved from where it is, would make it no identity.

        What adds the same numbers to whatever comes in, as a bias does, leaves the Jacobian alone.
        So it is the difference of the outputs for two inputs that has to change.
        """
        parameters = list(self.module.parameters())
        if not parameters:
            return False
        with (
            forked_rng(parameters[0].device),
            differentiable(self.module, parameters),
            self.lowered(),
            taping(None),
        ):
            turned = [a.flip(0) if _is_numbers(a) else a for a in self.arguments]
            both = [
                main_tensor(self.module.forward(*arguments, **self.keywords))
                for arguments in (self.arguments, turned)
            ]
            outputs = [output for output in both if output is not None and output.requires_grad]
            if len(outputs) < 2:
                return False
            weights = torch.randn_like(outputs[0])
            # With what the block was given: without it, PyTorch before 2.15 crashes in a group
            # normalisation that reads features with their channels last.
            given = [a for a in self.arguments if isinstance(a, Tensor) and a.requires_grad]
            found = torch.autograd.grad(
                outputs, [*parameters, *given], [weights, -weights], allow_unused=True
            )
        return any(g is not None and bool(g.any()) for g in found[: len(parameters)])


def _is_numbers(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.is_floating_point() and argument.dim() > 1


class _Tap:
    """Reads each block's output the moment it exists, then passes on a leaf in its place.

    So the graph of a block is freed before the next one runs, and memory holds one block.
    """

    def __init__(
        self,
        rng: torch.Generator,
        witnesses: Witnesses,
        axes: Mapping[str, int],
        session: Session | None,
        may_skip: bool,
    ):
        self.rng = rng
        self.witnesses = witnesses
        self.axes = axes
        self.session = session
        self.may_skip = may_skip
        self.seen: list[str] = []
        self.leaf: Tensor | None = None
        self.axis = FIRST  # of the leaf's channels
        self.repeating = False  # a block is run again, which is not to be read
        self.heard = 0  # layers that ran up to the leaf
        self.covariances: list[Tensor] = []
        self.transfers: list[Tensor] = []
        self.identities: list[bool] = []
        self.dormant: list[bool] = []

    def __call__(self, run: _Run, output: Any) -> Any:
        if self.repeating:
            return output
        name = run.name
        if name in self.seen:
            raise AzlibError(f"block {name!r} runs twice in one forward pass: name others")
        features = main_tensor(output)
        if features is None or features.dim() not in (2, 3, 4, 5):
            raise AzlibError(
                f"block {name!r} must return features, one tensor (B, C, H, W), (B, N, C) or (B, C)"
            )
        axis = self.axes.get(name) or self.witnesses.read(tuple(features.shape), self.heard)
        self.heard = len(self.witnesses)
        with torch.no_grad():
            self.covariances.append(_covariance(_single(features.detach()), axis))
            if self.leaf is not None:
                before = Features(tuple(self.leaf.shape), self.axis)
                if before.pairs_with(Features(tuple(features.shape), axis)):
                    same = self._pair(self.leaf, features, axis)
                    self.repeating = True
                    dormant = same and run.has_live_parameters()
                    self.repeating = False
                    self.identities.append(same and not dormant)
                    self.dormant.append(dormant)
                elif not self.may_skip:
                    raise AzlibError(
                        f"block {name!r} turns features {before.shape} into "
                        f"{tuple(features.shape)}: primary blocks must keep the number of tokens, "
                        "and maps must stay maps"
                    )
        self.seen.append(name)
        self.leaf, self.axis = features.detach().requires_grad_(), axis
        # A copy, as the model may write into it, which a leaf would refuse.
        passed_on = self.leaf.clone()
        if self.session is not None:
            self.session.read = passed_on
        return with_main_tensor(output, passed_on)

    def _pair(self, leaf: Tensor, output: Tensor, axis: int) -> bool:
        """Keeps the transfer between two blocks; whether the later one is the identity here."""
        v = signs(output.shape, self.rng, output.device).to(output.dtype)
        g = None
        if self.session is not None and output is self.session.output:
            g = self.session.pull_back(v)
        elif output.requires_grad:  # else nothing of the block depends on the one before
            (g,) = torch.autograd.grad(output, leaf, v, allow_unused=True)
        if g is None:
            g = torch.zeros_like(leaf)
        g_maps, v_maps = _channels_first(_single(g), self.axis), _channels_first(_single(v), axis)
        out_rows = _rows(_to_depth(v_maps, g_maps), FIRST)
        in_rows = _rows(_to_depth(g_maps, v_maps), FIRST)
        transfer = in_rows.T @ out_rows / out_rows.shape[0]
        self.transfers.append(transfer)
        # g = v makes the diagonal of g vᵀ exactly one (±1 squared), and hardly anything else does;
        # this costs C comparisons where comparing g with v costs B·C·H·W.
        if g.shape != v.shape or float(transfer[0, 0]) != 1:
            return False
        return bool((transfer.diagonal() == 1).all())


def _single(features: Tensor) -> Tensor:
    """Features in single precision, unless they are more exact."""
    return features.float() if features.element_size() < 4 else features


def _channels_first(features: Tensor, axis: int) -> Tensor:
    """Features as (B, C, ...), a view."""
    return features if axis == FIRST else features.movedim(axis, 1)


def _rows(features: Tensor, axis: int) -> Tensor:
    """Features as (positions, channels)."""
    return features.movedim(axis, -1).reshape(-1, features.shape[axis])


def _covariance(features: Tensor, axis: int) -> Tensor:
    """Eqs. 1-2: covariance over positions, (C, C), or (N, N) products where those are fewer."""
    rows = _rows(features, axis)
    centred = rows - rows.mean(0)
    product = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return product / len(rows)


def _to_depth(fine: Tensor, coarse: Tensor) -> Tensor:
    """Moves neighbourhoods of (B, C, ...) into channels, to the resolution of another such tensor.

    Neighbourhoods of s positions along each side, so that both have the same positions. Sides that
    are not finer than those of the other stay. Where s does not divide a side, zeros are added at
    its end, which add nothing to a product of the two.
    """
    if fine.shape[2:] == coarse.shape[2:]:
        return fine
    steps = [max(1, -(-n // m)) for n, m in zip(fine.shape[2:], coarse.shape[2:], strict=True)]
    if all(step == 1 for step in steps):
        return fine
    sides = [
        m if step > 1 else n
        for n, m, step in zip(fine.shape[2:], coarse.shape[2:], steps, strict=True)
    ]
    wider = [side * step - n for n, side, step in zip(fine.shape[2:], sides, steps, strict=True)]
    padded = nn.functional.pad(fine, [n for extra in reversed(wider) for n in (0, extra)])
    split = [n for pair in zip(sides, steps, strict=True) for n in pair]
    last = 2 * len(sides) + 2
    order = [0, *range(2, last, 2), *range(3, last, 2), 1]
    gathered = padded.reshape(*padded.shape[:2], *split).permute(order)
    return gathered.reshape(fine.shape[0], *sides, -1).movedim(-1, 1)


@cache
def _bytes_to_signs(device: torch.device) -> Tensor:
    """(256, 8): the eight bits of each byte as ±1."""
    byte, bit = torch.arange(256)[:, None], torch.arange(8)
    return (1.0 - 2.0 * ((byte >> bit) & 1).float()).to(device)


def signs(
    shape: tuple[int, ...], rng: torch.Generator, device: str | torch.device = "cpu"
) -> Tensor:
    """Random ±1, float32, of the given shape; (B, C, H, W) comes in channels-last layout on a CPU.

    Drawn on the CPU, as bits, so that a seed means the same signs on every device and a GPU is
    sent an eighth of a byte for each.
    """
    order = [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else list(shape)
    size = torch.Size(order).numel()
    words = torch.randint(-(2**63), 2**63 - 1, (size // 64 + 1,), generator=rng)
    index = words.view(torch.uint8).to(device, non_blocking=True).int()
    flat = nn.functional.embedding(index, _bytes_to_signs(torch.device(device)))
    values = flat.view(-1)[:size].view(order)
    if len(shape) != 4:
        return values
    values = values.permute(0, 3, 1, 2)
    return values if values.device.type == "cpu" else values.contiguous()
