"""One trial in several rows, of one results folder or of several: which counts, and when they contradict each other.

    choose_copy([Copy(Path("results/a"), first), Copy(Path("results/b"), second)])    # an error where they differ

A folder that was copied holds the same rows twice, which are one trial. Two trainings of one trial that gave different
numbers (graphics processors add in any order) are two trials with one name: which of them is meant, only their owner
knows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.trial import COMPLETE, PRUNED, TrialResult


class ContradictionError(ValueError):
    """Two rows of one trial have different outcomes; the message shows both and says what to do."""


@dataclass(frozen=True)
class Copy:
    """A trial's row in one of the folders."""

    folder: Path
    result: TrialResult


FINDINGS: Final = ("curves_on", "class_names")
"""Fields that say what came of a trial, beside its metrics, confusions and epochs. Others say how, where and when."""
OF_THE_RUN: Final = ("seconds", "resumed")
"""Entries of an epoch that another run of the same trial has others of."""


def choose_copy(copies: Sequence[Copy]) -> Copy:
    """Return the row that counts, the same in whatever order they come: one that is COMPLETE; else one that diverged,
    which is an end too; else one that was PRUNED. Of equals one whose predictions are there.

    Raises ContradictionError where two of them contradict each other."""
    ordered = sorted(copies, key=_rank)
    ends = [copy for copy in ordered if _is_end(copy.result)]
    for first, second in itertools.combinations(ends, 2):
        if found := next(contradictions(first.result, second.result), None):
            raise ContradictionError(_refusal(first, second, *found))
    return ordered[0]


def _rank(copy: Copy) -> tuple[Any, ...]:
    result = copy.result
    order = (result.status == COMPLETE, _is_end(result), result.status == PRUNED)
    name = result.probabilities or f"probabilities/{result.trial_id}.parquet"
    has_predictions = (copy.folder / name).is_file()
    return (*(not one for one in order), not has_predictions, result.started, result.message, str(copy.folder))


def _is_end(result: TrialResult) -> bool:
    """Return whether the trial came to an end of its own: it is COMPLETE, or its loss became infinite."""
    return result.status == COMPLETE or result.message.startswith("diverged")


def contradictions(first: TrialResult, second: TrialResult) -> Iterator[tuple[str, Any, Any]]:
    """Yield what two rows of one trial say differently: its name, and both values. What one of them lacks is no
    contradiction: earlier versions recorded less. Nothing else is asked of two that diverged."""
    if first.status != second.status:
        yield "status", first.status, second.status
    elif first.status == COMPLETE:
        with_counts = first.confusion != second.confusion  # of 1,000 classes there are a million
        own, other = _findings(first, with_counts), _findings(second, with_counts)
        yield from ((name, own[name], other[name]) for name in own if name in other and own[name] != other[name])


def _findings(result: TrialResult, with_counts: bool) -> dict[str, Any]:
    """Return what came of a trial, by name, the most telling first. NaN, which equals nothing, is None."""
    found: dict[str, Any] = {name: result.metrics[name] for name in sorted(result.metrics)}
    for true, row in enumerate(result.confusion if with_counts else ()):
        found |= {f"confusion of class {true} with {predicted}": count for predicted, count in enumerate(row)}
    found |= {name: value for name in FINDINGS if (value := getattr(result, name))}
    found |= {f"number of {name} images": number for name, number in result.num_images.items()}
    found |= {"the number of epochs": len(result.history)} if result.history else {}
    for epoch in result.history:
        number = f"{epoch['epoch']:g}"
        found |= {f"{name} of epoch {number}": epoch[name] for name in sorted(epoch) if name not in OF_THE_RUN}
    return {name: None if _is_nan(value) else value for name, value in found.items()}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _refusal(first: Copy, second: Copy, name: str, one: Any, other: Any) -> str:
    rule = f"a trial has one outcome; trial {first.result.trial_id} has two"
    if first.folder == second.folder:
        values = f"{name} is {one} in one row of '{first.folder}' and {other} in another"
        return f"{rule}: {values}. It was trained twice: take one of its rows out of the file"
    values = f"{name} is {one} in '{first.folder}' and {other} in '{second.folder}'"
    todo = "name only one of the folders, or take the trial's row out of the other"
    return f"{rule}: {values}. It was trained twice: {todo}"
