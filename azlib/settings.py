"""What a score depends on besides the architecture and the seed, checked where it is made.

Nothing here loads torch, so that settings can be read from a file, compared and printed quickly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from azlib.assemblies import AZ_NAS, expanded
from azlib.errors import AzlibError, unknown

if TYPE_CHECKING:
    from azlib.spaces.base import SearchSpace

INITIALISATIONS = (
    "kaiming_norm_fanin",
    "kaiming_norm_fanout",
    "kaiming_uni_fanin",
    "kaiming_uni_fanout",
    "xavier_norm",
    "xavier_uni",
    "plain_norm",
    "plain_uni",
)
"""Names of the weight initialisations that the paper's code compares; the first is the paper's."""
BY_NETWORK = ("own", "supernet")
"""Initialisations that only networks with a method for them know: `initialise` and `inherit`."""
PRECISIONS = ("float32", "bfloat16")
"""Names of the number formats in which a network can be run, the first being the usual one."""
LARGEST_SEED = 2**63 - 1
LARGEST_BATCH = 65_536  # images
LARGEST_RESOLUTION = 4_096  # pixels along a side
IMAGE_SHAPE = (64, 3, 32, 32)
"""The paper's input for CIFAR-10: 64 RGB images of 32×32 pixels."""


@dataclass(frozen=True)
class ScoreSettings:
    """Everything besides architecture and seed that a score depends on.

    proxies: names of registered proxies, each once; an assembly's name stands for its members.
    input_shape: (B, C, H, W) for images, or another shape with the batch first.
    init: how weights are drawn, one of `INITIALISATIONS`; "own" asks the network itself (vision
        transformers bring their own rule); "supernet" slices them from one network, the largest of
        the search space, which is drawn from the seed alone, so that networks of the same seed
        share all weights that they have in common (AutoFormer spaces only). Normalisation layers
        and layer scales get weight 1, other parameters keep their values. None keeps all weights
        that the network has; then networks also differ by how their authors start them, and a
        block whose scale starts at zero is left out of trainability. Inputs and signs depend on
        the architecture too in every case, and so do the weights of proxies that are defined with
        an initialisation of their own.
    batch_statistics: whether normalisation layers use the statistics of the batch while the AZ-NAS
        proxies are read, as the paper does for CNNs. False uses running statistics, as it does for
        vision transformers.
    noise_source: what proxies that read noise are fed: "gaussian", or a source of images.
    labelled_images: where proxies that are defined on images with labels get them (see
        `azlib.inputs.images`); None if no proxy reads them.
    device: "cpu", "cuda" or "cuda:0".
    precision: in which format the AZ-NAS proxies run the network, one of `PRECISIONS`. Weights are
        drawn, and features are summed, in single precision all the same; other proxies know no
        other.

    Raises `AzlibError` for a value out of its range, with the range.
    """

    proxies: tuple[str, ...] = AZ_NAS
    input_shape: tuple[int, ...] = IMAGE_SHAPE
    init: str | None = INITIALISATIONS[0]
    batch_statistics: bool = True
    noise_source: str = "gaussian"
    labelled_images: str | None = "patches"
    device: str = "cpu"
    precision: str = PRECISIONS[0]

    def __post_init__(self) -> None:
        object.__setattr__(self, "proxies", tuple(dict.fromkeys(expanded(self.proxies))))
        if not self.proxies:
            raise AzlibError("no proxy given: name at least one, such as expressivity")
        object.__setattr__(self, "input_shape", check_shape(self.input_shape))
        if self.init not in (None, *BY_NETWORK, *INITIALISATIONS):
            hint = "None (`none` on the command line) keeps the weights that a network has."
            raise unknown("initialisation", self.init, (*INITIALISATIONS, *BY_NETWORK), hint)
        if not isinstance(self.batch_statistics, bool):
            raise AzlibError(f"batch_statistics={self.batch_statistics!r}: expected True or False")
        object.__setattr__(self, "device", device_name(self.device))
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)

    @classmethod
    def for_space(
        cls, space: SearchSpace, preset: str | None = None, **changes: Any
    ) -> ScoreSettings:
        """The settings that a search space is scored with, at one of its presets.

        preset: a name in `space.presets`, by default "paper". changes: fields of this class, and
        `batch` and `resolution`; None leaves what the space says.
        Raises `AzlibError` for an unknown preset, for values out of range, and as `suited_to` does.
        """
        preset = "paper" if preset is None else preset
        if preset not in space.presets:
            raise unknown(f"preset of {space.name}", preset, space.presets)
        batch, resolution = space.presets[preset]
        settings = cls(
            proxies=space.proxies,
            input_shape=space.input_shape,
            init=space.init,
            batch_statistics=space.batch_statistics,
        )
        return settings.sized(batch, resolution).changed(**changes).suited_to(space)

    def suited_to(self, space: SearchSpace) -> ScoreSettings:
        """The same settings. Raises `AzlibError` for a supernet that a space does not have."""
        if self.init == "supernet" and not space.supernet:
            raise AzlibError(
                f'init="supernet": the space {space.name} has no supernet, the AutoFormer spaces '
                f"have one; its own initialisation is {space.init!r}"
            )
        return self

    def changed(self, **changes: Any) -> ScoreSettings:
        """A copy with other values; those that are None stay. `batch` and `resolution` resize."""
        given = {name: value for name, value in changes.items() if value is not None}
        batch, resolution = given.pop("batch", None), given.pop("resolution", None)
        for name in given:
            if name not in (known := [field.name for field in fields(self)]):
                raise unknown("setting", name, [*known, "batch", "resolution"])
        return replace(self, **given).sized(batch, resolution)

    def sized(self, batch: int | None = None, resolution: int | None = None) -> ScoreSettings:
        """A copy with another number of images and another size in pixels of (B, C, H, W) input."""
        shape = list(self.input_shape)
        if batch is not None:
            shape[0] = batch
        if resolution is not None:
            if len(shape) != 4:
                raise AzlibError(f"resolution={resolution}: input {tuple(shape)} is no image")
            shape[2:] = [resolution, resolution]
        return replace(self, input_shape=tuple(shape))

    @property
    def batch(self) -> int:
        """Number of images."""
        return self.input_shape[0]

    @property
    def resolution(self) -> int:
        """Pixels along the last side of the input."""
        return self.input_shape[-1]

    def without_folders(self) -> ScoreSettings:
        """The same with sources of images by name: where a user keeps them changes no score."""
        labelled = self.labelled_images and self.labelled_images.partition("=")[0]
        noise = self.noise_source.partition("=")[0]
        return replace(self, noise_source=noise, labelled_images=labelled)

    def with_folders(self, images: Iterable[str]) -> ScoreSettings:
        """The inverse of `without_folders`, where the user says again where images are kept.

        images: sources of images with their places, such as "cifar10=FOLDER".
        """
        places = {source.partition("=")[0]: source for source in images}
        labelled = self.labelled_images
        return replace(
            self,
            noise_source=places.get(self.noise_source, self.noise_source),
            labelled_images=labelled and places.get(labelled, labelled),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them: lists for tuples. Single precision goes without saying."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if (name, value) != ("precision", PRECISIONS[0])
        }


