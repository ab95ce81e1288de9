"""Who is to make activations that a node lacks, who waits, and who copies from whom."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep import copies
from sweep.copies import SILENCE_SECONDS, Answer, Copies
from tests.sweep.sweeps import ROOT

MB = 10**6
VGG16_AT_64_PX = 1_252_786_176
"""Multiply-adds of an image."""


def made_on_a(seconds: float = 60, num_bytes: int = 100 * MB) -> Copies:
    found = Copies()
    assert found.claim("name", "a", "trial") == Answer("MAKE")
    found.made("name", "a", num_bytes, seconds)
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


def test_copies_spread_the_load() -> None:
    found = made_on_a()
    found.made("name", "b", 100 * MB, math.inf)
    assert {found.claim("name", "c", "trial").node for _ in range(2)} == {"a", "b"}


def test_a_node_that_removed_its_own_copies_from_another_or_makes_it_anew() -> None:
    found = made_on_a()
    assert found.claim("name", "a", "trial") == Answer("MAKE")
    found.made("name", "b", 100 * MB, 60)
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
    now = 1000.0
    monkeypatch.setattr(copies.time, "monotonic", lambda: now)
    found = Copies()
    found.claim("name", "a", "trial")
    for _ in range(3):
        now += copies.SILENCE_SECONDS - 1
        assert found.claim("name", "b", "other trial") == Answer("WAIT", "a")
        found.heard("trial")
    now += copies.SILENCE_SECONDS
    assert found.claim("name", "b", "other trial") == Answer("MAKE")


def test_a_maker_that_was_started_again_elsewhere_does_not_wait_for_itself() -> None:
    found = Copies()
    found.claim("name", "a", "trial")
    assert found.claim("name", "b", "trial") == Answer("MAKE")
    assert found.claim("name", "a", "other trial") == Answer("WAIT", "b")


def test_a_maker_that_was_started_again_on_its_node_goes_on() -> None:
    found = Copies()
    assert [found.claim("name", "a", "trial") for _ in range(2)] == [Answer("MAKE")] * 2


# On real Ray, several nodes, each with a cache folder of its own


def on_nodes(case: str, data: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.sweep.hardware_driver", case, str(data), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_a_worker_copies_what_another_node_holds_and_waits_for_no_dead_one(galaxies_file: Path, tmp_path: Path) -> None:
    seen = on_nodes("copier", galaxies_file, tmp_path)
    assert (seen["held"], seen["same"], seen["files"]) == (True, True, ["activations.npy"])
    assert seen["removed"] is False  # it is for this node to make
    assert (seen["claimed"], seen["dead"]) == ("MAKE", False)
    assert 2 < seen["waited"] < SILENCE_SECONDS


@pytest.mark.slow
def test_activations_are_computed_once_in_a_cluster(galaxies_file: Path, tmp_path: Path) -> None:
    """Four trials on two nodes, which need the activations at two cuts."""
    seen = on_nodes("copies", galaxies_file, tmp_path)
    assert [row["status"] for row in seen["rows"]] == ["COMPLETE"] * 4, seen
    assert sum(row["features"] for row in seen["rows"]) == 40 * VGG16_AT_64_PX  # twice that, where each node computes
    first, second = seen["folders"]
    assert len(set(first) | set(second)) == 2
    assert set(first) & set(second)  # both nodes had to do with them


@pytest.mark.slow
def test_a_gpu_that_a_node_promises_and_has_not_fails_its_trials_and_the_sweep_goes_on(
    galaxies_file: Path, tmp_path: Path
) -> None:
    seen = on_nodes("promised", galaxies_file, tmp_path)
    assert [row["status"] for row in seen["with_gpu"]] == ["FAILED"] * 2
    for row in seen["with_gpu"]:
        assert "must see the GPUs that a trial was given, 1 (CUDA_VISIBLE_DEVICES=0); on " in row["message"]
        assert "it sees 0: start Ray there with as many --num-gpus as nvidia-smi lists" in row["message"]
    assert [row["status"] for row in seen["without"]] == ["COMPLETE"], seen
