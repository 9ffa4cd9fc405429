"""What the training recipes do to images: crops, policies, erasing; mixing of a batch.

One image is a Pillow image in RGB until it becomes a normalised tensor (3, size, size). Every draw
comes from the `random.Random` that is passed in, so that an image looks the same in a given epoch
whichever process loads it.

This is our own code for three reasons. torchvision and timm draw from generators of the process;
torchvision's AutoAugment rotates both ways where the paper's rotates one way, and its thresholds
end at 255; and timm needs torchvision, whose wheels load only beside the very PyTorch build that
they were made with, which a plain `pip install` beside a CPU build does not give.

From the paper's code: AutoAugment's rows and magnitudes, the numbers of color jitter, lighting
noise, erasing (for the CNNs), mixup and cutmix, bicubic crops, the normalisation (stated for the
CNNs). Where it is silent we take the common meaning: crops of 8 to 100% of the area with aspect
3/4 to 4/3, jitter in random order, ImageNet's usual principal components, erased areas of the
vision transformers like those of the CNNs, RandAugment "rand-m9-mstd0.5-inc1" as that name means
in timm but for the grey of the border, bicubic rotation, and a batch mixed with its own reverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from random import Random

import numpy as np
import torch
from torch import Tensor

with suppress(ImportError):  # without Pillow there is no image to pass, and `read_folder` says so
    from PIL import Image, ImageEnhance, ImageOps
    from PIL.Image import Resampling, Transform

GREY = (128, 128, 128)
MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
# Principal components of ImageNet's pixels in [0, 1]: eigenvectors in columns, eigenvalues.
COMPONENTS = torch.tensor(
    ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
)
VARIANCES = torch.tensor((0.2175, 0.0188, 0.0045))


# --- crops ---------------------------------------------------------------------------------


def random_crop(image: Image.Image, size: int, rng: Random) -> Image.Image:
    """A crop of random area, aspect and place, resized to `size` pixels a side."""
    width, height = image.size
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1)
        aspect = math.exp(rng.uniform(-math.log(4 / 3), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = rng.randint(0, width - w), rng.randint(0, height - h)
            break
    else:  # very long images: the middle, at the nearest allowed aspect
        w, h = min(width, max(1, round(height * 4 / 3))), min(height, max(1, round(width * 4 / 3)))
        x, y = (width - w) // 2, (height - h) // 2
    return image.resize((size, size), Resampling.BICUBIC, box=(x, y, x + w, y + h))


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle of the image after its shorter side became size / 0.875 (rounded up)."""
    side = math.ceil(size / 0.875)
    scale = side / min(image.size)
    width, height = (max(side, round(scale * length)) for length in image.size)
    x, y = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Resampling.BICUBIC).crop((x, y, x + size, y + size))


# --- policies ------------------------------------------------------------------------------


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Transform.AFFINE, matrix, Resampling.BICUBIC, fillcolor=GREY)


def _enhance(kind: str) -> Callable:
    return lambda image, m, sign: getattr(ImageEnhance, kind)(image).enhance(1 + sign * 0.9 * m)


def _solarize_add(image: Image.Image, m: float, sign: int) -> Image.Image:
    return image.point([min(255, v + int(110 * m)) if v < 128 else v for v in range(256)] * 3)


# name -> f(image, magnitude from 0 to 1, sign), in the ranges of the paper's code
OPERATIONS: dict[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "shearX": lambda image, m, sign: _affine(image, 1, sign * 0.3 * m, 0, 0, 1, 0),
    "shearY": lambda image, m, sign: _affine(image, 1, 0, 0, sign * 0.3 * m, 1, 0),
    "translateX": lambda image, m, s: _affine(image, 1, 0, s * 0.45 * m * image.width, 0, 1, 0),
    "translateY": lambda image, m, s: _affine(image, 1, 0, 0, 0, 1, s * 0.45 * m * image.height),
    "rotate": lambda image, m, sign: image.rotate(
        sign * 30 * m, Resampling.BICUBIC, fillcolor=GREY
    ),
    "color": _enhance("Color"),
    "contrast": _enhance("Contrast"),
    "brightness": _enhance("Brightness"),
    "sharpness": _enhance("Sharpness"),
    "posterize": lambda image, m, sign: ImageOps.posterize(image, round(8 - 4 * m)),
    "posterize_more": lambda image, m, _: ImageOps.posterize(image, max(1, 4 - int(4 * m))),
    "solarize": lambda image, m, sign: ImageOps.solarize(image, math.ceil(256 * (1 - m))),
    "solarize_add": _solarize_add,
    "autocontrast": lambda image, m, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, m, sign: ImageOps.equalize(image),
    "invert": lambda image, m, sign: ImageOps.invert(image),
}

