"""A search space of your own: change it until it is yours.

An architecture is a text. Here it says for each of three stages how many blocks there are (d), how
many channels (w) and how large the kernels (k): `d2w16k3-d1w32k5-d3w64k3`. A stage begins by
halving the resolution, except for the first.

    azlib sweep --space my_space.py:MySpace --sample 20 --out scores.parquet
    azlib search --space my_space.py:MySpace --iterations 100 --out found.parquet
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from azlib.errors import AzlibError
from azlib.spaces import SearchSpace, Training

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

DEPTHS, WIDTHS, KERNELS = (1, 2, 3), (8, 16, 32, 64), (3, 5)
CHOICES = (DEPTHS, WIDTHS, KERNELS) * 3  # three stages
Numbers = list[int]


@dataclass(frozen=True)
class MySpace(SearchSpace):
    """Convolutional networks of three stages. Its fields are written into logs.

    num_classes: outputs. budget: multiply-accumulates per image that `legal` allows; None: any
    number. input_shape: (B, C, H, W) of the images, C of which every network takes.
    """

    num_classes: int = 10
    budget: float | None = None
    name: str = "my-space"
    input_shape: tuple[int, ...] = (64, 3, 32, 32)

    def sample(self, rng: np.random.Generator) -> str:
        """A random architecture, drawn from the generator that is given, and from nothing else."""
        return write([int(rng.choice(choices)) for choices in CHOICES])

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after one of its numbers was drawn anew, `times` times."""
        numbers = read(arch)
        for _ in range(times):
            place = int(rng.integers(len(CHOICES)))
            numbers[place] = int(rng.choice(CHOICES[place]))
        return write(numbers)

    def legal(self, arch: str) -> bool:
        """Whether an architecture is within the budget."""
        return self.budget is None or self.count(arch)["macs"] <= self.budget

    def count(self, arch: str) -> dict[str, float]:
        """The costs, from a formula, as a search asks for them more often than for a network."""
        _, channels, side, _ = self.input_shape
        macs = params = 0
        for stage, (depth, width, kernel) in enumerate(stages(arch)):
            side = side // 2 if stage else side
            for _ in range(depth):
                weights = channels * width * kernel**2
                macs, params, channels = (
                    macs + weights * side**2,
                    params + weights + 2 * width,
                    width,
                )
        head = channels * self.num_classes
        return {"macs": macs + head, "params": params + head + self.num_classes}

    def build(self, arch: str, resolution: int | None = None) -> nn.Module:
        """The network. It takes images of any size, so that the resolution is not needed here."""
        from torch import nn

        layers, blocks, channels = nn.Sequential(), [], self.input_shape[1]
        for stage, (depth, width, kernel) in enumerate(stages(arch)):
            if stage:
                layers.add_module(f"pool{stage}", nn.AvgPool2d(2))
            for number in range(depth):
                conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
                blocks.append(f"stage{stage}_block{number}")
                layers.add_module(blocks[-1], nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
                channels = width
        layers.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        layers.add_module("classifier", nn.Linear(channels, self.num_classes))
        # Where AZ-NAS reads; without this, azlib finds blocks itself.
        layers.primary_blocks = blocks  # type: ignore[assignment]
        return layers

    def training_network(self, arch: str, training: Training) -> nn.Module:
        """The network for `azlib train` and `azlib export`, with its weights drawn from `rng`."""
        from azlib.inputs.initialisation import initialise

        network = replace(self, num_classes=training.num_classes).build(arch, training.resolution)
        initialise(network, self.init, training.rng)
        return network

    @classmethod
    def read_budget(cls, text: str) -> dict[str, Any]:
        """The fields that `--budget 20e6` stands for."""
        try:
            return {"budget": float(text)}
        except ValueError:
            raise AzlibError(f"budget {text!r}: expected MACs, such as 20e6") from None


def read(arch: str) -> Numbers:
    """The numbers of an architecture. Raises `AzlibError` for another text."""
    numbers = [int(number) for number in re.findall(r"\d{1,4}", str(arch))]
    known = len(numbers) == len(CHOICES) and all(map(tuple.__contains__, CHOICES, numbers))
    if not known or write(numbers) != arch:
        raise AzlibError(
            f"architecture {str(arch)[:80]!r}: expected one like d2w16k3-d1w32k5-d3w64k3"
        )
    return numbers


def write(numbers: Numbers) -> str:
    """The text of nine numbers."""
    return "-".join("d{}w{}k{}".format(*numbers[i : i + 3]) for i in range(0, len(numbers), 3))


def stages(arch: str) -> list[Numbers]:
    """Depth, width and kernel size of each stage."""
    numbers = read(arch)
    return [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
