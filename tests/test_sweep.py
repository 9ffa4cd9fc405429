from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import end_soon

from azlib.errors import AzlibError
from azlib.scoring import Execution, FileSettings, files, parts, recompute, sample, sweep
from azlib.scoring.chunk import score_chunk
from azlib.search import Live
from azlib.settings import ScoreSettings
from azlib.spaces import get
from azlib.spaces import nasbench201 as nb
from azlib.spaces.mobilenetv2 import SMALLEST

SPACE = nb.NASBench201(cost_resolution=8)
ARCHS = list(nb.enumerate_all()[50::1600])  # ten cells
COLUMNS = ["arch", "seed", "expressivity", "progressivity", "trainability", "complexity", "seconds"]


def small(out, *, space=SPACE, seeds=(1,), archs=ARCHS, unique=False, batch=4, **options):
    """The scores of a sweep of ten cells, four images of 8×8 pixels, without a progress bar.

    options: fields of `Execution`, or else changes of the settings.
    """
    how = {name: options.pop(name) for name in vars(Execution()) if name in options}
    settings = ScoreSettings.for_space(space, batch=batch, **options)
    execution = Execution(**{"workers": 1, "progress": False, **how})
    which = {"seeds": seeds, "archs": archs, "unique": unique}
    return files.read(sweep(space, out, settings, execution=execution, **which))


