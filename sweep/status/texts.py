"""What there is to say of a sweep, as sentences and lines: the terminal and the page say the same.

title(snapshot), facts(snapshot), next_step(snapshot), lines_of(snapshot.running)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sweep.planning.durations import duration, duration_range
from sweep.results.progress_file import RunningTrial
from sweep.status.snapshot import Snapshot

MOST_LINES: Final = 12
"""Of trials that run, and of reasons why some failed."""
HEADLINES: Final = {
    "running": "is running",
    "ended": "has ended",
    "stopped": "was stopped before its end",
    "gone": "goes on no more: its driver is gone",
    "unknown": "has no driver that is known",
}


@dataclass(frozen=True)
class Line:
    """Trials that run alike: on one node, in one phase, after as many epochs."""

    name: str
    """Of the first of them."""
    node: str
    phase: str
    epoch: str
    """ "3/20"; "" before the first."""
    seconds: float
    accuracy: str
    """On the part that is watched; of several a range."""
    number: int


def title(snapshot: Snapshot) -> str:
    what = f"{snapshot.kind} {snapshot.name}" if snapshot.kind else "the sweep"
    return f"{what[:1].upper()}{what[1:]} {HEADLINES[snapshot.state]}"


def facts(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield what there is to know, each with its heading."""
    yield "Results", snapshot.place
    yield "Trials", _counts_text(snapshot)
    yield "Best", _best_text(snapshot)
    if snapshot.an_hour is not None:
        yield "Rate", rate_text(snapshot.an_hour)
    if snapshot.state == "running" and snapshot.kind:
        yield "Left", left_text(snapshot)
    if snapshot.shards:
        yield "Shards", _shards_text(snapshot)
    if text := _driver_text(snapshot):
        yield "Driver", text
    if snapshot.note:
        yield "Last said", snapshot.note


def next_step(snapshot: Snapshot) -> tuple[str, str]:
    """Return a sentence, and the command that it is about; "" twice where there is nothing to do."""
    if snapshot.state not in ("gone", "stopped"):
        return "", ""
    if not snapshot.command:
        return "The same command, or call, again goes on: finished trials are kept.", ""
    where = f" in {snapshot.folder}" if snapshot.folder else ""
    where += ", and so does each shard that is not finished with its own" if snapshot.shards else ""
    secret = ", with what *** stands for" if snapshot.needs_password else ""
    return f"It goes on with this command{where}{secret}; finished trials are kept:", snapshot.command


def rate_text(an_hour: float) -> str:
    """Write a rate by a unit in which it is at least 1.

    >>> rate_text(300.0), rate_text(12.5), rate_text(0.5)
    ('5.0 trials a minute', '12 trials an hour', '12 trials a day')
    """
    if an_hour >= 120:
        return f"{an_hour / 60:.1f} trials a minute" if an_hour < 600 else f"{an_hour / 60:.0f} trials a minute"
    if an_hour >= 2:
        return f"{an_hour:.1f} trials an hour" if an_hour < 10 else f"{an_hour:.0f} trials an hour"
    return f"{an_hour * 24:.0f} trials a day" if an_hour * 24 >= 10 else f"{an_hour * 24:.1f} trials a day"


def left_text(snapshot: Snapshot) -> str:
    if snapshot.left is None:
        return "not known before the first epochs have ended"
    low, high = snapshot.left
    return f"likely {duration_range(max(1.0, low), max(1.0, high))}"


def _counts_text(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    parts = [f"{counts.complete:,} done", f"{counts.failed:,} failed", f"{counts.pruned:,} pruned"]
    if counts.total is not None:
        parts += [f"{counts.running:,} running", f"{counts.to_do or 0:,} to do"]
    text = ", ".join(parts) + (f", of {counts.total:,}" if counts.total is not None else "; how many more, nobody says")
    if snapshot.kind == "search" and counts.asked is not None:
        text += f" ({counts.asked:,} asked for so far)"
    if counts.others:
        text += f". {counts.others:,} rows of other sweeps lie in the folder"
    return text


def _best_text(snapshot: Snapshot) -> str:
    best = snapshot.best
    if best is None:
        return snapshot.unranked
    return f"{best.accuracy:.3f} on the validation part: {best.name} ({best.trial_id})"


def _shards_text(snapshot: Snapshot) -> str:
    """Say how many shards have begun, which run, and which are not finished."""
    shards = snapshot.shards
    texts = [f"{len(shards):,} {'has' if len(shards) == 1 else 'have'} begun"]
    for state, what in (("running", "running"), ("gone", "killed, suspended or cut off"), ("stopped", "stopped")):
        own = [shard for shard in shards if shard.state == state and (shard.left or state == "running")]
        names = [f"{one.number} on {one.driver.host}" if one.driver else one.number for one in own[:MOST_LINES]]
        names += [f"{len(own) - MOST_LINES:,} more"] if len(own) > MOST_LINES else []
        texts += [f"{what}: {', '.join(names)}"] if own else []
    return "; ".join([*texts, snapshot.unfinished_shards or "all trials of the grid have ended"])


def _driver_text(snapshot: Snapshot) -> str:
    driver = snapshot.driver
    if driver is None:
        return ""
    who = f"process {driver.pid} on {driver.host}"
    beat = f"its heart last beat {duration(driver.beat)} ago" if driver.beat is not None else "its heart beats"
    if snapshot.state == "running":
        starts = "" if snapshot.kind else "; it prepares its trials"
        return f"{who} is alive, {beat}{starts}"
    if snapshot.state == "gone":
        how = "was killed" if driver.is_sure else "is taken for killed, suspended or cut off"
        return f"{who} {how}: {beat}"
    return f"{who} {'is through' if snapshot.state == 'ended' else 'was stopped, or met an error'}"


def lines_of(running: Sequence[RunningTrial]) -> list[Line]:
    """Return what runs, trials that run alike in one line: the heads of one pass are many."""
    together: dict[tuple[str, str, int, int], list[RunningTrial]] = defaultdict(list)
    for trial in running:
        together[trial.node, trial.phase, trial.epoch, trial.num_epochs].append(trial)
    return [_line(trials) for trials in together.values()]


def _line(trials: Sequence[RunningTrial]) -> Line:
    first = trials[0]
    accuracies = sorted(trial.val_accuracy for trial in trials if trial.val_accuracy is not None)
    texts = dict.fromkeys(f"{accuracy:.3f}" for accuracy in (*accuracies[:1], *accuracies[-1:]))
    name = f"{first.name}, and {len(trials) - 1:,} more" if len(trials) > 1 else first.name
    epoch = f"{first.epoch}/{first.num_epochs}" if first.epoch else ""
    seconds = max(trial.seconds for trial in trials)
    return Line(name, first.node, first.phase, epoch, seconds, " to ".join(texts), len(trials))


def clock(seconds: float) -> str:
    """
    >>> clock(65), clock(7265)
    ('1:05', '2:01:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
