"""`sweep.schedule` on real Ray, in a process of its own: `schedule_driver.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from galaxytl.trial import COMPLETE, FAILED, PRUNED
from tests.sweep.sweeps import ROOT

pytestmark = pytest.mark.slow


def on_ray(case: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.sweep.schedule_driver", case, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_searchs_groups_are_asked_for_as_there_is_room_and_stopped_where_it_says(tmp_path: Path) -> None:
    """Eight groups of a trial, of which those with an odd seed are to stop after three epochs; then one more."""
    seen = on_ray("search", tmp_path)
    assert max(seen["under_way"]) <= 2  # when each was asked for, itself included; in all there may be two
    assert [row["seed"] for row in seen["rows"]][-1] == 9
    assert sorted(row["seed"] for row in seen["rows"]) == [*range(8), 9]
    for row in seen["rows"]:
        stopped = row["seed"] % 2 and row["seed"] != 9
        assert (row["status"], row["epochs"]) == ((PRUNED, 3) if stopped else (COMPLETE, 10))


def test_a_group_whose_worker_is_killed_goes_on_with_the_trials_that_were_not_reported(tmp_path: Path) -> None:
    seen = on_ray("dies", tmp_path)
    assert seen == {"begun": [0, 1, 2, 2, 3], "rows": [0, 1, 2, 3], "statuses": [COMPLETE]}


def test_a_trial_whose_worker_fails_or_dies_each_time_says_why(tmp_path: Path) -> None:
    seen = on_ray("fails", tmp_path)
    assert seen["statuses"] == [FAILED]
    assert seen["messages"]["0"] == "the worker failed 3 times: OSError: no way to the disk"
    assert re.match("the worker process died 3 times: .*(died|killed|unexpected)", seen["messages"]["1"])


@pytest.mark.parametrize("broken", ["finished", "epochs", "groups"])
def test_what_the_driver_itself_cannot_do_comes_out_as_it_is(tmp_path: Path, broken: str) -> None:
    assert on_ray(broken, tmp_path) == {"raised": "FullDiskError", "is_itself": True}


def test_what_python_collects_while_ray_shuts_down_does_not_end_the_driver(tmp_path: Path) -> None:
    seen = on_ray("collected", tmp_path)
    assert seen["dropped"] > 10  # while it did
    assert seen["collects"]
