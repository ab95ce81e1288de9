"""Layers with learning rates of their own, in Keras's optimizers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.networks import warm
from galaxytl.networks.recipe.compiled import make_optimizer
from galaxytl.networks.recipe.learning_rates import StepRates, by_layer
from tests.galaxytl import toy

pytestmark = pytest.mark.usefixtures("toy_backbone")
SPEC = toy.SPEC.replace(optimizer="sgd", weight_decay=0.1, learning_rate=0.1, unfrozen_blocks="all")


def change(**settings: Any) -> dict[str, np.ndarray]:
    """What one step takes off each array of the toy network, by name."""
    model, _ = warm.trainable(SPEC.replace(**settings), None, lambda: None)
    before = {v.path: np.array(v.value) for v in model.trainable_variables}
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    model.train_on_batch(pixels, np.arange(8))
    return {v.path: before[v.path] - np.array(v.value) for v in model.trainable_variables}


def test_a_block_learns_and_decays_at_a_power_of_the_heads_rate_that_counts_from_the_output() -> None:
    """Without momentum a step is its rate times what does not depend on it."""
    plain, decayed = change(), change(learning_rate_decay=0.5)
    powers = {"block1": 3, "block2": 2, "block3": 1}
    for (path, one), other in zip(plain.items(), decayed.values(), strict=True):
        power = next((n for block, n in powers.items() if block in path), 0)
        assert np.abs(one).max() > 0
        assert other == pytest.approx(0.5**power * one, rel=1e-4, abs=1e-7), path


def test_where_no_layer_differs_the_optimizer_is_kerass() -> None:
    assert by_layer(keras.optimizers.Adam, [1.0, 1.0]) is keras.optimizers.Adam
    assert type(make_optimizer(SPEC)) is keras.optimizers.SGD
    optimizer = keras.optimizers.SGD(StepRates())
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer.build([variable])
    with pytest.raises(ValueError, match="must have the rates of an epoch"):
        optimizer.apply([variable])
