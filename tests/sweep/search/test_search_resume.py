"""What a search finds: trials of a driver that died, points to try first, rows that there are already."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from optuna.trial import TrialState

from galaxytl.trial import COMPLETE, FAILED, PRUNED, SpecError, TrialResult, TrialSpec
from sweep.search.stopping import Asha
from sweep.search.study import StudyError
from sweep.space import Facts, Suggests
from tests.sweep.searches import (
    BASE,
    RUNGS,
    STATES,
    ToySearch,
    accuracy,
    asha,
    epoch_of,
    failed,
    make_problem,
    make_search,
    next_driver,
    result_of,
    run_sequentially,
    small_space,
    states,
    train,
    trial_of,
)

# What a driver that died leaves


def test_a_driver_that_died_leaves_rows_and_trials_to_go_on_with() -> None:
    given: dict[str, Any] = {"rule": Asha(BASE.num_epochs), "num_trials": 9}
    dead = make_search(**given)
    specs = dead.ask(7)
    train(dead, specs[:3])
    complete, stopped, diverged, under_way = specs[3:]
    dead.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs[3:]})
    for result in (result_of(complete), result_of(stopped, PRUNED, 1), failed(diverged)):
        dead.rows[result.trial_id] = result  # written, and the driver died before it told its study

    search = next_driver(dead, **given)
    assert search.under_way == [under_way]
    assert trial_of(search, complete).value == accuracy(complete, 10)
    pruned, lost = trial_of(search, stopped), trial_of(search, diverged)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: accuracy(stopped, 1)})
    assert (lost.state, lost.user_attrs["reason"][:8]) == (TrialState.FAIL, "diverged")
    for before, now in zip(dead.trials[:3], search.trials[:3], strict=True):
        for fact in ("number", "state", "params", "distributions", "values", "intermediate_values", "user_attrs"):
            assert getattr(before, fact) == getattr(now, fact)
    assert search.num_left == 2
    train(search, [under_way])
    assert trial_of(search, under_way).number == 6
    assert len(run_sequentially(search)) == 2
    assert (states(search)["RUNNING"], len(search.trials)) == (0, 9)
    last = next_driver(search, **given)
    assert (last.under_way, last.num_left) == ([], 0)


def test_a_trial_whose_row_was_lost_is_trained_again_in_its_place() -> None:
    first = make_search(num_trials=3)
    specs = first.ask(3)
    train(first, specs)
    del first.rows[specs[1].trial_id]
    search = next_driver(first, num_trials=3)
    assert (search.under_way, search.num_left) == ([specs[1]], 0)


def test_a_resumed_rule_stops_like_one_that_was_there_all_along() -> None:
    whole, search = asha(num_trials=12), asha(num_trials=12)
    there = [train(whole, whole.ask(3)) for _ in range(4)]
    resumed = []
    for _ in range(4):
        search = next_driver(search, rule=Asha(BASE.num_epochs), num_trials=12)
        assert search.under_way == []
        resumed.append(train(search, search.ask(3)))
    assert resumed == there
    assert {result.status for results in there for result in results.values()} == {COMPLETE, PRUNED}


def test_a_trial_that_goes_on_reports_only_what_is_new() -> None:
    first = asha()
    (spec,) = first.ask(1)
    for epoch in (1, 3):
        first.epochs({spec.trial_id: epoch_of(spec, epoch)})
    second = next_driver(first, rule=Asha(BASE.num_epochs))
    assert second.under_way == [spec]
    second.epochs({spec.trial_id: epoch_of(spec, 1)})
    second.epochs({spec.trial_id: {"epoch": 1, "val_accuracy": 0.0}})  # heard already
    train(second, [spec])  # from its first epoch: its checkpoint was lost
    trial = trial_of(second, spec)
    assert trial.intermediate_values == {epoch: accuracy(spec, epoch) for epoch in RUNGS}
    assert (trial.state, len(second.trials)) == (TrialState.COMPLETE, 1)


def begun_with(fingerprint: str) -> Callable[[Mapping[str, Any]], TrialSpec]:
    imagenet = BASE.replace(weights="imagenet", weights_requested="imagenet", weights_fingerprint=fingerprint)
    return lambda fields: imagenet.replace(**fields)


def without_file(fields: Mapping[str, Any]) -> TrialSpec:
    return BASE.replace(**fields, weights="random", weights_requested="imagenet")


def no_file_at_all(fields: Mapping[str, Any]) -> TrialSpec:
    raise SpecError("ImageNet weights of Toy not found: put toy.h5 into --weights-dir")


@pytest.mark.parametrize(
    ("build", "this_search"),
    [
        (begun_with("b" * 64), "this search ImageNet weights bbbbbbbbbbbb: see --weights-dir"),
        (without_file, "this search random (ImageNet weights not found): see --weights-dir"),
        (no_file_at_all, "be now (ImageNet weights of Toy not found: put toy.h5 into --weights-dir), this search"),
    ],
)
def test_a_study_whose_trials_began_with_other_weights_is_refused(
    build: Callable[[Mapping[str, Any]], TrialSpec], this_search: str
) -> None:
    first = make_search(build=begun_with("a" * 64))
    train(first, first.ask(3))
    before, rows = list(first.lines), dict(first.rows)
    for known, said in ((rows, "that began with ImageNet weights aaaaaaaaaaaa"), ({}, "that began with other weights")):
        first.rows = dict(known)
        with pytest.raises(StudyError) as caught:
            next_driver(first, build=build)
        assert this_search in str(caught.value)
        assert "Go on with the options that it was begun with, or choose another --study" in str(caught.value)
        assert said in str(caught.value) or build is no_file_at_all
    assert first.lines == before  # nothing was written
    first.rows = rows
    assert next_driver(first, build=begun_with("a" * 64)).under_way == []


def test_a_trial_whose_weights_were_replaced_on_the_way_is_not_waited_for() -> None:
    first = make_search(build=begun_with("a" * 64))
    train(first, first.ask(1))
    (spec,) = ToySearch(make_problem(build=begun_with("b" * 64)), lines := []).ask(1)
    first.lines += lines
    for _ in range(2):  # it is written that it was given up
        search = next_driver(first, build=begun_with("a" * 64))
        assert search.under_way == []
        assert not search.is_running
        assert trial_of(search, spec).state == TrialState.FAIL
        assert "the weights are others" in trial_of(search, spec).user_attrs["reason"]
    assert len(first.lines) == 3


# Trials that are to be tried first

PAPER = [
    BASE.replace(unfrozen_blocks=0, learning_rate=1e-3),
    BASE.replace(unfrozen_blocks=2, learning_rate=1e-3),
    BASE.replace(unfrozen_blocks=2, optimizer="sgd", learning_rate=1e-2, momentum=0.5),
    BASE.replace(learning_rate=0.5),  # not in the space
    BASE.replace(optimizer="rmsprop"),  # nor this
]


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler"])
def test_initial_points_come_first_in_their_order_and_once(sampler: str) -> None:
    first = make_search(sampler=sampler)
    assert [first.enqueue(PAPER), first.enqueue(PAPER)] == [3, 3]
    assert first.num_left == 15  # they are among the 15
    train(first, specs := first.ask(2))
    second = next_driver(first, sampler=sampler)
    assert second.enqueue(PAPER) == 3
    specs += second.ask(3)
    assert specs[:3] == PAPER[:3]
    assert len({spec.trial_id for spec in specs}) == len(second.trials) == 5
    assert second.num_left == 10


def test_initial_points_that_the_space_cannot_give_exactly_are_not_counted() -> None:
    """One says nothing of the momentum: with it, the trial is not what these parameters give. Another is pinned."""

    def without_momentum(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"optimizer": trial.suggest_categorical("optimizer", ("adam", "sgd"))}

    search = make_search(space=without_momentum)
    assert search.enqueue([BASE, BASE.replace(optimizer="sgd", momentum=0.5)]) == 1
    assert search.ask(1) == [BASE]
    assert len(search.trials) == 1
    pinned = make_search(pinned={"optimizer": ("adam",), "unfrozen_blocks": (0, 2)})
    assert pinned.enqueue(PAPER) == 2
    assert pinned.ask(2) == PAPER[:2]


# Trials that have rows already


def some_results() -> list[TrialResult]:
    """12 of a search: complete, stopped and failed ones."""
    search = asha(num_trials=12)
    results = [result for _ in range(3) for result in train(search, search.ask(4)).values()]
    assert {result.status for result in results} == {COMPLETE, PRUNED}
    return [*results[:-2], failed(results[-2].spec), failed(results[-1].spec, "out of memory: 1 GB")]


def test_rows_whose_asked_file_was_lost_are_told_again_and_count() -> None:
    results = some_results()
    search = asha(num_trials=20)
    search.rows |= {result.trial_id: result for result in results}
    assert search.add_known(results, own=True) == 12
    assert search.num_left == 8
    for result in results:
        trial, last = trial_of(search, result.spec), result.history[-1:]
        assert trial.state == STATES[result.status]
        assert trial.value == (None if result.status == FAILED else last[0]["val_accuracy"])
        assert trial.user_attrs.get("reason", "") == result.message
        if result.status == PRUNED:
            assert trial.intermediate_values[len(result.history)] == last[0]["val_accuracy"]
    again = next_driver(search, rule=Asha(BASE.num_epochs), num_trials=20)
    assert [(t.state, t.values, t.params) for t in again.trials] == [
        (t.state, t.values, t.params) for t in search.trials
    ]
    assert (again.add_known(results, own=True), again.num_left) == (0, 8)
    specs = run_sequentially(again)
    assert len(specs) == 8
    assert not {spec.trial_id for spec in specs} & {result.trial_id for result in results}


def test_rows_of_another_sweep_inform_the_sampler_but_are_not_asked_for() -> None:
    results = some_results()
    told, untold = make_search(sampler="TPESampler"), make_search(sampler="TPESampler")
    assert told.add_known(results) == 10  # of failed ones no curve is known
    assert (told.num_left, told.gave_up) == (15, "")
    assert run_sequentially(told, 3) != run_sequentially(untold, 3)
    assert len(run_sequentially(told)) == 12
    resumed = next_driver(told, sampler="TPESampler")
    assert (resumed.under_way, resumed.num_left) == ([], 0)
    assert resumed.add_known(results) == 0


def test_a_known_trial_is_not_asked_for_again() -> None:
    search = make_search(space=small_space, num_trials=60)
    known = BASE.replace(optimizer="sgd", unfrozen_blocks=1)
    assert search.add_known([result_of(known)]) == 1
    specs = run_sequentially(search)
    assert len(specs) == 5
    assert known not in specs


def test_a_known_trial_that_was_scored_on_the_test_part_is_told_by_its_curves() -> None:
    """A grid's trial has its score on the test part, which no search may look at."""
    search, spec = make_search(), BASE.replace(scored_on="test")
    assert search.add_known([result_of(spec, metrics={"accuracy": 0.999, "loss": 0.0})]) == 1
    (trial,) = search.trials
    assert trial.value == accuracy(spec, 10)
    assert trial.user_attrs["trial_id"] == BASE.trial_id
    assert trial.user_attrs["known_before"] is True


