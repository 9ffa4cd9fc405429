"""The paper's training recipes, and the networks that they train.

From the paper's code: epochs, batch, optimiser, learning rates, decay, smoothing, augmentation,
mixing, drop path, batch norms' momentum, initialisation, the teacher's part, mixed precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import partial
from numbers import Real

import torch
from torch import nn

from azlib import spaces
from azlib.errors import AzlibError, unknown
from azlib.inputs.initialisation import initialise
from azlib.spaces.autoformer import AutoFormer
from azlib.spaces.mobilenetv2 import InvertedBottleneck
from azlib.training.augmentation import POLICIES

OPTIMISERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": partial(torch.optim.AdamW, eps=1e-8),
}
PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Recipe:
    """How to train. `replace(RECIPES["plain"], epochs=10)` is another recipe.

    batch: images a step, over all processes. lr: at a batch of `lr_batch`, and in proportion at
    others. warmup: epochs from `warmup_lr` to there, then a cosine to `min_lr`; the rate changes
    every step or, `per_epoch`, once an epoch (and then one epoch late, as published).
    repeats: how often an image that is drawn comes in an epoch of unchanged length.
    enlarge: images are this much larger than the network's input, for the teacher.
    distilled: learn from a teacher, too. precision: of autocast on CUDA; a CPU uses float32.
    """

    epochs: int = 150
    batch: int = 512
    optimiser: str = "sgd"
    lr: float = 0.4
    lr_batch: int = 256
    weight_decay: float = 4e-5
    warmup: int = 5
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    per_epoch: bool = False
    smoothing: float = 0.1
    policy: str = "jitter"
    lighting: float = 0.1
    erasing: float = 0.0
    noise: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1
    enlarge: float = 1.0
    distilled: bool = False
    drop_path: float = 0.0
    bn_momentum: float = 0.01
    precision: str = "float32"

    def __post_init__(self):
        kinds = {"int": int, "bool": bool, "float": Real, "str": str}
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, kinds[field.type]) or (field.type != "str" and value < 0):
                raise AzlibError(f"{field.name}={value!r}: expected {field.type}, not negative")
        for kind, known in (
            ("optimiser", OPTIMISERS),
            ("policy", POLICIES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, kind) not in known:
                raise unknown(kind, getattr(self, kind), known)
        if not (self.epochs > self.warmup and self.batch and self.lr_batch and self.repeats):
            raise AzlibError(
                f"epochs={self.epochs}, warmup={self.warmup}, batch={self.batch}, "
                f"lr_batch={self.lr_batch}, repeats={self.repeats}: expected epochs > warmup and "
                "the others at least 1"
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
    """One of `RECIPES`."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def adjusted(recipe: Recipe, values: dict) -> Recipe:
    """The recipe with other values, by the names of its fields."""
    known = [field.name for field in fields(Recipe)]
    for name in values:
        if name not in known:
            raise unknown("recipe setting", name, known)
    return replace(recipe, **values)


@dataclass(frozen=True)
class Network:
    """A found structure as the paper trains it: CNNs with squeeze-and-excitation, vision
    transformers with the logit scale of training. `train` takes any dataclass with these."""

    space: str
    structure: str
    num_classes: int = 1000
    resolution: int = 224

    def build(self, drop_path: float = 0.0, rng: torch.Generator | None = None) -> nn.Module:
        """(B, 3, resolution, resolution) -> (B, num_classes), initialised as for training.

        CNNs: Kaiming-normal (fan-in), and zero in the last batch norm of each inverted bottleneck.
        """
        if self.space.startswith("autoformer"):
            size = spaces.get(self.space).size
            space = AutoFormer(
                size,
                num_classes=self.num_classes,
                cost_resolution=self.resolution,
                logit_scale="trained",
            )
            return space.build(self.structure, drop_path=drop_path, rng=rng)
        if self.space != "mobilenetv2":
            known = ["mobilenetv2", *(n for n in spaces.NAMES if n.startswith("autoformer"))]
            raise unknown("space to train in", self.space, known)
        space = spaces.get(self.space, num_classes=self.num_classes, se=True)
        model = space.build(self.structure)
        initialise(model, "kaiming_norm_fanin", rng)
        for module in model.modules():
            if isinstance(module, InvertedBottleneck):
                nn.init.zeros_(module.main[-1].weight)
        return model
