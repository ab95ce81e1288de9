"""Searches on real Optuna studies: what is asked for, what the study is told, when a search ends."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from galaxytl.trial import COMPLETE, PRUNED, SpecError, TrialSpec
from sweep.search.stopping import Asha
from sweep.search.trials import HOPELESS
from sweep.space import Facts, Suggests
from tests.sweep.searches import (
    BASE,
    COSTS,
    RUNGS,
    ToySearch,
    accuracy,
    asha,
    epoch_of,
    failed,
    make_search,
    next_driver,
    result_of,
    run_sequentially,
    small_space,
    states,
    train,
    trial_of,
)


def asked(number: int, **given: Any) -> tuple[ToySearch, list[TrialSpec]]:
    search = make_search(**given)
    return search, search.ask(number)


# What a study is told


def test_a_trial_knows_its_fields_and_its_row() -> None:
    search, specs = asked(3)
    for trial, spec in zip(search.trials, specs, strict=True):
        assert trial.state == TrialState.RUNNING
        assert trial.user_attrs["trial_id"] == spec.trial_id
        assert BASE.replace(**trial.user_attrs["fields"]) == spec
        assert trial.params[f"learning_rate@{spec.optimizer}"] == spec.learning_rate


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ("val_accuracy", lambda spec: epoch_of(spec, 10)["val_accuracy"]),
        ("val_loss", lambda spec: epoch_of(spec, 10)["val_loss"]),
        ("parameters", lambda spec: 700.0),
        ("multiply_adds", COSTS.alone_multiply_adds),
    ],
)
def test_a_complete_trial_has_the_value_of_its_last_epoch_or_its_cost(objective: str, value: Any) -> None:
    search, specs = asked(2, objectives=(objective,))
    train(search, specs)
    for spec in specs:
        trial = trial_of(search, spec)
        assert (trial.state, trial.value) == (TrialState.COMPLETE, value(spec))
        assert "reason" not in trial.user_attrs
    assert not search.is_running


def test_a_trial_that_early_stopping_ended_is_complete_with_the_value_of_the_epoch_that_is_scored() -> None:
    search = asha()
    (spec,) = search.ask(1)
    search.epochs({spec.trial_id: epoch_of(spec, 1)})
    search.finished(replace(result_of(spec, COMPLETE, 2), epoch_scored=1))  # before the rung of three epochs
    assert (trial_of(search, spec).state, trial_of(search, spec).value) == (TrialState.COMPLETE, accuracy(spec, 1))
    assert not search.is_running


def test_a_stopped_trial_is_pruned_with_its_intermediate_values_and_the_reason() -> None:
    search = asha()
    specs = search.ask(9)
    results = train(search, specs)
    ended = Counter(len(result.history) for result in results.values())
    assert ended == {1: 6, 3: 2, 10: 1}  # a third goes on at each rung
    best = max(specs, key=lambda spec: accuracy(spec, 10))
    assert results[best.trial_id].status == COMPLETE
    for spec in specs:
        trial, result = trial_of(search, spec), results[spec.trial_id]
        epochs = [epoch for epoch in RUNGS if epoch <= len(result.history)]
        assert trial.intermediate_values == {epoch: accuracy(spec, epoch) for epoch in epochs}
        if result.status == PRUNED:
            assert trial.state == TrialState.PRUNED
            assert trial.value == accuracy(spec, len(result.history))  # what Optuna's TPE goes by
            assert trial.user_attrs["reason"] == result.message
            assert result.message.startswith(f"asha: {trial.value:.4g} after epoch {len(result.history)} is below")


def test_a_trial_that_collapsed_between_rungs_is_pruned_with_its_last_epoch() -> None:
    search = asha()
    (spec,) = search.ask(1)
    for epoch in (1, 2):
        assert search.epochs({spec.trial_id: epoch_of(spec, epoch), "of another search": epoch_of(spec, epoch)}) == {}
    assert trial_of(search, spec).intermediate_values == {1: accuracy(spec, 1)}
    search.finished(result_of(spec, PRUNED, 2, message="collapsed: one class"))
    trial = trial_of(search, spec)
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.PRUNED, "collapsed: one class")
    assert trial.intermediate_values == {1: accuracy(spec, 1), 2: accuracy(spec, 2)}


@pytest.mark.parametrize(("objective", "watched"), [("val_loss", "val_loss"), ("multiply_adds", "val_accuracy")])
def test_trials_are_stopped_by_their_loss_or_where_a_cost_is_wanted_by_their_accuracy(
    objective: str, watched: str
) -> None:
    search = asha(objectives=(objective,))
    specs = sorted(search.ask(6), key=lambda spec: accuracy(spec, 1))  # the better this, the lower the loss
    latest = {spec.trial_id: epoch_of(spec, 1) for spec in specs}
    stopped = search.epochs(latest)
    assert set(stopped) == {spec.trial_id for spec in specs[:4]}
    assert trial_of(search, specs[5]).intermediate_values == {1: latest[specs[5].trial_id][watched]}
    assert search.epochs(latest) == stopped  # as of a worker that starts again; warnings are errors, and Optuna's too


def test_a_trial_that_crashed_or_has_no_finite_objective_fails_with_the_reason() -> None:
    search, (crashed, *endless) = asked(3, objectives=("val_loss",))
    search.finished(failed(crashed, "the worker process died 3 times: SIGSEGV"))
    for spec, value in zip(endless, (math.nan, math.inf), strict=True):
        search.finished(result_of(spec, history=({**epoch_of(spec, 10), "val_loss": value},)))
    assert [(trial.state, trial.user_attrs["reason"]) for trial in search.trials] == [
        (TrialState.FAIL, "the worker process died 3 times: SIGSEGV"),
        *[(TrialState.FAIL, "an objective is not a finite number")] * 2,
    ]


def test_a_result_of_something_else_is_left_alone() -> None:
    search, (spec,) = asked(1)
    search.finished(result_of(spec.replace(scored_on="test")))
    search.finished(result_of(spec))
    search.finished(failed(spec))  # told already
    assert states(search) == {"COMPLETE": 1}


# Asking


def test_so_many_are_asked_for_and_no_more() -> None:
    search = make_search(num_trials=5)
    first, second = search.ask(3), search.ask(3)
    assert (len(first), len(second), search.num_left, search.ask(3)) == (3, 2, 0, [])
    train(search, [*first, *second])
    assert search.ask(1) == []
    assert states(search) == {"COMPLETE": 5}


def test_an_exhausted_space_ends_with_equal_suggestions_told_and_counted() -> None:
    given: dict[str, Any] = {"space": small_space, "sampler": "TPESampler", "num_trials": 30}
    search = make_search(**given)
    specs = run_sequentially(search)
    assert len(specs) == len({spec.trial_id for spec in specs}) == 6
    equal = [trial for trial in search.trials if trial.state == TrialState.FAIL]
    assert len(equal) == 24
    known = {spec.trial_id for spec in specs}
    assert {trial.user_attrs["reason"] for trial in equal} == {f"equal to an earlier trial, {i}" for i in known}
    assert (search.num_left, search.gave_up) == (0, "")
    again = next_driver(search, **given)
    assert (again.under_way, again.num_left, again.ask(1)) == ([], 0, [])


def test_equal_suggestions_are_no_failures() -> None:
    """Neither in the driver that asked nor in the next: with them alone, no search is hopeless."""
    given: dict[str, Any] = {"space": lambda trial, facts: {"optimizer": "sgd"}}
    search = make_search(**given, num_trials=3 * HOPELESS)
    (spec,) = search.ask(1)
    assert search.ask(HOPELESS) == []
    assert search.gave_up == ""
    resumed = next_driver(search, **given, num_trials=4 * HOPELESS)
    assert resumed.under_way == [spec]
    assert (resumed.gave_up, resumed.num_left) == ("", HOPELESS)


def test_a_suggestion_that_can_be_no_trial_fails_and_the_next_is_asked_for() -> None:
    def with_momentum(trial: Suggests, facts: Facts) -> dict[str, Any]:
        optimizer = trial.suggest_categorical("optimizer", ("adam", "sgd"))
        return {"optimizer": optimizer, "momentum": trial.suggest_float("momentum", 0.1, 0.9)}

    search = make_search(space=with_momentum, num_trials=40)
    specs = search.ask(5)
    assert [spec.optimizer for spec in specs] == ["sgd"] * 5
    wrong = [trial for trial in search.trials if trial.state == TrialState.FAIL]
    assert {trial.params["optimizer"] for trial in wrong} == {"adam"}
    assert all("momentum is a setting of sgd and rmsprop" in trial.user_attrs["reason"] for trial in wrong)
    assert search.num_left == 40 - 5 - len(wrong)


def suggested(sampler: str, seed: int, cuts: tuple[int, ...], dies_in_training: bool = False) -> list[TrialSpec]:
    """20 suggestions, one after the other, by drivers that end after so many, perhaps in the middle of a trial."""
    search, specs = make_search(), list[TrialSpec]()
    for end in (*cuts, 20):
        search = next_driver(search, sampler=sampler, seed=seed, num_trials=20, rule=Asha(BASE.num_epochs))
        train(search, search.under_way)
        specs += run_sequentially(search, end - len(specs))
        if dies_in_training and end < 20:
            (begun,) = search.ask(1)
            search.epochs({begun.trial_id: epoch_of(begun, 1)})
            specs.append(begun)
    return specs


def test_suggestion_k_is_the_same_wherever_the_search_was_cut() -> None:
    whole = suggested("TPESampler", 0, ())
    assert len(whole) == 20
    for cut in (1, 9, 10, 11, 18):  # from the eleventh on, TPE goes by what it has seen
        assert suggested("TPESampler", 0, (cut,)) == whole, cut
        assert suggested("TPESampler", 0, (cut,), dies_in_training=True) == whole, cut
    assert suggested("TPESampler", 0, tuple(range(1, 20))) == whole
    at_random, other = suggested("RandomSampler", 0, ()), suggested("TPESampler", 1, (7, 13))
    assert suggested("RandomSampler", 0, (7, 13)) == at_random
    assert whole[:10] == at_random[:10]
    assert not set(whole[10:]) & set(at_random[10:])
    assert not set(other) & set(whole)


# Hopeless searches


def test_a_search_of_which_all_fails_is_given_up_with_the_commonest_reason() -> None:
    search = make_search(num_trials=100)
    specs = search.ask(HOPELESS)
    for number, spec in enumerate(specs):
        assert search.gave_up == ""
        search.finished(failed(spec, "out of memory" if number % 3 else "diverged: nan"))
    reason = f"all of the first {HOPELESS} trials failed, 6 of them with: out of memory"
    assert search.gave_up == reason
    assert (search.num_left, search.ask(1)) == (0, [])
    resumed = next_driver(search, num_trials=100)
    assert resumed.gave_up == reason


@pytest.mark.parametrize("status", [COMPLETE, PRUNED])
def test_one_trial_that_does_not_fail_is_hope(status: str) -> None:
    search = make_search(num_trials=100)
    first, *others = search.ask(HOPELESS + 5)
    search.finished(result_of(first, status))
    for spec in others:
        search.finished(failed(spec))
    assert search.gave_up == ""
    assert search.num_left == 100 - HOPELESS - 5


def test_suggestions_that_can_be_no_trials_end_a_search_too() -> None:
    def impossible(fields: Any) -> TrialSpec:
        raise SpecError("ImageNet weights of Toy not found")

    search = make_search(build=impossible, num_trials=100)
    assert search.ask(8) == []
    assert search.gave_up == "all of the first 10 trials failed, 10 of them with: ImageNet weights of Toy not found"
    assert states(search) == {"FAIL": 10}


# Several objectives


def test_with_two_objectives_trials_have_both_values_and_a_collapsed_one_none() -> None:
    given: dict[str, Any] = {"objectives": ("val_accuracy", "multiply_adds"), "sampler": "TPESampler"}
    search = make_search(**given, num_trials=40)
    specs = search.ask(12)
    results = [result_of(spec, PRUNED, 3, message="collapsed") for spec in specs[:6]]
    results += [result_of(spec) for spec in specs[6:]]
    for result in results:
        search.finished(result)
    assert states(search) == {"PRUNED": 6, "COMPLETE": 6}
    values = [[accuracy(spec, 10), COSTS.alone_multiply_adds(spec)] for spec in specs[6:]]
    assert [trial.values for trial in search.trials] == [None] * 6 + values
    assert all(not trial.intermediate_values for trial in search.trials)
    asked = run_sequentially(search, 25)  # the sampler can do with them
    front = {trial.user_attrs["fields"]["unfrozen_blocks"] for trial in search.study.study.best_trials}
    assert (len(asked), front) == (25, {0, 1, 2})  # deeper is better and costs more
    lost = make_search(**given)
    assert lost.add_known(results, own=True) == 12
    assert len(run_sequentially(lost)) == 3
