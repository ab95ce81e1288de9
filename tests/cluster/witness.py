"""`python -m sweep.run ...` as it is, while a witness notes each epoch that a worker has finished, and each row.

    python -m tests.cluster.witness FILE --grid paper --out FOLDER ...
    seen = account_of(FILE, FOLDER, 1)    # what was interrupted, what was repeated, and what broke a promise

A sweep's own rows cannot say whether a trial was trained twice: whoever trained last wrote them.

While a file called "pause" lies beside FILE, each epoch ends with so many seconds: on a fast machine, too, a trial is
still there when its fault comes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.results.rows import FILE_NAME, read_results
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialResult
from sweep import run

PAUSE = "pause"


def note(witness: Path, **facts: Any) -> None:
    """A line, whole, whoever else writes: the order of the lines is that of the events."""
    line = json.dumps({**facts, "by": f"{platform.node()} {os.getpid()}"}) + "\n"
    descriptor = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def watched(witness: Path, group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """`galaxytl.training.train` in a worker, observed."""

    heard = watcher.epoch

    def epoch(latest: dict[str, dict[str, float]]) -> None:
        for trial_id, values in latest.items():
            note(witness, what="epoch", trial=trial_id, epoch=int(values["epoch"]))
        heard(latest)
        with contextlib.suppress(FileNotFoundError):
            time.sleep(float(witness.with_name(PAUSE).read_text()))

    watcher.epoch = epoch
    return train(group, workplace, watcher)


def watched_run(witness: Path, run_trials: Callable[..., None], *arguments: Any) -> None:
    """`sweep.scheduling.tune.run_trials` in the driver, observed."""
    *others, reporter = arguments

    def finished(*results: TrialResult) -> None:
        reporter.finished(*results)
        for result in results:
            note(witness, what="row", trial=result.trial_id, status=result.status)

    run_trials(*others, replace(reporter, finished=finished), functools.partial(watched, witness))


@dataclass
class Account:
    """What became of a sweep that was interrupted again and again."""

    trials: int = 0
    """That have a row, or an epoch at least."""
    rows: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    interruptions: int = 0
    """How often a trial went on, or began anew, in another process."""
    resumed: int = 0
    """Of these, how often above step 0."""
    repeated: int = 0
    """Epochs that had been finished and were trained again by one interruption, at most."""
    violations: list[str] = field(default_factory=list)

    def __add__(self, other: Account) -> Account:
        return Account(
            self.trials + other.trials,
            self.rows + other.rows,
            self.failed | other.failed,
            self.interruptions + other.interruptions,
            self.resumed + other.resumed,
            max(self.repeated, other.repeated),
            self.violations + other.violations,
        )

    def lines(self) -> list[str]:
        counts = (
            f"{self.trials} trials, {self.rows} rows, {len(self.failed)} FAILED; {self.interruptions} interruptions"
        )
        more = f"{self.resumed} of them resumed above step 0; at most {self.repeated} finished epochs repeated by one"
        ends = [f"FAILED     {trial_id}: {message}" for trial_id, message in self.failed.items()]
        return [
            counts,
            more,
            *ends,
            *(f"VIOLATION  {text}" for text in self.violations),
            f"{len(self.violations)} violations",
        ]


def events_of(witness: Path) -> list[dict[str, Any]]:
    """What was noted so far."""
    return [json.loads(line) for line in witness.read_text().splitlines()] if witness.exists() else []


def account_of(witness: Path, out: Path, most_repeated: int) -> Account:
    """Of all runs so far, whether or not the sweep has ended. More than `most_repeated` finished epochs that one
    interruption had trained again are a violation."""
    seen = Account()
    told = defaultdict[str, list[dict[str, Any]]](list)
    for event in events_of(witness):
        told[event["trial"]].append(event)
    for trial_id, of_trial in told.items():
        _follow(trial_id, of_trial, most_repeated, seen)
    _compare_rows(out, set(told), seen)
    return seen


def _follow(trial_id: str, events: list[dict[str, Any]], most_repeated: int, seen: Account) -> None:
    """One trial's epochs in the order in which they were trained.

    A process on a machine that was cut off may finish an epoch when another has already taken its trial over, and goes
    on: that is repeated too, but nothing went on from there."""
    by, reached, has_row = "", 0, False
    own: dict[str, int] = {}
    last_of = {event["by"]: index for index, event in enumerate(events) if event["what"] == "epoch"}
    late = Counter[str]()
    for index, event in enumerate(events):
        if event["what"] == "row":
            has_row = True
            continue
        number = event["epoch"]
        goes_on_itself = by and event["by"] != by and own.get(event["by"]) == number - 1
        own[event["by"]] = number
        if goes_on_itself and (has_row or last_of[by] > index):
            late[event["by"]] += 1
            seen.repeated = max(seen.repeated, late[event["by"]])
            if late[event["by"]] > most_repeated:
                seen.violations.append(f"{trial_id} was trained (epoch {number}) by one from whom another had taken it")
            continue
        if has_row:
            seen.violations.append(f"{trial_id} was trained (epoch {number}) after its row was written")
        if by and event["by"] != by:
            seen.interruptions += 1
            seen.resumed += number > 1
            again = reached - number + 1
            seen.repeated = max(seen.repeated, again)
            if again > most_repeated:
                seen.violations.append(f"{trial_id} had finished epoch {reached} and went on with epoch {number}")
        elif by and number != reached + 1:
            seen.violations.append(f"{trial_id} went from epoch {reached} to {number} in one process")
        by, reached = event["by"], number


def _compare_rows(out: Path, trained: set[str], seen: Account) -> None:
    path = out / FILE_NAME
    lines = path.read_bytes().splitlines() if path.exists() else []
    ids: Counter[str] = Counter()
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that a full disk cut: read_results says so
            ids[json.loads(line)["trial_id"]] += 1
    seen.violations += [f"{trial_id} has {count} rows" for trial_id, count in ids.items() if count > 1]
    results = read_results(out).results
    seen.trials, seen.rows = len(trained | set(ids)), len(results)
    for result in results:
        if result.status != COMPLETE:
            seen.failed[result.trial_id] = f"{result.status}: {result.message}"
        elif [epoch["epoch"] for epoch in result.history] != list(range(1, result.spec.num_epochs + 1)):
            seen.violations.append(f"the history of {result.trial_id} has not every epoch once")


if __name__ == "__main__":
    from sweep.scheduling import tune  # ray takes seconds to import

    tune.run_trials = functools.partial(watched_run, Path(sys.argv[1]), tune.run_trials)
    sys.exit(run.main(sys.argv[2:]))
