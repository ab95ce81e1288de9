"""The epoch loop of one network: Keras trains, a checkpoint is kept after every epoch, a second call goes on from it.

The order of the batches of epoch e depends on (shuffle seed, e) alone, so an interrupted and resumed training sees the
batches that an uninterrupted one sees. `galaxytl.train.fit_heads` is the loop of heads without a network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.networks import device
from galaxytl.results.checkpoints import DIAGNOSTICS, RESUMED, CheckpointWriter, Epoch, load_checkpoint
from galaxytl.training import Diverged, Pruned
from galaxytl.trial import TrialSpec, seed_for

STEPS_AT_ONCE = 8
"""Optimizer steps that TensorFlow runs without returning to Python. More would say less often how far an epoch is."""


@dataclass(frozen=True)
class Examples:
    """Inputs (N, ...), labels (N,), and which rows of them to train on, to watch after each epoch, and to score the
    trained network on."""

    inputs: Any
    """An array, or what gives rows of one by `inputs[rows]` and has its `shape` and `dtype`."""
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    watched: NDArray[np.int64]
    scored: NDArray[np.int64]
    turned: Callable[[int], Any] | None = None
    """Gives the inputs of an epoch (from 1) where training sees others in each (`galaxytl.train.augmentation`)."""

    @property
    def only_watched(self) -> Examples:
        """To score the rows that are watched and not scored: the validation part's, of a trial that is scored on the
        test part; none where there is no such part."""
        return replace(self, scored=np.setdiff1d(self.watched, self.scored))

    def in_epoch(self, number: int) -> Examples:
        """With the inputs that epoch `number` trains on."""
        return replace(self, inputs=self.turned(number)) if self.turned else self


@dataclass(frozen=True)
class Listener:
    """What the loop tells: `phase(text)` often, `epoch(history)` once an epoch; and what it asks before each further
    epoch: `ended(history)`, why the training is to end there, or None."""

    phase: Callable[[str], None]
    epoch: Callable[[list[Epoch]], None]
    ended: Callable[[list[Epoch]], str | None] = lambda history: None
    observe: Callable[[int], list[dict[str, Any]]] = lambda number: []
    """Asked before the first epoch, with 0, and after each, with its number, for records to keep with the epoch."""
    kept: Callable[[], object] = lambda: None
    """Told when the checkpoint of an epoch is written, in another thread; the next one waits for it."""


class Batches(keras.utils.PyDataset):
    """Batches of `rows` in the given order, the last one ragged; with `class_weights` (C,), what each example counts is
    the third part of a batch."""

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
        inputs, labels = self._examples.inputs[rows], self._examples.labels[rows]
        return (inputs, labels) if self._class_weights is None else (inputs, labels, self._class_weights[labels])


class TopShare(keras.metrics.Metric):
    """Share of the most predicted class among the predictions: 1 where a network gives one answer to everything."""

    def __init__(self) -> None:
        super().__init__(name="top_share", dtype="float32")
        self._counts = self.add_variable((NUM_CLASSES,), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Of logits `y_pred` (B, C)."""
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), NUM_CLASSES, dtype="float32")
        self._counts.assign(self._counts + ops.sum(predicted, axis=0))

    def result(self) -> Any:
        return ops.max(self._counts) / ops.maximum(ops.sum(self._counts), 1.0)


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


