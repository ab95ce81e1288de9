"""The witness of interrupted sweeps sees each promise that is broken."""

from __future__ import annotations

import json
from pathlib import Path

from galaxytl.results.rows import append_results
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.cluster.witness import Account, account_of

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", num_epochs=5)


def told(place: Path, epochs: list[tuple[str, int]], rows: int = 1, after_row: int = 0) -> Account:
    """What is found when these processes finished these epochs; the row came before the last `after_row` of them."""
    history = tuple({"epoch": float(number)} for number in range(1, 6))
    lines = [{"what": "epoch", "trial": SPEC.trial_id, "epoch": number, "by": by} for by, number in epochs]
    lines.insert(len(lines) - after_row, {"what": "row", "trial": SPEC.trial_id, "by": "driver"})
    place.mkdir()
    (place / "witness").write_text("\n".join(map(json.dumps, lines)))
    for _ in range(rows):
        append_results(place, TrialResult(spec=SPEC, status=COMPLETE, history=history))
    return account_of(place / "witness", place, 1)


def by(process: str, first: int, last: int) -> list[tuple[str, int]]:
    return [(process, number) for number in range(first, last + 1)]


def test_what_may_happen_is_counted(tmp_path: Path) -> None:
    for number, (epochs, after_row, counts) in enumerate(
        (
            ([*by("a", 1, 3), *by("b", 3, 5)], 0, (1, 1, 1)),  # an interruption that costs an epoch
            # a machine that was cut off finishes the epoch that it was at; then when the trial has ended elsewhere
            ([*by("a", 1, 2), *by("b", 3, 4), *by("a", 3, 3), *by("b", 5, 5)], 0, (1, 1, 1)),
            ([*by("a", 1, 3), *by("b", 4, 5), *by("a", 4, 4)], 1, (1, 1, 1)),
            ([*by("a", 1, 2), *by("b", 3, 3), *by("a", 3, 5)], 0, (2, 2, 1)),  # it comes back to one that had it before
            ([*by("a", 1, 1), *by("b", 1, 5)], 0, (1, 0, 1)),  # it began anew: it was not resumed
        )
    ):
        seen = told(tmp_path / str(number), epochs, after_row=after_row)
        assert (seen.interruptions, seen.resumed, seen.repeated) == counts
        assert seen.violations == []


def test_a_broken_promise_is_seen(tmp_path: Path) -> None:
    for number, (epochs, rows, after_row, violation) in enumerate(
        (
            ([*by("a", 1, 3), *by("b", 2, 5)], 1, 0, "had finished epoch 3 and went on with epoch 2"),
            ([*by("a", 1, 1), *by("b", 2, 4), *by("a", 2, 3), *by("b", 5, 5)], 1, 0, "(epoch 3) by one from whom anot"),
            (by("a", 1, 5), 2, 0, "has 2 rows"),
            ([*by("a", 1, 5), *by("b", 5, 5)], 1, 1, "was trained (epoch 5) after its row was written"),
            ([*by("a", 1, 2), *by("a", 4, 5)], 1, 0, "went from epoch 2 to 4 in one process"),
        )
    ):
        (seen,) = told(tmp_path / str(number), epochs, rows, after_row).violations
        assert violation in seen
