"""The systems that bench_sweep.py compares, as processes: started, timed, listened to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
HOME = tempfile.TemporaryDirectory(prefix="bench-sweep-home-")  # removed when this process ends


def run_script(module: str, *arguments: str | int | Path) -> float:
    """Run one of our modules; return the seconds that it took. What it prints goes to a file beside its last
    argument."""
    log = Path(arguments[-1]).with_suffix(".log")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    started = time.perf_counter()
    path = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
    with log.open("w") as file:
        done = subprocess.run(
            command, env=environment({"PYTHONPATH": path}), stdout=file, stderr=subprocess.STDOUT, check=False
        )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{log.read_text()[-3000:]}")
    return seconds


def run_printing(command: list[str], variables: Mapping[str, str]) -> tuple[float, list[tuple[float, str]]]:
    """Run a sweep; the seconds that it took, and each line that it printed with when it came.

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
    """Of the systems: TensorFlow, which b2's pipeline needs, and a home of their own, where Ray leaves a token."""
    keras_home = os.environ.get("KERAS_HOME", str(Path.home() / ".keras"))
    fixed = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": keras_home, "HOME": HOME.name}
    fixed["RAY_ADDRESS"] = "local"  # not a cluster that happens to run here
    return {**os.environ, **fixed, **variables}


def milestones(lines: Sequence[tuple[float, str]], seconds: float) -> dict[str, float]:
    """Seconds from one thing that a sweep says to the next."""
    said = {
        "imports, dataset, plan": r"^Starting Ray",
        "Ray, worker, framework, until a trial speaks": r"^\d\d:\d\d:\d\d  ",
        "the trials": r"trials complete",
    }
    spent, last = {}, 0.0
    for name, pattern in said.items():
        when = next((second for second, line in lines if second >= last and re.search(pattern, line)), None)
        if when is not None:
            spent[name], last = when - last, when
    return {**spent, "the end": seconds - last}
