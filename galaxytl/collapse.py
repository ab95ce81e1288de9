"""When a trial has collapsed: it names one class, whatever the image, and its loss is that of ignoring the image.

    ignoring = loss_of_ignoring(training_labels, watched_labels, class_weights)
    reason = why_collapsed(history, ignoring, patience=3)           # "" while it has not

Both signs are wanted. A network that names one class but whose loss is another may be on its way: early epochs are so.
And one whose loss is near the prior's by chance, but that tells images apart, has learned something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ONE_CLASS = 0.999
"""Share of the most predicted class from which on it counts as the only one."""
TOLERANCE = 0.02
"""Nats between the loss and that of ignoring the image. VGG16 on simulated galaxies at 32 px, after 5 epochs with Adam:
collapsed at 1e-3 with the prior's loss to its last digit, 2.21; at 3e-5, the slowest that learned, it had 2.07. Not 0,
because also the answer that is the same for every image moves a little with every step."""


def loss_of_ignoring(
    labels: NDArray[np.int64], watched: NDArray[np.int64], class_weights: NDArray[np.floating]
) -> float:
    """Cross-entropy, in nats, on the watched labels (m,) of the best answer that is the same for every image.

    Best in training, on labels (n,) that count class_weights (C,) each: the classes' shares of the weights. Infinite
    where a class is watched that training has no image of.
    """
    counts = np.bincount(labels, minlength=len(class_weights)) * class_weights
    shares = (counts / counts.sum())[watched]
    return float(-np.log(shares).mean()) if np.all(shares > 0) else math.inf


def is_collapsed(epoch: Mapping[str, float], ignoring: float) -> bool:
    return epoch["val_top_share"] >= ONE_CLASS and abs(epoch["val_loss"] - ignoring) <= TOLERANCE


def why_collapsed(history: Sequence[Mapping[str, float]], ignoring: float, patience: int) -> str:
    """Why a trial with these epochs has collapsed; "" if not all of the last `patience` are so, or that is 0."""
    latest = history[-patience:] if patience else []
    if len(latest) < max(patience, 1) or not all(is_collapsed(epoch, ignoring) for epoch in latest):
        return ""
    epochs = "an epoch" if patience == 1 else f"{patience} epochs in a row"
    return f"collapsed: one class whatever the image, and the loss of ignoring it ({ignoring:.2f} nats), for {epochs}"
