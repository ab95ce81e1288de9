"""What a driver says of itself while it trains, for `python -m sweep.status`: `progress.json`, beside the rows.

    with LiveProgress(folder, Scope("grid", "lr", before=12, ...)) as live:
        live.add(specs, varied)
        live.epochs(latest)                   # the events of `sweep.progress.terminal.SweepTable`

A thread writes the file, at most once a second: a thousand events are one writing, and it holds what runs, not what has
ended.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event, RLock, Thread
from types import TracebackType
from typing import Final, Literal

from galaxytl.system.command import UsageError
from galaxytl.system.credentials import without_secrets
from galaxytl.trial import TrialResult, TrialSpec
from sweep.progress.command import typed_command
from sweep.progress.terminal import trial_label
from sweep.results.folder import ResultsFolder
from sweep.results.lease import process_table
from sweep.results.progress_file import MOST_RUNNING, End, Progress, RunningTrial, write_progress

WRITE_SECONDS: Final = 1.0
"""Between two writings, at least; and no less than QUIET_SHARE times what one took."""
QUIET_SHARE: Final = 20.0
FRESH_SECONDS: Final = 10.0
"""Between two writings, at most, though nothing happens: the time that has passed is in the file."""
MOST_LETTERS: Final = 300
"""Of a note."""
TRAINING: Final = "training"


@dataclass(frozen=True)
class Scope:
    """Which trials a driver's sweep is of, as known when it begins."""

    kind: Literal["grid", "search"]
    name: str
    before: int
    """Trials of the sweep whose row stays."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Rows of the folder that are of other sweeps, by status."""
    failed: frozenset[str] = frozenset()
    """Trials that have a FAILED row and are trained again."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each trial by the plan; of a search's trials none are known, and all count alike."""
    estimate: tuple[float, float, float] | None = None
    """Seconds of the run by its plan: low, middle, high."""
    still_to_come: Callable[[], int] = lambda: 0
    """Trials that a search has not asked for yet."""
    scored_on: str = ""
    """Trials scored on this part are the sweep's; "": all are."""