def test_trials_on_other_images_or_sizes_or_with_curves_on_the_test_part_are_not_told() -> None:
    changes: dict[str, Any] = {"dataset_fingerprint": "other", "image_size": 64, "num_epochs": 20, "split_seed": 1}
    changes |= {"validation_fraction": 0.2, "weights_fingerprint": "other", "seed": 1, "learning_rate": 0.5}
    search = make_search()
    seen = result_of(BASE.replace(scored_on="test", validation_fraction=0.0), curves_on="test")
    for other in (seen, *(result_of(BASE.replace(**{name: value})) for name, value in changes.items())):
        assert search.add_known([other]) == 0, other.spec
    assert search.trials == []
    assert search.add_known([result_of(BASE)]) == 1


def test_trials_with_random_weights_in_place_of_imagenets_are_known_for_what_was_asked() -> None:
    def by_weights(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"weights": trial.suggest_categorical("weights", ("imagenet", "random"))}

    def build_without_files(fields: Any) -> TrialSpec:
        return BASE.replace(**{**fields, "weights": "random", "weights_requested": fields["weights"]})

    search = make_search(space=by_weights, build=build_without_files)
    substituted = BASE.replace(weights="random", weights_requested="imagenet")
    assert substituted.is_substituted
    assert search.add_known([result_of(substituted)], own=True) == 1
    assert search.trials[0].params == {"weights": "imagenet"}
    assert search.enqueue([substituted, BASE]) == 2


def test_a_known_row_whose_objective_is_no_number_is_a_failed_trial() -> None:
    search = make_search(objectives=("val_loss",))
    assert search.add_known([result_of(BASE, history=({**epoch_of(BASE, 10), "val_loss": math.nan},))]) == 1
    assert search.trials[0].state == TrialState.FAIL
