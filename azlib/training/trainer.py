"""Training a found network on a folder of images, by the recipes of the paper's code.

    torchrun --nproc-per-node 8 -m azlib train STRUCTURE IMAGENET --out runs/found --device cuda

trains on eight GPUs; without torchrun it is one process. Every random number follows from the seed
and its place (epoch, position), so a stopped run continues to the same weights, bit for bit on a
CPU; it continues at the beginning of the epoch it was in.

What the recipes hold is the paper's (`azlib.training.recipes`). Ours, where the paper's code has no
seed or another rule: all seeds, the incomplete last batch dropped in every recipe, resuming, and a
loss that is not finite ends the run (AutoFormer's code repeats that batch in float32).
"""

from __future__ import annotations

import csv
import math
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from azlib.errors import AzlibError, unknown
from azlib.files import differences, replacing
from azlib.inputs import generator
from azlib.training import augmentation
from azlib.training.distillation import Student, distillation, load_teacher
from azlib.training.folders import batches, read_folder
from azlib.training.recipes import OPTIMISERS, PRECISIONS, RECIPES, Recipe

COLUMNS = ("epoch", "lr", "train_loss", "top1", "seconds")


def train(
    network: Any,
    folder: str | Path,
    out: str | Path,
    recipe: Recipe = RECIPES["plain"],
    *,
    seed: int = 1,
    workers: int = 0,
    device: str = "cpu",
    teacher: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Trains a network on the images of a folder; returns its log, one row an epoch.

    network: a `Network` with the folder's number of classes. folder: see `read_folder`. workers:
    loading processes for each training process. teacher: see `load_teacher`; distilled recipes
    need one. Under torchrun this is one of several processes.

    out: a folder, the same for every process, of
        last.pt: the same call continues it, on any number of processes;
        best.pt: the first epoch of the highest accuracy;
        log.csv: epoch, learning rate, training loss, validation top-1 in %, seconds;
        unreadable.txt: the images that were skipped, if any.

    Raises AzlibError for bad input, when memory runs out and when the loss is not finite.
    """
    data = read_folder(folder)
    if network.num_classes != len(data.classes):
        raise AzlibError(
            f"the network has {network.num_classes} classes, {folder} {len(data.classes)}: build "
            "it with as many"
        )
    if len(data.train) < recipe.batch:
        raise AzlibError(
            f"batch={recipe.batch} is more than the {len(data.train)} training images of {folder}: "
            "lower batch"
        )
    if recipe.distilled != (teacher is not None):
        needs = "needs a teacher: give one" if recipe.distilled else "has no teacher: give none"
        raise AzlibError(f"this recipe {needs}, or take another recipe (distilled={teacher=})")
    if seed < 0 or workers < 0:
        raise AzlibError(f"seed={seed}, workers={workers}: expected 0 or more")
    with _processes(device) as (rank, world, place), torch.random.fork_rng(devices=[]):
        if recipe.batch % world:
            raise AzlibError(f"batch={recipe.batch} is no multiple of the {world} processes")
        with _memory(recipe):
            run = _Run(network, data, Path(out), recipe, seed, workers, place, rank, world, teacher)
            run.resume()
            run.train(progress and rank == 0)
    return pd.DataFrame(run.rows, columns=COLUMNS)


class _Run:
    """One process of a training run; process 0 writes."""

    def __init__(
        self, network, data, out, recipe, seed, workers, device, rank, world, teacher
    ) -> None:
        self.data, self.out, self.recipe, self.seed = data, out, recipe, seed
        self.workers, self.device, self.rank, self.world = workers, device, rank, world
        self.rows: list[list[float]] = []
        self.unreadable: set[str] = set()
        self.image = round(network.resolution * recipe.enlarge)
        self.settings = {
            "network": asdict(network),
            "recipe": {k: v for k, v in asdict(recipe).items() if k != "precision"},
            "images": {"train": len(data.train), "val": len(data.val)},
            "classes": list(data.classes),
            "seed": seed,
            "teacher": teacher,
        }

        rng = generator(seed, repr(network), "weights")
        model = network.build(recipe.drop_path, rng)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = recipe.bn_momentum
        if world > 1 and device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.student = Student(model, network.resolution).to(device)
        self.teacher = None if teacher is None else load_teacher(teacher, device)
        if self.teacher:
            _, features = self.teacher(torch.zeros(2, 3, self.image, self.image, device=device))
            self.student.learn_from(features, rng)
        self.optimiser = OPTIMISERS[recipe.optimiser](
            _decayed(self.student, recipe.weight_decay), lr=0.0
        )
        self.dtype = PRECISIONS[recipe.precision] if device.type == "cuda" else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.parallel = self.student
        if world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(self.student, device_ids=ids)

    def train(self, progress: bool) -> None:
        steps = len(self.data.train) // self.recipe.batch
        bar = tqdm(
            total=self.recipe.epochs * steps,
            initial=len(self.rows) * steps,
            desc="train",
            unit="step",
            disable=not progress,
        )
        with bar:
            while (epoch := len(self.rows)) < self.recipe.epochs:
                start = time.monotonic()
                lr, loss = self.epoch(epoch, bar)
                if not math.isfinite(loss):
                    raise AzlibError(
                        f"the loss of epoch {epoch} is {loss}: lower lr, or set precision=float32; "
                        f"{self.out / 'last.pt'} holds the epoch before, if any"
                    )
                top1 = self.evaluate()
                self.rows.append([epoch, lr, loss, top1, time.monotonic() - start])
                self.save()
                bar.set_postfix(epoch=epoch, loss=f"{loss:.3f}", top1=f"{top1:.2f} %")
                if self.unreadable:
                    bar.set_description(f"train ({len(self.unreadable)} unreadable images skipped)")

    def epoch(self, epoch: int, bar: tqdm) -> tuple[float, float]:
        """One pass over the training images: its last learning rate and its mean loss."""
        recipe, data = self.recipe, self.data.train
        stream = f"{self.seed}/{epoch}"
        torch.manual_seed(generator(self.seed, f"{epoch}/{self.rank}", "drop").initial_seed())
        view = partial(
            augmentation.training_view,
            size=self.image,
            policy=recipe.policy,
            lighting=recipe.lighting,
            erasing=recipe.erasing,
            noise=recipe.noise,
        )
        order = torch.randperm(len(data), generator=generator(self.seed, str(epoch), "order"))
        order = order.repeat_interleave(recipe.repeats)[: len(data)]
        total = torch.zeros((), device=self.device)
        self.parallel.train()
        items = _shares(order, recipe.batch, self.rank, self.world)
        loader = batches(data, items, view, stream, True, self.workers)
        for step, (images, labels, unreadable) in enumerate(loader):
            self.unreadable.update(unreadable)
            if images is None:
                raise AzlibError(f"none of the {len(data)} training images can be read")
            lr = recipe.rate(epoch, (step + 1) * recipe.batch, len(data))
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            images, labels = self.move(images), self.move(labels)
            targets = F.one_hot(labels, len(self.data.classes)).float()
            targets = targets * (1 - recipe.smoothing) + recipe.smoothing / targets.shape[1]
            rng = Random(f"{stream}/{step}/{self.rank}")
            images, targets = augmentation.mix(images, targets, rng, recipe.mixup, recipe.cutmix)
            loss = self.loss(images, targets)
            self.optimiser.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()
            total += loss.detach()
            bar.update()
        return lr, float(_sum(total)) / (self.world * (step + 1))

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        with self.autocast():
            logits, features = self.parallel(images)
            loss = F.cross_entropy(logits, targets)
            if self.teacher:
                loss = loss + distillation(logits, features, *self.teacher(images))
        return loss

    @torch.no_grad()
    def evaluate(self) -> float:
        """Accuracy in % on the readable validation images."""
        self.student.eval()
        for buffer in self.student.buffers() if self.world > 1 else ():
            distributed.broadcast(buffer, 0)  # running statistics may differ between processes
        right = torch.zeros(2, device=self.device)
        count = len(self.data.val)
        mine = [(i, i) for i in range(self.rank, count, self.world)]
        size = max(1, self.recipe.batch // self.world)
        items = [mine[i : i + size] for i in range(0, len(mine), size)]
        view = partial(augmentation.evaluation_view, size=self.image)
        loader = batches(self.data.val, items, view, "", False, self.workers)
        for images, labels, unreadable in loader:
            self.unreadable.update(unreadable)
            if images is not None:
                with self.autocast():
                    logits = self.student.infer(self.move(images))
                hits = (logits.argmax(1) == self.move(labels)).sum()
                right += torch.stack([hits, hits.new_tensor(len(labels))])
        hits, seen = _sum(right).tolist()
        if not seen:
            raise AzlibError(f"none of the {count} validation images can be read")
        return 100 * hits / seen

    def autocast(self):
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def save(self) -> None:
        """Writes what is new; `last.pt` comes last, so that a killed process repeats the rest."""
        if self.world > 1:
            gathered: list = [None] * self.world
            distributed.all_gather_object(gathered, self.unreadable)
            self.unreadable = set().union(*gathered)
        if self.rank:
            return
        state = {
            "settings": self.settings,
            "rows": self.rows,
            "unreadable": sorted(self.unreadable),
            "model": self.student.network.state_dict(),
            "projections": self.student.projections.state_dict(),
        }
        accuracies = [row[3] for row in self.rows]
        if accuracies[-1] > max(accuracies[:-1], default=-1):
            _save(self.out / "best.pt", state)
        with replacing(self.out / "log.csv") as path, path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])
        if self.unreadable:
            with replacing(self.out / "unreadable.txt") as path:
                path.write_text("".join(f"{name}\n" for name in state["unreadable"]))
        state["optimiser"] = self.optimiser.state_dict()
        state["scaler"] = self.scaler.state_dict()
        _save(self.out / "last.pt", state)

    def resume(self) -> None:
        path = self.out / "last.pt"
        if not path.exists():
            return
        state = read_checkpoint(path, self.device)
        if what := differences(state["settings"], self.settings):
            raise AzlibError(f"{path} is another run: {what}; choose another output")
        self.rows, self.unreadable = state["rows"], set(state["unreadable"])
        self.student.network.load_state_dict(state["model"])
        self.student.projections.load_state_dict(state["projections"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def read_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """A file that `train` wrote: `settings`, `rows` of the log, `model` (a state dict), ...

    Raises AzlibError for a missing or damaged file, and for any other.
    """
    if not Path(path).is_file():
        raise AzlibError(f"no checkpoint {path}: expected best.pt or last.pt of azlib train")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        state["settings"]["network"], state["rows"], state["model"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise AzlibError(f"{path} is no checkpoint of azlib train, or is damaged") from error
    return state


def _save(path: Path, state: dict) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def _decayed(model: nn.Module, decay: float) -> list[dict]:
    """Parameter groups: weights decay; biases, norms, class token and positions do not."""
    groups: dict[bool, list] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        plain = name.rpartition(".")[2] in ("class_token", "positions")
        groups[parameter.ndim > 1 and not plain].append(parameter)
    return [{"params": groups[d], "weight_decay": decay if d else 0.0} for d in groups]


def _shares(order: Tensor, batch: int, rank: int, world: int) -> Iterator[list[tuple[int, int]]]:
    """This process's part of each whole batch: (index, position) pairs, dealt round-robin."""
    for start in range(0, len(order) - batch + 1, batch):
        positions = range(start + rank, start + batch, world)
        yield [(int(order[i]), i) for i in positions]


def _sum(values: Tensor) -> Tensor:
    """The sum over processes."""
    if distributed.is_initialized():
        distributed.all_reduce(values)
    return values


@contextmanager
def _processes(device: str) -> Iterator[tuple[int, int, torch.device]]:
    """This process's rank, their number and its device; torchrun's variables say which."""
    if device not in ("cpu", "cuda"):
        raise unknown("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise AzlibError(
            "device='cuda': PyTorch sees no CUDA device; use device='cpu', or install a CUDA build "
            "of PyTorch on a machine with one"
        )
    rank, world, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        yield rank, world, place
        return
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield rank, world, place
    finally:
        distributed.destroy_process_group()


@contextmanager
def _memory(recipe: Recipe) -> Iterator[None]:
    """Turns the many ways of running out of memory into one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if "DataLoader worker" in text and "exited unexpectedly" in text:
            raise AzlibError(
                "a loading process died, probably for lack of memory: lower workers"
            ) from error
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and (
            "allocate memory" not in text
        ):
            raise
        raise AzlibError(
            f"out of memory at batch={recipe.batch}: lower batch (lr follows), the resolution or "
            "workers, or use more processes"
        ) from error
