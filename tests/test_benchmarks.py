"""The three sources of the ground truth: right numbers from good files, one clear line from bad."""

import bz2
import hashlib
import itertools
import os
import pickle
import resource
import shutil
import sys
from collections import OrderedDict
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nas_201_api.api_utils import ArchResults, ResultsCount
from scipy.stats import kendalltau

from azlib.companion import benchmarks
from azlib.companion.benchmarks import embedded, exported
from azlib.errors import AzlibError

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
ACCURACIES = SHARED / "nas-bench-201" / "accuracies.csv"
NATS = SHARED / "nats-tss-sample" / "NATS-tss-v1_0-3ffb9-simple"
needs_shared = pytest.mark.skipif(
    not (ACCURACIES.exists() and NATS.exists()), reason="needs ../shared/data (development only)"
)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ARCHS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|",
]
SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
SEEDS = (777, 888, 999)


class Evil:
    """Unpickled without restriction, it creates the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def accuracy(arch, dataset, split, seed, epochs):
    """A number of its own for everything that could be mixed up; the last epoch counts."""
    key = f"{arch}{dataset}{split}{seed}{epochs}".encode()
    return int(hashlib.md5(key).hexdigest(), 16) % 10_000 / 100


def results(index, epochs, number=np.float64):
    """An architecture's results in the official schema, by the official package's classes."""
    record = ArchResults(index, ARCHS[index])
    for dataset, seed in itertools.product(SETS, SEEDS):
        run = ResultsCount(
            name=dataset,
            state_dict=None,
            train_accs=dict.fromkeys(range(epochs), 50.0),
            train_losses=dict.fromkeys(range(epochs), 1.0),
            params=number(0.129306),
            flop=15.64737,
            arch_config={"channel": 16, "num_cells": 5, "arch_str": ARCHS[index]},
            seed=seed,
            epochs=epochs,
            latency=[number(0.01)],
        )
        run.train_times = OrderedDict.fromkeys(range(epochs), 10.0)
        keys = [(split, e) for split in SETS[dataset] for e in range(epochs)]
        run.update_eval(
            accs={f"{s}@{e}": accuracy(ARCHS[index], dataset, s, seed, e + 1) for s, e in keys},
            losses={f"{s}@{e}": 1.0 for s, e in keys},
            times={f"{s}@{e}": 1.0 for s, e in keys},
        )
        record.update(dataset, seed, run)
    return record.state_dict()


@pytest.fixture(scope="module")
def content():
    infos = {i: {"full": results(i, 4), "less": results(i, 2)} for i in range(len(ARCHS))}
    return {"meta_archs": ARCHS, "arch2infos": infos, "evaluated_indexes": list(infos)}


def expected():
    columns = dict(zip(SETS, ("", "ori-test", "x-test", "x-test"), strict=True))
    del columns["cifar10-valid"]
    return [
        [np.mean([accuracy(a, d, s, seed, 4) for seed in SEEDS]) for d, s in columns.items()]
        for a in ARCHS
    ]


def save_pth(content, folder, **options):
    """Saved under the official name, with the digits of its own MD5."""
    path = folder / "raw.pth"
    torch.save(content, path, **options)
    digits = hashlib.md5(path.read_bytes()).hexdigest()[:6]
    return path.rename(folder / f"NAS-Bench-201-v1_1-{digits}.pth")


def save_nats(folder, meta, **records):
    folder = folder / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    for name, record in {"meta": meta, **records}.items():
        file = folder / f"{name.removeprefix('_')}.pickle.pbz2"
        file.write_bytes(bz2.compress(pickle.dumps(record, protocol=4)))
    return folder


def one_line(error):
    return "\n" not in str(error.value)


# The embedded default


def test_embedded_covers_the_whole_space():
    table = benchmarks.load()
    every = [
        f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        for a, b, c, d, e, f in itertools.product(OPERATIONS, repeat=6)
    ]
    assert len(table) == benchmarks.ARCHITECTURES == 15_625
    assert set(table.index) == set(every)
    assert list(table) == ["cifar10"] and table.index.name == "arch"
    assert table["cifar10"].mean() == pytest.approx(86.7727, abs=1e-4)
    assert table.attrs["source"] == "analog-nasbench"
    assert table.attrs["architectures"] == 15_625
    pd.testing.assert_frame_equal(benchmarks.load("analog-nasbench"), table)


def test_embedded_decodes_the_edges():
    """Only the right order of edges, and the right number for `none`, gives dead cells chance.

    A cell is dead when every path from node 0 to node 3 has a `none`: 341 of them.
    """
    table = benchmarks.load()
    operations = np.array(table.index.str.findall(r"(\w+)~\d").tolist())
    e10, e20, e21, e30, e31, e32 = operations.T != "none"
    alive = e30 | (e31 & e10) | (e32 & (e20 | (e21 & e10)))
    assert (~alive).sum() == 341
    assert (table["cifar10"][~alive] == 10).all() and (table["cifar10"][alive] > 30).all()
    by_operation = table["cifar10"].groupby(operations[:, 3]).mean().sort_values()
    assert list(by_operation.index) == [
        "none", "avg_pool_3x3", "skip_connect", "nor_conv_1x1", "nor_conv_3x3"
    ]  # fmt: skip


@needs_shared
def test_embedded_agrees_with_nas_bench_201():
    embedded, official = benchmarks.load(), benchmarks.load(ACCURACIES)
    ours, theirs = embedded["cifar10"], official["cifar10"][embedded.index]
    tau = kendalltau(ours, theirs).statistic
    assert tau == pytest.approx(0.926, abs=0.002)
    assert (ours - theirs).abs().mean() == pytest.approx(0.39, abs=0.01)


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """Installs a data.anb of one's own; RECORD holds the hash of the real one, or none."""

    def install(data, keep_hash=False):
        package = tmp_path / "analognasbench"
        package.mkdir()
        (package / "data.anb").write_bytes(data)
        info = tmp_path / "analog_nasbench-0.1.3.dist-info"
        info.mkdir()
        digest = "sha256=hfNDW4d6otNiaNVc4H9v9tc2Q9F6hA8ZQXRdpeuA2zI" if keep_hash else ""
        (info / "RECORD").write_text(f"analognasbench/data.anb,{digest},\n")
        monkeypatch.setattr(
            embedded.metadata, "distribution", lambda _: metadata.Distribution.at(info)
        )

    return install


