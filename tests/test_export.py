"""Exported networks compute what the network computes."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import pytest
import torch

from azlib.cli import app
from azlib.errors import AzlibError
from azlib.spaces.mobilenetv2 import SMALLEST
from azlib.training import export as exporting
from azlib.training.export import choose, export, read_structure
from azlib.training.recipes import Network

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

NETWORK = Network("mobilenetv2", SMALLEST, num_classes=5, resolution=32)


def trained(network):
    """Weights that use every part: the zeros of the initialisation would hide the main paths."""
    model = network.build(rng=torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(4)
    for name, value in model.state_dict().items():
        if name.endswith(("weight", "bias")):
            value.normal_(0, 0.3, generator=rng)
        elif name.endswith(("mean", "var")):
            value.uniform_(0.5, 1.5, generator=rng)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.pt"
    settings = {"network": asdict(NETWORK)}
    state = {"settings": settings, "rows": [], "model": trained(NETWORK).state_dict()}
    torch.save(state, path)
    return path


def test_torchscript_gives_the_same_logits(checkpoint, tmp_path):
    out = tmp_path / "network.ts"
    assert export(NETWORK, "torchscript", out, checkpoint) < 1e-3
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(out)(images), trained(NETWORK)(images))


def test_state_dict_loads_into_the_network(checkpoint, tmp_path):
    assert export(NETWORK, "state-dict", tmp_path / "w.pt", checkpoint) == 0
    model = NETWORK.build()
    model.load_state_dict(torch.load(tmp_path / "w.pt"))
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.eval()(images), trained(NETWORK)(images))


def test_a_transformer(tmp_path):
    text = "depth=12 embed=192 mlp=" + ",".join(["4"] * 12) + " heads=" + ",".join(["3"] * 12)
    network = Network("autoformer-tiny", text, num_classes=3, resolution=32)
    export(network, "torchscript", tmp_path / "vit.ts")
    assert torch.jit.load(tmp_path / "vit.ts")(torch.zeros(4, 3, 32, 32)).shape == (4, 3)


def test_onnx_gives_the_same_logits(checkpoint, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'azlib[onnx]'")
    pytest.importorskip("onnxscript", reason="pip install 'azlib[onnx]'")
    out = tmp_path / "network.onnx"
    export(NETWORK, "onnx", out, checkpoint)
    images = torch.randn(4, 3, 32, 32)
    (logits,) = runtime.InferenceSession(str(out)).run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(logits), trained(NETWORK)(images), rtol=1e-3, atol=1e-3
        )
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


def test_onnx_missing_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(AzlibError, match=r"package onnx: pip install 'azlib\[onnx\]'"):
        export(NETWORK, "onnx", tmp_path / "n.onnx")


@pytest.mark.parametrize("error", [1e-2, float("nan")])
def test_a_network_that_computes_something_else_is_not_kept(tmp_path, monkeypatch, error):
    def wrong(network, model, images, path):
        path.write_bytes(b"x")
        return lambda batch: model(batch) + error * model(batch).abs().max()

    monkeypatch.setitem(exporting.FORMATS, "torchscript", wrong)
    with pytest.raises(AzlibError, match="differ by up to"):
        export(NETWORK, "torchscript", tmp_path / "n.ts")
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_structure(checkpoint, tmp_path):
    other = replace(NETWORK, structure=SMALLEST.replace("E1K3(8,8,2,8,1)", "E1K5(8,8,2,8,1)"))
    with pytest.raises(AzlibError, match="holds structure="):
        export(other, "torchscript", tmp_path / "n.ts", checkpoint)
    with pytest.raises(AzlibError, match="holds num_classes=5, not 7"):
        export(replace(NETWORK, num_classes=7), "torchscript", tmp_path / "n.ts", checkpoint)
    with pytest.raises(AzlibError, match="no checkpoint"):
        export(NETWORK, "torchscript", tmp_path / "n.ts", tmp_path / "none.pt")
    with pytest.raises(AzlibError, match="Did you mean 'torchscript'"):
        export(NETWORK, "torchscrip", tmp_path / "n.ts")
    assert not list(tmp_path.iterdir())


def test_structures_that_a_search_found(tmp_path, checkpoint):
    found = tmp_path / "mobilenetv2_450M_seed1.json"
    found.write_text(
        json.dumps({"structure": SMALLEST, "settings": {"space": {"name": "mobilenetv2"}}})
    )
    assert read_structure(str(found)) == ("mobilenetv2", SMALLEST)
    assert read_structure(SMALLEST) == ("mobilenetv2", SMALLEST)
    assert choose(str(found), weights=checkpoint) == NETWORK
    assert choose(SMALLEST) == Network("mobilenetv2", SMALLEST, 1000, 224)
    with pytest.raises(AzlibError, match="is of the space 'mobilenetv2', not 'autoformer-tiny'"):
        read_structure(str(found), "autoformer-tiny")
    with pytest.raises(AzlibError, match=r"cannot read none\.json"):
        read_structure("none.json")
    with pytest.raises(AzlibError, match="cannot read"):
        read_structure(str(found.parent) + "/.json")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[]",
        b"[" * 200_000 + b"]" * 200_000,
        b"\xff\xfe",
        b'{"structure": 3, "settings": {"space": {"name": "mobilenetv2"}}}',
        b'{"structure": "x", "settings": {"space": {"name": 5}}}',
        b'{"structure": "x", "settings": 5}',
    ],
    ids=["empty", "list", "nested", "binary", "number", "space", "settings"],
)
def test_files_that_no_search_wrote(tmp_path, content):
    path = tmp_path / "found.json"
    path.write_bytes(content)
    with pytest.raises(AzlibError, match="is no structure that azlib search found") as raised:
        choose(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_classes": 0}, "num_classes=0: expected an integer from 1 to 100,000"),
        ({"num_classes": 10**9}, "num_classes=1000000000"),
        ({"resolution": 0}, "resolution=0: expected an integer from 1 to 1,024"),
        ({"resolution": -32}, "resolution=-32"),
        ({"resolution": 100_000}, "resolution=100000"),
        ({"resolution": 7}, "holds resolution=32, not 7"),
    ],
)
def test_sizes_out_of_range(checkpoint, tmp_path, sizes, message):
    with pytest.raises(AzlibError, match=message):
        out = tmp_path / "network.pt"
        export(choose(SMALLEST, weights=checkpoint, **sizes), "state-dict", out, checkpoint)


@pytest.mark.parametrize(
    "weights", [3.5, [1], {}, {"head.weight": 1}, None], ids=["number", "list", "none", "key", "x"]
)
def test_weights_that_are_not_the_networks(checkpoint, tmp_path, weights):
    state = torch.load(checkpoint)
    if weights is None:
        del state["model"]["head.weight"]
    else:
        state["model"] = weights
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(AzlibError, match=r"best\.pt") as raised:
        export(NETWORK, "torchscript", tmp_path / "n.ts", tmp_path / "best.pt")
    assert "\n" not in str(raised.value) and not (tmp_path / "n.ts").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory at resolution=32 with 5 classes"),
        (RuntimeError("no such\noperator"), r"cannot write this network as onnx \(.*no such"),
    ],
)
def test_writers_that_fail(tmp_path, monkeypatch, error, message):
    def fail(*_):
        raise error

    monkeypatch.setitem(exporting.FORMATS, "onnx", fail)
    with pytest.raises(AzlibError, match=message) as raised:
        export(NETWORK, "onnx", tmp_path / "n.onnx")
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_commands_train_and_export(tmp_path):
    from test_train import write_images
    from typer.testing import CliRunner

    def azlib(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    images = write_images(tmp_path / "images", size=(36, 36))
    settings = [f for s in ("epochs=2", "warmup=1", "batch=12") for f in ("--set", s)]
    shown = azlib(
        "train", SMALLEST, images, "--out", tmp_path / "run", "--resolution", 32, "--workers", 0,
        *settings,
    )  # fmt: skip
    assert "best top-1" in shown and (tmp_path / "run" / "log.csv").exists()
    weights = tmp_path / "run" / "best.pt"
    shown = azlib("export", SMALLEST, "--weights", weights, "--out", tmp_path / "n.ts")
    assert "untrained" not in shown
    assert torch.jit.load(tmp_path / "n.ts")(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(AzlibError, match="Did you mean 'epochs'"):
        azlib("train", SMALLEST, images, "--out", tmp_path / "run", "--set", "epoch=1")
