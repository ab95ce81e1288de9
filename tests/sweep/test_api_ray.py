"""Sweeps from a program, on a Ray of their own: only there workers look for modules where Ray tells them to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep.sweeps import ROOT

pytestmark = [pytest.mark.alone, pytest.mark.rest]

PROGRAM = """
import json, signal
from sweep import run_grid, run_search

tiny = {"backbone": "VGG16", "weights": "random", "unfrozen_blocks": 0, "image_size": 32, "batch_size": 16}
tiny |= {"num_epochs": 1, "validation_fraction": 0.35}
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
grid = dict(data="simulated:100", out="grid", settings={**tiny, "learning_rate": [1e-2, 1e-3]}, diagnostics=False)
first = run_grid("paper", **grid)
again = run_grid("paper", **{**grid, "settings": {**tiny, "learning_rate": [1e-3]}})
found = run_search(trials=2, data="simulated:100", out="found", space="my_space:space", quiet=True,
                   settings={name: value for name, value in tiny.items() if name not in ("weights", "unfrozen_blocks")})
assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
said = {"first": first.status.tolist(), "again": again.learning_rate.tolist(), "asked": found.scored_on.tolist()}
print(json.dumps({**said, "messages": [*first.message, *found.message]}))
"""
SPACE = """
def space(trial, facts):
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    return {"backbone": "VGG16", "weights": "random", "unfrozen_blocks": 0, "optimizer": "adam", "learning_rate": rate}
"""


def test_a_program_runs_sweeps_where_a_user_has_files_of_the_projects_names(tmp_path: Path) -> None:
    """A grid, what is left of it, and a search with a space that lies beside them."""
    users = tmp_path / "users"
    (users / "analysis").mkdir(parents=True)
    for name in ("sweep.py", "galaxytl.py", "analysis/__init__.py"):
        (users / name).write_text('raise RuntimeError("a file of the user was imported")\n')
    (users / "my_space.py").write_text(SPACE)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        cwd=users,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *printed, last = done.stdout.splitlines()
    said = json.loads(last)
    assert said["messages"] == [""] * len(said["messages"])
    assert said["first"] == ["COMPLETE"] * 2
    assert said["again"] == [1e-3]
    assert sorted(said["asked"]) == ["test", "validation", "validation"]
    assert (
        sum(line.startswith("Starting Ray") for line in printed) == 1
    )  # nothing was left to train, and search is quiet
