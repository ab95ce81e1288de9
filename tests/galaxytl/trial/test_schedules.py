"""The learning rate of each step is what Keras's own schedules give, where they say the same thing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from keras.optimizers import schedules as by_keras

from galaxytl.trial import SpecError, TrialSpec
from galaxytl.trial.schedules import check_warmup, epoch_rates

RATE, EPOCHS, STEPS = 0.02, 6, 7
BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, learning_rate=RATE, num_epochs=EPOCHS)
ALL = EPOCHS * STEPS
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "cosine": ({"schedule": "cosine"}, by_keras.CosineDecay(RATE, ALL)),
    "cosine, floor, warm-up of a part of an epoch": (
        {"schedule": "cosine", "learning_rate_floor": 0.1, "warmup_epochs": 1.5},
        by_keras.CosineDecay(0.0, ALL - 10.5, 0.1, warmup_target=RATE, warmup_steps=10.5),
    ),
    "linear": (
        {"schedule": "linear", "learning_rate_floor": 0.2},
        by_keras.PolynomialDecay(RATE, ALL, 0.2 * RATE),
    ),
    "step": (
        {"schedule": "step", "step_epochs": 2.0, "step_factor": 0.5},
        by_keras.PiecewiseConstantDecay([13, 27], [RATE, RATE / 2, RATE / 4]),
    ),
    "step, of a tenth, down to the floor": (  # 2.3 epochs are 16.1 steps
        {"schedule": "step", "step_epochs": 2.3, "learning_rate_floor": 0.05},
        by_keras.PiecewiseConstantDecay([16, 32], [RATE, RATE / 10, RATE / 20]),
    ),
    "constant after a warm-up": (
        {"warmup_steps": 5},
        by_keras.CosineDecay(0.0, ALL, 1.0, warmup_target=RATE, warmup_steps=5),
    ),
    "constant": ({}, lambda step: RATE),
}


def rates(spec: TrialSpec) -> list[float]:
    return [rate for number in range(1, spec.num_epochs + 1) for rate in epoch_rates(spec, number, STEPS)]


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_is_keras_own(case: str) -> None:
    changes, schedule = CASES[case]
    wanted = [float(schedule(step)) for step in range(ALL)]
    assert rates(BASE.replace(**changes)) == pytest.approx(wanted, rel=1e-5, abs=1e-7 * RATE)


def test_a_fall_comes_after_whole_epochs_whatever_their_product_is_rounded_to() -> None:
    spec = BASE.replace(schedule="step", step_epochs=0.14, step_factor=0.5)
    assert 0.14 * 50 > 7
    assert epoch_rates(spec, 1, 50)[6:8] == [RATE, RATE / 2]
    assert epoch_rates(spec.replace(step_epochs=math.ulp(0.0)), 1, 10) == [RATE] + [0.0] * 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_epochs": 6.0}, "warm-up must be over before training is; got warmup_epochs=6.0, num_epochs=6"),
        ({"schedule": "step", "step_epochs": 1.0, "warmup_epochs": 2.0}, "warm-up must be over before the rate falls"),
        ({"schedule": "step"}, "schedule=step wants step_epochs"),
        ({"learning_rate_decay": 0.5}, "learning_rate_decay wants unfrozen blocks"),
        ({"learning_rate_floor": 0.1}, "learning_rate_floor is a setting of schedules that fall"),
    ],
)
def test_a_schedule_that_can_not_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        BASE.replace(**changes)


def test_a_warm_up_in_steps_is_over_before_training_is() -> None:
    spec = BASE.replace(batch_size=10, warmup_steps=41)
    check_warmup(spec, 61)  # 7 steps an epoch, the last of one image
    with pytest.raises(SpecError, match=r"below all steps of training, 36 \(6 an epoch\); got 41: give fewer, or"):
        check_warmup(spec, 60)


def test_networks_whose_rate_changes_share_a_group_with_each_other_alone() -> None:
    spec = BASE.replace(unfrozen_blocks=1)
    changing = [spec.replace(schedule="linear"), spec.replace(warmup_steps=3), spec.replace(schedule="cosine")]
    assert len({one.group_key for one in changing}) == 1
    assert spec.group_key != changing[0].group_key
    assert BASE.group_key == BASE.replace(schedule="cosine").group_key  # heads have a rate each
