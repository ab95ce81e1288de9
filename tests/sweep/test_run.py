"""What a user types, and what happens when it is interrupted or wrong.

Sweeps start the real command: what is promised of it is of its process, of Ray's, and of what these leave when killed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from galaxytl.results import read_results
from galaxytl.training import Workplace
from galaxytl.trial import COMPLETE, FAILED, SpecError, TrialResult
from sweep import cluster, lease
from sweep.options import UsageError, parse
from sweep.prepare import LOG
from sweep.run import main
from sweep.schedule import Reporter, Where, Work
from tests.cluster import faults
from tests.cluster.local import Sweep, here
from tests.cluster.witness import Account
from tests.galaxies import make_images, real_sample, real_weights, write_hdf5
from tests.sweep.sweeps import JOINED, QUICK, ROOT, sweep, wait_for

FROZEN = ("--set", "backbone=VGG16", "--set", "weights=random", "--set", "unfrozen_blocks=0")


@pytest.mark.alone
def test_paper_grid_runs_end_to_end_and_a_rerun_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As README writes it, on a Ray of its own; of the three networks the one that is quickest."""
    out = tmp_path / "paper"
    only = ("--set", "num_epochs=1", "--set", "backbone=VGG16")
    arguments = ("--grid", "paper", "--data", "simulated:60", *QUICK, *only, "--out", str(out))
    first = sweep(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "60 simulated galaxies, not real ones" in first.stdout
    assert "VGG16: random (ImageNet weights not found" in first.stdout
    assert "2 of 2 trials complete, 0 failed" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    rows = read_results(out)
    assert [row.status for row in rows.results] == [COMPLETE] * 2
    assert sorted(str(row.spec.unfrozen_blocks) for row in rows.results) == ["0", "all"]
    assert [row.spec.is_substituted for row in rows.results].count(True) == 1
    assert len(list((out / "probabilities").glob("*.parquet"))) == 2
    assert not list((out / "checkpoints").glob("*"))
    assert len(list((out / "ray").glob("*/*/result.json"))) == 2

    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "Trials    2: 2 finished, 0 failed, 0 to run" in printed
    assert "Starting Ray" not in printed
    assert read_results(out).results == rows.results

    analysis = [sys.executable, "-m", "analysis.run", str(out), "--out", str(tmp_path / "report")]
    report = subprocess.run(analysis, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stderr
    assert "SIMULATED" in report.stdout
    assert "ImageNet weights not found" in report.stdout


@pytest.mark.rest
@pytest.mark.alone
def test_real_galaxies_with_real_weights(tmp_path: Path, ray_address: str) -> None:
    """ResNet50's file is not among the test weights: its ImageNet row fails and names it; the others are there."""
    where = ("--data", real_sample(), "--weights-dir", real_weights(), "--out", tmp_path)
    done = sweep("--grid", "paper", *where, *QUICK, "--set", "num_epochs=1", "--no-diagnostics", ray=ray_address)
    assert done.returncode == 1, done.stderr
    assert "5 of 6 trials complete, 1 failed" in done.stdout
    rows = {(row.spec.backbone, row.spec.weights): row for row in read_results(tmp_path).results}
    failed = rows["ResNet50", "imagenet"]
    assert failed.status == FAILED
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in failed.message
    for name in ("MobileNet", "VGG16"):
        assert rows[name, "imagenet"].spec.weights_fingerprint
        assert rows[name, "imagenet"].spec.weights_label == "ImageNet"


@pytest.mark.rest
@pytest.mark.alone
def test_depths_and_learning_rates_share_what_is_frozen(galaxies_file: Path, tmp_path: Path, ray_address: str) -> None:
    """Six trials, two of them heads in one pass; the activations before each depth are computed once, and stay."""
    axes = ("--set", "unfrozen_blocks=0,1,2", "--set", "learning_rate=1e-3,1e-4")
    arguments = ("--data", galaxies_file, *QUICK, *FROZEN, "--set", "num_epochs=1", *axes)
    first = sweep(*arguments, "--out", tmp_path / "first", ray=ray_address)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "VGG16, random, 2 blocks trained, learning_rate 0.001: COMPLETE" in first.stdout
    estimated, happened = re.search(r"stored activations +([\d.]+ \w) +([\d.]+ \w)", first.stdout).groups()  # type: ignore[union-attr]
    assert estimated == happened
    rows = read_results(tmp_path / "first").results
    assert sorted(row.num_fused for row in rows) == [1, 1, 1, 1, 2, 2]
    assert sum(row.multiply_adds.get("features", 0) > 0 for row in rows) <= 4  # of heads, both have a share
    few = ("--set", "unfrozen_blocks=0,1", "--set", "learning_rate=1e-3")
    again = sweep(*arguments, *few, "--out", tmp_path / "again", ray=ray_address)
    others = read_results(tmp_path / "again").results
    assert [("features" in row.multiply_adds, row.status) for row in others] == [(False, COMPLETE)] * 2, again.stdout


@pytest.mark.rest
@pytest.mark.alone
def test_trial_that_runs_out_of_memory_is_a_failed_row(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Ray of its own, which is short of memory."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")  # above it Ray kills workers: at once, here
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "200")
    done = sweep("--data", galaxies_file, "--out", tmp_path, *QUICK, *FROZEN, "--set", "num_epochs=1000")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"FAILED    VGG16, random, frozen: (out of memory|.* want of memory)", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert [row.status for row in read_results(tmp_path).results] == [FAILED]


# Interruptions


def cached() -> dict[Path, bytes]:
    """The images and activations in this node's cache."""
    return {path: path.read_bytes() for path in Path(os.environ["GALAXYTL_CACHE_DIR"]).glob("*/*/[ai]*.npy")}


def said_by_main(*arguments: object) -> tuple[int, str]:
    """What a command says in this process, and its status: one that starts nothing."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        return main(list(map(str, arguments))), said.getvalue()


@dataclass
class Interrupted:
    """A sweep that was interrupted three times, and what was seen of each."""

    sweep: Sweep
    after_worker: Account = field(default_factory=Account)
    after_driver: Account = field(default_factory=Account)
    """When it had gone on."""
    in_the_cache: tuple[dict[Path, bytes], ...] = ()
    """Before its cache was damaged, and at the end."""
    second: tuple[int, str] = (0, "")
    """What another driver said that came meanwhile."""
    stopped: int = 0
    """The status after Ctrl-C."""
    finished: int = 0
    """That of the last start."""


@pytest.fixture(scope="module")
def interrupted(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Two networks, and two heads that a worker trains in one pass; of each, one diverges.

    While the first network is trained, its worker is killed; then the driver, and what lies on its disks is damaged.
    Its successor is stopped by Ctrl-C while it trains the heads."""
    place = tmp_path_factory.mktemp("interrupted")
    galaxies = write_hdf5(place / "galaxies.h5", images=make_images(seed=1))
    arguments = (*JOINED, "--cpus-per-trial", "2", "--set", "optimizer=sgd", "--set", "learning_rate=1e-3,1e38")
    launch = functools.partial(here, ray=ray_address)
    sizes = {"head_epochs": 60, "epochs": 30, "networks": 1}
    seen = Interrupted(Sweep(place / "sweep", galaxies, arguments, launch, sizes))
    before = cached().keys()
    seen.sweep.hold_back(0.2)
    try:
        seen.sweep.start()
        seen.sweep.wait_for_epochs(4)
        os.kill(seen.sweep.workers()[-1], signal.SIGKILL)
        seen.sweep.wait_for_interruption(0)
        seen.after_worker = seen.sweep.seen()
        seen.sweep.wait_for_epochs(3)
        seen.sweep.kill_driver()
        own = {path: content for path, content in cached().items() if path not in before}
        for path in own:
            (faults.flip_bytes if path.name == "images.npy" else faults.truncate)(path, random.Random(0))
        assert list((seen.sweep.out / "ray").glob("*/experiment_state-*.json"))
        faults.damage_tune_state(seen.sweep.out, "truncated")
        seen.sweep.start()
        seen.sweep.wait_for_interruption(1)
        seen.after_driver = seen.sweep.seen()
        seen.second = said_by_main("--data", galaxies, "--out", seen.sweep.out, "--address", "127.0.0.1:9")
        wait_for(lambda: COMPLETE in statuses(seen.sweep.out), "the network")
        seen.sweep.wait_for_epochs(5)
        assert seen.sweep.process
        os.killpg(seen.sweep.process.pid, signal.SIGINT)
        seen.stopped = seen.sweep.process.wait(400)
        wait_for(lambda: not any(map(is_alive, seen.sweep.workers())), "the workers to end")
        seen.sweep.let_go()
        seen.finished = seen.sweep.finish()
        seen.in_the_cache = own, {path: content for path, content in cached().items() if path in own}
    finally:
        seen.sweep.end()
    return seen


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def statuses(out: Path) -> list[str]:
    return [row.status for row in read_results(out).results]


@pytest.mark.alone
def test_a_killed_worker_goes_on_from_its_last_epoch(interrupted: Interrupted) -> None:
    seen = interrupted.after_worker
    assert (seen.interruptions, seen.resumed) == (1, 1)
    assert seen.repeated <= 1  # the epoch that was under way
    assert seen.violations == []
    assert "its worker died; it goes on from its last epoch" in interrupted.sweep.log.read_text()


@pytest.mark.alone
def test_a_killed_driver_loses_no_row_and_no_epoch_whatever_became_of_tunes_folder(interrupted: Interrupted) -> None:
    seen = interrupted.after_driver
    assert (seen.interruptions, seen.resumed) == (2, 2)
    assert seen.violations == []


@pytest.mark.alone
def test_what_was_damaged_in_the_cache_meanwhile_is_made_anew(interrupted: Interrupted) -> None:
    before, after = interrupted.in_the_cache
    restored = [path.name for path in before if after[path] == before[path]]
    assert sorted(restored) == ["activations.npy", "images.npy"]


@pytest.mark.alone
def test_second_sweep_on_the_same_folder_is_refused(interrupted: Interrupted) -> None:
    status, said = interrupted.second
    assert status == 2
    out = interrupted.sweep.out
    assert f"one driver at a time may write to a results folder; {out} is led by process" in said


@pytest.mark.alone
def test_ctrl_c_stops_it_and_says_how_to_go_on(interrupted: Interrupted) -> None:
    assert interrupted.stopped == 130
    assert "The same command again continues" in interrupted.sweep.log.read_text()


@pytest.mark.alone
def test_an_interrupted_sweep_ends_as_if_nothing_had_been(interrupted: Interrupted) -> None:
    """Every epoch of every trial once, of those that diverge too."""
    seen, out = interrupted.sweep.seen(), interrupted.sweep.out
    assert interrupted.finished == 1
    assert (seen.interruptions, seen.resumed, seen.violations) == (3, 3, [])
    assert sorted(statuses(out)) == [COMPLETE] * 2 + [FAILED] * 2
    assert sum(len(row.resumed_after) for row in read_results(out).results) >= 3
    assert len((out / "trials.jsonl").read_text().splitlines()) == 4
    complete = {row.trial_id for row in read_results(out).results if row.status == COMPLETE}
    assert not complete & {path.stem for path in (out / "checkpoints").glob("*")}
    assert "Traceback" not in interrupted.sweep.log.read_text()


@pytest.mark.alone
def test_failed_trials_are_rows_and_are_tried_again_only_on_request(interrupted: Interrupted) -> None:
    told = interrupted.sweep.log.read_text()
    assert "FAILED    MobileNet, random, frozen: diverged: the loss became" in told
    assert "2 of 4 trials complete, 2 failed" in told
    command = interrupted.sweep.options()
    status, said = said_by_main(*command)
    assert status == 1
    assert "Trials    4: 2 finished, 2 failed, 0 to run" in said
    assert "--retry-failed" in said
    _, said = said_by_main(*command, "--retry-failed", "--dry-run")
    assert "Trials    4: 2 finished, 0 failed, 2 to run" in said


@pytest.mark.rest
@pytest.mark.alone
def test_full_results_folder_stops_the_sweep_and_the_same_command_goes_on(
    galaxies_file: Path, tmp_path: Path, small_disk: Path, ray_address: str
) -> None:
    """The disk fills while trials run. Checkpoints stay as they are and training goes on, until what it ends with does
    not fit: that is no failure of a trial's."""
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)  # a network's checkpoint takes 13 MB
    launch = functools.partial(here, ray=ray_address)
    sizes = {"head_epochs": 200, "epochs": 30, "networks": 2}
    sweep = Sweep(tmp_path / "sweep", galaxies_file, JOINED, launch, sizes, disk=small_disk)
    try:
        process = sweep.start()
        sweep.wait_for_epochs(15)
        while process.poll() is None:
            faults.fill(small_disk)  # a checkpoint that was half written leaves room
            time.sleep(0.2)
        assert process.poll() == 2
        assert "No space left on device" in sweep.said()
        assert "make room, and the same command goes on" in sweep.said()
        assert read_results(sweep.out).problems == ()
        faults.free(small_disk)
        assert sweep.finish() == 0, sweep.said()
        seen = sweep.seen()
        assert (seen.rows, seen.failed) == (sweep.num_trials, {})
        assert seen.resumed >= 1
    finally:
        sweep.end()


