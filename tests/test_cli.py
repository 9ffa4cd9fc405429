"""The command line as a user meets it."""

from __future__ import annotations

import json
import re
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import azlib

from azlib import cli
from azlib.cli.text import read_lines, read_seeds
from azlib.errors import AzlibError
from azlib.scoring import FileSettings, files, parts
from azlib.settings import ScoreSettings
from azlib.spaces import nasbench201 as nb
from azlib.spaces.mobilenetv2 import MobileNetV2

SMALL = ("--batch", 4, "--resolution", 8, "--workers", 1)


def test_help_lists_the_commands():
    shown = azlib("--help").stdout
    for command in ("sweep", "scores", "check-scores", "search", "searches", "train", "export"):
        assert command in shown
    assert "run" in shown and "benchmark" in shown


def test_every_option_is_explained(main):
    for command in ("sweep", "search"):
        status, shown, _ = main(command, "--help")
        assert status == 0
        for option in ("--space", "--budget", "--batch", "--noise-source", "--workers", "--quiet"):
            assert option in shown, f"{command} {option}"


def test_the_help_says_how_many_processes_search(main):
    said = re.sub(r"[│\s]+", " ", main("search", "--help")[1])
    assert re.search(r"--workers .*--generation above 1 \[default: 1\]", said)
    assert "one per core" not in said


def test_sweep_then_check(tmp_path, main):
    archs = tmp_path / "archs.txt"
    archs.write_text("\n".join(nb.enumerate_all()[3000:3003]))
    out = tmp_path / "s.parquet"
    options = ["--archs", archs, *SMALL, "--out", out]
    status, shown, said = main("sweep", "--seed", "1-2", *options)
    assert status == 0, said
    assert "wrote" in shown and out.exists()
    status, shown, _ = main("check-scores", out, "--count", 2)
    assert status == 0 and "2 rows recomputed" in shown
    status, shown, _ = main("check-scores", out, "--count", 1000)
    assert status == 0 and "6 rows recomputed" in shown  # all that there are
    status, _, said = main("sweep", *options, "--init", "xavier_norm")
    assert status == 1 and "other settings" in said


def test_search_continues_and_says_what_it_found(tmp_path, main):
    out = tmp_path / "found.parquet"
    options = ["search", "--budget", "450M", "--population", 2, "--seed", 3, "--out", out]
    for iterations in (2, 3):
        status, shown, said = main(*options, "--iterations", iterations)
        assert status == 0, said
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["settings"]["rule"]["generation"] == 1
    assert found["candidates"] == 3 and found["structure"] in shown
    batch, pixels = MobileNetV2.presets["cpu"]
    assert found["settings"]["score"]["settings"]["input_shape"] == [batch, 3, pixels, pixels]


def test_search_of_a_space_without_presets(tmp_path, main):
    options = ["--space", "nasbench201", "--batch", 2, "--resolution", 8, "--iterations", 3]
    status, _, said = main(
        "search", *options, "--rule", "random", "--out", tmp_path / "found.parquet"
    )
    assert status == 0, said
    found = json.loads((tmp_path / "found.json").read_text())["settings"]["score"]
    assert found["settings"]["input_shape"] == [2, 3, 8, 8]


def test_a_log_with_strange_structures_is_refused(tmp_path, main):
    out = tmp_path / "found.parquet"
    options = ["search", "--space", "nasbench201", *SMALL[:4], "--rule", "random", "--out", out]
    assert main(*options, "--iterations", 2)[0] == 0
    table = pq.read_table(out)
    strange = table.set_column(1, "structure", pa.array(["foo", "foo"]))
    pq.write_table(strange, out)
    before = out.read_bytes()
    status, _, said = main(*options, "--iterations", 3)
    assert status == 1 and "is damaged at step 0" in said and "'foo'" in said
    assert out.read_bytes() == before


