"""How many trials share a GPU, how many run at the same time, and on how many CPUs each.

share_of(3)                    # 0.3333: what each of three trials asks Ray for
places(8, 0.3333)              # 24 on eight GPUs
fair_share(Available((Resources(2, 0),)), num_trials=6, cpus=None, gpus=None)       # Resources(1, 0): two at once
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_PACKED: Final = 64
"""Trials that may share a GPU: CUDA alone takes some hundred MB in each one's process."""
STEP: Final = 10_000
"""Ray counts resources in steps of 1/10,000."""
MAX_ROOM: Final = 10_000
"""Trials that take no CPU and no GPU."""


@dataclass(frozen=True)
class Resources:
    """Of a trial, whose GPUs may be a share, or of a node."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Where:
    """Which cluster to use (None: this machine), what a trial may take of it (None: a fair share), and Ray's log."""

    address: str | None
    cpus: float | None
    gpus: float | None
    log: Path

    @property
    def announcement(self) -> str:
        """What the terminal shows before Ray starts."""
        return f"Starting Ray{' at ' + self.address if self.address else ''}; log: {self.log}"


@dataclass(frozen=True)
class Available:
    """What each node has that is there, or may come. A trial must fit on one."""

    nodes: tuple[Resources, ...]

    def room_for(self, trial: Resources) -> int:
        """How many trials of these resources run at the same time."""
        return min(MAX_ROOM, sum(room_on(node, trial) for node in self.nodes))

    def most(self, name: str) -> float:
        """CPUs, or GPUs, of the node that has most."""
        return max((getattr(node, name) for node in self.nodes), default=0.0)


def room_on(node: Resources, trial: Resources) -> int:
    """How many trials of these resources run on one node at the same time."""
    by_cpu = int(node.cpus // trial.cpus) if trial.cpus else MAX_ROOM
    return min(by_cpu, places(node.gpus, trial.gpus)) if trial.gpus else by_cpu


def fair_share(available: Available, num_trials: int, cpus: float | None, gpus: float | None) -> Resources:
    """One GPU a trial where there are GPUs, and of the CPUs as many as leave room for all trials at once that there
    would be room for with one each; `cpus` and `gpus` override."""
    gpus = gpus if gpus is not None else min(1.0, available.most("gpus"))
    if cpus is None:
        at_once = min(num_trials, available.room_for(Resources(1.0, gpus)))
        shares = range(1, max(1, int(available.most("cpus"))) + 1)
        cpus = max((n for n in shares if available.room_for(Resources(n, gpus)) >= at_once), default=1)
    return Resources(float(cpus), gpus)


@dataclass(frozen=True)
class Crew:
    """The workers of a sweep."""

    number: int
    """That work at the same time."""
    threads: int
    """CPU threads of each."""


def crew(available: Available, num_groups: int, cpus: float | None, gpus: float | None) -> Crew:
    """That trains so many groups: at least one worker, also where none fits, which Ray will say."""
    trial = fair_share(available, num_groups, cpus, gpus)
    return Crew(max(1, min(num_groups, available.room_for(trial))), max(1, int(trial.cpus)))


def share_of(trials_per_gpu: int) -> float:
    """Of a GPU, for each of so many trials: rounded down, or Ray would not let the last one in."""
    return STEP // trials_per_gpu / STEP


def places(num: float, share: float) -> int:
    """Trials that run at the same time on so many GPUs. A share is of one GPU, never of two halves."""
    steps = max(1, round(share * STEP))
    if share >= 1:
        return round(num * STEP) // steps
    return int(num) * (STEP // steps) + round(num % 1 * STEP) // steps