def test_a_grid_whose_folder_another_driver_took_over_writes_no_row(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = json.dumps({"owner": "another", "host": "elsewhere", "pid": 7})

    def run_trials(work: Work, workplace: Workplace, where: Where, reporter: Reporter) -> None:
        """As Ray Tune, whose first trial ends when this driver has been cut off from the folder for long."""
        for _ in range(3):  # the first may be overwritten by a beat that is under way
            (tmp_path / "lease.json").write_text(taken)
            time.sleep(0.3)
        group = next(work.groups)
        assert group
        reporter.finished(TrialResult(spec=group.specs[0], status=FAILED))

    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr("sweep.schedule.run_trials", run_trials)
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), *QUICK, *FROZEN]) == 2
    assert f"process 7 on elsewhere has taken {tmp_path} over, as this one was suspended" in capsys.readouterr().err
    assert read_results(tmp_path).results == ()
    assert (tmp_path / "lease.json").read_text() == taken


# What stops before it starts


def test_dry_run_says_what_it_would_do_and_does_nothing(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ("--set", "learning_rate=1e-1,1e-2,1e-3,1e-4")
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), *QUICK, *FROZEN, *rates, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "Trials    4: 0 finished, 0 failed, 4 to run" in printed
    assert "Plan: 4 trials in 1 group" in printed
    assert "Stored activations: 1 prefix" in printed
    assert "without sharing" in printed
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--grid papper", "like my_grid.yaml; got 'papper'. Did you mean 'paper'?"),
        ("--grid my_grid.yaml", "my_grid.yaml: --grid must be a grid's name or a YAML file that can be read; No such"),
        ("--profile labtop", "Did you mean 'laptop'?"),
        ("--gird paper", "unknown option '--gird'. Did you mean '--grid'?"),
        ("--set learning_rat=1", "Did you mean 'learning_rate'?"),
        ("--set learning_rate", "--set takes FIELD=VALUE"),
        ("--set learning_rate=1e-3,,1e-4", "learning_rate must be a number; got ''"),
        ("--set unfrozen_blocks=-1", "unfrozen_blocks must be 0 (train the head only), a whole number, or all"),
        ("--seeds", "expected one argument"),
        ("--seeds 0", "must be a whole number from 1 to 10000; got '0'"),
        ("--weights-dir /nowhere", "--weights-dir must be a folder; got /nowhere"),
        ("--cpus-per-trial many", "must be a number from 0 to 1024"),
        ("--gpus-per-trial 1.5", "must be a fraction of one GPU, or a whole number of them; got '1.5'"),
        ("--trials-per-gpu 65", "must be a whole number from 1 to 64; got '65'"),
        ("--trials-per-gpu 2 --gpus-per-trial 0.5", "not allowed with argument --trials-per-gpu"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: str, message: str) -> None:
    with pytest.raises((UsageError, SpecError), match=re.escape(message)):
        parse(arguments.split(), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--gird paper", "unknown option '--gird'. Did you mean '--grid'?"),
        ("--set dataset=mine", "got 'dataset', which a sweep finds out"),
        ("--seeds 10000", "a grid of more than 10,000 trials wants --yes; paper has 20,000"),
        ("--set image_size=8", "image_size must be at least 32"),
        ("--out /proc/results", "--out must be a folder that can be written to; got /proc/results"),
        ("--data /nowhere.h5", "/nowhere.h5 does not exist"),
        ("--set unfrozen_blocks=6 --data GALAXIES", "5 for VGG16; got 6"),
        ("--set momentum=0.9 --data GALAXIES", "momentum is a setting of sgd and rmsprop"),
        ("--profile laptop --data GALAXIES --address 127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_bad_input_is_said_in_one_line_and_nothing_is_written(
    arguments: str, message: str, galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = arguments.replace("GALAXIES", str(galaxies_file)).split()
    assert main(["--out", str(tmp_path), "--set", "backbone=VGG16", *asked]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "trials.jsonl").exists()
    assert not (tmp_path / LOG).exists()  # Ray, which would wait for minutes, was not asked


def test_address_where_something_else_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEALTH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:  # it takes the call, and says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(cluster.ClusterError, match="no Ray cluster answers"),
            cluster.cluster(address, tmp_path / LOG),
        ):
            pass
    assert not (tmp_path / LOG).exists()


def test_bad_dataset_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_hdf5(tmp_path / "bad.h5", ans=None)
    assert main(["--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "'ans' is missing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_half_written_row_is_said_and_its_trial_runs_again(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.jsonl").write_text(json.dumps({"schema": 1, "trial_id": "0"})[:-5])
    monkeypatch.setattr("sweep.run.schedule_trials", lambda *arguments: None)  # what would run is all that matters
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), *QUICK, *FROZEN]) == 1
    printed = capsys.readouterr().out
    assert "line 1 (half-written) was left out" in printed
    assert "1 to run" in printed
