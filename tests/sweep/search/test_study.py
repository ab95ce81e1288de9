"""Samplers by name, and the seed of each suggestion."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import optuna
import pytest

from sweep.search.study import StudyError, find_sampler, make_sampler, sampler_names
from tests.sweep.searches import make_search, run_sequentially


def test_samplers_are_found_by_any_of_their_names() -> None:
    assert {find_sampler(name) for name in ("tpe", "TPE", "TPESampler")} == {"TPESampler"}
    assert find_sampler("nsgaii") == "NSGAIISampler"
    unknown = {"tep": r"qmc, random, tpe; got 'tep'\. Did you mean 'tpe'\?", "grid": "--sampler must be one of "}
    for name, message in unknown.items():
        with pytest.raises(StudyError, match=message):
            find_sampler(name)


def test_a_sampler_that_wants_a_package_says_so_before_anything_starts() -> None:
    if importlib.util.find_spec("cmaes"):
        pytest.skip("cmaes is installed")
    with pytest.raises(StudyError, match=r"--sampler cmaes needs a package that is not installed: .*'cmaes'"):
        find_sampler("cmaes")


def test_a_sampler_that_cannot_do_with_several_objectives_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """CMA-ES is the one that there is; it is not installed, so a sampler that refuses alike stands for it."""

    class OneObjectiveSampler(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, Any]:
            if len(study.directions) > 1:
                raise ValueError("If the study is being used for multi-objective optimization, it cannot be used.")
            return {}

    monkeypatch.setattr(optuna.samplers, "OneObjectiveSampler", OneObjectiveSampler, raising=False)
    assert find_sampler("oneobjective") == "OneObjectiveSampler"
    with pytest.raises(StudyError, match="--sampler oneobjective does not go with 2 objectives: If the study"):
        find_sampler("oneobjective", 2)


@pytest.mark.parametrize("num_objectives", [1, 2])
def test_every_sampler_that_is_offered_searches(num_objectives: int) -> None:
    searched = []
    for name in sampler_names():
        with contextlib.suppress(StudyError):
            found = find_sampler(name, num_objectives)
            objectives = ("val_accuracy", "multiply_adds")[:num_objectives]
            search = make_search(sampler=found, objectives=objectives, num_trials=12)
            assert len({spec.trial_id for spec in run_sequentially(search)}) == 12
            searched.append(name)
    assert {"TPESampler", "RandomSampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler"} <= set(searched)


def test_a_samplers_seed_is_given_where_it_has_one() -> None:
    values = [[make_sampler("RandomSampler", seed)._rng.rng.random() for _ in range(2)] for seed in (0, 0, 1)]  # type: ignore[attr-defined]
    assert values[0] == values[1] != values[2]
