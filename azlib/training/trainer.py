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

import math
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
from torch import Tensor
from tqdm import tqdm

from azlib.errors import AzlibError, out_of_memory, reason
from azlib.inputs import generator
from azlib.training import augmentation
from azlib.training.checkpoints import Row, log, read_last, write_epoch
from azlib.training.folders import Folder, batches, read_folder
from azlib.training.learner import Learner
from azlib.training.processes import Process, processes
from azlib.training.recipes import RECIPES, Recipe, TrainSettings


def train(
    network: Any,
    folder: str | Path,
    out: str | Path,
    recipe: Recipe = RECIPES["plain"],
    settings: TrainSettings | None = None,
) -> pd.DataFrame:
    """Trains a network on the images of a folder; returns its log, one row an epoch.

    Under torchrun this is one of several processes, each of which calls it alike.

    Args:
        network: a `Network`, or another dataclass with its `num_classes` (the folder's),
            `resolution` and `build(drop_path, rng)`.
        folder: images, see `read_folder`.
        out: a folder, the same for every process, of
            last.pt: the same call continues it, on any number of processes;
            best.pt: the first epoch of the highest accuracy;
            log.csv: epoch, learning rate, training loss, validation top-1 in %, seconds;
            unreadable.txt: the images that were skipped, if any.
        recipe: how to train.
        settings: seed, device and the like.

    Raises `AzlibError` for bad input, when memory runs out and when the loss is not finite.
    """
    settings = TrainSettings() if settings is None else settings
    data = read_folder(folder)
    _check(network, data, folder, recipe, settings)
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AzlibError(
            f"no folder {out} can be made ({reason(error)}): choose another"
        ) from error
    with processes(settings.device) as process, torch.random.fork_rng(devices=[]):
        share = recipe.batch // process.world
        if recipe.batch % process.world or share < 2:
            raise AzlibError(
                f"batch={recipe.batch} over {process.world} processes: expected a multiple of "
                "their number, and 2 images or more for each; change batch"
            )
        with _memory(recipe):
            run = _Run(network, data, Path(out), recipe, settings, process)
            run.resume()
            run.train()
    return log(run.rows)


def _check(
    network: Any, data: Folder, folder: str | Path, recipe: Recipe, settings: TrainSettings
) -> None:
    """Raises `AzlibError` where network, images, recipe and teacher do not fit together."""
    if network.num_classes != len(data.classes):
        raise AzlibError(
            f"the network has {network.num_classes} classes, {folder} {len(data.classes)}: build "
            "it with as many"
        )
    if (channels := getattr(network, "channels", 3)) != 3:
        raise AzlibError(
            f"the network takes images of {channels} channels, the recipes read RGB photographs: "
            "train it with a loop of your own, on what its space builds"
        )
    if len(data.train) < recipe.batch:
        raise AzlibError(
            f"batch={recipe.batch} is more than the {len(data.train)} training images of {folder}: "
            "lower batch"
        )
    if recipe.distilled != (settings.teacher is not None):
        needs = "needs a teacher: give one" if recipe.distilled else "has no teacher: give none"
        raise AzlibError(
            f"this recipe {needs}, or take another recipe (distilled={recipe.distilled}, "
            f"teacher={settings.teacher!r})"
        )


