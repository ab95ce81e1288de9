"""The weights that count where those of the last step do not: moving averages, the best epoch's, means of epochs.

    new = follow(old, new, momentum)                            # in the step of fused heads: the moving averages
    kept = kept_after(spec, history, kept, current)             # after each epoch, on the host: what would be scored
    model.fit(..., callbacks=watching(model))                   # a network is watched with its moving averages
    scored = NetworkWeights(model, variables, spec)             # kept beside a network, and put into it in the end

The moving average is that of Keras's optimizers (`use_ema`): average = m * average + (1 - m) * weight after each step,
and the weight itself after the first (keras/src/optimizers/base_optimizer.py, Keras 3.15.1: the only file here that
reads their private list of averages). Training goes on from the weights, never from their average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.trial import TrialSpec
from galaxytl.trial.epochs import scored_epoch

EMA: Final = "ema_"
"""Before the name of a trained array of heads, in a state: its moving average."""
KEPT: Final = "scored_"
"""Before the name of a trained array, in a checkpoint: its value as it would be scored."""

Arrays = Mapping[str, NDArray[Any]]


def follow(old: Mapping[str, Any], new: dict[str, Any], momentum: Any) -> dict[str, Any]:
    """Return the state `new` of heads with the moving averages of what the step from `old` trained; momentum (1, H, 1).
    A head of momentum 0 has its weights for an average."""
    keep = ops.where(old["steps"] > 0, momentum, 0.0)
    names = [name for name in old if name.startswith(EMA)]
    return {**new, **{name: keep * old[name] + (1 - keep) * new[name.removeprefix(EMA)] for name in names}}


def counting(state: Mapping[str, Any], momentum: Any) -> dict[str, Any]:
    """Return a state of heads with the averages in place of the weights, for the heads that have a momentum (1, H,
    1)."""
    names = [name.removeprefix(EMA) for name in state if name.startswith(EMA)]
    return {**state, **{name: ops.where(momentum > 0, state[EMA + name], state[name]) for name in names}}


def keeps(spec: TrialSpec) -> bool:
    """Return whether other weights than those of the last epoch may be scored: they are kept beside what is trained."""
    return bool(spec.average_epochs) or spec.scored_epoch == "best"


def kept_after(spec: TrialSpec, history: Sequence[Mapping[str, float]], kept: Arrays, current: Arrays) -> Arrays:
    """Return copies of the weights that are scored if the epochs of `history` are all, from those of one epoch less and
    the `current` ones, those after the last. Of a mean that has not begun yet: the current ones."""
    if spec.average_epochs:
        number = len(history) - (spec.num_epochs - spec.average_epochs)
        if number > 1:
            return {name: kept[name] + (value - kept[name]) / np.float32(number) for name, value in current.items()}
    elif scored_epoch(spec, history) < len(history):
        return kept
    return {name: value.copy() for name, value in current.items()}


# Networks


def optimizer_settings(spec: TrialSpec) -> dict[str, Any]:
    """Return the arguments by which Keras's optimizer keeps moving averages, where the spec wants them."""
    return {"use_ema": True, "ema_momentum": spec.ema_momentum} if spec.ema_momentum else {}


def without_finale(optimizer: Any) -> Any:
    """Return the optimizer, which no longer puts its averages in place of the weights where Keras's `fit` ends: here it
    ends after each epoch, and the next one goes on from the weights."""
    optimizer.finalize_variable_values = lambda variables: None
    return optimizer


def _averages(model: Any) -> list[tuple[Any, Any]]:
    """Return pairs of a trained variable and its moving average; none where the optimizer keeps none."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of one that scales the loss
    if not optimizer.use_ema:
        return []
    return list(zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True))


class NetworkWeights:
    """The weights of a network that are scored in place of those that its last step gave, while it trains."""

    def __init__(self, model: Any, variables: Sequence[Any], spec: TrialSpec) -> None:
        """Take the `variables` of the model that training changes: weights, and BatchNorm's running statistics."""
        own = {id(variable): average for variable, average in _averages(model)}
        self._spec, self._variables = spec, variables if keeps(spec) or own else []
        self._sources = [own.get(id(variable), variable) for variable in self._variables]
        self.kept: Arrays = self._current() if keeps(spec) else {}
        """By their names in a checkpoint."""

    def _current(self) -> dict[str, NDArray[Any]]:
        return {f"{KEPT}{i}": np.asarray(source.value) for i, source in enumerate(self._sources)}

    def epoch(self, history: Sequence[Mapping[str, float]]) -> Arrays:
        """Keep what would be scored after the epochs of `history`; returns it."""
        if self.kept:
            self.kept = kept_after(self._spec, history, self.kept, self._current())
        return self.kept

    def put(self) -> None:
        """Set the network's variables to what is scored: its training is over."""
        for variable, value in zip(self._variables, (self.kept or self._current()).values(), strict=True):
            variable.assign(value)


def watching(model: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks by which Keras evaluates a network with its moving averages, where it has them."""
    return [_Swap()] if _averages(model) else []


class _Swap(keras.callbacks.Callback):
    """Puts averages in the place of weights for an evaluation, and back. Keras's own SwapEMAWeights does it by adding
    and subtracting on TensorFlow, which rounds the weights from which the training goes on."""

    def on_test_begin(self, logs: Any = None) -> None:
        self._swap()

    def on_test_end(self, logs: Any = None) -> None:
        self._swap()

    def _swap(self) -> None:
        for variable, average in _averages(self.model):
            value = ops.copy(variable.value)
            variable.assign(average)
            average.assign(value)