def epoch_order(spec: TrialSpec, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """`rows` in the order in which epoch `number` (from 1) reads them: equal for equal shuffle seeds."""
    return np.random.default_rng([seed_for(spec, "shuffle"), number]).permutation(rows)


def class_weights(spec: TrialSpec, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """What an image of each class counts in the training loss, (C,), given the labels (n,) of all to train on.

    "balanced" is scikit-learn's rule, after King & Zeng (2001): n / (number of classes * images of this class); a class
    without images counts nothing.
    """
    if spec.class_weighting == "none":
        return np.ones(NUM_CLASSES, np.float32)
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    weights = np.zeros(NUM_CLASSES, np.float32)
    weights[counts > 0] = len(labels) / (np.count_nonzero(counts) * counts[counts > 0])
    return weights


def compile_model(model: Any, spec: TrialSpec) -> None:
    """Attach optimizer, loss (cross-entropy of logits), accuracy and the share of the most predicted class; Keras's
    defaults where the spec is silent."""
    model.compile(
        optimizer=make_optimizer(spec),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", TopShare()],
        steps_per_execution=STEPS_AT_ONCE if device.runs_steps_in_graph() else 1,
        jit_compile=device.use_xla(),
    )
    model.optimizer.build(model.trainable_variables)


def make_optimizer(spec: TrialSpec) -> Any:
    settings: dict[str, Any] = {"learning_rate": spec.learning_rate, "weight_decay": spec.weight_decay or None}
    if spec.optimizer == "adam":
        return keras.optimizers.Adam(**settings)
    kinds = {"sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    return kinds[spec.optimizer](momentum=spec.momentum, **settings)


def fit(model: Any, spec: TrialSpec, examples: Examples, checkpoint: Path, listener: Listener) -> list[Epoch]:
    """Train a compiled model to spec.num_epochs epochs, from `checkpoint` where there is one. Returns the history.

    Raises Diverged when the loss stops being finite, Pruned when the listener ends the training.
    """
    history = _restore(model, checkpoint)
    watched = device.for_keras(Batches(examples, examples.watched, spec.batch_size))
    weights = class_weights(spec, examples.labels[examples.train]) if spec.class_weighting != "none" else None
    records, resumed = ([], RESUMED) if history else (listener.observe(0), {})
    with CheckpointWriter(listener.kept) as writer:
        for number in range(len(history) + 1, spec.num_epochs + 1):
            if (reason := listener.ended(history)) is not None:
                raise Pruned(reason)
            order = epoch_order(spec, number, examples.train)
            batches = Batches(examples.in_epoch(number), order, spec.batch_size, weights)
            epoch = _run_epoch(model, batches, watched, f"epoch {number}/{spec.num_epochs}", listener.phase)
            history.append(with_records({"epoch": number, **epoch, **resumed}, records + listener.observe(number)))
            records, resumed = [], {}
            # Copies: training goes on while they are written.
            arrays = {name: np.asarray(v.value).copy() for name, v in _variables(model).items()}
            writer.save([(checkpoint, arrays, list(history))])
            listener.epoch(history)
    return history


def _run_epoch(model: Any, batches: Batches, watched: Any, epoch: str, say: Callable[[str], None]) -> dict[str, float]:
    """Loss and accuracy, of the watched examples too, and seconds."""
    started = time.perf_counter()
    progress = _BatchProgress(epoch, len(batches), say)
    logs = model.fit(
        device.for_keras(batches), verbose=0, shuffle=False, callbacks=[progress], validation_data=watched
    ).history
    scores = {name: float(values[0]) for name, values in logs.items() if name != "top_share"}
    if not math.isfinite(scores["loss"]):  # raised here: out of Keras's own loop, on JAX it would lose the weights
        raise Diverged(f"the loss became {scores['loss']} in {epoch}")
    return {**scores, "seconds": round(time.perf_counter() - started, 3)}


def with_records(epoch: Epoch, records: list[dict[str, Any]]) -> Epoch:
    return {**epoch, DIAGNOSTICS: records} if records else epoch


def _restore(model: Any, checkpoint: Path) -> list[Epoch]:
    variables = _variables(model)
    arrays, history = load_checkpoint(checkpoint, {name: tuple(v.shape) for name, v in variables.items()})
    for name, value in arrays.items():
        variables[name].assign(value)
    return history


def _variables(model: Any) -> dict[str, Any]:
    """Weights, counters of random numbers, and the optimizer's state."""
    return {f"v{i}": variable for i, variable in enumerate([*model.variables, *model.optimizer.variables])}
