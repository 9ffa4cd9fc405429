"""Gaussian images, the input that the paper scores with."""

from __future__ import annotations

import torch
from torch import Tensor

from azlib.settings import check_shape


def gaussian(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """A batch of i.i.d. N(0, 1) images of the given shape (B, C, H, W), float32: the paper's input.

    Raises `AzlibError` as `settings.check_shape` does.
    """
    check_shape(shape)
    return torch.randn(shape, generator=rng)
