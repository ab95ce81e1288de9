"""`progress.json`, in which a driver says once a second what runs just now, and how far it is: for `sweep.status`.

    write_progress(folder, progress)           # by the driver, in place of what it said before
    progress = read_progress(content)          # by anyone; raises ProgressError

What has ended is in the rows alone: here is what they cannot say, how many trials there will be, and which run. Nothing
that a sweep goes on from is read from it, and it may be deleted. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible_values
from galaxytl.system.strict_json import LARGEST, read_json, shown

FILE_NAME: Final = "progress.json"
FORMAT: Final = 1
MOST_RUNNING: Final = 200
"""Trials that the file names; of more that run at the same time it has the number."""
End = Literal["", "ended", "stopped"]
"""Of a driver: none yet; it came to the end of its trials; an error or a signal ended it before."""


class ProgressError(ValueError):
    """A file is no progress.json that this version reads; the message says why."""


@dataclass(frozen=True)
class RunningTrial:
    trial_id: str
    name: str
    """For people: "VGG16, ImageNet, frozen, learning_rate 0.001"."""
    phase: str
    """What is being done for it, like "frozen activations"; "training" between its epochs."""
    epoch: int
    """The last that ended; 0: none has yet."""
    num_epochs: int
    node: str
    """Name of the machine; "" until its worker has said it."""
    seconds: float
    """Since it was first heard of."""
    loss: float | None = None
    val_accuracy: float | None = None


@dataclass(frozen=True)
class Progress:
    """Of one driver, from its start."""

    kind: Literal["grid", "search"]
    name: str
    """Of the grid, or of the study."""
    command: str
    """With which the sweep goes on, without secrets; "" where none was typed."""
    folder: str
    """In which the command was typed."""
    host: str
    processes: str
    pid: int
    """These two as in the driver's lease."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """From then until this was written."""
    end: End
    total: int
    """Trials of the sweep; of a search, those with a row and those that may still get one."""
    asked: int
    """Of the total, those that a search has asked for so far; of a grid all."""
    scored_on: str
    """Rows count as trials of the sweep that are scored on this part; "": all. A search scores one more on the test
    part."""
    others: Mapping[str, int]
    """Rows in the folder that are of other sweeps, by status."""
    again: int
    """Trials that have a FAILED row and are to be trained again."""
    planned: int
    """Trials that this run is to train, as far as it is known, with those that it has."""
    finished: int
    """Of these, the ones that have ended."""
    share: float
    """Of the work of this run that is done, from 0 to 1: of a plan by its seconds, of a search by trials."""
    begun: float | None
    """Seconds from the start until the first trial was heard of; None: none was."""
    estimate: tuple[float, float, float] | None
    """Seconds of this run by its plan: low, middle, high; None: there is no plan of the whole."""
    note: str = ""
    """What the driver has said last of the sweep as a whole."""
    num_running: int = 0
    running: tuple[RunningTrial, ...] = field(default=())


def write_progress(folder: Path, progress: Progress) -> None:
    """Write the file. Raises OSError."""
    values = {"format": FORMAT, **asdict(progress)}
    write_atomically(folder / FILE_NAME, json.dumps(values, separators=(",", ":"), allow_nan=False).encode())


def read_progress(content: bytes) -> Progress:
    """Return what a file says. Raises ProgressError."""
    try:
        values = read_json(content[: LARGEST + 1])
    except ValueError as error:
        raise ProgressError(f"{FILE_NAME} {error}") from error
    found = values.get("format") if isinstance(values, dict) else values
    if found != FORMAT:
        newer = " It is of a newer version" if isinstance(found, int) and found > FORMAT else ""
        raise ProgressError(f"{FILE_NAME} must be of format {FORMAT}; got {shown(found)}.{newer}".rstrip("."))
    try:
        return _progress(visible_values(values))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ProgressError(f"{FILE_NAME} lacks or garbles a value: {error!r}") from error


def _progress(values: Mapping[str, Any]) -> Progress:
    if values["kind"] not in ("grid", "search") or values["end"] not in get_args(End):
        raise ValueError(f"kind and end must be known; got {shown(values['kind'])} and {shown(values['end'])}")
    estimate = tuple(map(_number, values["estimate"])) if values["estimate"] is not None else None
    if estimate is not None and len(estimate) != 3:
        raise ValueError(f"an estimate must have three numbers; got {len(estimate)}")
    return Progress(
        kind=values["kind"],
        name=str(values["name"]),
        command=str(values["command"]),
        folder=str(values["folder"]),
        host=str(values["host"]),
        processes=str(values["processes"]),
        pid=int(values["pid"]),
        started=str(values["started"]),
        seconds=_number(values["seconds"]),
        end=values["end"],
        total=int(values["total"]),
        asked=int(values["asked"]),
        scored_on=str(values["scored_on"]),
        others={str(status): int(number) for status, number in values["others"].items()},
        again=int(values["again"]),
        planned=int(values["planned"]),
        finished=int(values["finished"]),
        share=min(1.0, max(0.0, _number(values["share"]))),
        begun=None if values["begun"] is None else _number(values["begun"]),
        estimate=estimate,
        note=str(values["note"]),
        num_running=int(values["num_running"]),
        running=tuple(map(_running, values["running"][:MOST_RUNNING])),
    )


def _running(values: Mapping[str, Any]) -> RunningTrial:
    loss, accuracy = (None if values[name] is None else _number(values[name]) for name in ("loss", "val_accuracy"))
    return RunningTrial(
        trial_id=str(values["trial_id"]),
        name=str(values["name"]),
        phase=str(values["phase"]),
        epoch=int(values["epoch"]),
        num_epochs=int(values["num_epochs"]),
        node=str(values["node"]),
        seconds=_number(values["seconds"]),
        loss=loss,
        val_accuracy=accuracy,
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a number must be finite; got {number}")
    return number
