"""The witness of interrupted sweeps sees each promise that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from galaxytl.results import append_results
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.cluster.witness import Account, account_of

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", num_epochs=5)


def told(place: Path, epochs: list[tuple[str, int]], rows: int = 1, after_row: int = 0) -> Account:
    """What is found when these processes finished these epochs; the row came before the last `after_row` of them."""
    history = tuple({"epoch": float(number)} for number in range(1, 6))
    lines = [{"what": "epoch", "trial": SPEC.trial_id, "epoch": number, "by": by} for by, number in epochs]
    lines.insert(len(lines) - after_row, {"what": "row", "trial": SPEC.trial_id, "by": "driver"})
    (place / "witness").write_text("\n".join(map(json.dumps, lines)))
    for _ in range(rows):
        append_results(place, TrialResult(spec=SPEC, status=COMPLETE, history=history))
    return account_of(place / "witness", place, 1)


def by(process: str, first: int, last: int) -> list[tuple[str, int]]:
    return [(process, number) for number in range(first, last + 1)]


def test_an_interruption_that_costs_an_epoch_is_none_too_many(tmp_path: Path) -> None:
    seen = told(tmp_path, [*by("a", 1, 3), *by("b", 3, 5)])
    assert (seen.interruptions, seen.resumed, seen.repeated, seen.violations) == (1, 1, 1, [])


def test_a_machine_that_was_cut_off_may_finish_the_epoch_that_it_was_at(tmp_path: Path) -> None:
    seen = told(tmp_path, [*by("a", 1, 2), *by("b", 3, 4), *by("a", 3, 3), *by("b", 5, 5)])
    assert (seen.interruptions, seen.resumed, seen.repeated, seen.violations) == (1, 1, 1, [])


def test_it_may_finish_it_when_the_trial_has_ended_elsewhere(tmp_path: Path) -> None:
    seen = told(tmp_path, [*by("a", 1, 3), *by("b", 4, 5), *by("a", 4, 4)], after_row=1)
    assert (seen.interruptions, seen.resumed, seen.repeated, seen.violations) == (1, 1, 1, [])


def test_a_trial_may_come_back_to_a_process_that_had_it_before(tmp_path: Path) -> None:
    seen = told(tmp_path, [*by("a", 1, 2), *by("b", 3, 3), *by("a", 3, 5)])
    assert (seen.interruptions, seen.repeated, seen.violations) == (2, 1, [])


def test_a_trial_that_began_anew_was_not_resumed(tmp_path: Path) -> None:
    seen = told(tmp_path, [*by("a", 1, 1), *by("b", 1, 5)])
    assert (seen.interruptions, seen.resumed, seen.violations) == (1, 0, [])


@pytest.mark.parametrize(
    ("epochs", "rows", "after_row", "violation"),
    [
        ([*by("a", 1, 3), *by("b", 2, 5)], 1, 0, "had finished epoch 3 and went on with epoch 2"),
        ([*by("a", 1, 1), *by("b", 2, 4), *by("a", 2, 3), *by("b", 5, 5)], 1, 0, "(epoch 3) by one from whom another"),
        (by("a", 1, 5), 2, 0, "has 2 rows"),
        ([*by("a", 1, 5), *by("b", 5, 5)], 1, 1, "was trained (epoch 5) after its row was written"),
        ([*by("a", 1, 2), *by("a", 4, 5)], 1, 0, "went from epoch 2 to 4 in one process"),
    ],
)
def test_a_broken_promise_is_seen(
    tmp_path: Path, epochs: list[tuple[str, int]], rows: int, after_row: int, violation: str
) -> None:
    (found,) = told(tmp_path, epochs, rows, after_row).violations
    assert violation in found
