"""What bench_scale.py makes of runs whose costs are known, and a smoke test of the runs themselves."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_scale
from benchmarks.harness import processes
from benchmarks.scale import rows, systems
from benchmarks.simulate_scale import Costs, Sweep, simulate

ROOT = Path(__file__).parents[2]


def run_of(trials: int, *, each: float, growth: float = 0.0, per_group: int = 1, reports: int = 0) -> dict[str, Any]:
    """A run in which a group takes `each` seconds, and each later one `growth` more; its rows come together."""
    seconds, now = [], 0.0
    for number in range(trials):
        if number % per_group == 0:
            now += each + growth * (number // per_group)
        seconds.append(now)
    return {
        "run": {"trials": trials, "at_once": 4, "per_group": per_group, "reports": reports},
        "seconds": seconds,
        "cpu_seconds": seconds,
        "memory": [(1, 200.0, 50.0), (trials, 300.0, 60.0)],
        **{"start": 9.0, "end": 2.0, "draw": 0.01, "sync": 0.004},
    }


def test_growth_is_of_the_last_tenth_to_the_first() -> None:
    assert bench_scale.trial_costs(run_of(1000, each=0.1))["growth"] == pytest.approx(1.0)
    grown = bench_scale.trial_costs(run_of(1000, each=0.1, growth=0.0001))
    assert grown["growth"] == pytest.approx((0.1 + 0.0949) / (0.1 + 0.005), rel=0.01)
    assert grown["driver_mb"] == (200.0, 300.0)
    assert bench_scale.kilobytes(run_of(1025, each=0.1), 1) == pytest.approx(100.0)
    assert "1.8" in bench_scale.describe_trials(grown)


def test_costs_come_back_out_of_runs_that_were_made_of_them() -> None:
    costs = Costs(group=0.03, row=0.002, report=0.008, sync=0.004)
    made = {
        "single": run_of(100, each=costs.group),
        "rows": run_of(1000, each=costs.group + 24 * costs.row, per_group=25),
        "reports": run_of(100, each=costs.group + 20 * costs.report, reports=20),
    }
    assert bench_scale.costs_of(made) == pytest.approx(vars(costs))


def test_a_check_of_the_simulation_holds_where_the_costs_are_true() -> None:
    costs = Costs(group=0.03, row=0.002, report=0.008)
    found = run_of(500, each=costs.group + 9 * costs.row, per_group=10)
    check = bench_scale.group_check("ten a group", found)
    assert simulate(Sweep(**check["sweep"]), costs).makespan == pytest.approx(check["computed"])
    nodes = {"run": {"nodes": 2, "slots": 4, "trials": 64, "seconds": 3}, "makespan": 24.9}
    assert simulate(Sweep(**bench_scale.node_check(nodes)["sweep"]), costs).makespan == pytest.approx(24.5, abs=0.2)


def test_memory_is_of_a_process_that_is_there_and_a_made_up_row_is_a_row() -> None:
    assert processes.megabytes(os.getpid()) > 10
    assert math.isnan(processes.megabytes(None))
    assert systems.gcs_server() is None
    row = rows.made_up(rows.BASE).to_dict()
    assert type(rows.made_up(rows.BASE)).from_dict(json.loads(json.dumps(row))).trial_id == row["trial_id"]
    assert len(row["history"]) == rows.NUM_EPOCHS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "error: argument PART: a part must be one of trials, resume, groups, nodes; got speed"),
        (["trials", "--write", "costs.json"], "error: --write wants all parts to have run"),
    ],
)
def test_a_request_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench_scale.parse([*arguments, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err


@pytest.mark.rest
@pytest.mark.alone
def test_smoke(tmp_path: Path) -> None:
    """Real Ray, the real command line, two nodes; a growth of noise may be called one, and is no error here."""
    command = [sys.executable, "benchmarks/bench_scale.py", "--small", "--sizes", "12", "--out", tmp_path]
    command += ["trials", "resume", "nodes"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (r"^ +12 +\d+\.\d s", r"^ +12 finished trials: +\d+\.\d s", "^2 nodes:"):
        assert re.search(line, done.stdout, re.MULTILINE)
    found = json.loads((tmp_path / "trials-12.json").read_text())
    assert len(found["seconds"]) == 12
    assert found["memory"][-1][2] > 10  # Ray's head was found
    assert json.loads((tmp_path / "nodes-2.json").read_text())["nodes_used"] == 2
