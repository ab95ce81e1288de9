"""Searches as a user starts them: real processes, real Ray, real Optuna, and SIGKILL."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from galaxytl.results import read_results
from galaxytl.selection import ranked
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult
from tests.sweep.search_driver import PAUSE
from tests.sweep.searches import RUNGS, STATES, accuracy, diverges, toy_trials
from tests.sweep.sweeps import ROOT, below, suspend_between_writes, sweep, wait_for

pytestmark = pytest.mark.usefixtures("databases_closed")


# A toy search, killed and started again


def toy(out: Path, *arguments: object, trials: int = 30) -> list[str]:
    """Of its first four suggestions, two diverge."""
    options = ["--search", "optuna", "--trials", trials, "--search-seed", 3, "--batch", 4, "--out", out]
    options += ["--cpus-per-trial", 1]
    return [sys.executable, "-m", "tests.sweep.search_driver", *map(str, [*options, *arguments])]


def run_toy(out: Path, *arguments: object, trials: int = 30) -> subprocess.CompletedProcess[str]:
    command = toy(out, *arguments, trials=trials)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The driver and all of Ray below it, at once."""
    processes = below(process.pid)
    for one in (process.pid, *processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()


def check_agreement(out: Path, number: int) -> dict[str, TrialResult]:
    """Every trial that was asked for has one row and one trial of Optuna's, and they say the same. The rows by id."""
    lines = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    assert max(Counter(line["trial_id"] for line in lines).values()) == 1
    rows = {r.trial_id: r for r in read_results(out).results if r.spec.scored_on == "validation"}
    asked = [trial for trial in toy_trials(out) if not trial.user_attrs.get("reaped")]
    assert [trial.user_attrs["trial_id"] for trial in asked if trial.user_attrs["trial_id"] not in rows] == []
    assert len(asked) == len({trial.user_attrs["trial_id"] for trial in asked}) == len(rows) == number
    for trial in asked:
        row = rows[trial.user_attrs["trial_id"]]
        assert trial.state == STATES[row.status]
        assert (row.status == FAILED) == diverges(row.spec)
        assert trial.user_attrs.get("reason", "") == row.message
        reached = [rung for rung in RUNGS if rung <= len(row.history)]
        assert trial.intermediate_values == {rung: accuracy(row.spec, rung) for rung in reached}
        if row.status == COMPLETE:
            assert trial.value == accuracy(row.spec, 10)
        if row.status == PRUNED:
            assert len(row.history) in RUNGS
    return rows


def run_and_kill(out: Path, log: Path, seconds: float, after_a_row: bool) -> str:
    """Start the search, kill it after `seconds`, perhaps of its next row; what it printed."""
    rows = len(read_results(out).results)
    with log.open("wb") as file:
        process = subprocess.Popen(toy(out), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0)
    try:
        if after_a_row:
            wait_for(lambda: len(read_results(out).results) > rows or process.poll() is not None, "a row")
        time.sleep(seconds)
        assert process.poll() is None, log.read_text()
    finally:
        kill(process)
    return log.read_text()


def hold_back(out: Path, seconds: float) -> None:
    """An epoch takes so long, until the file is removed."""
    out.mkdir(exist_ok=True)
    (out / "new").write_text(str(seconds))
    (out / "new").rename(out / PAUSE)  # whole: workers read it


def is_at_rest(out: Path) -> bool:
    """Whether for a second nothing was written that lasts."""
    before = ((out / "trials.jsonl").read_bytes(), toy_trials(out))
    time.sleep(1)
    return before == ((out / "trials.jsonl").read_bytes(), toy_trials(out))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_whose_driver_is_killed_ten_times_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    out, rng, left_running = tmp_path / "toy", random.Random(0), 0
    hold_back(out, 0.2)  # ten lives are too short for all of it
    for number in range(10):
        in_the_midst = number % 2 > 0  # else anywhere, also while it starts
        seconds = rng.uniform(0, 0.7) if in_the_midst else rng.uniform(0.5, 6)
        printed = run_and_kill(out, tmp_path / f"{number}.log", seconds, in_the_midst)
        assert "Traceback" not in printed
        left_running += Counter(trial.state for trial in toy_trials(out))[TrialState.RUNNING] if in_the_midst else 0
    assert left_running >= 5  # otherwise the kills were too kind
    assert len(read_results(out).results) < 30
    (out / PAUSE).unlink()

    done = run_toy(out)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = check_agreement(out, 30)
    assert {row.status for row in rows.values()} == {COMPLETE, PRUNED, FAILED}
    (tested,) = [row for row in read_results(out).results if row.spec.scored_on == "test"]
    assert tested.spec.replace(scored_on="validation") == ranked(rows.values())[0].spec
    assert not [trial for trial in toy_trials(out) if trial.state in (TrialState.RUNNING, TrialState.WAITING)]


@pytest.mark.slow
def test_a_driver_that_was_suspended_until_another_took_over_writes_nothing_more(tmp_path: Path) -> None:
    """Its workers go on meanwhile, so that there is what it would write."""
    out, log = tmp_path / "toy", tmp_path / "log"
    with log.open("wb") as file:
        first = subprocess.Popen(toy(out), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0)
    try:
        wait_for(lambda: len(read_results(out).results) >= 3 or first.poll() is not None, "rows")
        hold_back(out, 1000)
        wait_for(lambda: is_at_rest(out), "all workers to pause")
        suspend_between_writes(first.pid, out)
        (out / PAUSE).unlink()
        second = run_toy(out)
        assert second.returncode == 0, second.stdout + second.stderr
        assert (
            f"was led by process {first.pid} on {os.uname().nodename}: watching for 1.5 s whether it lives"
            in second.stdout
        )
        check_agreement(out, 30)
        before = ((out / "trials.jsonl").read_bytes(), toy_trials(out))
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait(timeout=400) == 2
    finally:
        kill(first)
    assert (out / "trials.jsonl").read_bytes() == before[0]
    assert toy_trials(out) == before[1]
    assert (
        "over, as this one was suspended or cut off for long. It stops here" in log.read_text()
    )  # the folder, or study
    assert "Traceback" not in log.read_text()


# The real thing


@pytest.mark.slow
def test_a_search_trains_chooses_tests_once_and_goes_on_with_more_trials(galaxies_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pinned = {"backbone": "VGG16", "weights": "random", "unfrozen_blocks": 0, "image_size": 32, "batch_size": 8}
    pinned |= {"num_epochs": 3, "validation_fraction": 0.5}
    settings = [part for name, value in pinned.items() for part in ("--set", f"{name}={value}")]
    arguments = ("--search", "optuna", "--batch", 3, "--data", galaxies_file, "--out", out, *settings)

    rehearsed = sweep(*arguments, "--trials", 6, "--dry-run")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "learning_rate@sgd        0.0001 to 0.1, logarithmic" in rehearsed.stdout
    assert rehearsed.stderr == ""
    assert not list(out.glob("[!.]*"))

    first = sweep(*arguments, "--trials", 6)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Search    6 trials by TPESampler, sweep.space:space; scheduler asha (after epochs 1)" in first.stdout
    assert "Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 6 to ask for" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    rows = read_results(out)
    assert rows.problems == ()
    own = [row for row in rows.results if row.spec.scored_on == "validation"]
    (tested,) = [row for row in rows.results if row.spec.scored_on == "test"]
    assert len(own) == 6
    assert tested.spec.replace(scored_on="validation") == ranked(own)[0].spec
    assert tested.history[:-1] == ranked(own)[0].history[:-1]  # seconds too: only the last epoch was trained again
    assert tested.history[-1] | {"seconds": 0} == ranked(own)[0].history[-1] | {"seconds": 0, "resumed": 1}
    assert {row.status for row in rows.results} <= {COMPLETE, PRUNED}
    assert {len(row.history) for row in own if row.status == PRUNED} <= {1}
    assert sum(tested.num_images.values()) == 40
    chosen = f"Chosen    VGG16, random, frozen, optimizer {tested.spec.optimizer}, learning_rate"
    assert chosen in first.stdout
    assert f"accuracy {tested.metrics['accuracy']:.3f} (95 % interval" in first.stdout
    assert not list((out / "checkpoints").glob("*.npz"))
    before = toy_trials(out)
    assert [trial.state for trial in before] == [
        STATES[rows.by_id()[trial.user_attrs["trial_id"]].status] for trial in before
    ]

    again = sweep(*arguments, "--trials", 6)
    assert again.returncode == 0
    assert "0 to go on with, 0 to ask for" in again.stdout
    assert "Starting Ray" not in again.stdout
    assert (read_results(out).results, toy_trials(out)) == (rows.results, before)

    more = sweep(*arguments, "--trials", 8)
    assert more.returncode == 0, more.stdout + more.stderr
    assert "0 to go on with, 2 to ask for" in more.stdout
    own = [row for row in read_results(out).results if row.spec.scored_on == "validation"]
    assert len(own) == 8
    assert len(toy_trials(out)) == 8
    best = ranked(own)[0].spec.replace(scored_on="test")
    assert read_results(out).by_id()[best.trial_id].status == COMPLETE

    other = sweep(*arguments, "--trials", 8, "--set", "num_epochs=4")
    assert other.returncode == 2
    assert "'out' has pinned.num_epochs = [3], this search [4]. Go on with the options" in other.stderr
    assert len(other.stderr.splitlines()) == 1
