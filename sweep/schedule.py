"""Ray Tune runs the trials. With cluster.py the only file that imports ray.

One Ray trial trains a group of specs. A trial keeps its own checkpoint in the results folder, and a
finished trial is a row in trials.jsonl, so a restart needs nothing of Tune's state: it asks for what has no row. Tune's
own folder (result.json, progress.csv, TensorBoard events) lies in <results>/ray for the tools that read it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from galaxytl.training import Group, Watcher, Workplace, train
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from sweep.cluster import (
    ClusterError,
    Resources,
    cluster,
    resources_per_trial,
)  # before ray: it sets what ray reads at its import

import ray  # isort: skip
from ray import tune  # isort: skip

MAX_WORKER_DEATHS = 2
"""How often a group whose worker process died is started again, from its last epoch."""
REPORT_SECONDS = 0.5
"""A group reports to Tune at most this often: a report costs 20 ms or more, an epoch of heads may take less."""


@dataclass(frozen=True)
class Where:
    """Which cluster to use (None: this machine), what a trial may take of it (None: a fair share), and Ray's log."""

    address: str | None
    cpus: float | None
    gpus: float | None
    log: Path


@dataclass(frozen=True)
class Reporter:
    """What the driver does when a trial says something."""

    phases: Callable[[dict[str, str]], None]
    epochs: Callable[[dict[str, dict[str, float]]], None]
    finished: Callable[[TrialResult], None]
    note: Callable[[str], None]


def run_trials(groups: Sequence[Group], workplace: Workplace, where: Where, reporter: Reporter) -> None:
    """Train all groups, in order; each result goes to `reporter.finished` as soon as it is there.

    Tune gives up the whole sweep when Ray kills a worker for want of memory. Then the rest is scheduled anew, on a
    cluster without left-overs and with half as many groups at once; each goes on from its last epoch. A group that was
    running each time, or whose worker died as often as it may, is parted into single trials, and a single trial that
    goes on like that is a FAILED row: it takes no other down. Raises ClusterError.
    """
    left = list(groups)
    deaths: Counter[str] = Counter()
    at_once = 0  # as many as fit
    while left:
        with cluster(where.address, where.log) as available:
            resources = resources_per_trial(available, len(left), where.cpus, where.gpus)
            reporter.note(f"Each worker: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs")
            events = _ToReporter(reporter)
            error = _run_round(left, workplace, resources, events, at_once)
        left = _unfinished(left, events.finished)
        if left and not (events.running or events.died):  # nothing was even begun: a further round would end like this
            raise ClusterError(f"Ray Tune gave up: {_last_line(error)}; see {where.log}")
        if left and error:
            at_once = max(1, events.num_running // 2)
            reporter.note(f"{_last_line(error)} Going on with at most {at_once} at once.")
            deaths.update(events.running)
        worn_out = events.died | {trial_id for trial_id in deaths if deaths[trial_id] > MAX_WORKER_DEATHS}
        for spec in [group.specs[0] for group in left if len(group.specs) == 1 and group.specs[0].trial_id in worn_out]:
            events.finish(TrialResult(spec=spec, status=FAILED, message=death_message(error)))
        left = _parted(_unfinished(left, events.finished), worn_out)
        for trial_id in worn_out:
            del deaths[trial_id]


def _unfinished(groups: Sequence[Group], finished: set[str]) -> list[Group]:
    left = [replace(g, specs=tuple(spec for spec in g.specs if spec.trial_id not in finished)) for g in groups]
    return [group for group in left if group.specs]


def _parted(groups: Sequence[Group], worn_out: set[str]) -> list[Group]:
    """Groups with a trial that is `worn_out` as single trials: whichever is at fault, the others get through."""
    parted = []
    for group in groups:
        at_fault = any(spec.trial_id in worn_out for spec in group.specs)
        parted += [replace(group, specs=(spec,)) for spec in group.specs] if at_fault else [group]
    return parted


def _run_round(
    groups: Sequence[Group], workplace: Workplace, resources: Resources, events: _ToReporter, at_once: int
) -> str:
    """Let Tune train `groups` on the connected cluster, at most `at_once` together (0: as many as fit).

    Returns the error that made Tune give up, or "".
    """
    board = ray.remote(_Board).options(num_cpus=0).remote()
    values = [{"specs": [spec.to_dict() for spec in group.specs], "stored": list(group.stored)} for group in groups]
    workplace = replace(workplace, num_threads=max(1, int(resources.cpus)))
    trainable = tune.with_parameters(_train_group, workplace=workplace, board=board)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"group": tune.grid_search(values)},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=at_once or None,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(workplace.out / "ray"),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            callbacks=[events],
            verbose=0,
        ),
    )
    with _relay_phases(board, events.reporter):
        try:
            tuner.fit()
        except (RuntimeError, ray.exceptions.RayError) as error:  # Tune raises both for what it did not expect of Ray
            return str(error)
    return ""


