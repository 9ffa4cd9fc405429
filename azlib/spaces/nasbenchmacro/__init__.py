"""NAS-Bench-Macro: 6,561 networks of inverted bottlenecks for CIFAR-10.

`text` reads and writes the texts of architectures, `cost` counts, `network` holds the torch modules
and `space` puts them together. torch is loaded when a network is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azlib.spaces.lazy import lazily
from azlib.spaces.nasbenchmacro.cost import count
from azlib.spaces.nasbenchmacro.space import NASBenchMacro
from azlib.spaces.nasbenchmacro.text import (
    OPERATIONS,
    STAGES,
    canonical,
    enumerate_all,
    layers,
    parse,
)

if TYPE_CHECKING:
    from azlib.spaces.nasbenchmacro.network import InvertedBottleneck, Network

__all__ = [
    "OPERATIONS",
    "STAGES",
    "InvertedBottleneck",
    "NASBenchMacro",
    "Network",
    "canonical",
    "count",
    "enumerate_all",
    "layers",
    "parse",
]

__getattr__ = lazily("azlib.spaces.nasbenchmacro.network", "InvertedBottleneck", "Network")
