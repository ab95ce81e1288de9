"""What a search asked for: lines that come back, what damage does to them, and what a row says of objectives."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from galaxytl.results.search.asked_file import (
    FILE_NAME,
    Ending,
    Suggestion,
    append_asked,
    asked_of,
    ending_of,
    read_asked,
)
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from galaxytl.trial.epochs import scored_epoch

ONE = Suggestion({"x": 1}, {"x": {"name": "IntDistribution"}}, "one", {"seed": 1}, costs={"multiply_adds": 7.0})
REFUSED = Suggestion({"x": 2}, {"x": {}}, reason="equal to an earlier trial, one", equal_to="one")
KNOWN = Suggestion(
    {}, {}, "known", is_uncounted=True, known=Ending(PRUNED, (), "asha: below", ((1, 0.5), (3, math.pi)))
)
HEADER = {"asked": 1, "search": {"space": "mine:space"}}


def test_what_was_asked_comes_back_in_order(tmp_path: Path) -> None:
    assert read_asked(tmp_path).suggestions == ()
    append_asked(tmp_path, [HEADER, {"first": [{"x": 3}]}, ONE.to_line()])
    append_asked(tmp_path, [REFUSED.to_line(), KNOWN.to_line()])
    asked = read_asked(tmp_path)
    assert asked.suggestions == (ONE, REFUSED, KNOWN)
    assert (asked.search, asked.first, asked.problems) == (HEADER["search"], ({"x": 3},), ())
    append_asked(tmp_path, [{"trial_id": "one", "reason": "the weights are others"}])
    assert read_asked(tmp_path).suggestions[0].reason == "the weights are others"


def test_a_half_line_and_what_is_none_are_left_out_and_said(tmp_path: Path) -> None:
    append_asked(tmp_path, [HEADER, ONE.to_line()])
    path, line = tmp_path / FILE_NAME, json.dumps(ONE.to_line())
    with path.open("a") as file:
        file.write(line[:40])  # a driver that was killed
    assert "line 3 (half-written) was left out" in read_asked(tmp_path).problems[0]
    append_asked(tmp_path, [REFUSED.to_line()])
    for wrong in (
        "[]",
        '{"params": []}',
        '{"asked": 2}',
        '{"first": [1]}',
        '{"known": {"status": "GONE"}}',
        "[" * 9999,
    ):
        with path.open("a") as file:
            file.write(f"{wrong}\n")
    asked = read_asked(tmp_path)
    assert asked.suggestions == (ONE, REFUSED)
    assert len(asked.problems) >= 5


def test_of_two_drivers_that_asked_for_one_trial_the_first_counts() -> None:
    other = Suggestion({"x": 4}, {"x": {}}, "one")
    assert asked_of([ONE.to_line(), other.to_line()]).suggestions == (ONE,)


def result(status: str, **given: Any) -> TrialResult:
    spec = TrialSpec(dataset="d", dataset_fingerprint="f", validation_fraction=0.1, scored_on="validation")
    history = tuple({"epoch": float(n), "val_accuracy": n / 10, "val_loss": 1 / n} for n in (1, 2))
    return TrialResult(spec=spec, status=status, **{"history": history, "num_parameters": {"total": 7}, **given})


def choosing(**fields: Any) -> TrialResult:
    """A trial that was best after its first epoch, and whose averaged weights were better than either."""
    row = result(COMPLETE, metrics={"accuracy": 0.9, "loss": 0.3})
    history = tuple(epoch | {"val_loss": epoch["epoch"]} for epoch in row.history)
    spec = row.spec.replace(**fields)
    return dataclasses.replace(row, spec=spec, history=history, epoch_scored=scored_epoch(spec, history))


@pytest.mark.parametrize(
    ("row", "objectives", "ending"),
    [
        (choosing(), ["val_accuracy", "val_loss"], Ending(COMPLETE, (0.2, 2.0))),
        (choosing(scored_epoch="best"), ["val_accuracy", "val_loss"], Ending(COMPLETE, (0.1, 1.0))),
        (choosing(average_epochs=2), ["val_accuracy", "val_loss"], Ending(COMPLETE, (0.9, 0.3))),
        # the test part has no say: what is known of the validation part is the last epoch
        (choosing(average_epochs=2, scored_on="test"), ["val_accuracy"], Ending(COMPLETE, (0.2,))),
        (result(COMPLETE), ["val_accuracy"], Ending(COMPLETE, (0.2,))),
        (result(COMPLETE), ["val_loss", "parameters"], Ending(COMPLETE, (0.5, 7.0))),
        (result(COMPLETE), ["multiply_adds"], Ending(COMPLETE, (9.0,))),
        (result(COMPLETE, history=()), ["val_loss"], Ending(FAILED, reason="an objective is not a finite number")),
        (result(PRUNED, message="late"), ["val_loss"], Ending(PRUNED, (), "late", ((2, 0.5),))),
        (result(PRUNED, message="late"), ["multiply_adds"], Ending(PRUNED, (), "late", ((2, 0.2),))),
        (result(PRUNED, message="late"), ["val_loss", "parameters"], Ending(PRUNED, (), "late")),
        (result(FAILED, message="nan"), ["val_loss"], Ending(FAILED, (), "nan")),
    ],
)
def test_what_the_sampler_is_told_of_a_row(row: TrialResult, objectives: list[str], ending: Ending) -> None:
    assert ending_of(row, objectives, {"multiply_adds": 9.0}) == ending
