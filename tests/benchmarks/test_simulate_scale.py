"""The simulation of large sweeps against closed forms, and against the runs that its costs come from."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulate_scale import MEASURED, Costs, Sweep, measured_costs, simulate

FREE = Costs(group=0.0, row=0.0, report=0.0)
ROOT = Path(__file__).parents[2]


def test_without_a_driver_there_are_waves() -> None:
    assert simulate(Sweep(trials=10, workers=4, seconds=3.0), FREE).makespan == pytest.approx(9.0)
    grouped = Sweep(trials=10, workers=4, seconds=3.0, per_group=5, reports=7)
    assert simulate(grouped, FREE).makespan == pytest.approx(3.0)


def test_without_work_the_driver_is_all() -> None:
    costs = Costs(group=0.03, row=0.002, report=0.005, sync=0.004)
    outcome = simulate(Sweep(trials=1000, workers=8, seconds=0.0, per_group=10, reports=2), costs)
    assert outcome.makespan == pytest.approx(100 * (0.03 + 2 * 0.005 + 9 * 0.002 + 0.004))
    assert outcome.driver_busy == pytest.approx(1.0)


def test_more_workers_than_the_driver_can_feed_wait_for_it() -> None:
    """Never idle, it starts a group every 0.1 s; the last one then trains."""
    outcome = simulate(Sweep(trials=500, workers=100, seconds=2.0), Costs(0.1, 0.0, 0.0))
    assert outcome.makespan == pytest.approx(500 * 0.1 + 2.0)
    assert outcome.workers_busy == pytest.approx(500 * 2.0 / (100 * 52.0))


def test_fewer_workers_than_the_driver_can_feed_wait_for_each_other_once() -> None:
    """A closed loop: after the first wave, which is started one by one, a worker waits for its own start alone."""
    outcome = simulate(Sweep(trials=40, workers=4, seconds=1.0), Costs(0.1, 0.0, 0.0))
    assert outcome.makespan == pytest.approx(10 * 1.1 + 3 * 0.1)


def test_it_is_never_better_than_either_bound_nor_worse_than_one_after_the_other() -> None:
    rng = random.Random(0)
    for _ in range(200):
        costs = Costs(rng.uniform(0, 0.1), rng.uniform(0, 0.01), rng.uniform(0, 0.02))
        sweep = Sweep(
            trials=rng.randint(1, 300),
            workers=rng.randint(1, 50),
            seconds=rng.uniform(0, 5),
            per_group=rng.randint(1, 10),
            reports=rng.randint(0, 5),
        )
        service = costs.group + sweep.reports * costs.report
        work = sweep.groups * sweep.seconds / sweep.workers
        rows = costs.row * (sweep.per_group - 1)
        makespan = simulate(sweep, costs).makespan
        assert makespan >= max(work, sweep.groups * (service + rows)) - 1e-9
        assert makespan <= sweep.groups * (service + rows) + work + sweep.seconds + 1e-9


def test_drivers_that_share_nothing_halve_the_queue() -> None:
    costs = Costs(0.05, 0.0, 0.01)
    one = simulate(Sweep(trials=1000, workers=100, seconds=0.0, reports=3), costs)
    two = simulate(Sweep(trials=1000, workers=100, seconds=0.0, reports=3, drivers=2), costs)
    assert two.makespan == pytest.approx(one.makespan / 2)
    with pytest.raises(ValueError, match="drivers must be 1 to"):
        Sweep(trials=1000, workers=2, seconds=1.0, drivers=3)


def test_groups_that_do_not_divide_evenly_end_with_the_largest_part() -> None:
    outcome = simulate(Sweep(trials=5, workers=2, seconds=1.0, drivers=2), FREE)
    assert outcome.makespan == pytest.approx(3.0)
    assert outcome.workers_busy == pytest.approx(5 / 6)


TOLERANCE = 0.2
"""Single runs of a minute, on two cores that others used too."""
FOUND = json.loads(MEASURED.read_text())


def foretold(run: dict[str, Any], costs: Costs) -> tuple[float, float]:
    """Seconds by the simulation and by the clock: of the makespan, or, of trials without work, of what the driver
    computes."""
    if "makespan" in run:
        return simulate(Sweep(**run["sweep"]), costs).makespan, run["makespan"]
    return simulate(Sweep(**run["sweep"]), replace(costs, sync=0.0)).makespan, run["computed"]


@pytest.mark.parametrize("run", FOUND["checks"], ids=lambda run: run["name"])
def test_it_foretells_runs_that_its_costs_were_not_taken_from(run: dict[str, Any]) -> None:
    simulated, measured = foretold(run, measured_costs())
    assert simulated == pytest.approx(measured, rel=TOLERANCE)


def test_wrong_costs_foretell_nothing() -> None:
    """So that the test above can fail: the checks hang on the costs."""
    wrong = Costs(**{name: 100 * cost for name, cost in FOUND["costs"].items()})
    assert all(abs(a / b - 1) > TOLERANCE for a, b in (foretold(run, wrong) for run in FOUND["checks"]))


def test_the_command_says_what_it_found() -> None:
    command = [sys.executable, "benchmarks/simulate_scale.py", "--trials", "1000", "--workers", "10", "--seconds", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "1,000 trials in 1,000 groups of 5 s on 10 workers" in done.stdout
