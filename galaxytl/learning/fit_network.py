"""The epoch loop of one network: Keras trains, a checkpoint is kept after every epoch, of a large network every ten
seconds, and a second call goes on from it.

A training in stages (`galaxytl.trial.stages`) is a leg for each, of another network each, with one history.

The order of the batches of epoch e depends on (shuffle seed, e) alone, so an interrupted and resumed training sees the
batches that an uninterrupted one sees. `galaxytl.learning.fit_heads` is the loop of heads without a network.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import Examples, class_weights, epoch_order
from galaxytl.learning.job import Diverged, Pruned
from galaxytl.networks import device, warm
from galaxytl.networks.recipe import averages
from galaxytl.networks.recipe.compiled import CROSS_ENTROPY
from galaxytl.networks.recipe.learning_rates import set_rates
from galaxytl.results.checkpoints import RESUMED, CheckpointWriter, Epoch, load_checkpoint, with_records
from galaxytl.trial import TrialSpec
from galaxytl.trial.epochs import is_over, is_stopped
from galaxytl.trial.schedules import steps_per_epoch

FLOAT_BYTES: Final = 4
SMALL_BYTES: Final = 48 * 2**20
"""Of a checkpoint that is written after every epoch, in some hundredths of a second: up to that of the whole MobileNet
with Adam's two moments (38 MB)."""
CHECKPOINT_SECONDS: Final = 10.0
"""From the beginning of a larger one to the next, at least: what a worker that dies has trained in vain. Measured, in
CPU seconds: 0.5 to copy and write those of four blocks of ResNet50 with Adam (193 MB), as much as a step of 32 images
takes."""