def test_embedded_altered(fake_package):
    fake_package(b"anything", keep_hash=True)
    with pytest.raises(AzlibError, match=r"SHA-256 differs.*force-reinstall") as error:
        benchmarks.load()
    assert one_line(error)


def test_embedded_hostile(fake_package, tmp_path):
    fake_package(pickle.dumps(Evil(tmp_path / "owned")))
    with pytest.raises(AzlibError, match=r"refused: it asks to load posix\.mkdir"):
        benchmarks.load()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("data", [b"", pickle.dumps({(0, 1): 2}), pickle.dumps([1])])
def test_embedded_not_the_table(fake_package, data):
    fake_package(data)
    with pytest.raises(AzlibError, match="truncated or not a benchmark") as error:
        benchmarks.load()
    assert one_line(error)


def test_embedded_not_installed(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(embedded.metadata, "distribution", missing)
    with pytest.raises(AzlibError, match=r"analog-nasbench: pip install 'azlib\[companion\]'"):
        benchmarks.load()


# The official .pth


@pytest.mark.parametrize("zipped", [True, False])
def test_pth(content, tmp_path, zipped):
    path = save_pth(content, tmp_path, _use_new_zipfile_serialization=zipped)
    table = benchmarks.load(path)
    assert list(table.index) == ARCHS and list(table) == list(benchmarks.DATASETS)
    np.testing.assert_allclose(table, expected(), atol=5e-7)
    assert table.attrs["source"] == "nas-bench-201"
    assert table.attrs["architectures"] == 2
    assert path.stem[-6:] in table.attrs["checksum"]


def test_pth_costs(content, tmp_path):
    costs = benchmarks.costs(save_pth(content, tmp_path))
    assert costs["cifar100"].loc[ARCHS[0]].to_dict() == {"macs": 15_647_370, "params": 129_306}


def test_pth_altered_or_truncated(content, tmp_path):
    path = save_pth(content, tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], whole + b"x", b""):
        path.write_bytes(damaged)
        with pytest.raises(AzlibError, match=r"fails its checksum.*download it again") as error:
            benchmarks.load(path)
        assert one_line(error)


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_without_digits_is_read_but_still_guarded(content, tmp_path, zipped):
    path = tmp_path / "renamed.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "not checked" in benchmarks.load(path).attrs["checksum"]
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"hello", b""):
        path.write_bytes(damaged)
        with pytest.raises(AzlibError, match="truncated or not a benchmark") as error:
            benchmarks.load(path)
        assert one_line(error)


