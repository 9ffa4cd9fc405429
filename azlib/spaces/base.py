"""What a search space is: the members that scoring, search and training ask for.

A space is a small object, usually a frozen dataclass, whose architectures are strings. Subclass
`SearchSpace` and write the members that have no default: then every part of azlib can use it.
Nothing here loads torch, and a space need not load it before a network is built.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from azlib.assemblies import AZ_NAS
from azlib.errors import AzlibError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn
    from typing_extensions import Self


class Preset(NamedTuple):
    """How large an input is: a number of images, and pixels a side (None: the space's own)."""

    batch: int
    resolution: int | None = None


class Training(NamedTuple):
    """What a network is built for when it is going to be trained.

    num_classes: the number of logits, so that the network maps images of shape (B, 3, resolution,
    resolution) to (B, num_classes). resolution: pixels along a side of the images. drop_path: the
    rate at which the last residual branch is dropped, from 0 to below 1. rng: where the weights
    come from, by default torch's own generator.
    """

    num_classes: int
    resolution: int
    drop_path: float = 0.0
    rng: torch.Generator | None = None


@runtime_checkable
class SearchSpace(Protocol):
    """A set of architectures that can be drawn, built and counted.

    Two sizes of images must not be confused. The *scoring* size is that of the images which the
    network sees while its proxies are read; it is a setting of the scores
    (`ScoreSettings.resolution`). The *costing* size is the one at which the network will be used
    and at which `count` and `legal` count its costs; it belongs to the space, whose field for it is
    called `cost_resolution`. So a search may score cheaply at 112 pixels within a budget of FLOPs
    at 224 pixels.
    """

    # --- how it is scored, searched and trained; each has a default ---

    proxies: ClassVar[tuple[str, ...]] = AZ_NAS
    """The proxies that rank its architectures."""
    init: ClassVar[str] = "kaiming_norm_fanin"
    """The initialisation that its networks are scored with, see `ScoreSettings.init`."""
    supernet: ClassVar[bool] = False
    """Whether its networks have a method `inherit(seed)`, by which each takes its weights from one
    supernet that depends on the seed and on what all networks of the space share."""
    batch_statistics: ClassVar[bool] = True
    """Whether they are scored with the statistics of the batch, see `ScoreSettings`."""
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType({"paper": Preset(64)})
    """The sizes at which they are scored, by name; "paper" is always there."""
    rule: ClassVar[str] = "algorithm-1"
    """The search rule that suits the space: "algorithm-1" or "random"."""
    initial: ClassVar[str | None] = None
    """The architecture that Algorithm 1 starts from; None starts from random samples."""

    # --- what every space must say ---

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that score files and search logs carry."""
        ...

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape (B, C, H, W) of the images with which its networks are scored by default."""
        ...

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> str:
        """A random architecture. It may be illegal."""
        ...

    @abstractmethod
    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after `times` random changes. It may be illegal."""
        ...

    @abstractmethod
    def legal(self, arch: str) -> bool:
        """Whether an architecture is within the budgets and limits of the space.

        Raises `AzlibError` for a malformed architecture.
        """
        ...

    @abstractmethod
    def build(self, arch: str, resolution: int | None = None) -> nn.Module:
        """The network, whose attribute `primary_blocks` names the modules that AZ-NAS reads.

        It is a list of names, or a dictionary from them to the axis of their channels, 1 or -1.

        Args:
            arch: the architecture.
            resolution: pixels along a side of the images that the network will see. Only spaces
                whose layers depend on it read it (vision transformers); None means the size of
                `input_shape`.

        Raises:
            AzlibError: for a malformed architecture, or one too large to be built.
        """
        ...

    @abstractmethod
    def count(self, arch: str) -> dict[str, float]:
        """The costs of one architecture: at least `macs`, for one image, and `params`.

        Raises `AzlibError` for a malformed architecture.
        """
        ...

    # --- what has a default ---

    @property
    def recipe(self) -> str:
        """The name of the recipe that trains its networks, see `azlib.training.recipes`."""
        return "plain"

    def scored_at(self, resolution: int) -> Self:
        """The space as it counts costs when its networks are scored at that resolution.

        NAS-Bench-201 then counts at the scoring size. The ImageNet spaces count at 224 pixels
        whatever the scoring size; that is the default.
        """
        return self

    def canonical(self, arch: str) -> str:
        """The architecture that stands for all that are the same network; by default this one."""
        return arch

    @classmethod
    def read_budget(cls, text: str) -> dict[str, Any]:
        """The fields of the class, with their values, that a budget on the command line stands for.

        Raises `AzlibError` for a malformed budget. By default there is no budget, so that any text
        is refused.
        """
        raise AzlibError(f"the space {cls.__name__} has no budget: leave it out, got {text!r}")

    def training_network(self, arch: str, training: Training) -> nn.Module:
        """The network as its recipe trains it, with fresh weights.

        By default this is refused, as nothing is known about how the networks are trained.
        Raises `AzlibError` for a malformed architecture and an impossible value.
        """
        raise AzlibError(f"the space {self.name} does not say how its networks are trained")


@runtime_checkable
class EnumerableSpace(SearchSpace, Protocol):
    """A space that is small enough to list; `isinstance` tells it from the others."""

    @abstractmethod
    def __iter__(self) -> Iterator[str]:
        """All architectures, always in the same order."""
        ...

    @abstractmethod
    def __len__(self) -> int:
        """The number of architectures."""
        ...


MEMBERS = tuple(name for name in vars(SearchSpace) if not name.startswith("_"))
"""The names of everything that a search space has."""


def check_space(space: object) -> None:
    """Raises `AzlibError` unless an object has every member of a search space.

    The message names all members that are missing. Subclasses of `SearchSpace` have those with a
    default already, and Python itself refuses to make one that lacks another.
    """
    if isinstance(space, type):
        raise AzlibError(
            f"expected a search space, got the class {space.__name__}: make one, as in "
            f"{space.__name__}()"
        )
    missing = [name for name in MEMBERS if not hasattr(space, name)]
    if missing:
        raise AzlibError(
            f"an object of type {type(space).__name__} is no search space, as it lacks "
            f"{', '.join(missing)}: subclass azlib.spaces.base.SearchSpace, which has defaults for "
            "many of them, or ask azlib.spaces.get for a space by its name"
        )
