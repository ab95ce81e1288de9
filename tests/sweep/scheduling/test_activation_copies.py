"""Who is to make activations that a node lacks, who waits, and who copies from whom."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.scheduling import activation_copies
from sweep.scheduling.activation_copies import SILENCE_SECONDS, Answer, Copies
from tests.sweep.sweeps import ROOT

MB = 10**6
VGG16_AT_64_PX = 1_252_786_176
"""Multiply-adds of an image."""


def made_on_a(seconds: float = 60) -> Copies:
    found = Copies()
    found.claim("name", "a", "trial")
    found.made("name", "a", 100 * MB, seconds)
    return found


def test_the_first_makes_and_the_others_wait_and_copy() -> None:
    found = Copies()
    assert found.claim("name", "a", "trial") == Answer("MAKE")
    assert found.claim("name", "b", "other trial") == Answer("WAIT", "a")
    assert found.claim("other name", "b", "other trial") == Answer("MAKE")
    found.made("name", "a", 100 * MB, 60)
    assert found.claim("name", "b", "other trial") == Answer("COPY", "a", 100 * MB, 60)


@pytest.mark.parametrize(("seconds", "what"), [(1.01, "COPY"), (0.99, "MAKE"), (math.inf, "COPY")])
def test_what_is_computed_faster_than_it_is_copied_is_computed(seconds: float, what: str) -> None:
    """100 MB take a second."""
    assert made_on_a(seconds).claim("name", "b", "trial").what == what
    assert made_on_a(seconds).claim("name", "b", "trial", at_any_price=True).what == "COPY"


def test_copies_spread_the_load_and_a_node_that_removed_its_own_gets_another() -> None:
    found = made_on_a()
    assert found.claim("name", "a", "trial") == Answer("MAKE")  # there is no other
    found.made("name", "b", 100 * MB, math.inf)
    assert {found.claim("name", "c", "trial").node for _ in range(2)} == {"a", "b"}
    assert found.claim("name", "a", "trial").node == "b"


@pytest.mark.parametrize("is_made", [True, False])
def test_of_a_node_that_lost_it_or_died_nothing_is_expected(is_made: bool) -> None:
    found = made_on_a() if is_made else Copies()
    if not is_made:
        found.claim("name", "a", "trial")
    assert found.claim("name", "b", "other trial").node == "a"
    found.lost("name", "a")
    assert found.claim("name", "b", "other trial") == Answer("MAKE")
    assert found.claim("name", "a", "trial") == Answer("WAIT", "b")
    found.lost("name", "a")  # said late, by another one: it is b that makes it now
    assert found.claim("name", "a", "trial") == Answer("WAIT", "b")


def test_a_trial_that_is_silent_for_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(activation_copies, "time", clock)
    found = Copies()
    found.claim("name", "a", "trial")
    for _ in range(3):
        clock.now += SILENCE_SECONDS - 1
        assert found.claim("name", "b", "other trial") == Answer("WAIT", "a")
        found.heard("trial")
    clock.now += SILENCE_SECONDS
    assert found.claim("name", "b", "other trial") == Answer("MAKE")


def test_a_maker_that_was_started_again_goes_on_or_begins_elsewhere_and_waits_not_for_itself() -> None:
    found = Copies()
    assert [found.claim("name", "a", "trial") for _ in range(2)] == [Answer("MAKE")] * 2
    assert found.claim("name", "b", "trial") == Answer("MAKE")
    assert found.claim("name", "a", "other trial") == Answer("WAIT", "b")


# On real Ray: workers on several nodes, each with a cache folder of its own, copy from each other as Ray moves objects


def on_nodes(case: str, data: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.sweep.hardware_driver", case, str(data), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.rest
@pytest.mark.alone
def test_a_worker_copies_what_another_node_holds_and_waits_for_no_dead_one(galaxies_file: Path, tmp_path: Path) -> None:
    seen = on_nodes("copier", galaxies_file, tmp_path)
    assert (seen["held"], seen["same"], seen["files"]) == (True, True, ["activations.npy"])
    assert seen["removed"] is False  # it is for this node to make
    assert (seen["claimed"], seen["dead"]) == ("MAKE", False)
    assert 2 < seen["waited"] < SILENCE_SECONDS


@pytest.mark.rest
@pytest.mark.alone
def test_activations_are_computed_once_in_a_cluster(galaxies_file: Path, tmp_path: Path) -> None:
    """Four trials on two nodes, which need the activations at two cuts."""
    seen = on_nodes("copies", galaxies_file, tmp_path)
    assert [row["status"] for row in seen["rows"]] == ["COMPLETE"] * 4, seen
    assert sum(row["features"] for row in seen["rows"]) == 40 * VGG16_AT_64_PX  # twice that, where each node computes
    first, second = seen["folders"]
    assert len(set(first) | set(second)) == 2
    assert set(first) & set(second)  # both nodes had to do with them
