"""One step of training: a network, its teacher, the loss, the optimiser and the precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from azlib.inputs import generator
from azlib.training.augmentation import mix
from azlib.training.checkpoints import State
from azlib.training.distillation import Student, distillation, load_teacher
from azlib.training.processes import Process
from azlib.training.recipes import OPTIMISERS, PRECISIONS, Recipe, TrainSettings

WITHOUT_DECAY = ("class_token", "positions")  # besides all parameters of one dimension


class Learner:
    """A network that learns by a recipe, in this process's part of every batch.

    Args:
        network: see `azlib.training.trainer.train`.
        recipe: how it learns.
        settings: the seed of its weights, and its teacher.
        process: where it computes, and with which others.
    """

    def __init__(
        self, network: Any, recipe: Recipe, settings: TrainSettings, process: Process
    ) -> None:
        self.recipe, self.process = recipe, process
        self.classes: int = network.num_classes
        self.size = round(network.resolution * recipe.enlarge)  # pixels that images come in
        device = process.device
        rng = generator(settings.seed, repr(network), "weights")
        self.student = Student(_built(network, recipe, rng, process), network.resolution).to(device)
        self.teacher = load_teacher(settings.teacher, device) if settings.teacher else None
        if self.teacher:
            _, features = self.teacher(torch.zeros(2, 3, self.size, self.size, device=device))
            self.student.learn_from(features, rng)
        self.optimiser = OPTIMISERS[recipe.optimiser](
            decayed(self.student, recipe.weight_decay), lr=0.0
        )
        self.dtype = PRECISIONS[recipe.precision] if device.type == "cuda" else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.parallel = process.parallel(self.student)

    def step(self, images: Tensor, labels: Tensor, lr: float, rng: Random) -> Tensor:
        """Learns from images (B, 3, H, W) and labels (B,); returns the loss. rng: of the mixing."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        images, labels = self.move(images), self.move(labels)
        targets = F.one_hot(labels, self.classes).float()
        images, targets = mix(images, targets, rng, self.recipe.mixup, self.recipe.cutmix)
        loss = self.loss(images, targets)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss.detach()

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy to the smoothed targets (B, K), and what the teacher adds."""
        with self.autocast():
            logits, features = self.parallel(images)
            loss = F.cross_entropy(logits, targets, label_smoothing=self.recipe.smoothing)
            if self.teacher:
                loss = loss + distillation(logits, features, *self.teacher(images))
        return loss

    def hits(self, images: Tensor, labels: Tensor) -> Tensor:
        """(how many images of a batch are classified correctly, how many there are)."""
        with self.autocast():
            logits = self.student.infer(self.move(images))
        right = (logits.argmax(1) == self.move(labels)).sum()
        return torch.stack([right, right.new_tensor(len(labels))])

    def autocast(self) -> AbstractContextManager:
        """The recipe's precision on CUDA; nothing on a CPU."""
        return torch.autocast(self.process.device.type, self.dtype, enabled=self.dtype is not None)

    def move(self, tensor: Tensor) -> Tensor:
        """The tensor on the device."""
        return tensor.to(self.process.device, non_blocking=True)

    def weights(self) -> State:
        """The state dicts that a network is used with."""
        return {
            "model": self.student.network.state_dict(),
            "projections": self.student.projections.state_dict(),
        }

    def progress(self) -> State:
        """The state dicts that only going on needs."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def load(self, state: State) -> None:
        """Takes over `weights` and `progress` of another learner."""
        self.student.network.load_state_dict(state["model"])
        self.student.projections.load_state_dict(state["projections"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _built(network: Any, recipe: Recipe, rng: torch.Generator, process: Process) -> nn.Module:
    """The network with the recipe's drop path and batch norms."""
    model = network.build(recipe.drop_path, rng)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = recipe.bn_momentum
    if process.world > 1 and process.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def decayed(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weights decay; biases, norms, class token and positions do not."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        plain = name.rpartition(".")[2] in WITHOUT_DECAY
        groups[parameter.ndim > 1 and not plain].append(parameter)
    return [{"params": groups[d], "weight_decay": decay if d else 0.0} for d in groups]