class _Run:
    """The epochs of one process, each of which ends in files that the first process writes."""

    def __init__(
        self,
        network: Any,
        data: Folder,
        out: Path,
        recipe: Recipe,
        settings: TrainSettings,
        process: Process,
    ) -> None:
        self.data, self.out, self.recipe = data, out, recipe
        self.settings, self.process = settings, process
        self.learner = Learner(network, recipe, settings, process)
        self.rows: list[Row] = []
        self.unreadable: set[str] = set()
        self.described = {
            "network": asdict(network),
            "recipe": {k: v for k, v in asdict(recipe).items() if k != "precision"},
            "images": {"train": len(data.train), "val": len(data.val)},
            "classes": list(data.classes),
            "seed": settings.seed,
            "teacher": settings.teacher,
        }

    def train(self) -> None:
        """All epochs that are left."""
        steps = len(self.data.train) // self.recipe.batch
        with tqdm(
            total=self.recipe.epochs * steps,
            initial=len(self.rows) * steps,
            desc="train",
            unit="step",
            disable=not self.settings.progress or self.process.rank > 0,
        ) as bar:
            while (epoch := len(self.rows)) < self.recipe.epochs:
                start = time.monotonic()
                lr, loss = self.epoch(epoch, bar)
                if not math.isfinite(loss):
                    raise AzlibError(
                        f"the loss of epoch {epoch} is {loss}: lower lr, or set precision=float32; "
                        f"{self.out / 'last.pt'} holds the epoch before, if any"
                    )
                top1 = self.evaluate()
                self.rows.append(Row(epoch, lr, loss, top1, time.monotonic() - start))
                self.save()
                bar.set_postfix(epoch=epoch, loss=f"{loss:.3f}", top1=f"{top1:.2f} %")
                if self.unreadable:
                    bar.set_description(f"train ({len(self.unreadable)} unreadable images skipped)")

    def epoch(self, epoch: int, bar: tqdm) -> tuple[float, float]:
        """One pass over the training images: its last learning rate and its mean loss."""
        recipe, process, count = self.recipe, self.process, len(self.data.train)
        stream = f"{self.settings.seed}/{epoch}"
        dropping = generator(self.settings.seed, f"{epoch}/{process.rank}", "drop")
        torch.manual_seed(dropping.initial_seed())
        total = torch.zeros((), device=process.device)
        self.learner.parallel.train()
        for step, (images, labels) in enumerate(self.training_batches(epoch, stream)):
            lr = recipe.rate(epoch, (step + 1) * recipe.batch, count)
            rng = Random(f"{stream}/{step}/{process.rank}")
            total += self.learner.step(images, labels, lr, rng)
            bar.update()
        return lr, float(process.sum(total)) / (process.world * (step + 1))

    def training_batches(self, epoch: int, stream: str) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's images and labels of every step of an epoch."""
        recipe, files = self.recipe, self.data.train
        view = partial(
            augmentation.training_view,
            size=self.learner.size,
            policy=recipe.policy,
            lighting=recipe.lighting,
            erasing=recipe.erasing,
            noise=recipe.noise,
        )
        rng = generator(self.settings.seed, str(epoch), "order")
        order = torch.randperm(len(files), generator=rng)
        order = order.repeat_interleave(recipe.repeats)[: len(files)]
        items = _shares(order, recipe.batch, self.process)
        loader = batches(files, items, view, stream, True, self.settings.workers)
        for images, labels, unreadable in loader:
            self.unreadable.update(unreadable)
            if images is None:
                raise AzlibError(f"none of the {len(files)} training images can be read")
            yield images, labels

    @torch.no_grad()
    def evaluate(self) -> float:
        """Accuracy in % on the readable validation images."""
        process, files = self.process, self.data.val
        self.learner.student.eval()
        process.share(self.learner.student.buffers())
        mine = [(i, i) for i in range(process.rank, len(files), process.world)]
        size = self.recipe.batch // process.world
        items = [mine[i : i + size] for i in range(0, len(mine), size)]
        view = partial(augmentation.evaluation_view, size=self.learner.size)
        counts = torch.zeros(2, dtype=torch.int64, device=process.device)
        loader = batches(files, items, view, "", False, self.settings.workers)
        for images, labels, unreadable in loader:
            self.unreadable.update(unreadable)
            if images is not None:
                counts += self.learner.hits(images, labels)
        hits, seen = process.sum(counts).tolist()
        if not seen:
            raise AzlibError(f"none of the {len(files)} validation images can be read")
        return 100 * hits / seen

    def save(self) -> None:
        """Writes the files of `train`, in the first process."""
        self.unreadable = self.process.union(self.unreadable)
        if self.process.rank:
            return
        state = {
            "settings": self.described,
            "rows": self.rows,
            "unreadable": sorted(self.unreadable),
            **self.learner.weights(),
        }
        write_epoch(self.out, state, self.learner.progress())

    def resume(self) -> None:
        """Goes back to the end of the last epoch that was written, if any."""
        state = read_last(self.out, self.described, self.process.device)
        if state is None:
            return
        try:
            self.rows, self.unreadable = state["rows"], set(state["unreadable"])
            self.learner.load(state)
        except Exception as error:  # PyTorch raises many kinds for what does not fit
            if out_of_memory(error):
                raise
            raise AzlibError(
                f"{self.out / 'last.pt'} cannot be continued ({reason(error)}): expected last.pt "
                "as azlib train wrote it; choose another output"
            ) from error


def _shares(order: Tensor, batch: int, process: Process) -> Iterator[list[tuple[int, int]]]:
    """This process's part of each whole batch: (index, position) pairs, dealt round-robin."""
    for start in range(0, len(order) - batch + 1, batch):
        positions = range(start + process.rank, start + batch, process.world)
        yield [(int(order[i]), i) for i in positions]


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
        if not out_of_memory(error):
            raise
        raise AzlibError(
            f"out of memory at batch={recipe.batch}: lower batch (lr follows), the resolution or "
            "workers, or use more processes"
        ) from error