def test_scores_lists_makes_and_completes(tmp_path, main):
    (tmp_path / "manifest.toml").write_text(
        """
        [[file]]
        file = "az_nasbench201_8px"
        about = "two cells"
        sample = 2
        settings = { resolution = 8, batch = 2 }
        """
    )
    for state in ("missing", "there"):
        status, shown, _ = main("scores", "--folder", tmp_path, "--list")
        assert status == 0 and f"az_nasbench201_8px ({state}): two cells" in shown
        status, shown, _ = main("scores", "--folder", tmp_path, "--workers", 1, "--quiet")
        assert status == 0 and "is complete" in shown
    frame = files.read(tmp_path / "az_nasbench201_8px.parquet")
    assert len(frame) == 2
    status, _, said = main("scores", "az_nasbench", "--folder", tmp_path)
    assert status == 1 and "Did you mean 'az_nasbench201_8px'" in said


def test_scores_of_the_networks_of_a_benchmark(tmp_path, main, monkeypatch):
    (tmp_path / "manifest.toml").write_text(
        """
        [[file]]
        file = "graph_nasbench-macro_8px_trained"
        about = "networks that were trained"
        space = "nasbench-macro"
        benchmark = "nas-bench-macro"
        proxies = "live_macs"
        settings = { resolution = 8, batch = 2 }
        """
    )
    arguments = ["scores", "--folder", tmp_path, "--workers", 1, "--quiet"]
    monkeypatch.setenv("OFFLINE", "1")
    monkeypatch.setenv("AZLIB_CACHE", str(tmp_path / "cache"))
    status, _, said = main(*arguments)
    assert status == 1 and "fetch it with `azlib data nas-bench-macro`" in said

    asked = []

    def ground_truth(name):
        asked.append(name)
        return pd.DataFrame(index=["02012100", "00000000"])

    monkeypatch.setattr("azlib.companion.data.ground_truth", ground_truth)
    for _ in range(2):  # the second time the file says itself what it holds
        assert main(*arguments)[0] == 0 and asked == ["nas-bench-macro"]
    frame = files.read(tmp_path / "graph_nasbench-macro_8px_trained.parquet")
    assert frame["arch"].tolist() == ["02012100", "00000000"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[file]", "is no manifest of files"),
        ("file = 3", "is no manifest of files"),
        ("[[file]]\nabout = 'x'", "is no manifest of files"),
        ("[[file]]\nfile = 'a'\nabout = 'x'\nsed = [1]", "unknown key 'sed'"),
        ("[[file]]\nfile = 'a'\nabout = 'x'\n" * 2, "names a twice"),
    ],
)
def test_a_manifest_with_mistakes_is_refused(tmp_path, main, text, message):
    (tmp_path / "manifest.toml").write_text(text)
    status, _, said = main("scores", "--folder", tmp_path)
    assert status == 1 and message in said and said.count("\n") == 1


