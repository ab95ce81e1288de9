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

from sweep import search_mirror, search_study
from sweep.search import Search
from sweep.search_storage import WholeTrials
from sweep.search_tpe import SortsOnceTPE
from sweep.stopping import Asha
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


@pytest.mark.parametrize("kind", [WholeTrials, RDBStorage])
def test_a_parameter_that_another_trial_of_the_study_had_otherwise_is_refused(kind: type[RDBStorage]) -> None:
    """By a storage that wrote the other one as by one that did not; and nothing is left of the trial."""
    engine = {"poolclass": sqlalchemy.pool.StaticPool, "connect_args": {"check_same_thread": False}}
    storage = kind("sqlite://", engine_kwargs=engine)
    studies = [optuna.create_study(storage=storage, study_name=name) for name in ("one", "other")]
    studies[0].add_trial(create_trial(values=[1.0], params=PARAMS, distributions=DISTRIBUTIONS))
    otherwise = {"optimizer": CategoricalDistribution(("sgd", "rmsprop"))}
    trial = create_trial(values=[1.0], params={"optimizer": "sgd"}, distributions=otherwise)
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        studies[0].add_trial(trial)
    studies[1].add_trial(trial)
    assert [len(study.get_trials()) for study in studies] == [1, 1]
    if kind is WholeTrials:
        storage._distributions.clear()  # as in the next driver
        with pytest.raises(ValueError, match="does not support dynamic value space"):
            studies[0].add_trial(trial)


@pytest.mark.parametrize(("quick", "most"), [(True, 10), (False, 40)])
def test_a_trial_takes_few_statements(url: str, monkeypatch: pytest.MonkeyPatch, quick: bool, most: int) -> None:
    """10 from suggestion to end, in two transactions; the toy's 3 or 4 parameters take Optuna's own 24 or more."""
    monkeypatch.setattr(search_study, "is_known_optuna", lambda: quick)
    search = reopened(url, num_trials=12)
    train(search, search.ask(2))
    counts: Counter[str] = Counter()
    engine = search.study._storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *_: counts.update(["statements"]))
    sqlalchemy.event.listen(engine, "commit", lambda _: counts.update(["commits"]))
    train(search, search.ask(10))
    assert counts["commits"] == 20
    assert counts["statements"] <= 10 * most
    assert quick or counts["statements"] > 200


def searched(make: Callable[..., Search], **given: Any) -> list[tuple[Any, ...]]:
    """What became of 45 trials, three at a time so that TPE sees some under way."""
    search = make(sampler="TPESampler", rule=Asha(BASE.num_epochs), num_trials=45, **given)
    while specs := search.ask(3):
        train(search, specs)
    trials = search.study.get_trials(deepcopy=False)
    return [(t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs) for t in trials]


@pytest.mark.parametrize("objectives", [("val_accuracy",), ("val_accuracy", "val_loss")])
def test_suggestions_are_optunas_own(monkeypatch: pytest.MonkeyPatch, objectives: tuple[str, ...]) -> None:
    quick = searched(make_search, objectives=objectives)
    monkeypatch.setattr(search_study, "is_known_optuna", lambda: False)
    monkeypatch.setattr(search_mirror, "_hand_on", lambda before, sampler: None)
    assert searched(make_search, objectives=objectives) == quick
    assert {state for _, state, *_ in quick} >= {TrialState.COMPLETE}


@pytest.mark.parametrize("quick", [True, False])
def test_trials_are_sorted_once_a_suggestion(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    """Optuna's own sorts them for what all trials have, then for each other parameter."""
    monkeypatch.setattr(search_study, "is_known_optuna", lambda: quick)
    search = make_search(sampler="TPESampler", num_trials=40)
    train(search, search.ask(20))
    counts: Counter[str] = Counter()
    split = optunas_tpe._split_trials

    def counted(*arguments: Any) -> Any:
        counts["sorted"] += 1
        return split(*arguments)

    monkeypatch.setattr(optunas_tpe, "_split_trials", counted)
    search.ask(10)
    assert (counts["sorted"] == 10) == quick
    assert counts["sorted"] >= 10


def test_the_distributions_of_trials_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for each suggestion: TPE looks for the parameters that all trials have."""
    search = make_search(sampler="TPESampler", num_trials=60)
    train(search, search.ask(40))
    search.ask(1)
    compared: list[int] = []
    equal = CategoricalDistribution.__eq__
    monkeypatch.setattr(CategoricalDistribution, "__eq__", lambda *both: bool(compared.append(1)) or equal(*both))
    search.ask(5)
    assert len(compared) < 40


def test_with_another_optuna_its_own_classes_are_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one's inner workings are known: otherwise the tests above ran the same twice."""
    assert search_study.is_known_optuna()
    assert isinstance(search_study.make_sampler("TPESampler", 0), SortsOnceTPE)
    monkeypatch.setattr(optuna, "__version__", "5.1.0")
    assert type(search_study.make_sampler("TPESampler", 0)) is optuna.samplers.TPESampler
    backend = reopened(url).study._storage._backend  # type: ignore[attr-defined]
    assert type(backend) is RDBStorage
