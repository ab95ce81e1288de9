"""Trials whose learning rate changes with the steps, or differs between layers, on their way through a group, a
checkpoint and a warm network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning import heads
from galaxytl.learning.fit_heads import fit_heads
from galaxytl.networks import warm
from galaxytl.trial import COMPLETE, FAILED, TrialSpec
from tests.galaxytl.learning import test_heads
from tests.galaxytl.learning.test_fit_heads import SILENT
from tests.galaxytl.trials import Stopped, curves, fails_after, run, run_all, tiny_spec

pytestmark = pytest.mark.usefixtures("toy_backbone")

EPOCHS, STEPS = 34, 6
SCHEDULES: list[dict[str, Any]] = [
    {"schedule": "cosine", "warmup_epochs": 2.5, "learning_rate_floor": 0.1},
    {"schedule": "linear", "seed": 1},
    {"seed": 2},
    {"schedule": "step", "step_epochs": 10.0, "step_factor": 0.3, "seed": 3},
]
GROUPS = {
    name: [specs[1].replace(num_epochs=EPOCHS, **changes) for changes in SCHEDULES]
    for name, specs in test_heads.GROUPS.items()
}
"""Of each optimizer the head with weight decay, four times."""


def schedule_of_keras(spec: TrialSpec) -> Any:
    by_keras, rate, steps = keras.optimizers.schedules, spec.learning_rate, EPOCHS * STEPS
    if spec.schedule == "cosine":
        return by_keras.CosineDecay(0.0, steps - 15, 0.1, warmup_target=rate, warmup_steps=15)
    falls = [60 * n - 1 for n in (1, 2, 3)]
    return by_keras.PiecewiseConstantDecay(falls, [rate * 0.3**n for n in range(4)])


@pytest.mark.parametrize(
    "optimizer", ["sgd", *(pytest.param(name, marks=pytest.mark.rest) for name in ("adam", "rmsprop"))]
)
def test_fused_heads_with_schedules_of_their_own_are_alone_and_keras(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs, examples, plain = GROUPS[optimizer], test_heads.make_examples(), test_heads.keras_optimizer
    group = fit_heads(specs, examples, tmp_path / "together", SILENT)
    assert [head.state["steps"].item() for head in group] == [204] * 4
    for head in group:
        (alone,) = fit_heads([head.spec], examples, tmp_path / head.spec.trial_id, SILENT)
        assert head.state["weights"] == pytest.approx(alone.state["weights"], abs=1e-5)

    def scheduled(spec: TrialSpec) -> Any:
        found = plain(spec)
        found.learning_rate = schedule_of_keras(spec)
        return found

    monkeypatch.setattr(test_heads, "keras_optimizer", scheduled)
    for head in (group[0], group[3]):
        by_keras = test_heads.trained_by_keras(head.spec, EPOCHS, examples)
        assert test_heads.distance(heads.weights(head.state), by_keras) < 1e-5


LAYERS = {"learning_rate_decay": 0.5, "weight_decay": 0.01, "unfrozen_blocks": 2}
CHANGING = {"schedule": "cosine", "warmup_epochs": 1.5, "num_epochs": 3, "learning_rate": 1e-2}


@pytest.mark.parametrize(
    "settings",
    [
        {**CHANGING, **LAYERS},
        pytest.param(
            {**CHANGING, **LAYERS, "unfrozen_blocks": "all", "precision": "mixed_float16"}, marks=pytest.mark.rest
        ),
    ],
    ids=["schedule and layers", "loss scale"],
)
def test_a_network_goes_on_after_a_checkpoint_as_if_nothing_had_been(
    settings: dict[str, Any], galaxies_file: Path, tmp_path: Path
) -> None:
    """In a process that has trained another schedule with the same compiled network before."""
    spec = tiny_spec(galaxies_file).replace(**settings)
    whole = run(spec, galaxies_file, tmp_path / "whole")
    assert whole.status == COMPLETE, whole.message
    kept = warm._cache.trainable
    with pytest.raises(Stopped):
        run(spec, galaxies_file, tmp_path / "killed", watcher=fails_after(1, Stopped()))
    other = run(spec.replace(schedule="linear", learning_rate=1e-3), galaxies_file, tmp_path / "other")
    again = run(spec, galaxies_file, tmp_path / "killed")
    assert warm._cache.trainable is kept
    assert again.resumed_after == (1,)
    assert curves(again.history) == pytest.approx(curves(whole.history), rel=1e-5, abs=1e-6)
    assert again.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-5)
    assert np.abs(curves(other.history) - curves(whole.history)).max() > 1e-3


def test_a_warm_up_that_takes_all_of_the_training_fails_alone(galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file)
    bad, good = run_all([spec.replace(warmup_steps=1000), spec.replace(warmup_steps=2)], galaxies_file, tmp_path)
    assert (bad.status, good.status) == (FAILED, COMPLETE)
    assert bad.message.startswith("warmup_steps must be below all steps of training, 8 (4 an epoch); got 1000")
