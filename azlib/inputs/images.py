"""Batches of real images with labels, for proxies that are defined on them.

Sources:
    "patches": the default, works offline. Patches cut from the photographs that scikit-image ships
        (`pip install 'azlib[companion]'`); the label is the photograph. They have the statistics of
        natural images, not the classes of a benchmark: every exhibit says which source it used.
    "gaussian": noise with random labels, to measure what images are good for.
    "cifar10=FOLDER", "cifar100=FOLDER": the released files, binary or Python version.
    "cifar10=hf", "cifar100=hf": the same from the Hugging Face Hub, which needs
        `pip install 'azlib[hf]'`. A folder of that name is "./hf".
    "imagenet16-120=FOLDER": train_data_batch_1 to 10 of ImageNet16; its first 120 classes.

FOLDER holds the files, or the sub-folder that their archive unpacks to. Training images only, each
flipped with probability 1/2 and cropped at random from a black margin (4 pixels, ImageNet16: 2),
then normalised with NAS-Bench-201's constants. CIFAR-10 is the whole training set of 50,000; the
published comparisons draw from one half of it. A batch is a uniform draw without replacement;
two batches of one network may share an image.

At another resolution than the source's own (32, ImageNet16: 16) images are resized after cropping:
averaged over areas when smaller, bilinear when larger, which adds pixels and no detail. Resized
images no longer have unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from azlib.errors import AzlibError, needs, reason, unknown
from azlib.files import RestrictedUnpickler
from azlib.inputs import gaussian

PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
    "ihc.png",
    "brick.png",
    "grass.png",
)
_ARRAYS: dict[str, object] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
}  # all that a pickle may ask for
for _home in ("numpy.core", "numpy._core"):  # numpy 1, numpy 2
    _ARRAYS[f"{_home}.multiarray._reconstruct"] = np.empty(0).__reduce__()[0]
_SCALE = 4  # pixels of the photograph per pixel of a patch, along a side, where it is large enough


@dataclass(frozen=True)
class _TrainingSet:
    """A benchmark's training set as it was released."""

    images: int
    classes: int
    size: int  # pixels along a side
    padding: int
    mean: tuple[float, float, float]  # of pixels from 0 to 255
    std: tuple[float, float, float]
    parts: int  # files
    files: tuple[str, ...]  # as archives unpack, {} is the part; .bin are binary, others pickles
    labels: str = "labels"  # their key in the pickles
    first: int = 0  # the lowest label
    prefix: int = 1  # label bytes of a binary record, of which the last counts
    hub: str | None = None  # its name on the Hugging Face Hub


_TRAINING_SETS = {
    "cifar10": _TrainingSet(
        images=50_000,
        classes=10,
        size=32,
        padding=4,
        mean=(125.3, 123.0, 113.9),
        std=(63.0, 62.1, 66.7),
        parts=5,
        files=("cifar-10-batches-bin/data_batch_{}.bin", "cifar-10-batches-py/data_batch_{}"),
        hub="uoft-cs/cifar10",
    ),
    "cifar100": _TrainingSet(
        images=50_000,
        classes=100,
        size=32,
        padding=4,
        mean=(129.3, 124.1, 112.4),
        std=(68.2, 65.4, 70.4),
        parts=1,
        files=("cifar-100-binary/train.bin", "cifar-100-python/train"),
        labels="fine_labels",
        prefix=2,  # the coarse label, then the fine one
        hub="uoft-cs/cifar100",
    ),
    "imagenet16-120": _TrainingSet(
        images=151_700,
        classes=120,
        size=16,
        padding=2,
        mean=(122.68, 116.66, 104.01),
        std=(63.22, 61.26, 65.09),
        parts=10,
        files=("ImageNet16/train_data_batch_{}",),
        first=1,
    ),
}
SOURCES = (
    "patches",
    "gaussian",
    *(f"{name}=FOLDER" for name in _TRAINING_SETS),
    *(f"{name}=hf" for name, known in _TRAINING_SETS.items() if known.hub),
)


