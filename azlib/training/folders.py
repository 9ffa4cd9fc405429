"""An image folder: what is in it, and its batches, whatever files turn out to be unreadable.

torchvision's and timm's folders end a run at the first damaged file, and draw what happens to an
image from the generator of the process that loads it. Here unreadable files are skipped, and the
draws of an image follow from its place in the epoch, so that a run is the same however it is split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from azlib.errors import AzlibError, needs

if TYPE_CHECKING:
    from PIL import Image

Items = list[tuple[int, int]]
Batch = tuple[Tensor | None, Tensor, list[str]]


@dataclass(frozen=True)
class Folder:
    """The files of a folder `train/CLASS/*` and `val/CLASS/*`, each with its class number."""

    classes: tuple[str, ...]
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]


def read_folder(path: str | Path) -> Folder:
    """Lists an image folder without opening an image.

    Raises `AzlibError` for another layout, fewer than two classes, or a class without images.
    """
    with needs("pillow", "train"):
        from PIL import Image
    path = Path(path)
    listed = {}
    for part in ("train", "val"):
        if not (path / part).is_dir():
            raise AzlibError(
                f"no folder {path / part}: expected images as {path}/train/CLASS/*.jpg and "
                f"{path}/val/CLASS/*.jpg"
            )
        listed[part] = sorted(f.name for f in (path / part).iterdir() if f.is_dir())
    classes = listed["train"]
    if len(classes) < 2:
        raise AzlibError(f"{path / 'train'} has {len(classes)} class folders: expected 2 or more")
    if strange := sorted(set(listed["val"]) - set(classes)):
        raise AzlibError(f"class {strange[0]!r} is in {path / 'val'} but not in {path / 'train'}")
    suffixes = set(Image.registered_extensions())
    files: dict[str, list] = {"train": [], "val": []}
    for part, names in listed.items():
        for name in names:
            found = sorted(
                str(f) for f in (path / part / name).rglob("*") if f.suffix.lower() in suffixes
            )
            if not found:
                raise AzlibError(f"no image in {path / part / name}: add some or remove the folder")
            files[part] += [(file, classes.index(name)) for file in found]
    if not files["val"]:
        raise AzlibError(f"no image in {path / 'val'}: expected class folders as in train")
    return Folder(tuple(classes), tuple(files["train"]), tuple(files["val"]))


class _Images(Dataset):
    """Items (index, position in the epoch) -> (view or None, class, unreadable files met).

    view: a function of an image and a `Random`, whose draws `stream` and the position determine.

    In training the next readable file takes the place of an unreadable one, so that every batch
    of every process is full; in validation an unreadable image is left out.
    """

    def __init__(self, files: tuple, view: Callable, stream: str, training: bool):
        self.files, self.view, self.stream, self.training = files, view, stream, training

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor | None, int, list[str]]:
        index, position = item
        unreadable: list[str] = []
        for i in range(len(self.files) if self.training else 1):
            path, label = self.files[(index + i) % len(self.files)]
            if (image := _decode(path)) is not None:
                return self.view(image, Random(f"{self.stream}/{position}")), label, unreadable
            unreadable.append(path)
        return None, -1, unreadable


def _collate(items: list) -> tuple[Tensor | None, Tensor, list[str]]:
    unreadable = [path for item in items for path in item[2]]
    views = [item[0] for item in items if item[0] is not None]
    labels = [item[1] for item in items if item[0] is not None]
    return torch.stack(views) if views else None, torch.tensor(labels), unreadable


def _decode(path: str) -> Image.Image | None:
    """The image as RGB, or None where the file cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except MemoryError as error:
        raise AzlibError(f"out of memory on {path}: lower workers") from error
    except Exception:  # broken files fail in as many ways as there are formats
        return None


def batches(
    files: tuple, items: Iterable[Items], view: Callable, stream: str, training: bool, workers: int
) -> Iterator[Batch]:
    """Images (B, 3, H, W), or None where not one is readable, labels (B,), unreadable files.

    items: for each batch the (index, position in the epoch) of its images. The order of batches
    and the images do not depend on `workers`, the number of loading processes.
    """
    loader = DataLoader(
        _Images(files, view, stream, training),
        batch_sampler=items,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the default one belongs to the network
    )
    yield from loader
