"""A study and its copy in memory: samplers read the copy, the study gets whole trials.

    mirror = Mirror(study, asking)
    trial = mirror.ask(sampler)                     # in memory; the space suggests its parameters
    mirror.keep(trial, {"fields": ...})             # the study has it now, RUNNING
    mirror.report(trial.number, 0.5, epoch=2)
    mirror.tell(trial.number, TrialState.COMPLETE, [0.6])

Why: Optuna commits each parameter, and its TPE reads all trials anew for each group of parameters. With SQLite that
took three quarters of the time of a suggestion. Only the driver writes to the study, so the copy cannot be out of date;
it is made when first asked, and lives as long as its search. And a driver that dies leaves no half-suggested trial.
Storages are told of trials by the ids that they gave them: what `Study.tell` and `Trial.report` do, without their
reading the trial first.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, Trial, TrialState

from sweep.search.study import STORAGE_ERRORS, StudyError


class Mirror:
    """Trials have the same numbers in both."""

    def __init__(
        self, study: optuna.Study, ask_again: Callable[[Trial], object], check: Callable[[], None] = lambda: None
    ) -> None:
        """`ask_again` has a trial of the study suggest its parameters, as those that wait to be tried first must.
        `check` raises, before each write and after one that failed, when the study may be written to no more."""
        self.study, self._ask_again, self._check = study, ask_again, check
        self._ids: dict[int, int] = {}
        """Of the study's trials under way, by number, as its storage calls them."""

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
        _hand_on(self._copy.sampler, sampler)
        self._copy.sampler = sampler
        return self._copy.ask()

    def keep(self, trial: Trial, attributes: Mapping[str, Any], reason: str = "") -> None:
        """Have an asked trial in the study with these user attributes: RUNNING, or FAIL where a `reason` says why."""
        with self._writing():
            self._keep(trial, attributes, reason)

    def _keep(self, trial: Trial, attributes: Mapping[str, Any], reason: str) -> None:
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
            # study.add_trial(kept), which does not say what the storage calls it
            self._ids[trial.number] = self.study._storage.create_new_trial(self.study._study_id, kept)
        if reason:
            self._copy.tell(trial, state=TrialState.FAIL)
            self._ids.pop(trial.number, None)

    def _take_waiting(self, asked: FrozenTrial, attributes: Mapping[str, Any], reason: str) -> None:
        """The first that waits in the study, with the parameters of `asked`, also those that it left open; the last
        attribute makes it one that was asked for."""
        self._waiting.discard(asked.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = PartialFixedSampler(asked.params, RandomSampler())
        own = self.study.ask()
        self._ids[asked.number] = own._trial_id
        if not reason:
            self._ask_again(own)
        for name, value in attributes.items():
            own.set_user_attr(name, value)
        if reason:
            self.study.tell(own, state=TrialState.FAIL)

    def report(self, number: int, value: float, epoch: int) -> None:
        with self._writing():
            self.study._storage.set_trial_intermediate_value(self._id(number), epoch, value)
        if self._has_copy:
            self._copy._storage.set_trial_intermediate_value(_id_in(self._copy, number), epoch, value)

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None, reason: str = "") -> None:
        """How a trial under way has ended."""
        with self._writing():
            self._tell(number, state, values, reason)

    def _tell(self, number: int, state: TrialState, values: Sequence[float] | None, reason: str) -> None:
        trial_id = self._id(number)
        if reason:
            self.study._storage.set_trial_user_attr(trial_id, "reason", reason)
        if self._has_copy:
            if reason:
                self._copy._storage.set_trial_user_attr(_id_in(self._copy, number), "reason", reason)
            self._copy.tell(number, values, state)
            told = self._copy.get_trials(deepcopy=False)[number]
            # study.tell, which would read the trial first; what it makes of it, the copy knows
            self.study._storage.set_trial_state_values(trial_id, told.state, told.values)
        else:
            self.study.tell(number, values, state)
        self._ids.pop(number, None)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Who was suspended between check and write finds trials that have ended meanwhile, or a changed database.

        Raises StudyError where another program has ended a trial of this driver's."""
        self._check()
        try:
            yield
        except STORAGE_ERRORS:
            self._check()
            raise
        except optuna.exceptions.UpdateFinishedTrialError as error:
            self._check()
            raise StudyError(
                "only its driver may end trials of a study; another program has ended one of "
                f"'{self.study.study_name}': {error} The same command again goes on"
            ) from error

    @property
    def _has_copy(self) -> bool:
        return "_copy" in self.__dict__

    def _id(self, number: int) -> int:
        """Raises StudyError where the study has another trial of this number."""
        found = _id_in(self.study, number)
        if self._ids.setdefault(number, found) != found:
            raise StudyError(
                "only its driver may add trials to a study; another program has added some to "
                f"'{self.study.study_name}'. The same command again goes on"
            )
        return found


def _hand_on(before: BaseSampler, sampler: BaseSampler) -> None:
    """Let a sampler know what the one before, of the same kind and study, knows of which parameters all trials have.

    It would find out the same by comparing all trials' distributions: of 1,000 trials, 30 ms. Search makes a sampler
    for each suggestion, so that it hangs on nothing but the trials before. What one knows is kept with the trial up to
    which it holds; it lives in the samplers, and so as long as the copy."""
    if type(before) is type(sampler):
        known = {name: part for name, part in vars(before).items() if isinstance(part, IntersectionSearchSpace)}
        vars(sampler).update(known)


def _id_in(study: optuna.Study, number: int) -> int:
    """What a study's storage calls a trial; the database's remembers it."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
