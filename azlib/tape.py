"""Gradients of features with respect to features, for blocks of a few well-known layers.

AZ-NAS needs no gradients of weights, and the gradients of a block only once. A tape knows that,
which autograd cannot: it sums and rectifies in place, keeps no running statistics, and computes 1×1
convolutions as the matrix products that they are. Otherwise it works in the same way: every layer
that runs leaves behind a function that passes the gradient back, and these run in reverse order.

Blocks that derive from `TapedBlock` run on a tape inside `taping`, which `azlib.trace` opens when
nobody listens to the layers of the network. Everywhere else they are modules like any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_session: ContextVar[Session | None] = ContextVar("session", default=None)
_aten = torch.ops.aten
_ONLY_INPUT = [True, False, False]  # of the gradients by input, weight and bias


@contextmanager
def taping(session: Session | None) -> Iterator[None]:
    """Inside, the blocks of a session run on a tape; with None, all blocks are usual modules."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


class _Gradient:
    """The gradient of some features, summed up as its parts come."""

    __slots__ = ("ours", "total")

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.ours = False  # whether nobody else reads `total`, so that it can be written to

    def add(self, part: Tensor, ours: bool) -> None:
        if self.total is None:
            self.total, self.ours = part, ours
        elif self.ours:
            self.total.add_(part)
        else:
            self.total, self.ours = part.add_(self.total) if ours else self.total + part, True


class Features:
    """Features on a tape. fresh: whether nobody reads them again, so they can be written to."""

    __slots__ = ("data", "fresh", "gradient")

    def __init__(self, data: Tensor, fresh: bool) -> None:
        self.data = data
        self.fresh = fresh
        self.gradient = _Gradient()


class Layers(Protocol):
    """How the layers of a block are run: as modules (`Plain`), on tensors, or on a `Tape`."""

    def __call__(self, layer: Callable[[Tensor], Tensor], x: Any) -> Any:
        """What a module, or any function of a tensor, makes of features."""

    def relu(self, x: Any) -> Any:
        """A ReLU of features that are read by nobody else, unless they are `kept`."""

    def add(self, a: Any, b: Any) -> Any:
        """The sum of two features that are read by nobody else, unless they are `kept`."""

    def kept(self, x: Any) -> Any:
        """The same features, which will be read again, so that nothing is written to them."""


