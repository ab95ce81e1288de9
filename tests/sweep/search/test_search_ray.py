"""Searches as a user starts them: real processes, real Ray, real Optuna, and SIGKILL.

Nothing less shows that what a driver tells its study, its rows and Ray's workers stays together wherever it dies.
"""

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
from typing import Any

import pytest
from optuna.trial import TrialState

from galaxytl.results.rows import ranked, read_results
from galaxytl.results.search.asked_file import read_asked
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult
from tests.sweep.search_driver import PAUSE
from tests.sweep.searches import RUNGS, STATES, accuracy, diverges, toy_trials
from tests.sweep.sweeps import JOINED, ROOT, below, joining, sweep, wait_for

pytestmark = pytest.mark.alone


# A toy search, killed and started again


def toy(out: Path, trials: int = 30, ray: str = "") -> dict[str, Any]:
    """How to start it. Of its first four suggestions, two diverge."""
    options = ["--search", "optuna", "--trials", trials, "--search-seed", 3, "--batch", 4, "--out", out]
    options += ["--cpus-per-trial", 1, *(JOINED if ray else ())]
    started = [sys.executable, "-m", "tests.sweep.search_driver", *map(str, options)]
    return {"args": started, "cwd": ROOT, "env": joining(ray)}


def run_toy(out: Path, **given: Any) -> str:
    """What it printed until its end."""
    done = subprocess.run(**toy(out, **given), capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_toy(out: Path, log: Path, **given: Any) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(**toy(out, **given), stdout=file, stderr=subprocess.STDOUT, process_group=0)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The driver and what runs below it, at once."""
    processes = below(process.pid)
    for one in (process.pid, *processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()


def check_agreement(out: Path, number: int) -> dict[str, TrialResult]:
    """Every trial that was asked for has one row and one trial of the study, and they say the same. The rows by id."""
    ids = [json.loads(line)["trial_id"] for line in (out / "trials.jsonl").read_text().splitlines()]
    assert len(set(ids)) == len(ids)
    rows = {r.trial_id: r for r in read_results(out).results if r.spec.scored_on == "validation"}
    asked = toy_trials(out)
    assert {trial.user_attrs["trial_id"] for trial in asked} == rows.keys()
    assert len(asked) == len(rows) == number
    for trial in asked:
        row = rows[trial.user_attrs["trial_id"]]
        assert trial.state == STATES[row.status]
        assert (row.status == FAILED) == diverges(row.spec)
        assert trial.user_attrs.get("reason", "") == row.message
        reached = [rung for rung in RUNGS if rung <= len(row.history)]
        assert trial.intermediate_values == {rung: accuracy(row.spec, rung) for rung in reached}
        assert row.status != COMPLETE or trial.value == accuracy(row.spec, 10)
        assert row.status != PRUNED or len(row.history) in RUNGS
    return rows


def run_and_kill(out: Path, log: Path, seconds: float, rows: int = 0, **given: Any) -> None:
    """Start the search, kill it so long after it has written so many more rows."""
    before = len(read_results(out).results)
    process = start_toy(out, log, **given)
    try:
        wait_for(lambda: len(read_results(out).results) >= before + rows or process.poll() is not None, "rows")
        time.sleep(seconds)
        assert process.poll() is None, log.read_text()
    finally:
        kill(process)
    assert "Traceback" not in log.read_text()


def check_end(out: Path, number: int) -> None:
    """All have ended, and the one that was chosen was scored on the test part."""
    rows = check_agreement(out, number)
    assert {row.status for row in rows.values()} == {COMPLETE, PRUNED, FAILED}
    (tested,) = [row for row in read_results(out).results if row.spec.scored_on == "test"]
    assert tested.spec.replace(scored_on="validation") == ranked(rows.values())[0].spec
    assert not [trial for trial in toy_trials(out) if trial.state == TrialState.RUNNING]


def hold_back(out: Path, seconds: float) -> None:
    """An epoch takes so long, until the file is removed."""
    out.mkdir(exist_ok=True)
    (out / "new").write_text(str(seconds))
    (out / "new").rename(out / PAUSE)  # whole: workers read it


def test_the_same_command_goes_on_after_a_kill_and_scores_the_chosen_one_on_the_test_part(
    tmp_path: Path, ray_address: str
) -> None:
    out = tmp_path / "toy"
    run_and_kill(out, tmp_path / "log", 0.0, rows=4, trials=16, ray=ray_address)
    assert 4 <= len(read_results(out).results) < 16
    printed = run_toy(out, trials=16, ray=ray_address)
    assert "on the test part" in printed
    check_end(out, 16)


@pytest.mark.rest
@pytest.mark.timeout(1200)
def test_a_search_whose_driver_is_killed_six_times_ends_as_if_nothing_had_been(
    tmp_path: Path, ray_address: str
) -> None:
    out, rng, left_running = tmp_path / "toy", random.Random(0), 0
    hold_back(out, 0.2)  # six lives are too short for all of it
    for number in range(6):
        in_the_midst = number % 2 > 0  # else anywhere, also while it starts
        seconds = rng.uniform(0, 0.7) if in_the_midst else rng.uniform(0.5, 6)
        run_and_kill(out, tmp_path / f"{number}.log", seconds, rows=int(in_the_midst), ray=ray_address)
        left_running += Counter(trial.state for trial in toy_trials(out))[TrialState.RUNNING] if in_the_midst else 0
    assert left_running >= 3  # otherwise the kills were too kind
    assert len(read_results(out).results) < 30
    (out / PAUSE).unlink()
    run_toy(out, ray=ray_address)
    check_end(out, 30)


# The real thing


@pytest.mark.rest
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
    assert f"Chosen    VGG16, random, frozen, optimizer {tested.spec.optimizer}, learning_rate" in first.stdout
    assert f"accuracy {tested.metrics['accuracy']:.3f} (95 % interval" in first.stdout
    assert not list((out / "checkpoints").glob("*.npz"))
    before = read_asked(out).suggestions
    assert {suggestion.trial_id for suggestion in before} == {row.trial_id for row in own}

    more = sweep(*arguments, "--trials", 8)
    assert more.returncode == 0, more.stdout + more.stderr
    assert "0 to go on with, 2 to ask for" in more.stdout
    own = [row for row in read_results(out).results if row.spec.scored_on == "validation"]
    assert len(own) == len(read_asked(out).suggestions) == 8
    assert read_asked(out).suggestions[:6] == before
    best = ranked(own)[0].spec.replace(scored_on="test")
    assert read_results(out).by_id()[best.trial_id].status == COMPLETE

    whole = (read_results(out).results, read_asked(out))
    again = sweep(*arguments, "--trials", 8)
    assert again.returncode == 0
    assert "0 to go on with, 0 to ask for" in again.stdout
    assert "Starting Ray" not in again.stdout
    assert (read_results(out).results, read_asked(out)) == whole
