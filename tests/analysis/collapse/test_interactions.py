"""Two changes that remove a collapse together only, or undo each other."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from analysis.collapse.interactions import OTHERS, Interaction, examine_interactions
from analysis.collapse.verdict import study_collapse
from galaxytl.trial import TrialResult, TrialSpec
from tests.analysis.collapsing import Cause, always, by_preprocessing, by_rate, factorial


def at_epochs(cause: Cause, seeds: int = 5, epochs: tuple[int, ...] = (20, 50)) -> list[TrialResult]:
    return [r for number in epochs for r in factorial(cause, seeds=seeds, arms=["ON"], num_epochs=number)]


def shown(results: list[TrialResult]) -> list[Interaction]:
    found = examine_interactions(results, study_collapse(results).arms)
    return [one for one in found if one.is_shown and (one.is_joint or one.is_undone)]


def test_an_optimizer_that_cures_only_with_the_backbones_own_preprocessing_is_found() -> None:
    (found,) = shown(factorial(lambda spec: by_rate(spec) or by_preprocessing(spec), seeds=5, arms=["ON"]))

    assert found.is_joint
    assert (found.first, found.second, found.held) == ("adam 0.0001", "the backbone's own preprocessing", "")
    assert [share.right for share in found.cells.shares] == [5, 5, 5, 0]


def test_one_that_cures_on_pixels_alone_is_found() -> None:
    (found,) = shown(factorial(lambda spec: by_rate(spec) or not by_preprocessing(spec), seeds=5, arms=["ON"]))

    assert found.is_undone
    assert not found.is_joint


def test_three_things_that_must_come_together_are_found() -> None:
    (found,) = shown(at_epochs(lambda s: by_rate(s) or by_preprocessing(s) or s.num_epochs == 20))

    assert found.first == "adam 0.0001"
    assert {found.second, found.held} == {"the backbone's own preprocessing", "training for 50 epochs in place of 20"}


def test_preprocessing_and_epochs_that_must_come_together_are_found() -> None:
    (found,) = shown(at_epochs(lambda s: by_preprocessing(s) or s.num_epochs == 20))

    assert {found.first, found.second} == {"the backbone's own preprocessing", "training for 50 epochs in place of 20"}


@pytest.mark.parametrize("cause", [by_rate, always, by_preprocessing])
def test_where_things_work_alone_or_nothing_does_none_is_named(cause: Cause) -> None:
    assert shown(at_epochs(cause)) == []


def test_settings_that_one_side_lacks_are_not_taken_together() -> None:
    """With its own preprocessing only the setting that learns was run: the mixture is another, nothing interacts."""
    results = [
        r for r in factorial(by_rate, seeds=6, arms=["ON"]) if by_preprocessing(r.spec) or r.spec.optimizer == "adam"
    ]
    (pooled,) = (one for one in examine_interactions(results) if one.first == OTHERS)

    assert pooled.cells.first == pooled.cells.both
    assert pooled.p_value == 1


def test_another_version_makes_no_pair() -> None:
    results = factorial(lambda spec: by_rate(spec) or by_preprocessing(spec), seeds=5, arms=["ON"])
    newer = [r if by_preprocessing(r.spec) else replace(r, environment={"galaxytl": "9.9"}) for r in results]

    assert examine_interactions(results)
    assert examine_interactions(newer) == ()


def test_the_order_of_the_rows_does_not_matter() -> None:
    results = at_epochs(lambda s: by_rate(s) or by_preprocessing(s))
    shuffled = random.Random(0).sample(results, len(results))

    assert examine_interactions(shuffled) == examine_interactions(results)


def test_without_an_interaction_one_is_seldom_claimed() -> None:
    """Four cells of equal rates; two settings besides the paper's, and all tests of a study together."""
    numbers = random.Random(0)
    claimed = 0
    for _ in range(60):
        ends: dict[TrialSpec, bool] = {}

        def cause(spec: TrialSpec, ends: dict[TrialSpec, bool] = ends) -> bool:
            return ends.setdefault(spec, numbers.random() < 0.5)

        claimed += any(one.is_shown for one in examine_interactions(factorial(cause, seeds=4, arms=["ON"])))
    assert claimed <= 6