class Plain:
    """Runs layers as modules, to which others can listen."""

    def __call__(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return layer(x)

    def relu(self, x: Tensor) -> Tensor:
        return x.relu()

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def kept(self, x: Tensor) -> Tensor:
        return x


class Tape:
    """Runs layers and remembers how each passes a gradient back; one unknown here, by autograd."""

    def __init__(self) -> None:
        self._steps: list[tuple[_Gradient, Callable[[Tensor, bool], None]]] = []

    def __call__(self, layer: Callable[[Tensor], Tensor], x: Features) -> Features:
        if isinstance(layer, TapedBlock):
            return layer.run(self, x)
        if type(layer) is nn.Sequential:
            for part in layer:
                x = self(part, x)
            return x
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            return self._convolution(layer, x)
        if type(layer) is nn.BatchNorm2d and layer.training:
            return self._normalisation(layer, x)
        if type(layer) is nn.ReLU:
            return self.relu(x)
        return x if type(layer) is nn.Identity else self._by_autograd(layer, x)

    def kept(self, x: Features) -> Features:
        x.fresh = False
        return x

    def _made(self, data: Tensor, fresh: bool, back: Callable[[Tensor, bool], None]) -> Features:
        made = Features(data, fresh)
        self._steps.append((made.gradient, back))
        return made

    def pull_back(self, last: Features, v: Tensor, first: Features) -> Tensor:
        """The vector-Jacobian product of v, on the last features, with respect to the first."""
        last.gradient.add(v, ours=False)
        while self._steps:
            gradient, back = self._steps.pop()
            part, gradient.total = gradient.total, None
            if part is not None:
                back(part, gradient.ours)
        found = first.gradient.total
        return torch.zeros_like(first.data) if found is None else found

    def _convolution(self, layer: nn.Conv2d, x: Features) -> Features:
        """A convolution with zero padding."""
        data, into, weight = x.data, x.gradient, layer.weight
        if _is_product(layer) and data.is_contiguous(memory_format=torch.channels_last):
            matrix = weight.flatten(1)

            def product_back(v: Tensor, _: bool) -> None:
                into.add(_at_each_position(v, matrix), ours=True)

            return self._made(_at_each_position(data, matrix.T), True, product_back)
        stride, padding, dilation = layer.stride, layer.padding, layer.dilation
        made = torch.conv2d(data, weight, layer.bias, stride, padding, dilation, layer.groups)

        def back(v: Tensor, _: bool) -> None:
            g, _, _ = _aten.convolution_backward(
                v, data, weight, None, stride, padding, dilation, False, (0, 0), layer.groups,
                _ONLY_INPUT,
            )  # fmt: skip
            into.add(g, ours=True)

        return self._made(made, True, back)

    def _normalisation(self, layer: nn.BatchNorm2d, x: Features) -> Features:
        """Batch normalisation by the statistics of the batch."""
        data, into, weight = x.data, x.gradient, layer.weight
        made, mean, scale = torch.native_batch_norm(
            data, weight, layer.bias, None, None, True, 0.0, layer.eps
        )

        def back(v: Tensor, _: bool) -> None:
            g, _, _ = _aten.native_batch_norm_backward(
                v, data, weight, None, None, mean, scale, True, layer.eps, _ONLY_INPUT
            )
            into.add(g, ours=True)

        return self._made(made, True, back)

    def relu(self, x: Features) -> Features:
        into = x.gradient
        made = x.data.relu_() if x.fresh else x.data.relu()

        def back(v: Tensor, ours: bool) -> None:
            if ours:
                _aten.threshold_backward.grad_input(v, made, 0, grad_input=v)
            into.add(v if ours else _aten.threshold_backward(v, made, 0), ours=True)

        return self._made(made, False, back)

    def add(self, a: Features, b: Features) -> Features:
        if not a.fresh:
            a, b = b, a
        left, right = a.gradient, b.gradient

        def back(v: Tensor, _: bool) -> None:
            left.add(v, ours=False)
            right.add(v, ours=False)

        return self._made(a.data.add_(b.data) if a.fresh else a.data + b.data, True, back)

    def _by_autograd(self, function: Callable[[Tensor], Tensor], x: Features) -> Features:
        into = x.gradient
        with torch.enable_grad():
            leaf = x.data.detach().requires_grad_()
            made = function(leaf)

        def back(v: Tensor, _: bool) -> None:
            (g,) = torch.autograd.grad(made, leaf, v)
            into.add(g, ours=False)

        return self._made(made.detach(), False, back)


def _is_product(layer: nn.Conv2d) -> bool:
    """Whether a convolution multiplies the channels at each position by one matrix."""
    alone = layer.groups == 1 and layer.bias is None
    return alone and layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0)


def _at_each_position(x: Tensor, matrix: Tensor) -> Tensor:
    """The product of the channels (B, C, H, W), channels last, with a matrix (C, D)."""
    return (x.permute(0, 2, 3, 1) @ matrix).permute(0, 3, 1, 2)


class Session:
    """One pass of a network, in which some blocks run on a tape.

    blocks: those whose outputs are read. A block runs on a tape if it is one of them and gets the
    very features that were read before, so that no gradient of anything else is lost.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        self._blocks = set(blocks)
        self.read: Tensor | None = None  # the features that were read last, as they were passed on
        self.output: Tensor | None = None  # of the block that ran on a tape last
        self._ends: tuple[Tape, Features, Features] | None = None

    def takes(self, block: nn.Module, x: Tensor) -> bool:
        """Whether a block is to run on a tape."""
        return x is self.read and block in self._blocks and block.training

    def run(self, block: TapedBlock, x: Tensor) -> Tensor:
        """The output of a block that runs on a tape."""
        tape, first = Tape(), Features(x.detach(), fresh=False)
        with torch.no_grad():
            last = block.run(tape, first)
        self._ends = tape, first, last
        self.output = last.data.clone() if last is first else last.data
        return self.output

    def pull_back(self, v: Tensor) -> Tensor:
        """The vector-Jacobian product of v, on `output`, with respect to the input of the block."""
        assert self._ends is not None  # and it is used up now
        (tape, first, last), self._ends, self.output = self._ends, None, None
        with torch.no_grad():
            return tape.pull_back(last, v, first)


class TapedBlock(nn.Module, ABC):
    """A block that can run on a tape."""

    def forward(self, x: Tensor) -> Tensor:
        session = _session.get()
        if session is not None and session.takes(self, x):
            return session.run(self, x)
        plain: Tensor = self.run(_PLAIN, x)
        return plain

    @abstractmethod
    def run(self, layers: Layers, x: Any) -> Any:
        """The output, computed by calling `layers` with parts of the block, and by its methods."""


_PLAIN = Plain()
