"""The GPU benchmark runs where there is no GPU, in sizes whose figures mean nothing, and says so."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import bench_gpu

ROOT = Path(__file__).parents[2]


@pytest.mark.rest
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_smoke_prints_rates_shares_and_the_projected_grid(backend: str, tmp_path: Path) -> None:
    """In a process of its own: a backend is chosen once."""
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "benchmarks/bench_gpu.py", "--smoke", "--backbones", "MobileNet"]
    command += ["--num-images", "16", "--json", str(tmp_path / "numbers.json")]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SMOKE: tiny sizes; no figure below is a result" in done.stdout
    assert f"on {backend}; 32 px" in done.stdout
    projected = re.search(r"projected: the paper's grid, batches of 8: (\d+) s \(MobileNet \1\)", done.stdout)
    assert projected, done.stdout
    assert int(projected[1]) > 0
    (numbers,) = json.loads((tmp_path / "numbers.json").read_text())["backbones"]
    for rates in (numbers["prefix"], numbers["train"], numbers["busy"]):
        assert all(math.isfinite(rate) and rate > 0 for rate in rates.values())


def test_an_unknown_backbone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench_gpu.parse(["--smoke", "--backbones", "AlexNet"])
    assert "AlexNet" in capsys.readouterr().err