# Rows of two operations: probability, name, index of the magnitude from 0 to 9.
IMAGENET_POLICY = """
0.4 posterize 8 0.6 rotate 9     | 0.6 solarize 5 0.6 autocontrast 5 | 0.8 equalize 8 0.6 equalize 3
0.6 posterize 7 0.6 posterize 6  | 0.4 equalize 7 0.2 solarize 4     | 0.4 equalize 4 0.8 rotate 8
0.6 solarize 3 0.6 equalize 7    | 0.8 posterize 5 1.0 equalize 2    | 0.2 rotate 3 0.6 solarize 8
0.6 equalize 8 0.4 posterize 6   | 0.8 rotate 8 0.4 color 0          | 0.4 rotate 9 0.6 equalize 2
0.0 equalize 7 0.8 equalize 8    | 0.6 invert 4 1.0 equalize 8       | 0.6 color 4 1.0 contrast 8
0.8 rotate 8 1.0 color 2         | 0.8 color 8 0.8 solarize 7        | 0.4 sharpness 7 0.6 invert 8
0.6 shearX 5 1.0 equalize 9      | 0.4 color 0 0.6 equalize 3        | 0.4 equalize 7 0.2 solarize 4
0.6 solarize 5 0.6 autocontrast 5 | 0.6 invert 4 1.0 equalize 8      | 0.6 color 4 1.0 contrast 8
0.8 equalize 8 0.6 equalize 3
"""
ROWS = [row.split() for row in IMAGENET_POLICY.replace("\n", "|").split("|") if row.strip()]


def autoaugment(image: Image.Image, rng: Random) -> Image.Image:
    """One of the 25 rows of the ImageNet policy. Rotation is always positive, as published."""
    row = rng.choice(ROWS)
    for probability, name, index in (row[:3], row[3:]):
        if rng.random() < float(probability):
            sign = 1 if name == "rotate" else rng.choice((-1, 1))
            image = OPERATIONS[name](image, int(index) / 9, sign)
    return image


RANDAUGMENT = [name for name in OPERATIONS if name != "posterize"]


def randaugment(image: Image.Image, rng: Random) -> Image.Image:
    """Two operations, each applied with probability 1/2 at a magnitude of N(0.9, 0.05²)."""
    for name in rng.choices(RANDAUGMENT, k=2):
        if rng.random() < 0.5:
            magnitude = min(max(rng.gauss(0.9, 0.05), 0), 1)
            image = OPERATIONS[name](image, magnitude, rng.choice((-1, 1)))
    return image


def jitter(image: Image.Image, rng: Random) -> Image.Image:
    """Brightness, contrast and saturation times a factor of 0.6 to 1.4, in random order."""
    kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    for kind in rng.sample(kinds, k=3):
        image = kind(image).enhance(rng.uniform(0.6, 1.4))
    return image


POLICIES = {
    "none": lambda image, rng: image,
    "jitter": jitter,
    "autoaugment": autoaugment,
    "randaugment": randaugment,
}


# --- views ---------------------------------------------------------------------------------


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def training_view(
    image: Image.Image,
    rng: Random,
    *,
    size: int,
    policy: str,
    lighting: float,
    erasing: float,
    noise: bool,
) -> Tensor:
    """A random view, normalised: crop, flip, `policy`, lighting noise (a standard deviation),
    then with probability `erasing` a rectangle of zeros or `noise`."""
    image = random_crop(image, size, rng)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    pixels = to_tensor(POLICIES[policy](image, rng))
    if lighting:
        amounts = torch.tensor([rng.gauss(0, lighting) for _ in VARIANCES])
        pixels += (COMPONENTS @ (amounts * VARIANCES)).view(3, 1, 1)
    pixels = (pixels - MEAN) / STD
    return erase(pixels, rng, noise) if rng.random() < erasing else pixels


def evaluation_view(image: Image.Image, rng: Random, *, size: int) -> Tensor:
    """The normalised centre crop; nothing is random."""
    return (to_tensor(centre_crop(image, size)) - MEAN) / STD


def erase(pixels: Tensor, rng: Random, noise: bool) -> Tensor:
    """One rectangle, 2 to 33% of the area with aspect 0.3 to 3.3, overwritten; up to 10 tries."""
    height, width = pixels.shape[1:]
    for _ in range(10):
        area, aspect = height * width * rng.uniform(0.02, 0.33), rng.uniform(0.3, 3.3)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            y, x = rng.randint(0, height - h), rng.randint(0, width - w)
            values = torch.zeros(3, h, w)
            if noise:
                values.normal_(generator=torch.Generator().manual_seed(rng.getrandbits(63)))
            pixels[:, y : y + h, x : x + w] = values
            break
    return pixels


def mix(
    images: Tensor, targets: Tensor, rng: Random, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and soft targets (B, K) mixed with the batch in reverse order.

    mixup, cutmix: the parameter of a symmetric Beta distribution of the share λ that an image
    keeps, 0 for never; where both are given each has probability 1/2. One λ a batch.
    """
    cut = cutmix and not (mixup and rng.random() < 0.5)
    alpha = cutmix if cut else mixup
    if not alpha:
        return images, targets
    share = rng.betavariate(alpha, alpha)
    others = images.flip(0)
    if cut:
        height, width = images.shape[2:]
        (top, bottom), (left, right) = (
            _interval(length, math.sqrt(1 - share), rng) for length in (height, width)
        )
        images = images.clone()
        images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        images = share * images + (1 - share) * others
    return images, share * targets + (1 - share) * targets.flip(0)


def _interval(length: int, part: float, rng: Random) -> tuple[int, int]:
    """`part` of a length around a uniform centre, clipped to it."""
    centre, half = rng.randrange(length), int(length * part) // 2
    return max(0, centre - half), min(length, centre + half)
