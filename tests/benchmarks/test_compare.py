"""What bench_sweep.py concludes, on numbers whose conclusion is known."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.sweeps import compare
from galaxytl.networks.blocks import Block, Structure
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec

TWO_BLOCKS = Structure("MobileNet", 32, (Block("one", (4, 4, 8), 1000, 1), Block("two", (2, 2, 5), 300, 1)))
FOUND = {("MobileNet", 32): TWO_BLOCKS}
HEAD = 2 * 2 * 5 * 10
SIZES = {"train": 7, "validation": 0, "test": 3}


def make_row(*, status: Any = COMPLETE, seconds: float = 1.0, num_fused: int = 1, **spec: Any) -> TrialResult:
    fixed = {"dataset": "simulated", "dataset_fingerprint": "0f", "image_size": 32, "num_epochs": 2}
    return TrialResult(
        spec=TrialSpec(**fixed, **spec),
        status=status,
        metrics={"accuracy": 0.5} if status == COMPLETE else {},
        num_images=SIZES,
        num_fused=num_fused,
        timings={"features": 5.0, "train": 2.0, "evaluate": 1.0, "data": seconds, "total": 8.0 + seconds},
        multiply_adds={"features": 10.0, "train": 20.0},
        started=f"2030-01-01T00:00:0{spec.get('seed', 0)}",
    )


def places(*accuracies: float) -> dict[compare.Place, float]:
    return {("VGG16", 0, float(i)): accuracy for i, accuracy in enumerate(accuracies)}


def test_systems_that_differ_by_noise_agree_and_one_that_is_worse_in_every_trial_does_not() -> None:
    found = compare.agreement(places(0.5, 0.6, 0.4, 0.5), places(0.55, 0.55, 0.38, 0.53), num_test=1000)
    assert found.holds
    assert found.mean == pytest.approx(-0.0025)
    assert found.largest == pytest.approx(0.05)
    worse = compare.agreement(places(0.4, 0.5, 0.3, 0.41), places(0.5, 0.6, 0.4, 0.5), num_test=100)
    assert not worse.holds
    assert "NOT WITHIN NOISE" in str(worse)
    assert compare.agreement(places(0.50, 0.60), places(0.51, 0.61), num_test=100).holds  # one test image
    assert not compare.agreement(places(0.50, 0.60), places(0.52, 0.62), num_test=100).holds


def test_trials_that_one_system_did_not_finish_are_left_out_and_named() -> None:
    baseline = [
        {"backbone": "MobileNet", "unfrozen_blocks": 0, "learning_rate": 0.1, "accuracy": 0.1, "loss": float("nan")},
        {"backbone": "MobileNet", "unfrozen_blocks": 0, "learning_rate": 0.01, "accuracy": 0.5, "loss": 1.0},
    ]
    rows = [make_row(learning_rate=0.1), make_row(learning_rate=0.01), make_row(learning_rate=9.0, status=FAILED)]
    ours, theirs = compare.accuracies_of_rows(rows), compare.accuracies_of_baseline(baseline)
    assert compare.agreement(ours, theirs, 10).left_out == (("MobileNet", 0, 0.1),)
    with pytest.raises(ValueError, match="have none"):
        compare.agreement(ours, {}, 10)


def test_a_frozen_backbone_is_minimally_computed_once_and_cuts_of_one_share_their_prefixes() -> None:
    rows = [make_row(learning_rate=rate) for rate in (0.1, 0.01)]
    heads = 2 * 2 * HEAD * (3 * 7 + 3)  # two trials of two epochs
    assert compare.minimal_multiply_adds(rows, FOUND) == 1300 * 10 + heads
    assert compare.minimal_multiply_adds(rows, FOUND, is_stored=True) == heads
    cuts = [make_row(unfrozen_blocks=number) for number in (0, 1, "all")]
    after = 2 * (3 * 7 + 3) * (HEAD + (300 + HEAD) + (1300 + HEAD))
    assert compare.minimal_multiply_adds(cuts, FOUND) == 1300 * 10 + after
    assert compare.executed_multiply_adds(cuts) == 90


def test_the_first_trial_of_a_group_is_not_warm_unless_heads_shared_it() -> None:
    alone = [make_row(unfrozen_blocks=1, seed=seed, seconds=9.0 if seed == 0 else 0.25) for seed in range(3)]
    assert compare.seconds_outside_training(alone) == [0.25, 0.25]
    fused = [make_row(learning_rate=rate, num_fused=2, seconds=0.5) for rate in (0.1, 0.2)]
    assert compare.seconds_outside_training(fused) == [0.5, 0.5]


def test_parts_of_a_trial_add_up_to_its_total() -> None:
    parts = {"features": 10.0, "train": 4.0, "evaluate": 2.0, "data": 2.0, "other": 0.0}
    assert compare.seconds_by_part([make_row(), make_row()]) == parts


def test_floor_is_each_prefix_once_and_a_suffix_for_every_rate() -> None:
    work = {"train": [0] * 7, "test": [0] * 3, "batch_size": 4, "num_epochs": 2, "learning_rate": [0.1, 0.2]}
    costs = {"0": {"step": 1.0, "watch": 0.5}, "1": {"step": 10.0, "watch": 5.0}}
    measured = {"MobileNet": {"prefix": 100.0, "cuts": costs}}
    head, block = 2 * 2 * 1.0 + 2 * 3 * 0.5, 2 * (2 * 2 * 10.0 + 2 * 3 * 5.0)  # heads of both rates in one pass
    assert compare.floor_seconds(work, measured) == 100.0 * 10 + head + block
    assert compare.floor_seconds(work, measured, is_stored=True) == head + block
