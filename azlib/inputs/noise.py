"""Gaussian images, the input that the paper scores with, and the check of input shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from azlib.errors import AzlibError


def gaussian(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """A batch of i.i.d. N(0, 1) images of the given shape (B, C, H, W), float32: the paper's input.

    Raises `AzlibError` as `check_shape` does.
    """
    check_shape(shape)
    return torch.randn(shape, generator=rng)


def check_shape(shape: tuple[int, ...]) -> None:
    """Raises `AzlibError` unless a shape is at least two positive integers, batch first, and the
    batch holds two images or more (batch statistics of one image are not defined)."""
    listed = isinstance(shape, tuple | list)
    if not listed or len(shape) < 2 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise AzlibError(
            f"input shape {shape!r}: expected positive integers, as in (64, 3, 32, 32)"
        )
    if shape[0] < 2:
        raise AzlibError(f"input shape {shape!r}: the batch (first number) must be at least 2")
