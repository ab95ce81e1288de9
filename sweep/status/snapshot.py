"""How a sweep is at one moment: what the terminal, a program and the page show, made once of what was read.

    snapshot = take(read_files("results/lr"))
    snapshot.state, snapshot.counts, snapshot.best

Rows are the truth of what has ended. What the driver says of itself counts as long as it is the one that leads.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from galaxytl.results.ranking import best, is_ranked, validation_accuracy
from galaxytl.results.rows import ranked
from galaxytl.results.sweep_file import unfinished_text
from galaxytl.system.foreign_text import visible
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult
from sweep.progress.command import command_text
from sweep.progress.reasons import by_reason
from sweep.progress.terminal import trial_label, varied_fields
from sweep.results.lease import MOST_SAID, Values, is_dead
from sweep.results.progress_file import Progress, RunningTrial
from sweep.status.sources import Files
from sweep.status.time_left import time_left, trials_an_hour

State = Literal["running", "ended", "stopped", "gone", "unknown"]
"""A driver leads; it came to its end; it was stopped before (Ctrl-C, a signal, an error); it is gone without a word
(killed, or cut off); there is no trace of one."""
MASKED: Final = "***"


@dataclass(frozen=True)
class Counts:
    """Trials of the sweep, or, where it is not known which those are, all that have rows."""

    complete: int
    failed: int
    pruned: int
    running: int
    to_do: int | None
    """That have not begun; None: nobody knows."""
    total: int | None
    asked: int | None
    """Of the total, those that a search has asked for; of a grid all."""
    others: int
    """Rows in the folder that are of other sweeps."""

    @property
    def ended(self) -> int:
        return self.complete + self.failed + self.pruned


@dataclass(frozen=True)
class Best:
    trial_id: str
    name: str
    accuracy: float
    """On the validation part."""


@dataclass(frozen=True)
class Driver:
    host: str
    pid: str
    beat: float | None
    """Seconds since its heart last beat."""
    is_sure: bool
    """Of one that is gone: its process is known to have ended. Else it was not heard of for long."""


@dataclass(frozen=True)
class ShardState:
    """Of one of the drivers that share a grid and a folder."""

    number: str
    """ "3/16"."""
    state: State
    left: int
    """Trials that it has taken on and that have no row."""
    driver: Driver | None


@dataclass(frozen=True)
class Snapshot:
    place: str
    state: State
    kind: str
    """ "grid", "search", or "" where no driver of this version has been."""
    name: str
    driver: Driver | None
    command: str
    """With which the sweep goes on; "" where it is not known."""
    folder: str
    """In which that was typed."""
    counts: Counts
    best: Best | None
    unranked: str
    """Why there is no best trial; "" where there is one."""
    failures: tuple[tuple[str, int], ...]
    """Reasons, each once, and of how many trials; the commonest first."""
    an_hour: float | None
    """Trials that ended in an hour of the run."""
    left: tuple[float, float] | None
    """Seconds that it likely still takes; None where it does not run, or nothing is known."""
    started: str
    seconds: float | None
    """For which the run lasted, or has lasted so far."""
    note: str
    running: tuple[RunningTrial, ...]
    problems: tuple[str, ...]
    shards: tuple[ShardState, ...] = ()
    """Those that have begun."""
    unfinished_shards: str = ""
    """For people: which have trials without a row, and which have not begun."""

    @property
    def is_over(self) -> bool:
        return self.state != "running"

    @property
    def needs_password(self) -> bool:
        return MASKED in self.command

    @property
    def exit_status(self) -> int:
        """That of a watch: 0 all COMPLETE or PRUNED, 1 some FAILED or missing, 3 the sweep was stopped or is gone."""
        if self.state in ("stopped", "gone"):
            return 3
        return 1 if self.counts.failed or self.counts.to_do or not self.counts.ended else 0


def take(files: Files) -> Snapshot:
    """Return how the sweep is whose files these are: of shards, all of them together."""
    return _together(files) if files.shards else _take(files)


def _together(files: Files) -> Snapshot:
    """Return how the shards are of a folder, and the driver of all trials where there was one too."""
    began = [one.shard for one in files.shards if one.shard.grid]  # the others prepare
    files = replace(files, shards=tuple(sorted(files.shards, key=lambda one: one.shard.which)))
    drivers = [replace(files, lease=one.lease, beat=one.beat, progress=one.progress, shards=()) for one in files.shards]
    states = [_state(driver, _own_progress(driver)) for driver in drivers]
    ended = {row.trial_id for row in files.rows.results}
    shards = [
        ShardState(str(one.shard.which), state, len(one.shard.left(ended)), _driver(driver, state))
        for one, state, driver in zip(files.shards, states, drivers, strict=True)
    ]
    unfinished = [shard.left > 0 for shard in shards]
    if files.lease or files.progress:
        drivers.append(replace(files, shards=()))
        states.append(_state(files, _own_progress(files)))
        unfinished.append(bool(unfinished_text(began, ended)))
    by_state: dict[State, Files] = {}
    for driver, own, is_left in zip(drivers, states, unfinished, strict=True):
        if (is_left or own == "running") and (own not in by_state or _own_progress(driver)):
            by_state[own] = driver
    order: tuple[State, ...] = ("running", "gone", "stopped")
    state: State = next((state for state in order if state in by_state), "ended")
    main = by_state.get(state) or max(drivers, key=lambda driver: driver.progress.started if driver.progress else "")
    at_work = [driver for driver, own in zip(drivers, states, strict=True) if own == "running"]
    live = [progress for driver in at_work if (progress := _own_progress(driver))]
    if main.progress and live:
        running = tuple(trial for progress in live for trial in progress.running)
        number, again = (sum(values) for values in zip(*((p.num_running, p.again) for p in live), strict=True))
        main = replace(main, progress=replace(main.progress, running=running, num_running=number, again=again))
    rates = [rate for progress in live if (rate := trials_an_hour(progress)) is not None]
    left = [left for progress in live if (left := time_left(progress))]
    return replace(
        _take(main),
        state=state,
        driver=None,
        an_hour=sum(rates) if rates else None,
        left=(max(low for low, _ in left), max(high for _, high in left)) if left else None,
        shards=tuple(shards),
        unfinished_shards=unfinished_text(began, ended),
    )


def _own_progress(files: Files) -> Progress | None:
    return files.progress if files.progress and _is_of(files.progress, files.lease) else None


def _take(files: Files) -> Snapshot:
    progress = _own_progress(files)
    state = _state(files, progress)
    own = [row for row in files.rows.results if not progress or progress.scored_on in ("", row.spec.scored_on)]
    best = best_of(own)
    lasts = progress if state == "running" else None
    return Snapshot(
        place=files.place,
        state=state,
        kind=progress.kind if progress else "",
        name=progress.name if progress else "",
        driver=_driver(files, state),
        command=(progress.command if progress else "") or _command_in(files.lease),
        folder=progress.folder if progress else "",
        counts=_counts(own, progress, state),
        best=best,
        unranked="" if best else _unranked(own),
        failures=tuple(
            (reason or "no reason", len(failed))
            for reason, failed in by_reason(row for row in own if row.status == FAILED).items()
        ),
        an_hour=trials_an_hour(progress) if progress else None,
        left=time_left(lasts) if lasts else None,
        started=progress.started if progress else "",
        seconds=progress.seconds if progress else None,
        note=lasts.note if lasts else "",
        running=lasts.running if lasts else (),
        problems=files.problems,
    )


def _is_of(progress: Progress, lease: Values | None) -> bool:
    """Return whether the driver that says this is the one that leads, or has led last; or one before, and both came to
    their end: the last found nothing to train, and said nothing."""
    if not lease or (lease.get("processes"), lease.get("pid")) == (progress.processes, progress.pid):
        return True
    return bool(lease.get("ended")) and progress.end == "ended"


def _state(files: Files, progress: Progress | None) -> State:
    lease, end = files.lease, progress.end if progress else ""
    if not lease:
        return end or "unknown"
    if lease.get("ended"):
        return end or "ended"
    if is_dead(lease) or (files.beat is not None and files.beat > files.patience):
        return "gone"
    return "running"


def _driver(files: Files, state: State) -> Driver | None:
    if not files.lease:
        return None
    host, pid = (visible(str(files.lease.get(name, "(unknown)")))[:MOST_SAID] for name in ("host", "pid"))
    return Driver(host, pid, files.beat, is_sure=state != "gone" or is_dead(files.lease))


def _command_in(lease: Values | None) -> str:
    """Return the command of a lease, as it is typed."""
    try:
        return command_text(shlex.split(visible(str((lease or {}).get("command", "")))))
    except ValueError:  # a stranger's quotation marks
        return ""


def _counts(own: Sequence[TrialResult], progress: Progress | None, state: State) -> Counts:
    rows = Counter(str(row.status) for row in own)
    if progress is None:
        return Counts(rows[COMPLETE], rows[FAILED], rows[PRUNED], 0, None, None, None, 0)
    others = Counter({status: min(number, rows[status]) for status, number in progress.others.items()})
    ended = rows - others
    ended[FAILED] = max(0, ended[FAILED] - progress.again)
    left = max(0, progress.total - ended.total())
    running = min(progress.num_running, left) if state == "running" else 0
    return Counts(
        complete=ended[COMPLETE],
        failed=ended[FAILED],
        pruned=ended[PRUNED],
        running=running,
        to_do=left - running,
        total=ended.total() + left,
        asked=progress.asked,
        others=others.total(),
    )


def best_of(rows: Iterable[TrialResult]) -> Best | None:
    """Return the best trial by its accuracy on the validation part after the last epoch; never by the test part.

    A trial that is scored on the test part counts by its curve, where that is on the validation part."""
    rows = list(rows)
    if len({row.spec.dataset_fingerprint for row in rows}) > 1:
        return None
    if own := ranked(rows):
        return _named(own[0], own[0].metrics["accuracy"], rows)
    for row in best((row for row in rows if is_ranked(row)), 1):
        return _named(row, validation_accuracy(row) or 0.0, rows)
    return None


def _named(row: TrialResult, accuracy: float, rows: Iterable[TrialResult]) -> Best:
    return Best(row.trial_id, trial_label(row.spec, varied_fields(other.spec for other in rows)), accuracy)


def _unranked(rows: Sequence[TrialResult]) -> str:
    if not any(row.status == COMPLETE for row in rows):
        return "no trial is complete yet"
    if len({row.spec.dataset_fingerprint for row in rows}) > 1:
        return "none: these trials are of several datasets, whose scores are never compared"
    return "none: these trials have no validation part, and the test part chooses nothing"


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the values that `--json` prints; docs/status.md says what each key means."""
    counts, driver, best = snapshot.counts, snapshot.driver, snapshot.best
    return {
        "format": 1,
        "results": snapshot.place,
        "state": snapshot.state,
        "kind": snapshot.kind or None,
        "name": snapshot.name or None,
        "trials": {
            "total": counts.total,
            "complete": counts.complete,
            "failed": counts.failed,
            "pruned": counts.pruned,
            "running": counts.running,
            "to_do": counts.to_do,
            "asked": counts.asked,
            "of_other_sweeps": counts.others,
        },
        "best": best and {"trial_id": best.trial_id, "name": best.name, "validation_accuracy": best.accuracy},
        "trials_per_hour": snapshot.an_hour and round(snapshot.an_hour, 2),
        "seconds_left": list(map(round, snapshot.left)) if snapshot.left else None,
        "started": snapshot.started or None,
        "seconds": snapshot.seconds,
        "driver": driver
        and {"host": driver.host, "pid": driver.pid, "seconds_since_beat": driver.beat and round(driver.beat, 1)},
        "command": snapshot.command or None,
        "folder": snapshot.folder or None,
        "shards": [
            {
                "shard": shard.number,
                "state": shard.state,
                "left": shard.left,
                "host": shard.driver and shard.driver.host,
            }
            for shard in snapshot.shards
        ],
        "running": [
            {
                "trial_id": trial.trial_id,
                "name": trial.name,
                "node": trial.node or None,
                "phase": trial.phase,
                "epoch": trial.epoch,
                "epochs": trial.num_epochs,
                "seconds": trial.seconds,
                "loss": trial.loss,
                "validation_accuracy": trial.val_accuracy,
            }
            for trial in snapshot.running
        ],
        "failures": [{"reason": reason, "trials": number} for reason, number in snapshot.failures],
        "notes": [note for note in (snapshot.note, *snapshot.problems) if note],
    }
