"""What is said of nodes that do not come, or are not fit. On a real SLURM: tests/cluster/test_slurm.py."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from galaxytl.system.command import UsageError
from sweep.scheduling.slurm import job

HERE = platform.python_version()


def fact(**changes: Any) -> dict[str, Any]:
    return {"python": HERE, "time": 1000.0, **changes}


def test_nodes_that_are_alike_pass() -> None:
    job.check_nodes({"n1": fact(), "n2": fact(time=1055.0)}, 990.0, 1003.0)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"python": "3.9.18"}, f"all nodes must have the same Python; n2 has 3.9.18, and the first node {HERE}"),
        ({"time": 4600.0}, "all nodes must have the same time; the clock of n2 is 3597 s off: sbatch --exclude=n2"),
        ({"time": -2610.0}, "the clock of n2 is 3600 s off"),
    ],
)
def test_a_node_that_is_not_fit_is_named(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        job.check_nodes({"n1": fact(), "n2": fact(**facts)}, 990.0, 1003.0)
    assert message in str(caught.value)


def test_ports_are_free_on_all_nodes() -> None:
    assert job.common_ports([[1, 2, 3], [3, 2], [2, 3, 4]]) == 2
    with pytest.raises(UsageError, match="sbatch --exclusive"):
        job.common_ports([[1, 2], [3]])


COMMANDS = {
    "scontrol": "printf 'n1\\nn2\\n'",
    "srun": """case "$*" in
*nodelist=n1*) echo '{"python": "PYTHON", "time": 0, "free": [14000], "granted": "8 CPUs"}'; cat ;;
*) echo "slurmstepd: error: execve(): python: No such file or directory"; exit 2 ;;
esac""",
}
"""Of a site whose second node does not have the Python."""


def test_a_node_that_does_not_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    for name, text in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text.replace('PYTHON', HERE)}\n")
        (tmp_path / name).chmod(0o755)
    site = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "n[1-2]"}
    command = [sys.executable, "-m", "sweep.scheduling.slurm.job", "--grid", "paper"]
    done = subprocess.run(command, env={**os.environ, **site}, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("SLURM job 41: n1, n2\n")
    said = "it said: slurmstepd: error: execve(): python: No such file or directory. Without that node: sbatch --"
    assert "error: n2 must start its Python within 180 s; it did not" in done.stderr
    assert said in done.stderr


def test_outside_of_a_job_it_says_what_to_type() -> None:
    with pytest.raises(UsageError, match=r"got no SLURM_JOB_ID: sbatch cluster-slurm.sbatch on the login node"):
        job.job_of({})
