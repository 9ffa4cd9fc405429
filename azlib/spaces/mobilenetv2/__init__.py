"""The MobileNetV2 space of the ImageNet search (Table 2).

`text` reads and writes structure texts, `mutation` changes them, `cost` counts, `network` holds the
torch modules and `space` puts them together. torch is loaded when a network is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azlib.spaces.lazy import lazily
from azlib.spaces.mobilenetv2.mutation import (
    TYPE_LISTS,
    TYPES,
    WEIGHTS,
    channel_candidates,
    layer_candidates,
    split,
)
from azlib.spaces.mobilenetv2.space import MAX_LAYERS, MobileNetV2
from azlib.spaces.mobilenetv2.text import (
    INITIAL,
    MOST_CHANNELS,
    MOST_LAYERS,
    SMALLEST,
    Convolution,
    Half,
    Residual,
    format,
    parse,
)

if TYPE_CHECKING:
    from azlib.spaces.mobilenetv2.network import InvertedBottleneck, Network, SqueezeExcitation

__all__ = [
    "INITIAL",
    "MAX_LAYERS",
    "MOST_CHANNELS",
    "MOST_LAYERS",
    "SMALLEST",
    "TYPES",
    "TYPE_LISTS",
    "WEIGHTS",
    "Convolution",
    "Half",
    "InvertedBottleneck",
    "MobileNetV2",
    "Network",
    "Residual",
    "SqueezeExcitation",
    "channel_candidates",
    "format",
    "layer_candidates",
    "parse",
    "split",
]

__getattr__ = lazily(
    "azlib.spaces.mobilenetv2.network", "InvertedBottleneck", "Network", "SqueezeExcitation"
)
