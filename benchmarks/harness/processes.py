"""Processes that benchmarks start, time and listen to; and the memory and the CPUs that processes have."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxytl.system.process import SET

BENCHMARKS = Path(__file__).parents[1]
HOME = tempfile.TemporaryDirectory(prefix="bench-home-")  # removed when this process ends


def run_script(module: str, *arguments: str | int | Path) -> float:
    """Run one of our modules; return the seconds that it took. What it prints goes to a file beside its last
    argument."""
    log = Path(arguments[-1]).with_suffix(".log")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    path = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
    streams = {"env": environment({"PYTHONPATH": path}), "stderr": subprocess.STDOUT}
    started = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, **streams, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{log.read_text()[-3000:]}")
    return seconds


def run_measuring(module: str, *arguments: str | int | Path) -> tuple[float, dict[str, Any]]:
    """Run one of our modules; return its seconds and what it writes into the JSON file that its last argument names."""
    seconds = run_script(module, *arguments)
    return seconds, json.loads(Path(arguments[-1]).read_text())


def run_printing(command: list[str], variables: Mapping[str, str]) -> tuple[float, list[tuple[float, str]]]:
    """Run a sweep; return the seconds that it took, and each line that it printed with when it came.

    Exit status 1, some trials FAILED, is for the comparison to name.
    """
    started = time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=BENCHMARKS.parent, env=environment(variables), **pipes) as process:
        lines = [(round(time.perf_counter() - started, 2), line.rstrip()) for line in process.stdout]
    seconds = time.perf_counter() - started
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command[1:])} failed:\n" + "\n".join(line for _, line in lines[-30:]))
    return seconds, lines


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the systems' variables: TensorFlow, which b2's pipeline needs, with the same kernels for all (on CPUs
    without AVX-512, TensorFlow leaves oneDNN's off, and some gradients then take ten times as long; sweeps turn them
    on), and a home of their own, where Ray leaves a token."""
    keras_home = os.environ.get("KERAS_HOME", str(Path.home() / ".keras"))
    fixed = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": keras_home, "HOME": HOME.name}
    fixed |= SET
    fixed["RAY_ADDRESS"] = "local"  # not a cluster that happens to run here
    return {**os.environ, **fixed, **variables}


def cpus_a_trial(at_once: int) -> float:
    """Return how many CPUs a trial has where this machine has room for exactly so many; Ray counts in
    ten-thousandths."""
    return math.floor(1e4 * len(os.sched_getaffinity(0)) / at_once) / 1e4


def megabytes(process: int | None, kind: str = "VmRSS") -> float:
    """Return the memory of a process, by default what is resident, in units of 1024 kB; NaN where there is none.

    RssAnon is its own alone: pages of a mapped file belong to the page cache, one for all readers.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024
    return math.nan
