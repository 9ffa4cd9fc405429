"""Networks that run in a notebook, drawn as a sweep draws them."""

from __future__ import annotations

import torch
from torch import nn

from azlib.inputs import gaussian, generator
from azlib.inputs.initialisation import initialise
from azlib.settings import INITIALISATIONS
from azlib.spaces.nasbench201 import NASBench201
from azlib.trace import Trace, trace

EXAMPLES = {
    "ResNet-like": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|"
    "+|skip_connect~0|none~1|skip_connect~2|",
    "3×3 convolutions": "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|".format("nor_conv_3x3"),
    "1×1 convolutions": "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|".format("nor_conv_1x1"),
    "average pooling": "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|".format("avg_pool_3x3"),
    "identity": "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "no live path": "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|".format("none"),
}
"""Cells of NAS-Bench-201 that show something, by name."""


def draw(arch: str, batch: int, resolution: int, seed: int) -> tuple[nn.Module, torch.Tensor]:
    """A network of NAS-Bench-201 with random weights, and a batch of Gaussian images for it.

    Both follow from the seed and the name of the architecture, as everywhere in azlib.
    """
    network = NASBench201().build(arch).train()
    initialise(network, INITIALISATIONS[0], generator(seed, arch, "weights"))
    return network, gaussian((batch, 3, resolution, resolution), generator(seed, arch, "input"))


def look(arch: str, batch: int, resolution: int, seed: int) -> Trace:
    """One pass of noise through such a network, tapped at every primary block."""
    return trace(*draw(arch, batch, resolution, seed), generator(seed, arch, "signs"))
