"""What the benchmark of a sweep's start reads of a log, and a run of it in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench_start

ROOT = Path(__file__).parents[2]
LOG = "a worker said this\nSeconds: plan 1.5 s, Ray 0.2 s, first worker 4.0 s, shutdown 0.5 s\nSeconds: x 1 s\n"


def test_the_parts_are_those_of_the_first_round() -> None:
    assert bench_start.parts(LOG) == {"plan": 1.5, "Ray": 0.2, "first worker": 4.0, "shutdown": 0.5}
    with pytest.raises(SystemExit, match="this one has none"):
        bench_start.parts("2026-01-02 worker: said something\n")


@pytest.mark.rest
@pytest.mark.alone
def test_small_measures_each_part(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/bench_start.py", "--small", "--out", str(tmp_path / "numbers.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "From the command to the first report of the sweep:" in done.stdout
    medians = json.loads((tmp_path / "numbers.json").read_text())["medians"]
    assert {*bench_start.PLAIN, *bench_start.REQUIRED} <= medians.keys()
    assert {f"{name}: {part}" for name in bench_start.REQUIRED for part in ("plan", "first report")} <= medians.keys()
