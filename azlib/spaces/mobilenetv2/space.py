"""The MobileNetV2 space of the ImageNet search (Table 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from azlib.errors import AzlibError, unknown
from azlib.settings import LARGEST_RESOLUTION, check_at_least
from azlib.spaces.base import Preset, SearchSpace, Training
from azlib.spaces.limits import MOST_CLASSES, abridged, check_network, check_range, check_training
from azlib.spaces.mobilenetv2.cost import COUNTINGS
from azlib.spaces.mobilenetv2.mutation import TYPE_LISTS, mutate
from azlib.spaces.mobilenetv2.text import (
    INITIAL,
    MOST_LAYERS,
    SMALLEST,
    Block,
    Residual,
    format,
    layers,
    parse,
)

if TYPE_CHECKING:
    from azlib.spaces.mobilenetv2.network import Network

MAX_LAYERS = {450e6: 14, 600e6: 14, 1000e6: 16}
"""The published limit on layers at each published budget of FLOPs."""

# Before its selection begins, Algorithm 1 has drawn 1023 candidates from uniform parents, which are
# about ln(1023) = 7 mutations away from the initial structure. 1 to 14 steps have that mean.
SAMPLE_STEPS = 14
TRIES = 10_000


@dataclass(frozen=True)
class MobileNetV2(SearchSpace):
    """The structures of inverted bottlenecks that are within a budget of FLOPs.

    Architectures are structure texts, see `text.parse`.

    Attributes:
        budget: the largest FLOPs that are legal, in the paper's counting, without
            squeeze-and-excitation and at `cost_resolution`; None for no budget.
        max_layers: the most layers that are legal. The stem, the last convolution and every layer
            of a residual block count one each. None is the published limit (14, 14, 16) at the
            published budgets (450e6, 600e6, 1000e6), and 1,000 at any other.
        types: how mutations draw expansion and kernel: "published" favours small ones with weights
            of 12, 12, 11, ..., 2 out of 89, "uniform" does not.
        se: whether networks are built and counted with squeeze-and-excitation, with which the paper
            trains but never searches.
        num_classes: the number of classes.
        cost_resolution: pixels along a side of the images at which costs are counted, 224 in the
            paper. It need not be smaller to score at smaller images, as networks take any size.
        taps: what the proxies read besides the stem and the last convolution: "all" inverted
            bottlenecks, as in the paper, or the last ones of the "superblocks".

    Raises:
        AzlibError: for an unknown name, a number out of its range, and a budget or a limit on
            layers below the smallest network.
    """

    budget: float | None = None
    max_layers: int | None = None
    types: str = "published"
    se: bool = False
    num_classes: int = 1000
    cost_resolution: int = 224
    taps: str = "all"

    initial: ClassVar[str | None] = INITIAL
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"paper": Preset(64, 224), "cpu": Preset(16, 112)}
    )

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("type distribution", self.types, TYPE_LISTS),
            ("choice of taps", self.taps, ("all", "superblocks")),
        ):
            if given not in known:
                raise unknown(kind, given, known)
        check_range(1, MOST_CLASSES, num_classes=self.num_classes)
        check_range(1, LARGEST_RESOLUTION, cost_resolution=self.cost_resolution)
        if self.max_layers is not None:
            # The fewest are those of the smallest network, its stem and last convolution included.
            check_range(layers(parse(SMALLEST)), MOST_LAYERS, max_layers=self.max_layers)
        smallest = self.count(SMALLEST, se=False)["macs"]
        if self.budget is not None and not (
            isinstance(self.budget, int | float) and self.budget >= smallest
        ):
            raise AzlibError(
                f"budget={abridged(self.budget)} is below the smallest network's {smallest:,} "
                "FLOPs: give at least that, in FLOPs (the paper's smallest budget is 450e6)."
            )

    @classmethod
    def read_budget(cls, text: str) -> dict[str, Any]:
        """The budget in FLOPs, which is written as 450M, 450e6 or 450000000."""
        number, unit = (text[:-1], 1e6) if text.endswith("M") else (text, 1)
        try:
            flops = float(number) * unit
        except ValueError:
            flops = math.nan
        if not 0 < flops < math.inf:
            raise AzlibError(f"budget {abridged(text)}: expected FLOPs, such as 450M or 450e6")
        return {"budget": flops}

    @property
    def name(self) -> str:
        """The name of the space, which says what the proxies read."""
        return "mobilenetv2" if self.taps == "all" else f"mobilenetv2-{self.taps}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (B, C, H, W) of the paper's batch, at the size at which costs are counted."""
        return (64, 3, self.cost_resolution, self.cost_resolution)

    @property
    def layer_limit(self) -> int:
        """The most layers that are legal."""
        if self.max_layers is not None:
            return self.max_layers
        return MOST_LAYERS if self.budget is None else MAX_LAYERS.get(self.budget, MOST_LAYERS)

    def sample(self, rng: np.random.Generator) -> str:
        """A random legal architecture: where a walk of mutations from the initial one ends.

        The walk has 1 to 14 steps, all numbers being equally likely, of two mutations each; a step
        to an illegal architecture is redrawn. So architectures are spread like the population of
        Algorithm 1 before its selection begins, and not uniformly over the space. Without a budget
        a few exceed 10 GFLOPs.

        Raises `AzlibError` when 10,000 draws of a step are illegal.
        """
        arch = INITIAL
        for _ in range(rng.integers(1, SAMPLE_STEPS + 1)):
            tries = (self.mutate(arch, rng, times=2) for _ in range(TRIES))
            child = next(filter(self.legal, tries), None)
            if child is None:
                raise AzlibError(
                    f"none of {TRIES:,} mutations of {arch!r} is legal with budget={self.budget} "
                    f"and max_layers={self.layer_limit}: raise one of them."
                )
            arch = child
        return arch

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after up to `times` of its blocks were redrawn, as in Algorithm 1.

        As published, a block that is drawn twice is redrawn once, and the last convolution never
        changes. The outcome may equal `arch`, and it may be illegal.
        """
        check_at_least(1, times=times)
        return format(mutate(parse(arch), TYPE_LISTS[self.types], rng, times))

    def legal(self, arch: str) -> bool:
        """Whether the architecture is within the limit on layers and the budget of FLOPs."""
        if layers(parse(arch)) > self.layer_limit:
            return False
        return self.budget is None or self.count(arch, se=False)["macs"] <= self.budget

    def count(
        self,
        arch: str,
        counting: str = "paper",
        se: bool | None = None,
        resolution: int | None = None,
    ) -> dict[str, float]:
        """The costs of one architecture, in absolute numbers.

        Args:
            arch: the architecture.
            counting: "paper" gives `macs`, the published FLOPs (multiply-accumulates and the
                elements of batch norms), and `params`, both with the published quirks: sizes after
                a stride are rounded down, a strided projection is divided by the stride twice, a
                batch norm has one parameter for each channel and that of a projection none, and the
                classifier has one bias. "true" gives `macs` of convolutions and linear layers,
                `bn`, the elements that batch norms read, and `params`, all as in the network that
                `build` returns.
            se: whether there is squeeze-and-excitation; None means as the space says.
            resolution: pixels along a side of the image; None means `cost_resolution`.
        """
        if counting not in COUNTINGS:
            raise unknown("counting", counting, COUNTINGS)
        resolution = self.cost_resolution if resolution is None else resolution
        check_range(1, LARGEST_RESOLUTION, resolution=resolution)
        blocks = _parse_whole(arch)
        return COUNTINGS[counting](
            blocks, self.se if se is None else se, resolution, self.num_classes
        )

    def layers(self, arch: str) -> list[tuple[int, str, str]]:
        """(output channels, kernel, expansion) of every inverted bottleneck, as texts to draw.

        An arrow behind the expansion marks a stride of two.
        """
        return [
            (
                half.out,
                f"{half.kernel} × {half.kernel}",
                f"{block.expansion}{'↓' * (half.stride - 1)}",
            )
            for block in _parse_whole(arch)
            if isinstance(block, Residual)
            for half in block.halves()
        ]

    def build(self, arch: str, resolution: int | None = None) -> Network:
        """The network, which takes images of any size and has the weights that torch gives it."""
        from azlib.spaces.mobilenetv2.network import Network

        blocks = _parse_whole(arch)
        check_network(self.name, self.count(arch, counting="true")["params"])
        return Network(blocks, self.num_classes, self.se, self.taps)

    def training_network(self, arch: str, training: Training) -> Network:
        """The network with squeeze-and-excitation and Kaiming-normal weights (fan-in).

        The last batch norm of every inverted bottleneck starts at zero. There is no drop path.
        """
        from azlib.inputs.initialisation import initialise

        check_training(training)
        network = replace(self, budget=None, num_classes=training.num_classes, se=True).build(arch)
        initialise(network, self.init, training.rng)
        network.zero_last_norms()
        return network


def _parse_whole(arch: str) -> tuple[Block, ...]:
    """The blocks of a structure that can be counted and built, as it has few enough layers."""
    blocks = parse(arch)
    if (number := layers(blocks)) > MOST_LAYERS:
        raise AzlibError(
            f"this MobileNetV2 structure has {number:,} layers: expected at most {MOST_LAYERS:,}"
        )
    return blocks