def same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Equal but for the time they took, row order aside."""

    def key(frame):
        return frame.drop(columns="seconds").sort_values(["seed", "arch"]).reset_index(drop=True)

    return key(a).equals(key(b))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return small(tmp_path_factory.mktemp("reference") / "scores.parquet")


def test_columns_and_order(reference):
    assert list(reference) == COLUMNS
    assert reference["arch"].tolist() == ARCHS
    assert reference["complexity"].tolist() == [nb.count(a, 10, 8)["macs"] for a in ARCHS]
    assert (reference["seconds"] > 0).all()


def test_order_chunks_and_processes_change_nothing(reference, tmp_path):
    shuffled = small(tmp_path / "s.parquet", archs=ARCHS[::-1], chunk=3, workers=2)
    assert shuffled["arch"].tolist() == ARCHS[::-1]
    assert same(shuffled, reference)


def test_a_second_seed_is_added_to_the_file(reference, tmp_path):
    out = tmp_path / "s.parquet"
    small(out)
    both = small(out, seeds=(1, 2))
    assert both.groupby("seed").size().to_dict() == {1: len(ARCHS), 2: len(ARCHS)}
    assert same(both[both["seed"] == 1], reference)
    assert not both[both["seed"] == 2]["expressivity"].equals(reference["expressivity"])


def test_more_architectures_are_added_behind_those_that_were_scored(reference, tmp_path):
    out = tmp_path / "s.parquet"
    some = ARCHS[1::2]
    before = small(out, archs=some)
    grown = small(out, archs=ARCHS)
    assert grown["arch"].tolist() == some + [arch for arch in ARCHS if arch not in some]
    assert grown[: len(some)].equals(before), "not scored again"
    assert same(grown, reference)


def test_killed_sweep_continues_without_loss_or_repetition(tmp_path):
    out = tmp_path / "s.parquet"
    listed = tmp_path / "archs.txt"
    archs = nb.enumerate_all()[40::500]
    listed.write_text("\n".join(archs))
    command = [sys.executable, "-m", "azlib", "sweep", "--archs", listed, "--out", out, "--batch",
               "4", "--resolution", "8", "--workers", "2", "--chunk", "2"]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    parts = tmp_path / "s.parquet.parts"
    deadline = time.time() + 300
    while len(list(parts.glob("*.parquet"))) < 3:
        assert process.poll() is None and time.time() < deadline, "the sweep ended too early"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = pd.concat([pd.read_parquet(part) for part in parts.glob("*.parquet")])
    assert 6 <= len(kept) < len(archs)

    result = small(out, archs=archs)
    assert result["arch"].tolist() == list(archs)  # nothing lost, nothing twice, in order
    merged = result.merge(kept, on="arch", suffixes=("", "_kept"))
    assert (merged["seconds"] == merged["seconds_kept"]).all()  # finished chunks not scored again
    few = small(tmp_path / "few.parquet", archs=archs[::4])
    assert same(result[result["arch"].isin(archs[::4])], few)
    assert not parts.exists()


def test_resuming_with_another_list_or_settings_is_refused(tmp_path):
    out = tmp_path / "s.parquet"
    small(out, archs=ARCHS[:2])
    with pytest.raises(AzlibError, match=r"other settings: .*\[4, 3, 8, 8\] \(now \[8, 3, 8"):
        small(out, archs=ARCHS[:2], batch=8)
    with pytest.raises(AzlibError, match=r"other settings: score\.init='kaiming_norm_fanin'"):
        small(out, init="plain_norm")
    folder = tmp_path / "t.parquet.parts"
    folder.mkdir()
    done = tmp_path / "done.parquet"
    small(done, archs=ARCHS[:2])
    done.rename(folder / "000000000000-000000000002.parquet")
    with pytest.raises(AzlibError, match="holds other architectures"):
        small(tmp_path / "t.parquet", archs=ARCHS[5:])


class Fragile(nb.NASBench201):
    """A space with two architectures that cannot be built."""

    def build(self, arch, resolution=None):
        if arch in (ARCHS[4], ARCHS[5]):
            raise RuntimeError("no such luck")
        return super().build(arch, resolution)


def test_a_failing_architecture_is_listed_and_the_sweep_goes_on(tmp_path, capfd):
    out = tmp_path / "s.parquet"
    archs = [ARCHS[1], ARCHS[4], ARCHS[3]]
    frame = small(out, space=Fragile(cost_resolution=8), archs=archs)
    assert frame["expressivity"].isna().tolist() == [False, True, False]
    out_text, shown = capfd.readouterr()
    assert "no such luck" in shown and "1 architectures failed" in shown and not out_text
    sheet = json.loads((tmp_path / "s.json").read_text())
    assert sheet["failed"] == 1 and sheet["rows"] == 3


def test_a_setting_that_fails_everywhere_stops_the_sweep(tmp_path):
    out = tmp_path / "s.parquet"
    with pytest.raises(AzlibError, match=r"every architecture fails, .*no method `initialise`"):
        small(out, archs=ARCHS[3:6], init="own")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"archs": [ARCHS[0], "|broken|"]}, "not a NAS-Bench-201 architecture"),
        ({"archs": []}, "list is empty"),
        ({"archs": iter(ARCHS), "seeds": (1, 2)}, "read once"),
        ({"archs": iter(ARCHS), "unique": True}, "read once"),
        ({"seeds": ()}, "no seed given"),
        ({"init": "kaiming"}, "unknown initialisation"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"resolution": 0}, "expected positive integers"),
        ({"batch": 1}, "must be at least 2"),
        ({"chunk": 0}, "at least 1"),
        ({"seeds": (2**63,)}, "expected an integer from 0"),
        ({"seeds": (-1,)}, "expected an integer from 0"),
        ({"resolution": 100_000}, "at most 4,096"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_scored(tmp_path, options, message):
    with pytest.raises(AzlibError, match=message):
        small(tmp_path / "s.parquet", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["s.json", "s", "folder.parquet"])
def test_scores_go_to_a_parquet_file(tmp_path, name):
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(AzlibError, match=r"ends in \.parquet"):
        small(tmp_path / name)


def test_duplicates_are_scored_once(tmp_path):
    result = small(tmp_path / "s.parquet", archs=[*ARCHS[:2], ARCHS[0]], seeds=(1, 1))
    assert result["arch"].tolist() == ARCHS[:2]


def test_a_sweep_killed_between_joining_and_cleaning_resumes(tmp_path):
    out = tmp_path / "s.parquet"
    before = small(out, archs=ARCHS[:2])
    folder = tmp_path / "s.parquet.parts"
    folder.mkdir()
    (folder / "000000000000-000000000002.parquet").write_bytes(out.read_bytes())
    (folder / "half.parquet.tmp").write_text("left over")
    (folder / "folder.tmp").mkdir()
    (folder / "notes.parquet").write_text("a stray file")
    assert same(small(out, archs=ARCHS[:3]).iloc[:2], before)
    assert sorted(path.name for path in folder.iterdir()) == ["folder.tmp", "notes.parquet"]


def test_a_file_with_other_columns_is_refused_and_kept(tmp_path):
    out = tmp_path / "s.parquet"
    small(out, archs=ARCHS[:2])
    table = pq.read_table(out)
    pq.write_table(table.drop_columns(["trainability"]), out)
    content = out.read_bytes()
    with pytest.raises(AzlibError, match="not a score file"):
        small(out, archs=ARCHS[:3])
    assert out.read_bytes() == content


def test_nothing_new_leaves_file_and_datasheet_alone(tmp_path):
    out = tmp_path / "s.parquet"
    small(out, archs=ARCHS[:2])
    sheet = tmp_path / "s.json"
    before = out.stat().st_mtime_ns, sheet.stat().st_mtime_ns
    small(out, archs=ARCHS[:2])
    assert (out.stat().st_mtime_ns, sheet.stat().st_mtime_ns) == before
    sheet.unlink()  # as after a run that was killed before it wrote it
    small(out, archs=ARCHS[:2])
    assert json.loads(sheet.read_text())["rows"] == 2


def test_parts_of_a_longer_list_are_not_joined(tmp_path):
    out, folder = tmp_path / "s.parquet", tmp_path / "s.parquet.parts"
    part = small(tmp_path / "part.parquet", archs=ARCHS[2:4])
    folder.mkdir()
    (folder / "000000000002-000000000004.parquet").write_bytes(
        (tmp_path / "part.parquet").read_bytes()
    )
    with pytest.raises(AzlibError, match="holds other architectures than this sweep"):
        small(out, archs=ARCHS[:2])
    assert not out.exists()
    assert same(small(out, archs=ARCHS[:4]).iloc[2:], part)


def test_two_sweeps_into_one_file_are_refused(tmp_path):
    out = tmp_path / "s.parquet"
    settings = FileSettings(SPACE.name, ScoreSettings.for_space(SPACE))
    with (
        parts.opened(out, settings),
        pytest.raises(AzlibError, match=r"another process is writing .*s\.parquet: wait for it"),
    ):
        small(out)
    assert not list(tmp_path.iterdir())
    small(out, archs=ARCHS[:2])


def test_a_pause_before_failing_architectures_changes_nothing(tmp_path):
    fragile, out = Fragile(cost_resolution=8), tmp_path / "s.parquet"
    small(out, space=fragile, archs=ARCHS[1:4:2])
    added = small(out, space=fragile, archs=[*ARCHS[1:4:2], *ARCHS[4:6]])
    assert added["expressivity"].isna().tolist() == [False, False, True, True]


def test_complexity_is_counted_at_the_size_of_the_images(tmp_path):
    out = tmp_path / "s.parquet"
    found = small(out, space=nb.NASBench201(), archs=ARCHS[:1], resolution=8)
    assert found["complexity"].tolist() == [nb.count(ARCHS[0], 10, 8)["macs"]]
    assert recompute(out) == (1, 0.0)


def test_an_empty_stream_is_said(tmp_path):
    with pytest.raises(AzlibError, match="no architectures to score: the stream is empty"):
        small(tmp_path / "s.parquet", archs=iter(()))


def test_one_process_writes_each_chunk_as_it_is_done(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(parts, "write", lambda path, *_: seen.append(path.name))
    module = sys.modules["azlib.scoring.sweep"]
    monkeypatch.setattr(module, "score_chunk", lambda *_: seen.append(1) or ([{}], []))
    with pytest.raises(AzlibError, match="no architectures"):  # as nothing was written
        small(tmp_path / "s.parquet", archs=ARCHS[:2], chunk=1)
    assert [type(what) for what in seen] == [int, str, int, str]


def test_unique_scores_each_network_once(tmp_path):
    archs = [nb.enumerate_all()[k] for k in (1, 5, 26, 130)]
    distinct = {SPACE.canonical(arch) for arch in archs}
    result = small(tmp_path / "s.parquet", archs=archs, unique=True)
    assert set(result["arch"]) == distinct and len(result) == len(distinct) < len(archs)
    assert files.read_settings(tmp_path / "s.parquet").unique


def test_expand_repeats_distinct_networks_for_the_whole_space():
    archs = nb.enumerate_all()
    distinct = sorted({nb.canonical(arch) for arch in archs})
    rows = pd.DataFrame({"arch": distinct, "seed": 7, "expressivity": range(len(distinct))})
    rows["complexity"] = [SPACE.count(arch)["macs"] for arch in distinct]
    whole = files.expand(rows, SPACE)
    assert whole["arch"].tolist() == list(archs)
    value = dict(zip(rows["arch"], rows["expressivity"], strict=True))
    assert all(value[nb.canonical(r.arch)] == r.expressivity for r in whole.itertuples())
    assert whole["complexity"].tolist() == [SPACE.count(arch)["macs"] for arch in archs]


def test_recompute_finds_an_altered_score(tmp_path):
    out = tmp_path / "s.parquet"
    small(out, archs=ARCHS[3:6])
    assert recompute(out, 1000, seed=0) == (3, 0.0)  # all there are, to the last digit
    frame = files.read(out)
    frame.loc[0, "trainability"] *= 1.01
    parts.write(out, frame.to_dict("records"), files.read_settings(out))
    assert recompute(out, 3, seed=0).difference > 5e-3


def test_full_disk_keeps_the_previous_file(tmp_path, monkeypatch):
    out = tmp_path / "s.parquet"
    before = small(out, archs=ARCHS[:2])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(AzlibError, match=r"cannot write .*No space left on device"):
        small(out, archs=ARCHS[:3])
    assert files.read(out).equals(before)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", b"arch,seed\n"])
def test_a_file_that_is_no_score_file_is_refused(tmp_path, content):
    path = tmp_path / "s.parquet"
    path.write_bytes(content)
    with pytest.raises(AzlibError, match="not a score file"):
        files.read(path)


@pytest.mark.parametrize(
    "said", ["[]", "1", "[" * 200_000, '{"space": "nasbench201"}', '{"score": {"batch": 1}}']
)
def test_metadata_that_no_sweep_wrote_are_refused(tmp_path, said):
    path = tmp_path / "s.parquet"
    table = pa.table({"arch": ["a"], "seed": [1], "expressivity": [0.5], "seconds": [1.0]})
    pq.write_table(table.replace_schema_metadata({b"azlib": said}), path)
    with pytest.raises(AzlibError, match="is not a score file of this version, or is damaged"):
        files.read(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"arch": "a", "seed": 1, "expressivity": "high", "seconds": 1.0}], "not a score file"),
        ([{"arch": 1, "seed": 1, "expressivity": 0.5, "seconds": 1.0}], "not a score file"),
        ([], "holds no rows"),
    ],
)
def test_columns_hold_what_they_should(tmp_path, rows, message):
    path = tmp_path / "s.parquet"
    table = pa.Table.from_pylist(rows or [{"arch": "a", "seed": 1, "expressivity": 0.5,
                                           "seconds": 1.0}])  # fmt: skip
    settings = FileSettings("nasbench201", ScoreSettings(("expressivity",), (4, 3, 8, 8)))
    table = table.replace_schema_metadata(files.metadata(settings))
    pq.write_table(table if rows else table.slice(0, 0), path)
    with pytest.raises(AzlibError, match=message):
        files.read(path)


def test_missing_score_file_says_how_to_make_it(tmp_path):
    with pytest.raises(AzlibError, match="make it with `azlib scores`"):
        files.read(tmp_path / "none.parquet")
    with pytest.raises(AzlibError, match="unknown data set"):
        files.load("cifar", SPACE)


def test_a_sample_is_always_the_same_and_part_of_a_larger_one():
    assert sample(SPACE, 5) == sorted(sample(SPACE, 5)) and set(sample(SPACE, 5, ARCHS)) < {*ARCHS}
    for few, many in ((5, 20), (200, 1000), (1000, 5000)):  # random.sample draws each otherwise
        assert set(sample(SPACE, few)) < set(sample(SPACE, many))
    for space in (get("mobilenetv2", budget=450e6), get("autoformer-tiny")):
        drawn = sample(space, 8)
        assert len(set(drawn)) == 8 and all(map(space.legal, drawn))
        assert sample(space, 3) == drawn[:3]
        with pytest.raises(AzlibError, match="sample=0: expected an integer of at least 1"):
            sample(space, 0)
    with pytest.raises(AzlibError, match="sample=11: expected 1 to 10"):
        sample(SPACE, 11, ARCHS)


def test_a_sample_of_more_than_there_are_ends(monkeypatch):
    smallest = get("mobilenetv2").count(SMALLEST)["macs"]
    space = get("mobilenetv2", budget=smallest, max_layers=6)
    monkeypatch.setattr("azlib.scoring.architectures.TRIES", 3)
    with monkeypatch.context() as patch:
        patch.setattr(type(space), "sample", lambda self, rng: SMALLEST)
        with pytest.raises(AzlibError, match=r"3 draws in a row .* after 1 architectures; ask for"):
            sample(space, 2)


def test_vision_transformers_are_swept_as_their_space_says(tmp_path):
    space = get("autoformer-tiny")
    arch, out = sample(space, 1), tmp_path / "s.parquet"
    row = small(out, space=space, archs=arch, batch=2, resolution=32).iloc[0]
    settings = files.read_settings(out).score
    assert (settings.init, settings.batch_statistics) == ("own", False)
    alone = Live.at(space, "paper", seed=1, batch=2, resolution=32)(arch[0])
    assert row[list(space.proxies)].to_dict() == alone
    assert recompute(out, 1, 0).difference == 0


def test_a_space_too_large_to_enumerate_needs_a_list(tmp_path):
    with pytest.raises(AzlibError, match="too large to enumerate"):
        sweep(get("mobilenetv2"), tmp_path / "s.parquet")


def test_absent_scheduler_is_said(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refuse(*_, **__):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(AzlibError, match="no Dask scheduler answers at 'tcp://127"):
        small(tmp_path / "s.parquet", scheduler="tcp://127.0.0.1:1")


def test_a_score_does_not_depend_on_what_came_before():
    settings = ScoreSettings(("expressivity", "trainability"), (4, 3, 8, 8))
    alone, _ = score_chunk(SPACE, [(ARCHS[3], 1)], settings)
    after, _ = score_chunk(SPACE, [(ARCHS[7], 2), (ARCHS[2], 1), (ARCHS[3], 1)], settings)
    assert all(alone[0][k] == after[2][k] for k in ("expressivity", "trainability"))
    assert math.isfinite(alone[0]["expressivity"])


def test_a_long_list_streams(tmp_path, monkeypatch):
    """Half a million ids: never more than the chunks in flight are pulled ahead of the results."""
    module = sys.modules["azlib.scoring.sweep"]

    total, chunk = 500_000, 10_000
    pulled, finished, lead = 0, 0, 0

    def ids():
        nonlocal pulled, lead
        for k in range(total):
            pulled += 1
            lead = max(lead, pulled - finished)
            yield f"a{k}"

    def instant(_, items, settings, own):
        nonlocal finished
        finished += len(items)
        return [{"arch": a, "seed": s, "expressivity": 1.0, "seconds": 0.0} for a, s in items], []

    monkeypatch.setattr(module, "score_chunk", instant)
    monkeypatch.setattr(Execution, "executor", lambda _: ThreadPoolExecutor(1))

    class Endless(nb.NASBench201):
        def count(self, arch):
            return {"macs": 1.0}

    out = tmp_path / "big.parquet"
    settings = ScoreSettings(("expressivity",))
    execution = Execution(workers=1, chunk=chunk, progress=False)
    sweep(Endless(), out, settings, archs=ids(), execution=execution)
    assert lead <= 4 * chunk
    file = pq.ParquetFile(out)
    assert file.metadata.num_rows == total and file.num_row_groups > 5
    first = file.read_row_group(0, columns=["arch"])["arch"]
    assert first[0].as_py() == "a0" and first[-1].as_py() == f"a{len(first) - 1}"


ORPHAN = """
import os, time
from azlib.scoring import Execution
if __name__ == "__main__":
    with Execution(workers=2).executor() as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 120)
        time.sleep(1)
        END
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"])
def test_workers_end_with_a_killed_and_a_stopped_parent(tmp_path, end):
    """Else they go on computing for nobody, and a stopped command waits for them."""
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN.replace("END", end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert end_soon(int(done.stdout))


def test_images_are_looked_for_before_anything_is_scored(tmp_path):
    with pytest.raises(AzlibError, match="nowhere"):
        sweep(
            nb.NASBench201(),
            tmp_path / "a.parquet",
            ScoreSettings(("snip",), labelled_images=f"cifar10={tmp_path / 'nowhere'}"),
            archs=[nb.enumerate_all()[0]],
        )
    assert not list(tmp_path.iterdir())


def test_proxies_with_passes_of_their_own_report_their_time(tmp_path):
    archs = list(nb.enumerate_all()[7::6000])
    path = tmp_path / "a.parquet"
    frame = small(path, archs=archs, proxies=(*SPACE.proxies, "snip", "synflow"))
    settings = files.read_settings(path).score
    timed = [name for name in frame if name.startswith("seconds_")]
    assert timed == ["seconds_snip", "seconds_synflow"] and (frame[timed] > 0).all(axis=None)
    assert (frame[timed].sum(axis=1) < frame["seconds"]).all()
    assert settings.labelled_images == "patches" and settings.noise_source == "gaussian"
    assert recompute(path, 2, seed=0).difference == 0


def test_a_score_file_does_not_say_where_images_were_kept():
    kept = ScoreSettings(noise_source="cifar10=/home/me", labelled_images="cifar10=x")
    named = kept.without_folders()
    assert named.noise_source == named.labelled_images == "cifar10"
    assert ScoreSettings().without_folders() == ScoreSettings()
