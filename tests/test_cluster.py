"""A sweep on a real Dask cluster over loopback, with workers that die and arrive late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from test_sweep import same, small

from azlib import own_code, spaces
from azlib.proxies import REGISTRY
from azlib.scoring import Execution, read, sweep
from azlib.settings import ScoreSettings
from azlib.spaces import nasbench201 as nb
from azlib.spaces.own import write_template

pytest.importorskip("distributed", reason="needs the optional extra azlib[cluster]")

ARCHS = nb.enumerate_all()[40::400]  # 39 cells


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """(address, a worker process, function that starts another); all end with the tests."""
    processes: list[subprocess.Popen] = []
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"

    def start(tool: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.{tool}", "--scheduler-file", str(file)]
        processes.append(
            subprocess.Popen(
                [*command, "--no-dashboard", *options],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
            )
        )
        return processes[-1]

    scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    while not file.exists():
        assert scheduler.poll() is None, "the scheduler ended at once"
        time.sleep(0.05)
    from distributed import Client

    with Client(scheduler_file=str(file)) as client:
        address = client.scheduler.address

    def worker() -> subprocess.Popen:
        return start("dask_worker", "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")

    yield address, worker(), worker
    for process in processes:
        process.kill()
        process.wait()


def test_workers_may_die_and_arrive_late(cluster, tmp_path):
    address, first, start_worker = cluster
    start_worker()
    out = tmp_path / "cluster.parquet"
    parts = tmp_path / "cluster.parquet.parts"
    events: list[str] = []

    def disturb() -> None:
        while len(list(parts.glob("*.parquet"))) < 4:
            time.sleep(0.02)
        if not out.exists():
            os.kill(first.pid, signal.SIGKILL)
            events.append("killed one")
            start_worker()
            events.append("added one")

    thread = threading.Thread(target=disturb, daemon=True)  # so a sweep that fails ends the test
    thread.start()
    result = small(out, archs=ARCHS, chunk=2, scheduler=address)
    thread.join()
    assert events == ["killed one", "added one"]
    assert first.wait() == -signal.SIGKILL
    assert result["arch"].tolist() == list(ARCHS)  # nothing lost, nothing twice
    few = small(tmp_path / "single.parquet", archs=ARCHS[::4])
    assert same(result[result["arch"].isin(ARCHS[::4])], few)


def test_what_a_user_brings_in_a_file_reaches_the_cluster(cluster, tmp_path, monkeypatch):
    address, _, _ = cluster
    file = tmp_path / "own" / "own_brought.py"
    assert write_template(file, taken=()) == f"{file}:OwnBrought"
    proxy = '@azlib.proxy("own-depth")\ndef depth(probe):\n    return len(probe.model)\n'
    file.write_text(file.read_text() + f"\n\nimport azlib\n\n\n{proxy}")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_code, "_loaded", [])
    space = spaces.get(f"{file}:OwnBrought")
    settings = ScoreSettings.for_space(space, batch=2, resolution=8, proxies=["own-depth"])
    archs = ["d1w8k3-d1w8k3-d1w8k3", "d2w8k3-d1w8k3-d1w8k3"]
    execution = Execution(scheduler=address, progress=False)
    out = sweep(space, tmp_path / "s.parquet", settings, archs=archs, execution=execution)
    assert read(out)["own-depth"].tolist() == [7, 8]
    del sys.modules["own_brought"], REGISTRY["own-depth"]
