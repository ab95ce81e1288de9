"""Optuna's database storage, which writes a whole trial at once.

    storage = WholeTrials("sqlite:///study.db")
    study = optuna.create_study(storage=storage)
    study.add_trial(trial)        # 6 statements, however many parameters and attributes it has

Why: of a trial that comes with its parameters, Optuna's own (5.0) reads the trial and an earlier one again for each of
them and inserts them one by one. That was 51 of the statements of a trial in the default space, and two thirds of the
time that SQLite took.

This goes by what Optuna keeps to itself: the method `RDBStorage._get_prepared_new_trial` and its tables. Where another
version has no such method, ours is never called, and trials are written as slowly as Optuna writes them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class WholeTrials(RDBStorage):
    """What it writes is what RDBStorage writes; other programs read it alike."""

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._distributions: dict[tuple[int, str], BaseDistribution] = {}
        """An earlier one of each parameter, by study and name: Optuna wants all to be compatible with it."""

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, None, session)
        for name, distribution in template_trial.distributions.items():
            check_distribution_compatibility(self._earlier(study_id, name, distribution, session), distribution)
        bare = copy.copy(template_trial)
        bare.params, bare.distributions, bare.user_attrs, bare.system_attrs = {}, {}, {}, {}
        trial: Any = super()._get_prepared_new_trial(study_id, bare, session)
        for model, rows in _rows(trial.trial_id, template_trial).items():
            if rows:
                session.execute(sqlalchemy.insert(model), rows)
        return trial

    def _earlier(self, study_id: int, name: str, asked: BaseDistribution, session: Session) -> BaseDistribution:
        """`asked` itself where the study has had none; a study's own never change, so each is read once."""
        if (study_id, name) not in self._distributions:
            kept: Any = (
                session.query(models.TrialParamModel)
                .join(models.TrialModel)
                .filter(models.TrialModel.study_id == study_id, models.TrialParamModel.param_name == name)
                .first()
            )
            self._distributions[study_id, name] = json_to_distribution(kept.distribution_json) if kept else asked
        return self._distributions[study_id, name]


def _rows(trial_id: int, trial: FrozenTrial) -> dict[type[models.BaseModel], list[dict[str, Any]]]:
    """A trial's parameters and attributes as Optuna's tables have them."""
    parameters = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    return {
        models.TrialParamModel: parameters,
        models.TrialUserAttributeModel: _attributes(trial_id, trial.user_attrs),
        models.TrialSystemAttributeModel: _attributes(trial_id, trial.system_attrs),
    }


def _attributes(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