@pytest.mark.parametrize("zipped", [True, False])
def test_pth_hostile(content, tmp_path, zipped):
    evil = {**content, "extra": Evil(tmp_path / "owned")}
    path = save_pth(evil, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(AzlibError, match=r"refused: it asks to load posix\.mkdir") as error:
        benchmarks.load(path)
    assert one_line(error) and not (tmp_path / "owned").exists()
    torch.load(path, weights_only=False)  # the trap works
    assert (tmp_path / "owned").exists()


def test_pth_state_that_is_a_path(content, tmp_path):
    """The packages open a string as one more file: a benchmark must not choose what we read."""
    other = tmp_path / "other.pth"
    torch.save(results(0, 4, number=float), other)  # loads without any permission
    path = save_pth({**content, "arch2infos": {0: {"full": str(other)}}}, tmp_path)
    with pytest.raises(AzlibError, match=r"architecture 0 of .* lacks 200-epoch results"):
        benchmarks.load(path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([1, 2], "truncated or not a benchmark"),
        ({"state_dict": {}}, "truncated or not a benchmark"),
        ({"arch2infos": {}}, "holds no architectures"),
        ({"arch2infos": {7: {"less": {}}}}, "architecture 7 of .* lacks 200-epoch results"),
        ({"arch2infos": {7: {"full": {"arch_str": ARCHS[0]}}}}, "architecture 7 of .* lacks"),
    ],
)
def test_pth_of_something_else(tmp_path, wrong, message):
    with pytest.raises(AzlibError, match=message) as error:
        benchmarks.load(save_pth(wrong, tmp_path))
    assert one_line(error)


@pytest.mark.parametrize(
    ("module", "package"),
    [("nas_201_api.api_utils", "nas-bench-201"), ("nats_bench.api_utils", "nats-bench")],
)
def test_missing_package(content, tmp_path, monkeypatch, module, package):
    path = save_pth(content, tmp_path)
    if package == "nats-bench":
        path = save_nats(tmp_path, {"meta_archs": ARCHS})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AzlibError, match=rf"{package}: pip install 'azlib\[companion\]'"):
        benchmarks.load(path)


# The NATS-Bench folder


@needs_shared
def test_nats_sample():
    table, official = benchmarks.load(NATS), benchmarks.load(ACCURACIES)
    assert len(table) == table.attrs["architectures"] == 3
    assert table.attrs["source"] == "nas-bench-201"
    pd.testing.assert_frame_equal(table, official.loc[table.index], check_exact=True)


@needs_shared
def test_nats_sample_costs():
    costs = benchmarks.costs(NATS)
    first = costs.iloc[0]
    assert first["cifar10"].to_dict() == {"macs": 15_647_370, "params": 129_306}
    assert first["imagenet16-120"].to_dict() == {"macs": 3_919_480, "params": 136_456}


def test_nats(content, tmp_path):
    record = {"200": content["arch2infos"][1]["full"], "12": content["arch2infos"][1]["less"]}
    table = benchmarks.load(save_nats(tmp_path, {"meta_archs": ARCHS}, _000001=record))
    assert list(table.index) == ARCHS[1:]
    np.testing.assert_allclose(table, expected()[1:], atol=5e-7)


def test_nats_truncated(content, tmp_path):
    record = {"200": content["arch2infos"][0]["full"]}
    folder = save_nats(tmp_path, {"meta_archs": ARCHS}, _000000=record)
    for name in ("000000", "meta"):
        file = folder / f"{name}.pickle.pbz2"
        whole = file.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"hello", b"", bz2.compress(b"hello")):
            file.write_bytes(damaged)
            with pytest.raises(AzlibError, match=f"{name}.* truncated or not a bench") as error:
                benchmarks.load(folder)
            assert one_line(error)


