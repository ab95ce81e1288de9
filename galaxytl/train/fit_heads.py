"""The epoch loop of heads on frozen features: all heads that are at the same epoch train in one pass.

A head that diverged or is stopped leaves the group, one that has fewer epochs ends earlier, and one that goes on from
a checkpoint joins when the others have caught up: the result of each is what it would be alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.checkpoints import (
    RESUMED,
    CheckpointWriter,
    Epoch,
    checkpoint_path,
    load_checkpoint,
    with_records,
)
from galaxytl.train import heads
from galaxytl.train.examples import Examples, epoch_order
from galaxytl.train.head_updates import State
from galaxytl.trial import TrialSpec


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

    @property
    def is_done(self) -> bool:
        return bool(self.diverged) or self.pruned is not None or len(self.history) >= self.spec.num_epochs


@dataclass(frozen=True)
class HeadsListener:
    """What the loop tells: `phase(text)` for all heads, `epoch({trial_id: its last epoch})`. What it asks before each
    further epoch: `ended({trial_id: its history})`, which of these trials are to end there, and why."""

    phase: Callable[[str], None]
    epoch: Callable[[dict[str, Epoch]], None]
    ended: Callable[[Mapping[str, list[Epoch]]], Mapping[str, str]] = lambda histories: {}
    observe: Callable[[int, State], list[dict[str, Any]]] | None = None
    """Asked before the first epoch, with 0, and after each, with its number and the state of the heads that are under
    way, for a record of each, to keep with the epoch."""
    kept: Callable[[], object] = lambda: None
    """Told when the checkpoints of an epoch are written, in another thread; the next ones wait for it."""


def fit_heads(specs: Sequence[TrialSpec], examples: Examples, out: Path, listener: HeadsListener) -> list[Head]:
    """Train a head for each spec to its spec.num_epochs, or to where the listener ends it, from its checkpoint in `out`
    where there is one."""
    group = [_begin(spec, examples, out) for spec in specs]
    _end(group, listener)
    while waiting := [head for head in group if not head.is_done]:
        behind = min(len(head.history) for head in waiting)
        _run_together([head for head in waiting if len(head.history) == behind], group, examples, out, listener)
    return group


def _begin(spec: TrialSpec, examples: Examples, out: Path) -> Head:
    state = heads.initial_state(spec, math.prod(examples.inputs.shape[1:]))
    kept, history = load_checkpoint(checkpoint_path(out, spec), {name: v.shape for name, v in state.items()})
    return Head(spec, kept or state, history, resumed=RESUMED if history else {})


def _end(group: Sequence[Head], listener: HeadsListener) -> None:
    """Ask which heads, of those with epochs to go, end here."""
    going = {head.spec.trial_id: head for head in group if not head.is_done}
    for trial_id, reason in listener.ended({trial_id: head.history for trial_id, head in going.items()}).items():
        going[trial_id].pruned = reason


def _run_together(
    active: list[Head], group: Sequence[Head], examples: Examples, out: Path, listener: HeadsListener
) -> None:
    """Train `active`, all at one epoch, until one of them is done or meets a head that waits further on."""
    state = heads.join([head.state for head in active])
    scalars = heads.settings([head.spec for head in active], examples.labels[examples.train])
    others = {len(head.history) for head in group if head not in active}
    if listener.observe and not active[0].history:
        for head, record in zip(active, listener.observe(0, state), strict=True):
            head.records.append(record)
    with CheckpointWriter(listener.kept) as writer:
        while True:
            state = _run_epoch(active, state, scalars, examples, listener)
            on_host = heads.on_host(state)
            for i, head in enumerate(active):
                head.state = heads.take(on_host, i)
            going = [head for head in active if not head.is_done]
            writer.save([(checkpoint_path(out, head.spec), head.state, list(head.history)) for head in going])
            listener.epoch({head.spec.trial_id: head.history[-1] for head in active if not head.diverged})
            _end(group, listener)
            if any(head.is_done for head in active) or len(active[0].history) in others:
                break


def _run_epoch(
    active: Sequence[Head],
    state: State,
    scalars: dict[str, NDArray[Any]],
    examples: Examples,
    listener: HeadsListener,
) -> State:
    """One pass over the training rows and one over the watched ones; appends to each head's history."""
    started = time.perf_counter()
    spec, number = active[0].spec, len(active[0].history) + 1
    order = epoch_order(spec, number, examples.train)
    name = f"epoch {number}/{max(head.spec.num_epochs for head in active)}"
    trained, done = _Means(len(order)), 0
    for chunk in heads.chunks(examples.in_epoch(number), order, spec.batch_size):
        state, sums = heads.train_steps(spec.optimizer, scalars, state, chunk)
        trained.add(sums)
        done += chunk.num_steps
        listener.phase(f"{name}, step {done}/{math.ceil(len(order) / spec.batch_size)}, {len(active)} heads together")
    watched = _Means(len(examples.watched))
    for chunk in heads.chunks(examples, examples.watched, heads.WATCHED_BATCH):
        watched.add(heads.score(state, chunk))
    scores = {**trained.means(), **{f"val_{name}": values for name, values in watched.means().items()}}
    seconds = round((time.perf_counter() - started) / len(active), 4)  # a head's share
    observed = listener.observe(number, state) if listener.observe else []
    for i, head in enumerate(active):
        own = {key: float(values[i]) for key, values in scores.items()}
        if math.isfinite(own["loss"]):
            records, head.records = head.records + observed[i : i + 1], []
            epoch = {"epoch": number, **own, "seconds": seconds, **head.resumed}
            head.history.append(with_records(epoch, records))
            head.resumed = {}
        else:
            head.diverged = f"the loss became {own['loss']} in epoch {number}/{head.spec.num_epochs}"
    return state


class _Means:
    """Each head's mean loss, accuracy and, where predictions are counted, the share of the most predicted class, over
    `count` examples, from the sums of chunks."""

    def __init__(self, count: int) -> None:
        self._count, self._sums = count, list[dict[str, Any]]()

    def add(self, sums: dict[str, Any]) -> None:
        self._sums.append(sums)  # on the device still: nothing waits for it here

    def means(self) -> dict[str, NDArray[np.float64]]:
        """(H,) each."""
        total = {k: np.sum([np.asarray(s[k], np.float64) for s in self._sums], axis=0) for k in self._sums[0]}
        found = {"loss": total["loss"], "accuracy": total["correct"]}
        if "predicted" in total:
            found["top_share"] = total["predicted"].max(axis=1)
        return {name: sums / self._count for name, sums in found.items()}
