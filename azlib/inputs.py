"""What is fed to a network, and where its randomness comes from."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from azlib.errors import AzlibError


def generator(seed: int, architecture: str, stream: str) -> torch.Generator:
    """A random stream that depends on (seed, architecture, stream) alone.

    So a score never depends on what was scored before it, on the number of processes or on a
    resumed run. Streams in use: "weights", "input", "signs".
    """
    digest = hashlib.sha256(f"{seed}\n{architecture}\n{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


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
