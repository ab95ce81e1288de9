"""What a network or a head is trained on, where that is not the plain cross-entropy: smoothed targets, the focal loss.

    loss = TrainingLoss(spec.label_smoothing, spec.focal_gamma)                 # of a network that Keras trains
    losses, derivatives = of_heads(log_probabilities, wanted, scalars)          # of heads that train together

Of targets y, one-hot labels or votes (..., C), and a network's probabilities p, the loss of an example is

    - sum over c of t_c (1 - p_c)^gamma log p_c,      t = y (1 - smoothing) + smoothing / C

Smoothing is that of Keras's losses (Szegedy et al. 2016, "Rethinking the Inception architecture"), and the loss that of
keras.losses.CategoricalFocalCrossentropy with alpha = 1 (Lin et al. 2017, "Focal loss for dense object detection"), but
for its clipping: Keras takes log p of a p that is at least 1e-7, so that an image whose class has less has no gradient,
however wrong the network is; here log p comes from the logits, as in the cross-entropy, and has one. Whatever a trial
is trained on, what is watched and scored is the plain cross-entropy: losses of trials can be compared.

By the logits z the derivative is q_k - p_k sum_c q_c, with q_c = t_c (gamma p_c (1 - p_c)^(gamma - 1) log p_c -
(1 - p_c)^gamma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.trial import TrialSpec

SETTINGS: Final = ("label_smoothing", "focal_gamma")
"""Fields of a TrialSpec that make its training loss another than the cross-entropy, where they are not 0."""
LEAST_DOUBT: Final = 1e-7
"""1 - p counts as this at least: below, float32 has no digits of it, and powers under 1 would have no derivative. It is
what Keras takes."""


def is_cross_entropy(spec: TrialSpec) -> bool:
    """Return whether a trial is trained on the plain cross-entropy of its targets."""
    return not any(getattr(spec, name) for name in SETTINGS)


class TrainingLoss(keras.losses.Loss):
    """The mean over a batch of the loss above, of logits (B, C) towards labels (B,) or votes (B, C)."""

    def __init__(self, label_smoothing: float, focal_gamma: float) -> None:
        super().__init__(name="training_loss")
        self._smoothing, self._gamma = label_smoothing, focal_gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return (B,)."""
        is_votes = len(y_true.shape) == 2
        wanted = y_true if is_votes else ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return ops.sum(_terms(ops.log_softmax(y_pred), smoothed(wanted, self._smoothing), self._gamma), axis=-1)


def smoothed(targets: Any, share: Any) -> Any:
    """Spread this share of targets (..., C) evenly over the classes."""
    return targets * (1.0 - share) + share / targets.shape[-1]


def _terms(log_probabilities: Any, targets: Any, gamma: Any) -> Any:
    """Return what each class adds to the loss."""
    weighted = -targets * log_probabilities * _doubt(log_probabilities) ** gamma
    return ops.where(targets > 0, weighted, 0.0)  # 0 * -inf would be NaN


def _doubt(log_probabilities: Any) -> Any:
    return ops.maximum(-ops.expm1(log_probabilities), LEAST_DOUBT)


def settings(specs: Sequence[TrialSpec]) -> dict[str, NDArray[np.float32]]:
    """Return the heads' SETTINGS, (1, H, 1) each; none where all are trained on the cross-entropy."""
    if all(is_cross_entropy(spec) for spec in specs):
        return {}
    return {name: np.array([getattr(spec, name) for spec in specs], np.float32).reshape(1, -1, 1) for name in SETTINGS}


def of_heads(log_probabilities: Any, wanted: Any, scalars: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the losses (B, H) of heads with log-probabilities (B, H, C), by their `settings`, towards one-hot labels
    or votes (B, 1, C), and the losses' derivatives by the logits (B, H, C)."""
    gamma, targets = scalars["focal_gamma"], smoothed(wanted, scalars["label_smoothing"])
    losses = ops.sum(_terms(log_probabilities, targets, gamma), axis=2)
    probabilities, doubt = ops.exp(log_probabilities), _doubt(log_probabilities)
    turning = gamma * probabilities * log_probabilities * doubt ** (gamma - 1.0)
    turning = ops.where(doubt > LEAST_DOUBT, turning, 0.0)  # where doubt is a constant
    by_class = ops.where(targets > 0, targets * (turning - doubt**gamma), 0.0)
    return losses, by_class - probabilities * ops.sum(by_class, axis=2, keepdims=True)


def instead(scalars: Mapping[str, Any], shaped: Any, plain: Any) -> Any:
    """Return `shaped` (B, H, C) for the heads that are trained on another loss, and `plain` for the others: what they
    compute is the same whatever trains beside them, to the last bit where XLA does not put it together otherwise."""
    return ops.where(scalars["label_smoothing"] + scalars["focal_gamma"] > 0, shaped, plain)
