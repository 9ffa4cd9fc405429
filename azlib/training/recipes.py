"""The paper's training recipes, and the networks that they train.

From the paper's code: epochs, batch, optimiser, learning rates, decay, smoothing, augmentation,
mixing, drop path, batch norms' momentum, initialisation, the teacher's part, mixed precision.
The two learning rate rules are written out, since PyTorch and timm have the cosine but not the
published ends of it (see `Recipe.rate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from azlib import spaces
from azlib.errors import AzlibError, unknown
from azlib.settings import LARGEST_SEED
from azlib.training.augmentation import POLICIES
from azlib.training.fields import between, check, one_of

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": partial(torch.optim.AdamW, eps=1e-8),
}
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ("cpu", "cuda")
LARGEST_CLASSES = 100_000
LARGEST_RESOLUTION = 1_024  # pixels along a side; the paper trains at 224, teachers look at 320


@dataclass(frozen=True)
class Recipe:
    """How to train. `replace(RECIPES["plain"], epochs=10)` is another recipe.

    Args:
        epochs: passes over as many images as there are.
        batch: images a step, over all processes.
        optimiser: "sgd" (Nesterov, momentum 0.9) or "adamw".
        lr: learning rate at a batch of `lr_batch` images, and in proportion at others.
        lr_batch: see `lr`.
        weight_decay: of weights; biases, norms, class tokens and positions do not decay.
        warmup: epochs in which the rate rises from `warmup_lr`; a cosine to `min_lr` follows.
        warmup_lr: see `warmup`.
        min_lr: see `warmup`.
        per_epoch: whether the rate changes once an epoch (and one epoch late, as published)
            instead of at every step.
        smoothing: share of a label that is spread over all classes.
        policy: what is done to colours and shapes, one of `augmentation.POLICIES`.
        lighting: standard deviation of the noise along ImageNet's principal components.
        erasing: probability that a rectangle is erased.
        noise: whether the rectangle is filled with noise instead of zeros.
        mixup: parameter of the Beta distribution that mixes two images; 0 for never.
        cutmix: the same for pasting a rectangle of another image.
        repeats: how often an image that is drawn comes in an epoch of unchanged length.
        enlarge: images are this many times as large as the network's input, for the teacher.
        distilled: whether to learn from a teacher, too.
        drop_path: probability that the last block is skipped, for networks with drop path.
        bn_momentum: momentum of the running statistics of batch norms.
        precision: of CUDA's autocast, one of `PRECISIONS`; a CPU always uses float32.

    Raises `AzlibError` for a value of another type or out of its range, with the range.
    """

    epochs: int = between(1, 100_000, 150)
    batch: int = between(2, 65_536, 512)
    optimiser: str = one_of(OPTIMISERS, "sgd")
    lr: float = between(0, 1_000, 0.4)
    lr_batch: int = between(1, 65_536, 256)
    weight_decay: float = between(0, 1, 4e-5)
    warmup: int = between(0, 100_000, 5)
    warmup_lr: float = between(0, 1_000, 0.0)
    min_lr: float = between(0, 1_000, 0.0)
    per_epoch: bool = False
    smoothing: float = between(0, 0.99, 0.1)
    policy: str = one_of(POLICIES, "jitter")
    lighting: float = between(0, 1, 0.1)
    erasing: float = between(0, 1, 0.0)
    noise: bool = False
    mixup: float = between(0, 10, 0.0)
    cutmix: float = between(0, 10, 0.0)
    repeats: int = between(1, 16, 1)
    enlarge: float = between(1, 4, 1.0)
    distilled: bool = False
    drop_path: float = between(0, 0.99, 0.0)
    bn_momentum: float = between(0, 1, 0.01)
    precision: str = one_of(PRECISIONS, "float32")

    def __post_init__(self) -> None:
        check(self)
        if self.epochs <= self.warmup:
            raise AzlibError(
                f"epochs={self.epochs}, warmup={self.warmup}: expected epochs > warmup"
            )

    def rate(self, epoch: int, seen: int, images: int) -> float:
        """Learning rate of a step: `seen` of the epoch's `images`, this step's included.

        Both rules are the published ones, with their ends: the cosine of `per_epoch` is not
        shifted by the warm-up, and its epochs 0 and 1 have the same rate.
        """
        lr = self.lr * self.batch / self.lr_batch
        if self.per_epoch:
            done, start, part = max(0, epoch - 1), self.warmup, max(0, epoch - 1) / self.epochs
        else:
            done, start = epoch * images + seen + 1, self.warmup * images
            part = (done - start) / (self.epochs * images - start)
        if done < start or (done == start and not self.per_epoch):
            return self.warmup_lr + done * (lr - self.warmup_lr) / start
        return self.min_lr + (lr - self.min_lr) * (1 + math.cos(math.pi * part)) / 2


_AUTOFORMER = Recipe(
    epochs=500,
    batch=2048,
    optimiser="adamw",
    lr=5e-4,
    lr_batch=512,
    weight_decay=0.05,
    warmup=20,
    warmup_lr=1e-6,
    min_lr=1e-5,
    per_epoch=True,
    policy="randaugment",
    lighting=0.0,
    erasing=0.25,
    noise=True,
    mixup=0.8,
    cutmix=1.0,
    repeats=3,
    drop_path=0.1,
    precision="fp16",
)
RECIPES = {
    "plain": Recipe(),
    "distilled": Recipe(
        epochs=480,
        lr=0.1,
        policy="autoaugment",
        erasing=0.5,
        mixup=0.2,
        enlarge=320 / 224,
        distilled=True,
    ),
    "autoformer": _AUTOFORMER,
    "autoformer-base": replace(_AUTOFORMER, epochs=300),
}


def named(name: str) -> Recipe:
    """One of `RECIPES`. Raises `AzlibError` for another name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def adjusted(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, by the names of its fields.

    Raises `AzlibError` for an unknown name, and as `Recipe` does.
    """
    known = [entry.name for entry in fields(Recipe)]
    for name in values:
        if name not in known:
            raise unknown("recipe setting", name, known)
    return replace(recipe, **values)


@dataclass(frozen=True)
class TrainSettings:
    """What a run needs besides network, images and recipe.

    Args:
        seed: of weights, order and augmentation.
        workers: processes that load images, for each training process; 0 loads in the same one.
        device: "cpu" or "cuda".
        teacher: a TorchScript file or OWNER/REPOSITORY:MODEL of torch.hub, for distilled recipes.
        progress: whether a bar is shown.

    Raises `AzlibError` for a value out of its range, with the range.
    """

    seed: int = between(0, LARGEST_SEED, 1)
    workers: int = between(0, 256, 0)
    device: str = one_of(DEVICES, "cpu")
    teacher: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Network:
    """A found structure as the paper trains it, see `SearchSpace.training_network`.

    Args:
        space: name of a search space, as `azlib.spaces.get` knows it.
        structure: an architecture of it.
        num_classes: outputs.
        resolution: pixels along a side of the images.

    `train` takes any dataclass with the last two fields and a method `build`.
    """

    space: str
    structure: str
    num_classes: int = between(1, LARGEST_CLASSES, 1000)
    resolution: int = between(1, LARGEST_RESOLUTION, 224)

    def __post_init__(self) -> None:
        check(self)

    @property
    def channels(self) -> int:
        """Channels of the images, those of the space; training itself reads RGB photographs."""
        return spaces.get(self.space).input_shape[1]

    def build(self, drop_path: float = 0.0, rng: torch.Generator | None = None) -> nn.Module:
        """(B, C, resolution, resolution) → (B, num_classes), initialised as for training.

        Raises `AzlibError` where the space builds anything but a network.
        """
        training = spaces.Training(self.num_classes, self.resolution, drop_path, rng)
        built = spaces.get(self.space).training_network(self.structure, training)
        if not isinstance(built, nn.Module):
            raise AzlibError(
                f"training_network of the space {self.space} returns {type(built).__name__}: "
                "expected a torch.nn.Module"
            )
        return built
