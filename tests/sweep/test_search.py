"""Searches on real Optuna studies: what the study is told, what a driver that died leaves, and who finds it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from galaxytl.trial import COMPLETE, FAILED, PRUNED, SpecError, TrialResult, TrialSpec
from sweep.objectives import OBJECTIVES
from sweep.search import HOPELESS, Search
from sweep.search_study import StudyError, open_study
from sweep.space import Facts, Suggests
from sweep.stopping import Asha
from tests.sweep.searches import (
    BASE,
    COSTS,
    RUNGS,
    accuracy,
    epoch_of,
    failed,
    make_problem,
    make_search,
    make_study,
    result_of,
    run_sequentially,
    small_space,
    space,
    train,
)

pytestmark = pytest.mark.usefixtures("databases_closed")
STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
"""Of Optuna, by the status of a row."""


def asha(**given: Any) -> Search:
    return make_search(rule=Asha(BASE.num_epochs), **given)


def trial_of(search: Search, spec: TrialSpec) -> FrozenTrial:
    (found,) = [t for t in search.study.trials if t.user_attrs.get("trial_id") == spec.trial_id]
    return found


def states(search: Search) -> Counter[str]:
    return Counter(trial.state.name for trial in search.study.trials)


def asked(number: int, **given: Any) -> tuple[Search, list[TrialSpec]]:
    search = make_search(**given)
    return search, search.ask(number)


# What a study is told


def test_a_trial_knows_its_fields_and_its_row() -> None:
    search, specs = asked(3)
    for trial, spec in zip(search.study.trials, specs, strict=True):
        assert trial.state == TrialState.RUNNING
        assert trial.user_attrs["trial_id"] == spec.trial_id
        assert BASE.replace(**trial.user_attrs["fields"]) == spec
        assert trial.params[f"learning_rate@{spec.optimizer}"] == spec.learning_rate


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_a_complete_trial_has_the_value_of_its_last_epoch(objective: str) -> None:
    search, specs = asked(2, objectives=(objective,))
    train(search, specs)
    for spec in specs:
        trial = trial_of(search, spec)
        assert (trial.state, trial.value) == (TrialState.COMPLETE, epoch_of(spec, 10)[objective])
        assert "reason" not in trial.user_attrs
    assert not search.is_running


@pytest.mark.parametrize(
    ("objective", "value"),
    [("parameters", lambda spec: 700.0), ("multiply_adds", COSTS.alone_multiply_adds)],
)
def test_costs_are_objectives_too(objective: str, value: Any) -> None:
    search, (spec,) = asked(1, objectives=(objective,))
    train(search, [spec])
    assert trial_of(search, spec).value == value(spec)


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
        assert search.epochs({spec.trial_id: epoch_of(spec, epoch)}) == {}
    search.finished(result_of(spec, PRUNED, 2, message="collapsed: one class"))
    trial = trial_of(search, spec)
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.PRUNED, "collapsed: one class")
    assert trial.intermediate_values == {1: accuracy(spec, 1), 2: accuracy(spec, 2)}


def test_the_loss_is_better_the_lower() -> None:
    search = asha(objectives=("val_loss",))
    specs = search.ask(6)
    stopped = search.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs})
    by_loss = sorted(specs, key=lambda spec: epoch_of(spec, 1)["val_loss"])
    assert set(stopped) == {spec.trial_id for spec in by_loss[2:]}
    assert trial_of(search, by_loss[0]).intermediate_values == {1: epoch_of(by_loss[0], 1)["val_loss"]}


def test_with_a_cost_as_objective_trials_are_stopped_by_their_accuracy() -> None:
    search = asha(objectives=("multiply_adds",))
    specs = search.ask(3)
    stopped = search.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs})
    assert set(stopped) == {spec.trial_id for spec in sorted(specs, key=lambda spec: accuracy(spec, 1))[:2]}


def test_an_epoch_that_is_reported_again_is_no_news() -> None:
    """A worker that starts again repeats an epoch; warnings are errors here, and Optuna warns of such."""
    search = asha()
    specs = search.ask(3)
    first = search.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs})
    again = search.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs})
    assert again == first != {}


def test_epochs_of_trials_of_others_and_between_rungs_are_left_alone() -> None:
    search = asha()
    (spec,) = search.ask(1)
    assert search.epochs({"0123456789abcdef": epoch_of(spec, 1), spec.trial_id: epoch_of(spec, 2)}) == {}
    assert trial_of(search, spec).intermediate_values == {}


def test_a_diverged_or_crashed_trial_fails_with_the_reason() -> None:
    search, (diverged, crashed) = asked(2)
    search.finished(failed(diverged))
    search.finished(failed(crashed, "the worker process died 3 times: SIGSEGV"))
    reasons = [trial_of(search, spec).user_attrs["reason"] for spec in (diverged, crashed)]
    assert reasons == ["diverged: the loss became nan in epoch 1/10", "the worker process died 3 times: SIGSEGV"]
    assert states(search) == {"FAIL": 2}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_no_success(value: float) -> None:
    search, (spec,) = asked(1, objectives=("val_loss",))
    result = result_of(spec)
    search.finished(replace(result, history=(*result.history[:-1], {**result.history[-1], "val_loss": value})))
    assert trial_of(search, spec).state == TrialState.FAIL
    assert trial_of(search, spec).user_attrs["reason"] == "an objective is not a finite number"


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


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler"])
def test_no_config_is_asked_for_twice(sampler: str) -> None:
    search = make_search(sampler=sampler, num_trials=25)
    specs = run_sequentially(search)
    assert len({spec.trial_id for spec in specs}) == len(specs) >= 20
    assert states(search).total() == 25


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_an_exhausted_space_ends_with_equal_suggestions_told_and_counted(sampler: str) -> None:
    search = make_search(space=small_space, sampler=sampler, num_trials=30)
    specs = run_sequentially(search)
    assert len(specs) == len({spec.trial_id for spec in specs}) == 6
    equal = [trial for trial in search.study.trials if trial.state == TrialState.FAIL]
    assert len(equal) == 24
    known = {spec.trial_id for spec in specs}
    assert {trial.user_attrs["reason"] for trial in equal} == {f"equal to an earlier trial, {i}" for i in known}
    assert (search.num_left, search.gave_up) == (0, "")
    again = Search(search.study, make_problem(space=small_space, sampler=sampler, num_trials=30))
    assert again.resume({}) == []
    assert (again.num_left, again.ask(1)) == (0, [])


def test_equal_suggestions_are_no_failures() -> None:
    """Neither in the driver that asked nor in the next: with them alone, no search is hopeless."""
    problem = make_problem(space=lambda trial, facts: {"optimizer": "sgd"}, num_trials=3 * HOPELESS)
    search = Search(make_study(problem), problem)
    (spec,) = search.ask(1)
    assert search.ask(HOPELESS) == []
    assert search.gave_up == ""
    resumed = Search(search.study, replace(problem, num_trials=4 * HOPELESS))
    assert resumed.resume({}) == [spec]
    assert (resumed.gave_up, resumed.num_left) == ("", HOPELESS)


def test_a_suggestion_that_can_be_no_trial_fails_and_the_next_is_asked_for() -> None:
    def with_momentum(trial: Suggests, facts: Facts) -> dict[str, Any]:
        optimizer = trial.suggest_categorical("optimizer", ("adam", "sgd"))
        return {"optimizer": optimizer, "momentum": trial.suggest_float("momentum", 0.1, 0.9)}

    search = make_search(space=with_momentum, num_trials=40)
    specs = search.ask(5)
    assert [spec.optimizer for spec in specs] == ["sgd"] * 5
    wrong = [trial for trial in search.study.trials if trial.state == TrialState.FAIL]
    assert wrong
    assert all(trial.params["optimizer"] == "adam" for trial in wrong)
    assert all("momentum is a setting of sgd and rmsprop" in trial.user_attrs["reason"] for trial in wrong)
    assert search.num_left == 40 - 5 - len(wrong)


def suggested(sampler: str, seed: int, cuts: tuple[int, ...], dies_in_training: bool = False) -> list[TrialSpec]:
    """20 suggestions, one after the other, by drivers that end after so many, perhaps in the middle of a trial."""
    problem = make_problem(sampler=sampler, seed=seed, num_trials=20)
    study = make_study(problem)
    specs: list[TrialSpec] = []
    for end in (*cuts, 20):
        search = Search(study, replace(problem, rule=Asha(BASE.num_epochs)))
        train(search, search.resume({}))
        specs += run_sequentially(search, end - len(specs))
        if dies_in_training and end < 20:
            (begun,) = search.ask(1)
            search.epochs({begun.trial_id: epoch_of(begun, 1)})
            specs.append(begun)
    return specs


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_suggestion_k_is_the_same_wherever_the_search_was_cut(sampler: str) -> None:
    whole = suggested(sampler, 0, ())
    assert len(whole) == 20
    for cut in range(1, 19):
        assert suggested(sampler, 0, (cut,)) == whole, cut
        assert suggested(sampler, 0, (cut,), dies_in_training=True) == whole, cut
    assert suggested(sampler, 0, tuple(range(1, 20))) == whole
    other = suggested(sampler, 1, ())
    assert not {spec.trial_id for spec in other} & {spec.trial_id for spec in whole}
    assert suggested(sampler, 1, (7, 13)) == other


def test_after_ten_trials_tpe_goes_by_what_it_has_seen() -> None:
    """Otherwise the test above would have seen nothing but random numbers."""
    tpe, at_random = suggested("TPESampler", 0, ()), suggested("RandomSampler", 0, ())
    assert tpe[:10] == at_random[:10]
    assert not {spec.trial_id for spec in tpe[10:]} & {spec.trial_id for spec in at_random[10:]}


# What a driver that died leaves


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def reopened(url: str, **given: Any) -> Search:
    """As the next driver has it."""
    problem = make_problem(**given)
    return Search(open_study(url, "toy", [OBJECTIVES[name] for name in problem.objectives], {}), problem)


def test_resume_tells_hands_back_and_reaps(url: str) -> None:
    """The driver died with rows that the study does not know, a trial in training, and a suggestion half made."""
    dead = reopened(url, rule=Asha(BASE.num_epochs), num_trials=8)
    specs = dead.ask(6)
    train(dead, specs[:3])
    complete, stopped, under_way = specs[3:]
    dead.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs[3:]})
    half = dead.study.ask()
    half.suggest_categorical("optimizer", ("adam", "sgd"))
    before = {trial.number: trial for trial in dead.study.trials}
    rows = {s.trial_id: r for s, r in [(complete, result_of(complete)), (stopped, result_of(stopped, PRUNED, 1))]}

    search = reopened(url, rule=Asha(BASE.num_epochs), num_trials=8)
    assert search.resume(rows) == [under_way]
    assert trial_of(search, complete).value == accuracy(complete, 10)
    pruned = trial_of(search, stopped)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: accuracy(stopped, 1)})
    reaped = search.study.trials[half.number]
    assert (reaped.state, reaped.user_attrs["reaped"]) == (TrialState.FAIL, True)
    assert reaped.user_attrs["reason"] == "its driver died while it was being suggested"
    for number, trial in before.items():  # what was told stays as it was
        if trial.state.is_finished():
            assert search.study.trials[number] == trial

    assert search.num_left == 2  # the half suggestion does not count
    train(search, [under_way])
    assert trial_of(search, under_way).number == before[trial_of(dead, under_way).number].number
    assert len(run_sequentially(search)) == 2
    assert states(search)["RUNNING"] == 0
    assert len([t for t in search.study.trials if "trial_id" in t.user_attrs]) == 8
    assert reopened(url, num_trials=8).num_left == 8  # nothing is known before resume
    last = reopened(url, num_trials=8)
    assert (last.resume(rows), last.num_left) == ([], 0)


def test_a_failed_row_is_told_too(url: str) -> None:
    (spec,) = reopened(url).ask(1)
    search = reopened(url)
    assert search.resume({spec.trial_id: failed(spec)}) == []
    assert trial_of(search, spec).state == TrialState.FAIL
    assert trial_of(search, spec).user_attrs["reason"].startswith("diverged")


def test_a_resumed_rule_stops_like_one_that_was_there_all_along(url: str) -> None:
    whole = asha(num_trials=12)
    there = [train(whole, whole.ask(3)) for _ in range(4)]
    resumed = []
    for _ in range(4):
        search = reopened(url, rule=Asha(BASE.num_epochs), num_trials=12)
        assert search.resume({}) == []
        resumed.append(train(search, search.ask(3)))
    assert resumed == there
    assert {result.status for results in there for result in results.values()} == {COMPLETE, PRUNED}


def test_a_trial_that_goes_on_reports_only_what_is_new(url: str) -> None:
    first = reopened(url, rule=Asha(BASE.num_epochs))
    (spec,) = first.ask(1)
    for epoch in (1, 3):
        first.epochs({spec.trial_id: epoch_of(spec, epoch)})
    second = reopened(url, rule=Asha(BASE.num_epochs))
    assert second.resume({}) == [spec]
    train(second, [spec])  # from its first epoch: its checkpoint was lost
    trial = trial_of(second, spec)
    assert trial.intermediate_values == {epoch: accuracy(spec, epoch) for epoch in RUNGS}
    assert (trial.state, len(second.study.trials)) == (TrialState.COMPLETE, 1)


def test_a_trial_whose_fields_give_another_by_now_is_not_waited_for(url: str) -> None:
    """As where the weights file was another one when it was asked for."""
    (spec,) = reopened(url).ask(1)
    search = reopened(url, build=lambda fields: BASE.replace(**fields, weights_fingerprint="other"))
    assert search.resume({}) == []
    assert not search.is_running
    assert trial_of(search, spec).state == TrialState.FAIL
    assert "the weights are others" in trial_of(search, spec).user_attrs["reason"]


# Trials that are to be tried first

PAPER = [
    BASE.replace(unfrozen_blocks=0, learning_rate=1e-3),
    BASE.replace(unfrozen_blocks=2, learning_rate=1e-3),
    BASE.replace(unfrozen_blocks=2, optimizer="sgd", learning_rate=1e-2, momentum=0.5),
    BASE.replace(learning_rate=0.5),  # not in the space
    BASE.replace(optimizer="rmsprop"),  # nor this
]


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", "NSGAIISampler"])
def test_initial_points_come_first_and_in_their_order(sampler: str) -> None:
    search = make_search(sampler=sampler)
    assert search.enqueue(PAPER) == 3
    assert search.num_left == 15  # they are among these
    specs = search.ask(5)
    assert specs[:3] == PAPER[:3]
    assert len({spec.trial_id for spec in specs}) == 5
    assert search.num_left == 10


def test_initial_points_are_enqueued_once(url: str) -> None:
    first = reopened(url)
    assert [first.enqueue(PAPER), first.enqueue(PAPER)] == [3, 3]
    assert len(first.study.trials) == 3
    train(first, first.ask(2))
    second = reopened(url)
    assert second.resume({}) == []
    assert second.enqueue(PAPER) == 3
    assert second.ask(1) == PAPER[2:3]
    assert len(second.study.trials) == 3


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_driver_that_died_while_it_enqueued_is_made_up_for(
    url: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    def enqueue_or_die(*arguments: Any, **options: Any) -> None:
        if len(dead.study.trials) == number:
            die()
        enqueue(*arguments, **options)

    dead = reopened(url)
    enqueue = dead.study.enqueue_trial
    monkeypatch.setattr(dead.study, "enqueue_trial", enqueue_or_die)
    monkeypatch.setattr(dead.study, "set_user_attr", die)
    with pytest.raises(Killed):
        dead.enqueue(PAPER)
    search = reopened(url)
    search.resume({})
    assert len(search.study.trials) == number
    assert search.enqueue(PAPER) == 3
    assert [trial.state for trial in search.study.trials] == [TrialState.WAITING] * 3
    assert search.ask(3) == PAPER[:3]


@pytest.mark.parametrize("suggested_so_far", [0, 1])
def test_an_initial_point_whose_driver_died_while_it_was_suggested_is_tried_all_the_same(
    url: str, suggested_so_far: int
) -> None:
    dead = reopened(url)
    dead.enqueue(PAPER)
    half = dead.study.ask()
    for _ in range(suggested_so_far):
        assert half.suggest_categorical("optimizer", ("adam", "sgd")) == "adam"
    for _ in range(2):  # the second time there is nothing to do
        search = reopened(url)
        assert search.resume({}) == []
        assert states(search) == {"WAITING": 3, "FAIL": 1}
    assert {spec.trial_id for spec in search.ask(3)} == {spec.trial_id for spec in PAPER[:3]}
    assert search.num_left == 12


def test_initial_points_that_the_space_would_make_something_else_of_are_not_counted() -> None:
    """The space says nothing of the momentum: with it, the trial is not what these parameters give."""

    def without_momentum(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"optimizer": trial.suggest_categorical("optimizer", ("adam", "sgd"))}

    search = make_search(space=without_momentum)
    assert search.enqueue([BASE, BASE.replace(optimizer="sgd", momentum=0.5)]) == 1
    assert search.ask(1) == [BASE]
    assert len(search.study.trials) == 1


def test_pinned_fields_leave_out_initial_points_with_others() -> None:
    search = make_search(pinned={"optimizer": ("adam",), "unfrozen_blocks": (0, 2)})
    assert search.enqueue(PAPER) == 2
    assert search.ask(2) == PAPER[:2]


# Trials that have rows already


def some_results() -> list[TrialResult]:
    """12 of a search: complete, stopped and failed ones."""
    search = asha(num_trials=12)
    results = [result for _ in range(3) for result in train(search, search.ask(4)).values()]
    assert {result.status for result in results} == {COMPLETE, PRUNED}
    return [*results[:-2], failed(results[-2].spec), failed(results[-1].spec, "out of memory: 1 GB")]


def test_rows_that_a_lost_study_had_are_told_again_and_count(url: str) -> None:
    results = some_results()
    search = reopened(url, rule=Asha(BASE.num_epochs), num_trials=20)
    assert search.resume({result.trial_id: result for result in results}) == []
    assert search.add_known(results, own=True) == 12
    assert search.num_left == 8
    for result in results:
        trial = trial_of(search, result.spec)
        assert (
            trial.state
            == {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}[result.status]
        )
        assert trial.value == (result.history[-1]["val_accuracy"] if result.status == COMPLETE else None)
        if result.status == PRUNED:
            assert trial.intermediate_values == {len(result.history): accuracy(result.spec, len(result.history))}
        if result.status == FAILED:
            assert trial.user_attrs["reason"] == result.message
    again = reopened(url, rule=Asha(BASE.num_epochs), num_trials=20)
    again.resume({})
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
    resumed = Search(told.study, make_problem(sampler="TPESampler"))
    assert (resumed.resume({}), resumed.num_left) == ([], 0)
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
    search = make_search()
    spec = BASE.replace(scored_on="test")
    result = result_of(spec, metrics={"accuracy": 0.999, "loss": 0.0})
    assert search.add_known([result]) == 1
    (trial,) = search.study.trials
    assert trial.value == accuracy(spec, 10)
    assert trial.user_attrs["trial_id"] == BASE.trial_id
    assert trial.user_attrs["known_before"] is True


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ({"dataset_fingerprint": "other"}, {}),
        ({"image_size": 64}, {}),
        ({"num_epochs": 20}, {}),
        ({"split_seed": 1}, {}),
        ({"validation_fraction": 0.2}, {}),
        ({"weights_fingerprint": "other"}, {}),
        ({"seed": 1}, {}),
        ({"learning_rate": 0.5}, {}),
        ({"scored_on": "test", "validation_fraction": 0.0}, {"curves_on": "test"}),
    ],
)
def test_trials_on_other_images_or_sizes_or_with_curves_on_the_test_part_are_not_told(
    fields: dict[str, Any], given: dict[str, Any]
) -> None:
    search = make_search()
    assert search.add_known([result_of(BASE.replace(**fields), **given)]) == 0
    assert search.study.trials == []
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
    assert search.study.trials[0].params == {"weights": "imagenet"}
    assert search.enqueue([substituted, BASE]) == 2


def test_a_known_row_whose_objective_is_no_number_is_a_failed_trial() -> None:
    result = result_of(BASE)
    broken = replace(result, history=(*result.history[:-1], {**result.history[-1], "val_loss": math.nan}))
    search = make_search(objectives=("val_loss",))
    assert search.add_known([broken]) == 1
    assert search.study.trials[0].state == TrialState.FAIL


# Hopeless searches


def test_a_search_of_which_all_fails_is_given_up_with_the_commonest_reason(url: str) -> None:
    search = reopened(url, num_trials=100)
    specs = search.ask(HOPELESS)
    for number, spec in enumerate(specs):
        assert search.gave_up == ""
        search.finished(failed(spec, "out of memory" if number % 3 else "diverged: nan"))
    reason = f"all of the first {HOPELESS} trials failed, 6 of them with: out of memory"
    assert search.gave_up == reason
    assert (search.num_left, search.ask(1)) == (0, [])
    resumed = reopened(url, num_trials=100)
    resumed.resume({})
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


def two_objectives(**given: Any) -> Search:
    return make_search(objectives=("val_accuracy", "multiply_adds"), sampler="TPESampler", **given)


def test_the_pareto_front_is_found() -> None:
    """Depth costs multiply-adds and gives accuracy: the front has the best of each depth, of which there are three."""
    search = two_objectives(num_trials=60)
    specs = run_sequentially(search)
    assert len(specs) == 60
    front = {trial.user_attrs["trial_id"] for trial in search.study.best_trials}
    points = {spec.trial_id: (accuracy(spec, 10), COSTS.alone_multiply_adds(spec)) for spec in specs}

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] >= other[0] and one[1] <= other[1] and one != other

    known = {i for i, point in points.items() if not any(beats(other, point) for other in points.values())}
    assert front == known
    assert {spec.unfrozen_blocks for spec in specs if spec.trial_id in front} == {0, 1, 2}
    best = [max(accuracy(s, 10) for s in specs if s.unfrozen_blocks == depth) for depth in range(3)]
    assert best == pytest.approx([0.8, 0.85, 0.9], abs=0.05)
    assert all(len(trial.values) == 2 for trial in search.study.best_trials)


def test_with_two_objectives_a_collapsed_trial_is_pruned_without_a_value(url: str) -> None:
    given: dict[str, Any] = {"objectives": ("val_accuracy", "multiply_adds"), "sampler": "TPESampler", "num_trials": 40}
    search = reopened(url, **given)
    specs = search.ask(12)
    results = {spec.trial_id: result_of(spec, PRUNED, 3, message="collapsed") for spec in specs[:6]}
    results |= {spec.trial_id: result_of(spec) for spec in specs[6:]}
    for result in results.values():
        search.finished(result)
    assert states(search) == {"PRUNED": 6, "COMPLETE": 6}
    assert all(not trial.intermediate_values for trial in search.study.trials)
    assert len(run_sequentially(search, 5)) == 5  # the sampler can do with them
    lost = make_search(**given)
    assert lost.add_known(results.values(), own=True) == 12
    assert len(run_sequentially(lost, 5)) == 5


# An Optuna study as others see it


def test_trials_added_from_rows_are_like_those_that_were_asked_for() -> None:
    """Their distributions are the same, or Optuna would not learn from both together."""
    search = make_search()
    train(search, specs := search.ask(5))
    other = make_search()
    assert other.add_known([result_of(spec) for spec in specs], own=True) == 5
    for one, two in zip(search.study.trials, other.study.trials, strict=True):
        assert (one.params, one.distributions, one.values) == (two.params, two.distributions, two.values)


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL])
def test_a_study_that_another_program_adds_trials_to_is_told_nothing_wrong(url: str, state: TrialState) -> None:
    """Trials go by their numbers, which are others then. Started again, the search takes them for what they are."""
    search = reopened(url, sampler="TPESampler")
    train(search, search.ask(2))
    reopened(url).study.add_trial(optuna.trial.create_trial(state=state))
    under_way = search.ask(2)
    rows = {spec.trial_id: result_of(spec) for spec in under_way}
    with pytest.raises(StudyError, match="another program has added some to 'toy'"):
        search.finished(rows[under_way[0].trial_id])
    again = reopened(url, sampler="TPESampler")
    assert again.resume(rows) == []
    assert [trial_of(again, spec).value for spec in under_way] == [accuracy(spec, 10) for spec in under_way]
    run_sequentially(again)
    assert states(again).keys() <= {"COMPLETE", "FAIL"}


def test_what_an_initial_point_leaves_open_is_the_samplers_to_choose(url: str) -> None:
    """As of one that a user enqueued: the study must have the parameters of the trial that runs."""
    study = reopened(url).study
    study.enqueue_trial({"optimizer": "sgd"})
    study.enqueue_trial({"unfrozen_blocks": 1})
    search = reopened(url, sampler="TPESampler")
    search.resume({})
    first, second = search.ask(2)
    assert (first.optimizer, second.unfrozen_blocks) == ("sgd", 1)
    for spec in (first, second):
        params = trial_of(search, spec).params
        assert params[f"learning_rate@{spec.optimizer}"] == spec.learning_rate
        assert params["unfrozen_blocks"] == spec.unfrozen_blocks


def test_samplers_read_a_copy_that_is_the_study(url: str) -> None:
    """Through initial points, known rows, stopped, failed and impossible trials, and a driver that died."""

    def facts(study: optuna.Study) -> list[tuple[Any, ...]]:
        trials = study.get_trials(deepcopy=False)
        return [(t.number, t.state, t.params, t.distributions, t.values, t.intermediate_values) for t in trials]

    def with_impossible(trial: Suggests, given: Facts) -> dict[str, Any]:
        fields = space(trial, given)
        return fields | ({"momentum": 0.5} if fields["unfrozen_blocks"] == 1 else {})  # no trial with adam

    def driver(num_trials: int) -> Search:
        search = reopened(
            url, sampler="TPESampler", rule=Asha(BASE.num_epochs), num_trials=num_trials, space=with_impossible
        )
        train(search, search.resume({}))
        search.add_known([result_of(BASE.replace(learning_rate=2e-3))])
        search.enqueue(PAPER)
        return search

    first = driver(20)
    while first.num_left:
        specs = first.ask(4)
        for spec in specs[:1]:
            first.finished(failed(spec))
        train(first, specs[1:])
        assert facts(first.study) == facts(first._mirror._copy)
    assert states(first).keys() == {"COMPLETE", "PRUNED", "FAIL"}
    second = driver(30)
    train(second, second.ask(3))
    second.ask(2)
    assert facts(second.study) == facts(second._mirror._copy)
    third = driver(30)
    run_sequentially(third)
    assert facts(third.study) == facts(third._mirror._copy)
    assert states(third).total() == 31