@pytest.mark.parametrize("place", ["meta", "record"])
def test_nats_hostile(content, tmp_path, place):
    evil = Evil(tmp_path / "owned")
    meta = {"meta_archs": ARCHS, "x": evil if place == "meta" else 0}
    record = {"200": content["arch2infos"][0]["full"], "x": evil if place == "record" else 0}
    folder = save_nats(tmp_path, meta, _000000=record)
    with pytest.raises(AzlibError, match=r"refused: it asks to load posix\.mkdir"):
        benchmarks.load(folder)
    assert not (tmp_path / "owned").exists()


def test_nats_of_something_else(content, tmp_path):
    state = content["arch2infos"][0]["full"]
    folder = save_nats(tmp_path, {"meta_archs": ARCHS}, _000001={"200": state})
    with pytest.raises(AzlibError, match=r"000001\S+ does not hold .* architecture 1"):
        benchmarks.load(folder)
    shutil.rmtree(folder)
    folder = save_nats(tmp_path, {"meta_archs": ARCHS}, _000000={"90": state})
    with pytest.raises(AzlibError, match="does not hold the 200-epoch results"):
        benchmarks.load(folder)
    shutil.rmtree(folder)
    with pytest.raises(AzlibError, match="no list of architectures"):
        benchmarks.load(save_nats(tmp_path, {}))


# The CSV


def write_csv(path, **changes):
    columns = {"arch": ARCHS, **{d: [10.0, 93.66] for d in benchmarks.DATASETS}, **changes}
    pd.DataFrame({k: v for k, v in columns.items() if v is not None}).to_csv(path, index=False)
    return path


@needs_shared
def test_csv_raw_form():
    table, raw = benchmarks.load(ACCURACIES), pd.read_csv(ACCURACIES, index_col="arch")
    assert list(table) == list(benchmarks.DATASETS) and len(table) == 15_625
    assert (table.to_numpy() == raw[["cifar10_test", "cifar100_test", "imagenet16_120_test"]]).all(
        axis=None
    )
    assert table.attrs["source"] == "nas-bench-201"


def test_export_round_trip(content, tmp_path):
    for source in (None, save_pth(content, tmp_path)):
        table = benchmarks.load(source)
        path = benchmarks.export(source, tmp_path / "table.csv")
        back = benchmarks.load(path)
        pd.testing.assert_frame_equal(back, table, check_exact=True)
        assert back.attrs["source"] == table.attrs["source"]
        pd.testing.assert_frame_equal(pd.read_csv(path, comment="#", index_col="arch"), table)


@settings(deadline=None, max_examples=50)
@given(st.tuples(st.floats(0, 100), st.floats(1, 100, exclude_min=True)))
def test_an_exported_csv_keeps_every_digit_and_a_plain_one_six_decimals(
    tmp_path_factory, accuracies
):
    folder = tmp_path_factory.mktemp("csv")
    table = pd.DataFrame({"cifar10": accuracies}, index=pd.Index(ARCHS, name="arch"))
    table.attrs["source"] = "nas-bench-201"
    exported.write_csv(table, folder / "exported.csv")
    assert benchmarks.load(folder / "exported.csv")["cifar10"].tolist() == list(accuracies)
    plain = benchmarks.load(write_csv(folder / "plain.csv", cifar10=list(accuracies)))
    assert plain["cifar10"].tolist() == table["cifar10"].round(6).tolist()


