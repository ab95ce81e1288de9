"""Ray Tune runs the trials. The only file of the sweep that imports ray.

One Ray trial trains a group of specs (today: one). A trial keeps its own checkpoint in the results folder, and a
finished trial is a row in trials.jsonl, so a restart needs nothing of Tune's state: it asks for what has no row. Tune's
own folder (result.json, progress.csv, TensorBoard events) lies in <results>/ray for the tools that read it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from galaxytl.training import Watcher, Workplace, train
from galaxytl.trial import FAILED, TrialResult, TrialSpec

# Before ray is imported: Ctrl-C must reach us at once, and Tune must not wait for its own snapshots.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # prints a banner whatever `verbose` says
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # --data and --out may be relative paths
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune

MAX_WORKER_DEATHS = 2
"""How often a trial whose worker process died is started again, from its last epoch."""

CONNECT_SECONDS = 8


class ClusterError(RuntimeError):
    """No Ray cluster answers, or it cannot run what was asked for."""


@dataclass(frozen=True)
class Resources:
    """Of one trial. GPUs may be a share."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Available:
    """What a cluster has in all, and what its largest nodes have: a trial must fit on one node."""

    cpus: float
    gpus: float
    node_cpus: float
    node_gpus: float


@dataclass(frozen=True)
class Reporter:
    """What the driver does when a trial says something."""

    phase: Callable[[str, str], None]
    epoch: Callable[[str, list[dict[str, float]]], None]
    finished: Callable[[TrialResult], None]


def local_gpus() -> int:
    """GPUs of this machine that NVIDIA's driver lists."""
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


@contextlib.contextmanager
def cluster(address: str | None, log: Path) -> Iterator[Available]:
    """Connect to the cluster at `address`, or start a local one; gives its resources. Ray's messages go to `log`.

    Raises ClusterError when nothing answers at `address`.
    """
    if address:
        _check_reachable(address)
    logging.getLogger("ray").addHandler(logging.FileHandler(log))
    logging.getLogger("ray").propagate = False
    local = {"include_dashboard": False, "object_store_memory": 200 * 2**20}  # arrays travel through files, not Ray
    try:
        with _quiet_stderr(log):
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Ray cluster could be used at {address or 'this machine'}: {error}") from error
    try:
        yield _available()
    finally:
        ray.shutdown()


def _available() -> Available:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [node.get("CPU", 0.0) for node in nodes]
    gpus = [node.get("GPU", 0.0) for node in nodes]
    return Available(sum(cpus), sum(gpus), max(cpus), max(gpus))


def resources_per_trial(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """One GPU a trial where there are GPUs, and an equal share of the CPUs; `cpus` and `gpus` override.

    Raises ClusterError when no node could ever hold such a trial.
    """
    gpus = gpus if gpus is not None else min(1.0, available.node_gpus)
    if cpus is None:
        at_once = min(num_trials, available.gpus / gpus if gpus else num_trials)
        cpus = min(available.node_cpus, max(1.0, available.cpus // max(1.0, at_once)))
    if cpus > available.node_cpus or gpus > available.node_gpus:
        raise ClusterError(
            f"a trial must fit on one node, and the largest have {available.node_cpus:g} CPUs and "
            f"{available.node_gpus:g} GPUs; asked for {cpus:g} CPUs and {gpus:g} GPUs a trial"
        )
    return Resources(cpus, gpus)


def run_trials(specs: Sequence[TrialSpec], workplace: Workplace, resources: Resources, reporter: Reporter) -> None:
    """Train all specs on the connected cluster; each result goes to `reporter.finished` as soon as it is there."""
    board = ray.remote(_Board).options(num_cpus=0).remote()
    groups = [{"ids": [spec.trial_id], "specs": [spec.to_dict()]} for spec in specs]
    trainable = tune.with_parameters(_train_group, workplace=workplace, board=board)
    demand = {"cpu": resources.cpus, "gpu": resources.gpus}
    tuner = tune.Tuner(
        tune.with_resources(trainable, demand),
        param_space={"group": tune.grid_search(groups)},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str((workplace.out / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            callbacks=[_ToReporter(reporter)],
            verbose=0,
        ),
    )
    with _relay_phases(board, reporter):
        tuner.fit()


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
        self._reporter = reporter

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that we do not use

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if "row" in result:
            self._reporter.finished(TrialResult.from_dict(json.loads(result["row"])))
        elif "history" in result:
            self._reporter.epoch(result["id"], json.loads(result["history"]))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        message = death_message(str(trial.get_error()))
        for values in trial.config["group"]["specs"]:
            self._reporter.finished(TrialResult(spec=TrialSpec.from_dict(values), status=FAILED, message=message))


def _trial_name(trial: Any) -> str:
    spec = TrialSpec.from_dict(trial.config["group"]["specs"][0])
    return f"{spec.backbone}-{spec.weights}-{spec.unfrozen_blocks}-{spec.trial_id[:8]}"


def death_message(error: str) -> str:
    """Why a worker process died as often as it may, from what Ray says of it."""
    times = f"the worker process died {MAX_WORKER_DEATHS + 1} times"
    if "OutOfMemory" in error or "memory" in error.lower():
        return f"out of memory: {times}. Try a smaller --set batch_size, or fewer trials at once: --cpus-per-trial"
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return f"{times}: {lines[-1][:300] if lines else 'no reason known'}"


def _check_reachable(address: str) -> None:
    """Fail within seconds where nothing listens; ray.init itself would wait much longer."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "//" in address:
        raise ClusterError(
            f"--address must be HOST:PORT of the head node (Ray's default port is 6379) or auto; got '{address}'"
        )
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        subprocess.run(check, capture_output=True, timeout=CONNECT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}. Is the head up? Try: ray status --address {address}"
        ) from error


@contextlib.contextmanager
def _quiet_stderr(log: Path) -> Iterator[None]:
    """Send what Ray's C++ parts write to file descriptor 2 into the log while they start."""
    saved = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