class LiveProgress:
    """Use as a context manager. Threads may tell it of events at the same time."""

    def __init__(self, folder: ResultsFolder, scope: Scope) -> None:
        self._folder, self._scope = folder, scope
        self._left: dict[str, TrialSpec] = {}
        """Trials that have not ended, in order."""
        self._labels: dict[str, str] = {}
        self._running: dict[str, RunningTrial] = {}
        self._nodes: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._finished, self._weight, self._again = 0, 0.0, set(scope.failed)
        self._started, self._begun, self._note = time.monotonic(), math.nan, ""
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._changing, self._is_new = RLock(), True
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True)

    def __enter__(self) -> LiveProgress:
        self._write("")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with self._changing:
            self._running.clear()
        self._write("stopped" if kind else "ended")

    # What is heard

    def add(self, specs: Iterable[TrialSpec], varied: Sequence[str]) -> None:
        """Add trials that are to be trained; their names say the values of the `varied` fields."""
        with self._changing:
            for spec in specs:
                self._left[spec.trial_id] = spec
                self._labels[spec.trial_id] = trial_label(spec, varied)
            self._is_new = True

    def phases(self, texts: Mapping[str, str]) -> None:
        """Hear what each of some trials is doing."""
        with self._changing:
            for trial_id, text in texts.items():
                if running := self._at_work(trial_id):
                    self._running[trial_id] = replace(running, phase=text)

    def epochs(self, latest: Mapping[str, Mapping[str, float]]) -> None:
        """Hear the last epoch of each of some trials."""
        with self._changing:
            for trial_id, epoch in latest.items():
                if running := self._at_work(trial_id):
                    loss, accuracy = (_finite(epoch.get(name)) for name in ("loss", "val_accuracy"))
                    now = replace(running, epoch=int(epoch["epoch"]), loss=loss, val_accuracy=accuracy)
                    self._running[trial_id] = replace(now, phase=TRAINING)

    def nodes(self, nodes: Mapping[str, str]) -> None:
        """Hear on which machine each of some trials is trained; those that it knows to have ended are left alone."""
        with self._changing:
            self._nodes.update((trial_id, node) for trial_id, node in nodes.items() if trial_id in self._left)
            self._is_new = True

    def finished(self, *results: TrialResult) -> None:
        """Hear that trials have ended, and have their rows."""
        with self._changing:
            for result in results:
                spec = self._left.pop(result.trial_id, None)
                for known in (self._running, self._nodes, self._since, self._labels):
                    known.pop(result.trial_id, None)
                self._again.discard(result.trial_id)
                if spec and self._counts(spec):
                    self._finished += 1
                    self._weight += self._weight_of(result.trial_id)
            self._is_new = True

    def note(self, text: str) -> None:
        """Hear a line about the sweep as a whole."""
        with self._changing:
            self._note, self._is_new = without_secrets(text)[:MOST_LETTERS], True

    def _at_work(self, trial_id: str) -> RunningTrial | None:
        """Return what is known of a trial of which something was heard; None where it has ended."""
        if trial_id not in self._left:
            return None
        self._is_new = True
        now = time.monotonic()
        self._begun = now if math.isnan(self._begun) else self._begun
        self._since.setdefault(trial_id, now)
        epochs = self._left[trial_id].num_epochs
        new = RunningTrial(trial_id, self._labels[trial_id], "", 0, epochs, "", 0.0)
        return self._running.setdefault(trial_id, new)

    # What is said

    def _follow(self) -> None:
        pause, written = WRITE_SECONDS, time.monotonic()
        while not self._stop.wait(pause):
            begin = time.monotonic()
            if self._is_new or begin - written > FRESH_SECONDS:
                self._write("")
                written = time.monotonic()
                pause = max(WRITE_SECONDS, QUIET_SHARE * (written - begin))

    def _write(self, end: End) -> None:
        """Write the file, unless the folder is no longer this driver's, or not there. A full disk stops no training."""
        with contextlib.suppress(OSError, UsageError):
            self._folder.stop_if_lost()
            if self._folder.home.is_dir():  # or the folder that was moved would be made again
                write_progress(self._folder.home, self.progress(end))

    def progress(self, end: End = "") -> Progress:
        """Return what there is to say."""
        with self._changing:
            self._is_new = False
            now, scope = time.monotonic(), self._scope
            to_come = scope.still_to_come()
            left = sum(map(self._counts, self._left.values())) + to_come
            shown = list(self._running.values())[:MOST_RUNNING]
            return Progress(
                kind=scope.kind,
                name=scope.name,
                command=typed_command(),
                folder=os.getcwd(),
                host=socket.gethostname(),
                processes=process_table(),
                pid=os.getpid(),
                started=self._started_at,
                seconds=round(now - self._started, 1),
                end=end,
                total=scope.before + self._finished + left,
                asked=scope.before + self._finished + left - to_come,
                scored_on=scope.scored_on,
                others=dict(scope.others),
                again=len(self._again),
                planned=self._finished + left,
                finished=self._finished,
                share=self._share(left),
                begun=None if math.isnan(self._begun) else round(self._begun - self._started, 1),
                estimate=scope.estimate,
                note=self._note,
                num_running=len(self._running),
                running=tuple(self._said_of(trial, now) for trial in shown),
            )

    def _said_of(self, trial: RunningTrial, now: float) -> RunningTrial:
        seconds = round(now - self._since[trial.trial_id], 1)
        return replace(trial, node=self._nodes.get(trial.trial_id, ""), seconds=seconds)

    def _counts(self, spec: TrialSpec) -> bool:
        return self._scope.scored_on in ("", spec.scored_on)

    def _weight_of(self, trial_id: str) -> float:
        return self._scope.weights.get(trial_id, 1.0)

    def _share(self, left: int) -> float:
        """Return the share of the run's work that is done; epochs of trials that run count."""
        total = sum(self._scope.weights.values()) or self._finished + left
        begun = sum(
            self._weight_of(trial.trial_id) * trial.epoch / trial.num_epochs
            for trial in self._running.values()
            if self._counts(self._left[trial.trial_id])
        )
        return min(1.0, (self._weight + begun) / total) if total else 0.0


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
