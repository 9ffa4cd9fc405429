"""A search space of small CNNs, and the handwritten digits that they learn (notebook 23).

The images are those that scikit-learn brings: 1,797 digits of 8 × 8 pixels, from the UCI repository
(Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", 1998; CC BY 4.0). Nothing is
downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from azlib.errors import AzlibError, needs
from azlib.spaces.base import Training
from azlib.spaces.limits import abridged, check_training
from azlib.spaces.listed import ListedSpace, Writing

if TYPE_CHECKING:
    import torch
    from torch import nn

LAYERS = {"s": "skip", "p": "average pooling", "1": "1×1 convolution", "3": "3×3 convolution"}
"""The letters of an architecture, and the layers that they stand for."""
PER_STAGE = 3  # layers
CHANNELS = (16, 32)  # of the two stages
SIDE = 8  # pixels of an image
CLASSES = 10


# --- the space -----------------------------------------------------------------------------


def parse(arch: str) -> tuple[str, ...]:
    """The six letters of an architecture. Raises `AzlibError` for a malformed one."""
    letters = tuple(arch.replace("|", "")) if isinstance(arch, str) else ()
    if len(letters) != 2 * PER_STAGE or form_of(letters) != arch or not set(letters) <= set(LAYERS):
        raise AzlibError(
            f"not an architecture of the digits: {abridged(arch)}; expected three letters of "
            f"{', '.join(LAYERS)} for each of the two stages, as in 33p|1s3"
        )
    return letters


def form_of(letters: tuple[str, ...]) -> str:
    """The architecture of six letters, three for each stage."""
    return "".join(letters[:PER_STAGE]) + "|" + "".join(letters[PER_STAGE:])


@cache
def enumerate_all() -> tuple[str, ...]:
    """All 4,096 architectures."""
    return tuple(form_of(letters) for letters in product(LAYERS, repeat=2 * PER_STAGE))


def canonical(arch: str) -> str:
    """The same network with its skips in front: a skip does nothing, wherever it stands."""
    letters = parse(arch)
    stages = letters[:PER_STAGE], letters[PER_STAGE:]
    return form_of(tuple(x for stage in stages for x in sorted(stage, key=lambda x: x != "s")))


@dataclass(frozen=True)
class Digits(ListedSpace):
    """The 4,096 architectures of six layers, in two stages, for images of 8 × 8 pixels.

    A 3×3 convolution leads to the first stage of 16 channels, and one of stride 2 to the second of
    32. Each layer is one of `LAYERS`; a convolution has a batch normalisation and a ReLU behind it.
    As a skip does nothing, only 1,600 of the networks are different.
    """

    name: str = "digits"

    writing: ClassVar[Writing] = Writing(
        tuple(LAYERS), 2 * PER_STAGE, parse, form_of, enumerate_all, canonical
    )

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (B, C, H, W) of a batch of the paper's size: grey images of 8 × 8 pixels."""
        return (64, 1, SIDE, SIDE)

    def count(self, arch: str) -> dict[str, float]:
        """`macs` for one image and `params`, biases and normalisation included in the latter."""
        letters = parse(arch)
        convolutions = [(1, CHANNELS[0], 3, SIDE), (*CHANNELS, 3, SIDE // 2)]
        for place, letter in enumerate(letters):
            stage = place // PER_STAGE
            if letter in "13":
                width = CHANNELS[stage]
                convolutions.append((width, width, int(letter), SIDE >> stage))
        last = CHANNELS[1] * CLASSES
        macs = last + sum(i * o * k * k * side * side for i, o, k, side in convolutions)
        params = last + CLASSES + sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions)
        return {"macs": float(macs), "params": float(params)}

    def build(self, arch: str, resolution: int | None = None) -> nn.Module:
        """The network, which takes grey images of any size."""
        return _network(arch)

    def training_network(self, arch: str, training: Training) -> nn.Module:
        """The network with Kaiming-normal weights (fan-in); it has no drop path."""
        from azlib.inputs.initialisation import initialise

        check_training(training)
        network = _network(arch, training.num_classes)
        initialise(network, self.init, training.rng)
        return network


def _network(arch: str, num_classes: int = CLASSES) -> nn.Module:
    """(B, 1, H, W) → (B, num_classes); a skip is no module, and so no primary block."""
    from torch import nn

    def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())

    letters = parse(arch)
    blocks: list[nn.Module] = [convolution(1, CHANNELS[0], 3)]
    for place, letter in enumerate(letters):
        if place == PER_STAGE:
            blocks.append(convolution(*CHANNELS, 3, stride=2))
        width = CHANNELS[place // PER_STAGE]
        if letter == "p":
            blocks.append(nn.AvgPool2d(3, 1, 1))
        elif letter != "s":
            blocks.append(convolution(width, width, int(letter)))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    network = nn.Sequential(*blocks, head)
    network.primary_blocks = [str(i) for i in range(len(blocks))]  # type: ignore[assignment]
    return network


# --- the images ----------------------------------------------------------------------------


class Images(NamedTuple):
    """Grey images (B, 1, 8, 8) of mean 0 and variance 1, and their labels (B,)."""

    images: torch.Tensor
    labels: torch.Tensor


def load(per_class: int, seed: int = 1) -> tuple[Images, Images]:
    """A few digits to learn from, and all others to test with.

    Args:
        per_class: training images of each of the ten classes, from 1 to 100.
        seed: which ones.

    Raises:
        AzlibError: for another number of images, and where scikit-learn is not installed.
    """
    with needs("scikit-learn", "companion"):
        from sklearn.datasets import load_digits
    import torch

    if not 1 <= per_class <= 100:
        raise AzlibError(f"per_class={per_class}: expected 1 to 100 images of each digit")
    found = load_digits()
    pixels = (found.images - found.images.mean()) / found.images.std()
    images, labels = torch.from_numpy(pixels).float()[:, None], torch.from_numpy(found.target)
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[found.target[order] == digit][:per_class] for digit in range(CLASSES)]
    train = np.concatenate(chosen)
    test = np.setdiff1d(np.arange(len(labels)), train)
    return Images(images[train], labels[train]), Images(images[test], labels[test])