def _train_group(config: dict[str, Any], *, workplace: Workplace, board: Any) -> None:
    """Runs in a Ray worker: train the group, report its trials' epochs, and each result as one JSON row.

    A group that is started again, because its worker died, leaves out what it had reported.
    """
    finished = ray.get(board.finished.remote())
    reports = _Reports(board)
    for group in _unfinished([_group_of(config)], finished):
        for result in train(group, workplace, Watcher(reports.phase, reports.epochs)):
            reports.row(result)
    reports.send()


class _Reports:
    """What a worker tells the driver, not more often than is of use: epochs and rows by Tune, phases on the board."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._epochs: dict[str, dict[str, float]] = {}
        self._rows: dict[str, str] = {}
        self._sent, self._said, self._saying = time.monotonic(), 0.0, ""

    def phase(self, trial_ids: list[str], text: str) -> None:
        what = text.partition(",")[0]  # without the numbers that say how far it is
        if what != self._saying or time.monotonic() - self._said >= REPORT_SECONDS:
            self._said, self._saying = time.monotonic(), what
            self._board.say.remote(trial_ids, text)

    def epochs(self, latest: dict[str, dict[str, float]]) -> None:
        self._epochs.update(latest)
        self._send_if_due()

    def row(self, result: TrialResult) -> None:
        self._rows[result.trial_id] = json.dumps(result.to_dict())
        self._send_if_due()

    def _send_if_due(self) -> None:
        if time.monotonic() - self._sent >= REPORT_SECONDS:
            self.send()

    def send(self) -> None:
        tune.report({"epochs": self._epochs, "rows": list(self._rows.values())})  # returns when the driver has it
        self._board.finish.remote(list(self._rows))
        self._epochs, self._rows, self._sent = {}, {}, time.monotonic()


class _Board:
    """Holds the latest phase of each trial, and which are finished. Beside tune.report, whose rows stay on disk."""

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}
        self._finished: set[str] = set()

    def finish(self, trial_ids: list[str]) -> None:
        self._finished.update(trial_ids)

    def finished(self) -> set[str]:
        return self._finished

    def say(self, trial_ids: list[str], text: str) -> None:
        self._phases.update(dict.fromkeys(trial_ids, text))

    def read(self) -> dict[str, str]:
        phases, self._phases = self._phases, {}
        return phases


@contextlib.contextmanager
def _relay_phases(board: Any, reporter: Reporter) -> Iterator[None]:
    """Pass what trials put on the board to the reporter, twice a second."""
    stop = Event()

    def relay() -> None:
        while not stop.wait(0.5):
            with contextlib.suppress(ray.exceptions.RayError):
                reporter.phases(ray.get(board.read.remote(), timeout=5))

    thread = Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=6)


class _ToReporter(tune.Callback):
    """Passes Tune's events to the reporter, and keeps which trials are running, finished, or died with their worker."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.running: set[str] = set()
        self.finished: set[str] = set()
        self.died: set[str] = set()
        self.num_running = 0
        """Groups, not trials."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that we do not use

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.running |= {spec.trial_id for spec in _group_of(trial.config).specs} - self.finished
        self.num_running = sum(other.status == "RUNNING" for other in trials)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if latest := result.get("epochs"):
            self.reporter.epochs(latest)
        for row in result.get("rows", ()):
            self.finish(TrialResult.from_dict(json.loads(row)))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Its worker died as often as it may: a single trial has failed, a group is parted (`run_trials`)."""
        message = death_message(str(trial.get_error() or "it could not be started, perhaps for want of memory"))
        unfinished = [spec for spec in _group_of(trial.config).specs if spec.trial_id not in self.finished]
        if len(unfinished) == 1:
            self.finish(TrialResult(spec=unfinished[0], status=FAILED, message=message))
        else:
            self.died |= {spec.trial_id for spec in unfinished}

    def finish(self, result: TrialResult) -> None:
        if result.trial_id not in self.finished:  # a group that was started again reports again what it had reported
            self.reporter.finished(result)
            self.finished.add(result.trial_id)
            self.running.discard(result.trial_id)


def _group_of(config: dict[str, Any]) -> Group:
    values = config["group"]
    return Group(tuple(TrialSpec.from_dict(spec) for spec in values["specs"]), tuple(values["stored"]))


def _trial_name(trial: Any) -> str:
    specs = _group_of(trial.config).specs
    number = f"-{len(specs)}-trials" if len(specs) > 1 else ""
    return f"{specs[0].backbone}-{specs[0].weights}-{specs[0].unfrozen_blocks}-{specs[0].trial_id[:8]}{number}"


def death_message(error: str) -> str:
    """Why a worker process died as often as it may, from what Ray says of it."""
    times = f"the worker process died {MAX_WORKER_DEATHS + 1} times"
    if "OutOfMemory" in error or "low on memory" in error:
        return f"out of memory: {times}. Try a smaller --set batch_size, or fewer trials at once: --cpus-per-trial"
    return f"{times}: {_last_line(error)}"


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if "OutOfMemory" in error or "low on memory" in error:
        return "A node ran low on memory, and Ray killed workers."
    return lines[-1][:300] if lines else "no reason known"
