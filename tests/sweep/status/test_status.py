"""What is said of a folder, as drivers leave it: the snapshot, the terminal, the page, JSON, and the exit status."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from galaxytl.trial import FAILED, PRUNED
from sweep.results.lease import process_table
from sweep.results.progress_file import FILE_NAME as PROGRESS
from sweep.results.progress_file import write_progress
from sweep.status.__main__ import main
from sweep.status.snapshot import Snapshot, as_json, best_of, take
from sweep.status.sources import read_files
from tests.sweep.status.folders import lease, progress, row, running, spec, sweep
from tests.sweep.sweeps import ROOT

DEAD = {"pid": 2**31 - 1}
"""Of a process that there cannot be."""


def seen(folder: Path | str) -> Snapshot:
    return take(read_files(str(folder)))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit status, and all that was printed, in one line."""
    status = main(list(map(str, arguments)))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return status, " ".join((printed.out + printed.err).split())


# What is so


def test_a_sweep_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(tmp_path / "lr", num_running=2, running=(running(spec(3)), running(spec(4), node="", epoch=0)))
    now = seen(folder)
    assert (now.state, now.exit_status, now.is_over) == ("running", 1, False)
    counts = now.counts
    assert (counts.complete, counts.failed, counts.running, counts.to_do, counts.total) == (2, 1, 2, 5, 10)
    assert now.best is not None
    assert (now.best.trial_id, now.best.accuracy) == (spec(1).trial_id, 0.7)
    status, text = said(capsys, folder)
    assert status == 0
    assert "2 done, 1 failed, 0 pruned, 2 running, 5 to do, of 10" in text
    assert "is alive, its heart last beat" in text
    assert "VGG16, seed 3 node-a; training; 3/20 epochs done; for 1:05" in text
    assert "1 x no" in text


def test_rows_that_came_after_the_driver_last_spoke_count(tmp_path: Path) -> None:
    """And those of other sweeps in the folder do not, nor the failed ones that are tried again."""
    others = [row(spec(seed, optimizer="sgd")) for seed in range(3)]
    failed = [row(spec(seed), status=FAILED, message="out of memory") for seed in (1, 2)]
    folder = sweep(tmp_path, *others, row(spec(0)), *failed, others={"COMPLETE": 3}, again=1, total=4, finished=0)
    counts = seen(folder).counts
    assert (counts.complete, counts.failed, counts.to_do, counts.total, counts.others) == (1, 1, 2, 4, 3)


def test_a_driver_that_was_killed_is_said_with_the_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path, **DEAD, running=(running(spec(3)),), num_running=1)
    lease(folder, **DEAD)
    now = seen(folder)
    assert (now.state, now.counts.running, now.counts.to_do, now.running, now.left) == ("gone", 0, 7, (), None)
    status, text = said(capsys, folder)
    assert status == 0
    assert f"process {DEAD['pid']} on here was killed: its heart last beat" in text
    assert text.endswith("finished trials are kept: python -m sweep.run --grid lr")
    assert said(capsys, folder, "--watch")[0] == 3


@pytest.mark.parametrize("age", [3.0, 3000.0])
def test_of_another_machine_the_beats_count(tmp_path: Path, age: float) -> None:
    folder = sweep(tmp_path, processes="another's", host="far")
    lease(folder, processes="another's", host="far")
    os.utime(folder / "lease.json", (time.time() - age,) * 2)
    now = seen(folder)
    assert now.state == ("running" if age < 60 else "gone")
    assert now.driver is not None
    assert (now.driver.host, now.driver.is_sure) == ("far", age < 60)
    assert now.driver.beat == pytest.approx(age, abs=2)


def test_what_another_driver_said_is_not_said_of_this_one(tmp_path: Path) -> None:
    """One that was killed had said that trials run; the next still reads its dataset. And one that finds nothing to
    train says nothing: then the one before it, which came to its end, is right."""
    folder = sweep(tmp_path, **DEAD, running=(running(spec(3)),), num_running=1)
    now = seen(folder)
    assert (now.state, now.kind, now.running, now.counts.total) == ("running", "", (), None)
    write_progress(folder, progress(**DEAD, end="ended", total=3))
    lease(folder, ended=True)
    now = seen(folder)
    assert (now.state, now.counts.total, now.counts.to_do, now.exit_status) == ("ended", 3, 0, 1)


