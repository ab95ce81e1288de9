"""The Ray cluster that a sweep runs on: this machine, or a running one at an address.

with cluster(None, log) as available:
    resources = resources_per_trial(available, num_trials, cpus=None, gpus=None)
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from galaxytl.networks.gpu_memory import driver_gpus
from galaxytl.system.command import own_handlers
from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import visible
from galaxytl.system.process import usable_cpus
from sweep.scheduling import fork_server, versions
from sweep.scheduling.ray_files import check_token, own_folder
from sweep.scheduling.ray_private import (  # before ray: it settles it
    CODE,
    own_code,
    own_node,
    show_workers_output,
)
from sweep.scheduling.resources import HEAD, Available, ClusterError, available_of, cluster_may_grow

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

# glibc gives the memory of every step's activations back to the system and takes it again: a quarter of the time of a
# training step of VGG16 at 32 px on CPU. Workers of a cluster that we start keep it instead.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**11), "MALLOC_TOP_PAD_": str(2**28)}

CONNECT_SECONDS = 8
NODE_SECONDS = 60
"""How long the nodes may take to tell their versions. Of one that does not, its first worker will say."""
HEALTH_SECONDS = 30
"""For a question to Ray's head once it is connected to: a process of its own, on a machine that may be busy."""


@contextlib.contextmanager
def cluster(address: str | None, log: Path, note: Callable[[str], object] = lambda _: None) -> Iterator[Available]:
    """Connect to the cluster at `address`, or start a local one; gives its resources. Ray's messages go to `log`.

    note: told what the user should know. Raises ClusterError when nothing answers at `address`, and RayFilesError.
    """
    if address:
        _check_reachable(address)
    if warning := check_token(starts_ray=not address):
        note(warning)
    with contextlib.nullcontext() if address else _local(log) as settings:
        _connect(address, log, settings or {})
        try:
            yield available_now()
        finally:
            with own_handlers(), _no_garbage_collection():
                ray.shutdown()


@contextlib.contextmanager
def _local(log: Path) -> Iterator[dict[str, Any]]:
    """Give the settings of a cluster of this machine; its workers are forked from a process that ends with the block.
    Not where there are GPUs: forks of a process that has loaded their libraries were never tried."""
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as meanwhile:
        folder = meanwhile.enter_context(own_folder())
        if not driver_gpus():
            private = Path(folder).parent
            variables = meanwhile.enter_context(fork_server.fork_server(private, CODE, log))
            os.environ.update(variables)
            for name in variables:
                meanwhile.callback(os.environ.pop, name)
        yield _local_settings(folder)


def _local_settings(folder: str) -> dict[str, Any]:
    return {
        "num_cpus": usable_cpus(),  # Ray itself counts those that this process may not use
        "include_dashboard": False,
        "object_store_memory": 200 * 2**20,  # arrays travel through files, not Ray
        "_temp_dir": folder,
        "_system_config": {
            "enable_metrics_collection": False,  # whose port answers whoever asks
            "prestart_worker_first_driver": False,  # one a CPU, of which Tune's, with variables of their own, take none
        },
    }


def _connect(address: str | None, log: Path, settings: Mapping[str, Any]) -> None:
    """Connect to a cluster, or start one. Raises ClusterError when it cannot be."""
    try:
        with (
            own_handlers(),
            _quiet_stderr(log),
            contextlib.nullcontext() if address else own_node(fork_server.__file__),
        ):
            told = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": own_code()}
            ray.init(address=address or "local", **told, **settings)
    except Exception as error:  # Ray raises just that where a node does not start in time
        raise ClusterError(f"no Ray cluster could be used at {address or 'this machine'}: {error}") from error
    _log_to(log)
    show_workers_output(_to_log)
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, must not fill the terminal instead


def available_now() -> Available:
    """Return what the connected cluster has, and may get."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    on_head = any(node["NodeID"] == here and HEAD in node["Resources"] for node in alive)
    return available_of([node["Resources"] for node in alive], cluster_may_grow() if on_head else [])


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


def check_versions() -> None:
    """Raise ClusterError where a node has another version than this process has."""
    with by_value(versions):
        ask = ray.remote(num_cpus=0, max_retries=0)(versions.versions)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        pinned = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        asked = [ask.options(scheduling_strategy=strategy).remote() for strategy in pinned]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=NODE_SECONDS)
    for node, answer in zip(nodes, asked, strict=True):
        if answer in answered:
            try:
                theirs = ray.get(answer)
            except ray.exceptions.RayError:
                continue  # it dies, or its Python cannot read the question: trials there would fail, and say so
            if text := versions.refusal(node["NodeManagerAddress"], own_versions(), theirs):
                raise ClusterError(text)


@functools.cache
def own_versions() -> Mapping[str, str]:
    """Return this process's, as it began."""
    return versions.versions()


@contextlib.contextmanager
def by_value(*modules: ModuleType) -> Iterator[None]:
    """Send what is in these modules to the nodes itself: a node may have another version of them, or none."""
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect no garbage: a reference to one of Ray's objects that is collected, in whichever thread, while Ray shuts
    down ends the process at once, with exit status 1 and no word: Ray asks its core worker to forget the object, and
    that is gone by then."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _log_to(file: Path) -> None:
    """Have what Ray says go to `file` instead of the terminal, or of the file that the last connection had."""
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
