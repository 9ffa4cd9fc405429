"""TransNAS-Bench-101, the micro space: 4,096 cells that were trained on seven tasks.

`text` reads and writes the texts of cells, `cost` counts, `network` holds the torch modules and
`space` puts them together. torch is loaded when a network is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azlib.spaces.lazy import lazily
from azlib.spaces.transnas101.cost import count
from azlib.spaces.transnas101.space import TransNAS101Micro
from azlib.spaces.transnas101.text import (
    CELLS,
    OPERATIONS,
    canonical,
    enumerate_all,
    form,
    parse,
)

if TYPE_CHECKING:
    from azlib.spaces.transnas101.network import FactorisedReduction, Network

__all__ = [
    "CELLS",
    "OPERATIONS",
    "FactorisedReduction",
    "Network",
    "TransNAS101Micro",
    "canonical",
    "count",
    "enumerate_all",
    "form",
    "parse",
]

__getattr__ = lazily("azlib.spaces.transnas101.network", "FactorisedReduction", "Network")
