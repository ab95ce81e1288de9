"""What makes TPE and a database fast does not change what they say, and is in use: Optuna's inner workings may
change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers._tpe import sampler as optunas_tpe
from optuna.trial import TrialState

from sweep.search import study as search_study
from sweep.search.optuna_parts import TESTED, SortingOnceTPE, WritingOnceStorage, fast_storage
from sweep.search.stopping import Asha
from tests.sweep.searches import BASE, make_search, train


def searched(**given: Any) -> list[tuple[Any, ...]]:
    """What became of 30 trials, three at a time so that TPE sees some under way."""
    search = make_search(sampler="TPESampler", rule=Asha(BASE.num_epochs), num_trials=30, **given)
    while specs := search.ask(3):
        train(search, specs)
    return [(t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs) for t in search.trials]


@pytest.mark.parametrize("objectives", [("val_accuracy",), ("val_accuracy", "val_loss")])
def test_suggestions_are_optunas_own(monkeypatch: pytest.MonkeyPatch, objectives: tuple[str, ...]) -> None:
    fast = searched(objectives=objectives)
    plain = lambda shared, seed: optuna.samplers.TPESampler(seed=seed, multivariate=True)  # noqa: E731
    monkeypatch.setattr(search_study, "fast_tpe", plain)
    assert searched(objectives=objectives) == fast
    assert {state for _, state, *_ in fast} >= {TrialState.COMPLETE}


def test_trials_are_sorted_once_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own sorts them for what all trials have, then for each other parameter."""
    search, calls, split = make_search(sampler="TPESampler", num_trials=40), [], optunas_tpe._split_trials
    train(search, search.ask(20))
    monkeypatch.setattr(optunas_tpe, "_split_trials", lambda *given: calls.append(1) or split(*given))
    search.ask(10)
    assert len(calls) == 10


def test_with_another_optuna_its_own_sorting_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one's inner workings are known: otherwise the tests above ran the same twice."""
    assert isinstance(search_study.make_sampler("TPESampler", 0), SortingOnceTPE)
    known = searched()
    monkeypatch.setattr(optuna, "__version__", "5.1.0")
    assert not isinstance(search_study.make_sampler("TPESampler", 0), SortingOnceTPE)
    assert searched() == known


def test_a_database_holds_what_optunas_own_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"x": optuna.distributions.FloatDistribution(1e-5, 1, log=True)}
    kinds |= {"c": optuna.distributions.CategoricalDistribution(("adam", None, 3))}
    given = {"params": {"x": 0.1, "c": None}, "distributions": kinds, "user_attrs": {"fields": {"a": [1, "ü"]}}}
    epochs = {1: float("nan"), 2: float("-inf"), 7: 0.5}
    trials = [
        optuna.trial.create_trial(values=[1.5, float("inf")], **given, system_attrs={"s": 1}),
        optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values=epochs, **given),
        optuna.trial.create_trial(state=TrialState.FAIL),
    ]

    def written(version: str) -> list[Any]:
        monkeypatch.setattr(optuna, "__version__", version)
        storage = fast_storage(f"sqlite:///{tmp_path}/{version}.db", {})
        assert isinstance(storage, WritingOnceStorage) == version.startswith(TESTED)
        study = optuna.create_study(storage=storage, directions=["minimize", "maximize"])
        study.add_trials(trials)
        storage.engine.dispose()
        return [repr(trial) for trial in optuna.load_study(study_name=study.study_name, storage=storage).trials]

    assert written("5.0.0") == written("5.1.0")