@pytest.mark.parametrize(("end", "status"), [("ended", 0), ("stopped", 3)])
def test_how_a_driver_ended_is_the_status_of_a_watch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: Any, status: int
) -> None:
    folder = sweep(tmp_path, row(spec(0)), row(spec(1), status=PRUNED), end=end, total=2)
    lease(folder, ended=True)
    assert seen(folder).state == end
    found, text = said(capsys, folder, "--watch")
    assert found == status
    assert ("goes on with this command in /home/me" in text) == (end == "stopped")


def test_a_long_command_can_be_copied_into_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["python", "-m", "sweep.run", "--out", "my folder, which is long"] + ["--set", "learning_rate=1e-3"] * 9
    words += ["--data", "/a/long/path" * 9]
    folder = sweep(tmp_path, **DEAD, command=shlex.join(words))
    lease(folder, **DEAD)
    assert main([str(folder)]) == 0
    lines = capsys.readouterr().out.partition("are kept:\n")[2]
    assert max(len(line) for line in lines.splitlines() if "/a/long/path" not in line) <= 80
    assert shlex.split(lines.replace("\\\n", "")) == words


# The best


def test_the_best_is_never_chosen_by_the_test_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores on the test part are the other way round than those on the validation part, or alone."""
    for seed, (tested, watched) in enumerate([(0.9, 0.2), (0.1, 0.6)]):
        one = row(spec(seed), watched)
        one.metrics["accuracy"] = tested
        sweep(tmp_path / "both", one)
    best = seen(tmp_path / "both").best
    assert best is not None
    assert (best.trial_id, best.accuracy) == (spec(1).trial_id, 0.6)
    folder = sweep(tmp_path / "test", row(spec(0, validation_fraction=0.0), 0.9))
    assert seen(folder).best is None
    assert "these trials have no validation part" in said(capsys, folder)[1]
    assert best_of([row(spec(0)), row(spec(1, dataset_fingerprint="other"))]) is None


# For programs, and in a browser


def test_json_has_the_documented_keys_and_no_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(tmp_path, num_running=1, running=(running(spec(3), loss=None),))
    assert main([str(folder), "--json"]) == 0
    values = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    documented = (ROOT / "docs" / "status.md").read_text()
    names = {*values, *values["trials"], *values["driver"], *values["running"][0], *values["best"]}
    names |= set(values["failures"][0])
    assert [name for name in sorted(names) if f"`{name}`" not in documented] == []
    assert values["running"][0]["loss"] is None
    assert values["failures"] == [{"reason": "no", "trials": 1}]
    low, high = values["seconds_left"]
    assert 0 < low < high


def test_the_page_reloads_itself_until_the_sweep_is_over_and_obeys_nothing_in_a_row(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "lr", row(spec(0)), row(spec(2), status=FAILED, message="<script>no</script>"))
    html = tmp_path / "status.html"
    assert main([str(folder), "--html", str(html)]) == 0
    text = html.read_text()
    assert '<meta http-equiv="refresh"' in text
    assert "<script" not in text
    assert "src=" not in text
    assert "://" not in text
    lease(folder, ended=True)
    write_progress(folder, progress(end="ended"))
    main([str(folder), "--html", str(html)])
    assert '<meta http-equiv="refresh"' not in html.read_text()


@pytest.mark.parametrize("width", [80, 140])
def test_nothing_is_cut_in_a_terminal(tmp_path: Path, width: int) -> None:
    """Names of half a line, of nodes too, and a reason of two."""
    long = "MobileNet, ImageNet, 2 blocks trained, optimizer adam, learning_rate 0.0001"
    many = tuple(running(spec(seed), node=f"gpu-worker-{seed}.cluster.example", epoch=seed) for seed in range(3, 30))
    reason = "the loss became nan in epoch 3; " * 6
    folder = sweep(tmp_path, row(spec(2), status=FAILED, message=reason), total=40, num_running=27, running=many)
    write_progress(folder, progress(total=40, num_running=27, running=tuple(_named(one, long) for one in many)))
    environment = {**os.environ, "COLUMNS": str(width)}
    done = subprocess.run(
        [sys.executable, "-m", "sweep.status", str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in done.stdout
    assert "and 15 more" in done.stdout
    assert " ".join(done.stdout.split()).count("the loss became nan in epoch 3;") == 6
    assert len(lines) < 95


def _named(trial: Any, name: str) -> Any:
    return type(trial)(**{**vars(trial), "name": name})


# What is no sweep


def test_each_bad_place_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, other, file = tmp_path / "empty", tmp_path / "other", tmp_path / "file"
    for folder in (empty, other):
        folder.mkdir()
    (other / "model.ckpt").write_text("of another tool")
    file.write_text("")
    (tmp_path / "runs").mkdir()
    sweep(tmp_path / "runs" / "lr")
    for place, message in {
        empty: "must hold trials.jsonl, which a sweep writes",
        other: "must hold trials.jsonl, which a sweep writes",
        tmp_path / "none": "does not exist",
        file: "is no folder",
        tmp_path / "runs": f"Did you mean '{tmp_path / 'runs' / 'lr'}'?",
        "ftp://host/lr": "must be a place for results",
    }.items():
        status, text = said(capsys, place)
        assert status == 2
        assert message in text
        assert text.count("error:") == 1


def test_rows_of_a_newer_version_or_cut_ones_are_no_sweep_where_there_are_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sweep(tmp_path / "whole", row(spec(0))) / "trials.jsonl"
    line = rows.read_text()
    newer = json.loads(line)
    newer["spec"]["colour"], newer["schema"] = "red", newer["schema"] + 1
    for name, content, message in (
        ("newer", json.dumps(newer) + "\n", "by a newer version"),
        ("half", line[: len(line) // 2], "none that can be read"),
        ("nuls", "\0" * 4096, "none that can be read"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "trials.jsonl").write_text(content)
        status, text = said(capsys, folder)
        assert (status, text.count("error:")) == (2, 1), text
        assert message in text
    rows.write_text(line + line[:100])  # as a driver that is killed leaves it
    status, text = said(capsys, rows.parent)
    assert status == 0
    assert "note:" in text
    assert "half-written" in text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "kind": "grid"}'])
def test_a_driver_whose_words_cannot_be_read_takes_no_row_away(tmp_path: Path, content: bytes) -> None:
    folder = sweep(tmp_path)
    (folder / PROGRESS).write_bytes(content)
    now = seen(folder)
    assert (now.counts.complete, now.counts.failed, now.counts.total) == (2, 1, None)
    assert "what runs just now is not known" in now.problems[0]


def test_a_strangers_lease_is_shown_and_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(tmp_path)
    (folder / PROGRESS).unlink()
    lease(folder, host="\x1b[2Jhost", pid="x", processes="", command="rm -rf 'x")
    os.utime(folder / "lease.json", (0, 0))
    status, text = said(capsys, folder)
    assert status == 0
    assert "\x1b" not in text
    assert "rm -rf" not in text
    (folder / "lease.json").write_text("{")
    assert seen(folder).state == "unknown"


def test_folders_of_earlier_versions_work(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, ROOT / "tests" / "earlier" / "search")
    assert status == 0
    assert "4 done, 0 failed, 0 pruned" in text
    assert "0.235 on the validation part" in text


# Elsewhere


def test_it_is_quick_as_it_imports_no_framework(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    code = (
        "import sys; from sweep.status.__main__ import main; status = main(sys.argv[1:]); "
        "print(status, *{'ray', 'keras', 'optuna', 'tensorflow', 'numpy', 'pyarrow', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "0"


def test_the_copy_at_a_storage_says_the_same(tmp_path: Path) -> None:
    from sweep.progress.live import LiveProgress, Scope
    from sweep.results.folder import lead

    out, shared = tmp_path / "out", tmp_path / "shared"
    out.mkdir()
    with lead(out, str(shared), print) as folder, LiveProgress(folder, Scope("grid", "lr", before=1)) as live:
        live.add([spec(1), spec(2)], ())
        folder.append(row(spec(0)), row(spec(1)))
        live.finished(row(spec(1)))
    here, there = as_json(seen(out)), as_json(seen(shared))
    assert there.pop("results") == str(shared)
    assert here.pop("results") == str(out)
    assert here["trials"]["total"] == 3
    for values in (here, there):
        values["driver"].pop("seconds_since_beat")
    assert here == there


@contextlib.contextmanager
def sleeping() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_watch_ends_with_the_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real process leads, and is killed while it is watched."""
    with sleeping() as pid:
        folder = sweep(tmp_path, pid=pid, processes=process_table())
        lease(folder, pid=pid)
        watch = subprocess.Popen(
            [sys.executable, "-m", "sweep.status", str(folder), "--watch", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert watch.stdout is not None
        with watch.stdout:
            assert json.loads(watch.stdout.readline())["state"] == "running"
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            states = [json.loads(line)["state"] for line in watch.stdout]
        assert watch.wait() == 3
        assert states[-1] == "gone"
        assert set(states[:-1]) <= {"running"}
