"""A search on W simulated workers: each trial's curve is known, an epoch takes a unit of time, and nothing trains.

    steps = simulate(method, Cluster(num_workers=4), until_epochs=1200)

A method (searches/methods.py, searches/tune_method.py) gives jobs: runs that one worker trains together. After each
epoch it hears their values and says which stop; when a job is over, how each of its runs ended. Events at one time come
in the order in which their passes were begun, so that what happens depends on the method and its seed alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from harness.events import Events

Status = Literal["COMPLETE", "STOPPED", "FAILED"]


@dataclass(frozen=True)
class Run:
    """One trial of a method."""

    name: str
    """Of no other run of the method."""
    config: int
    """Which configuration of the table. A method may run one twice."""
    values: tuple[float, ...]
    """The score after each epoch."""
    fails: bool = False
    """It diverges in the epoch after the last of `values`."""


class Method(Protocol):
    """What a search decides."""

    def job(self) -> Sequence[Run]:
        """Return what a free worker is to train; nothing where there is nothing until a job has ended."""
        ...

    def epoch(self, number: int, runs: Sequence[Run]) -> Collection[str]:
        """Hear of the runs of one job after epoch `number`; return the names of those that stop there."""
        ...

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        """Hear how a run ended, and after how many epochs."""
        ...

    def chosen(self) -> int | None:
        """Return the configuration that the method would name the best, of those that it has heard the end of."""
        ...


@dataclass(frozen=True)
class Cluster:
    """Workers, and what a pass takes them."""

    num_workers: int
    further_head: float = 1.0
    """What one more head adds to the time of a pass, in passes of one head. 1: training together saves nothing."""

    def pass_time(self, num_heads: int) -> float:
        """Return the time of an epoch of so many heads, in passes of one."""
        return 1 + (num_heads - 1) * self.further_head


@dataclass(frozen=True)
class Step:
    """The method's choice after a job has ended, and what had been spent by then."""

    epochs: int
    """Of all runs, those under way included."""
    time: float
    chosen: int | None


@dataclass
class _Job:
    runs: Sequence[Run]
    active: list[Run]
    epoch: int = 0
    ends: dict[str, tuple[int, Status]] = field(default_factory=dict)


def simulate(method: Method, cluster: Cluster, until_epochs: int) -> list[Step]:
    """Search until so many epochs are spent, and the time that they take alone on these workers; or to the end."""
    until_time = until_epochs / cluster.num_workers
    passes = Events[_Job]()  # each at its end
    num_jobs, spent, now = 0, 0, 0.0
    steps: list[Step] = []
    while spent < until_epochs or now < until_time:
        while num_jobs < cluster.num_workers and (runs := method.job()):
            passes.plan(now + cluster.pass_time(len(runs)), _Job(runs, list(runs)))
            num_jobs += 1
        if not passes:
            break
        now, job = passes.next()
        spent += len(job.active)
        _end_epoch(job, method)
        if job.active:
            passes.plan(now + cluster.pass_time(len(job.active)), job)
            continue
        num_jobs -= 1
        for run in job.runs:  # now, not when each had ended: a worker sends the rows of heads when all are trained
            method.ended(run, *job.ends[run.name])
        steps.append(Step(spent, now, method.chosen()))
    return steps


def _end_epoch(job: _Job, method: Method) -> None:
    job.epoch += 1
    alive = [run for run in job.active if job.epoch <= len(run.values)]
    job.ends |= {run.name: (job.epoch - 1, "FAILED") for run in job.active if run not in alive}
    stopped = method.epoch(job.epoch, alive) if alive else ()
    job.active = []
    for run in alive:
        if job.epoch == len(run.values) and not run.fails:
            job.ends[run.name] = (job.epoch, "COMPLETE")
        elif run.name in stopped:
            job.ends[run.name] = (job.epoch, "STOPPED")
        else:
            job.active.append(run)
