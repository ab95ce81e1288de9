"""A child run has what its row says: settings, curves, scores, and what is not real in it."""

from __future__ import annotations

import math

from galaxytl.results.rows import results_in, row_line
from galaxytl.trial import DAMAGE
from sweep.progress.trackers.runs import SIMULATED, child_run, named_by
from tests.sweep.progress.trackers.rows import make_child, make_failed, make_result

NOON = 1796040000.0
"""2026-11-30 12:00 UTC."""


def test_a_row_becomes_a_run() -> None:
    child = make_child(make_result(3))
    assert (
        child.name == "VGG16, random (ImageNet weights not found), frozen, optimizer adam, learning_rate 0.0001, seed 3"
    )
    assert child.params["learning_rate"] == 1e-4
    assert [(point.epoch, point.time - NOON) for point in child.history] == [(1, 2.0), (2, 4.0)]
    assert child.history[0].values == {"loss": 1.0, "val_accuracy": 0.1, "val_loss": 2.0, "seconds": 2.0}
    assert math.isnan(child.history[1].values["val_loss"])
    assert child.scores == {"test/accuracy": 0.2, "test/loss": 1.5}
    assert (child.began - NOON, child.ended - NOON) == (0.0, 10.0)


def test_what_is_not_real_is_said_and_nothing_else() -> None:
    labels = make_child(make_result(0, environment={DAMAGE: "3 black images"})).labels
    assert labels["warning"] == f"{SIMULATED}; random (ImageNet weights not found)"
    assert labels["damage"] == "3 black images"
    assert labels["resumed_after"] == "1"
    real = {"dataset": "galaxy10_decals", "weights": "imagenet"}
    assert "warning" not in make_child(make_result(0, spec=real)).labels


def test_a_trial_that_failed_at_once_has_its_reason() -> None:
    child = make_child(make_failed(0))
    assert (child.history, child.scores, child.began) == ((), {}, 0.0)
    assert child.note.startswith("out of memory. SIMULATED")


def test_the_digest_is_of_the_row_as_it_stands_in_the_file() -> None:
    line = row_line(make_result(0))
    (read,) = results_in(line)
    assert child_run(read, line) == child_run(read, line)  # type: ignore[arg-type]
    assert child_run(read, line).row != child_run(read, line + b" ").row  # type: ignore[arg-type]


def test_a_run_is_named_by_the_later_fields_that_it_uses() -> None:
    spec = make_result(0).spec
    assert named_by(spec) == ["optimizer", "learning_rate"]
    assert named_by(spec.replace(schedule="cosine"))[2:] == ["schedule"]
    assert named_by(spec.replace(num_folds=5))[2:] == ["num_folds", "fold"]
