"""A study and its copy in memory: samplers read the copy, the study gets whole trials.

    mirror = Mirror(study, asking)
    trial = mirror.ask(sampler)                     # in memory; the space suggests its parameters
    mirror.keep(trial, {"fields": ...})             # the study has it now, RUNNING
    mirror.report(trial.number, 0.5, epoch=2)
    mirror.tell(trial.number, TrialState.COMPLETE, [0.6])

Why: Optuna commits each parameter, and its TPE reads all trials anew for each group of parameters. With SQLite that
took three quarters of the time of a suggestion. Only the driver writes to the study, so the copy cannot be out of date;
it is made when first asked, and lives as long as its search. And a driver that dies leaves no half-suggested trial.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from sweep.search_study import StudyError


class Mirror:
    """Trials have the same numbers in both."""

    def __init__(self, study: optuna.Study, ask_again: Callable[[Trial], object]) -> None:
        """`ask_again` has a trial of the study suggest its parameters, as those that wait to be tried first must."""
        self.study, self._ask_again = study, ask_again
        self._handles: dict[tuple[str, int], Trial] = {}
        """Of trials under way, by "study" or "copy" and number; made when needed: each reads from the storage."""

    @functools.cached_property
    def _copy(self) -> optuna.Study:
        copy = optuna.create_study(directions=self.study.directions)
        copy.add_trials(self.study.get_trials(deepcopy=False))
        return copy

    @functools.cached_property
    def _waiting(self) -> set[int]:
        """Numbers of the study's trials that wait to be asked for."""
        return {t.number for t in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))}

    @property
    def num_trials(self) -> int:
        return len(self._copy.get_trials(deepcopy=False))

    def ask(self, sampler: BaseSampler) -> Trial:
        """A trial of the copy. Until it is kept, the study knows nothing of it."""
        self._copy.sampler = sampler
        return self._copy.ask()

    def keep(self, trial: Trial, attributes: Mapping[str, Any], reason: str = "") -> None:
        """Have an asked trial in the study with these user attributes: RUNNING, or FAIL where a `reason` says why."""
        asked = self._copy.get_trials(deepcopy=False)[trial.number]
        attributes = {**attributes, **({"reason": reason} if reason else {})}
        if trial.number in self._waiting:
            self._take_waiting(asked, attributes, reason)
        else:
            kept = optuna.trial.create_trial(
                state=TrialState.FAIL if reason else TrialState.RUNNING,
                params=asked.params,
                distributions=asked.distributions,
                user_attrs=dict(attributes),
                system_attrs=asked.system_attrs,  # what samplers note there
            )
            self.study.add_trial(kept)
        if reason:
            self._copy.tell(trial, state=TrialState.FAIL)
        else:
            self._handles["copy", trial.number] = trial

    def _take_waiting(self, asked: FrozenTrial, attributes: Mapping[str, Any], reason: str) -> None:
        """The first that waits in the study, with the parameters of `asked`, also those that it left open; the last
        attribute makes it one that was asked for."""
        self._waiting.discard(asked.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(asked.params, RandomSampler())
        own = self.study.ask()
        if not reason:
            self._ask_again(own)
        for name, value in attributes.items():
            own.set_user_attr(name, value)
        if reason:
            self.study.tell(own, state=TrialState.FAIL)

    def report(self, number: int, value: float, epoch: int) -> None:
        for name, study in self._both():
            self._handle(name, study, number).report(value, epoch)

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None, reason: str = "") -> None:
        """How a trial under way has ended."""
        for name, study in self._both():
            trial = self._handle(name, study, number)
            if reason:
                trial.set_user_attr("reason", reason)
            study.tell(trial, values, state)
            self._handles.pop((name, number), None)

    def _both(self) -> list[tuple[str, optuna.Study]]:
        """The study, and the copy if there is one yet."""
        return [("study", self.study), *([("copy", self._copy)] if "_copy" in self.__dict__ else [])]

    def _handle(self, name: str, study: optuna.Study, number: int) -> Trial:
        if (name, number) not in self._handles:
            trial = handle(study, number)
            if any(trial.params != other.get_trials(deepcopy=False)[number].params for _, other in self._both()):
                raise StudyError(
                    "only its driver may add trials to a study; another program has added some to "
                    f"'{self.study.study_name}'. The same command again goes on"
                )
            self._handles[name, number] = trial
        return self._handles[name, number]


def handle(study: optuna.Study, number: int) -> Trial:
    """Of a trial that was asked for elsewhere: Optuna has no other way to go on with one."""
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
