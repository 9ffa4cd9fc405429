"""Crops, policies and mixing, on small images."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from azlib.training import augmentation


def noise(width=20, height=14, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_centre_crop_takes_the_middle_of_256_pixels():
    image = noise(256, 256)
    assert (
        augmentation.centre_crop(image, 224).tobytes() == image.crop((16, 16, 240, 240)).tobytes()
    )
    assert augmentation.centre_crop(noise(300, 31), 28).size == (28, 28)


def test_random_crop_of_any_shape():
    rng = Random(0)
    for size in ((20, 14), (1, 1), (400, 3), (3, 400)):
        assert augmentation.random_crop(noise(*size), 8, rng).size == (8, 8)


def test_crops_cover_8_to_100_percent_at_the_allowed_aspects(monkeypatch):
    boxes = []
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, resample, box: boxes.append(box) or self
    )
    image, rng = noise(200, 200), Random(1)
    for _ in range(400):
        augmentation.random_crop(image, 8, rng)
    left, top, right, bottom = np.array(boxes).T
    area = (right - left) * (bottom - top) / 200**2
    aspect = (right - left) / (bottom - top)
    assert 0.07 < area.min() < 0.12 and 0.8 < area.max() <= 1
    assert 0.73 < aspect.min() < 0.8 and 1.25 < aspect.max() < 1.36
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 200


def test_policy_has_the_published_rows():
    assert len(augmentation.ROWS) == 25 and all(len(row) == 6 for row in augmentation.ROWS)
    assert augmentation.ROWS[0] == ["0.4", "posterize", "8", "0.6", "rotate", "9"]
    assert augmentation.ROWS[12] == ["0.0", "equalize", "7", "0.8", "equalize", "8"]
    assert augmentation.ROWS[24] == ["0.8", "equalize", "8", "0.6", "equalize", "3"]
    assert {row[i] for row in augmentation.ROWS for i in (1, 4)} <= set(augmentation.OPERATIONS)
    assert len(augmentation.RANDAUGMENT) == 15


@pytest.mark.parametrize("name", augmentation.OPERATIONS)
def test_operations_keep_the_size_and_change_the_image(name):
    image = noise()
    changed = augmentation.OPERATIONS[name](image, 0.9, -1)
    assert changed.size == image.size and changed.mode == "RGB"
    # Noise already spans the whole range, which is all that autocontrast is about.
    assert changed.tobytes() != image.tobytes() or name == "autocontrast"


def test_operations_at_known_magnitudes():
    image = noise()
    pixels = np.array(image).astype(int)

    def apply(name, m, sign=1):
        return np.array(augmentation.OPERATIONS[name](image, m, sign)).astype(int)

    np.testing.assert_array_equal(apply("posterize", 1), pixels // 16 * 16)
    np.testing.assert_array_equal(apply("posterize_more", 0.9), pixels // 128 * 128)
    np.testing.assert_array_equal(apply("solarize", 0), pixels)
    np.testing.assert_array_equal(apply("solarize", 1), 255 - pixels)
    kept = pixels < 256 * 7 / 9  # 199.1: a threshold need not be a whole number
    np.testing.assert_array_equal(apply("solarize", 2 / 9), np.where(kept, pixels, 255 - pixels))
    dark = np.minimum(pixels + 99, 255)
    np.testing.assert_array_equal(apply("solarize_add", 0.9), np.where(pixels < 128, dark, pixels))
    np.testing.assert_allclose(apply("brightness", 1, -1), pixels * 0.1, atol=1)


@pytest.mark.parametrize("policy", augmentation.POLICIES)
def test_a_view_depends_on_its_stream_alone(policy):
    settings = {"size": 12, "policy": policy, "lighting": 0.1, "erasing": 0.5, "noise": True}
    views = [augmentation.training_view(noise(), Random(k), **settings) for k in (5, 5, 6)]
    assert views[0].shape == (3, 12, 12) and views[0].dtype == torch.float32
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_normalisation_is_imagenets():
    view = augmentation.evaluation_view(Image.new("RGB", (9, 9), (255, 0, 0)), Random(0), size=4)
    expected = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(view, expected.view(3, 1, 1).expand(3, 4, 4))


def test_erasing_overwrites_one_rectangle():
    shares = []
    for seed in range(40):
        erased = augmentation.erase(torch.ones(3, 40, 40), Random(seed), noise=False) == 0
        rows, columns = erased[0].any(1).sum(), erased[0].any(0).sum()
        assert int(erased.sum()) == 3 * int(rows * columns)
        shares.append(float(erased[0].float().mean()))
    assert 0.01 < min(shares) < 0.06 and 0.25 < max(shares) < 0.35
    assert augmentation.erase(torch.ones(3, 40, 40), Random(0), noise=True).std() > 0.1


def one_colour_each(n=4, size=30):
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 3, size, size)
    return images, torch.eye(n)


def test_mixup_mixes_images_and_targets_alike():
    images, targets = one_colour_each()
    mixed, soft = augmentation.mix(images, targets, Random(3), mixup=0.8, cutmix=0)
    share = soft[0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.flip(0))
    torch.testing.assert_close(soft, share * targets + (1 - share) * targets.flip(0))


def test_cutmix_targets_are_the_shares_of_the_pixels():
    images, targets = one_colour_each()
    for seed in range(30):
        mixed, soft = augmentation.mix(images, targets, Random(seed), mixup=0, cutmix=1.0)
        assert float(soft[0, 0]) == pytest.approx(float((mixed[0, 0] == 0).float().mean()))
        assert set(mixed.unique().tolist()) <= {0, 1, 2, 3}
    assert images[0].max() == 0, "the batch itself was written into"


def test_both_take_turns_and_none_changes_nothing():
    images, targets = one_colour_each()
    kinds = [
        len(augmentation.mix(images, targets, Random(s), 0.8, 1.0)[0][0].unique())
        for s in range(60)
    ]
    assert 15 < kinds.count(1) < 50  # a mixed-up image has one colour
    assert augmentation.mix(images, targets, Random(0), 0, 0)[0] is images
