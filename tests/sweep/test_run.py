"""What a user types, and what happens when it is interrupted or wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from galaxytl.results import read_results
from galaxytl.training import Workplace
from galaxytl.trial import COMPLETE, FAILED, TrialResult
from sweep import lease
from sweep.prepare import LOG
from sweep.run import main
from sweep.schedule import Reporter, Where, Work
from tests.galaxies import real_sample, real_weights, write_hdf5
from tests.sweep.sweeps import QUICK, ROOT, ray_workers, start, sweep, wait_for


@pytest.mark.slow
def test_paper_grid_runs_end_to_end_and_a_rerun_trains_nothing(tmp_path: Path) -> None:
    out = tmp_path / "paper"
    arguments = ("--grid", "paper", "--data", "simulated:60", *QUICK, "--set", "num_epochs=1", "--out", out)
    first = sweep(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "60 simulated galaxies, not real ones" in first.stdout
    assert "VGG16: random (ImageNet weights not found" in first.stdout
    assert "6 of 6 trials complete, 0 failed" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    rows = read_results(out)
    assert [row.status for row in rows.results] == [COMPLETE] * 6
    assert sum(row.spec.is_substituted for row in rows.results) == 3
    assert len(list((out / "probabilities").glob("*.parquet"))) == 6
    assert not list((out / "checkpoints").glob("*"))
    assert len(list((out / "ray").glob("*/*/result.json"))) == 6

    again = sweep(*arguments)
    assert again.returncode == 0
    assert "Trials    6: 6 finished, 0 failed, 0 to run" in again.stdout
    assert "Starting Ray" not in again.stdout
    assert read_results(out).results == rows.results

    analysis = [sys.executable, "-m", "analysis.run", str(out), "--out", str(tmp_path / "report")]
    report = subprocess.run(analysis, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stderr
    assert "SIMULATED" in report.stdout
    assert "ImageNet weights not found" in report.stdout


FROZEN = ("--set", "backbone=MobileNet", "--set", "weights=random", "--set", "unfrozen_blocks=0")


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


@pytest.mark.slow
def test_depths_and_learning_rates_share_what_is_frozen(galaxies_file: Path, tmp_path: Path) -> None:
    """Six trials, two of them heads in one pass; the activations before each depth are computed once, and stay."""
    axes = ("--set", "unfrozen_blocks=0,1,2", "--set", "learning_rate=1e-3,1e-4", "--set", "image_size=64")
    arguments = ("--data", galaxies_file, *QUICK, *FROZEN, *axes)
    first = sweep(*arguments, "--out", tmp_path / "first")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "MobileNet, random, 2 blocks trained, learning_rate 0.001: COMPLETE" in first.stdout
    estimated, happened = re.search(r"stored activations +([\d.]+ \w) +([\d.]+ \w)", first.stdout).groups()  # type: ignore[union-attr]
    assert estimated == happened
    rows = read_results(tmp_path / "first").results
    assert sorted(row.num_fused for row in rows) == [1, 1, 1, 1, 2, 2]
    assert sum(row.multiply_adds.get("features", 0) > 0 for row in rows) <= 4  # of heads, both have a share
    again = sweep(*arguments, "--out", tmp_path / "again")
    assert all("features" not in row.multiply_adds for row in read_results(tmp_path / "again").results), again.stdout


class Loaded:
    """As a pickle, a program that makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def spoil_tunes_folder(folder: Path, mark: Path) -> None:
    """Its states truncated, lost, and of another experiment; whoever loads a pickle of them makes the file `mark`."""
    states = sorted(folder.glob("*/experiment_state-*.json"))
    assert states
    for path in states:
        text = path.read_text()
        path.write_text(text[: len(text) // 2])
        path.with_name("experiment_state-2099-01-01_00-00-00.json").write_text('{"trial_data": [], "runner_data": {}}')
    assert list(folder.glob("*/tuner.pkl"))
    for path in folder.glob("*/*.pkl"):
        path.write_bytes(pickle.dumps(Loaded(mark)))
    for path in folder.glob("*/*/result.json"):
        path.unlink()


@pytest.mark.slow
def test_killed_driver_loses_no_finished_trial_and_no_epoch_whatever_became_of_tunes_folder(
    galaxies_file: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    settings = (*QUICK, "--set", "backbone=MobileNet", "--set", "weights=random", "--set", "num_epochs=60")
    arguments = ("--data", galaxies_file, "--out", out, *settings, "--cpus-per-trial", os.cpu_count())
    process = start(log, *arguments)
    wait_for(lambda: re.search(r"all layers trained: epoch ([3-9]|\d\d)/60:", log.read_text()), "three epochs")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    epochs = int(re.findall(r"epoch (\d+)/60:", log.read_text())[-1])
    assert read_results(out).results == ()
    spoil_tunes_folder(out / "ray", tmp_path / "loaded")
    second = sweep(*arguments, "--set", "num_epochs=60")
    assert second.returncode == 0, second.stdout + second.stderr
    trained = [int(n) for n in re.findall(r"all layers trained: epoch (\d+)/60:", second.stdout)]
    assert trained[0] > epochs - 1 >= 2
    assert trained[-1] == 60
    assert not (tmp_path / "loaded").exists()
    assert [row.status for row in read_results(out).results] == [COMPLETE] * 2


@pytest.mark.slow
def test_killed_worker_goes_on_from_its_last_epoch(galaxies_file: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    settings = (*QUICK, "--set", "backbone=MobileNet", "--set", "unfrozen_blocks=all", "--set", "weights=random")
    process = start(log, "--data", galaxies_file, "--out", out, *settings, "--set", "num_epochs=40")
    wait_for(lambda: re.search(r"epoch [3-9]/40:", log.read_text()), "three epochs")
    workers = ray_workers(process.pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=180) == 0, log.read_text()
    epochs = [int(n) for n in re.findall(r"epoch (\d+)/40:", log.read_text())]
    assert max(epochs.count(n) for n in set(epochs)) <= 2  # at most the epoch that was under way is repeated
    (result,) = read_results(out).results
    assert [int(epoch["epoch"]) for epoch in result.history] == list(range(1, 41))
    assert "Traceback" not in log.read_text()
    assert len(epochs) <= 42
    assert [row.status for row in read_results(out).results] == [COMPLETE]


@pytest.mark.slow
def test_ctrl_c_stops_within_seconds_and_says_how_to_go_on(galaxies_file: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(log, "--data", galaxies_file, "--out", out, *QUICK, "--set", "num_epochs=500")
    wait_for(lambda: "epoch 1/500" in log.read_text(), "the first epoch")
    workers = ray_workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130  # 10 s where nothing else runs; 500 epochs take minutes
    assert "The same command again continues" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert workers
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "the workers to end")


@pytest.mark.slow
def test_second_sweep_on_the_same_folder_is_refused(galaxies_file: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    process = start(log, "--data", galaxies_file, "--out", out, *QUICK, "--set", "num_epochs=500")
    try:
        wait_for(lambda: "Starting Ray" in log.read_text(), "the first sweep")
        second = sweep("--data", galaxies_file, "--out", out, *QUICK)
        assert second.returncode == 2
        assert f"one driver at a time may write to a results folder; {out} is led by process" in second.stderr
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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


@pytest.mark.slow
def test_failed_trials_are_rows_and_are_tried_again_only_on_request(galaxies_file: Path, tmp_path: Path) -> None:
    wild = ("--set", "optimizer=sgd", "--set", "learning_rate=1e38")
    arguments = ("--data", galaxies_file, "--out", tmp_path, *QUICK, *FROZEN, *wild)
    first = sweep(*arguments)
    assert first.returncode == 1
    assert "FAILED    MobileNet, random, frozen: diverged: the loss became" in first.stdout
    second = sweep(*arguments)
    assert "1 failed, 0 to run" in second.stdout
    assert "--retry-failed" in second.stdout
    third = sweep(*arguments, "--retry-failed")
    assert "0 failed, 1 to run" in third.stdout
    assert [row.status for row in read_results(tmp_path).results] == [FAILED]


@pytest.mark.slow
def test_trial_that_runs_out_of_memory_is_a_failed_row(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")  # above it Ray kills workers: at once, here
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "200")
    done = sweep("--data", galaxies_file, "--out", tmp_path, *QUICK, *FROZEN, "--set", "num_epochs=1000")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"FAILED    MobileNet, random, frozen: (out of memory|.* want of memory)", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert [row.status for row in read_results(tmp_path).results] == [FAILED]


@pytest.mark.slow
def test_real_galaxies_with_real_weights(tmp_path: Path) -> None:
    """ResNet50's file is not among the test weights: its ImageNet row fails and names it; the others are there."""
    weights = real_weights()
    done = sweep("--data", real_sample(), "--weights-dir", weights, "--out", tmp_path, *QUICK)
    assert done.returncode == 1, done.stderr
    assert "5 of 6 trials complete, 1 failed" in done.stdout
    rows = {(row.spec.backbone, row.spec.weights): row for row in read_results(tmp_path).results}
    failed = rows["ResNet50", "imagenet"]
    assert failed.status == FAILED
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in failed.message
    for name in ("MobileNet", "VGG16"):
        assert rows[name, "imagenet"].spec.weights_fingerprint
        assert rows[name, "imagenet"].spec.weights_label == "ImageNet"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "papper"], "like my_grid.yaml; got 'papper'. Did you mean 'paper'?"),
        (
            ["--grid", "my_grid.yaml"],
            "my_grid.yaml: --grid must be a grid's name or a YAML file that can be read; No such",
        ),
        (["--set", "dataset=mine"], "got 'dataset', which a sweep finds out"),
        (["--seeds", "10000"], "a grid of more than 10,000 trials wants --yes; paper has 60,000"),
        (["--profile", "labtop"], "Did you mean 'laptop'?"),
        (["--gird", "paper"], "unknown option '--gird'. Did you mean '--grid'?"),
        (["--set", "learning_rat=1"], "Did you mean 'learning_rate'?"),
        (["--set", "learning_rate=fast"], "learning_rate must be a number; got 'fast'"),
        (["--set", "learning_rate"], "--set takes FIELD=VALUE"),
        (["--set", "backbone=ResNet5"], "Did you mean 'ResNet50'?"),
        (["--set", "image_size=8"], "image_size must be at least 32"),
        (["--seeds", "0"], "must be a whole number from 1 to 10000; got '0'"),
        (["--seeds"], "expected one argument"),
        (["--weights-dir", "/nowhere"], "--weights-dir must be a folder; got /nowhere"),
        (["--data", "/nowhere.h5"], "/nowhere.h5 does not exist"),
        (["--data", "simulated:2"], "30 to 1,000,000 images; got 2"),
        (["--out", "/proc/results"], "--out must be a folder that can be written to; got /proc/results"),
        (["--set", "unfrozen_blocks=6", "--set", "backbone=VGG16", "--data", "simulated:60"], "5 for VGG16; got 6"),
        (["--set", "unfrozen_blocks=-1"], "unfrozen_blocks must be 0 (train the head only), a whole number, or all"),
        (["--set", "learning_rate=1e-3,,1e-4"], "learning_rate must be a number; got ''"),
        (["--set", "momentum=0.9", "--data", "simulated:30"], "momentum is a setting of sgd and rmsprop"),
        (["--cpus-per-trial", "many"], "must be a number from 0 to 1024"),
        (["--gpus-per-trial", "1.5"], "must be a fraction of one GPU, or a whole number of them; got '1.5'"),
        (["--trials-per-gpu", "0.5"], "must be a whole number from 1 to 64; got '0.5'"),
        (["--trials-per-gpu", "2", "--gpus-per-trial", "0.5"], "not allowed with argument --trials-per-gpu"),
    ],
)
def test_bad_input_is_said_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path)]
    assert main([*arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_bad_dataset_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_hdf5(tmp_path / "bad.h5", ans=None)
    assert main(["--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "'ans' is missing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_address_where_nothing_answers(galaxies_file: Path, tmp_path: Path) -> None:
    done = sweep("--data", galaxies_file, "--out", tmp_path, "--profile", "laptop", "--address", "127.0.0.1:9")
    assert done.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr
    assert not (tmp_path / LOG).exists()  # Ray, which would wait for minutes, was not asked


def test_address_where_something_else_answers(galaxies_file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept() for _ in range(100)], daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        done = sweep("--data", galaxies_file, "--out", tmp_path, "--profile", "laptop", "--address", address)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no Ray cluster" in done.stderr
    assert not (tmp_path / LOG).exists()


def test_half_written_row_is_said_and_its_trial_runs_again(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.jsonl").write_text(json.dumps({"schema": 1, "trial_id": "0"})[:-5])
    monkeypatch.setattr("sweep.run.schedule_trials", lambda *arguments: None)  # what would run is all that matters
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), "--set", "weights=random"]) == 1
    printed = capsys.readouterr().out
    assert "line 1 (half-written) was left out" in printed
    assert "6 to run" in printed
