"""What an AutoFormer network costs, counted from its structure: as published, and truly."""

from __future__ import annotations

from azlib.spaces.autoformer.text import HEAD_DIM, Structure

PATCH = 16  # pixels along each side of a patch
PATCH_VALUES = 3 * PATCH**2
MAX_DISTANCE = 14  # patches; relative positions further apart share a row of a table
TABLE_ROWS = 2 * MAX_DISTANCE + 2  # row 0 is for pairs with the class token
TABLE_PARAMETERS = 4 * TABLE_ROWS * HEAD_DIM  # vertical and horizontal, for keys and for values


def count_params(structure: Structure, resolution: int, num_classes: int) -> int:
    """The exact number of parameters."""
    c, tokens = structure.embed, (resolution // PATCH) ** 2 + 1
    params = PATCH_VALUES * c + c + (tokens + 1) * c + 2 * c + num_classes * (c + 1)
    for q, f in structure.layers:
        params += 3 * q * (c + 1) + (q + 1) * c + TABLE_PARAMETERS
        params += (c + 1) * f + (f + 1) * c + 4 * c
    return params


def count_macs_paper(structure: Structure, resolution: int, num_classes: int) -> float:
    """The published complexity.

    It counts 198 tokens instead of 197 inside the blocks, applies the head to every token and has
    a rule of its own for the relative positions.
    """
    c, patches = structure.embed, (resolution // PATCH) ** 2
    tokens = patches + 1
    macs = patches * PATCH_VALUES * c + c + tokens * c / 2 + tokens * num_classes * c
    t = tokens + 1
    for q, f in structure.layers:
        macs += 2 * t * c + 3 * t * c * q + 2 * t**2 * q + t * q * c + 2 * t * c * f
        macs += 2 * MAX_DISTANCE * t**2 + t**2 / 2 + t * q / 2
    return macs


def count_macs_true(structure: Structure, resolution: int, num_classes: int) -> float:
    """The multiplications of every convolution and every matrix product."""
    c, side = structure.embed, resolution // PATCH
    tokens = side**2 + 1
    macs = side**2 * PATCH_VALUES * c + num_classes * c
    for q, f in structure.layers:
        macs += tokens * (3 * c * q + q * c + 2 * c * f) + 2 * tokens**2 * q
        macs += 2 * tokens * (2 * side + 1) * q  # a row, a column or the class token
    return macs


COUNTINGS = {"paper": count_macs_paper, "true": count_macs_true}
