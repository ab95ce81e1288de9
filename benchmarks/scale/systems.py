"""The runs of trials that bench_scale.py measures, each a process of its own: `sweep.scheduling.tune` on real Ray.

    cd benchmarks; python -m scale.systems '{"trials": 1000, "at_once": 4}' OUT.json

The trials do nothing. They are scheduled in groups of one (or `per_group`) with what `sweep.run` has its reporter do: a
row on disk a trial, a line in the log. With `reports`, each trial tells the driver of so many epochs, each in a report
of its own. OUT.json gets, for each trial, when the driver had its row, and what its process had computed by then.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from timeit import timeit
from typing import Any

from harness.processes import cpus_a_trial, megabytes
from scale.rows import BASE, made_up

from galaxytl.learning.job import Group, Workplace
from galaxytl.results.rows import append_results
from galaxytl.trial import TrialResult, TrialSpec

SAMPLES = 100
"""Of memory, in a run."""


@dataclass(frozen=True)
class Run:
    """Trials, and how they are scheduled."""

    trials: int
    at_once: int
    per_group: int = 1
    reports: int = 0


@dataclass
class Meter:
    """What the driver has spent at the end of each trial."""

    every: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    memory: list[tuple[int, float, float]] = field(default_factory=list)
    """Trials that have ended, MB of the driver, MB of Ray's head process."""

    def tick(self) -> None:
        """Note what has been spent until now: one more trial has ended."""
        self.seconds.append(time.perf_counter())
        self.cpu_seconds.append(time.process_time())
        if len(self.seconds) % self.every == 0:
            self.memory.append((len(self.seconds), megabytes(os.getpid()), megabytes(gcs_server())))


def main() -> None:
    options, out = sys.argv[1:]
    Path(out).write_text(json.dumps(measure(Run(**json.loads(options))), indent=1))


def measure(run: Run) -> dict[str, Any]:
    """Return what the driver has spent on the run."""
    from rich.console import Console

    from sweep.progress.terminal import SweepTable

    specs = [BASE.replace(seed=seed, num_epochs=max(1, run.reports)) for seed in range(run.trials)]
    meter, started = Meter(max(1, run.trials // SAMPLES)), time.perf_counter()
    console = Console(file=io.StringIO())  # a line an event; the live table is drawn by the clock, and timed apart
    with tempfile.TemporaryDirectory() as folder, SweepTable(specs, console) as table:
        schedule_trials(run, specs, Path(folder), table, meter)
        ended, draw, sync = time.perf_counter(), seconds_to_draw(table), seconds_to_sync(Path(folder), specs[0])
    return {
        "run": vars(run),
        "start": meter.seconds[0] - started,
        "seconds": [round(second - meter.seconds[0], 4) for second in meter.seconds],
        "cpu_seconds": [round(second - meter.cpu_seconds[0], 4) for second in meter.cpu_seconds],
        "memory": meter.memory,
        "end": ended - meter.seconds[-1],
        "draw": draw,
        "sync": sync,
    }


def schedule_trials(run: Run, specs: list[TrialSpec], out: Path, table: Any, meter: Meter) -> None:
    """Schedule as `sweep.run.schedule_trials` does."""
    from sweep.scheduling import tune
    from sweep.scheduling.resources import Where

    def finished(*results: TrialResult) -> None:
        append_results(out, *results)
        for result in results:
            table.finished(result)
            meter.tick()

    groups = [Group(tuple(specs[start : start + run.per_group])) for start in range(0, run.trials, run.per_group)]
    decides_at = frozenset(range(1, run.reports + 1))
    reporter = tune.Reporter(table.phases, table.epochs, finished, table.note, decides_at)
    where = Where(None, cpus_a_trial(run.at_once), 0.0, out / "ray.log")
    work = tune.Work(iter(groups), len(groups))
    tune.run_trials(work, Workplace("none", out), where, reporter, reporting if run.reports else no_op)


def no_op(group: Any, workplace: Any, watcher: Any) -> Iterator[TrialResult]:
    """Stand in for `galaxytl.training.train`."""
    for spec in group.specs:
        yield made_up(spec)


def reporting(group: Any, workplace: Any, watcher: Any) -> Iterator[TrialResult]:
    """Do no work either, but report epochs."""
    for spec in group.specs:
        for number in range(spec.num_epochs):
            watcher.epoch({spec.trial_id: {"epoch": number + 1.0, "loss": 1.0, "val_accuracy": 0.5}})
        yield made_up(spec)


def seconds_to_draw(table: Any, times: int = 10) -> float:
    """Time drawing the live table once, as it is after all trials; a sweep draws it twice a second."""
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    return timeit(lambda: console.print(table.drawn()), number=times) / times


def seconds_to_sync(folder: Path, spec: TrialSpec, times: int = 50) -> float:
    """Return the median wait for the disk when a row is forced to it, without what the driver itself computes."""
    waits = []
    for _ in range(times):
        started, computed = time.perf_counter(), time.thread_time()
        append_results(folder, made_up(spec))
        waits.append(time.perf_counter() - started - (time.thread_time() - computed))
    return statistics.median(waits)


def gcs_server() -> int | None:
    """Return the number of Ray's head process that this process started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text()
            if "(gcs_server)" in stat and int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                return int(folder.name)
    return None


if __name__ == "__main__":
    main()
