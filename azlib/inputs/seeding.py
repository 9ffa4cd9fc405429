"""Where randomness comes from: one stream for each seed, architecture and purpose."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from azlib.running import forked_rng


def generator(seed: int, architecture: str, stream: str) -> torch.Generator:
    """A random stream that depends on (seed, architecture, stream) alone.

    So a score never depends on what was scored before it, on the number of processes or on a
    resumed run. Streams in use: "weights", "input", "signs", and others that single proxies name.
    The stream "supernet" goes with the largest architecture of a space, whichever is scored.
    """
    digest = hashlib.sha256(f"{seed}\n{architecture}\n{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, what draws from the global generators draws the same every time.

    For code of strangers, which knows no others. Afterwards these go on as before.
    """
    with forked_rng("cpu"):
        seed_all(seed)
        yield


def seed_all(seed: int, device: str = "cpu") -> None:
    """Seeds the global generators of PyTorch, on this device and the CPU, of Python and of NumPy.

    `torch.manual_seed` would seed those of all other devices, too.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if device != "cpu":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
