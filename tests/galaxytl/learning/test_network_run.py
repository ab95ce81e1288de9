from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning.examples import Examples
from galaxytl.learning.network_run import predict
from galaxytl.networks.recipe.compiled import STEPS_AT_ONCE

BATCH = 4


class Counted(keras.layers.Dense):
    """Counts the calls of Python: one for each copy of the network in what is traced."""

    traced = 0

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        self.traced += 1
        return super().call(inputs, training)


def test_scoring_traces_a_network_once_for_any_number_of_batches() -> None:
    layer = Counted(3)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(steps_per_execution=STEPS_AT_ONCE)
    inputs = np.random.default_rng(0).standard_normal((200, 2), np.float32)
    labels, none = np.zeros(200, np.int32), np.arange(0)
    right, before = inputs @ np.asarray(layer.kernel.value), layer.traced
    for number in (STEPS_AT_ONCE + 3, 2, STEPS_AT_ONCE):
        rows = np.arange(5, 5 + number * BATCH)
        found = predict(model, Examples(inputs, labels, none, none, rows), BATCH)
        assert found == pytest.approx(right[rows], abs=1e-6)
    assert layer.traced - before == 1
    assert model.steps_per_execution == STEPS_AT_ONCE  # as it trains
