"""Where randomness comes from: one stream for each seed, architecture and purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
    """Inside, what draws from PyTorch's own generator draws the same every time.

    For code of strangers, which knows no other generator. Afterwards that one goes on as before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
