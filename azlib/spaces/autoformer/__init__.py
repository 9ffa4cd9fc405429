"""The AutoFormer spaces of vision transformers (Table 3).

`text` reads and writes architectures, `cost` counts, `network` holds the torch modules and `space`
puts them together. torch is loaded when a network is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azlib.spaces.autoformer.cost import MAX_DISTANCE, PATCH, TABLE_ROWS
from azlib.spaces.autoformer.space import LARGEST_IMAGE, AutoFormer
from azlib.spaces.autoformer.text import (
    BUDGETS,
    HEAD_DIM,
    PUBLISHED,
    SIZES,
    Choices,
    Structure,
)
from azlib.spaces.lazy import lazily

if TYPE_CHECKING:
    from azlib.spaces.autoformer.network import AutoFormerNetwork, RelativeAttention, Residual

__all__ = [
    "BUDGETS",
    "HEAD_DIM",
    "LARGEST_IMAGE",
    "MAX_DISTANCE",
    "PATCH",
    "PUBLISHED",
    "SIZES",
    "TABLE_ROWS",
    "AutoFormer",
    "AutoFormerNetwork",
    "Choices",
    "RelativeAttention",
    "Residual",
    "Structure",
]

__getattr__ = lazily(
    "azlib.spaces.autoformer.network", "AutoFormerNetwork", "RelativeAttention", "Residual"
)
