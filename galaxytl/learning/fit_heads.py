"""The epoch loop of heads on frozen features: all heads that are at the same epoch train in one pass.

A head that diverged or is stopped leaves the group, one that has fewer epochs, or early stopping, ends earlier, and one
that goes on from a checkpoint joins when the others have caught up: the result of each is what it would be alone.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.learning import heads
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import Examples, epoch_order
from galaxytl.networks.recipe import averages
from galaxytl.results.checkpoints import (
    RESUMED,
    CheckpointWriter,
    Epoch,
    checkpoint_path,
    load_checkpoint,
    with_records,
)
from galaxytl.trial import TrialSpec
from galaxytl.trial.epochs import is_over
from galaxytl.trial.optimizers import State
from galaxytl.trial.schedules import epoch_rates, is_constant

Scores = dict[str, NDArray[Any]]


@dataclass
class Head:
    """One trial on its way: its state, on the host while it does not train, and the history of its epochs."""

    spec: TrialSpec
    state: State
    history: list[Epoch] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    """Observed since the last epoch of the history."""
    resumed: dict[str, float] = field(default_factory=dict)
    """RESUMED until the first epoch after the checkpoint that the head goes on from."""
    diverged: str = ""
    pruned: str | None = None
    """Why it was ended before its last epoch."""
    kept: averages.Arrays = field(default_factory=dict)
    """Trained arrays as they would be scored now, where they need not be those of the last epoch."""

    @property
    def is_done(self) -> bool:
        return bool(self.diverged) or self.pruned is not None or is_over(self.spec, self.history)

    @property
    def scored(self) -> State:
        """The trained arrays that count: of the epoch that is scored, or averages."""
        return dict(self.kept) or self._counting()

    def _counting(self) -> State:
        prefix = averages.EMA if self.spec.ema_momentum else ""
        return {name: self.state[prefix + name] for name in heads.TRAINED if name in self.state}

    def take(self, state: State) -> None:
        """Take its state, out of the group's, after an epoch."""
        own = bool(self.spec.ema_momentum)
        self.state = {name: value for name, value in state.items() if own or not name.startswith(averages.EMA)}
        if averages.keeps(self.spec) and not self.diverged:
            self.kept = averages.kept_after(self.spec, self.history, self.kept, self._counting())

    def arrays(self) -> State:
        """Return what a checkpoint holds."""
        return {**self.state, **{averages.KEPT + name: value for name, value in self.kept.items()}}


def fit_heads(specs: Sequence[TrialSpec], examples: Examples, out: Path, watcher: Watcher) -> list[Head]:
    """Train a head for each spec to its spec.num_epochs, or to where the watcher ends it, from its checkpoint in `out`
    where there is one."""
    group = [_begin(spec, examples, out) for spec in specs]
    _end(group, watcher)
    while waiting := [head for head in group if not head.is_done]:
        behind = min(len(head.history) for head in waiting)
        _run_together([head for head in waiting if len(head.history) == behind], group, examples, out, watcher)
    return group


def _begin(spec: TrialSpec, examples: Examples, out: Path) -> Head:
    initial = heads.initial_state(spec, math.prod(examples.inputs.shape[1:]))
    head = Head(spec, initial)
    if averages.keeps(spec):
        head.kept = head.scored
    wanted = head.arrays()
    found, history = load_checkpoint(checkpoint_path(out, spec), {name: v.shape for name, v in wanted.items()})
    arrays = found or wanted
    state = {name: arrays[name] for name in initial}
    kept = {name: arrays[averages.KEPT + name] for name in head.kept}
    return Head(spec, state, history, resumed=RESUMED if history else {}, kept=kept)


def _end(group: Sequence[Head], watcher: Watcher) -> None:
    """Ask which heads, of those with epochs to go, end here."""
    going = {head.spec.trial_id: head for head in group if not head.is_done}
    for trial_id, reason in watcher.ends({trial_id: head.history for trial_id, head in going.items()}).items():
        going[trial_id].pruned = reason


