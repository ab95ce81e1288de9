"""Which trial of a results folder is exported: the one that is named, or the best by validation accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from galaxytl.results.ranking import best, is_ranked
from galaxytl.system.command import UsageError
from galaxytl.trial import COMPLETE, TrialResult
from sweep.progress.terminal import trial_label, varied_fields

MOST_LISTED: Final = 12
"""Trials that a message lists."""


@dataclass(frozen=True)
class Wish:
    """What the user says of the trial."""

    trial: str = ""
    """Its id, or the beginning of it; "" for the best."""
    settings: Mapping[str, Any] | None = None
    """Values of fields that it must have."""


class UnchosenError(UsageError):
    """None, or none alone, of these trials is meant."""

    def __init__(self, message: str, results: Sequence[TrialResult]) -> None:
        super().__init__(message)
        self.results = results


def choose(results: Sequence[TrialResult], wish: Wish) -> tuple[TrialResult, str]:
    """Return the trial, and by what it was chosen. Raises UsageError where none, or none alone, is meant."""
    if wish.trial and wish.settings:
        raise UsageError("--trial names one trial, and --where chooses among several: give one of the two; got both")
    if wish.trial:
        return _named(results, wish.trial), "named by its id"
    wanted = wish.settings or {}
    fitting = [r for r in results if all(getattr(r.spec, name) == value for name, value in wanted.items())]
    complete = [result for result in fitting if result.status == COMPLETE]
    if not complete:
        raise _no_trial(results, fitting, wanted)
    if len({result.spec.dataset_fingerprint for result in complete}) > 1:
        how = "add --trial ID, or --where dataset_fingerprint=..."
        raise UnchosenError(f"trials on different images are not compared: {how}", complete)
    ranked = [result for result in complete if is_ranked(result)]
    if ranked:
        return best(ranked, 1)[0], f"the best of {len(ranked)} by validation accuracy"
    if len(complete) == 1:
        return complete[0], "the only one of these settings"
    raise UnchosenError(
        "a trial must be named where none has a validation part: the test part, which says how good a trial is, must "
        "not choose it. Add --trial ID, or --where FIELD=VALUE until one is left",
        complete,
    )


def _named(results: Sequence[TrialResult], name: str) -> TrialResult:
    named = [result for result in results if result.trial_id.startswith(name.lower())]
    if len(named) != 1:
        what = f"{len(named)} trials' ids begin with '{name}'" if named else f"no trial's id begins with '{name}'"
        raise UnchosenError(f"--trial must be the id of one trial, or its beginning; {what}", named or results)
    if named[0].status != COMPLETE:
        why = f": {named[0].message}" if named[0].message else ""
        raise UsageError(f"only a COMPLETE trial can be exported; {named[0].trial_id} is {named[0].status}{why}")
    return named[0]


def _no_trial(
    results: Sequence[TrialResult], fitting: Sequence[TrialResult], wanted: Mapping[str, Any]
) -> UnchosenError:
    if not results:
        return UnchosenError("only a COMPLETE trial can be exported; there is no trial yet", [])
    if fitting:
        return UnchosenError("only a COMPLETE trial can be exported; none of these is", fitting)
    settings = " ".join(f"--where {name}={value}" for name, value in wanted.items())
    return UnchosenError(f"no trial has {settings}", results)


def listed(results: Sequence[TrialResult]) -> list[str]:
    """Return trials by id, a line each."""
    varied = varied_fields(result.spec for result in results)
    lines = [f"  {r.trial_id}  {trial_label(r.spec, varied)}: {_score(r)}" for r in results[:MOST_LISTED]]
    more = len(results) - len(lines)
    return [*lines, *([f"  and {more} more"] if more else [])]


def _score(result: TrialResult) -> str:
    accuracy = result.metrics.get("accuracy")
    scored = f"{result.spec.scored_on} accuracy {accuracy:.3f}" if accuracy is not None else result.status
    return f"{scored}, on {result.spec.dataset} {result.spec.dataset_fingerprint[:12]}"
