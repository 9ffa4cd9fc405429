"""The networks of the MobileNetV2 space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from azlib.layouts import FIRST
from azlib.spaces.mobilenetv2.text import Block, Convolution, Half, Residual
from azlib.spaces.moulds import make
from azlib.tape import Layers, TapedBlock


def _conv_bn(
    inputs: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A convolution whose padding keeps the size, and the batch norm that follows it."""
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(inputs, out, kernel, stride, padding, groups=groups, bias=bias)
    return [conv, nn.BatchNorm2d(out, eps=1e-3)]


def _convolution(block: Convolution) -> nn.Sequential:
    """The stem or the last convolution."""
    layers = _conv_bn(block.inputs, block.out, block.kernel, block.stride)
    return nn.Sequential(*layers, nn.ReLU())


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate in (0, 1) that is computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 4
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *_conv_bn(channels, squeezed),
            nn.ReLU(),
            *_conv_bn(squeezed, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class InvertedBottleneck(TapedBlock):
    """Widens, convolves each channel, narrows, adds the shortcut and applies a ReLU.

    It maps (B, inputs, H, W) to (B, out, ceil(H/stride), ceil(W/stride)). The depthwise convolution
    has the stride. A projected shortcut is a strided 1×1 convolution with bias and a batch norm.

    Args:
        half: the widths, the kernel and the stride.
        se: whether squeeze-and-excitation follows the depthwise convolution.
    """

    def __init__(self, half: Half, se: bool) -> None:
        super().__init__()
        inputs, width, out, kernel, stride, projected = half
        self.main = nn.Sequential(
            *_conv_bn(inputs, width),
            nn.ReLU(),
            *_conv_bn(width, width, kernel, stride, groups=width),
            nn.ReLU(),
            *([SqueezeExcitation(width)] if se else []),
            *_conv_bn(width, out),
        )
        self.shortcut = (
            nn.Sequential(*_conv_bn(inputs, out, stride=stride, bias=True))
            if projected
            else nn.Identity()
        )
        self.relu = nn.ReLU()

    def run(self, layers: Layers, x: Any) -> Any:
        return layers(self.relu, layers.add(layers(self.main, x), layers(self.shortcut, x)))


class Network(nn.Module):
    """A whole network, which maps images (B, 3, H, W) of any size to logits (B, num_classes).

    Weights are those of PyTorch's constructors. `primary_blocks` names the modules whose outputs
    the proxies read: the stem, inverted bottlenecks after their sum and ReLU, the last convolution.
    Their channels are at axis 1.

    Args:
        structure: the blocks of a structure text.
        num_classes: the number of logits.
        se: whether inverted bottlenecks have squeeze-and-excitation.
        taps: which inverted bottlenecks the proxies read: "all", or the last ones of the
            "superblocks".
    """

    def __init__(self, structure: Sequence[Block], num_classes: int, se: bool, taps: str) -> None:
        super().__init__()
        stem, last = (block for block in structure if isinstance(block, Convolution))
        residuals = (block for block in structure if isinstance(block, Residual))
        blocks = [
            [make(InvertedBottleneck, half, se) for half in block.halves()] for block in residuals
        ]
        self.stem = make(_convolution, stem)
        self.blocks = nn.Sequential(*(nn.Sequential(*halves) for halves in blocks))
        self.last = make(_convolution, last)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = make(nn.Linear, last.out, num_classes)
        names = [[f"blocks.{i}.{j}" for j in range(len(halves))] for i, halves in enumerate(blocks)]
        first = 0 if taps == "all" else -1
        tapped = ["stem", *(n for group in names for n in group[first:]), "last"]
        self.primary_blocks = dict.fromkeys(tapped, FIRST)

    def forward(self, x: Tensor) -> Tensor:
        features = self.last(self.blocks(self.stem(x)))
        return self.head(self.flatten(self.pool(features)))

    def zero_last_norms(self) -> None:
        """Starts every inverted bottleneck as its shortcut, as the paper's training does."""
        for module in self.modules():
            if isinstance(module, InvertedBottleneck):
                norm = module.main[-1]
                assert isinstance(norm, nn.BatchNorm2d)
                nn.init.zeros_(norm.weight)
