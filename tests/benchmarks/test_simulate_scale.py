"""The simulation of large sweeps against closed forms, and against the runs that its costs come from."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import simulate_scale
from benchmarks.simulate_scale import MEASURED, Costs, Sweep, measured_costs, simulate

FREE = Costs(group=0.0, row=0.0, report=0.0)


def test_without_a_driver_there_are_waves_and_without_work_the_driver_is_all() -> None:
    assert simulate(Sweep(trials=10, workers=4, seconds=3.0), FREE).makespan == pytest.approx(9.0)
    grouped = Sweep(trials=10, workers=4, seconds=3.0, per_group=5, reports=7)
    assert simulate(grouped, FREE).makespan == pytest.approx(3.0)
    costs = Costs(group=0.03, row=0.002, report=0.005, sync=0.004)
    outcome = simulate(Sweep(trials=1000, workers=8, seconds=0.0, per_group=10, reports=2), costs)
    assert outcome.makespan == pytest.approx(100 * (0.03 + 2 * 0.005 + 9 * 0.002 + 0.004))
    assert outcome.driver_busy == pytest.approx(1.0)


def test_a_sweep_without_any_work_takes_no_time() -> None:
    sweep = Sweep(trials=10, workers=4, seconds=0.0)
    outcome = simulate(sweep, FREE)
    assert (outcome.makespan, outcome.driver_busy, outcome.workers_busy) == (0.0, 1.0, 1.0)
    assert "4 workers, 1 drivers: 0 s, where ideally none; drivers busy 100%" in simulate_scale.describe(sweep, outcome)


def test_workers_wait_for_the_driver_or_for_each_other() -> None:
    """Never idle, it starts a group every 0.1 s, and the last one then trains; with few workers, after a first wave
    that is started one by one, a worker waits for its own start alone."""
    outcome = simulate(Sweep(trials=500, workers=100, seconds=2.0), Costs(0.1, 0.0, 0.0))
    assert outcome.makespan == pytest.approx(500 * 0.1 + 2.0)
    assert outcome.workers_busy == pytest.approx(500 * 2.0 / (100 * 52.0))
    few = simulate(Sweep(trials=40, workers=4, seconds=1.0), Costs(0.1, 0.0, 0.0))
    assert few.makespan == pytest.approx(10 * 1.1 + 3 * 0.1)


@given(
    sweep=st.builds(
        Sweep,
        trials=st.integers(1, 300),
        workers=st.integers(1, 50),
        seconds=st.floats(0, 5),
        per_group=st.integers(1, 10),
        reports=st.integers(0, 5),
    ),
    costs=st.builds(Costs, group=st.floats(0.001, 0.1), row=st.floats(0, 0.01), report=st.floats(0, 0.02)),
)
@settings(max_examples=50)
def test_it_is_never_better_than_either_bound_nor_worse_than_one_after_the_other(sweep: Sweep, costs: Costs) -> None:
    driver = sweep.groups * (costs.group + sweep.reports * costs.report + costs.row * (sweep.per_group - 1))
    work = sweep.groups * sweep.seconds / sweep.workers
    makespan = simulate(sweep, costs).makespan
    assert max(work, driver) - 1e-9 <= makespan <= driver + work + sweep.seconds + 1e-9


def test_drivers_that_share_nothing_halve_the_queue() -> None:
    costs = Costs(0.05, 0.0, 0.01)
    one = simulate(Sweep(trials=1000, workers=100, seconds=0.0, reports=3), costs)
    two = simulate(Sweep(trials=1000, workers=100, seconds=0.0, reports=3, drivers=2), costs)
    assert two.makespan == pytest.approx(one.makespan / 2)
    with pytest.raises(ValueError, match="drivers must be 1 to"):
        Sweep(trials=1000, workers=2, seconds=1.0, drivers=3)
    uneven = simulate(Sweep(trials=5, workers=2, seconds=1.0, drivers=2), FREE)  # ends with the largest part
    assert (uneven.makespan, uneven.workers_busy) == pytest.approx((3.0, 5 / 6))


TOLERANCE = 0.2
"""Single runs of a minute, on two cores that others used too."""
FOUND = json.loads(MEASURED.read_text())


def foretold(run: dict[str, Any], costs: Costs) -> tuple[float, float]:
    """Seconds by the simulation and by the clock: of the makespan, or, of trials without work, of what the driver
    computes."""
    if "makespan" in run:
        return simulate(Sweep(**run["sweep"]), costs).makespan, run["makespan"]
    return simulate(Sweep(**run["sweep"]), replace(costs, sync=0.0)).makespan, run["computed"]


def test_it_foretells_runs_that_its_costs_were_not_taken_from_and_with_wrong_costs_nothing() -> None:
    wrong = Costs(**{name: 100 * cost for name, cost in FOUND["costs"].items()})
    for run in FOUND["checks"]:
        simulated, measured = foretold(run, measured_costs())
        assert simulated == pytest.approx(measured, rel=TOLERANCE), run["name"]
        simulated, measured = foretold(run, wrong)
        assert abs(simulated / measured - 1) > TOLERANCE, run["name"]


def test_the_command_says_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate_scale.py", "--trials", "1000", "--workers", "10", "--seconds", "5"])
    simulate_scale.main()
    assert "1,000 trials in 1,000 groups of 5 s on 10 workers" in capsys.readouterr().out