def check_shape(shape: Any) -> tuple[int, ...]:
    """A shape as Python's integers.

    Raises `AzlibError` unless it is a list of at least two positive integers, batch first.

    The batch must hold two images or more, as batch statistics of one image are not defined.
    """
    listed = list(shape) if isinstance(shape, tuple | list) else []
    integers = all(isinstance(n, Integral) and not isinstance(n, bool) for n in listed)
    if len(listed) < 2 or not integers or min(listed) < 1:
        raise AzlibError(
            f"input shape {shape!r}: expected positive integers, as in (64, 3, 32, 32)"
        )
    if shape[0] < 2:
        raise AzlibError(f"input shape {shape!r}: the batch (first number) must be at least 2")
    if shape[0] > LARGEST_BATCH or max(shape[1:]) > LARGEST_RESOLUTION:
        raise AzlibError(
            f"input shape {shape!r}: expected a batch of at most {LARGEST_BATCH:,} and sides of at "
            f"most {LARGEST_RESOLUTION:,}"
        )
    return tuple(map(int, listed))


def device_name(device: object) -> str:
    """A device as text, as torch.device("cuda") is one too.

    Raises `AzlibError` for what is no device.
    """
    name = str(device)
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name):
        raise unknown("device", name, ("cpu", "cuda", "cuda:0"))
    return name


def check_seed(seed: object) -> int:
    """The seed as Python's integer. Raises `AzlibError` unless it is one from 0 to 2^63 - 1."""
    number = -1 if isinstance(seed, bool) or not isinstance(seed, Integral) else int(seed)
    if not 0 <= number <= LARGEST_SEED:
        raise AzlibError(f"seed={seed!r}: expected an integer from 0 to {LARGEST_SEED}")
    return number


def check_at_least(least: int, **numbers: object) -> None:
    """Raises `AzlibError` unless each of the named numbers is an integer of at least `least`."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise AzlibError(f"{name}={value!r}: expected an integer of at least {least}")


def distinct(seeds: Iterable[int]) -> tuple[int, ...]:
    """Checked seeds, each once, in order. Raises `AzlibError` when there is none."""
    found = tuple(dict.fromkeys(check_seed(seed) for seed in seeds))
    if not found:
        raise AzlibError("no seed given: expected at least one, such as 1")
    return found
