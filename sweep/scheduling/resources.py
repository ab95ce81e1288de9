"""What a trial takes of a cluster: how many share a GPU, how many run at the same time, and on how many CPUs each.

share_of(3)                    # 0.3333: what each of three trials asks Ray for
places(8, 0.3333)              # 24 on eight GPUs
fair_share(Available((Resources(2, 0),)), num_trials=6, cpus=None, gpus=None)       # Resources(1, 0): two at once

A cluster that starts from zero has no GPU yet when a sweep begins, and gets them only when a trial asks for one: so
what a trial may take is reckoned from what can come (`cluster_may_grow`). Ray 2.60 itself does not say: its record of
node types (`get_max_resources_from_cluster_config`) is filled on Kubernetes only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from sweep.grids.yaml_file import YamlFileError, read_yaml

MAX_PACKED: Final = 64
"""Trials that may share a GPU: CUDA alone takes some hundred MB in each one's process."""
STEP: Final = 10_000
"""Ray counts resources in steps of 1/10,000."""
MAX_ROOM: Final = 10_000
"""Trials that take no CPU and no GPU."""

HEAD: Final = "node:__internal_head__"
"""A resource that Ray gives to the head."""
MAX_SAID: Final = 5
"""Kinds of nodes that an error tells of."""
BOOTSTRAP: Final = Path("~/ray_bootstrap_config.yaml")
"""The cluster file with all defaults filled in; `ray up` puts it there, and Ray's autoscaler reads it."""


class ClusterError(RuntimeError):
    """No Ray cluster answers, or it cannot run what was asked for."""


@dataclass(frozen=True)
class Resources:
    """Of a trial, whose GPUs may be a share, or of a node."""

    cpus: float
    gpus: float


class Early(Protocol):
    """What `sweep.scheduling.early` does, without its threads."""

    made: float
    """By time.monotonic(), before the sweep was planned."""

    @property
    def is_begun(self) -> bool: ...

    @property
    def is_free(self) -> bool: ...

    def begin(self) -> None: ...

    def available(self) -> Available: ...

    def cluster(self, note: Callable[[str], object]) -> AbstractContextManager[Available]: ...


@dataclass(frozen=True)
class Where:
    """Which cluster to use (None: this machine), what a trial may take of it (None: a fair share), and Ray's log."""

    address: str | None
    cpus: float | None
    gpus: float | None
    log: Path
    early: Early | None = field(default=None, compare=False, repr=False)
    """The Ray that starts, or is connected to, while the sweep is planned; None: when there is something to run."""

    @property
    def announcement(self) -> str:
        """What the terminal shows before Ray starts."""
        return f"Starting Ray{' at ' + self.address if self.address else ''}; log: {self.log}"


@dataclass(frozen=True)
class Available:
    """What each node has that is there, or may come. A trial must fit on one."""

    nodes: tuple[Resources, ...]

    def room_for(self, trial: Resources) -> int:
        """Return how many trials of these resources run at the same time."""
        return min(MAX_ROOM, sum(room_on(node, trial) for node in self.nodes))

    def most(self, name: str) -> float:
        """Return the CPUs, or GPUs, of the node that has most."""
        return max((getattr(node, name) for node in self.nodes), default=0.0)


def room_on(node: Resources, trial: Resources) -> int:
    """Return how many trials of these resources run on one node at the same time."""
    by_cpu = int(node.cpus // trial.cpus) if trial.cpus else MAX_ROOM
    return min(by_cpu, places(node.gpus, trial.gpus)) if trial.gpus else by_cpu


def fair_share(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """Return one GPU a trial where there are GPUs, and of the CPUs as many as leave room for all trials at once that
    there would be room for with one each; `cpus` and `gpus` override."""
    gpus = gpus if gpus is not None else min(1.0, available.most("gpus"))
    if cpus is None:
        at_once = min(num_trials, available.room_for(Resources(1.0, gpus)))
        shares = range(1, max(1, int(available.most("cpus"))) + 1)
        cpus = max((n for n in shares if available.room_for(Resources(n, gpus)) >= at_once), default=1)
    return Resources(float(cpus), gpus)


def available_of(alive: Sequence[Mapping[str, float]], may_come: Sequence[Mapping[str, float]]) -> Available:
    """Add up the resources of the nodes that are there, and of the workers that an autoscaler may start.

    Some of the first may be of the second: of the workers, those count that have more in all.
    """
    heads = [node for node in alive if HEAD in node]
    workers = max([node for node in alive if HEAD not in node], may_come, key=_in_all)
    return Available(tuple(Resources(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in [*heads, *workers]))


def _in_all(nodes: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    return sum(node.get("GPU", 0.0) for node in nodes), sum(node.get("CPU", 0.0) for node in nodes)


def resources_per_trial(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """Return a trial's `fair_share`.

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
    """Return what a trial may take on nodes without GPU where the others take one, and how many of them run there at
    once.

    No more than nodes with GPUs have too: where the others have died, nothing waits for them.
    """
    spare = [node for node in available.nodes if not node.gpus and node.cpus >= 1]
    others = [node for node in available.nodes if room_on(node, trial)] if trial.gpus else []
    cpus = int(min(max((node.cpus for node in spare), default=0.0), min((node.cpus for node in others), default=0.0)))
    share = Resources(float(cpus), 0.0)
    return share, sum(room_on(node, share) for node in spare) if cpus else 0


def cluster_may_grow(path: Path = BOOTSTRAP) -> list[Mapping[str, float]]:
    """Return the resources of each worker that there may be at the same time, those with most GPUs first.

    None without the file. Each type may come up to its own max_workers, and all together up to the file's.
    """
    try:
        content = read_yaml(path.expanduser(), "Ray's bootstrap configuration")
    except (OSError, YamlFileError):
        return []
    if not isinstance(content, Mapping):
        return []
    workers: list[Mapping[str, float]] = []
    for name, node_type in node_types(content).items():
        if name != content.get("head_node_type"):
            workers += [node_type.get("resources") or {}] * int(node_type.get("max_workers") or 0)
    workers.sort(key=lambda resources: (resources.get("GPU", 0), resources.get("CPU", 0)), reverse=True)
    return workers[: int(content.get("max_workers") or 0)]


def node_types(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return those of a cluster file's content, by name; what is no mapping is none."""
    types = content.get("available_node_types")
    types = types if isinstance(types, Mapping) else {}
    return {str(name): value for name, value in types.items() if isinstance(value, Mapping)}


def share_of(trials_per_gpu: int) -> float:
    """Return the share of a GPU for each of so many trials: rounded down, or Ray would not let the last one in."""
    return STEP // trials_per_gpu / STEP


def places(num: float, share: float) -> int:
    """Return trials that run at the same time on so many GPUs. A share is of one GPU, never of two halves."""
    steps = max(1, round(share * STEP))
    if share >= 1:
        return round(num * STEP) // steps
    return int(num) * (STEP // steps) + round(num % 1 * STEP) // steps
