"""Two changes that remove a collapse together only, or undo each other."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

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


OWN, LONGER = "the backbone's own preprocessing", "training for 50 epochs in place of 20"


@pytest.mark.parametrize(
    ("results", "changes", "rights"),
    [
        (factorial(lambda s: by_rate(s) or by_preprocessing(s), 5, ["ON"]), {"adam 0.0001", OWN}, [5, 5, 5, 0]),
        (factorial(lambda s: by_rate(s) or not by_preprocessing(s), 5, ["ON"]), {"adam 0.0001", OWN}, [5, 0, 5, 5]),
        (
            at_epochs(lambda s: by_rate(s) or by_preprocessing(s) or s.num_epochs == 20),
            {"adam 0.0001", OWN, LONGER},
            [5, 5, 5, 0],
        ),
        (at_epochs(lambda s: by_preprocessing(s) or s.num_epochs == 20), {OWN, LONGER}, None),
    ],
)
def test_what_works_only_together_or_only_alone_is_found(
    results: list[TrialResult], changes: set[str], rights: list[int] | None
) -> None:
    (found,) = shown(results)

    assert {found.first, found.second, found.held} - {""} == changes
    counts = [share.right for share in found.cells.shares]
    assert counts == (rights or [counts[0], counts[0], counts[0], 0])
    assert found.is_joint == (counts[-1] == 0)
    assert found.is_undone == (counts[-1] > 0)


def test_a_warm_up_may_work_with_clipped_gradients_or_with_one_optimizer_only() -> None:
    """Each setting of the optimizer against each of its cures, and cures against each other."""
    tried: list[dict[str, Any]] = [{}, {"warmup_epochs": 2.0}, {"global_clipnorm": 1.0}]
    tried.append({**tried[1], **tried[2]})
    both = [
        r for own in tried for r in factorial(lambda s: not (s.warmup_epochs and s.global_clipnorm), 5, ["ON"], **own)
    ]
    papers = [
        r for r in both if (r.spec.learning_rate, r.spec.optimizer) == (1e-3, "adam") and by_preprocessing(r.spec)
    ]
    (found,) = shown(papers)
    assert (found.first, found.second) == ("a warm-up of 2 epochs", "gradients clipped to a norm of 1")
    assert (found.is_joint, found.is_of_optimizer) == (True, True)

    of_sgd = [
        r
        for own in tried[:2]
        for r in factorial(lambda s: s.optimizer != "sgd" or not s.warmup_epochs, 5, ["ON"], **own)
    ]
    (found,) = shown([r for r in of_sgd if by_preprocessing(r.spec)])
    assert (found.first, found.second) == ("sgd 0.01, momentum 0.9", "a warm-up of 2 epochs")
    assert (found.is_joint, found.is_of_optimizer) == (True, True)


def test_what_cures_do_together_is_asked_of_random_weights_that_are_frozen_too() -> None:
    """A start that is no arm of the question: no other factor is asked of it, and no answer names it."""
    frozen = {"weights": "random", "weights_requested": "random", "weights_fingerprint": ""}
    tried: list[dict[str, Any]] = [{}, {"warmup_epochs": 2.0}, {"global_clipnorm": 1.0}]
    tried.append({**tried[1], **tried[2]})
    results = [
        r
        for own in tried
        for r in factorial(lambda s: not (s.warmup_epochs and s.global_clipnorm), 5, ["ON"], **frozen, **own)
    ]
    found = examine_interactions(results)
    assert {one.arm for one in found} == {"random, frozen"}
    assert all(one.is_of_optimizer for one in found)
    (joint,) = (one for one in found if one.is_joint)
    assert (joint.first, joint.second) == ("a warm-up of 2 epochs", "gradients clipped to a norm of 1")
    assert joint.is_shown
    assert examine_interactions(factorial(always, 5, ["ON"], **frozen)) == ()


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
