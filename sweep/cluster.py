"""The Ray cluster that a sweep runs on: this machine, or a running one at an address; and what a trial may take of it.

with cluster(None, log) as available:
    resources = resources_per_trial(available, num_trials, cpus=None, gpus=None)
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.growth import may_start
from sweep.packing import places

# Set before ray is imported. Tune's own handler of Ctrl-C would wait for the steps under way.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# Tune's files go to the results folder so often, in seconds, and at the end: each time those of all trials, which every
# ten seconds, Tune's own choice, would be most of the work of a long sweep. Nothing of ours reads them.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "300")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # prints a banner whatever `verbose` says
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # --data and --out may be relative paths
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do, without its warning

import ray

# glibc gives the memory of every step's activations back to the system and takes it again: a quarter of the time of a
# training step of VGG16 at 32 px on CPU. Workers of a cluster that we start keep it instead.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**11), "MALLOC_TOP_PAD_": str(2**28)}

CONNECT_SECONDS = 8
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head."""
MAX_ROOM = 10_000
"""Trials that take no CPU and no GPU."""


class ClusterError(RuntimeError):
    """No Ray cluster answers, or it cannot run what was asked for."""


@dataclass(frozen=True)
class Resources:
    """Of one trial. GPUs may be a share."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Available:
    """What a cluster has in all, or may grow to, and what its largest nodes have: a trial must fit on one node."""

    cpus: float
    gpus: float
    node_cpus: float
    node_gpus: float

    def room_for(self, resources: Resources) -> int:
        """How many trials of these resources run at the same time, one at least."""
        by_cpu = self.cpus // resources.cpus if resources.cpus else math.inf
        by_gpu = places(self.gpus, resources.gpus) if resources.gpus else math.inf
        return max(1, int(min(by_cpu, by_gpu, MAX_ROOM)))


@contextlib.contextmanager
def cluster(address: str | None, log: Path) -> Iterator[Available]:
    """Connect to the cluster at `address`, or start a local one; gives its resources. Ray's messages go to `log`.

    Raises ClusterError when nothing answers at `address`.
    """
    if address:
        _check_reachable(address)
    else:
        for name, value in KEEP_MEMORY.items():
            os.environ.setdefault(name, value)
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
    logging.getLogger("ray").handlers = [logging.FileHandler(log)]  # instead of Ray's own, which writes to the terminal
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, must not fill the terminal instead
    try:
        yield _available()
    finally:
        ray.shutdown()


def _available() -> Available:
    alive = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    on_head = any(node["NodeID"] == here and HEAD in node["Resources"] for node in alive)
    return available_of([node["Resources"] for node in alive], may_start() if on_head else [])


def available_of(alive: Sequence[Mapping[str, float]], may_come: Sequence[Mapping[str, float]]) -> Available:
    """From the resources of the nodes that are there, and of the workers that an autoscaler may start.

    Some of the first may be of the second, so the larger sum counts.
    """

    def of(name: str, nodes: Sequence[Mapping[str, float]]) -> list[float]:
        return [node.get(name, 0.0) for node in nodes]

    cpus, gpus = (max(sum(of(name, alive)), sum(of(name, may_come))) for name in ("CPU", "GPU"))
    node_cpus, node_gpus = (max(of(name, [*alive, *may_come]), default=0.0) for name in ("CPU", "GPU"))
    return Available(cpus, gpus, node_cpus, node_gpus)


def resources_per_trial(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """One GPU a trial where there are GPUs, and an equal share of the CPUs; `cpus` and `gpus` override.

    Raises ClusterError when no node could ever hold such a trial.
    """
    gpus = gpus if gpus is not None else min(1.0, available.node_gpus)
    if cpus is None:
        at_once = min(num_trials, places(available.gpus, gpus) if gpus else num_trials)
        cpus = min(available.node_cpus, max(1.0, available.cpus // max(1.0, at_once)))
    if cpus > available.node_cpus or gpus > available.node_gpus:
        raise ClusterError(
            f"a trial must fit on one node, and the largest have {available.node_cpus:g} CPUs and "
            f"{available.node_gpus:g} GPUs; asked for {cpus:g} CPUs and {gpus:g} GPUs a trial"
        )
    return Resources(cpus, gpus)


def _check_reachable(address: str) -> None:
    """Fail within seconds where nothing listens; ray.init itself would wait much longer."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "//" in address:
        raise ClusterError(
            "--address (or $RAY_ADDRESS) must be HOST:PORT of the head node (Ray's default port is 6379), auto or "
            f"local; got '{address}'"
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
