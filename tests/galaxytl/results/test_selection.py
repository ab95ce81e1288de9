from __future__ import annotations

import itertools
import math

from galaxytl.results.selection import ranked
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1, scored_on="validation")


def result(seed: int, accuracy: float, loss: float = 1.0, status: str = COMPLETE, **fields: object) -> TrialResult:
    metrics = {"accuracy": accuracy, "loss": loss} if status == COMPLETE else {}
    return TrialResult(spec=SPEC.replace(seed=seed, **fields), status=status, metrics=metrics)


def seeds(results: list[TrialResult]) -> list[int]:
    return [found.spec.seed for found in ranked(results)]


def test_the_most_accurate_comes_first_in_whatever_order_the_rows_are() -> None:
    results = [result(0, 0.5), result(1, 0.7), result(2, 0.6)]
    assert all(seeds(list(order)) == [1, 2, 0] for order in itertools.permutations(results))


def test_of_equally_accurate_ones_the_lower_loss_comes_first() -> None:
    assert seeds([result(0, 0.5, 1.2), result(1, 0.5, 1.1), result(2, 0.6, 9.0)]) == [2, 1, 0]


def test_of_equals_the_order_is_the_same_everywhere() -> None:
    results = [result(seed, 0.5) for seed in range(4)]
    by_id = sorted(results, key=lambda found: found.trial_id)
    assert all(ranked(order) == by_id for order in itertools.permutations(results))


def test_a_score_on_the_test_part_is_never_looked_at() -> None:
    on_test = result(0, 0.99, 0.01, scored_on="test")
    assert seeds([on_test, result(1, 0.5)]) == [1]
    assert ranked([on_test]) == []


def test_only_trials_that_came_to_their_end_are_chosen_from() -> None:
    others = [result(0, 0.9, status=FAILED), result(1, 0.9, status=PRUNED)]
    assert seeds([*others, result(2, 0.1)]) == [2]
    assert ranked(others) == ranked([]) == []


def test_a_loss_that_is_no_number_breaks_no_order() -> None:
    """As the loss of a row may be, that says null: the accuracy decides first."""
    assert seeds([result(0, 0.5, math.nan), result(1, 0.6, math.nan), result(2, 0.55, 1.0)]) == [1, 2, 0]


def test_chosen_trials_can_be_scored_on_the_test_part() -> None:
    best, *_ = ranked([result(0, 0.5), result(1, 0.7)])
    tested = best.spec.replace(scored_on="test")
    assert tested.trial_id != best.trial_id
    assert tested.replace(scored_on="validation") == best.spec
