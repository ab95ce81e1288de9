"""What makes TPE fast does not change what it suggests, and is in use: Optuna's inner workings may change."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.samplers._tpe import sampler as optunas_tpe
from optuna.trial import TrialState

from sweep.search import study as search_study
from sweep.search.optuna_parts import SortingOnceTPE
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
