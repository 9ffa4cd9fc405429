"""Real images: right pixels and labels from good files, one clear line from bad ones."""

import os
import pickle
import sys
import warnings
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from azlib.errors import AzlibError
from azlib.inputs import images
from azlib.scoring import Execution, Reference, recompute, sample, sweep
from azlib.settings import ScoreSettings
from azlib.spaces.nasbench201 import NASBench201

HERE = Execution(workers=1, progress=False)
MEAN = {
    "cifar10": ([125.3, 123.0, 113.9], [63.0, 62.1, 66.7]),
    "cifar100": ([129.3, 124.1, 112.4], [68.2, 65.4, 70.4]),
    "imagenet16-120": ([122.68, 116.66, 104.01], [63.22, 61.26, 65.09]),
}
SIZE = {"cifar10": 32, "cifar100": 32, "imagenet16-120": 16}
MARGIN = {"cifar10": 4, "cifar100": 4, "imagenet16-120": 2}
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16-120": 120}
FILES = {"cifar10": 5, "cifar100": 1, "imagenet16-120": 10}
COUNT = {"cifar10": 50, "cifar100": 200, "imagenet16-120": 240}


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- files in the released formats


class Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 did: both as 8-bit strings; numpy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{value.__name__}\n".encode())

    dispatch[bytes] = dispatch[str] = save_string
    dispatch[type] = dispatch[type(os.getcwd)] = save_global


def write_pickle(path, content):
    with path.open("wb") as stream:
        Python2(stream, protocol=2).dump(content)


