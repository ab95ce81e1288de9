"""What makes a search fast does not change what it does, and is in use: Optuna's inner workings may change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe import sampler as optunas_tpe
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.search import study as search_study
from sweep.search import study_copy
from sweep.search.fast_optuna import WholeTrials
from sweep.search.stopping import Asha
from sweep.search.tpe import SortsOnceTPE
from sweep.search.trials import Search
from tests.sweep.searches import BASE, make_search, reopened, train

pytestmark = pytest.mark.usefixtures("databases_closed")
DISTRIBUTIONS = {
    "z_first": FloatDistribution(1e-5, 1e-1, log=True),
    "depth": IntDistribution(0, 2),
    "optimizer": CategoricalDistribution(("adam", "sgd")),
}
PARAMS = {"z_first": 1e-3, "depth": 1, "optimizer": "sgd"}


def known_trials() -> list[FrozenTrial]:
    """In every state, with and without parameters and attributes."""
    given: dict[str, Any] = {"params": PARAMS, "distributions": DISTRIBUTIONS}
    facts = {"user_attrs": {"fields": {"seed": 1}, "trial_id": "a"}, "system_attrs": {"fixed_params": {"depth": 1}}}
    return [
        create_trial(state=TrialState.RUNNING, **given, **facts),
        create_trial(values=[0.25], **given),
        create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.5, 3: float("inf")}, **given, **facts),
        create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": PARAMS}),
        create_trial(state=TrialState.FAIL, user_attrs={"reason": "it's ä"}),
    ]


def tables(storage: RDBStorage) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a database."""
    found = sqlalchemy.MetaData()
    found.reflect(storage.engine)
    with storage.engine.connect() as connection:
        return {t.name: [tuple(row) for row in connection.execute(t.select())] for t in found.sorted_tables}


def test_a_whole_trial_is_written_as_optuna_writes_it() -> None:
    trials = known_trials()

    def written(kind: type[RDBStorage]) -> tuple[dict[str, Any], list[FrozenTrial]]:
        storage = kind("sqlite://")
        study = optuna.create_study(storage=storage, study_name="one")
        study.add_trials(trials)
        return tables(storage), study.get_trials()

    own, optunas = written(WholeTrials), written(RDBStorage)
    assert own == optunas
    assert len(own[0]["trial_params"]) == 9
    assert [list(trial.params) for trial in own[1]] == [list(trial.params) for trial in trials]


def test_a_parameter_that_another_trial_of_the_study_had_otherwise_is_refused() -> None:
    study = optuna.create_study(storage=WholeTrials("sqlite://"))
    study.add_trial(create_trial(values=[1.0], params=PARAMS, distributions=DISTRIBUTIONS))
    otherwise = {"optimizer": CategoricalDistribution(("sgd", "rmsprop"))}
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        study.add_trial(create_trial(values=[1.0], params={"optimizer": "sgd"}, distributions=otherwise))
    assert len(study.get_trials()) == 1


def test_a_trial_takes_few_statements(url: str) -> None:
    """10 from suggestion to end, in two transactions; the toy's 3 or 4 parameters take Optuna's own 24 or more."""
    search = reopened(url, num_trials=12)
    train(search, search.ask(2))
    counts: Counter[str] = Counter()
    engine = search.study._storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *_: counts.update(["statements"]))
    sqlalchemy.event.listen(engine, "commit", lambda _: counts.update(["commits"]))
    train(search, search.ask(10))
    assert counts["commits"] == 20
    assert counts["statements"] <= 100


def searched(make: Callable[..., Search], **given: Any) -> list[tuple[Any, ...]]:
    """What became of 30 trials, three at a time so that TPE sees some under way."""
    search = make(sampler="TPESampler", rule=Asha(BASE.num_epochs), num_trials=30, **given)
    while specs := search.ask(3):
        train(search, specs)
    trials = search.study.get_trials(deepcopy=False)
    return [(t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs) for t in trials]


@pytest.mark.parametrize("objectives", [("val_accuracy",), ("val_accuracy", "val_loss")])
def test_suggestions_are_optunas_own(monkeypatch: pytest.MonkeyPatch, objectives: tuple[str, ...]) -> None:
    quick = searched(make_search, objectives=objectives)
    monkeypatch.setattr(search_study, "is_known_optuna", lambda: False)
    monkeypatch.setattr(study_copy, "_hand_on", lambda before, sampler: None)
    assert searched(make_search, objectives=objectives) == quick
    assert {state for _, state, *_ in quick} >= {TrialState.COMPLETE}


def test_trials_are_sorted_once_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own sorts them for what all trials have, then for each other parameter."""
    search, calls, split = make_search(sampler="TPESampler", num_trials=40), [], optunas_tpe._split_trials
    train(search, search.ask(20))
    monkeypatch.setattr(optunas_tpe, "_split_trials", lambda *given: calls.append(1) or split(*given))
    search.ask(10)
    assert len(calls) == 10


def test_with_another_optuna_its_own_classes_are_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one's inner workings are known: otherwise the tests above ran the same twice."""
    assert search_study.is_known_optuna()
    assert isinstance(search_study.make_sampler("TPESampler", 0), SortsOnceTPE)
    monkeypatch.setattr(optuna, "__version__", "5.1.0")
    assert type(search_study.make_sampler("TPESampler", 0)) is optuna.samplers.TPESampler
    backend = reopened(url).study._storage._backend  # type: ignore[attr-defined]
    assert type(backend) is RDBStorage
