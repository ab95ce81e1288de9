"""The private parts of Optuna that a search uses, in this file alone: its TPE sorts all trials once a suggestion, and a
trial goes into a database in a few statements.

    sampler = fast_tpe(shared, seed=1)      # suggests what TPESampler(seed=1, multivariate=True) does
    storage = fast_storage(url, {})         # holds what RDBStorage(url, {}) does

In a conditional space TPE samples what all trials have together, and each other parameter by itself. Optuna's own sorts
all trials for each of them, though they are the same trials: in the default space five times a suggestion and, of
1,000 trials, a third of its time. No trial may change while another is being suggested.

RDBStorage asks before it writes anything of a new trial, its parameters, attributes and epochs, one after the other,
whether it is there: 60 statements in the default space, of which Python's side takes as long as a suggestion.

Tested with Optuna 5.0; with another, Optuna's own TPESampler and RDBStorage take their place: the same, later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as private
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert

TESTED: Final = "5.0."
"""How the version of Optuna begins."""
SPLIT: Final = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class SharingTPE(TPESampler):
    """TPESampler, told by the sampler before which parameters all trials have: to find out takes 30 ms of 1,000."""

    def __init__(self, shared: IntersectionSearchSpace, seed: int) -> None:
        super().__init__(seed=seed, multivariate=True)
        self._shared = shared

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: kind for name, kind in self._shared.calculate(study).items() if not kind.single()}


class SortingOnceTPE(SharingTPE):
    """With `constant_liar`, no `gamma` of the user's and no constraints."""

    _split: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None
    """Good trials and others; of the one suggestion that the sampler makes."""

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample as TPESampler._sample does, but for the sorting."""
        if self._split is None:
            self._split = _split_all(study, trial)
        good, others = self._split
        below = self._build_parzen_estimator(study, search_space, good, handle_below=True)
        above = self._build_parzen_estimator(study, search_space, others, handle_below=False)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {name: kind.to_external_repr(best[name]) for name, kind in search_space.items()}


def _split_all(study: optuna.Study, trial: FrozenTrial) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Split all but `trial` that ended with a value or are under way, which count as bad ones (the constant liar)."""
    others = [other for other in study.get_trials(deepcopy=False, states=SPLIT) if other.number != trial.number]
    num_ended = sum(other.state != TrialState.RUNNING for other in others)
    gamma = private.default_gamma if len(study.directions) == 1 else private.default_gamma_multiobjective
    return private._split_trials(study, others, gamma(num_ended))


def fast_tpe(shared: IntersectionSearchSpace, seed: int) -> TPESampler:
    """Make a sampler for one suggestion. `shared`, with pruned trials, is of all suggestions in one study."""
    return (SortingOnceTPE if optuna.__version__.startswith(TESTED) else SharingTPE)(shared, seed)


class WritingOnceStorage(RDBStorage):
    """RDBStorage for trials that are new, and of one study's parameters: neither is looked up."""

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        """Add a trial as RDBStorage._get_prepared_new_trial does, what it has in one go."""
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, None, session)
        trial = models.TrialModel(
            study_id=study_id,
            state=template_trial.state,
            datetime_start=template_trial.datetime_start,
            datetime_complete=template_trial.datetime_complete,
        )
        session.add(trial)
        session.flush()  # gives it its id
        trial.number = trial.count_past_trials(session)
        for table, rows in _rows(template_trial).items():
            if rows:
                session.execute(insert(table.__table__), [{"trial_id": trial.trial_id, **row} for row in rows])
        return trial


def _rows(trial: FrozenTrial) -> dict[Any, list[dict[str, Any]]]:
    """Return what the database has of a trial beside its state, by table."""
    value, epoch = models.TrialValueModel, models.TrialIntermediateValueModel
    values = [value.value_to_stored_repr(number) for number in trial.values or ()]
    epochs = {n: epoch.intermediate_value_to_stored_repr(given) for n, given in trial.intermediate_values.items()}
    return {
        value: [{"objective": n, "value": v, "value_type": kind} for n, (v, kind) in enumerate(values)],
        models.TrialParamModel: [
            {
                "param_name": name,
                "param_value": kind.to_internal_repr(trial.params[name]),
                "distribution_json": distribution_to_json(kind),
            }
            for name, kind in trial.distributions.items()
        ],
        models.TrialUserAttributeModel: _attributes(trial.user_attrs),
        models.TrialSystemAttributeModel: _attributes(trial.system_attrs),
        epoch: [
            {"step": n, "intermediate_value": v, "intermediate_value_type": kind} for n, (v, kind) in epochs.items()
        ],
    }


def _attributes(given: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in given.items()]


def fast_storage(url: str, engine_settings: dict[str, Any]) -> RDBStorage:
    """Open a study's database; engine_settings: of SQLAlchemy's create_engine."""
    kind = WritingOnceStorage if optuna.__version__.startswith(TESTED) else RDBStorage
    return kind(url, engine_kwargs=engine_settings)