def _run_together(active: list[Head], group: Sequence[Head], examples: Examples, out: Path, watcher: Watcher) -> None:
    """Train `active`, all at one epoch, until one of them is done or meets a head that waits further on."""
    state = heads.join([head.state for head in active])
    scalars = heads.settings([head.spec for head in active], examples.labels[examples.train])
    others = {len(head.history) for head in group if head not in active}
    say = functools.partial(watcher.phase, [head.spec.trial_id for head in group])
    if not active[0].history:
        _add_records(active, watcher.records(0, state))
    with CheckpointWriter(watcher.checkpoint) as writer:
        while True:
            started = time.perf_counter()
            state, scores = _run_epoch(active, state, scalars, examples, say)
            seconds = round((time.perf_counter() - started) / len(active), 4)  # a head's share
            _add_records(active, watcher.records(len(active[0].history) + 1, state))
            _add_epoch(active, scores, seconds)
            on_host = heads.on_host(state)
            for i, head in enumerate(active):
                head.take(heads.take(on_host, i))
            going = [head for head in active if not head.is_done]
            writer.save([(checkpoint_path(out, head.spec), head.arrays(), list(head.history)) for head in going])
            watcher.epoch({head.spec.trial_id: head.history[-1] for head in active if not head.diverged})
            _end(group, watcher)
            if any(head.is_done for head in active) or len(active[0].history) in others:
                break


def _run_epoch(
    active: Sequence[Head], state: State, scalars: Scores, examples: Examples, say: Callable[[str], object]
) -> tuple[State, Scores]:
    """Make one pass over the training rows and one over the watched ones; return the state and scores (H,)."""
    spec, number = active[0].spec, len(active[0].history) + 1
    order = epoch_order(spec, number, examples.train)
    name = f"epoch {number}/{max(head.spec.num_epochs for head in active)}"
    rates = _rates(active, number, math.ceil(len(order) / spec.batch_size))
    trained, done = _Means(len(order)), 0
    for chunk in heads.chunks(examples.in_epoch(number), order, spec.batch_size):
        state, sums = heads.train_steps(spec.optimizer, scalars, state, chunk, rates[done:])
        trained.add(sums)
        done += chunk.num_steps
        say(f"{name}, step {done}/{math.ceil(len(order) / spec.batch_size)}, {len(active)} heads together")
    watched = _Means(len(examples.watched))
    counting = averages.counting(state, scalars["ema_momentum"]) if "ema_momentum" in scalars else state
    for chunk in heads.chunks(examples, examples.watched, heads.WATCHED_BATCH):
        watched.add(heads.score(counting, chunk))
    return state, {**trained.means(), **{f"val_{name}": values for name, values in watched.means().items()}}


def _rates(active: Sequence[Head], number: int, num_steps: int) -> NDArray[np.float32]:
    """Return the learning rates (steps, H) of an epoch; without steps where all have one rate, which their settings
    hold."""
    if all(is_constant(head.spec) for head in active):
        return heads.NO_RATES
    return np.array([epoch_rates(head.spec, number, num_steps) for head in active], np.float32).T


def _add_records(active: Sequence[Head], records: Sequence[dict[str, Any]]) -> None:
    for head, record in zip(active, records, strict=False):  # of each, or none at all
        head.records.append(record)


def _add_epoch(active: Sequence[Head], scores: Scores, seconds: float) -> None:
    """Append to each head's history, or say that the head diverged."""
    for i, head in enumerate(active):
        number, own = len(head.history) + 1, {key: float(values[i]) for key, values in scores.items()}
        if math.isfinite(own["loss"]):
            epoch = {"epoch": number, **own, "seconds": seconds, **head.resumed}
            head.history.append(with_records(epoch, head.records))
            head.records, head.resumed = [], {}
        else:
            head.diverged = f"the loss became {own['loss']} in epoch {number}/{head.spec.num_epochs}"


class _Means:
    """Each head's mean loss, accuracy and, where predictions are counted, the share of the most predicted class, over
    `count` examples, from the sums of chunks."""

    def __init__(self, count: int) -> None:
        self._count, self._sums = count, list[dict[str, Any]]()

    def add(self, sums: dict[str, Any]) -> None:
        self._sums.append(sums)  # on the device still: nothing waits for it here

    def means(self) -> dict[str, NDArray[np.float64]]:
        """Return (H,) each."""
        total = {k: np.sum([np.asarray(s[k], np.float64) for s in self._sums], axis=0) for k in self._sums[0]}
        found = {"loss": total["loss"], "accuracy": total["correct"]}
        if "predicted" in total:
            found["top_share"] = total["predicted"].max(axis=1)
        return {name: sums / self._count for name, sums in found.items()}
