"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from azlib.spaces import nasbench201 as nb
from azlib.spaces.mobilenetv2 import MobileNetV2


def azlib(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "azlib", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_the_commands():
    shown = azlib("--help").stdout
    for command in ("sweep", "search", "train", "export", "check-scores", "run", "benchmark"):
        assert command in shown


def test_sweep_then_check(tmp_path):
    archs = tmp_path / "archs.txt"
    archs.write_text("\n".join(nb.enumerate_all()[3000:3003]))
    out = tmp_path / "s.parquet"
    options = ["--archs", archs, "--batch", 4, "--resolution", 8, "--workers", 1, "--out", out]
    made = azlib("sweep", "--seed", "1-2", *options)
    assert made.returncode == 0, made.stderr
    assert "wrote" in made.stdout and out.exists()
    checked = azlib("check-scores", out, "--count", 2)
    assert checked.returncode == 0, checked.stderr
    assert "2 rows recomputed" in checked.stdout
    other = azlib("sweep", *options, "--init", "xavier_norm")
    assert other.returncode == 1 and "other settings" in other.stderr


def test_search_continues_and_says_what_it_found(tmp_path):
    out = tmp_path / "found.parquet"
    options = ["search", "--budget", "450M", "--population", 2, "--seed", 3, "--out", out]
    for iterations in (2, 3):
        made = azlib(*options, "--iterations", iterations)
        assert made.returncode == 0, made.stderr
    said = json.loads(out.with_suffix(".json").read_text())
    assert said["settings"]["generation"] == 1 and said["settings"]["score"]["init"]
    assert said["candidates"] == 3 and said["structure"] in made.stdout
    batch, pixels = MobileNetV2.presets["cpu"]
    assert (said["settings"]["score"]["batch"], said["settings"]["score"]["resolution"]) == (
        batch,
        pixels,
    )


def test_search_of_a_space_without_presets(tmp_path):
    options = ["--space", "nasbench201", "--batch", 2, "--resolution", 8, "--iterations", 3]
    made = azlib("search", *options, "--rule", "random", "--out", tmp_path / "found.parquet")
    assert made.returncode == 0, made.stderr
    said = json.loads((tmp_path / "found.json").read_text())["settings"]["score"]
    assert (said["batch"], said["resolution"]) == (2, 8)


def test_benchmark_info_and_export(tmp_path):
    shown = azlib("benchmark", "info")
    assert "architectures: 15625" in shown.stdout
    assert azlib("benchmark", "export", "analog-nasbench", tmp_path / "b.csv").returncode == 0
    assert "architectures: 15625" in azlib("benchmark", "info", tmp_path / "b.csv").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--proxies", "expresivity", "--out", "x"], "Did you mean 'expressivity'"),
        (["sweep", "--space", "nasbench", "--out", "x"], "Did you mean 'nasbench201'"),
        (["sweep", "--seed", "one", "--out", "x"], "expected 1 or 1,2,3 or 1-5"),
        (["sweep", "--seed", "5-1", "--out", "x"], "expected 1 or 1,2,3 or 1-5"),
        (["sweep", "--archs", "/none", "--out", "x"], "expected one architecture a line"),
        (["sweep", "--budget", "450M", "--out", "x"], "the space nasbench201 has no budget"),
        (["search", "--budget", "450Mega", "--out", "x"], "expected FLOPs, such as 450M or 450e6"),
        (["search", "--budget", "1M", "--out", "x"], "below the smallest network's"),
        (["search", "--preset", "laptop", "--out", "x"], "unknown preset of mobilenetv2"),
        (["search", "--rule", "greedy", "--out", "x"], "unknown rule 'greedy'"),
        (["benchmark", "info", "/none.pth"], "/none.pth"),
        (["check-scores", "/none.parquet"], "no score file"),
        (["train", "x", "/none", "--out", "x"], "expected images as"),
        (["run", "/none.ipynb", "x.ipynb"], "no notebook"),
        (["run", "x.ipynb", "y.ipynb", "-p", "seed"], "expected name=value"),
    ],
)
def test_bad_arguments_get_one_line_and_a_status(arguments, message):
    result = azlib(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
