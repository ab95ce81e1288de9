"""What a user types, and what happens to its processes, to Ray's, and to what these leave when they are killed.

Each test starts the real command: of less, nothing could be killed. Where nothing starts: `test_run.py`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.run.__main__ import main as analyse
from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE, FAILED
from sweep.run import main
from sweep.scheduling.resources import Available, Resources
from tests.analysis.pictures import blank_pictures
from tests.cluster import faults
from tests.cluster.local import Sweep, here
from tests.cluster.witness import Account
from tests.galaxies import make_images, real_sample, real_weights, write_hdf5
from tests.sweep.sweeps import FROZEN, JOINED, ROOT, joining, quick, start, sweep, wait_for

pytestmark = pytest.mark.alone


def test_paper_grid_runs_end_to_end_and_a_rerun_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the quickstart writes it, on a Ray of its own; of the three networks the one that is quickest."""
    out = tmp_path / "paper"
    arguments = ("--grid", "paper", "--data", "simulated:60", *quick(1), "--set", "backbone=VGG16", "--out", str(out))
    first = sweep(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "60 simulated galaxies, not real ones" in first.stdout
    assert "Weights   random, as ImageNet weights were not found" in first.stdout
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

    with blank_pictures():
        assert analyse([str(out), "--out", str(tmp_path / "report")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "SIMULATED" in printed
    assert "ImageNet weights not found" in printed


@pytest.mark.rest
def test_real_galaxies_with_real_weights(tmp_path: Path, ray_address: str) -> None:
    """ResNet50's file is not among the test weights: its ImageNet row fails and names it; the others are there."""
    where = ("--data", real_sample(), "--weights-dir", real_weights(), "--out", tmp_path)
    done = sweep("--grid", "paper", *where, *quick(1), "--no-diagnostics", ray=ray_address)
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
def test_depths_and_learning_rates_share_what_is_frozen(galaxies_file: Path, tmp_path: Path, ray_address: str) -> None:
    """Six trials, two of them heads in one pass; the activations before each depth are computed once, and stay."""
    axes = ("--set", "unfrozen_blocks=0,1,2", "--set", "learning_rate=1e-3,1e-4")
    arguments = ("--data", galaxies_file, *quick(1), "--set", "backbone=VGG16", "--set", "weights=random")
    first = sweep(*arguments, *axes, "--out", tmp_path / "first", ray=ray_address)
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
def test_shards_train_beside_each_other_in_one_folder(galaxies_file: Path, tmp_path: Path, ray_address: str) -> None:
    """Each with Tune's files, Ray's log and rows of its own; by real trials, as each driver is one of Ray's."""
    arguments = (
        "--data",
        galaxies_file,
        "--out",
        tmp_path,
        *quick(1),
        *FROZEN,
        "--seeds",
        "2",
        "--cpus-per-trial",
        "1",
    )
    shards = [
        start(tmp_path / f"{k}.log", *arguments, "--shard", f"{k}/2", ray=ray_address)  # both at the same time
        for k in (1, 2)
    ]
    assert [shard.wait(550) for shard in shards] == [0, 0], (tmp_path / "1.log").read_text()
    rows = read_results(tmp_path)
    assert (sorted(row.spec.seed for row in rows.results), rows.problems) == ([0, 1], ())
    for k in (1, 2):
        home = tmp_path / f"shard-{k}-of-2"
        assert len(list((home / "ray").glob("*/*/result.json"))) == 1
        assert (home / "trials.jsonl").read_text().count("\n") == 1
    assert len(list((tmp_path / "models").glob("*.npz"))) == 2  # without a validation part none is the best
    assert not (tmp_path / "trials.jsonl").exists()
    again = sweep(*arguments, "--shard", "2/3", ray=ray_address)
    assert again.returncode == 0
    assert "0 to run" in again.stdout


@pytest.mark.rest
def test_trial_that_runs_out_of_memory_is_a_failed_row(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Ray of its own, which is short of memory."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")  # above it Ray kills workers: at once, here
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "200")
    done = sweep("--data", galaxies_file, "--out", tmp_path, *quick(1000), *FROZEN)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"FAILED    VGG16, random, frozen: (out of memory|.* want of memory)", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert [row.status for row in read_results(tmp_path).results] == [FAILED]


# Interruptions


@dataclass
class Interrupted:
    """A sweep that was interrupted three times, and what was seen of that."""

    sweep: Sweep
    accounts: list[Account]
    """After its worker, and after its driver was killed."""
    in_the_cache: list[dict[Path, bytes]]
    """Before that was damaged, and at the end."""
    second: tuple[int, str] = (0, "")
    """The status of another driver that came meanwhile, and what it said."""
    statuses: tuple[int, ...] = ()
    """After Ctrl-C, and at the end."""


@pytest.fixture(scope="module")
def interrupted(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    """Two networks, and two heads that a worker trains in one pass; of each, one diverges.

    While the first network is trained, its worker is killed; then the driver, and what lies on its disks is damaged;
    and the next is stopped by Ctrl-C."""
    place = tmp_path_factory.mktemp("interrupted")
    galaxies = write_hdf5(place / "galaxies.h5", images=make_images(seed=1))
    arguments = (*JOINED, "--cpus-per-trial", "2", "--set", "backbone=VGG16", "--set", "optimizer=sgd")
    arguments += ("--set", "learning_rate=1e-3,1e38")
    sizes = {"head_epochs": 5, "epochs": 24, "networks": 1}  # what takes longest begins
    sweep = Sweep(place / "sweep", galaxies, arguments, functools.partial(here, ray=ray_address), sizes)
    before, seen = cached().keys(), Interrupted(sweep, [], [])
    sweep.hold_back(0.3)
    try:
        sweep.start()
        sweep.wait_for_epochs(3)
        os.kill(sweep.workers()[-1], signal.SIGKILL)
        sweep.wait_for_interruption(0)
        seen.accounts.append(sweep.seen())
        sweep.wait_for_epochs(2)
        sweep.kill_driver()
        own = {path: content for path, content in cached().items() if path not in before}
        for path in own:
            (faults.flip_bytes if path.name == "images.npy" else faults.truncate)(path, random.Random(0))
        assert list((sweep.out / "ray").glob("*/experiment_state-*.json"))
        faults.damage_tune_state(sweep.out, "truncated")
        process = sweep.start()
        sweep.wait_for_interruption(1)
        seen.accounts.append(sweep.seen())
        seen.second = said_by_main("--data", galaxies, "--out", sweep.out, "--address", "127.0.0.1:9")
        sweep.wait_for_epochs(2)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(400)
        wait_for(lambda: not any(Path(f"/proc/{one}").exists() for one in sweep.workers()), "the workers to end")
        sweep.let_go()
        seen.statuses = (process.returncode, sweep.finish())
        seen.in_the_cache += [own, {path: content for path, content in cached().items() if path in own}]
        yield seen
    finally:
        sweep.end()


def cached() -> dict[Path, bytes]:
    """The images and activations in this node's cache."""
    return {path: path.read_bytes() for path in Path(os.environ["GALAXYTL_CACHE_DIR"]).glob("*/*/[ai]*.npy")}


def said_by_main(*arguments: object) -> tuple[int, str]:
    """The status of a command in this process, which starts nothing, and what it says."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        return main(list(map(str, arguments))), said.getvalue()


def statuses(out: Path) -> list[str]:
    return [row.status for row in read_results(out).results]


def test_killed_workers_and_drivers_lose_no_row_and_no_epoch_whatever_became_of_tunes_folder(
    interrupted: Interrupted,
) -> None:
    """But for the epoch that was under way: it would be a violation if a finished one had been repeated."""
    assert [(seen.interruptions, seen.resumed, seen.violations) for seen in interrupted.accounts] == [
        (1, 1, []),
        (2, 2, []),
    ]
    assert "its worker died; it goes on from its last epoch" in interrupted.sweep.log.read_text()


def test_what_was_damaged_in_the_cache_meanwhile_is_made_anew(interrupted: Interrupted) -> None:
    before, after = interrupted.in_the_cache
    restored = [path.name for path in before if after[path] == before[path]]
    assert sorted(restored) == ["activations.npy", "images.npy"]


def test_second_sweep_on_the_same_folder_is_refused(interrupted: Interrupted) -> None:
    status, said = interrupted.second
    assert status == 2
    out = interrupted.sweep.out
    assert f"one driver at a time may write to a results folder; {out} is led by process" in said


def test_ctrl_c_stops_it_and_the_same_command_ends_as_if_nothing_had_been(interrupted: Interrupted) -> None:
    """Every epoch of every trial once, and a row of each that diverges too."""
    seen, out, said = interrupted.sweep.seen(), interrupted.sweep.out, interrupted.sweep.log.read_text()
    assert interrupted.statuses == (130, 1)
    assert "The same command again continues" in said
    assert (seen.interruptions, seen.resumed, seen.violations) == (3, 3, [])
    assert sorted(statuses(out)) == [COMPLETE] * 2 + [FAILED] * 2
    assert len((out / "trials.jsonl").read_text().splitlines()) == 4
    rows = read_results(out).results
    assert sum(len(row.resumed_after) for row in rows) >= 3
    complete = {row.trial_id for row in rows if row.status == COMPLETE}
    assert not complete & {path.stem for path in (out / "checkpoints").glob("*")}
    assert "Traceback" not in said


DRIVER = """
import sys, time
from pathlib import Path
from galaxytl.system.command import run_command
from sweep.scheduling.cluster import cluster

def story():
    with cluster("auto", Path(sys.argv[1])):
        print("connected", flush=True)
        while True:
            time.sleep(0.1)  # as Tune looks whether there is something to do

sys.exit(run_command(story, stopped="Stopped."))
"""
"""What is connected to Ray, whose own handlers of signals end the process at once, and print a stack."""


def test_a_scheduler_stops_a_driver_as_ctrl_c_does(tmp_path: Path, ray_address: str) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "log")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=joining(ray_address), **pipes) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == b"connected\n"
        driver.send_signal(signal.SIGTERM)
        _, said = driver.communicate()
    assert (driver.returncode, said) == (143, b"\nStopped.\n")


def test_failed_trials_are_rows_and_are_tried_again_only_on_request(
    interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process plans and does not connect to Ray: to do that for a second time in one has hung, within Ray."""
    monkeypatch.setattr("sweep.prepare._nodes_at", lambda *_: Available((Resources(2.0, 0.0),)))
    told, command = interrupted.sweep.log.read_text(), interrupted.sweep.options()
    assert re.search(r"FAILED    (2 trials|VGG16, random, frozen, learning_rate .*): diverged: the loss became", told)
    assert "2 of 4 trials complete, 2 failed" in told
    status, said = said_by_main(*command)
    assert status == 1
    assert "Trials    4: 2 finished, 2 failed, 0 to run" in said
    assert "--retry-failed" in said
    _, said = said_by_main(*command, "--retry-failed", "--dry-run")
    assert "Trials    4: 2 finished, 0 failed, 2 to run" in said


@pytest.mark.rest
def test_full_results_folder_stops_the_sweep_and_the_same_command_goes_on(
    galaxies_file: Path, tmp_path: Path, small_disk: Path, ray_address: str
) -> None:
    """The disk fills while trials run. Checkpoints stay as they are and training goes on, until what it ends with does
    not fit: that is no failure of a trial's."""
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)  # a network's checkpoint takes 13 MB
    launch = functools.partial(here, ray=ray_address)
    sizes = {"head_epochs": 200, "epochs": 30, "networks": 1}
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
