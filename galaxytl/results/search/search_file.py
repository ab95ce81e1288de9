"""`search.json`, which a search writes into its results folder: what was searched, how, and where its Optuna study is.

settings = read_search_file(Path("results/search"))
settings.study, settings.storage, settings.objectives      # "search", "sqlite:////data/study.db", (Objective(...),)
write_search_file(folder, settings)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.system.strict_json import LARGEST, read_json

FILE_NAME: Final = "search.json"
FORMAT: Final = 1
OBJECTIVES: Final = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "multiply_adds": "minimize",
    "parameters": "minimize",
}
"""What a search may want. Accuracy and loss on the validation part after the last epoch; multiply-adds of training the
trial by itself, frozen blocks once; weights of the whole network."""


class SearchFileError(ValueError):
    """There is no search.json that can be read; the message says why."""


@dataclass(frozen=True)
class Objective:
    name: str
    direction: str
    """ "maximize" or "minimize"."""

    @property
    def heading(self) -> str:
        """Its name, with an arrow to where the better values are."""
        return f"{self.name} {'↑' if self.direction == 'maximize' else '↓'}"


@dataclass(frozen=True)
class SearchFile:
    """Of a study and the trials it suggested."""

    study: str
    storage: str
    """URL, as Optuna takes it, of the database to which the study is exported, or, of an earlier version, in which it
    lived; a password in it reads ***. Empty: there is none."""
    objectives: tuple[Objective, ...]
    space: str
    sampler: str
    scheduler: str
    num_trials: int
    """That were asked for."""

    def __str__(self) -> str:
        asked = "1 trial asked for" if self.num_trials == 1 else f"{self.num_trials} trials asked for"
        stopped = "none stopped early" if self.scheduler == "none" else f"stopped early by {self.scheduler}"
        goals = " and ".join(f"{goal.direction} {goal.name}" for goal in self.objectives)
        return f'Study "{self.study}": {asked}, {self.sampler} in {self.space} to {goals}, {stopped}'


def write_search_file(folder: Path, settings: SearchFile) -> None:
    """Write search.json beside the rows of the search. Raises OSError."""
    goals = [[goal.name, goal.direction] for goal in settings.objectives]
    values = {"format": FORMAT, **asdict(settings), "objectives": goals}
    write_atomically(folder / FILE_NAME, json.dumps(values, indent=1).encode())


def read_search_file(folder: Path) -> SearchFile:
    """Return the settings of the search whose rows lie in `folder`. Raises SearchFileError."""
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            values = read_json(file.read(LARGEST + 1))  # it refuses more
    except FileNotFoundError:
        raise SearchFileError(f"{folder} holds no {FILE_NAME}, which names the study of a search") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SearchFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, Mapping) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, Mapping) else None
        raise SearchFileError(f"{path} must be of format {FORMAT}; got {found!r}. It is of another version of sweep")
    try:
        return _search_file(values)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SearchFileError(f"{path} lacks or garbles a setting: {error}") from error


def _search_file(values: Mapping[str, Any]) -> SearchFile:
    names = ("study", "storage", "space", "sampler", "scheduler")
    texts = {name: visible(str(values[name])) for name in names}
    objectives = tuple(Objective(visible(str(name)), visible(str(way))) for name, way in values["objectives"])
    if not objectives:
        raise ValueError("objectives must name at least one")
    return SearchFile(objectives=objectives, num_trials=int(values["num_trials"]), **texts)
