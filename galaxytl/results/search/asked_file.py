"""`asked.jsonl`: what a search asked for, one line a suggestion, in order. What became of each trial, its row says.

    asked = read_asked(folder)                       # by anyone; asked.problems says what could not be read
    append_asked(folder, lines, check)               # by the search's driver, before a trial starts
    ending_of(row, ["val_accuracy"], {})             # what a row says of the objectives

    {"asked": 1, "search": {...}}                                   what all trials have in common
    {"first": [{...}]}                                              parameters that are to be tried first
    {"params": {...}, "distributions": {...}, "trial_id": "..."}    a trial
    {"params": {...}, "distributions": {...}, "reason": "..."}      a suggestion that is no trial
    {"trial_id": "...", "reason": "..."}                            a trial from above that will have no row

A suggestion's number is its place among the suggestions. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from galaxytl.results.rows import Problems, append_lines, lines_of, locked_rows
from galaxytl.system.strict_json import check_depth, read_json, shown
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult
from galaxytl.trial.epochs import scored_values

FILE_NAME: Final = "asked.jsonl"
FORMAT: Final = 1


class AskedError(ValueError):
    """A line of asked.jsonl is none; the message says why."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended, as the sampler is told."""

    status: str
    """COMPLETE, PRUNED or FAILED."""
    values: tuple[float, ...] = ()
    """Of the objectives; a COMPLETE trial's only."""
    reason: str = ""
    """Why it is not COMPLETE."""
    epochs: tuple[tuple[int, float], ...] = ()
    """Epochs whose value the sampler knows: of a PRUNED trial the last one at least."""


@dataclass(frozen=True)
class Suggestion:
    params: Mapping[str, Any]
    distributions: Mapping[str, Mapping[str, Any]]
    """Of each parameter, as Optuna writes it in JSON."""
    trial_id: str = ""
    """Empty where the suggestion was no trial, or one that there had been."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the space gave."""
    reason: str = ""
    """Why it has no row, and will have none."""
    equal_to: str = ""
    """The earlier trial that was suggested again."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Objectives that are known before the training."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler noted."""
    is_uncounted: bool = False
    """Not one of the trials that the user asked for."""
    known: Ending | None = None
    """How it ended, of a trial of an earlier sweep: that one's row is elsewhere."""

    def to_line(self) -> dict[str, Any]:
        """Return the line, without what is empty."""
        parameters = {"params": dict(self.params), "distributions": dict(self.distributions)}
        return parameters | {name: value for name, value in asdict(self).items() if value and name not in parameters}


@dataclass(frozen=True)
class Asked:
    """What a search has asked for so far."""

    search: Mapping[str, Any] | None = None
    """What all its trials have in common; None: nothing was asked yet."""
    first: tuple[Mapping[str, Any], ...] | None = None
    """Parameters to try first, also when they were tried; None: nobody said so far."""
    suggestions: tuple[Suggestion, ...] = ()
    problems: tuple[str, ...] = ()
    """A sentence for each reason why lines were left out."""


def is_asked(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def append_asked(
    folder: Path, lines: Sequence[Mapping[str, Any]], check: Callable[[], object] = lambda: None
) -> list[bytes]:
    """Append the lines and force them to disk, all or none; returns them as they were written. Raises OSError, and
    what `check` raises, which is asked when nobody else can write."""
    texts = [json.dumps(line, separators=(",", ":"), allow_nan=False).encode() for line in lines]
    with locked_rows(folder):  # a lease changes hands under this lock
        append_lines(folder / FILE_NAME, texts, "what the search asked for", check)
    return texts


def read_asked(folder: Path) -> Asked:
    """Read `folder`/asked.jsonl; a missing file has nothing. Unreadable lines become problems, not errors."""
    problems = Problems(folder / FILE_NAME)
    lines: list[Mapping[str, Any]] = []
    with contextlib.suppress(FileNotFoundError), (folder / FILE_NAME).open("rb") as file:
        for number, (line, is_whole) in enumerate(lines_of(file), start=1):
            for part in filter(None, map(bytes.strip, line.split(b"\0"))):
                try:
                    lines.append(_line(part))
                except ValueError as error:
                    problems.left_out(number, error, is_whole)
    return replace(asked_of(lines), problems=problems.sentences())


def _line(text: bytes) -> Mapping[str, Any]:
    values = read_json(text)
    if not isinstance(values, dict):
        raise AskedError(f"a line must be an object; got {shown(values)}")
    check_depth(values)
    if values.get("asked", FORMAT) != FORMAT:
        raise AskedError(f"the format must be {FORMAT}; got {shown(values['asked'])}")
    for name, kind in _KINDS.items():
        if name in values and not isinstance(values[name], kind):
            raise AskedError(f"{name} must be {' or '.join(k.__name__ for k in kind)}; got {shown(values[name])}")
    parts = [*values.get("first", ()), *values.get("distributions", {}).values()]
    if not all(isinstance(part, dict) for part in parts):
        raise AskedError("parameters must be objects; got something else")
    if "known" in values:
        _ending(values["known"])
    return values


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("search", "params", "distributions", "fields", "costs", "attributes", "known"), (dict,)),
    **dict.fromkeys(("trial_id", "reason", "equal_to"), (str,)),
    "is_uncounted": (bool,),
    "first": (list,),
}