class Batches(keras.utils.PyDataset):
    """Batches of `rows` in the given order, the last one ragged: inputs, and labels or votes; with `class_weights`
    (C,), what each example counts is the third part of a batch."""

    def __init__(
        self,
        examples: Examples,
        rows: NDArray[np.int64],
        batch_size: int,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self._examples, self._rows, self._batch_size = examples, rows, batch_size
        self._class_weights = class_weights

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        inputs, targets = self._examples.inputs[rows], self._examples.targets(rows)
        return (inputs, targets) if self._class_weights is None else (inputs, targets, self._class_weights[targets])


class _BatchProgress(keras.callbacks.Callback):
    """Says how far an epoch is, and ends it when the loss is not finite. Once a second: whoever reads the loss waits
    for the device, which should have its next steps by then."""

    def __init__(self, epoch: str, num_steps: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._epoch, self._num_steps, self._say, self._said = epoch, num_steps, say, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            self.model.stop_training = self.model.stop_training or not math.isfinite(float(logs["loss"]))
            done = min(batch + 1, self._num_steps)  # of several steps at once, Keras counts what a full call would do
            self._say(f"{self._epoch}, step {done}/{self._num_steps}")


class _Pace:
    """Says after which epochs a checkpoint is worth what it costs."""

    def __init__(self, variables: Iterable[Any]) -> None:
        """variables: what a checkpoint holds, float32 but for some numbers."""
        self._is_small = FLOAT_BYTES * sum(math.prod(v.shape) for v in variables) <= SMALL_BYTES
        self._begun = time.monotonic()

    def is_due(self, spec: TrialSpec, history: Sequence[Epoch]) -> bool:
        """Return whether one is to be written after this epoch. A large one after the last only where another trial
        may go on from it: of a search, the same that is scored on the test part."""
        due = time.monotonic() - self._begun >= CHECKPOINT_SECONDS
        if is_over(spec, history):
            due = spec.scored_on == "validation"
        if due or self._is_small:
            self._begun = time.monotonic()
        return due or self._is_small


class CheckpointLost(Exception):
    """What a leg was to go on from cannot be read: the trial starts from its first epoch."""


@dataclass(frozen=True)
class Leg:
    """Epochs of a training that are of one network: `first` to `last`, counted from 1."""

    first: int
    last: int
    history: list[Epoch] | None = None
    """Of the epochs before, where this process goes on from the leg before; None: the checkpoint is asked."""
    resumed: bool = False
    """Whether that leg came from a checkpoint, which had all its epochs."""


def fit(
    model: Any, spec: TrialSpec, examples: Examples, checkpoint: Path, watcher: Watcher, leg: Leg | None = None
) -> list[Epoch]:
    """Train a compiled model to spec.num_epochs epochs, to the end of a leg, or until `early_stopping` ends it, from
    `checkpoint` where there is one. Return the history; after the last leg the model has the weights that are scored.

    Raises Diverged when the loss stops being finite, Pruned when the watcher ends the training, CheckpointLost where
    the leg is not the first and the checkpoint is of no use.
    """
    leg = leg or Leg(1, spec.num_epochs)
    num_steps = steps_per_epoch(spec, len(examples.train))
    set_rates(model.optimizer, spec, leg.first, num_steps)  # before a checkpoint, which has its variables
    scored = averages.NetworkWeights(model, warm.trained_variables(model), spec)
    trial_id, history = spec.trial_id, _restore(model, checkpoint, scored) if leg.history is None else leg.history
    if len(history) < leg.first - 1:
        raise CheckpointLost
    watched = device.for_keras(Batches(examples, examples.watched, spec.batch_size))
    weights = class_weights(spec, examples.labels[examples.train]) if spec.class_weighting != "none" else None
    records = [] if history else watcher.records(0, model)
    resumed = RESUMED if history and (leg.history is None or leg.resumed) else {}
    say, pace = functools.partial(watcher.phase, [trial_id]), _Pace(_variables(model).values())
    batches: Any = None
    with CheckpointWriter(watcher.checkpoint) as writer:
        for number in range(len(history) + 1, leg.last + 1):
            if is_stopped(spec, history):
                break
            if (reason := watcher.ends({trial_id: history}).get(trial_id)) is not None:
                raise Pruned(reason)
            order = epoch_order(spec, number, examples.train)
            batches = device.for_keras(Batches(examples.in_epoch(number), order, spec.batch_size, weights), batches)
            set_rates(model.optimizer, spec, number, num_steps)
            epoch = _run_epoch(model, batches, watched, f"epoch {number}/{spec.num_epochs}", say)
            records += watcher.records(number, model)
            history.append(with_records({"epoch": number, **epoch, **resumed}, records))
            records, resumed = [], {}
            kept = scored.epoch(history)
            if pace.is_due(spec, history):  # copies: training goes on while they are written
                arrays = {name: np.asarray(v.value).copy() for name, v in _variables(model).items()}
                writer.save([(checkpoint, {**arrays, **kept}, list(history))])
            watcher.epoch({trial_id: history[-1]})
    if is_over(spec, history):
        scored.put()
    return history


def _run_epoch(model: Any, batches: Any, watched: Any, epoch: str, say: Callable[[str], None]) -> dict[str, float]:
    """Train one epoch; return loss and accuracy, of the watched examples too, and seconds. "loss" is of what is trained
    on, "val_loss" the plain cross-entropy whatever that is."""
    started = time.perf_counter()
    callbacks = [_BatchProgress(epoch, len(batches), say), *averages.watching(model)]
    logs = model.fit(batches, verbose=0, shuffle=False, callbacks=callbacks, validation_data=watched).history
    scores = {name: float(values[0]) for name, values in logs.items() if name not in ("top_share", CROSS_ENTROPY)}
    if (watched_as := f"val_{CROSS_ENTROPY}") in scores:  # another training loss: what is watched is compared
        scores["val_loss"] = scores.pop(watched_as)
    if not math.isfinite(scores["loss"]):  # raised here: out of Keras's own loop, on JAX it would lose the weights
        raise Diverged(f"the loss became {scores['loss']} in {epoch}")
    return {**scores, "seconds": round(time.perf_counter() - started, 3)}


def _restore(model: Any, checkpoint: Path, scored: averages.NetworkWeights) -> list[Epoch]:
    variables = _variables(model)
    shapes = {name: tuple(v.shape) for name, v in {**variables, **scored.kept}.items()}
    arrays, history = load_checkpoint(checkpoint, shapes)
    for name, value in arrays.items():
        if name in variables:
            variables[name].assign(value)
    scored.kept = {name: arrays.get(name, value) for name, value in scored.kept.items()}
    return history


def _variables(model: Any) -> dict[str, Any]:
    """Return weights, counters of random numbers, and the optimizer's state."""
    return {f"v{i}": variable for i, variable in enumerate([*model.variables, *model.optimizer.variables])}
