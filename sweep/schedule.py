"""Ray Tune runs the trials. With cluster.py the only file that imports ray.

One Ray trial trains a group of specs (today: one). A trial keeps its own checkpoint in the results folder, and a
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

from galaxytl.training import Watcher, Workplace, train
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
"""How often a trial whose worker process died is started again, from its last epoch."""


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

    phase: Callable[[str, str], None]
    epoch: Callable[[str, list[dict[str, float]]], None]
    finished: Callable[[TrialResult], None]
    note: Callable[[str], None]


def run_trials(specs: Sequence[TrialSpec], workplace: Workplace, where: Where, reporter: Reporter) -> None:
    """Train all specs; each result goes to `reporter.finished` as soon as it is there.

    Tune gives up the whole sweep when Ray kills a worker for want of memory. Then the rest is scheduled anew, on a
    cluster without left-overs and with half as many trials at once; each goes on from its last epoch. A trial that was
    running each time is a FAILED row in the end, and takes no other down. Raises ClusterError.
    """
    left = {spec.trial_id: spec for spec in specs}
    deaths: Counter[str] = Counter()
    at_once = 0  # as many as fit
    while left:
        with cluster(where.address, where.log) as available:
            resources = resources_per_trial(available, len(left), where.cpus, where.gpus)
            reporter.note(f"Each trial: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs")
            events = _ToReporter(reporter)
            error = _run_round(list(left.values()), workplace, resources, events, at_once)
        left = {trial_id: spec for trial_id, spec in left.items() if trial_id not in events.finished}
        if left and not events.running:  # nothing was even begun: a further round would end like this one
            raise ClusterError(f"Ray Tune gave up: {_last_line(error)}; see {where.log}")
        if left:
            at_once = max(1, len(events.running) // 2)
            reporter.note(f"{_last_line(error)} Going on with at most {at_once} at once.")
            deaths.update(events.running)
            for trial_id in [trial_id for trial_id in left if deaths[trial_id] > MAX_WORKER_DEATHS]:
                spec = left.pop(trial_id)
                reporter.finished(TrialResult(spec=spec, status=FAILED, message=death_message(error)))


def _run_round(
    specs: Sequence[TrialSpec], workplace: Workplace, resources: Resources, events: _ToReporter, at_once: int
) -> str:
    """Let Tune train `specs` on the connected cluster, at most `at_once` together (0: as many as fit).

    Returns the error that made Tune give up, or "".
    """
    board = ray.remote(_Board).options(num_cpus=0).remote()
    groups = [{"specs": [spec.to_dict()]} for spec in specs]
    workplace = replace(workplace, num_threads=max(1, int(resources.cpus)))
    trainable = tune.with_parameters(_train_group, workplace=workplace, board=board)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"group": tune.grid_search(groups)},
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
    """Runs in a Ray worker: train the group's specs, report every epoch, and each result as one JSON row."""

    def on_epoch(trial_id: str, history: list[dict[str, float]]) -> None:
        tune.report({"id": trial_id, "history": json.dumps(history), **history[-1]})

    watcher = Watcher(board.say.remote, on_epoch)
    specs = [TrialSpec.from_dict(values) for values in config["group"]["specs"]]
    for result in train(specs, workplace, watcher):
        tune.report({"id": result.trial_id, "row": json.dumps(result.to_dict()), "status": result.status})


class _Board:
    """Holds the latest phase of each trial. Beside tune.report, whose rows are for epochs and stay on disk."""

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}

    def say(self, trial_id: str, text: str) -> None:
        self._phases[trial_id] = text

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
                for trial_id, text in ray.get(board.read.remote(), timeout=5).items():
                    reporter.phase(trial_id, text)

    thread = Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=6)


class _ToReporter(tune.Callback):
    """Passes Tune's events to the reporter; a worker that died too often makes FAILED rows."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.running: set[str] = set()
        self.finished: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that we do not use

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.running |= {spec.trial_id for spec in _specs_of(trial)}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if "row" in result:
            self._finish(TrialResult.from_dict(json.loads(result["row"])))
        elif "history" in result:
            self.reporter.epoch(result["id"], json.loads(result["history"]))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        message = death_message(str(trial.get_error() or "it could not be started, perhaps for want of memory"))
        for spec in _specs_of(trial):
            self._finish(TrialResult(spec=spec, status=FAILED, message=message))

    def _finish(self, result: TrialResult) -> None:
        self.reporter.finished(result)
        self.finished.add(result.trial_id)
        self.running.discard(result.trial_id)


def _specs_of(trial: Any) -> list[TrialSpec]:
    return [TrialSpec.from_dict(values) for values in trial.config["group"]["specs"]]


def _trial_name(trial: Any) -> str:
    spec = _specs_of(trial)[0]
    return f"{spec.backbone}-{spec.weights}-{spec.unfrozen_blocks}-{spec.trial_id[:8]}"


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