def _ending(values: Mapping[str, Any]) -> Ending:
    if values.get("status") not in (COMPLETE, PRUNED, FAILED):
        raise AskedError(f"a status must be COMPLETE, PRUNED or FAILED; got {shown(values.get('status'))}")
    try:
        epochs = tuple((int(epoch), float(value)) for epoch, value in values.get("epochs", ()))
        numbers = tuple(float(value) for value in values.get("values", ()))
    except (TypeError, ValueError, OverflowError) as error:
        raise AskedError(f"an ending must have numbers; got {error}") from error
    return Ending(values["status"], numbers, str(values.get("reason", "")), epochs)


def asked_of(lines: Sequence[Mapping[str, Any]]) -> Asked:
    """Return what lines say together, in order."""
    asked, suggestions, places = Asked(), list[Suggestion](), dict[str, int]()
    for line in lines:
        trial_id = line.get("trial_id", "")
        if "params" in line and "distributions" in line:
            if trial_id not in places:  # two drivers may have asked for a trial, one after the other
                places |= {trial_id: len(suggestions)} if trial_id else {}
                suggestions.append(_suggestion(line))
        elif "search" in line:
            asked = asked if asked.search else replace(asked, search=line["search"])
        elif "first" in line:
            asked = replace(asked, first=tuple(line["first"]))
        elif trial_id in places:
            suggestions[places[trial_id]] = replace(suggestions[places[trial_id]], reason=line.get("reason", ""))
    return replace(asked, suggestions=tuple(suggestions))


def _suggestion(line: Mapping[str, Any]) -> Suggestion:
    names = {one.name for one in fields(Suggestion)} & line.keys()
    values = {name: line[name] for name in names}
    return Suggestion(**values | ({"known": _ending(line["known"])} if "known" in line else {}))


def ending_of(result: TrialResult, objectives: Sequence[str], costs: Mapping[str, float]) -> Ending:
    """Return what the sampler is told of a row. A COMPLETE one with an objective that is no finite number has FAILED.

    The values are of the validation part, on which the curves of a search's trials are."""
    if result.status == COMPLETE:
        values = tuple(_value(result, name, costs) for name in objectives)
        if all(map(math.isfinite, values)):
            return Ending(COMPLETE, values)
        return Ending(FAILED, reason="an objective is not a finite number")
    last = [(epoch, value) for epoch, value in curve_of(result, objectives)[-1:] if math.isfinite(value)]
    return Ending(result.status, (), result.message, tuple(last) if result.status == PRUNED else ())


def _value(result: TrialResult, name: str, costs: Mapping[str, float]) -> float:
    if name == "parameters":
        return float(result.num_parameters.get("total", math.nan))
    if name in costs:
        return costs[name]
    return scored_values(result).get(name, math.nan)


def curve_of(result: TrialResult, objectives: Sequence[str]) -> tuple[tuple[int, float], ...]:
    """Return epochs and what the sampler is told of each; nothing with several objectives, where Optuna knows none."""
    if len(objectives) > 1:
        return ()
    return tuple((int(epoch["epoch"]), epoch_value(epoch, objectives[0])) for epoch in result.history)


def epoch_value(epoch: Mapping[str, float], objective: str) -> float:
    """Return the objective, or the accuracy where that is a cost."""
    return epoch[objective] if objective in epoch else epoch.get("val_accuracy", math.nan)
