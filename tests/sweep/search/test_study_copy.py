"""The copy of a study that samplers read: it is the study, and what others write to the study is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from galaxytl.trial import TrialSpec
from sweep.search.stopping import Asha
from sweep.search.study import StudyError
from sweep.search.trials import Search
from sweep.space import Facts, Suggests
from tests.sweep.searches import (
    BASE,
    accuracy,
    epoch_of,
    failed,
    make_problem,
    make_search,
    make_study,
    next_driver,
    reopened,
    result_of,
    run_sequentially,
    space,
    states,
    train,
    trial_of,
)

pytestmark = pytest.mark.usefixtures("databases_closed")
PAPER = [
    BASE.replace(unfrozen_blocks=0, learning_rate=1e-3),
    BASE.replace(unfrozen_blocks=2, optimizer="sgd", learning_rate=1e-2, momentum=0.5),
]


def test_trials_added_from_rows_are_like_those_that_were_asked_for() -> None:
    """Their distributions are the same, or Optuna would not learn from both together."""
    search = make_search()
    train(search, specs := search.ask(5))
    other = make_search()
    assert other.add_known([result_of(spec) for spec in specs], own=True) == 5
    for one, two in zip(search.study.trials, other.study.trials, strict=True):
        assert (one.params, one.distributions, one.values) == (two.params, two.distributions, two.values)


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL])
def test_a_study_that_another_program_adds_trials_to_is_told_nothing_wrong(state: TrialState) -> None:
    """Trials go by their numbers, which are others then. Started again, the search takes them for what they are."""
    search = make_search(sampler="TPESampler")
    train(search, search.ask(2))
    next_driver(search).study.add_trial(optuna.trial.create_trial(state=state))
    under_way = search.ask(2)
    rows = {spec.trial_id: result_of(spec) for spec in under_way}
    with pytest.raises(StudyError, match="another program has added some to 'toy'"):
        search.finished(rows[under_way[0].trial_id])
    again = next_driver(search, sampler="TPESampler")
    assert again.resume(rows) == []
    assert [trial_of(again, spec).value for spec in under_way] == [accuracy(spec, 10) for spec in under_way]
    run_sequentially(again)
    assert states(again).keys() <= {"COMPLETE", "FAIL"}


def test_what_an_initial_point_leaves_open_is_the_samplers_to_choose() -> None:
    """As of one that a user enqueued: the study must have the parameters of the trial that runs."""
    search = make_search(sampler="TPESampler")
    search.study.enqueue_trial({"optimizer": "sgd"})
    search.study.enqueue_trial({"unfrozen_blocks": 1})
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
        given: dict[str, Any] = {"sampler": "TPESampler", "rule": Asha(BASE.num_epochs), "space": with_impossible}
        search = reopened(url, num_trials=num_trials, **given)
        train(search, search.resume({}))
        search.add_known([result_of(BASE.replace(learning_rate=2e-3))])
        search.enqueue(PAPER)
        return search

    first = driver(20)
    while first.num_left:
        crashed, *others = first.ask(4)
        first.finished(failed(crashed))
        train(first, others)
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


class LostError(Exception):
    """Of a driver that may write no more."""


def writes_of(search: Search, spec: TrialSpec) -> tuple[Callable[[], object], ...]:
    """To a trial under way."""
    return lambda: search.epochs({spec.trial_id: epoch_of(spec, 1)}), lambda: search.finished(result_of(spec))


def test_a_driver_that_may_write_no_more_is_stopped_before_each_write() -> None:
    def check() -> None:
        if lost:
            raise LostError

    lost, problem = False, make_problem(rule=Asha(BASE.num_epochs))
    search = Search(make_study(problem), problem, check)
    (spec, _) = search.ask(2)
    lost, before = True, search.study.trials
    for write in (lambda: search.ask(1), *writes_of(search, spec)):
        with pytest.raises(LostError):
            write()
    assert search.study.trials == before


@pytest.mark.parametrize("took_over", [True, False])
def test_a_trial_that_ends_between_check_and_write_is_told_nothing(url: str, took_over: bool) -> None:
    """The driver was suspended just then, until another had taken over; or another program ended its trial."""
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        if took_over and len(checks) == 2:
            raise LostError("another driver has")

    study, problem = reopened(url).study, make_problem(rule=Asha(BASE.num_epochs))
    search = Search(study, problem, check)
    (spec,) = search.ask(1)
    reopened(url).study.tell(trial_of(search, spec).number, 0.5)
    before = study.trials
    for write in writes_of(search, spec):
        checks.clear()
        with pytest.raises(LostError if took_over else StudyError, match=r"another (driver|program) has"):
            write()
        assert len(checks) == 2
    assert study.trials == before
