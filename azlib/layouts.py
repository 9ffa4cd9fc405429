"""Which dimension of a feature tensor holds the channels.

Convolutions write (B, C, H, W), a vision transformer like Swin passes (B, H, W, C) on, tokens are
(B, N, C), and a 1-D convolution makes (B, C, L). Shapes alone do not tell these apart, so the
layers that ran since the last reading are asked: convolutions and most normalisations have their
channels in dimension 1, linear layers and layer normalisation in the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

FIRST, LAST = 1, -1
_A_FEW = 3  # layers that are asked where a module holds none

_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)


class Witnesses:
    """Remembers the layers that ran, and tells from them where features have their channels."""

    def __init__(self) -> None:
        self._heard: list[tuple[int, int]] = []  # (axis, channels), in the order they ran

    def __len__(self) -> int:
        """How many layers ran so far."""
        return len(self._heard)

    @contextmanager
    def listening(self, model: nn.Module) -> Iterator[None]:
        """Inside, the layers of a model are remembered as they run.

        Hooks that read what was heard have to be registered after this one.
        """
        layers = (m for m in model.modules() if isinstance(m, _CHANNELS_FIRST + _CHANNELS_LAST))
        hooks = [layer.register_forward_hook(self._hear) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hear(self, module: nn.Module, _: object, output: object) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, Tensor) and tensor.dim() > 1:
            axis = FIRST if isinstance(module, _CHANNELS_FIRST) else LAST
            self._heard.append((axis, tensor.shape[axis]))

    def read(self, shape: tuple[int, ...], since: int) -> int:
        """The axis of the channels, 1 or -1, of features that were just computed.

        since: how many layers had run when their computation began.
        """
        return channel_axis(shape, self._heard[since:] or self._heard[-_A_FEW:])


def channel_axis(shape: tuple[int, ...], layers: list[tuple[int, int]]) -> int:
    """1 or -1: where features of this shape have their channels.

    layers: the axis and the number of channels of the layers that ran before, in their order.

    The layers decide whose channels stand where they write them. Where both kinds fit or neither
    does, a square map shows its channels, (B, C, 8, 8) or (B, 8, 8, C); what remains unclear is
    read as PyTorch's layers would, maps with their channels first and sequences with them last.
    """
    if len(shape) == 2:
        return FIRST
    fitting = {axis for axis, channels in layers if channels == shape[axis]}
    if len(fitting) == 1:
        return fitting.pop()
    if len(shape) == 4 and (shape[1] == shape[2]) != (shape[2] == shape[3]):
        return LAST if shape[1] == shape[2] else FIRST
    return LAST if len(shape) == 3 else FIRST
