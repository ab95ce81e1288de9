"""Asking a space (`sweep.space`) for trials: a user's function found and called, fields pinned, specs traced back.

sampler = SpaceSampler(load_space("my_module:space"), facts, pinned={"optimizer": ("adam",)})
fields = sampler(trial)                     # of one trial, from an optuna.Trial or anything that suggests
parameters_of(sampler, spec.fields())       # the parameters that would have given them
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from galaxytl.system.command import UsageError
from galaxytl.trial import SpecError, check_field_name
from sweep.space import Facts, Space, Suggests


class SpaceError(UsageError):
    """A space cannot be found, raises an error, or gives what no trial can be."""


def load_space(text: str) -> Space:
    """Find the function that `--space MODULE:FUNCTION` names, in the working directory too, where a user's own sweep.py
    must not come before ours; raises SpaceError."""
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        raise SpaceError(f"--space takes MODULE:FUNCTION, like my_module:space; got '{text}'")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        raise SpaceError(
            f"--space must name a module that can be imported; {module_name}: {error_text(error)}"
        ) from error
    space = getattr(module, name, None)
    if not callable(space):
        raise SpaceError(f"--space must name a function of {module_name}; it has no function '{name}'")
    return space


@dataclass(frozen=True)
class SpaceSampler:
    """A space with the fields that the command line pins; `sampler(trial)` gives the fields of one trial."""

    space: Space
    facts: Facts
    pinned: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Field -> its values: one is fixed, several are chosen from."""

    def __call__(self, trial: Suggests) -> dict[str, Any]:
        """Return the fields of a trial. Raises SpaceError, which says where in the user's file it happened."""
        try:
            given = self.space(_Pinned(trial, self.pinned), self.facts)
        except Exception as error:  # whatever a user's function raises
            raise SpaceError(f"the space raised {error_text(error)}") from error
        if not isinstance(given, Mapping):
            got = f"got {type(given).__name__}{place_of(self.space)}"
            raise SpaceError(f"a space must give a mapping of a trial's fields to values; {got}")
        for name in given:
            try:
                check_field_name(str(name))
            except SpecError as error:
                where = place_of(self.space)
                raise SpaceError(f"the space gives a field that no trial has: {error}{where}") from error
        fixed = {name: values[0] for name, values in self.pinned.items() if len(values) == 1}
        chosen = {name: values for name, values in self.pinned.items() if len(values) > 1 and name not in given}
        return {**given, **{name: trial.suggest_categorical(name, tuple(v)) for name, v in chosen.items()}, **fixed}


def error_text(error: Exception) -> str:
    """Return what a user's error was and where: "ZeroDivisionError: division by zero (my_module.py, line 3)"."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() != Path(__file__).resolve()]
    users = [frame for frame in own if "importlib" not in frame.filename and "site-packages" not in frame.filename]
    where = f" ({Path(users[-1].filename).name}, line {users[-1].lineno})" if users else ""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}{where}"


def place_of(space: Space) -> str:
    """Return where a space stands: " (my_module.py, line 3)"."""
    code = getattr(inspect.unwrap(space), "__code__", None)
    return f" ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code else ""


class _Pinned:
    """A trial that answers for pinned fields itself."""

    def __init__(self, trial: Suggests, pinned: Mapping[str, Sequence[Any]]) -> None:
        self._trial, self._pinned = trial, pinned

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        values = self._values(name)
        return self._answer(name, values) if values else self._trial.suggest_categorical(name, tuple(choices))

    def suggest_float(self, name: str, low: float, high: float, **how: Any) -> Any:
        values = self._values(name)
        return self._answer(name, values) if values else self._trial.suggest_float(name, low, high, **how)

    def suggest_int(self, name: str, low: int, high: int, **how: Any) -> Any:
        values = self._values(name)
        return self._answer(name, values) if values else self._trial.suggest_int(name, low, high, **how)

    def _values(self, name: str) -> Sequence[Any]:
        return self._pinned.get(field_of(name), ())

    def _answer(self, name: str, values: Sequence[Any]) -> Any:
        return values[0] if len(values) == 1 else self._trial.suggest_categorical(field_of(name), tuple(values))


def field_of(parameter: str) -> str:
    """
    >>> field_of("learning_rate@adam")
    'learning_rate'
    """
    return parameter.partition("@")[0]


@dataclass(frozen=True)
class ParameterMatch:
    """Parameters for which a space gives some fields."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    fields: dict[str, Any]


def parameters_of(sampler: SpaceSampler, fields: Mapping[str, Any]) -> ParameterMatch | None:
    """Return the parameters for which the space gives exactly `fields`; None where it cannot be made to.

    A parameter that bears a field's name is that field's value if it is allowed. Of other categorical ones all choices
    are tried; a number with a name of its own cannot be found.
    """
    branches: list[list[int]] = [[]]
    for _ in range(MAX_TRIES):
        if not branches:
            return None
        trial = _Replay(fields, branches.pop())
        try:
            given = sampler(trial)
        except SpaceError as error:
            given = None
            if not isinstance(error.__cause__, _NotInSpaceError):
                return None
        branches += trial.other_branches()
        if given is not None and all(fields[name] == value for name, value in given.items()):
            return ParameterMatch(trial.params, trial.distributions, given)
    return None


ROUNDING: Final = 1e-8
"""Of a number of steps: Optuna's own."""
MAX_TRIES: Final = 1000
"""Combinations of choices; a space whose parameters bear the names of fields needs a handful."""


class _NotInSpaceError(Exception):
    """No value of a parameter gives the field's."""


class _Replay:
    """A trial that answers with the values of known fields, and where it cannot know, with the choices of `branch`."""

    def __init__(self, fields: Mapping[str, Any], branch: Sequence[int]) -> None:
        self._fields, self._branch = fields, branch
        self.choices: list[int] = []
        self._options: list[int] = []
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def other_branches(self) -> list[list[int]]:
        """Return the branches that begin like what was chosen and then, after the given branch, choose otherwise."""
        own = range(len(self._branch), len(self.choices))
        return [[*self.choices[:i], other] for i in own for other in range(1, self._options[i])]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self.params:
            return self.params[name]
        wanted = self._fields.get(field_of(name), _UNKNOWN)
        value = wanted if wanted in choices else choices[self._choose(len(choices))]
        return self._note(name, value, CategoricalDistribution(tuple(choices)))

    def suggest_float(self, name: str, low: float, high: float, **how: Any) -> Any:
        value = self._number(name, low, high, how.get("step"))
        return self._note(name, value, FloatDistribution(low, high, **how))

    def suggest_int(self, name: str, low: int, high: int, **how: Any) -> Any:
        value = self._number(name, low, high, how.get("step"))
        return self._note(name, value, IntDistribution(low, high, **how))

    def _number(self, name: str, low: float, high: float, step: float | None) -> Any:
        value = self._fields.get(field_of(name), _UNKNOWN)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _NotInSpaceError(name)
        number = (value - low) / step if step else 0.0
        if abs(number - round(number)) > ROUNDING:
            raise _NotInSpaceError(name)
        return value

    def _choose(self, number: int) -> int:
        place = len(self.choices)
        choice = self._branch[place] if place < len(self._branch) else 0
        self.choices.append(choice)
        self._options.append(number)
        return choice

    def _note(self, name: str, value: Any, distribution: BaseDistribution) -> Any:
        self.params[name] = value
        self.distributions[name] = distribution
        return value


_UNKNOWN: Final = object()
