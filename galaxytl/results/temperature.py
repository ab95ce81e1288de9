"""The temperature by which a network's logits are divided, so that it is as sure as it is right.

    temperature = fit_temperature(on_validation, validation_labels)
    nll(tempered(on_test, temperature.value), test_labels)

Probabilities are (N, C), each image's summing to 1; labels (N,) are classes from 0, targets labels or votes (N, C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.predictions import cross_entropies

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]
Labels = NDArray[np.int64]
SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""Probabilities are stored as float32: below it they are 0, and count as this."""
TEMPERATURES: Final = (0.05, 20.0)
"""The least and the largest that is looked for."""


@dataclass(frozen=True)
class Temperature:
    """By which the logits are divided: above 1 it makes a network less sure. `is_at_end`: the fit ran to the end of
    TEMPERATURES, as where a network has every image right."""

    value: float
    is_at_end: bool = False


def nll(probabilities: Numbers, targets: Labels | Numbers) -> float:
    """Return the mean negative logarithm of the true class's probability, or of all classes' by their votes, in nats;
    ln C where all classes have the same one."""
    return float(cross_entropies(np.maximum(probabilities, SMALLEST), targets).mean())


def tempered(probabilities: Numbers, temperature: float) -> Floats:
    """Return the probabilities (N, C) with their logits divided by `temperature`. No prediction changes, only how sure
    it is."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float64)


def fit_temperature(probabilities: Numbers, targets: Labels | Numbers) -> Temperature:
    """Return the temperature with the least `nll` on these images (Guo et al. 2017, section 4.2), which must not be
    those that it is then judged by. It is 1 where none is better.

    As a function of 1 / temperature the loss is convex, so that it has one valley in the temperature's logarithm.
    """
    from scipy.optimize import minimize_scalar  # half a second that `--help` need not wait for

    ends = tuple(map(math.log, TEMPERATURES))

    def loss(logarithm: float) -> float:
        return nll(tempered(probabilities, math.exp(logarithm)), targets)

    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-5})
    if loss(0.0) - float(found.fun) <= 1e-9:
        return Temperature(1.0)
    at_end = min(abs(float(found.x) - end) for end in ends) < 1e-3
    return Temperature(math.exp(float(found.x)), at_end)
