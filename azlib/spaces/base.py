"""What a search space is: the members that scoring, search and training ask for.

A space is a small object, usually a frozen dataclass, whose architectures are strings. Subclass
`SearchSpace`, write the members that have no default, and every part of azlib can use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from azlib.aggregation import AZ_NAS
from azlib.errors import AzlibError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


class Preset(NamedTuple):
    """How large an input is: a number of images, and pixels a side (None: the space's own)."""

    batch: int
    resolution: int | None = None


class SearchSpace(Protocol):
    """A set of architectures that can be drawn, built and counted.

    Two sizes must not be confused. *Scoring* feeds images of `ScoreSettings.resolution` pixels to
    the network that `build` returns. *Costing* (`count`, `legal`) speaks of the network as it will
    be used, at a resolution that belongs to the space. So a search may score cheaply at 112 pixels
    within a budget of FLOPs at 224.
    """

    # --- how it is scored, searched and trained; each has a default ---

    proxies: ClassVar[tuple[str, ...]] = AZ_NAS
    """Proxies that rank its architectures."""
    init: ClassVar[str] = "kaiming_norm_fanin"
    """Initialisation that they are scored with, see `ScoreSettings.init`."""
    batch_statistics: ClassVar[bool] = True
    """See `ScoreSettings.batch_statistics`."""
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType({"paper": Preset(64)})
    """Sizes to score at, by name; "paper" is always there."""
    rule: ClassVar[str] = "algorithm-1"
    """Search rule that suits it: "algorithm-1" or "random"."""
    recipe: ClassVar[str] = "plain"
    """Training recipe of its networks, see `azlib.training.recipes`."""
    initial: ClassVar[str | None] = None
    """Architecture that Algorithm 1 starts from; None starts from random samples."""

    # --- what every space must say ---

    @property
    def name(self) -> str:
        """The name that score files and search logs carry."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(B, C, H, W) of the input at which its networks are scored by default."""
        ...

    def sample(self, rng: np.random.Generator) -> str:
        """A random architecture; it may be illegal."""
        ...

    def mutate(self, arch: str, rng: np.random.Generator, times: int = 1) -> str:
        """The architecture after `times` random changes; it may be illegal."""
        ...

    def legal(self, arch: str) -> bool:
        """Whether an architecture belongs to the space and is within its budgets."""
        ...

    def build(self, arch: str, resolution: int | None = None) -> nn.Module:
        """The network, for images of `resolution` pixels a side where its layers depend on that.

        It names the modules that AZ-NAS reads in an attribute `primary_blocks`.
        Raises `AzlibError` for a malformed architecture.
        """
        ...

    def count(self, arch: str) -> dict[str, float]:
        """The costs of one architecture: at least `macs` (for one image) and `params`.

        Raises `AzlibError` for a malformed architecture.
        """
        ...

    # --- what has a default ---

    def canonical(self, arch: str) -> str:
        """The architecture that stands for all that are the same network; by default itself."""
        return arch

    @classmethod
    def read_budget(cls, text: str) -> dict[str, object]:
        """The options of the class that a budget on the command line means.

        Raises `AzlibError` for a malformed budget; by default for any, as there is none.
        """
        raise AzlibError(f"{cls.__name__} has no budget: leave --budget out")

    def training_network(
        self,
        arch: str,
        num_classes: int,
        resolution: int,
        drop_path: float = 0.0,
        rng: torch.Generator | None = None,
    ) -> nn.Module:
        """The network as its recipe trains it: (B, 3, resolution, resolution) → (B, num_classes).

        Raises `AzlibError` where nobody has said how; that is the default.
        """
        raise AzlibError(f"the space {self.name} does not say how its networks are trained")


class EnumerableSpace(SearchSpace, Protocol):
    """A space that is small enough to list."""

    def __iter__(self) -> Iterator[str]:
        """All architectures, always in the same order."""
        ...

    def __len__(self) -> int: ...