@pytest.fixture
def released(tmp_path, monkeypatch):
    """Every training set in every released form, tiny, and the images and labels in them."""
    draws = np.random.default_rng(0)
    truth = {}
    for name, classes in CLASSES.items():
        count, size = COUNT[name], SIZE[name]
        known = replace(images._TRAINING_SETS[name], images=count)
        monkeypatch.setitem(images._TRAINING_SETS, name, known)
        pixels = draws.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
        labels = draws.permutation(np.arange(count) % classes)
        truth[name] = pixels, labels

    for folder in ("bin/cifar-10-batches-bin", "py/cifar-10-batches-py", "bin/cifar-100-binary"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("py/cifar-100-python", "ImageNet16"):
        (tmp_path / folder).mkdir()

    pixels, labels = truth["cifar10"]
    for part, rows in enumerate(np.split(np.arange(50), 5), 1):
        records = np.column_stack([labels[rows].astype(np.uint8), pixels[rows].reshape(10, -1)])
        (tmp_path / f"bin/cifar-10-batches-bin/data_batch_{part}.bin").write_bytes(
            records.tobytes()
        )
        write_pickle(
            tmp_path / f"py/cifar-10-batches-py/data_batch_{part}",
            {"data": pixels[rows].reshape(10, -1), "labels": labels[rows].tolist(), "x": "é"},
        )

    pixels, fine = truth["cifar100"]
    coarse, flat = fine // 5, pixels.reshape(200, -1)
    records = np.column_stack([coarse.astype(np.uint8), fine.astype(np.uint8), flat])
    (tmp_path / "bin/cifar-100-binary/train.bin").write_bytes(records.tobytes())
    content = {"data": flat, "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
    write_pickle(tmp_path / "py/cifar-100-python/train", content)

    pixels, labels = truth["imagenet16-120"]
    for part, rows in enumerate(np.split(np.arange(240), 10), 1):
        # Each file has as many images again of the classes that are left out.
        data = np.concatenate([pixels[rows], 255 - pixels[rows]]).reshape(48, -1)
        content = {"data": data, "labels": [*(labels[rows] + 1).tolist(), *range(121, 145)]}
        content["mean"] = data.mean(0)
        (tmp_path / f"ImageNet16/train_data_batch_{part}").write_bytes(
            pickle.dumps(content, protocol=4)
        )
    return tmp_path, truth


SOURCES = {
    "cifar10 binary": ("cifar10", "bin"),
    "cifar10 binary itself": ("cifar10", "bin/cifar-10-batches-bin"),
    "cifar10 python": ("cifar10", "py"),
    "cifar10 python itself": ("cifar10", "py/cifar-10-batches-py"),
    "cifar100 binary": ("cifar100", "bin"),
    "cifar100 python": ("cifar100", "py/cifar-100-python"),
    "imagenet16": ("imagenet16-120", "."),
    "imagenet16 itself": ("imagenet16-120", "ImageNet16"),
}
released_forms = pytest.mark.parametrize("name, place", SOURCES.values(), ids=SOURCES)


def windows(name, pixels):
    """Every crop of an image in its black margin, and its mirror image, normalised: the oracle."""
    margin, size = MARGIN[name], SIZE[name]
    mean, std = (np.array(values)[:, None, None] for values in MEAN[name])
    padded = np.pad(pixels, [(0, 0), (margin, margin), (margin, margin)])
    for top in range(2 * margin + 1):
        for left in range(2 * margin + 1):
            window = (padded[:, top : top + size, left : left + size] - mean) / std
            yield top, left, False, window
            yield top, left, True, window[:, :, ::-1]


@released_forms
def test_every_released_form_holds_the_same_images(released, name, place):
    root, truth = released
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, labels = images._training_set(name, str(root / place))
    assert pixels.dtype == torch.uint8 and labels.dtype == torch.int64
    np.testing.assert_array_equal(pixels, truth[name][0])
    np.testing.assert_array_equal(labels, truth[name][1])


@released_forms
def test_images_are_crops_of_distinct_training_images_with_their_labels(released, name, place):
    root, truth = released
    size = SIZE[name]
    x, y = images.batch(f"{name}={root / place}", (8, 3, size, size), CLASSES[name], rng())
    assert x.shape == (8, 3, size, size) and x.dtype == torch.float32 and y.dtype == torch.int64
    found = []
    for image, label in zip(x.numpy(), y.tolist(), strict=True):
        same = np.flatnonzero(truth[name][1] == label)
        found += [
            index
            for index in same
            for *_, window in windows(name, truth[name][0][index])
            if np.allclose(window, image, atol=1e-5)
        ]
    assert len(found) == len(set(found)) == 8


def test_all_crops_and_both_mirror_images_occur_equally_often(released):
    """The offset of a crop is read off an image whose pixels number themselves."""
    rows, columns = np.indices((16, 16))
    pixels = torch.from_numpy(np.stack([rows * 16 + columns] * 3).astype(np.uint8))
    x = images._cropped(pixels.expand(5000, 3, 16, 16), 2, rng()).numpy()
    centre = x[:, 0, 7:9, 8].astype(int)
    flipped = x[:, 0, 8, 9].astype(int) < x[:, 0, 8, 8]
    top = centre[:, 1] // 16 - 8 + 2
    left = centre[:, 1] % 16 - np.where(flipped, 7, 8) + 2
    counts = np.zeros((5, 5, 2), int)
    np.add.at(counts, (top, left, flipped.astype(int)), 1)
    assert counts.min() > 60 and counts.max() < 145  # 100 expected, standard deviation 10


def test_a_batch_depends_on_the_generator_alone(released):
    source = f"cifar10={released[0] / 'bin'}"
    first = images.batch(source, (8, 3, 32, 32), 10, rng())
    images.batch(source, (5, 3, 32, 32), 10, rng(2))
    again = images.batch(source, (8, 3, 32, 32), 10, rng())
    other = images.batch(source, (8, 3, 32, 32), 10, rng(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    python = images.batch(f"cifar10={released[0] / 'py'}", (8, 3, 32, 32), 10, rng())
    assert torch.equal(first[0], python[0]) and torch.equal(first[1], python[1])


def test_changing_a_batch_changes_no_later_one(released):
    source = f"cifar10={released[0] / 'bin'}"
    x, y = images.batch(source, (8, 3, 32, 32), 10, rng())
    kept = x.clone(), y.clone()
    x.zero_(), y.zero_()
    x, y = images.batch(source, (8, 3, 32, 32), 10, rng())
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1])


def test_files_are_read_once(released):
    root, _ = released
    first = images.batch(f"cifar10={root / 'bin'}", (4, 3, 32, 32), 10, rng())
    for file in (root / "bin/cifar-10-batches-bin").iterdir():
        file.unlink()
    again = images.batch(f"cifar10={root / 'bin'}", (4, 3, 32, 32), 10, rng())
    assert torch.equal(first[0], again[0])


@pytest.mark.parametrize("size, way", [(16, "area"), (12, "area"), (48, "bilinear")])
def test_another_resolution_resizes_the_same_crops(released, size, way):
    source = f"cifar10={released[0] / 'bin'}"
    native, labels = images.batch(source, (6, 3, 32, 32), 10, rng())
    resized, same = images.batch(source, (6, 3, size, size), 10, rng())
    options = {} if way == "area" else {"align_corners": False}
    assert torch.equal(labels, same)
    torch.testing.assert_close(resized, F.interpolate(native, size, mode=way, **options))
    if size == 16:
        means = native.reshape(6, 3, 16, 2, 16, 2).mean((3, 5))
        torch.testing.assert_close(resized, means)


def test_fewer_outputs_than_classes_take_the_first_classes(released):
    source = f"cifar100={released[0] / 'bin'}"
    _, labels = images.batch(source, (14, 3, 32, 32), 7, rng())  # all there are: two of each
    assert sorted(labels.tolist()) == sorted([*range(7)] * 2)
    _, more = images.batch(source, (14, 3, 32, 32), 1000, rng())
    assert 7 <= more.max() < 100
    with pytest.raises(AzlibError, match=r"cifar100 has 14 images of 7 classes: a batch of 15"):
        images.batch(source, (15, 3, 32, 32), 7, rng())
    with pytest.raises(AzlibError, match="at least two classes, the network has 1"):
        images.batch(source, (2, 3, 32, 32), 1, rng())


# ---------------------------------------------------------------- what goes wrong


def refused(source, match, size=32):
    with pytest.raises(AzlibError, match=match) as caught:
        images.batch(source, (2, 3, size, size), 10, rng())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["cifar12=x", "cifar10", "cifar10=", "patches=x", "", "=x"])
def test_an_unknown_source_lists_the_known_ones(source):
    known = (
        "patches, gaussian, cifar10=FOLDER, cifar100=FOLDER, imagenet16-120=FOLDER, cifar10=hf, "
    )
    refused(source, f"unknown source of images .*{known}cifar100=hf")


def test_images_are_square_and_rgb():
    for shape in [(2, 1, 8, 8), (2, 3, 8, 9), (2, 3, 8)]:
        with pytest.raises(AzlibError, match="square and RGB"):
            images.batch("patches", shape, 10, rng())


def test_a_missing_or_empty_folder(released):
    root, _ = released
    refused(f"cifar10={root / 'nowhere'}", "cifar10: .*nowhere is not a folder")
    refused(f"cifar10={root / 'py/cifar-100-python/train'}", "train is not a folder")
    refused(f"cifar10={root}", "holds no cifar10 .*cifar-10-batches-bin/data_batch_1.bin or cifar-")
    refused(f"cifar100={root}", "expected files like cifar-100-binary/train.bin or")
    refused(f"imagenet16-120={root / 'py'}", "like ImageNet16/train_data_batch_1$", 16)


def test_an_incomplete_folder_names_the_file(released):
    root, _ = released
    (root / "bin/cifar-10-batches-bin/data_batch_3.bin").unlink()
    refused(f"cifar10={root / 'bin'}", "cifar-10-batches-bin is incomplete: .*data_batch_3.bin$")
    (root / "ImageNet16/train_data_batch_10").unlink()
    refused(f"imagenet16-120={root}", "incomplete: it lacks train_data_batch_10$", 16)
    # A complete version beside an incomplete one is taken.
    (root / "py/cifar-10-batches-py").rename(root / "bin/cifar-10-batches-py")
    images.batch(f"cifar10={root / 'bin'}", (2, 3, 32, 32), 10, rng())


@released_forms
@pytest.mark.parametrize("cut", [0, 0.5, 0.999])
def test_a_truncated_file_is_named(released, name, place, cut):
    root, _ = released
    file = images._files(name, str(root / place), images._TRAINING_SETS[name])[-1]
    content = file.read_bytes()
    file.write_bytes(content[: int(cut * len(content))])
    refused(f"{name}={root / place}", f"{file} is damaged or not a {name}", SIZE[name])


def test_a_set_with_images_missing_is_refused(released):
    root, truth = released
    file = root / "bin/cifar-10-batches-bin/data_batch_2.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-3073])
    refused(f"cifar10={root / 'bin'}", "data_batch_2.bin is damaged .* 27657 bytes, expected 30730")
    file.write_bytes(bytes([10]) + content[1:])  # a label that cannot be
    refused(f"cifar10={root / 'bin'}", "holds 49 images of 10 classes: expected 50 of 10")
    data, labels = truth["imagenet16-120"][0][:23].reshape(23, -1), truth["imagenet16-120"][1][:23]
    content = {"data": data, "labels": (labels + 1).tolist()}
    (root / "ImageNet16/train_data_batch_1").write_bytes(pickle.dumps(content, protocol=4))
    refused(f"imagenet16-120={root}", "holds 239 images of 120 classes: expected 240 of 120", 16)


@pytest.mark.parametrize("labels", [[1] * 50, [3, 4] * 25])
def test_a_set_of_too_few_classes_is_refused(released, labels):
    root, _ = released
    for part in range(5):
        file = root / f"bin/cifar-10-batches-bin/data_batch_{part + 1}.bin"
        records = np.frombuffer(file.read_bytes(), np.uint8).reshape(10, -1).copy()
        records[:, 0] = labels[10 * part : 10 * part + 10]
        file.write_bytes(records.tobytes())
    refused(
        f"cifar10={root / 'bin'}", f"50 images of {len(set(labels))} classes: expected 50 of 10"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"data": np.zeros((10, 3072))},
        {"data": np.zeros((10, 768), np.uint8)},
        {"data": np.zeros((9, 3072), np.uint8)},
        {"data": None},
        {"labels": [0.5] * 10},
        {"labels": ["cat"] * 10},
        {"labels": None},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_a_pickle_of_other_content_is_refused(released, change):
    root, truth = released
    content = {"data": truth["cifar10"][0][:10].reshape(10, -1), "labels": list(range(10))}
    file = root / "py/cifar-10-batches-py/data_batch_1"
    file.write_bytes(pickle.dumps(content | change, protocol=4))
    refused(f"cifar10={root / 'py'}", "data_batch_1 is damaged or not a cifar10 training file")


class Evil:
    """Unpickled without restriction, it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"mkdir {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "name, file",
    [
        ("cifar10", "py/cifar-10-batches-py/data_batch_2"),
        ("cifar100", "py/cifar-100-python/train"),
        ("imagenet16-120", "ImageNet16/train_data_batch_1"),
    ],
)
def test_a_pickle_that_asks_for_code_is_refused(released, tmp_path, name, file, protocol):
    root, _ = released
    proof = tmp_path / "proof"
    (root / file).write_bytes(pickle.dumps({"data": Evil(proof)}, protocol=protocol))
    refused(
        f"{name}={(root / file).parent}", "refused, it asks to load (posix|nt).system", SIZE[name]
    )
    assert not proof.exists()
    pickle.loads((root / file).read_bytes())  # the file would have done it
    assert proof.exists()


# ---------------------------------------------------------------- the Hugging Face Hub


@pytest.mark.parametrize("name, key", [("cifar10", "label"), ("cifar100", "fine_label")])
def test_the_hub_gives_the_same_images(released, monkeypatch, name, key):
    datasets = pytest.importorskip("datasets", reason="needs the optional package datasets")
    root, truth = released
    pixels, labels = truth[name]
    rows = {"img": list(pixels.transpose(0, 2, 3, 1)), key: labels, "coarse_label": labels // 5}
    features = datasets.Features(
        {
            "img": datasets.Image(),
            key: datasets.ClassLabel(num_classes=CLASSES[name]),
            "coarse_label": datasets.Value("int64"),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / "hub")

    def load(hub, split):
        assert (hub, split) == (f"uoft-cs/{name}", "train")
        return datasets.load_from_disk(str(root / "hub"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    images._training_set.cache_clear()
    x, y = images.batch(f"{name}=hf", (8, 3, 32, 32), CLASSES[name], rng())
    images._training_set.cache_clear()
    file, same = images.batch(f"{name}={root / 'bin'}", (8, 3, 32, 32), CLASSES[name], rng())
    assert torch.equal(x, file) and torch.equal(y, same)
    assert x.is_contiguous()


def test_the_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused("cifar10=hf", r"this needs the package datasets: pip install 'azlib\[hf\]'")


def test_the_hub_out_of_reach(monkeypatch):
    class Offline:
        def load_dataset(self, hub, split):
            raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", Offline())
    refused(
        "cifar100=hf", "cifar100=hf: uoft-cs/cifar100 cannot be loaded: ConnectionError: no route"
    )


# ---------------------------------------------------------------- patches

SIZES = [16, 32, 64, 224, 600]


@pytest.mark.parametrize("size", SIZES)
def test_patches_have_the_shape_and_labels_asked_for(size):
    x, y = images.batch("patches", (4, 3, size, size), 3, rng())
    assert x.shape == (4, 3, size, size) and x.dtype == torch.float32 and x.isfinite().all()
    assert y.shape == (4,) and y.dtype == torch.int64 and set(y.tolist()) <= {0, 1, 2}


def test_every_label_occurs_and_none_above_the_photographs():
    for classes, expected in [(2, 2), (7, 7), (100, 10)]:
        _, y = images.batch("patches", (300, 3, 8, 8), classes, rng())
        assert set(y.tolist()) == set(range(expected))


def test_patches_depend_on_the_generator_alone():
    alone = images.batch("patches", (8, 3, 32, 32), 10, rng())
    for size in (16, 64, 224):
        images.batch("patches", (2, 3, size, size), 10, rng(2))
    again = images.batch("patches", (8, 3, 32, 32), 10, rng())
    images._photographs.cache_clear()
    images.batch("patches", (2, 3, 64, 64), 10, rng(2))
    fresh = images.batch("patches", (8, 3, 32, 32), 10, rng())
    for x, y in (again, fresh):
        assert torch.equal(alone[0], x) and torch.equal(alone[1], y)
    assert not torch.equal(alone[0], images.batch("patches", (8, 3, 32, 32), 10, rng(2))[0])


@pytest.mark.parametrize("size", [16, 32, 64])
def test_patches_are_about_normalised(size):
    x, _ = images.batch("patches", (1000, 3, size, size), 10, rng())
    assert x.mean((0, 2, 3)).abs().max() < 0.2
    assert (x.std((0, 2, 3)) - 1).abs().max() < 0.15


@pytest.mark.parametrize("size", SIZES)
def test_the_photographs_are_normalised_and_weigh_alike(size):
    photographs = [photo.flatten(1).double() for photo in images._photographs(size)]
    mean = torch.stack([photo.mean(1) for photo in photographs]).mean(0)
    square = torch.stack([photo.square().mean(1) for photo in photographs]).mean(0)
    torch.testing.assert_close(mean, torch.zeros(3).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(square, torch.ones(3).double(), atol=1e-3, rtol=0)


def test_a_patch_is_a_window_of_the_photograph_of_its_label():
    x, y = images.batch("patches", (6, 3, 32, 32), 10, rng())
    for image, label in zip(x, y.tolist(), strict=True):
        photo = images._photographs(32)[label]
        found = False
        for patch in (image, image.flip(2)):
            corners = (photo[:, :-31, :-31] == patch[:, :1, :1]).all(0).nonzero().tolist()
            found |= any(
                torch.equal(photo[:, top : top + 32, left : left + 32], patch)
                for top, left in corners
            )
        assert found


def test_gaussian_source_is_noise_with_random_labels():
    x, y = images.batch("gaussian", (512, 3, 16, 16), 7, torch.Generator().manual_seed(0))
    assert abs(float(x.mean())) < 0.01 and float(x.std()) == pytest.approx(1, abs=0.01)
    assert sorted(y.unique().tolist()) == list(range(7))


def test_scores_on_real_images_are_checked_and_compared_again(released, tmp_path):
    """A file names its images but not their place, which has to be given again."""
    source, space = f"cifar10={released[0] / 'bin'}", NASBench201()
    archs = sample(space, 3)
    settings = ScoreSettings.for_space(space, batch=4, resolution=8, proxies=("synflow", "snip"))
    settings = settings.changed(labelled_images=source)
    path = sweep(space, tmp_path / "s.parquet", settings, archs=archs, execution=HERE)
    assert recompute(path, 1, images=[source]) == (1, 0.0)
    with pytest.raises(AzlibError, match=r"s\.parquet cannot be checked: .*unknown source of imag"):
        recompute(path, 1)
    value = Reference.load(path, images=[source]).score_architecture(space, archs[0])
    made = Reference.of_space(space, 3, settings=settings, execution=HERE)
    assert made.score_architecture(space, archs[0]) == value
    assert Reference.load(made.save(tmp_path / "r.parquet")).settings.score.labelled_images == (
        "cifar10"
    )
