"""Optuna's database storage, which writes a whole trial at once.

    storage = WholeTrials("sqlite:///study.db")
    study = optuna.create_study(storage=storage)
    study.add_trial(trial)        # 7 statements, however many parameters and attributes it has

Why: of a trial that comes with its parameters, Optuna's own (5.0) reads the trial and an earlier one again for each of
them and inserts them one by one. That was 51 of the statements of a trial in the default space, and two thirds of the
time that SQLite took. Ours come from SQLAlchemy's tables, not from its objects, which took half of the rest.

This goes by what Optuna keeps to itself: the method `RDBStorage._get_prepared_new_trial`, its sessions and its tables.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from sqlalchemy import CursorResult
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
        if template_trial.values is None and not template_trial.intermediate_values:
            trial: Any = _insert_bare(study_id, template_trial, session)
        else:
            bare = copy.copy(template_trial)
            bare.params, bare.distributions, bare.user_attrs, bare.system_attrs = {}, {}, {}, {}
            trial = super()._get_prepared_new_trial(study_id, bare, session)
        for model, rows in _rows(trial.trial_id, template_trial).items():
            if rows:
                session.execute(sqlalchemy.insert(model.__table__), rows)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if not state.is_finished() or not self._end(trial_id, state, values or ()):
            return super().set_trial_state_values(trial_id, state, values)  # which also says why it cannot be
        return True

    def _end(self, trial_id: int, state: TrialState, values: Sequence[float]) -> bool:
        """False where there is no such trial under way."""
        trials = models.TrialModel.__table__
        is_running = (trials.c.trial_id == trial_id) & (trials.c.state == TrialState.RUNNING)
        ended = sqlalchemy.update(trials).where(is_running).values(state=state, datetime_complete=datetime.now())
        with _create_scoped_session(self.scoped_session) as session:
            if cast("CursorResult[Any]", session.execute(ended)).rowcount != 1:
                return False
            rows = []
            for objective, value in enumerate(values):
                stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                rows.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
            if rows:
                session.execute(sqlalchemy.insert(models.TrialValueModel.__table__), rows)
        return True

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


def _insert_bare(study_id: int, trial: FrozenTrial, session: Session) -> SimpleNamespace:
    """A trial without parameters, attributes and values, numbered as Optuna numbers it: after those before it."""
    trials = models.TrialModel.__table__
    times = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
    inserted = session.execute(sqlalchemy.insert(trials).values(study_id=study_id, state=trial.state, **times))
    (trial_id,) = cast("Any", inserted).inserted_primary_key
    before = (trials.c.study_id == study_id) & (trials.c.trial_id < trial_id)
    number = session.execute(sqlalchemy.select(sqlalchemy.func.count(trials.c.trial_id)).where(before)).scalar_one()
    session.execute(sqlalchemy.update(trials).where(trials.c.trial_id == trial_id).values(number=number))
    return SimpleNamespace(trial_id=trial_id, number=number, datetime_start=trial.datetime_start)


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
