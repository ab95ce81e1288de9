"""`sweep.scheduling.tune` on real Ray: Tune and Ray do their part of what is promised. The driver is
`schedule_driver.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from galaxytl.trial import COMPLETE, FAILED, PRUNED
from tests.sweep.sweeps import ROOT, joining

pytestmark = [pytest.mark.rest, pytest.mark.alone]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.sweep.schedule_driver", str(tmp_path_factory.mktemp("schedule"))]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False, env=joining(ray_address)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_searchs_groups_are_asked_for_as_there_is_room_and_stopped_where_it_says(seen: dict[str, Any]) -> None:
    """Eight groups of a trial, of which those with an odd seed are to stop after three epochs; then one more."""
    rows = seen["search"]["rows"]
    assert max(seen["search"]["under_way"]) <= 2  # when each was asked for, itself included; in all there may be two
    assert rows[-1]["seed"] == 9
    assert sorted(row["seed"] for row in rows) == [*range(8), 9]
    for row in rows:
        stopped = row["seed"] % 2 and row["seed"] != 9
        assert (row["status"], row["epochs"]) == ((PRUNED, 3) if stopped else (COMPLETE, 10))


def test_a_group_whose_worker_is_killed_goes_on_with_the_trials_that_were_not_reported(seen: dict[str, Any]) -> None:
    assert seen["dies"] == {"begun": [0, 1, 2, 2, 3], "rows": [0, 1, 2, 3], "statuses": [COMPLETE]}


def test_a_trial_whose_worker_fails_or_dies_each_time_says_why(seen: dict[str, Any]) -> None:
    messages = seen["fails"]["messages"]
    assert seen["fails"]["statuses"] == [FAILED]
    assert messages["0"] == "the worker failed 3 times: OSError: no way to the disk"
    assert re.match("the worker process died 3 times: .*(died|killed|unexpected)", messages["1"])


def test_what_the_driver_itself_cannot_do_comes_out_as_it_is(seen: dict[str, Any]) -> None:
    """In making a group, and in what it does with a row."""
    assert seen["broken"] == seen["broken_in_a_callback"] == {"raised": "FullDiskError", "is_itself": True}
