"""TransNAS-Bench-101's micro space as a search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from azlib.spaces.base import Preset, Training
from azlib.spaces.cells.text import EDGES
from azlib.spaces.limits import check_training
from azlib.spaces.listed import OneSizeSpace, Writing
from azlib.spaces.transnas101 import cost, text
from azlib.spaces.transnas101.text import OPERATIONS

if TYPE_CHECKING:
    from azlib.spaces.transnas101.network import Network


@dataclass(frozen=True)
class TransNAS101Micro(OneSizeSpace):
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

    writing: ClassVar[Writing] = Writing(
        OPERATIONS, len(EDGES), text.parse, text.form, text.enumerate_all, text.canonical
    )

    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"paper": Preset(64, 256), "cpu": Preset(16, 64)}
    )

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params` of the benchmark's network, dead edges included."""
        return cost.count(arch, self.num_classes, self.cost_resolution)

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network, which takes images of any size."""
        from azlib.spaces.transnas101.network import Network

        return Network(arch, self.num_classes, self.lean)

    def training_network(self, arch: str, training: Training) -> Network:
        """The benchmark's own network with Kaiming-normal weights (fan-out), no drop path."""
        from azlib.inputs.initialisation import initialise
        from azlib.spaces.transnas101.network import Network

        check_training(training)
        network = Network(arch, training.num_classes)
        initialise(network, "kaiming_norm_fanout", training.rng)
        return network