def test_benchmark_info_and_export(tmp_path, main, monkeypatch):
    assert "architectures: 15625" in main("benchmark", "info")[1]
    assert main("benchmark", "export", "analog-nasbench", tmp_path / "b.csv")[0] == 0
    assert "architectures: 15625" in main("benchmark", "info", tmp_path / "b.csv")[1]
    monkeypatch.setenv("AZLIB_CACHE", str(tmp_path))
    monkeypatch.setenv("OFFLINE", "1")
    status, shown, _ = main("benchmark", "info", "nas-bench-201")
    assert status == 0 and shown.startswith("only CIFAR-10") and "azlib data nas-bench" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--proxies", "expresivity", "--out", "x"], "Did you mean 'expressivity'"),
        (["sweep", "--space", "nasbench", "--out", "x"], "Did you mean 'nasbench201'"),
        (["sweep", "--seed", "one", "--out", "x.parquet"], "expected 1 or 1,2,3 or 1-5"),
        (["sweep", "--seed", "5-1", "--out", "x.parquet"], "expected 1 or 1,2,3 or 1-5"),
        (["sweep", "--seed", "1,5-3", "--chunk", 0, "--out", "x"], "5-3, which runs backwards"),
        (["sweep", "--seed", 2**63, "--out", "x.parquet"], "expected an integer from 0 to"),
        (["sweep", "--seed", "1-99999999999", "--out", "x.parquet"], "at most 10,000"),
        (["sweep", "--archs", "/none", "--out", "x"], "expected a text file, one architecture"),
        (["sweep", "--budget", "450M", "--out", "x"], "has no budget"),
        (["sweep", "--batch", 0, "--out", "x"], "expected positive integers"),
        (["sweep", "--resolution", 100_000, "--out", "x"], "sides of at most 4,096"),
        (["sweep", "--resolution", 0, "--out", "x"], "expected positive integers"),
        (["sweep", "--chunk", 0, "--out", "x.parquet"], "chunk=0: expected an integer of at least"),
        (["sweep", "--init", "kaiming", "--out", "x"], "unknown initialisation 'kaiming'"),
        (["sweep", "--device", "gpu", "--out", "x"], "unknown device 'gpu'"),
        (["search", "--budget", "450Mega", "--out", "x"], "expected FLOPs, such as 450M or 450e6"),
        (["search", "--budget", "1M", "--out", "x"], "below the smallest network's"),
        (["search", "--preset", "laptop", "--out", "x"], "unknown preset of mobilenetv2"),
        (["search", "--rule", "greedy", "--out", "x"], "unknown rule 'greedy'"),
        (["search", "--batch", 0, "--out", "x"], "expected positive integers"),
        (["search", "--resolution", 0, "--out", "x"], "expected positive integers"),
        (["search", "--iterations", 10**12, "--out", "x.parquet"], "at most 10,000,000"),
        (["search", "--iterations", 0, "--out", "x.parquet"], "iterations=0: expected"),
        (
            ["search", "--iterations", 1, "--out", "x.parquet"],
            "at least 2, which algorithm-1 needs",
        ),
        (
            ["search", "--space", "autoformer-tiny", "--population", 5, "--batch", 0, "--out", "x"],
            "population=5: the rule random has no population",
        ),
        (
            ["search", "--rule", "random", "--generation", -5, "--batch", 0, "--out", "x"],
            "generation=-5: the rule random has no generation",
        ),
        (["search", "--seed", -1, "--out", "x.parquet"], "seed=-1: expected"),
        (["benchmark", "info", "/none.pth"], "/none.pth"),
        (["check-scores", "/none.parquet"], "no score file"),
        (["train", "x", "/none", "--out", "x"], "expected images as"),
        (["run", "/none.ipynb", "x.ipynb"], "no notebook"),
        (["run", "x.ipynb", "y.ipynb", "-p", "seed"], "expected name=value"),
    ],
)
def test_bad_arguments_get_one_line_and_a_status(main, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, said = main(*arguments)
    assert status == 1
    assert message in said
    assert len(said.strip().splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


def test_check_scores_refuses_bad_numbers(tmp_path, main):
    path = tmp_path / "s.parquet"
    settings = FileSettings("nasbench201", ScoreSettings(("complexity",), (2, 3, 8, 8)))
    parts.write(path, [{"arch": "a", "seed": 1, "complexity": 1.0, "seconds": 0.0}], settings)
    for option in (("--seed", -1), ("--count", 0), ("--tolerance", "nan")):
        status, _, said = main("check-scores", path, *option)
        assert status == 1 and "expected" in said


@pytest.mark.parametrize(
    "content", [b"\xff\xfe|\x00n\x00", b"\x80\x81\x82", "|é|".encode("latin-1")]
)
def test_a_list_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "archs.txt"
    path.write_bytes(content)
    with pytest.raises(AzlibError, match="is not UTF-8 text"):
        read_lines(path)
    with pytest.raises(AzlibError, match="is no regular file"):
        read_lines(tmp_path)


def test_seeds():
    assert read_seeds("1") == [1] and read_seeds("1,5,2") == [1, 5, 2]
    assert read_seeds("3-5,9") == [3, 4, 5, 9]


def test_ctrl_c_says_what_is_kept(main, monkeypatch, tmp_path):
    def stops(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("azlib.scoring.sweep", stops)
    status, _, said = main("sweep", "--out", tmp_path / "s.parquet")
    assert status == 1 and said.count("\n") == 1
    assert "stopped; finished parts are kept in" in said and "s.parquet.parts" in said


def test_the_unforeseen_ends_in_one_line_too(main, monkeypatch, tmp_path):
    def breaks(*_, **__):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("azlib.scoring.sweep", breaks)
    command = ["sweep", "--out", tmp_path / "s.parquet"]
    status, _, said = main(*command)
    assert status == 1 and len(said.strip().splitlines()) == 1
    for part in ("sweep", "ZeroDivisionError: division by zero", "s.parquet.parts", "--debug"):
        assert part in said
    monkeypatch.setattr(sys, "argv", ["azlib", *map(str, command), "--debug"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
