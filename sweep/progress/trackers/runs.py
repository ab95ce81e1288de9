"""What a tracker is told of a sweep: a parent run for the sweep, a child run for each trial, made of its row.

child = child_run(result, line)
child.params["learning_rate"], child.history[0].values["val_accuracy"], child.scores["test/accuracy"]
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from galaxytl.trial import ADDED, DAMAGE, SET_BY_SWEEP, TrialResult, TrialSpec
from sweep.progress.terminal import trial_label

SIMULATED: Final = "SIMULATED galaxies: not comparable with real ones"
NAMED_BY: Final = ("optimizer", "learning_rate")
"""Fields that are in the name of a child, beside network, start and depth."""
NOT_MEASURED: Final = ("epoch", "resumed")
"""Of a row's history."""


@dataclass(frozen=True)
class ParentRun:
    """Of a sweep."""

    identity: str
    """The same for each driver of the sweep, and for no other sweep."""
    name: str
    folder: Path
    """Its results folder."""


@dataclass(frozen=True)
class Point:
    """The end of an epoch."""

    epoch: int
    time: float
    """In seconds since 1970."""
    values: Mapping[str, float]


@dataclass(frozen=True)
class ChildRun:
    """Of a trial that has ended. Names and values are the same in every tracker."""

    trial_id: str
    row: str
    """Digest of the row: a tracker that has it has all of the trial."""
    name: str
    status: str
    params: Mapping[str, Any]
    history: tuple[Point, ...]
    scores: Mapping[str, float]
    """Of the finished trial, by the part that it is scored on: "test/accuracy"; infinite and NaN as they are."""
    labels: Mapping[str, str]
    """Texts: what it is of, how it ended, and what is not real in it."""
    began: float
    """In seconds since 1970."""
    ended: float

    @property
    def note(self) -> str:
        """Sentences for who looks at this run alone: why it ended so, and what is not real in it."""
        warnings = (text for name, text in self.labels.items() if name in ("message", "warning", "damage"))
        return ". ".join(warnings)


class Tracker(Protocol):
    """Where runs are kept. Each method may raise whatever it likes where it cannot be reached: it is then opened anew,
    and says by `rows` what it has."""

    place: str
    """For people: where to look, or what to type."""

    def rows(self) -> dict[str, str]:
        """Return the digest of its row by trial_id, of each child that is there whole."""

    def write(self, child: ChildRun) -> None:
        """Write the child in place of whatever there is of its trial. When this returns, `rows` has it."""

    def close(self, counts: Mapping[str, int]) -> None:
        """End the parent run. counts: of trials by their status."""


def row_digest(line: bytes) -> str:
    """Return 16 hexadecimal digits of a row as it stands in the file."""
    return hashlib.sha256(line).hexdigest()[:16]


def child_run(result: TrialResult, line: bytes) -> ChildRun:
    """Return the run of a trial; `line` is its row."""
    spec = result.spec
    began = datetime.fromisoformat(result.started).timestamp() if result.started else 0.0
    history, clock = [], began
    for epoch in result.history:
        seconds = epoch.get("seconds") or 0.0
        clock += seconds if math.isfinite(seconds) else 0.0
        values = {name: value for name, value in epoch.items() if name not in NOT_MEASURED and value is not None}
        history.append(Point(int(epoch["epoch"]), clock, values))
    scores = {f"{spec.scored_on}/{name}": value for name, value in result.metrics.items() if value is not None}
    return ChildRun(
        trial_id=result.trial_id,
        row=row_digest(line),
        name=trial_label(spec, named_by(spec)),
        status=result.status,
        params=spec.fields(),
        history=tuple(history),
        scores=scores,
        labels=labels_of(result),
        began=began,
        ended=max(clock, began + (result.timings.get("total") or 0.0)),
    )


def named_by(spec: TrialSpec) -> list[str]:
    """Return the fields whose values a run's name has, beside those of each trial: those of later versions that the
    trial uses. Runs of other sweeps stand beside it, so that nobody knows which fields differ."""
    used = [name for name in spec.to_dict() if name in ADDED and name not in SET_BY_SWEEP]
    is_first_fold = spec.num_folds and "fold" not in used
    return [*NAMED_BY, *used, *(["fold"] if is_first_fold else [])]


def labels_of(result: TrialResult) -> dict[str, str]:
    """Return what a person must know of the trial, by name; nothing that does not apply."""
    spec = result.spec
    labels = {
        "trial_id": result.trial_id,
        "status": result.status,
        "message": result.message,
        "dataset": spec.dataset,
        "start": spec.weights_label,
        "curves_on": result.curves_on,
        "scored_on": spec.scored_on,
        "resumed_after": ", ".join(map(str, result.resumed_after)),
        "damage": result.environment.get(DAMAGE, ""),
        "warning": warning(spec),
    }
    return {name: text for name, text in labels.items() if text}


def warning(spec: TrialSpec) -> str:
    """Return what is not real in a trial's data and weights."""
    unreal = [SIMULATED] if spec.is_simulated else []
    return "; ".join([*unreal, *([spec.weights_label] if spec.is_substituted else [])])
