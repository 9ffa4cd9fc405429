"""The networks of two benchmarks, layer by layer as their authors describe them: judges of ours.

Nothing is shared, pruned or laid out for speed. Parameters come in the order of the text.
"""

from __future__ import annotations

import torch
from torch import nn


def conv_bn(inputs, outputs, kernel, stride=1, groups=1):
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


# --- TransNAS-Bench-101, micro space -------------------------------------------------------


class TransReduction(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.one = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.two = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = torch.relu(x)
        moved = torch.zeros_like(x)
        moved[:, :, :-1, :-1] = x[:, :, 1:, 1:]
        return self.norm(torch.cat([self.one(x), self.two(moved)], 1))


class TransZero(nn.Module):
    def __init__(self, outputs, stride):
        super().__init__()
        self.outputs, self.stride = outputs, stride

    def forward(self, x):
        height, width = ((n + self.stride - 1) // self.stride for n in x.shape[2:])
        return x.new_zeros(len(x), self.outputs, height, width)


def trans_operation(digit, inputs, outputs, stride):
    if digit == "0":
        return TransZero(outputs, stride)
    if digit == "1":
        return nn.Identity() if stride == 1 else TransReduction(inputs, outputs)
    return nn.Sequential(nn.ReLU(), conv_bn(inputs, outputs, {"2": 1, "3": 3}[digit], stride))


class TransCell(nn.Module):
    def __init__(self, digits, inputs, outputs, stride):
        super().__init__()
        a, b, c, d, e, f = digits
        self.a, self.b = (trans_operation(x, inputs, outputs, stride) for x in (a, b))
        self.c = trans_operation(c, outputs, outputs, 1)
        self.d = trans_operation(d, inputs, outputs, stride)
        self.e, self.f = (trans_operation(x, outputs, outputs, 1) for x in (e, f))

    def forward(self, node0):
        node1 = self.a(node0)
        node2 = self.b(node0) + self.c(node1)
        return self.d(node0) + self.e(node1) + self.f(node2)


class TransNAS(nn.Module):
    def __init__(self, arch, classes):
        super().__init__()
        base, macro, cell = arch.split("-")
        digits = cell.replace("_", "")
        channels = int(base)
        self.stem = nn.Sequential(
            conv_bn(3, channels // 2, 3, 2), nn.ReLU(), conv_bn(channels // 2, channels, 3, 2)
        )
        cells = []
        for code in map(int, macro):
            stride = 2 if code > 2 else 1
            wider = channels * 2 if code % 2 == 0 else channels
            cells.append(TransCell(digits, channels, wider, stride))
            cells.append(TransCell(digits, wider, wider, 1))
            channels = wider
        self.cells = nn.Sequential(*cells)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(self.cells(self.stem(x)).mean((2, 3)))


# --- NAS-Bench-Macro -----------------------------------------------------------------------


class MacroBottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride, kernel, expansion):
        super().__init__()
        hidden = expansion * inputs
        self.main = nn.Sequential(
            *(conv_bn(inputs, hidden, 1), nn.ReLU()),
            *(conv_bn(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU()),
            conv_bn(hidden, outputs, 1),
        )
        self.same = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.main(x) if self.same else self.main(x)


class Macro(nn.Module):
    """`stem`, and `cells` for all that follows up to the last convolution."""

    def __init__(self, arch, classes):
        super().__init__()
        digits = iter(arch)
        self.stem = nn.Sequential(conv_bn(3, 32, 3), nn.ReLU())
        channels, blocks = 32, []
        for count in (2, 3, 3):
            for stride in [2, 1, 1][:count]:
                outputs = channels * stride
                blocks.append(self.layer(next(digits), channels, outputs, stride))
                channels = outputs
        blocks.append(nn.Sequential(conv_bn(channels, 1280, 1), nn.ReLU()))
        self.cells = nn.Sequential(*(b for b in blocks if not isinstance(b, nn.Identity)))
        self.classifier = nn.Linear(1280, classes)

    def layer(self, digit, inputs, outputs, stride):
        if digit == "0":
            return nn.Identity() if stride == 1 else conv_bn(inputs, outputs, 1, stride)
        kernel, expansion = {"1": (3, 3), "2": (5, 6)}[digit]
        return MacroBottleneck(inputs, outputs, stride, kernel, expansion)

    def forward(self, x):
        return self.classifier(self.cells(self.stem(x)).mean((2, 3)))


def with_weights_of(plain, network):
    """The plain network with the parameters of another, which come in the same order."""
    with torch.no_grad():
        for own, given in zip(plain.parameters(), network.parameters(), strict=True):
            assert own.shape == given.shape
            own.copy_(given)
    return plain
