"""What a MobileNetV2 network costs, counted from its structure: as published, and truly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from azlib.spaces.mobilenetv2.text import Block, Convolution

Count = Callable[[Sequence[Block], bool, int, int], dict[str, float]]
"""Takes blocks, whether they have squeeze-and-excitation, pixels along a side, and classes."""


def count_paper(
    blocks: Sequence[Block], se: bool, resolution: int, num_classes: int
) -> dict[str, float]:
    """FLOPs and parameters by exactly the published rule, of which the budgets speak."""
    macs = params = 0
    r = resolution
    for block in blocks:
        if isinstance(block, Convolution):
            weights = block.inputs * block.out * block.kernel**2
            macs += weights * r**2 // block.stride**2
            r //= block.stride
            macs += block.out * r**2
            params += weights + block.out
            continue
        for inputs, width, out, kernel, stride, projected in block.halves():
            macs += (inputs + 1) * width * r**2 + width * kernel**2 * r**2 // stride**2
            r //= stride
            macs += width * r**2 + (width + 1) * out * r**2
            params += width * (inputs + kernel**2 + out) + 2 * width + out
            if projected:
                macs += (inputs + 1) * out * r**2 // stride**2
                params += (inputs + 1) * out
            if se:
                squeezed = width // 4
                macs += 2 * width * squeezed + width + width * r**2
                params += 2 * width * squeezed + 2 * (squeezed + width)
    last = blocks[-1].out
    return {"macs": macs + last * num_classes, "params": params + last * num_classes + 1}


def count_true(
    blocks: Sequence[Block], se: bool, resolution: int, num_classes: int
) -> dict[str, float]:
    """Multiply-accumulates, batch-norm elements and parameters of the network that is built."""
    macs = bn = params = 0
    r = resolution
    for block in blocks:
        if isinstance(block, Convolution):
            weights = block.inputs * block.out * block.kernel**2
            r = math.ceil(r / block.stride)
            macs += weights * r**2
            bn += block.out * r**2
            params += weights + 2 * block.out
            continue
        for inputs, width, out, kernel, stride, projected in block.halves():
            macs += inputs * width * r**2
            bn += width * r**2
            r = math.ceil(r / stride)
            macs += width * (kernel**2 + out) * r**2
            bn += (width + out) * r**2
            params += width * (inputs + kernel**2 + out) + 2 * (2 * width + out)
            if projected:
                macs += inputs * out * r**2
                bn += out * r**2
                params += (inputs + 3) * out
            if se:
                squeezed = width // 4
                macs += 2 * width * squeezed
                bn += squeezed + width
                params += 2 * width * squeezed + 2 * (squeezed + width)
    last = blocks[-1].out
    head = last * num_classes
    return {"macs": macs + head, "bn": bn, "params": params + head + num_classes}


COUNTINGS: dict[str, Count] = {"paper": count_paper, "true": count_true}
