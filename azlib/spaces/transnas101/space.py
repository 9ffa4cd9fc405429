"""TransNAS-Bench-101's micro space as a search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from azlib.settings import LARGEST_RESOLUTION
from azlib.spaces.base import EnumerableSpace, Preset
from azlib.spaces.cells.text import EDGES
from azlib.spaces.draws import draw, mutated
from azlib.spaces.limits import MOST_CLASSES, check_range, check_training
from azlib.spaces.transnas101 import cost, text
from azlib.spaces.transnas101.text import OPERATIONS, form, parse

if TYPE_CHECKING:
    import torch

    from azlib.spaces.transnas101.network import Network


@dataclass(frozen=True)
class TransNAS101Micro(EnumerableSpace):
    """The 4,096 cells of TransNAS-Bench-101's micro space.

    The benchmark trains every network on seven tasks, whose images are the same and whose heads
    AZ-NAS does not read. Here the head is a classifier.

    Attributes:
        num_classes: the number of classes, by default those of the task `class_object`.
        cost_resolution: pixels along a side of the images at which costs are counted.
        lean: whether to build networks without dead edges, which the AZ-NAS proxies cannot tell
            from the benchmark's own. False builds those.
        name: the name that score files and search logs carry.

    Raises:
        AzlibError: for a number out of its range.
    """

    num_classes: int = 75
    cost_resolution: int = 256
    lean: bool = True
    name: str = "transnas101-micro"

    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"paper": Preset(64, 256), "cpu": Preset(16, 64)}
    )

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
        """4,096."""
        return len(OPERATIONS) ** len(EDGES)

    def sample(self, rng: np.random.Generator) -> str:
        """One architecture, drawn uniformly from all 4,096."""
        return form(draw(rng, OPERATIONS, len(EDGES)))

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after the operation of a random edge was changed, `times` times."""
        return form(mutated(rng, OPERATIONS, parse(arch), times))

    def legal(self, arch: str) -> bool:
        """True, as the space has no budget. Raises `AzlibError` for a malformed architecture."""
        parse(arch)
        return True

    def canonical(self, arch: str) -> str:
        """The first architecture that is the same network, see `text.canonical`."""
        return text.canonical(arch)

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params` of the benchmark's network, dead edges included."""
        return cost.count(arch, self.num_classes, self.cost_resolution)

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network, which takes images of any size."""
        from azlib.spaces.transnas101.network import Network

        return Network(arch, self.num_classes, self.lean)

    def training_network(
        self,
        arch: str,
        num_classes: int,
        resolution: int,
        drop_path: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> Network:
        """The benchmark's own network with Kaiming-normal weights (fan-out), no drop path."""
        from azlib.inputs.initialisation import initialise
        from azlib.spaces.transnas101.network import Network

        check_training(num_classes, resolution, drop_path)
        network = Network(arch, num_classes)
        initialise(network, "kaiming_norm_fanout", rng)
        return network
