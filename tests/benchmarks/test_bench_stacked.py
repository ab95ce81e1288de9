"""The comparison of trials in one pass runs on both backends, in sizes whose ratios mean nothing, and finds them
equal."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.architecture import ROOT


@pytest.mark.rest
@pytest.mark.parametrize(("backend", "ways"), [("tensorflow", "copies bare"), ("jax", "vmap copies bare")])
def test_smoke_prints_ratios_of_each_way_and_that_all_are_equal(backend: str, ways: str) -> None:
    """In a process of its own: a backend is chosen once."""
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "benchmarks/bench_stacked.py", "--small"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[3:-1]] == ways.split()
    assert all(line.count("x") == 2 for line in lines[3:-1])
    assert lines[-1].endswith("at most 1e-05: equal")
