"""A network as Keras trains it: compiled with the optimizer, the loss and the metrics of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from galaxytl.networks import device
from galaxytl.networks.recipe import averages
from galaxytl.networks.recipe.learning_rates import by_layer, rate_of
from galaxytl.networks.recipe.losses import TrainingLoss, is_cross_entropy
from galaxytl.trial import TrialSpec
from galaxytl.trial.optimizers import CLIPPING, OPTIMIZERS

STEPS_AT_ONCE = 8
"""Optimizer steps that TensorFlow runs without returning to Python. More would say less often how far an epoch is."""

CROSS_ENTROPY = "cross_entropy"
"""Name of the metric that is the plain cross-entropy, of networks that are trained on another loss."""


class TopShare(keras.metrics.Metric):
    """Share of the most predicted class among the predictions: 1 where a network gives one answer to everything."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(name="top_share", dtype="float32")
        self._counts = self.add_variable((num_classes,), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the predictions of logits `y_pred` (B, C)."""
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), y_pred.shape[-1], dtype="float32")
        self._counts.assign(self._counts + ops.sum(predicted, axis=0))

    def result(self) -> Any:
        return ops.max(self._counts) / ops.maximum(ops.sum(self._counts), 1.0)


def compile_model(model: Any, spec: TrialSpec, factors: Sequence[float] = ()) -> None:
    """Attach optimizer, loss (cross-entropy of logits), accuracy (towards the leading class, where the targets are
    fractions: votes, or of blended images) and the share of the most predicted class; Keras's defaults where the spec
    is silent. Where the training loss is another, CROSS_ENTROPY is a metric beside it, for what is watched.

    factors: by which the learning rate of each trained array is multiplied; none: by 1."""
    losses, metrics, beside = keras.losses, keras.metrics, list[Any]()
    loss = losses.CategoricalCrossentropy if spec.has_soft_targets else losses.SparseCategoricalCrossentropy
    # Not "accuracy": Keras makes its variables in the first step, and TensorFlow then traces that step a second time.
    accuracy = metrics.CategoricalAccuracy if spec.has_soft_targets else metrics.SparseCategoricalAccuracy
    if not is_cross_entropy(spec):
        beside = [metrics.MeanMetricWrapper(cross_entropy, name=CROSS_ENTROPY)]
    model.compile(
        optimizer=make_optimizer(spec, factors),
        loss=TrainingLoss(spec.label_smoothing, spec.focal_gamma) if beside else loss(from_logits=True),
        metrics=[accuracy(name="accuracy"), TopShare(spec.num_classes), *beside],
        steps_per_execution=STEPS_AT_ONCE if device.runs_steps_in_graph() else 1,
        jit_compile=device.use_xla(),
    )
    model.optimizer.build(model.trainable_variables)


def cross_entropy(targets: Any, logits: Any) -> Any:
    """Return the cross-entropies (B,) of logits (B, C), in nats, towards labels (B,) or votes (B, C)."""
    if len(targets.shape) == 2:
        return keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
    return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)


def make_optimizer(spec: TrialSpec, factors: Sequence[float] = ()) -> Any:
    """Return Keras's optimizer of a spec; `factors` as in `compile_model`."""
    optimizer = OPTIMIZERS[spec.optimizer]
    momentum = {"momentum": spec.momentum} if optimizer.has_momentum else {}
    momentum |= {"nesterov": True} if spec.nesterov else {}
    settings = {name: getattr(spec, name) or None for name in ("weight_decay", *CLIPPING)}
    kind = by_layer(getattr(keras.optimizers, optimizer.label), factors)
    made = kind(learning_rate=rate_of(spec), **settings, **momentum, **averages.optimizer_settings(spec))
    return averages.without_finale(made) if spec.ema_momentum else made