def test_csv_altered_or_truncated(tmp_path):
    source = write_csv(tmp_path / "raw.csv")
    path = benchmarks.export(source, tmp_path / "table.csv")
    whole = path.read_bytes()
    for damaged in (whole[:-2], whole.replace(b"93.66", b"93.67", 1)):
        path.write_bytes(damaged)
        with pytest.raises(AzlibError, match=r"fails the checksum.*export it again") as error:
            benchmarks.load(path)
        assert one_line(error)
    path.write_bytes(whole.replace(b"\n", b"\r\n"))  # as a checkout on Windows leaves it
    assert benchmarks.load(path).equals(benchmarks.load(source))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": None}, "has the columns cifar10.* expected arch"),
        (dict.fromkeys(benchmarks.DATASETS), "has the columns arch; expected arch and some of"),
        ({"cifar100": None}, "does not say which benchmark it comes from"),
        ({"arch": [ARCHS[0], "|max_pool~0|"]}, r"'\|max_pool~0\|' is not a NAS-Bench-201 arch"),
        ({"arch": [ARCHS[0], None]}, "is not a NAS-Bench-201 architecture"),
        ({"arch": [ARCHS[0]] * 2}, "more than one row"),
        ({"cifar10": ["93.1", "good"]}, r"'good' is not an accuracy in % \(column cifar10"),
        ({"cifar10": [93.1, None]}, "nan is not an accuracy"),
        ({"cifar10": [93.1, 100.1]}, "'100.1' is not an accuracy"),
        ({"cifar10": [93.1, -1]}, "is not an accuracy"),
        ({"cifar10": [93.1, float("inf")]}, "'inf' is not an accuracy"),
        ({"cifar100": [0.1, 0.734]}, "highest accuracy of cifar100 is 0.734.*percent.*by 100"),
        ({"cifar10_test": [10.0, 93.66]}, "has the column cifar10 more than once"),
    ],
)
def test_csv_malformed(tmp_path, changes, message):
    with pytest.raises(AzlibError, match=message) as error:
        benchmarks.load(write_csv(tmp_path / "table.csv", **changes))
    assert one_line(error)


def test_csv_with_a_column_twice(tmp_path):
    """pandas by itself would rename the second one and go on."""
    path = tmp_path / "table.csv"
    for header in ("arch,cifar10,cifar10,cifar100,x", "arch,cifar10,arch,cifar100,x"):
        path.write_text(f"{header}\n{ARCHS[0]},93,92,70,44\n")
        with pytest.raises(AzlibError, match=r"column \w+ more than once.*each once") as error:
            benchmarks.load(path)
        assert one_line(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "truncated or not a benchmark"),
        (b"\xff\xfe\x00binary", "truncated or not a benchmark"),
        (b'arch,"cifar10\n1,2,3', "truncated or not a benchmark|has the columns"),
        (b"arch,cifar10,cifar100,imagenet16-120\n", "holds no architectures"),
        (b"# azlib benchmark, source ../elsewhere, MD5 " + b"0" * 32, "has the columns"),
    ],
)
def test_csv_that_is_none(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_bytes(text)
    with pytest.raises(AzlibError, match=message) as error:
        benchmarks.load(path)
    assert one_line(error)


# Anything else


def test_info():
    table, summary = benchmarks.load(), benchmarks.info()
    best = summary.loc["cifar10"]
    assert best["best"] == table["cifar10"].max() == table["cifar10"][best["best_arch"]]
    assert best["mean"] == pytest.approx(table["cifar10"].mean())
    assert summary.attrs == table.attrs


def test_not_a_benchmark(tmp_path):
    for name in ("nowhere.pth", "nowhere"):
        with pytest.raises(AzlibError, match=f"{name}' does not exist; expected a .csv") as error:
            benchmarks.load(tmp_path / name)
        assert one_line(error)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("notes.txt", "is not a benchmark"),
        (".", "is not a benchmark"),
        ("folder.csv", "cannot read the benchmark"),
    ):
        with pytest.raises(AzlibError, match=message) as error:
            benchmarks.load(tmp_path / name)
        assert one_line(error)
    with pytest.raises(AzlibError, match="is not a benchmark of this kind"):
        benchmarks.costs(write_csv(tmp_path / "a.csv"))


def test_full_disk_leaves_the_previous_file(tmp_path):
    path = benchmarks.export(write_csv(tmp_path / "raw.csv"), tmp_path / "table.csv")
    before = path.read_bytes()
    os.link(path, tmp_path / "same.csv")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(AzlibError, match=r"cannot write .* the previous file is untouched"):
            benchmarks.export(None, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.csv", "same.csv", "table.csv"]
    # A complete export replaces the file instead of writing into it, so none is ever half new.
    assert benchmarks.load(benchmarks.export(None, path)).shape == (15_625, 1)
    assert (tmp_path / "same.csv").read_bytes() == before


def test_export_refuses_what_load_would_not_read(tmp_path):
    with pytest.raises(AzlibError, match=r"ends in \.csv"):
        benchmarks.export(None, tmp_path / "table.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(AzlibError, match="cannot write"):
        benchmarks.export(None, tmp_path / "file" / "table.csv")
