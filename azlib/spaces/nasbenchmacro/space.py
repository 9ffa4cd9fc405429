"""NAS-Bench-Macro as a search space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from azlib.settings import LARGEST_RESOLUTION
from azlib.spaces.base import EnumerableSpace
from azlib.spaces.draws import draw, mutated
from azlib.spaces.limits import MOST_CLASSES, check_range, check_training
from azlib.spaces.nasbenchmacro import cost, text
from azlib.spaces.nasbenchmacro.text import parse

if TYPE_CHECKING:
    import torch

    from azlib.spaces.nasbenchmacro.network import Network

_DIGITS = range(len(text.OPERATIONS))


@dataclass(frozen=True)
class NASBenchMacro(EnumerableSpace):
    """The 6,561 architectures of NAS-Bench-Macro, for images of 32 pixels.

    Attributes:
        num_classes: the number of classes, by default those of CIFAR-10.
        cost_resolution: pixels along a side of the images at which costs are counted.
        name: the name that score files and search logs carry.

    Raises:
        AzlibError: for a number out of its range.
    """

    num_classes: int = 10
    cost_resolution: int = 32
    name: str = "nasbench-macro"

    def __post_init__(self) -> None:
        check_range(1, MOST_CLASSES, num_classes=self.num_classes)
        check_range(1, LARGEST_RESOLUTION, cost_resolution=self.cost_resolution)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (B, C, H, W) of a batch of the paper's size, of the benchmark's images."""
        return (64, 3, self.cost_resolution, self.cost_resolution)

    def __iter__(self) -> Iterator[str]:
        """All architectures in the order of `text.enumerate_all`."""
        return iter(text.enumerate_all())

    def __len__(self) -> int:
        """6,561."""
        return len(text.enumerate_all())

    def sample(self, rng: np.random.Generator) -> str:
        """One architecture, drawn uniformly from all 6,561."""
        return text.form(draw(rng, _DIGITS, text.LAYERS))

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after the digit of a random layer was changed, `times` times."""
        return text.form(mutated(rng, _DIGITS, parse(arch), times))

    def legal(self, arch: str) -> bool:
        """True, as the space has no budget. Raises `AzlibError` for a malformed architecture."""
        parse(arch)
        return True

    def canonical(self, arch: str) -> str:
        """The first architecture that is the same network, see `text.canonical`."""
        return text.canonical(arch)

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params`, as the benchmark counts them."""
        return cost.count(arch, self.num_classes, self.cost_resolution)

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network, which takes images of any size."""
        from azlib.spaces.nasbenchmacro.network import Network

        return Network(arch, self.num_classes)

    def training_network(
        self,
        arch: str,
        num_classes: int,
        resolution: int,
        drop_path: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> Network:
        """The network with Kaiming-normal weights (fan-in); it has no drop path."""
        from azlib.inputs.initialisation import initialise
        from azlib.spaces.nasbenchmacro.network import Network

        check_training(num_classes, resolution, drop_path)
        network = Network(arch, num_classes)
        initialise(network, self.init, rng)
        return network
