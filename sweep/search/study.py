"""The study that suggests, in memory: Optuna's, made from what was asked and from the rows at each start.

    study = MemoryStudy(["val_accuracy"], "TPESampler", seed=0)
    study.add([frozen_trial(suggestion, ending)])
    trial = study.ask()                                 # the space suggests its parameters
    study.end(trial.number, ending)

Suggestion k hangs on the seed, k, and the trials before: the sampler is made anew for each with a seed of its own.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from galaxytl.results.search.asked_file import Ending, Suggestion
from galaxytl.results.search.search_file import OBJECTIVES
from galaxytl.system.command import UsageError
from galaxytl.system.foreign_text import did_you_mean, visible
from galaxytl.trial import COMPLETE, FAILED, PRUNED
from sweep.search.optuna_parts import fast_tpe

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the driver says itself what becomes of trials

STATES: Final = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
"""Of Optuna, by the status of a row."""


PICKLED: Final = "cma:"
"""How the names begin of attributes in which a sampler, CMA-ES, keeps pickles: such are not read from a file. It begins
anew when a search is resumed."""


class StudyError(UsageError):
    """A storage, study or sampler cannot be used; the message says why and what to do."""


def refusal(name: str, known: str, wanted: str) -> str:
    """Say why the study called `name` is not this search's: what it has, and this search."""
    return (
        f"a study is of one search; '{name}' has {known}, this search {wanted}. "
        "Go on with the options that it was begun with, or choose another --study and --out"
    )


class MemoryStudy:
    """Optuna's study of a search, and the sampler."""

    def __init__(self, objectives: Sequence[str], sampler: str, seed: int) -> None:
        self._storage = optuna.storages.InMemoryStorage()
        directions = [optuna.study.StudyDirection[OBJECTIVES[name].upper()] for name in objectives]
        self.study = optuna.create_study(storage=self._storage, study_name="search", directions=directions)
        self._study_id = self._storage.get_study_id_from_name("search")
        self._sampler, self._seed = sampler, seed
        self._shared = IntersectionSearchSpace(include_pruned=True)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        self.study.add_trials(trials)

    def ask(self, params: Mapping[str, Any] | None = None) -> Trial:
        """Make a new trial, RUNNING, whose parameters are to be suggested; those of `params` are what these say."""
        number = len(self.trials)
        self.study.sampler = make_sampler(self._sampler, _seed_of(self._seed, number), self._shared)
        if params is not None:
            self.study.enqueue_trial(dict(params))
        return self.study.ask()

    def report(self, number: int, epoch: int, value: float) -> None:
        """Report a value once an epoch, and only what is finite."""
        if epoch not in self.trials[number].intermediate_values and math.isfinite(value):
            self._storage.set_trial_intermediate_value(self._id(number), epoch, value)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._id(number), name, value)

    def end(self, number: int, ending: Ending) -> None:
        for epoch, value in ending.epochs:
            self.report(number, epoch, value)
        if ending.reason:
            self.note(number, {"reason": ending.reason})
        self.study.tell(number, ending.values or None, STATES[ending.status])

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _seed_of(seed: int, number: int) -> int:
    """Return the seed of suggestion `number`: a resumed search neither repeats random numbers nor depends on where it
    was cut."""
    return int.from_bytes(hashlib.sha256(f"suggestion/{seed}/{number}".encode()).digest()[:4], "big")


def frozen_trial(suggestion: Suggestion, ending: Ending | None) -> FrozenTrial:
    """Make the trial as in the study; RUNNING without an ending. Raises StudyError where its parameters are none."""
    attributes = {
        "trial_id": suggestion.trial_id,
        "fields": dict(suggestion.fields),
        "reason": ending.reason if ending else "",
        "equal_to": suggestion.equal_to,
        "known_before": suggestion.known is not None,
    }
    epochs = dict(ending.epochs) if ending else {}
    values = list(ending.values) if ending else []
    if ending and ending.status == PRUNED and epochs:
        values = [epochs[max(epochs)]]  # as Optuna has it
    try:
        return create_trial(
            state=STATES[ending.status] if ending else TrialState.RUNNING,
            values=values or None,
            params=dict(suggestion.params),
            distributions={name: _distribution(json.dumps(one)) for name, one in suggestion.distributions.items()},
            user_attrs={name: value for name, value in attributes.items() if value},
            system_attrs={name: v for name, v in suggestion.attributes.items() if not name.startswith(PICKLED)},
            intermediate_values=epochs,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # of a file that was damaged, or changed
        rule = "asked.jsonl must hold parameters as Optuna takes them"
        how = "Put the right file back, or move this one away: the rows are told anew"
        raise StudyError(f"{rule}; got {visible(str(error))[:200]}. {how}") from error


@functools.lru_cache(maxsize=1000)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def described(distributions: Mapping[str, BaseDistribution]) -> dict[str, dict[str, Any]]:
    """Return the distributions as a Suggestion has them."""
    return {name: json.loads(distribution_to_json(one)) for name, one in distributions.items()}


# Samplers


def sampler_names() -> list[str]:
    """Return the names of Optuna's samplers that need nothing but a seed."""
    grids = ("GridSampler", "BruteForceSampler")  # a grid is --grid; and the latter stops a study as only Optuna may
    left_out = ("BaseSampler", "PartialFixedSampler", "BaseGASampler", *grids)
    return [name for name in dir(optuna.samplers) if name.endswith("Sampler") and name not in left_out]


def find_sampler(text: str, num_objectives: int = 1) -> str:
    """Return the full name of a sampler that a user calls "tpe", "random" or "TPESampler"; raises StudyError."""
    wanted = text.lower().removesuffix("sampler")
    short = {name.removesuffix("Sampler").lower(): name for name in sampler_names()}
    if wanted not in short:
        raise StudyError(f"--sampler must be one of {', '.join(short)}; got '{text}'.{did_you_mean(wanted, short)}")
    try:
        _try_out(short[wanted], num_objectives)
    except ImportError as error:
        raise StudyError(f"--sampler {text} needs a package that is not installed: {error}") from error
    except ValueError as error:
        objectives = "one objective" if num_objectives == 1 else f"{num_objectives} objectives"
        raise StudyError(f"--sampler {text} does not go with {objectives}: {error}") from error
    return short[wanted]


def _try_out(name: str, num_objectives: int) -> None:
    """Have a sampler suggest something: what it lacks, and what it cannot do, some say no sooner."""
    study = optuna.create_study(directions=["minimize"] * num_objectives)
    distributions: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    for number in range(10):  # with fewer trials, most would suggest at random
        params, values = {"x": number / 10, "y": 0.5}, [float(number)] * num_objectives
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))
    study.sampler = make_sampler(name, 0)
    study.ask(distributions)


def make_sampler(name: str, seed: int, shared: IntersectionSearchSpace | None = None) -> BaseSampler:
    """Make the sampler of this name. `shared`: of the sampler's earlier selves, in the same study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "TPESampler":
            # What all trials have is sampled together, what only some have by itself. With `group` TPE would sample all
            # cases of a conditional space for each trial, of every network and optimizer: three times the time for
            # nothing.
            return fast_tpe(shared or IntersectionSearchSpace(include_pruned=True), seed)
        kind = getattr(optuna.samplers, name)
        return kind(seed=seed) if "seed" in inspect.signature(kind).parameters else kind()
