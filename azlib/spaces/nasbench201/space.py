"""NAS-Bench-201 as a search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from azlib.errors import unknown
from azlib.settings import LARGEST_RESOLUTION
from azlib.spaces.base import Preset, Training
from azlib.spaces.cells.text import EDGES
from azlib.spaces.limits import check_range, check_training
from azlib.spaces.listed import ListedSpace, Writing
from azlib.spaces.nasbench201 import cost, text
from azlib.spaces.nasbench201.text import DATASETS, OPERATIONS

if TYPE_CHECKING:
    from typing_extensions import Self

    from azlib.spaces.nasbench201.network import Network


@dataclass(frozen=True)
class NASBench201(ListedSpace):
    """The 15,625 architectures of NAS-Bench-201, for one of its data sets.

    Attributes:
        dataset: one of `DATASETS`, which says how many classes the networks tell apart.
        cost_resolution: pixels along a side of the images at which costs are counted and, unless
            something else is asked for, networks are scored; None means those of the data set.
        lean: whether to build networks without dead edges, which the AZ-NAS proxies cannot tell
            from the benchmark's own. False builds those.
        name: the name that score files and search logs carry.

    Raises:
        AzlibError: for an unknown data set or an impossible size.
    """

    dataset: str = "cifar10"
    cost_resolution: int | None = None
    lean: bool = True
    name: str = "nasbench201"

    writing: ClassVar[Writing] = Writing(
        OPERATIONS, len(EDGES), text.parse, text.form, text.enumerate_all, text.canonical
    )

    # Notebook 22: the cheapest setting whose τ is within 0.005 of the paper's on all data sets.
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"paper": Preset(64), "quick": Preset(12, 32)}
    )

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise unknown("data set", self.dataset, DATASETS)
        if self.cost_resolution is not None:
            check_range(1, LARGEST_RESOLUTION, cost_resolution=self.cost_resolution)

    @property
    def num_classes(self) -> int:
        """The number of classes of the data set."""
        return DATASETS[self.dataset][0]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (B, C, H, W) of the paper's batch, at the size at which costs are counted."""
        size = self.cost_resolution or DATASETS[self.dataset][1]
        return (64, 3, size, size)

    def scored_at(self, resolution: int) -> Self:
        """The space with costs counted at the scoring size, as its score files have them."""
        return replace(self, cost_resolution=resolution)

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params`, as the benchmark counts them."""
        return cost.count(arch, self.num_classes, self.input_shape[-1])

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network for the classes of the data set; it takes images of any size."""
        from azlib.spaces.nasbench201.network import Network

        return Network(arch, self.num_classes, self.lean)

    def training_network(self, arch: str, training: Training) -> Network:
        """The benchmark's own network with Kaiming-normal weights (fan-in); it has no drop path."""
        from azlib.inputs.initialisation import initialise
        from azlib.spaces.nasbench201.network import Network

        check_training(training)
        network = Network(arch, training.num_classes)
        initialise(network, self.init, training.rng)
        return network
