"""Work in pieces on a running Ray cluster, with its results in order: what `galaxytl.classify --address` does.

    for result in in_order("head:6379", make, pieces, print):     # on each machine make()(piece)

`make` is called once in each of Ray's workers, of which a GPU has one, or, where there is none, a machine.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from galaxytl.system.command import UsageError
from sweep.scheduling.cluster import check_versions, cluster
from sweep.scheduling.resources import ClusterError

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

AHEAD: Final = 3
"""Pieces a worker has before it: results that are not taken yet wait in Ray's memory."""


class Worker:
    """Does pieces of work in a process of Ray's."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], backend: str) -> None:
        if backend:
            os.environ["KERAS_BACKEND"] = backend
        self._make, self._done_by = make, list[Callable[[Any], Any]]()

    def do(self, piece: Any) -> Any:
        if not self._done_by:  # not in __init__: of what is raised there Ray tells no more than that the actor died
            self._done_by.append(self._make())
        return self._done_by[0](piece)


def in_order(
    address: str, make: Callable[[], Callable[[Any], Any]], pieces: Sequence[Any], say: Callable[[str], object]
) -> Iterator[Any]:
    """Yield what `make()(piece)` gives for each piece, in their order. A worker that dies is started again, and does
    what it had not done. Raises UsageError where no cluster answers, and what a piece raises."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with cluster(address, Path(folder) / "ray.log", say):
                check_versions()
                workers = _workers(make)
                say(f"{len(workers)} workers of the cluster at {address}")
                yield from _results(workers, pieces)
        except ClusterError as error:
            raise UsageError(str(error)) from error


def _workers(make: Callable[[], Callable[[Any], Any]]) -> list[Any]:
    """Start a worker for each GPU of the cluster; where it has none, for each machine."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    on_gpus = [node for node in nodes for _ in range(int(node["Resources"].get("GPU", 0)))]
    actor = ray.remote(num_cpus=1, num_gpus=1 if on_gpus else 0, max_restarts=-1, max_task_retries=-1)(Worker)
    backend = os.environ.get("KERAS_BACKEND", "")
    return [
        actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)).remote(
            make, backend
        )
        for node in on_gpus or [node for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    ]


def _results(workers: Sequence[Any], pieces: Sequence[Any]) -> Iterator[Any]:
    """Yield the results in order; the next piece goes to whoever has done the oldest one."""
    under_way: deque[tuple[Any, Any]] = deque()
    left = iter(pieces)
    for _ in range(AHEAD):
        for worker, piece in zip(workers, left, strict=False):
            under_way.append((worker, worker.do.remote(piece)))
    while under_way:
        worker, result = under_way.popleft()
        try:
            found = ray.get(result)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from error
        for piece in left:
            under_way.append((worker, worker.do.remote(piece)))
            break
        yield found
