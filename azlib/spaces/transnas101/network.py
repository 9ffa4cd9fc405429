"""The networks of TransNAS-Bench-101's micro space: as the benchmark runs them, and lean."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from azlib.layouts import FIRST
from azlib.running import laid_out
from azlib.spaces.cells.network import AfterReLU, Cell, LeanCell, ReLUConvBN, Zero
from azlib.spaces.cells.text import KERNELS
from azlib.spaces.moulds import make
from azlib.spaces.transnas101.text import CELLS, STEM_CHANNELS, parse
from azlib.tape import Layers


class FactorisedReduction(AfterReLU):
    """A skip connection that halves the resolution.

    ReLU → two 1×1 convolutions of stride 2, half of the channels each, of which the second reads
    the pixels one below and one to the right → batch normalisation.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.beside = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def after_relu(self, layers: Layers, x: Any) -> Any:
        return layers(self._reduced, x)

    def _reduced(self, x: Tensor) -> Tensor:
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.bn(torch.cat([self.here(x), self.beside(shifted)], dim=1))


def operation(
    inputs: int, outputs: int, stride: int, source: int, name: str, lean: bool = False
) -> nn.Module:
    """The module of an edge; only edges that leave node 0 change the size of features.

    Args:
        inputs: the number of channels that the cell reads.
        outputs: the number of channels that it returns.
        stride: what it divides the resolution by, 1 or 2; where it is 1 both numbers are equal.
        source: the node that the edge leaves.
        name: the name of its operation.
        lean: whether the network is lean, whose weights have their channels last.
    """
    if source != 0:
        inputs, stride = outputs, 1
    if name in KERNELS:
        return make(ReLUConvBN, inputs, outputs, KERNELS[name], stride, channels_last=lean)
    if name == "none":
        return Zero(stride, outputs // inputs)
    if stride == 1:
        return make(nn.Identity)
    return make(FactorisedReduction, inputs, outputs, channels_last=lean)


def _stem(half: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        nn.Conv2d(half, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


class Network(nn.Module):
    """The stem, ten cells and a classifier.

    It maps images of shape (B, 3, H, W) to logits of shape (B, num_classes). `primary_blocks` names
    the 11 modules whose outputs AZ-NAS reads, the stem and the cells, and says that their channels
    are at axis 1.
    """

    def __init__(self, arch: str, num_classes: int = 75, lean: bool = False) -> None:
        super().__init__()
        operations = parse(arch)
        self.lean = lean
        half, channels = STEM_CHANNELS
        self.stem = make(_stem, half, channels, channels_last=lean)
        kind = LeanCell if lean else Cell
        cells: list[nn.Module] = []
        for outputs, stride in CELLS:
            edge = partial(operation, channels, outputs, stride, lean=lean)
            cells.append(kind(operations, edge))
            channels = outputs
        self.cells = nn.Sequential(*cells)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = make(nn.Linear, channels, num_classes)
        names = ["stem", *(f"cells.{i}" for i in range(len(cells)))]
        self.primary_blocks = dict.fromkeys(names, FIRST)

    def forward(self, x: Tensor) -> Tensor:
        if self.lean:
            x = laid_out(x)
        return self.classifier(self.head(self.cells(self.stem(x))))
