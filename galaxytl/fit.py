"""The epoch loop: Keras trains, a checkpoint is kept after every epoch, and a second call goes on from it.

The order of the batches of epoch e depends on (shuffle seed, e) alone, so an interrupted and resumed training sees the
batches that an uninterrupted one sees.
"""

from __future__ import annotations

import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from galaxytl import device
from galaxytl.training import Diverged
from galaxytl.trial import TrialSpec, seed_for

Epoch = dict[str, float]


@dataclass(frozen=True)
class Examples:
    """Inputs (N, ...), labels (N,), and which rows of them to train on, to watch after each epoch, and to test on."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    watched: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Listener:
    """What the loop tells: `phase(text)` often, `epoch(history)` once an epoch."""

    phase: Callable[[str], None]
    epoch: Callable[[list[Epoch]], None]


class Batches(keras.utils.PyDataset):
    """Batches of `rows` in the given order, the last one ragged."""

    def __init__(self, examples: Examples, rows: NDArray[np.int64], batch_size: int) -> None:
        super().__init__()
        self._examples, self._rows, self._batch_size = examples, rows, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        return self._examples.inputs[rows], self._examples.labels[rows]


class _BatchProgress(keras.callbacks.Callback):
    """Says how far an epoch is, at most once a second, and stops it at the first loss that is not finite."""

    def __init__(self, epoch: str, num_steps: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._epoch, self._num_steps, self._say, self._said = epoch, num_steps, say, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise Diverged(f"the loss became {logs['loss']} in {self._epoch}, step {batch + 1}")
        if time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            self._say(f"{self._epoch}, step {batch + 1}/{self._num_steps}")


def compile_model(model: Any, spec: TrialSpec) -> None:
    """Attach optimizer, loss (cross-entropy of logits) and accuracy; Keras's defaults where the spec is silent.

    On CPU without XLA: it was 3.5 times slower for MobileNet at 64 px and 1.3 times faster for VGG16.
    """
    model.compile(
        optimizer=make_optimizer(spec),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto" if device.on_gpu() else False,
    )


def make_optimizer(spec: TrialSpec) -> Any:
    settings: dict[str, Any] = {"learning_rate": spec.learning_rate, "weight_decay": spec.weight_decay or None}
    if spec.optimizer == "adam":
        return keras.optimizers.Adam(**settings)
    kinds = {"sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    return kinds[spec.optimizer](momentum=spec.momentum, **settings)


def fit(model: Any, spec: TrialSpec, examples: Examples, checkpoint: Path, listener: Listener) -> list[Epoch]:
    """Train a compiled model to spec.num_epochs epochs, from `checkpoint` where there is one. Returns the history.

    Raises Diverged when the loss stops being finite.
    """
    model.optimizer.build(model.trainable_variables)
    history = load_checkpoint(checkpoint, model)
    watched = Batches(examples, examples.watched, spec.batch_size)
    for number in range(len(history) + 1, spec.num_epochs + 1):
        started = time.perf_counter()
        order = np.random.default_rng([seed_for(spec, "shuffle"), number]).permutation(examples.train)
        batches = Batches(examples, order, spec.batch_size)
        progress = _BatchProgress(f"epoch {number}/{spec.num_epochs}", len(batches), listener.phase)
        logs = model.fit(
            device.for_keras(batches),
            verbose=0,
            shuffle=False,
            callbacks=[progress],
            validation_data=device.for_keras(watched),
        ).history
        scores = {name: float(values[0]) for name, values in logs.items()}
        history.append({"epoch": number, **scores, "seconds": round(time.perf_counter() - started, 3)})
        save_checkpoint(checkpoint, model, history)
        listener.epoch(history)
    return history


def save_checkpoint(path: Path, model: Any, history: list[Epoch]) -> None:
    """Weights, optimizer state and history in one .npz, replaced atomically."""
    arrays = {f"v{i}": np.asarray(variable) for i, variable in enumerate(_variables(model))}
    arrays["history"] = np.frombuffer(json.dumps(history).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)  # what a full disk left


def load_checkpoint(path: Path, model: Any) -> list[Epoch]:
    """Bring `model` to the checkpoint's state; the history so far, empty when there is no usable checkpoint.

    A damaged file is no reason to lose the trial: it starts from its first epoch.
    """
    if not path.exists():
        return []
    variables = _variables(model)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values = [file[f"v{i}"] for i in range(len(variables))]
            history: list[Epoch] = json.loads(file["history"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{path} is damaged, training starts anew: {error}", flush=True)
        return []
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return history


def _variables(model: Any) -> list[Any]:
    return [*model.weights, *model.optimizer.variables]
