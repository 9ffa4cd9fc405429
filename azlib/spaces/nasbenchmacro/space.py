"""NAS-Bench-Macro as a search space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from azlib.spaces.base import Training
from azlib.spaces.limits import check_training
from azlib.spaces.listed import OneSizeSpace, Writing
from azlib.spaces.nasbenchmacro import cost, text

if TYPE_CHECKING:
    from azlib.spaces.nasbenchmacro.network import Network

_DIGITS = range(len(text.OPERATIONS))


@dataclass(frozen=True)
class NASBenchMacro(OneSizeSpace):
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

    writing: ClassVar[Writing] = Writing(
        _DIGITS, text.LAYERS, text.parse, text.form, text.enumerate_all, text.canonical
    )

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params`, as the benchmark counts them."""
        return cost.count(arch, self.num_classes, self.cost_resolution)

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network, which takes images of any size."""
        from azlib.spaces.nasbenchmacro.network import Network

        return Network(arch, self.num_classes)

    def training_network(self, arch: str, training: Training) -> Network:
        """The network with Kaiming-normal weights (fan-in); it has no drop path."""
        from azlib.inputs.initialisation import initialise
        from azlib.spaces.nasbenchmacro.network import Network

        check_training(training)
        network = Network(arch, training.num_classes)
        initialise(network, self.init, training.rng)
        return network
