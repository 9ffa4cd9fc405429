"""How MobileNetV2 structures are changed: the candidates of a block, and random draws from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from azlib.spaces.mobilenetv2.text import (
    EXPANSIONS,
    KERNELS,
    MOST_CHANNELS,
    Block,
    Residual,
)

T = TypeVar("T")

TYPES = [(expansion, kernel) for kernel in KERNELS for expansion in EXPANSIONS]
# How often the published list of candidates holds each type: it favours small ones.
WEIGHTS = (12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
TYPE_LISTS = {
    "published": [t for t, weight in zip(TYPES, WEIGHTS, strict=True) for _ in range(weight)],
    "uniform": TYPES,
}
FACTORS = (2.5, 2, 1.5, 1.25, 1, 1 / 1.25, 1 / 1.5, 1 / 2, 1 / 2.5)


def split(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The blocks, with every residual block of 6 or more layers cut into blocks of 3 and a rest.

    The rest has at most 5 layers. Cutting is not neutral: the second part starts with a projection,
    and it is one more block to mutate.
    """
    result: list[Block] = []
    for block in blocks:
        while isinstance(block, Residual) and block.layers >= 6:
            result.append(block._replace(layers=3))
            block = block._replace(inputs=block.out, stride=1, layers=block.layers - 3)
        result.append(block)
    return tuple(result)


def channel_candidates(channels: int) -> list[int]:
    """The widths that may replace a width, in ascending order.

    They are multiples of 8, from 0.4 to 2.5 times the width and within the limit of the space.
    """
    widths = (round(channels * factor / 8) * 8 for factor in FACTORS)
    return sorted({min(max(8, width), MOST_CHANNELS) for width in widths})


def layer_candidates(layers: int) -> list[int]:
    """The numbers of layers that may replace a number of layers: those at most 2 away from it."""
    return list(range(max(1, layers - 2), layers + 3))


def _draw(candidates: Sequence[T], rng: np.random.Generator) -> T:
    """One of the candidates, all being equally likely."""
    return candidates[int(rng.integers(len(candidates)))]


def mutate(
    blocks: Iterable[Block],
    types: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    times: int,
) -> tuple[Block, ...]:
    """The blocks after up to `times` random ones were redrawn, with widths that fit together.

    As published, a block that is drawn twice is redrawn once, and long blocks are `split`.
    """
    changed = list(blocks)
    for i in {int(rng.integers(len(changed))) for _ in range(times)}:
        changed[i] = _mutate_block(changed[i], types, rng)
    for i, (before, block) in enumerate(pairwise(changed), start=1):
        changed[i] = block._replace(inputs=before.out)
    return split(changed)


def _mutate_block(
    block: Block, types: Sequence[tuple[int, int]], rng: np.random.Generator
) -> Block:
    """One draw from the candidates of a block, which include itself.

    The last convolution stays as it is.
    """
    if isinstance(block, Residual):
        expansion, kernel = _draw(types, rng)
        return block._replace(
            expansion=expansion,
            kernel=kernel,
            out=_draw(channel_candidates(block.out), rng),
            layers=_draw(layer_candidates(block.layers), rng),
            bottleneck=_draw(channel_candidates(block.bottleneck), rng),
        )
    if block.kernel == 1:
        return block
    return block._replace(out=_draw(channel_candidates(block.out), rng))
