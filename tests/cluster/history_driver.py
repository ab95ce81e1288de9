"""A driver without Ray and without training: it leads a results folder as `sweep.run` does, and writes made-up rows."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from galaxytl.data import DataError
from galaxytl.results import rows as results_module
from galaxytl.results.history import VARIABLE
from galaxytl.results.storage import StorageError
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.results import folder as kept_module
from sweep.results import lease as lease_module
from sweep.results import rows_file
from sweep.results.folder import lead
from sweep.results.lease import LeaseError
from tests.cluster.mischief import Mischief, slow_files

BEAT_SECONDS, BEAT_SECONDS_AT_STORAGE = 0.2, 0.1
ROW_SECONDS = 0.15
ROUND_SECONDS = 150.0
"""After which a driver gives up."""


@dataclass(frozen=True)
class Driver:
    """What one process is to do."""

    number: int
    seed: str
    out: Path
    uri: str
    history: Path
    faults: Path
    trials: int
    endpoint: str = ""
    delay: float = 0.0
    often: float = 0.0
    stops: int = 0


def specs(number: int) -> list[TrialSpec]:
    return [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(number)]


def note_in(path: Path, **facts: object) -> None:
    """A line, whole, whoever else writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (json.dumps(facts) + "\n").encode())
    os.close(descriptor)


def main(driver: Driver) -> None:
    """Lead whenever that can be, until each trial has a row."""
    os.environ |= {VARIABLE: str(driver.history), "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    os.environ |= {"AWS_ENDPOINT_URL": driver.endpoint, "AWS_REGION": "us-east-1"} if driver.endpoint else {}
    lease_module.BEAT_SECONDS = BEAT_SECONDS_AT_STORAGE if driver.uri else BEAT_SECONDS
    lease_module.BEATS_AT_STORAGE = 4
    kept_module.PUSH_SECONDS = rows_file.LOOK_SECONDS = 0.1
    kept_module.PATIENCE, kept_module.LONGEST_PAUSE = 20.0, 2.0
    results_module.LOCK_SECONDS = 5.0

    def note(fault: str, step: str) -> None:
        note_in(driver.faults, driver=driver.number, fault=fault, step=step)

    driver.out.mkdir(exist_ok=True, parents=True)
    if driver.delay or driver.stops:
        slow_files(driver.out, Mischief(driver.seed, note, driver.delay, driver.often, driver.stops))
    rng, until = random.Random(driver.seed), time.monotonic() + ROUND_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(LeaseError, OSError, StorageError, DataError):
            drive(driver, rng)
            return
        time.sleep(rng.uniform(0, 2 * BEAT_SECONDS))
    note("gave up", "")


def drive(driver: Driver, rng: random.Random) -> None:
    with lead(driver.out, driver.uri, lambda _: None) as kept:
        known = kept.rows().by_id()
        todo = [spec for spec in specs(driver.trials) if spec.trial_id not in known]
        while todo:
            number = min(len(todo), rng.choice((1, 1, 2)))
            batch, todo = todo[:number], todo[number:]
            text = f"of process {os.getpid()}, {rng.random()}"
            kept.append(*(TrialResult(spec=spec, status=COMPLETE, message=text) for spec in batch))
            for _ in range(3):
                kept.stop_if_lost()
                time.sleep(rng.uniform(0, ROW_SECONDS / 2))