def batch(
    source: str, shape: tuple[int, ...], classes: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """B images (B, 3, H, W), float32, and labels (B,), int64, both drawn from `rng`.

    Channels are normalised over the source, not over the batch. Labels are below
    `classes`: a source with fewer classes uses all of its own, one with more draws from its first.
    Files are read once per process. Raises `AzlibError` for an unknown source and a shape that is
    not of square RGB images; and, where the source is a training set, for a folder that is missing
    or incomplete, a damaged file, fewer than two classes, and more images than there are.
    """
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise AzlibError(f"real images are square and RGB: input shape {shape} does not fit")
    name, _, folder = source.partition("=")
    if source == "patches":
        return _patches(shape[0], shape[2], classes, rng)
    if source == "gaussian":
        return gaussian(shape, rng), torch.randint(classes, shape[:1], generator=rng)
    if name in _TRAINING_SETS and folder:
        return _augmented(name, folder, shape[0], shape[2], classes, rng)
    raise unknown("source of images", source, SOURCES)


def _patches(count: int, size: int, classes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    photographs = _photographs(size)
    labels = torch.randint(min(classes, len(photographs)), (count,), generator=rng)
    images = torch.empty(count, 3, size, size)
    for image, label in zip(images, labels.tolist(), strict=True):
        photograph = photographs[label]
        top, left, flip = (
            int(torch.randint(bound, (), generator=rng))
            for bound in (photograph.shape[1] - size + 1, photograph.shape[2] - size + 1, 2)
        )
        patch = photograph[:, top : top + size, left : left + size]
        image.copy_(patch.flip(2) if flip else patch)
    return images, labels


@cache
def _photographs(size: int) -> list[Tensor]:
    """The photographs, (3, height, width) each, averaged down so that a patch shows some scene,
    then normalised over all of them."""
    scaled = []
    for name in PHOTOGRAPHS:
        pixels = _read(name)
        side = min(pixels.shape[1:])
        if side < size:
            factor = size / side
            pixels = nn.functional.interpolate(
                pixels[None], scale_factor=1.01 * factor, mode="bilinear", align_corners=False
            )[0]
        else:
            pixels = nn.functional.avg_pool2d(pixels, max(1, min(_SCALE, side // (2 * size))))
        scaled.append(pixels)
    # Photographs weigh alike, whatever their size, as they do in a batch.
    mean = torch.stack([pixels.mean((1, 2)) for pixels in scaled]).mean(0)
    square = torch.stack([pixels.square().mean((1, 2)) for pixels in scaled]).mean(0)
    std = torch.sqrt(square - mean**2)
    return [(pixels - mean[:, None, None]) / std[:, None, None] for pixels in scaled]


def _read(name: str) -> Tensor:
    """A photograph as (3, height, width), 0 to 1; grey ones repeated over the channels."""
    with needs("scikit-image", "companion"):
        import skimage
        from skimage.io import imread

    pixels = np.asarray(imread(Path(skimage.__file__).parent / "data" / name), dtype=np.float32)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return torch.from_numpy(pixels[:, :, :3] / 255).permute(2, 0, 1).contiguous()


def _augmented(
    name: str, folder: str, count: int, size: int, classes: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images of a training set, cropped, flipped and normalised, and their labels."""
    if classes < 2:
        raise AzlibError(f"labels need at least two classes, the network has {classes}")
    known = _TRAINING_SETS[name]
    pixels, labels = _training_set(name, folder)
    eligible = torch.nonzero(labels < classes)[:, 0]
    if count > len(eligible):
        raise AzlibError(
            f"{name} has {len(eligible)} images of {min(classes, known.classes)} classes: "
            f"a batch of {count} is too large"
        )
    chosen = eligible[torch.randperm(len(eligible), generator=rng)[:count]]
    cropped = _cropped(pixels[chosen], known.padding, rng)
    mean, std = (torch.tensor(values)[:, None, None] for values in (known.mean, known.std))
    images = (cropped - mean) / std
    if size < known.size:
        images = nn.functional.interpolate(images, size, mode="area")
    elif size > known.size:
        images = nn.functional.interpolate(images, size, mode="bilinear", align_corners=False)
    return images, labels[chosen]


def _cropped(pixels: Tensor, padding: int, rng: torch.Generator) -> Tensor:
    """A random window of each image in its black margin, mirrored or not."""
    count, _, size, _ = pixels.shape
    padded = nn.functional.pad(pixels, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=rng)
    flip = torch.randint(2, (count, 1), generator=rng).bool()
    along = torch.arange(size)
    rows, columns = top + along, left + torch.where(flip, along.flip(0), along)
    image, channel = torch.arange(count)[:, None, None, None], torch.arange(3)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


@cache
def _training_set(name: str, folder: str) -> tuple[Tensor, Tensor]:
    """All images (N, 3, size, size), uint8, and labels (N,), int64, checked for completeness."""
    known = _TRAINING_SETS[name]
    if folder == "hf" and known.hub:
        parts = [_from_hub(name, known)]
    else:
        parts = [_from_file(file, name, known) for file in _files(name, folder, known)]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = len(np.unique(labels))
    if found < known.classes or len(labels) != known.images:
        raise AzlibError(
            f"{name}={folder} holds {len(labels)} images of {found} classes: expected "
            f"{known.images} of {known.classes}; download it again"
        )
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def _files(name: str, folder: str, known: _TrainingSet) -> list[Path]:
    """The files of the training set, in the layout of which the folder has most."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise AzlibError(f"{name}: {root} is not a folder; give the one that holds the files")
    layouts = [
        [place / Path(layout.format(part + 1)).name for part in range(known.parts)]
        for layout in known.files
        for place in (root, root / Path(layout).parent)
    ]
    best = max(layouts, key=lambda files: sum(file.is_file() for file in files))
    missing = [file.name for file in best if not file.is_file()]
    if len(missing) == known.parts:
        expected = " or ".join(layout.format(1) for layout in known.files)
        raise AzlibError(f"{root} holds no {name} training set: expected files like {expected}")
    if missing:
        raise AzlibError(f"{best[0].parent} is incomplete: it lacks {', '.join(missing)}")
    return best


def _from_file(file: Path, name: str, known: _TrainingSet) -> tuple[np.ndarray, np.ndarray]:
    try:
        if file.suffix == ".bin":
            record = known.prefix + 3 * known.size**2
            expected = known.images // known.parts * record
            if file.stat().st_size != expected:
                raise ValueError(f"{file.stat().st_size} bytes, expected {expected}")
            records = np.fromfile(file, np.uint8).reshape(-1, record)
            rows, labels = records[:, known.prefix :], records[:, known.prefix - 1]
        else:
            with file.open("rb") as stream:
                # Python 2 wrote them.
                content = RestrictedUnpickler(stream, _ARRAYS, encoding="latin1").load()
            rows, labels = content["data"], content[known.labels]
        return _arrays(rows.reshape(-1, 3, known.size, known.size), labels, known)
    except Exception as error:  # a damaged file can fail in any way
        raise AzlibError(
            f"{file} is damaged or not a {name} training file: {reason(error)}; download it again"
        ) from error


def _from_hub(name: str, known: _TrainingSet) -> tuple[np.ndarray, np.ndarray]:
    with needs("datasets", "hf"):
        from datasets import load_dataset
    try:
        rows = load_dataset(known.hub, split="train").with_format("numpy")[:]
        pixels = np.ascontiguousarray(rows["img"].transpose(0, 3, 1, 2))
        return _arrays(pixels, rows[known.labels.removesuffix("s")], known)
    except Exception as error:  # no network, another layout, a full disk
        raise AzlibError(
            f"{name}=hf: {known.hub} cannot be loaded: {reason(error)}; give {name}=FOLDER"
        ) from error


def _arrays(
    pixels: np.ndarray, labels: ArrayLike, known: _TrainingSet
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels counted from 0, of the classes that the training set has."""
    labels = np.asarray(labels)
    shape = (len(labels), 3, known.size, known.size)
    if pixels.dtype != np.uint8 or pixels.shape != shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{pixels.shape} images of type {pixels.dtype} and {len(labels)} labels of type "
            f"{labels.dtype}, expected {shape} of uint8 and integers"
        )
    labels = labels.astype(np.int64) - known.first
    kept = (labels >= 0) & (labels < known.classes)
    return pixels[kept], labels[kept]
