"""Training end to end on folders of coloured noise, and what can go wrong with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
import types
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from azlib.errors import AzlibError
from azlib.inputs import generator
from azlib.spaces import mobilenetv2
from azlib.training import augmentation, distillation, learner, trainer
from azlib.training.checkpoints import Row, read_checkpoint, write_epoch
from azlib.training.folders import read_folder
from azlib.training.processes import Process, is_first
from azlib.training.recipes import RECIPES, Network, TrainSettings, adjusted, named

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


@dataclass(frozen=True)
class Toy:
    """A small network with all that must be restored: running statistics and dropout."""

    width: int = 8
    num_classes: int = 3
    resolution: int = 12
    norm: bool = True

    def build(self, drop_path=0.0, rng=None):
        model = nn.Sequential(
            nn.Conv2d(3, self.width, 3, stride=2),
            nn.BatchNorm2d(self.width) if self.norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(0.1 if self.norm else 0),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.width, self.num_classes),
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.3, generator=rng)
        return model


RECIPE = replace(
    RECIPES["plain"], epochs=6, warmup=1, batch=8, lr=8.0, bn_momentum=0.3, mixup=0.2, erasing=0.2
)


def write_images(path, colours=COLOURS, train=8, val=4, size=(18, 14)):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for name, colour in colours.items():
            (path / part / name).mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(-40, 40, (*size, 3)) + colour
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(
                    path / part / name / f"{i}.png"
                )
    return path


def train(network, folder, out, recipe=RECIPE, **settings):
    return trainer.train(network, folder, out, recipe, TrainSettings(progress=False, **settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = write_images(tmp_path_factory.mktemp("images"))
    (path / "train" / "red" / "broken.jpg").write_bytes(b"no image")
    whole = (path / "val" / "green" / "0.png").read_bytes()
    (path / "val" / "green" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (path / "val" / "green" / "notes.txt").write_text("not listed as an image")
    return path


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return train(Toy(), folder, out), out


def weights(path):
    return torch.cat([t.flatten().double() for t in torch.load(path)["model"].values()])


def test_loss_falls_and_the_log_is_written(finished):
    log, out = finished
    assert list(log) == ["epoch", "lr", "train_loss", "top1", "seconds"] and len(log) == 6
    assert log["train_loss"].iloc[-1] < 0.8 * log["train_loss"].iloc[0]
    assert log["top1"].max() > 60
    pd.testing.assert_frame_equal(pd.read_csv(out / "log.csv"), log, check_dtype=False)


def test_unreadable_images_are_skipped_and_listed(finished, folder):
    _, out = finished
    names = (out / "unreadable.txt").read_text().splitlines()
    assert names == [f"{folder}/train/red/broken.jpg", f"{folder}/val/green/cut.png"]
    # 12 readable images: every accuracy is a multiple of a twelfth.
    twelfths = finished[0]["top1"] / 100 * 12
    np.testing.assert_allclose(twelfths, twelfths.round(), atol=1e-9)


def test_unreadable_images_may_have_any_name(tmp_path):
    """Names of files are bytes, which need not be text."""
    name = os.fsdecode(b"red/broken\xff.jpg") if os.name == "posix" else "red/broken\udcff.jpg"
    state = {"rows": [Row(1, 0.1, 2.0, 50.0, 1.0)], "settings": {"network": {}}, "model": {}}
    write_epoch(tmp_path, {**state, "unreadable": [name]}, {})
    assert (tmp_path / "unreadable.txt").read_bytes().splitlines() == [b"red/broken\xff.jpg"]
    assert read_checkpoint(tmp_path / "last.pt")["unreadable"] == [name]


@pytest.mark.parametrize("epochs", [1, 4])
def test_a_killed_run_continues_bit_for_bit(finished, folder, tmp_path, monkeypatch, epochs):
    done = []
    evaluate = trainer._Run.evaluate

    def killed(self):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(1)
        return evaluate(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer._Run, "evaluate", killed)
        train(Toy(), folder, tmp_path)
    assert len(read_checkpoint(tmp_path / "last.pt")["rows"]) == epochs
    torch.rand(7)  # the state of torch's own generator must not matter
    log = train(Toy(), folder, tmp_path)
    expected, out = finished
    columns = ["epoch", "lr", "train_loss", "top1"]
    assert log[columns].equals(expected[columns])
    for name in ("last.pt", "best.pt"):
        assert torch.equal(weights(tmp_path / name), weights(out / name)), name
    again = train(Toy(), folder, tmp_path)
    assert again.equals(log), "a finished run has nothing to do"


def test_training_leaves_torchs_generator_alone(folder, tmp_path):
    before = torch.get_rng_state()
    train(Toy(), folder, tmp_path, replace(RECIPE, epochs=2))
    assert torch.equal(before, torch.get_rng_state())


def test_best_checkpoint_has_the_best_accuracy(finished, folder):
    log, out = finished
    state = read_checkpoint(out / "best.pt")
    assert len(state["rows"]) - 1 == log["top1"].idxmax()
    model = Toy().build()
    model.load_state_dict(state["model"])
    data = read_folder(folder)
    hits = [
        int(model.eval()(augmentation.evaluation_view(image, None, size=12)[None]).argmax())
        == label
        for path, label in data.val
        if not path.endswith("cut.png")
        for image in [Image.open(path)]
    ]
    assert 100 * np.mean(hits) == pytest.approx(log["top1"].max())


def test_loading_processes_change_nothing(finished, folder, tmp_path):
    train(Toy(), folder, tmp_path, workers=1)
    assert torch.equal(weights(tmp_path / "last.pt"), weights(finished[1] / "last.pt"))


SHORT = replace(RECIPE, epochs=2, mixup=0.0)


def take_part(folder, out, variables):
    os.environ.update(variables)
    train(Toy(norm=False), folder, out, SHORT)


def test_two_processes_compute_what_one_does(folder, tmp_path):
    """Without batch norms, dropout and mixing, which act within a process, sums commute."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    forks = multiprocessing.get_context("forkserver")  # loads PyTorch once for both
    forks.set_forkserver_preload(["test_train", "torch._dynamo"])
    ranks = [{**place, "WORLD_SIZE": "2", "RANK": r, "LOCAL_RANK": r} for r in "01"]
    running = [
        forks.Process(target=take_part, args=(folder, tmp_path / "two", rank)) for rank in ranks
    ]
    try:
        for process in running:
            process.start()
        for process in running:
            process.join(timeout=300)
        assert [process.exitcode for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    log = train(Toy(norm=False), folder, tmp_path / "one", SHORT)
    both = pd.read_csv(tmp_path / "two" / "log.csv")
    np.testing.assert_allclose(both["train_loss"], log["train_loss"], rtol=1e-5)
    assert both["top1"].tolist() == pytest.approx(log["top1"].tolist())
    torch.testing.assert_close(
        weights(tmp_path / "two" / "last.pt"),
        weights(tmp_path / "one" / "last.pt"),
        atol=1e-4,
        rtol=0,
    )
    unreadable = (tmp_path / "two" / "unreadable.txt").read_text()
    assert "broken.jpg" in unreadable and "cut.png" in unreadable


# --- recipes -------------------------------------------------------------------------------


def test_learning_rate_of_the_cnns():
    plain, n = RECIPES["plain"], 1_281_167
    assert plain.rate(0, 512, n) == pytest.approx(0.8 * 513 / (5 * n))
    assert plain.rate(4, n - 1, n) == pytest.approx(0.8)  # the warm-up's last step
    half = 5 * n + 145 * n // 2
    assert plain.rate(half // n, half % n, n) == pytest.approx(0.4, rel=1e-4)
    assert plain.rate(149, n - 1, n) == pytest.approx(0, abs=1e-12)
    assert RECIPES["distilled"].rate(5, 1, n) == pytest.approx(0.2, rel=1e-6)
    assert replace(plain, batch=64).rate(5, 1, n) == pytest.approx(0.1, rel=1e-6)


def test_learning_rate_of_the_transformers():
    recipe = RECIPES["autoformer"]

    def rate(epoch):
        return recipe.rate(epoch, 2048, 1_281_167)

    assert rate(0) == rate(1) == 1e-6
    assert rate(20) == pytest.approx(1e-6 + 19 * (2e-3 - 1e-6) / 20)
    assert rate(21) == pytest.approx(1e-5 + 0.5 * (2e-3 - 1e-5) * (1 + np.cos(np.pi * 20 / 500)))
    assert RECIPES["autoformer-base"].rate(151, 1, 2) == pytest.approx(1e-5 + 0.5 * (2e-3 - 1e-5))


def test_networks_start_as_the_paper_trains_them():
    model = Network("mobilenetv2", mobilenetv2.SMALLEST, 5, 32).build(rng=generator(1, "", ""))
    bottlenecks = [m for m in model.modules() if isinstance(m, mobilenetv2.InvertedBottleneck)]
    assert bottlenecks and all(not b.main[-1].weight.any() for b in bottlenecks)
    assert all(b.shortcut[1].weight.all() for b in bottlenecks if len(list(b.shortcut.children())))
    assert any(isinstance(m, mobilenetv2.SqueezeExcitation) for m in model.modules())
    assert model.head.out_features == 5 and not model.head.bias.any()


def test_what_decays():
    tiny = "depth=12 embed=192 mlp=" + ",".join(["4"] * 12) + " heads=" + ",".join(["3"] * 12)
    model = Network("autoformer-tiny", tiny, 5, 32).build(drop_path=0.1)
    assert model.blocks[11].attention.inner.scale == 0.125  # (192 // 3)^-0.5
    assert model.blocks[11].mlp.drop_path == pytest.approx(0.0846, abs=1e-4)
    names = {p: name for name, p in model.named_parameters()}
    decayed, others = learner.decayed(model, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0)
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    for name in (names[p] for p in others["params"]):
        assert name.endswith(("bias", "norm.weight", "class_token", "positions")), name
    assert "blocks.0.attention.inner.key_tables" in (names[p] for p in decayed["params"])


def test_transformers_train(folder, tmp_path):
    tiny = "depth=12 embed=192 mlp=" + ",".join(["3.5"] * 12) + " heads=" + ",".join(["3"] * 12)
    recipe = replace(RECIPES["autoformer"], epochs=1, warmup=0, batch=12)
    log = train(Network("autoformer-tiny", tiny, 3, 16), folder, tmp_path, recipe)
    assert np.isfinite(log["train_loss"][0])


def test_the_loss_is_that_of_smoothed_targets():
    recipe, process = replace(RECIPE, smoothing=0.2), Process(0, 1, torch.device("cpu"))
    learning = learner.Learner(Toy(norm=False), recipe, TrainSettings(), process)
    images = torch.randn(4, 3, 12, 12, generator=generator(0, "", "images"))
    targets = torch.eye(3)[[0, 2, 1, 1]]
    smoothed = targets * 0.8 + 0.2 / 3
    expected = -(smoothed * learning.student.infer(images).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(learning.loss(images, targets), expected)


def test_repeats_and_shares_of_processes():
    order = torch.tensor([5, 5, 5, 2, 2, 2, 9])
    cpu = torch.device("cpu")
    shares = [list(trainer._shares(order, 4, Process(rank, 2, cpu))) for rank in (0, 1)]
    assert shares == [[[(5, 0), (5, 2)]], [[(5, 1), (2, 3)]]]


# --- teachers ------------------------------------------------------------------------------


class Teaching(nn.Module):
    """Logits and two features, as a scripted teacher returns them."""

    def __init__(self, classes=3, features=True, pool=8):
        super().__init__()
        self.linear, self.features, self.pool = nn.Linear(3, classes), features, pool

    def forward(self, x):
        x = nn.functional.avg_pool2d(x, self.pool)
        logits = self.linear(x.mean((2, 3)))
        if self.features is None:
            return x
        return (logits, x, x[:, :2]) if self.features else logits


def write_teacher(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Teaching(**options).eval(), torch.zeros(2, 3, 120, 120)).save(str(path))
    return str(path)


class Efficient(nn.Module):
    """The names of an EfficientNet's parts, and an activation in place, as teachers have it."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.AvgPool2d(2) for _ in range(5)))
        self.bn2, self.act2 = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act2(self.bn2(self.blocks(x) - 1)).mean((2, 3))


def test_a_teacher_of_torch_hub_shows_its_features(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.hub, "load", lambda *a, **k: asked.append(a) or Efficient())
    teach = distillation.load_teacher("owner/repository:b3", torch.device("cpu"))
    for _ in range(2):
        logits, (sixteenth, head) = teach(torch.zeros(1, 3, 64, 64))
        assert sixteenth.shape[-1] == 4 and head.shape[-1] == 2
        assert (head == -1).all() and (logits == 0).all(), "the head is tapped before its ReLU"
    assert asked == [("owner/repository", "b3")]


def test_distilled_recipe_learns_from_logits_and_features(folder, tmp_path):
    network = Network("mobilenetv2", mobilenetv2.SMALLEST, 3, 32)
    recipe = replace(RECIPES["distilled"], epochs=1, warmup=0, batch=12)
    teacher = write_teacher(tmp_path / "teacher.pt")
    log = train(network, folder, tmp_path / "run", recipe, teacher=teacher)
    assert np.isfinite(log["train_loss"][0])
    projections = read_checkpoint(tmp_path / "run" / "last.pt")["projections"]
    assert [tuple(projections[f"{i}.weight"].shape[:2]) for i in (0, 1)] == [(3, 8), (2, 8)]
    assert projections["0.weight"].abs().max() < 0.02 and projections["0.bias"].any()
    again = train(network, folder, tmp_path / "run", recipe, teacher=teacher)
    assert again.equals(log)


def test_features_are_those_of_the_first_blocks_at_a_sixteenth_and_a_thirty_second():
    structure = (
        "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE1K3(8,16,2,8,1)SuperResIDWE1K3(16,24,2,8,1)"
        "SuperResIDWE1K3(24,32,2,8,1)SuperResIDWE1K3(32,40,1,8,1)SuperResIDWE1K3(40,48,2,8,1)"
        "SuperResIDWE1K3(48,56,1,8,1)SuperConvK1BNRELU(56,64,1,1)"
    )
    model = mobilenetv2.MobileNetV2(num_classes=3).build(structure)
    student = distillation.Student(model, 64).eval()
    _, features = student._run(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(32, 4, 4), (48, 2, 2)]


def test_distillation_is_the_published_sum():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 3, generator=rng)
    mine, theirs = torch.randn(2, 4, 2, 5, 5, generator=rng)
    logit = -(b.softmax(1) * a.log_softmax(1)).sum(1).mean()
    d = (mine - theirs).abs()
    feature = torch.where(d < 1, d**2 / 2, d - 0.5).mean()
    torch.testing.assert_close(distillation.distillation(a, [], b, []), logit)
    torch.testing.assert_close(distillation.distillation(a, [mine], b, [theirs]), logit + feature)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "no teacher"),
        ({"classes": 4, "features": False}, "tells 4 classes apart"),
        ({"pool": 100}, r"fails on images \(2, 3, 12, 12\): .*; expected logits"),
        ({"features": None}, "returns tensors of other shapes"),
    ],
)
def test_bad_teachers(folder, tmp_path, options, message):
    recipe = replace(RECIPE, distilled=True, epochs=2)
    teacher = "b3.pt" if options is None else write_teacher(tmp_path / "t.pt", **options)
    with pytest.raises(AzlibError, match=message):
        train(Toy(), folder, tmp_path / "run", recipe, teacher=teacher)


def test_damaged_teacher_and_student_without_features(folder, tmp_path):
    (tmp_path / "t.pt").write_bytes(b"nothing")
    recipe = replace(RECIPE, distilled=True, epochs=2)
    with pytest.raises(AzlibError, match="cannot load the teacher"):
        train(Toy(), folder, tmp_path / "run", recipe, teacher=str(tmp_path / "t.pt"))
    teacher = write_teacher(tmp_path / "features.pt")
    with pytest.raises(AzlibError, match="gives 2 features"):
        train(Toy(), folder, tmp_path / "run", recipe, teacher=teacher)


# --- bad input -----------------------------------------------------------------------------


def test_another_run_is_not_continued(finished, folder):
    _, out = finished
    for network, recipe, message in (
        (Toy(), replace(RECIPE, smoothing=0.2), r"recipe\.smoothing=0\.1 \(now 0\.2\)"),
        (Toy(width=9), RECIPE, r"network\.width=8 \(now 9\)"),
    ):
        with pytest.raises(AzlibError, match=message):
            train(network, folder, out, recipe)


def checkpoint(**changes):
    """What a checkpoint holds, but for the changes; None leaves a part out."""
    state = {
        "settings": {"network": {}},
        "rows": [[0, 0.1, 2.0, 50.0, 1.0]],
        "model": {},
        **changes,
    }
    return {name: part for name, part in state.items() if part is not None}


@pytest.mark.parametrize(
    "content",
    [
        b"nothing",
        3.5,
        [1, 2],
        {"a": 1},
        checkpoint(model=None),
        checkpoint(model=[1]),
        checkpoint(settings=1),
        checkpoint(settings={"network": "mobilenetv2"}),
        checkpoint(rows=[1]),
        checkpoint(rows=[[1, 2]]),
        checkpoint(rows=[["a", 1, 1, 1, 1]]),
    ],
    ids=str,
)
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(AzlibError, match="no checkpoint of azlib train, or is damaged") as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(AzlibError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("part", "content"),
    [("optimiser", None), ("optimiser", {"state": 1}), ("model", {}), ("unreadable", 3)],
)
def test_a_run_without_a_part_is_not_continued(finished, folder, tmp_path, part, content):
    state = torch.load(finished[1] / "last.pt")
    state[part] = content
    if content is None:  # as in best.pt
        del state[part]
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(
        AzlibError, match=r"last\.pt cannot be continued \(.*\): expected"
    ) as raised:
        train(Toy(), folder, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"RANK": "one"}, "RANK='one': expected a number"),
        ({"RANK": "²"}, "RANK='²': expected a number"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2': expected a number"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK='': expected a number"),
        ({"RANK": "1"}, "RANK=1 with WORLD_SIZE=1: expected less"),
        ({"WORLD_SIZE": "0"}, "RANK=0 with WORLD_SIZE=0: expected less"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE without MASTER_PORT"),
        ({"WORLD_SIZE": "2", "MASTER_PORT": "29500"}, "WORLD_SIZE=2 without MASTER_ADDR"),
        ({"WORLD_SIZE": "2", "MASTER_PORT": "99999", "MASTER_ADDR": "x"}, "do not meet"),
    ],
)
def test_variables_of_torchrun_that_make_no_sense(folder, tmp_path, monkeypatch, place, message):
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AzlibError, match=f"{message}.*torchrun") as raised:
        train(Toy(), folder, tmp_path)
    assert "\n" not in str(raised.value)


def test_only_the_first_process_speaks(monkeypatch):
    assert is_first()
    monkeypatch.setenv("RANK", "3")
    assert not is_first()


def test_the_output_is_tried_before_training(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/run"):
        with pytest.raises(AzlibError, match=r"no folder .*file.* can be made"):
            train(Toy(), folder, tmp_path / out)


def test_every_process_needs_two_images(folder, tmp_path, monkeypatch):
    process = Process(0, 4, torch.device("cpu"))
    monkeypatch.setattr(trainer, "processes", lambda device: contextlib.nullcontext(process))
    for batch in (4, 6):
        with pytest.raises(AzlibError, match=f"batch={batch} over 4 processes: expected"):
            train(Toy(), folder, tmp_path, replace(RECIPE, batch=batch))


def test_pillow_is_asked_for_when_images_are_read(folder, monkeypatch):
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    augmentation.__spec__.loader.exec_module(types.ModuleType("azlib.training.augmentation"))
    with pytest.raises(AzlibError, match=r"package pillow: pip install 'azlib\[train\]'"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"recipe": replace(RECIPE, batch=64)}, "lower batch"),
        ({"recipe": replace(RECIPE, distilled=True)}, "needs a teacher"),
        ({"teacher": "x.pt"}, "has no teacher"),
        ({"network": Toy(num_classes=4)}, "has 4 classes"),
        ({"seed": -1}, "seed=-1"),
        (
            {"network": Toy(norm=False), "recipe": replace(RECIPE, lr=1e3, lr_batch=1)},
            "lower lr",
        ),
        ({"workers": -1}, "workers=-1: expected an integer from 0 to 256"),
        ({"seed": 2**63}, "seed=9223372036854775808: expected"),
    ],
)
def test_bad_settings(folder, tmp_path, options, message):
    arguments = {"network": Toy(), **options}
    with pytest.raises(AzlibError, match=message):
        train(folder=folder, out=tmp_path, **arguments)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs='many': expected an integer from 1 to 100,000"),
        ({"epochs": True}, "epochs=True: expected an integer"),
        ({"epochs": 10**400}, "expected an integer from 1"),
        ({"epochs": 5}, "epochs > warmup"),
        ({"batch": 1}, "batch=1: expected an integer from 2"),
        ({"lr": -1.0}, r"lr=-1\.0: expected a number from 0 to 1,000"),
        ({"lr": float("nan")}, "lr=nan: expected a number"),
        ({"smoothing": 5}, r"smoothing=5: expected a number from 0 to 0\.99"),
        ({"erasing": 7}, "erasing=7: expected a number from 0 to 1"),
        ({"drop_path": 1.5}, r"drop_path=1\.5: expected a number from 0 to 0\.99"),
        ({"repeats": 1000}, "repeats=1000: expected an integer from 1 to 16"),
        ({"mixup": 1e9}, "mixup=1000000000"),
        ({"cutmix": -1}, "cutmix=-1"),
        ({"enlarge": 0.001}, r"enlarge=0\.001: expected a number from 1 to 4"),
        ({"bn_momentum": 2}, "bn_momentum=2"),
        ({"lighting": 50}, "lighting=50"),
        ({"noise": 1}, "noise=1: expected True or False"),
        ({"policy": "autoagument"}, "Did you mean 'autoaugment'"),
        ({"policy": 3}, "policy=3: expected text"),
    ],
)
def test_bad_recipes(values, message):
    with pytest.raises(AzlibError, match=message) as raised:
        adjusted(RECIPES["plain"], values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resolution": 0}, "resolution=0: expected an integer from 1 to 1,024"),
        ({"resolution": -32}, "resolution=-32"),
        ({"resolution": 100_000}, "resolution=100000"),
        ({"num_classes": 0}, "num_classes=0: expected an integer from 1 to 100,000"),
        ({"num_classes": 10**9}, "num_classes=1000000000"),
        ({"space": 5}, "space=5: expected text"),
    ],
)
def test_bad_networks(values, message):
    with pytest.raises(AzlibError, match=message):
        Network(**{"space": "mobilenetv2", "structure": mobilenetv2.SMALLEST, **values})


def test_bad_names():
    with pytest.raises(AzlibError, match="Did you mean 'plain'"):
        named("plane")
    with pytest.raises(AzlibError, match="Did you mean 'mobilenetv2'"):
        Network("mobilenetv3", "x").build()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_absent(folder, tmp_path):
    with pytest.raises(AzlibError, match="sees no CUDA device"):
        train(Toy(), folder, tmp_path, device="cuda")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_out_of_memory_says_what_to_lower(folder, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(learner.Learner, "loss", fail)
    with pytest.raises(AzlibError, match="out of memory at batch=8: lower batch"):
        train(Toy(), folder, tmp_path)


def test_bad_folders(tmp_path):
    with pytest.raises(AzlibError, match=r"no folder .*expected images as .*train/CLASS"):
        read_folder(tmp_path / "none")
    (tmp_path / "train" / "one").mkdir(parents=True)
    with pytest.raises(AzlibError, match=r"no folder .*val"):
        read_folder(tmp_path)
    (tmp_path / "val" / "one").mkdir(parents=True)
    with pytest.raises(AzlibError, match="1 class folders: expected 2"):
        read_folder(tmp_path)
    (tmp_path / "train" / "two").mkdir()
    with pytest.raises(AzlibError, match=r"no image in .*one"):
        read_folder(tmp_path)
    (tmp_path / "val" / "three").mkdir()
    with pytest.raises(AzlibError, match=r"'three' is in .* but not in"):
        read_folder(tmp_path)


def test_nothing_readable(tmp_path):
    write_images(tmp_path, train=4, val=1)
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(AzlibError, match="none of the 3 validation images"):
        train(Toy(), tmp_path, tmp_path / "run")
    for path in (tmp_path / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(AzlibError, match="none of the 12 training images"):
        train(Toy(), tmp_path, tmp_path / "run")
