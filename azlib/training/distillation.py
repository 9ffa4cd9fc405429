"""Learning from a teacher: its logits and, where it shows them, its features at 1/16 and 1/32."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from azlib.errors import AzlibError, out_of_memory, reason

Taught = tuple[Tensor, list[Tensor]]
"""Logits (B, K) and features (B, C, H, W)."""
TAPS = ("blocks.3", "bn2")  # of an EfficientNet: the first stage at 1/16; the head before its ReLU


def load_teacher(name: str, device: torch.device) -> Callable[[Tensor], Taught]:
    """A frozen function from images to (logits, features).

    Args:
        name: a TorchScript file that returns logits, or (logits, feature at 1/16, feature at 1/32);
            or OWNER/REPOSITORY:MODEL of torch.hub, whose code is downloaded and run. The paper's
            teacher is rwightman/gen-efficientnet-pytorch:tf_efficientnet_b3_ns, whose two features
            are tapped.
        device: where it computes.

    Raises `AzlibError` where it cannot be loaded, and when it is called, where it cannot compute.
    """
    model = _loaded(name, device).to(device).eval()
    tapped: list[Tensor] = []
    known = dict(model.named_modules())
    if not isinstance(model, torch.jit.ScriptModule) and all(tap in known for tap in TAPS):
        for tap in TAPS:  # cloned, as activations after them may work in place
            known[tap].register_forward_hook(lambda _, __, out: tapped.append(out.clone()))

    @torch.no_grad()
    def teach(images: Tensor) -> Taught:
        tapped.clear()
        try:
            out = model(images)
            logits, features = (out, list(tapped)) if isinstance(out, Tensor) else (out[0], out[1:])
            if logits.ndim != 2 or any(feature.ndim != 4 for feature in features):
                raise TypeError("it returns tensors of other shapes")
        except Exception as error:  # a stranger's code
            if out_of_memory(error):
                raise
            raise AzlibError(
                f"the teacher {name!r} fails on images {tuple(images.shape)}: {reason(error)}; "
                "expected logits, or (logits, feature at 1/16, feature at 1/32)"
            ) from error
        return logits, list(features)

    return teach


def _loaded(name: str, device: torch.device) -> nn.Module:
    """The module of a file or of torch.hub."""
    try:
        if Path(name).is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the format is in wide use
                return torch.jit.load(name, map_location=device)
        if "/" in name and name.count(":") == 1:
            repository, entry = name.split(":")
            return torch.hub.load(repository, entry, pretrained=True, trust_repo=True)
    except Exception as error:  # a damaged file, no network, a stranger's code
        raise AzlibError(f"cannot load the teacher {name!r}: {reason(error)}") from error
    raise AzlibError(
        f"no teacher {name!r}: expected a TorchScript file, or OWNER/REPOSITORY:MODEL of torch.hub"
    )


class Student(nn.Module):
    """A network with projections of its features to those of a teacher; (B, 3, H, W) -> (logits,
    projected features). The features are the outputs of its first blocks at 1/16 and at 1/32."""

    def __init__(self, network: nn.Module, resolution: int):
        super().__init__()
        self.network, self.resolution = network, resolution
        self.projections = nn.ModuleList()

    def learn_from(self, features: list[Tensor], rng: torch.Generator) -> None:
        """Adds projections: weights N(0, 1) · 1e-4 / sqrt(channels of the teacher), biases 0."""
        if not features:
            return
        if len(features) != 2 or not hasattr(self.network, "blocks"):
            raise AzlibError(
                f"the teacher gives {len(features)} features: expected none, or those at 1/16 and "
                "1/32 and a student of the MobileNetV2 space"
            )
        size, training = self.resolution, self.training
        with torch.no_grad():
            _, own = self.eval()._run(features[0].new_zeros(1, 3, size, size))
        self.train(training)
        if len(own) != 2:
            raise AzlibError(
                f"the student has no feature at 1/16 or at 1/32 of {size} pixels, the teacher has: "
                "give a teacher of logits alone, or another structure"
            )
        for mine, theirs in zip(own, features, strict=True):
            projection = nn.Conv2d(mine.shape[1], theirs.shape[1], 1)
            weight = torch.randn(projection.weight.shape, generator=rng)
            projection.weight.data = weight * 1e-4 / math.sqrt(theirs.shape[1])
            projection.bias = nn.Parameter(torch.zeros(theirs.shape[1]))
            self.projections.append(projection.to(mine.device))

    def _run(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        found: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _, __, out: found.append(out))
            for block in getattr(self.network, "blocks", [])
        ]
        logits = self.network(images)
        for hook in hooks:
            hook.remove()
        sizes = [math.ceil(images.shape[-1] / scale) for scale in (16, 32)]
        firsts = (
            next((f for f in found if f.ndim == 4 and f.shape[-1] == size), None) for size in sizes
        )
        return logits, [feature for feature in firsts if feature is not None]

    def _resize(self, images: Tensor) -> Tensor:
        if images.shape[-1] == self.resolution:
            return images
        return F.interpolate(images, size=self.resolution, mode="bilinear")

    def infer(self, images: Tensor) -> Tensor:
        """The logits alone."""
        return self.network(self._resize(images))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not self.projections:
            return self.infer(images), []
        logits, features = self._run(self._resize(images))
        return logits, [p(f) for p, f in zip(self.projections, features, strict=True)]


def distillation(
    logits: Tensor, features: list[Tensor], taught_logits: Tensor, taught_features: list[Tensor]
) -> Tensor:
    """What the teacher adds to the loss: the cross-entropy of logits (B, K) against its softmax,
    plus, for each feature, the smooth L1 distance to its feature resized to the student's size."""
    if taught_logits.shape != logits.shape:
        raise AzlibError(
            f"the teacher tells {taught_logits.shape[1]} classes apart, the images have "
            f"{logits.shape[1]}: give a teacher of these classes"
        )
    loss = F.cross_entropy(logits, taught_logits.softmax(1))
    for mine, theirs in zip(features, taught_features, strict=True):
        theirs = F.interpolate(theirs, size=mine.shape[-2:], mode="bilinear")
        loss = loss + F.smooth_l1_loss(mine, theirs)
    return loss
