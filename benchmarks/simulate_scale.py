"""A sweep as a discrete-event simulation: how long do so many trials take on so many workers, and what waits for what?

    python benchmarks/simulate_scale.py --trials 100000 --workers 1000 --seconds 300 --reports 20
    python benchmarks/simulate_scale.py --trials 100000 --workers 1000 --seconds 300 --reports 20 --drivers 4

A worker (a GPU) asks a driver for a group of trials, trains it, tells of its epochs, and asks for the next. The driver
serves one at a time, first come, first served: this queue is the whole model. What a service costs was measured:
scale/costs.json, which bench_scale.py writes. Several drivers have equal parts of groups and workers and share nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from harness.events import Events

MEASURED = Path(__file__).parent / "scale" / "costs.json"


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver."""

    group: float
    """To see one group end, with its first row, and to start the next."""
    row: float
    """Of each further trial of a group."""
    report: float
    """Of a report of epochs."""
    sync: float = 0.0
    """To wait for the disk, once for all rows of a group."""


@dataclass(frozen=True)
class Sweep:
    """A sweep of equal trials, and the workers for it."""

    trials: int
    workers: int
    seconds: float
    """That a worker trains a group, however many trials that has."""
    per_group: int = 1
    reports: int = 0
    """Of a group, evenly over its training, beside that at its end. The worker waits until the driver has it."""
    drivers: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.drivers <= min(self.workers, self.groups):
            raise ValueError(f"drivers must be 1 to the number of workers and of groups; got {self.drivers}")

    @property
    def groups(self) -> int:
        """How many there are."""
        return math.ceil(self.trials / self.per_group)

    @property
    def ideal(self) -> float:
        """Seconds on workers that always train."""
        return self.groups * self.seconds / self.workers


@dataclass(frozen=True)
class Outcome:
    """How long a sweep took, and who worked."""

    makespan: float
    """Seconds from the moment at which all workers are there."""
    driver_busy: float
    """Share of the makespan in which the driver works, the mean of all drivers."""
    workers_busy: float
    """Share of the workers' time in which they train."""


def measured_costs(path: Path = MEASURED) -> Costs:
    """Return the costs of a file that bench_scale.py wrote."""
    return Costs(**json.loads(path.read_text())["costs"])


def simulate(sweep: Sweep, costs: Costs) -> Outcome:
    """Return what all drivers together come to."""
    parts = [_part(sweep, number) for number in range(sweep.drivers)]
    ends = {part: _simulate_one(part, costs) for part in set(parts)}
    makespan = max(end for end, _ in ends.values())
    busy = sum(ends[part][1] for part in parts) / sweep.drivers
    return Outcome(makespan, _share(busy, makespan), _share(sweep.ideal, makespan))


def _share(part: float, whole: float) -> float:
    """Return 1 where there is nothing to have a part of."""
    return part / whole if whole else 1.0


def _part(sweep: Sweep, number: int) -> Sweep:
    """Return what driver `number` has."""
    groups, workers = (
        whole // sweep.drivers + (number < whole % sweep.drivers) for whole in (sweep.groups, sweep.workers)
    )
    return replace(sweep, trials=groups * sweep.per_group, workers=workers, drivers=1)


def _simulate_one(sweep: Sweep, costs: Costs) -> tuple[float, float]:
    """Return one driver's last second, and how many of them it worked.

    An event: a worker comes, after so many reports of its group; one that has no group yet, after one more than all.
    """
    step, rows = sweep.seconds / (sweep.reports + 1), costs.row * (sweep.per_group - 1)
    left, free, busy = sweep.groups, 0.0, 0.0
    events = Events[int]()
    for _ in range(sweep.workers):
        events.plan(0.0, sweep.reports + 1)
    while events:
        now, reports = events.next()
        if reports < sweep.reports:
            service = costs.report
        else:
            service = rows if reports == sweep.reports else 0.0
            reports = -1 if left else sweep.reports
            service += costs.group + costs.sync if left else 0.0
            left -= bool(left)
        free, busy = max(free, now) + service, busy + service
        if reports < sweep.reports:
            events.plan(free + step, reports + 1)
    return free, busy


def describe(sweep: Sweep, outcome: Outcome) -> str:
    """Return the outcome in a line."""
    longer = f"{outcome.makespan / sweep.ideal:.2f} of the ideal" if sweep.ideal else "where ideally none"
    return (
        f"{sweep.trials:,} trials in {sweep.groups:,} groups of {sweep.seconds:g} s on {sweep.workers:,} workers, "
        f"{sweep.drivers} drivers: {outcome.makespan:,.0f} s, {longer}; "
        f"drivers busy {outcome.driver_busy:.0%}, workers {outcome.workers_busy:.0%}"
    )


def main() -> None:
    about = "How long a sweep takes, from what its driver's work was measured to cost"
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=300.0, help="of training, a group (default: %(default)s)")
    parser.add_argument("--per-group", type=int, default=1, metavar="N", help="trials that are trained together")
    parser.add_argument("--reports", type=int, default=0, metavar="N", help="of epochs, a group")
    parser.add_argument("--drivers", type=int, default=1, metavar="N")
    parser.add_argument("--costs", type=Path, default=MEASURED, metavar="FILE", help="(default: %(default)s)")
    options = vars(parser.parse_args())
    costs = measured_costs(options.pop("costs"))
    sweep = Sweep(**options)
    print(describe(sweep, simulate(sweep, costs)))


if __name__ == "__main__":
    main()
