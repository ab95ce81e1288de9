"""The learning rate of each step, and of each layer, in Keras's optimizers.

    kind = by_layer(keras.optimizers.Adam, factors)     # itself, where all layers have one rate
    optimizer = kind(learning_rate=rate_of(spec))
    set_rates(optimizer, spec, 3, num_steps)            # of the steps of the third epoch

Where the rate is the same in all steps and layers, optimizers are left as Keras has them. Tested with Keras 3.15.1; of
its private parts an optimizer's `_learning_rate`, `_get_variable_index` and `_apply_weight_decay` are used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from galaxytl.trial import TrialSpec
from galaxytl.trial.schedules import epoch_rates, is_constant


class StepRates(keras.optimizers.schedules.LearningRateSchedule):
    """The rates of an epoch's steps, as variables of the optimizer: networks that differ in their schedules share one
    compiled step, and JAX's, which is a function of what it is given, reads those of today."""

    rates: Any = None
    """(steps of an epoch,)"""
    first: Any = None
    """What the optimizer had counted before the epoch. Steps that a loss scale leaves out are not counted."""

    def __call__(self, step: Any) -> Any:
        if self.rates is None:
            raise ValueError("a schedule must have the rates of an epoch, by set_rates, before its first step")
        return ops.take(self.rates, ops.cast(step, "int32") - self.first)

    def get_config(self) -> dict[str, Any]:
        return {}

    def assign(self, optimizer: Any, rates: Sequence[float]) -> None:
        """Set the rates of the steps that come next."""
        if self.rates is None:
            self.rates = optimizer.add_variable((len(rates),), name="step_rates")
            self.first = optimizer.add_variable((), dtype="int32", name="first_step")
        self.rates.assign(np.asarray(rates, np.float32))
        self.first.assign(int(ops.convert_to_numpy(optimizer.iterations)))  # JAX gives no array away twice


def rate_of(spec: TrialSpec) -> float | StepRates:
    """Return what Keras's optimizer of a spec takes as its learning rate."""
    return spec.learning_rate if is_constant(spec) else StepRates()


def set_rates(optimizer: Any, spec: TrialSpec, number: int, num_steps: int) -> None:
    """Set the rates of the steps of an epoch, which counts from 1, of an optimizer with `rate_of` the spec. The first
    call adds variables to it; from then on `num_steps` must stay."""
    if is_constant(spec):
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales the loss
    inner._learning_rate.assign(inner, epoch_rates(spec, number, num_steps))


def by_layer(kind: Any, factors: Sequence[float]) -> Any:
    """Return the optimizer class with rates, and so weight decay, that are multiplied by `factors`, one for each array
    that it trains, in the order in which it is built with them; the class itself where all are 1."""
    if all(factor == 1 for factor in factors):
        return kind
    return type(kind.__name__, (_ByLayer, kind), {"factors": tuple(factors)})


class _ByLayer(keras.optimizers.Optimizer):
    factors: tuple[float, ...]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype) * self.factors[self._get_variable_index(variable)]
        if self.weight_decay:
            self.assign_sub(variable, ops.multiply(variable, self.weight_decay * rate))
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: Keras's own, before the steps, would take one rate for all; `update_step` does it."""
