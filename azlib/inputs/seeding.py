"""Where randomness comes from: one stream for each seed, architecture and purpose."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, architecture: str, stream: str) -> torch.Generator:
    """A random stream that depends on (seed, architecture, stream) alone.

    So a score never depends on what was scored before it, on the number of processes or on a
    resumed run. Streams in use: "weights", "input", "signs", and others that single proxies name.
    The stream "supernet" goes with the largest architecture of a space, whichever is scored.
    """
    digest = hashlib.sha256(f"{seed}\n{architecture}\n{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
