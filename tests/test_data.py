"""Fetching the accuracies of benchmarks, from a server on this machine, and reading them.

The files that strangers test with are made up here; with ../shared the real ones are served too.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import torch
from test_notebooks import write_notebook

from azlib import cli, spaces
from azlib.companion import benchmarks, figures, session
from azlib.companion.data import (
    RAW,
    accuracies,
    available,
    cache,
    check_same,
    ground_truth,
    truth,
)
from azlib.errors import AzlibError
from azlib.spaces.autoformer import PUBLISHED, AutoFormer

TINY = PUBLISHED["default", "tiny"]
MACRO, TRANS = spaces.get("nasbench-macro"), spaces.get("transnas101-micro")
CELLS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|",
]


def made_up() -> dict[str, bytes]:
    """Small files of the formats of the real ones."""
    csv = (
        "CIFAR10TestAccuracy200Epochs,CIFAR100TestAccuracy200Epochs,ImageNetTestAccuracy200Epochs,"
        f"ArchitectureString,UniqueString\n90.1234564,70,40,{CELLS[0]},a\n91,71.5,41,{CELLS[1]},b\n"
    )
    macro = {
        arch: {
            "test_acc": [80 + 1e-6, 81.25, 82.0], "mean_acc": 0, "std": 0,
            "params": n, "flops": 2 * n,
        }
        for n, arch in enumerate(MACRO)
    }  # fmt: skip
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for place, task in enumerate(truth.named("transnas-bench-101-micro").tasks):
            for start in (0, 2048):
                entries = [
                    {"idx": str(n), "val_accuracy": place + n / 1e4,
                     "arch": str(tuple(map(int, arch[9:].replace("_", ""))))}
                    for n, arch in enumerate(TRANS) if start <= n < start + 2048
                ]  # fmt: skip
                name = f"zen/benchmark--transbench101_micro--{task}--{start}.json"
                file.writestr(name, json.dumps(entries))
        file.writestr("zen/readme.txt", "nothing")
    structure = AutoFormer().parse(TINY)
    arch = {
        "hidden_dim": structure.embed, "mlp_ratio": list(map(float, structure.mlp)),
        "depth": structure.depth, "num_heads": list(structure.heads),
    }  # fmt: skip
    wider = {**arch, "hidden_dim": 240}
    vits = []
    for architecture, base in ((arch, 60.0), (wider, None)):
        names = truth.named("autoformer-tiny").tasks
        row = {name: base if "base" in name else 70.0 for name in names}
        vits.append(io.BytesIO())
        torch.save([{"arch": architecture, **row}], vits[-1])
    return {
        "nats_bench.csv": csv.encode(),
        "nas-bench-macro_cifar10.json": json.dumps(macro).encode(),
        "all_benchmarks_zen.zip": archive.getvalue(),
        "gt_autoformer.pth": vits[0].getvalue(),
        "gt_autoformer_2.pth": vits[1].getvalue(),
        "timm_results-imagenet.csv": b"model,img_size,top1,top5\na,224,80.5,95.0\n",
    }


class Handler(BaseHTTPRequestHandler):
    """Hands out `server.files`, in the way that `server.mode` says."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        name = next((n for n, raw in truth.RAW.items() if self.path == f"/{raw.place}"), None)
        if server.mode == "silent":
            server.released.wait(10)
            return
        if server.mode == "gone" or name is None:
            self.send_error(404)
            return
        content = server.files[name]
        self.send_response(200)
        if server.mode != "unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if server.mode in ("half", "unsized", "stuck"):
            content = content[: len(content) // 2]
        self.wfile.write(content)
        if server.mode == "stuck":
            self.wfile.flush()
            server.released.wait(10)

    def do_HEAD(self):
        if self.server.mode == "deaf":
            self.server.released.wait(10)
        else:
            self.send_error(501)

    def log_message(self, *_):
        pass


@contextmanager
def serving(files: dict[str, bytes]):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.mode, server.asked = files, "whole", []
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def impatient(monkeypatch):
    """From here on half a second of silence is too long; the server has said something before."""
    assert cache.answers(30)
    monkeypatch.setattr(cache, "TIMEOUT", 0.5)
    monkeypatch.setattr(cache, "PATIENCE", 0.5)


def connect(server, folder, monkeypatch):
    """Points azlib to the server and to a cache that does not exist yet."""
    monkeypatch.setattr(cache, "ADDRESS", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(cache, "_answered", set())
    monkeypatch.setattr(cache, "_silent", {})
    monkeypatch.setenv("AZLIB_CACHE", str(folder))
    monkeypatch.delenv("OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(tmp_path, monkeypatch):
    files = made_up()
    pinned = {
        name: replace(raw, sha256=sha256(files[name]).hexdigest(), size=len(files[name]))
        for name, raw in RAW.items()
    }
    monkeypatch.setattr(truth, "RAW", pinned)
    with serving(files) as started:
        connect(started, tmp_path / "cache", monkeypatch)
        yield started


@pytest.fixture
def azlib_data(monkeypatch, capsys):
    """Runs `azlib data ARGUMENTS` in this process: (exit status, printed, error lines)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["azlib", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


def held() -> list[str]:
    """The names of all files below the cache."""
    return sorted(path.name for path in cache.folder().rglob("*") if path.is_file())


# --- fetching ------------------------------------------------------------------------------


def test_files_are_fetched_once(server):
    lines: list[str] = []
    first = ground_truth("nas-bench-macro", say=lines.append)
    assert len(server.asked) == 1 and held() == ["nas-bench-macro_cifar10.json"]
    assert len(lines) == 1 and "fetching the accuracies of nas-bench-macro" in lines[0]
    again = ground_truth("nas-bench-macro", say=lines.append)
    assert len(server.asked) == 1 and len(lines) == 1
    pd.testing.assert_frame_equal(first, again)


def test_the_command_fetches_all_and_says_whose_it_is(server, azlib_data):
    status, shown, _ = azlib_data("--list")
    assert status == 0 and not server.asked and shown.count("(missing)") == len(truth.BENCHMARKS)
    status, shown, said = azlib_data("--offline")
    assert status == 1 and not server.asked and "fetch with `azlib data nas-bench-201" in said
    status, shown, _ = azlib_data("timm", "nas-bench-201")
    assert status == 0 and held() == ["nats_bench.csv", "timm_results-imagenet.csv"]
    status, shown, _ = azlib_data()
    assert status == 0 and held() == sorted(RAW) and len(server.asked) == len(RAW)
    assert shown.count("(there)") == 2 and shown.count("(fetched)") == 3
    for raw in RAW.values():
        assert f"{raw.home}, " in shown and f"{raw.authors}; licence: {raw.licence}" in shown
    assert azlib_data("--offline")[0] == 0


def test_the_cache_may_be_chosen(server, azlib_data, tmp_path, monkeypatch):
    monkeypatch.setenv("AZLIB_CACHE", "")  # so that the variable is restored afterwards
    status, shown, _ = azlib_data("timm", "--cache", tmp_path / "mine")
    assert status == 0 and str(tmp_path / "mine") in shown
    assert (tmp_path / "mine" / "timm_results-imagenet.csv").is_file()
    other = tmp_path / "other"
    said = azlib_data("timm", "--cache", other, "--offline")[2]
    assert f"fetch with `azlib data timm --cache {other}`" in said


def test_a_fetched_file_can_be_read_by_whoever_may_read_others(server):
    before = os.umask(0o022)
    try:
        ground_truth("timm")
    finally:
        os.umask(before)
    (fetched,) = cache.folder().iterdir()
    assert stat.S_IMODE(fetched.stat().st_mode) == 0o644


def test_unknown_names_are_refused(server, azlib_data):
    status, _, said = azlib_data("nas-bench-macr")
    assert status == 1 and "Did you mean 'nas-bench-macro'" in said
    with pytest.raises(AzlibError, match=r"unknown task of nas-bench-201 'cifar-10'. Did you mean"):
        accuracies("nas-bench-201", "cifar-10")
    with pytest.raises(AzlibError, match=r"'class_scen'. Did you mean 'class_scene'"):
        accuracies("transnas-bench-101-micro", "class_scen")
    assert not server.asked


# --- what can go wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("altered", "is not nas-bench-macro_cifar10.json, whose SHA-256 begins with"),
        ("unsized", "is not nas-bench-macro_cifar10.json, whose SHA-256 begins with"),
        ("half", "the connection to 127.0.0.1:.* broke within nas-bench-macro_cifar10.json"),
        ("silent", "did not answer within 0.5 s when asked for nas-bench-macro_cifar10.json"),
        ("stuck", "did not answer within 0.5 s when asked for nas-bench-macro_cifar10.json"),
        ("gone", "answers 404 to the request for http://127.0.0.1:.*/xiusu/NAS-Bench-Macro/"),
    ],
)
def test_a_failed_download_keeps_nothing_and_names_the_command(server, mode, message, monkeypatch):
    server.mode = mode
    if mode in ("silent", "stuck"):
        impatient(monkeypatch)
    if mode == "altered":
        server.files["nas-bench-macro_cifar10.json"] = b"{}"
    with pytest.raises(AzlibError, match=message) as error:
        ground_truth("nas-bench-macro")
    assert "nothing was kept; try again with `azlib data nas-bench-macro`" in str(error.value)
    assert "\n" not in str(error.value) and held() == []


def test_a_server_that_was_silent_is_asked_again_with_more_patience(server):
    server.mode = "deaf"
    assert not cache.answers(0.2)
    server.mode = "whole"
    assert not cache.answers(0.2) and cache.answers(30)  # the former did not ask, so soon
    assert len(ground_truth("timm")) == 1


def test_no_network_is_said_in_one_line(server, monkeypatch, azlib_data):
    with socket.socket() as closed:  # a port on which nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(cache, "ADDRESS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        status, _, said = azlib_data("timm")
    assert status == 1 and said.count("\n") == 1
    assert "no connection to 127.0.0.1" in said and "try again with `azlib data timm`" in said


def test_a_damaged_file_is_named_and_fetched_again(server, azlib_data):
    path = cache.folder() / "timm_results-imagenet.csv"
    ground_truth("timm")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    with pytest.raises(AzlibError, match=f"{path} is damaged.*again with `azlib data timm`"):
        ground_truth("timm")
    assert "timm (damaged)" in azlib_data("--list")[1]
    assert azlib_data("timm", "--offline")[0] == 1
    server.mode = "half"  # a failed repair leaves what there was
    assert azlib_data("timm")[0] == 1 and path.read_bytes() == whole[:20]
    server.mode = "whole"
    status, shown, _ = azlib_data("timm")
    assert status == 0 and "was damaged, fetched again" in shown and path.read_bytes() == whole


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_cache_is_said(server, azlib_data, monkeypatch, reason):
    def refuse(*_, **__):
        raise OSError(reason, "refused by the system")

    monkeypatch.setattr("pooch.core.shutil.move", refuse)
    status, _, said = azlib_data("timm")
    assert status == 1 and said.count("\n") == 1 and held() == []
    assert "cannot write timm_results-imagenet.csv (0.0 MB) to the cache" in said
    assert "set AZLIB_CACHE to a folder with room that you may write to" in said
    lines: list[str] = []
    assert truth.nas_bench_201(say=lines.append) == benchmarks.EMBEDDED
    assert lines[-1].startswith("only CIFAR-10") and "set AZLIB_CACHE" in lines[-1]


def test_a_cache_that_is_no_folder_is_said(server, azlib_data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("AZLIB_CACHE", str(tmp_path / "file" / "cache"))
    status, _, said = azlib_data("timm")
    assert status == 1 and "cannot write" in said and "set AZLIB_CACHE" in said


@pytest.mark.parametrize("name", ["~nobody-of-that-name/cache", "x" * 300])
def test_a_cache_that_cannot_be_is_said(server, azlib_data, monkeypatch, name):
    monkeypatch.setenv("AZLIB_CACHE", name)
    status, _, said = azlib_data("timm")
    assert status == 1 and said.count("\n") == 1 and name in said and "unforeseen" not in said


def test_what_is_in_the_place_of_a_file_is_said(server, azlib_data):
    (cache.folder() / "timm_results-imagenet.csv").mkdir(parents=True)
    status, _, said = azlib_data("timm")
    assert status == 1 and said.count("\n") == 1
    assert "Is a directory; remove it, or set AZLIB_CACHE" in said


def test_a_fetch_that_is_told_to_end_keeps_nothing(server):
    server.mode = "stuck"
    (raw,) = truth.named("timm").files
    script = (
        "from azlib.companion.data import cache, registry\n"
        f"cache.ADDRESS = {cache.ADDRESS!r}\n"
        f"cache.fetch(registry.RAW[{raw.name!r}], 'azlib data timm', 30)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])  # its cache is in the environment
    deadline = time.monotonic() + 60
    while not (held() and server.asked):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM and held() == []


def test_a_read_only_cache_that_has_the_file_will_do(server, monkeypatch):
    ground_truth("timm")
    monkeypatch.setattr("pooch.core.make_local_storage", lambda *_: pytest.fail("writes"))
    monkeypatch.setattr("tempfile.NamedTemporaryFile", lambda *_, **__: pytest.fail("writes"))
    assert len(ground_truth("timm")) == 1


# --- without a network ---------------------------------------------------------------------


def test_offline_reads_the_cache_and_fetches_nothing(server, monkeypatch):
    monkeypatch.setenv("OFFLINE", "1")
    with pytest.raises(AzlibError, match="is not there: fetch it with `azlib data timm`"):
        ground_truth("timm")
    assert not server.asked
    monkeypatch.setenv("OFFLINE", "0")
    ground_truth("timm")
    monkeypatch.setenv("OFFLINE", "1")
    assert len(ground_truth("timm")) == len(server.asked) == 1


def test_what_can_be_had_is_said(server, monkeypatch):
    lines: list[str] = []
    monkeypatch.setenv("OFFLINE", "1")
    assert not available("timm", say=lines.append)
    (said,) = lines
    assert said.startswith("without timm, as ") and "fetch it with `azlib data timm`" in said
    monkeypatch.setenv("OFFLINE", "")
    assert available("timm", say=lines.append) and held() == ["timm_results-imagenet.csv"]
    assert available("timm", fetch=False, say=lines.append) and len(lines) == 2
    cache.folder().joinpath("timm_results-imagenet.csv").write_bytes(b"")
    with pytest.raises(AzlibError, match="is damaged"):
        available("timm")
    with pytest.raises(AzlibError, match="Did you mean 'timm'"):
        available("tim")


def test_a_dead_network_is_waited_for_once(server, monkeypatch):
    """Nobody answers, and looking up the name takes for ever."""
    asked, released = [], threading.Event()

    def silence(*arguments, **_):
        asked.append(arguments)
        released.wait(10)

    monkeypatch.setattr(cache, "ADDRESS", "http://nobody.invalid")
    monkeypatch.setattr(cache.requests, "head", silence)
    monkeypatch.setattr(cache, "PATIENCE", 0.5)
    lines: list[str] = []
    assert not any(available(name, say=lines.append) for name in truth.BENCHMARKS)
    released.set()
    assert len(asked) == 1
    assert len(lines) == len(truth.BENCHMARKS)
    assert all("no connection to nobody.invalid" in line for line in lines)


def test_nas_bench_201_falls_back_to_the_embedded_table(server, monkeypatch):
    lines: list[str] = []
    monkeypatch.setenv("OFFLINE", "1")
    assert truth.nas_bench_201(say=lines.append) == benchmarks.EMBEDDED
    server.mode = "silent"
    monkeypatch.setenv("OFFLINE", "")
    impatient(monkeypatch)
    assert truth.nas_bench_201(say=lines.append) == benchmarks.EMBEDDED
    fallbacks = [line for line in lines if line.startswith("only CIFAR-10")]
    assert len(fallbacks) == 2 and "is not there" in fallbacks[0] and "0.5 s" in fallbacks[1]
    server.mode = "whole"
    monkeypatch.setattr(cache, "_silent", {})  # as in another process
    monkeypatch.setattr(cache, "PATIENCE", 30)
    source = truth.nas_bench_201(say=lines.append)
    assert list(benchmarks.load(source)) == list(benchmarks.DATASETS)
    assert truth.nas_bench_201(fetch=False) == source and len(server.asked) == 2
    cache.folder().joinpath("nats_bench.csv").write_bytes(b"")
    with pytest.raises(AzlibError, match="is damaged"):  # which is no reason to use another table
        truth.nas_bench_201()


# --- the exhibits --------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path, monkeypatch):
    """`make figures` on two notebooks: (how many ran, the lines); `many` needs a benchmark."""
    (tmp_path / "notebooks").mkdir()
    begin = "from azlib.companion import exhibits\n"
    codes = {
        "cells": 'source = ""  # name\n',
        "many": 'benchmarks = ["timm"]  # names\n',
    }
    for name, parameters in codes.items():
        code = "from azlib.companion import session\n"
        code += "table, folder, _ = session.begin(source, figures)\n"
        if name == "many":
            code = "import os, pandas as pd\ntable = pd.DataFrame([os.environ['OFFLINE']])\n"
        write = f'exhibits.write("{name}", {"folder" if name == "cells" else "figures"}, table)'
        path = write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", begin + code + write)
        notebook = nbformat.read(path, 4)
        notebook.cells[0].source = f'{parameters}figures = "../figures"  # path'
        nbformat.write(notebook, path)

    def run(source=""):
        lines: list[str] = []
        ran = figures.make(
            tmp_path / "notebooks", tmp_path / "build", source=source, workers=1, say=lines.append
        )
        return ran, lines

    return run


def test_exhibits_without_a_network_are_those_of_the_embedded_table(
    server, make, tmp_path, monkeypatch
):
    server.mode = "silent"
    impatient(monkeypatch)
    monkeypatch.setattr(cache, "_AFTERWARDS", 600)  # seconds; a busy machine takes many
    ran, lines = make()
    assert ran == 1 and len(server.asked) == 1, lines
    assert sum("0.5 s" in line for line in lines) == 2  # who failed, and what is used instead
    assert any(line.startswith("only CIFAR-10, from an independent training") for line in lines)
    assert "many: left as it is, as it needs what `azlib data timm` fetches" in lines
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv"))
    assert made == [Path("figures/analog-nasbench/cells.csv")]
    assert make()[0] == 0 and len(server.asked) == 1


def test_exhibits_of_what_was_fetched(server, make, tmp_path, monkeypatch):
    ran, lines = make()
    assert ran == 2 and len(lines) == 3 and held() == sorted(RAW)
    assert lines[0].startswith("fetching accuracies") and "autoformer-tiny, timm" in lines[0]
    assert "licences: `azlib data --list`" in lines[0]
    assert (tmp_path / "figures" / "nas-bench-201" / "cells.csv").is_file()
    assert (tmp_path / "figures" / "many.csv").read_text() == "0\n1\n"  # told not to wait
    assert make() == (0, [])
    monkeypatch.setenv("OFFLINE", "1")
    assert make() == (0, []) and len(server.asked) == len(RAW)
    (tmp_path / "figures" / "nas-bench-201" / "cells.csv").unlink()
    tasks = figures.tasks(tmp_path / "notebooks", tmp_path / "build", truth.nas_bench_201())
    assert [task.notebook.stem for task in tasks if task.stale(task.digest())] == ["cells"]


def test_official_files_are_compared_before_anything_runs(server, make, tmp_path):
    table = ground_truth("nas-bench-201")
    other, same, embedded = (tmp_path / f"{name}.csv" for name in ("other", "same", "embedded"))
    (table + 1).to_csv(other)
    table.to_csv(same)
    with pytest.raises(AzlibError, match=r"^6 of 6 accuracies of .*other\.csv differ from those"):
        make(str(other))
    assert not list((tmp_path / "figures").rglob("*.csv"))
    lines: list[str] = []
    truth.check_official(str(same), lines.append)
    assert lines == [f"{same}: its 6 accuracies agree with those that `azlib data` fetched"]
    benchmarks.export(benchmarks.EMBEDDED, embedded)  # other accuracies, and said to be others
    truth.check_official(str(embedded), pytest.fail)
    cache.folder().joinpath("nats_bench.csv").unlink()
    truth.check_official(str(other), pytest.fail)


def test_a_damaged_file_stops_the_exhibits_that_need_it(server, make):
    ground_truth("nas-bench-201")
    cache.folder().joinpath("nats_bench.csv").write_bytes(b"half")
    with pytest.raises(AzlibError, match="again with `azlib data nas-bench-201`"):
        make()


def test_a_notebook_begins_with_what_was_fetched(server, tmp_path, monkeypatch, capsys):
    found, folder, _ = session.begin("", str(tmp_path))
    assert list(found) == list(benchmarks.DATASETS) and folder == tmp_path / "nas-bench-201"
    assert capsys.readouterr().out.startswith("fetching the accuracies of nas-bench-201")
    assert session.begin("analog-nasbench", str(tmp_path))[1] == tmp_path / "analog-nasbench"


# --- reading -------------------------------------------------------------------------------


def test_tables_have_a_row_for_each_architecture_and_a_column_for_each_task(server):
    for name, benchmark in truth.BENCHMARKS.items():
        table = ground_truth(name)
        assert table.index.is_unique and set(benchmark.tasks) <= set(table)
        assert table.attrs["source"] == name
        if benchmark.space is not None:
            assert all(map(spaces.get(benchmark.space).count, table.index))
        for task in benchmark.tasks:
            assert accuracies(name, task).notna().all()


def test_numbers_arrive_where_they_belong(server):
    cells = ground_truth("nas-bench-201")
    assert cells.loc[CELLS[0]].to_list() == [90.123456, 70, 40]  # six decimals, as `official` has
    trans = ground_truth("transnas-bench-101-micro")
    assert list(trans.index) == list(TRANS)
    assert trans.loc["64-41414-0_00_012", "class_scene"] == 1 + 6 / 1e4
    macro = ground_truth("nas-bench-macro").loc["00000012"]
    assert macro.to_list() == [80, 81.25, 82, 81.0833, 5, 10]
    vits = ground_truth("autoformer-tiny")
    assert vits.loc[TINY, "c100_base_acc"] == 60 and len(vits) == 2
    assert vits["c100_kd_acc"].to_list() == [70, 70]
    assert list(accuracies("autoformer-tiny", "flower_base_acc").index) == [TINY]


def test_tables_of_one_benchmark_are_compared(server):
    fetched = ground_truth("nas-bench-201")
    official = fetched.iloc[:1].assign(**{"imagenet16-120": 12.5, "more": 1.0})
    official.attrs["path"] = "mine.pth"
    with pytest.raises(AzlibError) as error:
        check_same(official, fetched)
    said = str(error.value)
    assert said.startswith("1 of 3 accuracies of mine.pth differ from those that were fetched")
    assert f"imagenet16-120 of {CELLS[0]} is 12.50 and was fetched as 40.00" in said
    check_same(fetched + 0.004, fetched)
    with pytest.raises(AzlibError, match=r"^6 of 6 accuracies") as error:
        check_same(fetched + 1, fetched)
    assert str(error.value).count("was fetched as") == 3 and "\n" not in str(error.value)


# --- the real files ------------------------------------------------------------------------


@pytest.fixture
def real(shared, tmp_path, monkeypatch):
    files = {name: (shared / "raw" / name).read_bytes() for name in RAW}
    with serving(files) as started:
        connect(started, tmp_path / "cache", monkeypatch)
        yield SimpleNamespace(server=started, folder=shared)


def test_the_real_files_are_the_pinned_ones_and_give_the_known_tables(real, azlib_data):
    start = time.perf_counter()
    status, _, said = azlib_data()
    assert status == 0, said
    assert held() == sorted(RAW) and time.perf_counter() - start < 30
    assert all((cache.folder() / name).stat().st_size == raw.size for name, raw in RAW.items())
    for name in truth.BENCHMARKS:
        found = ground_truth(name, fetch=False)
        if name == "timm":
            assert len(found) == 1556 and found["top1"].between(0, 100).all()
            continue
        path = real.folder / name / "accuracies.csv"
        known = pd.read_csv(path, dtype={"arch": str}).set_index("arch")
        if name == "nas-bench-201":
            known = benchmarks.load(path)
        pd.testing.assert_frame_equal(found, known, check_exact=True)


def test_the_real_table_agrees_with_official_files(real):
    official = benchmarks.load(real.folder / "nats-tss-sample" / "NATS-tss-v1_0-3ffb9-simple")
    fetched = ground_truth("nas-bench-201")
    check_same(official, fetched)
    with pytest.raises(AzlibError, match=r"^9 of 9 accuracies"):
        check_same(official.add(0.1), fetched)
