from __future__ import annotations

from dataclasses import replace
from typing import Any

from galaxytl.results.ranking import MOST_UNRANKED, best
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1)


def result(seed: int, accuracy: float, loss: float = 1.0, **fields: Any) -> TrialResult:
    epoch = {"epoch": 1, "loss": 1.0, "val_accuracy": accuracy, "val_loss": loss}
    spec = SPEC.replace(seed=seed, **fields)
    watched: Any = "validation" if spec.validation_fraction else "test"
    return TrialResult(spec=spec, status=COMPLETE, history=(epoch,), curves_on=watched)


def test_the_best_are_the_most_accurate_on_the_validation_part_then_those_of_least_loss() -> None:
    good, equal, bad = result(0, 0.8, 0.5), result(1, 0.8, 0.4), result(2, 0.3)
    failed = TrialResult(spec=SPEC.replace(seed=3), status=FAILED)
    assert best([bad, good, failed, equal], 2) == [equal, good]
    assert best([bad, good, failed, equal], None) == [bad, good, equal]
    assert best([bad, good], 0) == []


def test_a_trial_is_as_good_as_the_epoch_that_is_scored() -> None:
    late, fallen = result(0, 0.7), result(1, 0.9, scored_epoch="best")
    fallen = replace(fallen, history=(*fallen.history, {"epoch": 2, "val_accuracy": 0.1, "val_loss": 3.0}))
    assert best([late, fallen], 1) == [late]
    scored = replace(fallen, epoch_scored=1)
    assert best([late, scored], 1) == [scored]


def test_of_a_search_the_trial_with_the_test_score_stands_for_its_twin() -> None:
    twins = [result(0, 0.8, scored_on=part) for part in ("validation", "test")]
    assert best(twins, 1) == best(twins[::-1], 1) == [twins[1]]


def test_the_test_part_ranks_nobody() -> None:
    unranked = [result(seed, seed / 100, validation_fraction=0.0) for seed in range(MOST_UNRANKED + 3)]
    assert best(unranked, 1) == unranked[:MOST_UNRANKED]
    assert best([*unranked, result(50, 0.1)], 1)[0].spec.validation_fraction


def test_trials_on_different_images_do_not_compete() -> None:
    easy, mine = result(0, 0.95), result(0, 0.7, dataset_fingerprint="77bc")
    assert best([mine, easy, result(1, 0.6)], 1) == [easy, mine]
