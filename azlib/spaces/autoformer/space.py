"""The AutoFormer spaces of vision transformers (Table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from azlib.errors import AzlibError, unknown
from azlib.spaces.autoformer.cost import COUNTINGS, PATCH, count_params
from azlib.spaces.autoformer.text import BUDGETS, SIZES, Choices, Structure, parse
from azlib.spaces.base import Preset, SearchSpace, Training
from azlib.spaces.draws import draw, redraw
from azlib.spaces.limits import MOST_CLASSES, check_network, check_range

if TYPE_CHECKING:
    import torch

    from azlib.spaces.autoformer.network import AutoFormerNetwork

LARGEST_IMAGE = 1_024  # pixels along a side; attention takes memory by its fourth power


@dataclass(frozen=True)
class AutoFormer(SearchSpace):
    """One of the three spaces of vision transformers, within a range of parameters.

    These networks are scored with an initialisation of their own
    (`AutoFormerNetwork.initialise`), with running statistics and without progressivity. With
    `ScoreSettings.init` "supernet" they are scored as the authors did, as slices of one supernet
    (`AutoFormerNetwork.inherit`).

    Attributes:
        size: "tiny", "small" or "base".
        budget: the range of parameters of the search, the paper's "default" or that of "tf-tas".
        num_classes: the number of classes.
        cost_resolution: pixels along a side of the images at which costs are counted and, unless
            `build` is told otherwise, for which networks are built. A multiple of 16.
        logit_scale: what multiplies the attention logits: "search" is 64^-0.5, as when the authors
            scored, and "trained" is (embed // heads)^-0.5, as when they trained.

    Raises:
        AzlibError: for an unknown name or a number out of its range.
    """

    size: str = "tiny"
    budget: str = "default"
    num_classes: int = 1000
    cost_resolution: int = 224
    logit_scale: str = "search"

    proxies: ClassVar[tuple[str, ...]] = ("expressivity", "trainability", "complexity")
    init: ClassVar[str] = "own"
    supernet: ClassVar[bool] = True
    batch_statistics: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"paper": Preset(64, 224), "cpu": Preset(4, 112)}
    )
    rule: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("size", self.size, SIZES),
            ("budget", self.budget, BUDGETS),
            ("logit_scale", self.logit_scale, ("search", "trained")),
        ):
            if given not in known:
                raise unknown(f"AutoFormer {kind}", given, known)
        _check_resolution("cost_resolution", self.cost_resolution)
        check_range(1, MOST_CLASSES, num_classes=self.num_classes)

    @classmethod
    def read_budget(cls, text: str) -> dict[str, Any]:
        """The budget, which is one of the names in `BUDGETS`."""
        if text not in BUDGETS:
            raise unknown("AutoFormer budget", text, BUDGETS)
        return {"budget": text}

    @property
    def name(self) -> str:
        """The name of the space, which says its size."""
        return f"autoformer-{self.size}"

    @property
    def recipe(self) -> str:
        """The recipe of the authors, who train the largest networks for fewer epochs."""
        return "autoformer-base" if self.size == "base" else "autoformer"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (B, C, H, W) of the paper's batch, at the size at which costs are counted."""
        return 64, 3, self.cost_resolution, self.cost_resolution

    @property
    def choices(self) -> Choices:
        """What networks of this size are made of."""
        return SIZES[self.size]

    def parse(self, arch: str) -> Structure:
        """The structure that a text describes, see `text.parse`."""
        return parse(arch, self.choices, self.name)

    def sample(self, rng: np.random.Generator) -> str:
        """A uniform architecture, drawn in the published order. It may exceed the budget."""
        choices = self.choices
        (depth,) = draw(rng, choices.depth, 1)
        mlp = draw(rng, choices.mlp, depth)
        heads = draw(rng, choices.heads, depth)
        (embed,) = draw(rng, choices.embed, 1)
        return str(Structure(embed, mlp, heads))

    def sample_legal(self, rng: np.random.Generator, tries: int = 10_000) -> str:
        """The first of up to `tries` uniform architectures that is within the budget.

        About 9 % (tiny) to 23 % (base, "tf-tas") of them are. Raises `AzlibError` if none is.
        """
        for _ in range(tries):
            if self.legal(arch := self.sample(rng)):
                return arch
        raise AzlibError(
            f"none of {tries} {self.name} architectures was within the {self.budget!r} budget: "
            "give more tries."
        )

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after one gene was changed, `times` times. It may exceed the budget.

        Every gene (depth, embed, each ratio, each number of heads) is equally likely and takes one
        of its other values. A deeper network gets new uniform layers at its end, a shallower one
        loses its last layers. The published search does not mutate.
        """
        choices = self.choices
        embed, mlp, heads = self.parse(arch)
        for _ in range(times):
            depth = len(heads)
            gene, layer = divmod(int(rng.integers(2 * depth + 2)), depth)
            if gene == 0:
                mlp = redraw(rng, choices.mlp, mlp, layer)
            elif gene == 1:
                heads = redraw(rng, choices.heads, heads, layer)
            elif layer == 0:
                (embed,) = redraw(rng, choices.embed, (embed,), 0)
            else:
                (depth,) = redraw(rng, choices.depth, (depth,), 0)
                grown = max(0, depth - len(heads))
                mlp = mlp[:depth] + draw(rng, choices.mlp, grown)
                heads = heads[:depth] + draw(rng, choices.heads, grown)
        return str(Structure(embed, mlp, heads))

    def legal(self, arch: str) -> bool:
        """Whether the ImageNet network (224 pixels, 1000 classes) is within the budget.

        `cost_resolution` and `num_classes` of the space do not matter, so that a search for other
        images searches the same architectures.
        """
        low, high = BUDGETS[self.budget][self.size]
        return low <= count_params(self.parse(arch), resolution=224, num_classes=1000) <= high

    def count(self, arch: str, counting: str = "paper") -> dict[str, float]:
        """`macs` for one image and `params` of the network that `build` returns.

        `counting` says how multiply-accumulates are counted: "paper" gives the published complexity
        and "true" the multiplications that are done, see `cost`. The parameters are exact either
        way. Raises `AzlibError` for another name.
        """
        if counting not in COUNTINGS:
            raise unknown("counting", counting, COUNTINGS)
        sizes = self.parse(arch), self.cost_resolution, self.num_classes
        return {"macs": float(COUNTINGS[counting](*sizes)), "params": float(count_params(*sizes))}

    def layers(self, arch: str) -> list[tuple[int, str, str]]:
        """(width, kind, label) of every half of a layer, as texts to draw.

        The label of attention is its number of heads, each of width 64. The label of an MLP is its
        ratio, and its width is that of the hidden layer.
        """
        structure = self.parse(arch)
        halves: list[tuple[int, str, str]] = []
        for (attention, hidden), heads, ratio in zip(
            structure.layers, structure.heads, structure.mlp, strict=True
        ):
            halves += [(attention, "attention (heads)", f"{heads}")]
            halves += [(hidden, "MLP (ratio)", f"{ratio:g}")]
        return halves

    def build(
        self,
        arch: str,
        resolution: int | None = None,
        drop_path: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> AutoFormerNetwork:
        """The network of an architecture on its own, with weights from `initialise`.

        Args:
            arch: the architecture.
            resolution: pixels along a side of the images; None means `cost_resolution`.
            drop_path: the rate of the last block of a network of the greatest depth; the blocks
                before it have equally spaced rates, from 0.
            rng: where the weights come from, by default torch's own generator.

        Raises:
            AzlibError: for a malformed architecture, an impossible rate or size, and a network
                too large to be built.
        """
        from azlib.spaces.autoformer.network import AutoFormerNetwork

        structure = self.parse(arch)
        resolution = self.cost_resolution if resolution is None else resolution
        _check_resolution("resolution", resolution)
        check_network(self.name, count_params(structure, resolution, self.num_classes))
        if not 0 <= drop_path < 1:
            raise AzlibError(f"drop_path is {drop_path}: give a rate from 0 to below 1.")
        network = AutoFormerNetwork(
            structure,
            num_classes=self.num_classes,
            side=resolution // PATCH,
            logit_scale=self.logit_scale,
            drop_path=np.linspace(0, drop_path, max(self.choices.depth)).tolist(),
            largest=self.choices.largest,
        )
        network.initialise(rng)
        return network

    def training_network(self, arch: str, training: Training) -> AutoFormerNetwork:
        """The network of `build` with the logit scale with which the authors trained."""
        space = replace(self, num_classes=training.num_classes, logit_scale="trained")
        return space.build(arch, training.resolution, training.drop_path, training.rng)


def _check_resolution(name: str, pixels: int) -> None:
    """Raises `AzlibError` for a size that is too large or does not split into patches."""
    check_range(PATCH, LARGEST_IMAGE, **{name: pixels})
    if pixels % PATCH:
        raise AzlibError(
            f"{name} {pixels} does not split into {PATCH}-pixel patches: give a multiple of {PATCH}"
        )
