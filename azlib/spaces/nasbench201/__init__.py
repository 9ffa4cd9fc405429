"""NAS-Bench-201: 15,625 cells for images of 32 or 16 pixels.

`text` reads and writes the strings of cells, `cost` counts, `network` holds the torch modules and
`space` puts them together. torch is loaded when a network is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azlib.spaces.lazy import lazily
from azlib.spaces.nasbench201.cost import count
from azlib.spaces.nasbench201.space import NASBench201
from azlib.spaces.nasbench201.text import (
    CELLS_PER_STAGE,
    CHANNELS,
    DATASETS,
    OPERATIONS,
    canonical,
    enumerate_all,
    form,
    live_edges,
    parse,
    without_dead_edges,
)

if TYPE_CHECKING:
    from azlib.spaces.nasbench201.network import Network

__all__ = [
    "CELLS_PER_STAGE",
    "CHANNELS",
    "DATASETS",
    "OPERATIONS",
    "NASBench201",
    "Network",
    "canonical",
    "count",
    "enumerate_all",
    "form",
    "live_edges",
    "parse",
    "without_dead_edges",
]

__getattr__ = lazily("azlib.spaces.nasbench201.network", "Network")
