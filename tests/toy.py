"""A search space without networks: quick to search, and to start in another process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from azlib.aggregation import AZ_NAS
from azlib.scoring import Execution
from azlib.search import Algorithm1, search
from azlib.spaces.base import SearchSpace


@dataclass(frozen=True)
class Toy(SearchSpace):
    """Words of six letters a to j; their sum, the MACs in millions, must stay within a budget."""

    budget: int = 30
    name: ClassVar[str] = "toy"
    input_shape: ClassVar[tuple[int, ...]] = (2, 3, 8, 8)

    def build(self, arch, resolution=None):
        raise RuntimeError("a toy has no networks")

    def sample(self, rng):
        return "".join("abcdefghij"[i] for i in rng.integers(10, size=6))

    def mutate(self, arch, rng, times=1):
        letters = list(arch)
        for _ in range(times):
            letters[rng.integers(6)] = "abcdefghij"[rng.integers(10)]
        return "".join(letters)

    def count(self, arch):
        total = sum(map("abcdefghij".index, arch))
        return {"macs": total * 1e6, "params": total + 1}

    def legal(self, arch):
        return self.count(arch)["macs"] <= self.budget * 1e6


@dataclass(frozen=True)
class Rooted(Toy):
    initial: ClassVar[str] = "aaaaaa"


def score(arch):
    """Four scores with many ties; expressivity favours large sums; some scores are NaN."""
    noise = [byte % 16 for byte in sha256(arch.encode()).digest()[:4]]
    size = sum(map("abcdefghij".find, arch))
    values = [float("nan") if n == 3 else n / 4 for n in (noise[0] + size, *noise[1:])]
    return dict(zip(AZ_NAS, values, strict=True))


def slow_score(arch):
    time.sleep(0.004)
    return score(arch)


def deadly_score(arch):
    os._exit(1)


def slow_search(out=None):
    rule = Algorithm1(30, generation=3)
    execution = Execution(workers=1, checkpoint=0, progress=False)
    return search(Rooted(), rule, slow_score, iterations=240, seed=7, out=out, execution=execution)
