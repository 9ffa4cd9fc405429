"""The networks of NAS-Bench-Macro."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from azlib.layouts import FIRST
from azlib.running import laid_out
from azlib.spaces.moulds import make
from azlib.spaces.nasbenchmacro.text import LAST_CHANNELS, STEM_CHANNELS, Bottleneck
from azlib.spaces.nasbenchmacro.text import layers as layers_of
from azlib.tape import Layers, TapedBlock


def _conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias and its batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _conv_bn_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(*_conv_bn(inputs, outputs, kernel), nn.ReLU())


class InvertedBottleneck(TapedBlock):
    """1×1 convolution, depth-wise convolution, 1×1 convolution; and a shortcut where sizes stay.

    Each convolution has a batch normalisation, and the first two have a ReLU behind it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, operation: Bottleneck) -> None:
        super().__init__()
        hidden = operation.expansion * inputs
        self.expand = _conv_bn(inputs, hidden)
        self.depthwise = _conv_bn(hidden, hidden, operation.kernel, stride, groups=hidden)
        self.project = _conv_bn(hidden, outputs)
        self.relu = nn.ReLU()
        self.shortcut = stride == 1 and inputs == outputs

    def run(self, layers: Layers, x: Any) -> Any:
        y = layers(self.relu, layers(self.expand, x))
        y = layers(self.relu, layers(self.depthwise, y))
        y = layers(self.project, y)
        return layers.add(x, y) if self.shortcut else y


class Network(nn.Module):
    """The stem, the layers of the architecture, the last convolution and the classifier.

    It maps images of shape (B, 3, H, W) to logits of shape (B, num_classes). `primary_blocks` names
    the modules whose outputs AZ-NAS reads: the stem, every layer and the last convolution. What is
    no layer of the network, because it is an identity, is none of them. Channels are at axis 1.
    """

    def __init__(self, arch: str, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = make(_conv_bn_relu, 3, STEM_CHANNELS, 3, channels_last=True)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        for inputs, channels, stride, operation in layers_of(arch):
            if operation is None:
                blocks.append(make(_conv_bn, inputs, channels, 1, stride, channels_last=True))
            else:
                arguments = (inputs, channels, stride, operation)
                blocks.append(make(InvertedBottleneck, *arguments, channels_last=True))
        self.layers = nn.Sequential(*blocks)
        self.last = make(_conv_bn_relu, channels, LAST_CHANNELS, 1, channels_last=True)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = make(nn.Linear, LAST_CHANNELS, num_classes)
        names = ["stem", *(f"layers.{i}" for i in range(len(blocks))), "last"]
        self.primary_blocks = dict.fromkeys(names, FIRST)

    def forward(self, x: Tensor) -> Tensor:
        x = laid_out(x)
        return self.classifier(self.head(self.last(self.layers(self.stem(x)))))
