"""The Ray cluster that a sweep runs on: this machine, or a running one at an address; and what a trial may take of it.

with cluster(None, log) as available:
    resources = resources_per_trial(available, num_trials, cpus=None, gpus=None)
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from galaxytl.system.command import own_handlers
from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import visible
from galaxytl.system.process import usable_cpus
from sweep.scheduling.growth import may_start
from sweep.scheduling.ray_files import check_token, own_folder
from sweep.scheduling.resources import Available, Resources, fair_share, room_on

OF_TUNE = ("TUNE_", "RAY_AIR_", "RAY_TRAIN_")
"""How variables begin that are made for other programs: they change when results come, what is tried again and where
Tune's files lie. Ray's own say what a machine is, and stay."""
CHECKPOINT_SECONDS = "TUNE_GLOBAL_CHECKPOINT_S"
"""How often Tune's files go to the results folder, each time those of all trials: every ten seconds, Tune's own choice,
that would be most of the work of a long sweep. Nothing of ours reads them, so it is the user's."""


def settle(environment: MutableMapping[str, str]) -> None:
    """Set what Ray and Tune read at their import and in their workers."""
    for name in list(environment):
        if name.startswith(OF_TUNE) and name != CHECKPOINT_SECONDS:
            del environment[name]
    environment.update(
        TUNE_DISABLE_SIGINT_HANDLER="1",  # it would wait for the steps under way
        RAY_AIR_NEW_OUTPUT="0",  # prints a banner whatever `verbose` says
        RAY_CHDIR_TO_TRIAL_DIR="0",  # a relative path means the same everywhere
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",  # what Ray will do, without its warning
    )
    environment.setdefault(CHECKPOINT_SECONDS, "300")
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")


settle(os.environ)

import ray  # noqa: E402

# The command line, which Ray lists as that of a job.
ray._private.utils.get_entrypoint_name = lambda: without_secrets(shlex.join(sys.argv))

# Ray's own handler of SIGTERM ends the driver before what it holds is let go of (Ray 2.60: `ray.init` sets it).
ray._private.utils.set_sigterm_handler = lambda handler: None

# glibc gives the memory of every step's activations back to the system and takes it again: a quarter of the time of a
# training step of VGG16 at 32 px on CPU. Workers of a cluster that we start keep it instead.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**11), "MALLOC_TOP_PAD_": str(2**28)}

CONNECT_SECONDS = 8
HEALTH_SECONDS = 30
"""For a question to Ray's head once it is connected to: a process of its own, on a machine that may be busy."""
HEAD = "node:__internal_head__"
"""A resource that Ray gives to the head."""
MAX_SAID = 5
"""Kinds of nodes that an error tells of."""


class ClusterError(RuntimeError):
    """No Ray cluster answers, or it cannot run what was asked for."""


@contextlib.contextmanager
def cluster(address: str | None, log: Path, note: Callable[[str], object] = lambda _: None) -> Iterator[Available]:
    """Connect to the cluster at `address`, or start a local one; gives its resources. Ray's messages go to `log`.

    note: told what the user should know. Raises ClusterError when nothing answers at `address`, and RayFilesError.
    """
    if address:
        _check_reachable(address)
    if warning := check_token(starts_ray=not address):
        note(warning)
    with contextlib.nullcontext() if address else own_folder() as folder:
        _connect(address, log, _local_settings(folder) if folder else {})
        try:
            yield _available()
        finally:
            with own_handlers(), _no_garbage_collection():
                ray.shutdown()


def _local_settings(folder: str) -> dict[str, Any]:
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    return {
        "num_cpus": usable_cpus(),  # Ray itself counts those that this process may not use
        "include_dashboard": False,
        "object_store_memory": 200 * 2**20,  # arrays travel through files, not Ray
        "_temp_dir": folder,
        "_system_config": {"enable_metrics_collection": False},  # whose port answers whoever asks
    }


def _connect(address: str | None, log: Path, settings: Mapping[str, Any]) -> None:
    """Raises ClusterError when it cannot be."""
    try:
        with own_handlers(), _quiet_stderr(log), _within_this_machine(not address):  # Ray's C++ parts take SIGTERM too
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # Ray raises just that where a node does not start in time
        raise ClusterError(f"no Ray cluster could be used at {address or 'this machine'}: {error}") from error
    _log_to(log)
    ray._private.worker.print_to_stdstream = _to_log  # so does this, at length, when a worker has died
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, must not fill the terminal instead


@contextlib.contextmanager
def _within_this_machine(is_local: bool) -> Iterator[None]:
    """A cluster of one machine listens on its loopback address alone: Ray's own choice on macOS and Windows, and no
    other setting brings it about elsewhere (Ray 2.60)."""
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = before and not is_local
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _available() -> Available:
    alive = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    on_head = any(node["NodeID"] == here and HEAD in node["Resources"] for node in alive)
    return available_of([node["Resources"] for node in alive], may_start() if on_head else [])


def available_of(alive: Sequence[Mapping[str, float]], may_come: Sequence[Mapping[str, float]]) -> Available:
    """From the resources of the nodes that are there, and of the workers that an autoscaler may start.

    Some of the first may be of the second: of the workers, those count that have more in all.
    """
    heads = [node for node in alive if HEAD in node]
    workers = max([node for node in alive if HEAD not in node], may_come, key=_in_all)
    return Available(tuple(Resources(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in [*heads, *workers]))


def _in_all(nodes: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    return sum(node.get("GPU", 0.0) for node in nodes), sum(node.get("CPU", 0.0) for node in nodes)


def resources_per_trial(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """A trial's `fair_share`.

    Raises ClusterError when no node could ever hold such a trial.
    """
    trial = fair_share(available, num_trials, cpus, gpus)
    if not available.room_for(trial):
        kinds = sorted({(node.cpus, node.gpus) for node in available.nodes}, reverse=True)[:MAX_SAID]
        nodes = " or ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in kinds)
        raise ClusterError(
            f"a trial must fit on one node, and they have {nodes or 'nothing'}; "
            f"asked for {trial.cpus:g} CPUs and {trial.gpus:g} GPUs a trial"
        )
    return trial


def spare_place(available: Available, trial: Resources) -> tuple[Resources, int]:
    """What a trial may take on nodes without GPU where the others take one, and how many of them run there at once.

    No more than nodes with GPUs have too: where the others have died, nothing waits for them.
    """
    spare = [node for node in available.nodes if not node.gpus and node.cpus >= 1]
    others = [node for node in available.nodes if room_on(node, trial)] if trial.gpus else []
    cpus = int(min(max((node.cpus for node in spare), default=0.0), min((node.cpus for node in others), default=0.0)))
    share = Resources(float(cpus), 0.0)
    return share, sum(room_on(node, share) for node in spare) if cpus else 0


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
        subprocess.run(check, capture_output=True, timeout=HEALTH_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}. Is the head up? Try: ray status --address {address}"
        ) from error


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A reference to one of Ray's objects that is collected, in whichever thread, while Ray shuts down ends the process
    at once, with exit status 1 and no word: Ray asks its core worker to forget the object, and that is gone by then."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _log_to(file: Path) -> None:
    """What Ray says goes to `file` instead of the terminal, or of the file that the last connection had."""
    messages = logging.getLogger("ray")
    for handler in messages.handlers:
        handler.close()
    messages.handlers = [logging.FileHandler(file)]
    messages.handlers[0].setFormatter(_WithoutSecrets())


class _WithoutSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _to_log(batch: Mapping[str, Any], *_: object, **__: object) -> None:
    logging.getLogger("ray").error(visible("\n".join(batch["lines"]), keep="\n"))


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
