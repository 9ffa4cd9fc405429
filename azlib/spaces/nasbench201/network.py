"""The networks of NAS-Bench-201: as the benchmark runs them, and lean for scoring."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from azlib.layouts import FIRST
from azlib.running import laid_out
from azlib.spaces.cells.network import Cell, LeanCell, ReLUConvBN, Zero
from azlib.spaces.cells.text import KERNELS
from azlib.spaces.moulds import make, repeat
from azlib.spaces.nasbench201.text import CELLS_PER_STAGE, CHANNELS, parse
from azlib.tape import Layers, TapedBlock


def operation(channels: int, lean: bool, source: int, name: str) -> nn.Module:
    """The module of an operation of the benchmark, which is the same whatever node it leaves."""
    if name in KERNELS:
        return make(ReLUConvBN, channels, channels, KERNELS[name], channels_last=lean)
    if name == "avg_pool_3x3":
        return make(BoxPool) if lean else nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    return make(nn.Identity) if name == "skip_connect" else Zero()


_SMALL = 2**16  # numbers in features


class BoxPool(nn.Module):
    """3×3 average pooling with stride 1, whose mean leaves out the padding, by sums over boxes.

    The depth-wise convolution that takes the sums of large features is faster on a CPU than pooling
    is. It starts more slowly, so that small features are pooled. What it keeps for the next call is
    made outside of inference mode, as no gradient could be taken through a tensor of that mode.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() < _SMALL:
            return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        channels, height, width = x.shape[1:]
        sums = nn.functional.conv2d(x, _box(channels, x.dtype, x.device), None, 1, 1, 1, channels)
        return sums * _inverse_counts(height, width, x.dtype, x.device)


@cache
@torch.inference_mode(False)
def _box(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)


@cache
@torch.inference_mode(False)
def _inverse_counts(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One over the number of pixels that a 3×3 window covers at each position."""

    def neighbours(n: int) -> Tensor:
        at = torch.arange(n)
        return (at > 0).int() + 1 + (at < n - 1).int()

    counts = neighbours(height)[:, None] * neighbours(width)[None, :]
    return (1.0 / counts.double()).to(dtype).to(device)


class ReductionBlock(TapedBlock):
    """The block between two stages, which halves the resolution and doubles the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a = ReLUConvBN(inputs, outputs, 3, stride=2)
        self.b = ReLUConvBN(outputs, outputs, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )

    def run(self, layers: Layers, x: Any) -> Any:
        return layers.add(layers(self.shortcut, x), layers(self.b, layers(self.a, x)))


def _stem(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _head(channels: int) -> nn.Sequential:
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), pool, nn.Flatten())


class Network(nn.Module):
    """The stem, three stages of five cells with reduction blocks between them, the classifier.

    It maps images of shape (B, 3, H, W) to logits of shape (B, num_classes). `primary_blocks` names
    the 18 modules whose outputs AZ-NAS reads, the stem and the 17 cells and reduction blocks, and
    says that their channels are at axis 1.
    """

    def __init__(self, arch: str, num_classes: int = 10, lean: bool = False) -> None:
        super().__init__()
        operations = parse(arch)
        self.lean = lean
        kind = LeanCell if lean else Cell
        self.stem = make(_stem, CHANNELS[0], channels_last=lean)
        blocks: list[nn.Module] = []
        for stage, channels in enumerate(CHANNELS):
            if stage:
                blocks.append(make(ReductionBlock, channels // 2, channels, channels_last=lean))
            cell = partial(kind, operations, partial(operation, channels, lean))
            blocks += repeat(CELLS_PER_STAGE, cell)
        self.cells = nn.Sequential(*blocks)
        self.head = make(_head, CHANNELS[-1])
        self.classifier = make(nn.Linear, CHANNELS[-1], num_classes)
        names = ["stem", *(f"cells.{i}" for i in range(len(blocks)))]
        self.primary_blocks = dict.fromkeys(names, FIRST)

    def forward(self, x: Tensor) -> Tensor:
        if self.lean:
            x = laid_out(x)
        return self.classifier(self.head(self.cells(self.stem(x))))
