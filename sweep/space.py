"""The space that a search looks through, and how a user's own takes its place.

    python -m sweep.run --search optuna --space my_module:space

A space is a function: it asks `trial` for values and gives back fields of a TrialSpec; all others are the profile's.

    def space(trial, facts):
        backbone = trial.suggest_categorical("backbone", facts.backbones)
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        return {"backbone": backbone, "learning_rate": rate}

`trial` has Optuna's suggest_categorical, suggest_float and suggest_int. Name a parameter after its field; where it
means something else in another case, add the case: "learning_rate@sgd". Then `--set learning_rate=1e-3` pins it, and
earlier sweeps' trials can be told to the study, because the parameters that give their specs can be found
(`sweep.search.ask_space.parameters_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from galaxytl.trial.optimizers import OPTIMIZERS


class Suggests(Protocol):
    """What a space may ask of a trial; `optuna.Trial` has it."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...


@dataclass(frozen=True)
class Facts:
    """What a space can choose from on these images and this machine."""

    image_size: int
    backbones: tuple[str, ...]
    """That accept such images, and whose weights can be had."""
    num_blocks: Mapping[str, int]
    """Of each of them: so many can be unfrozen."""
    scales_pixels: frozenset[str] = frozenset()
    """Those of them that scale pixels themselves: preprocessing must be their own."""


Space = Callable[[Suggests, Facts], Mapping[str, Any]]
DEFAULT: Final = "sweep.space:space"
DRAWN: Final = ("adam", "sgd", "rmsprop")
"""Optimizers that the default space draws: with a seed it draws what it always drew, whatever others there are."""


def space(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Suggest network, start, depth, head, optimizer with its own parameters, and regularisation: the default."""
    backbone = trial.suggest_categorical("backbone", facts.backbones)
    fields = {"backbone": backbone, "weights": trial.suggest_categorical("weights", ("imagenet", "random"))}
    fields["preprocessing"] = "backbone"
    if backbone not in facts.scales_pixels:
        fields["preprocessing"] = trial.suggest_categorical("preprocessing", ("divide_by_255", "backbone"))
    depth = trial.suggest_categorical("unfrozen_blocks", (0, "some", "all"))
    if depth == "some":
        depth = trial.suggest_int(f"unfrozen_blocks@{backbone}", 1, max(1, facts.num_blocks[backbone] - 1))
    return {**fields, "unfrozen_blocks": depth, **_head(trial), **_optimizer(trial), **_regularisation(trial)}


def _head(trial: Suggests) -> dict[str, Any]:
    units = trial.suggest_categorical("head_units", (0, 64, 256))
    dropout = round(trial.suggest_float("head_dropout", 0.0, 0.5, step=0.1), 1) if units else 0.0  # 0.3, not 0.30...04
    return {"head_units": units, "head_dropout": dropout}


def _optimizer(trial: Suggests) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", DRAWN)
    low, high = OPTIMIZERS[optimizer].learning_rates
    fields = {
        "optimizer": optimizer,
        "learning_rate": trial.suggest_float(f"learning_rate@{optimizer}", low, high, log=True),
        "weight_decay": trial.suggest_categorical("weight_decay", (0.0, 1e-5, 1e-4, 1e-3, 1e-2)),
    }
    return fields | ({"momentum": trial.suggest_float("momentum@sgd", 0.0, 0.99)} if optimizer == "sgd" else {})


def _regularisation(trial: Suggests) -> dict[str, Any]:
    return {
        "augmentation": trial.suggest_categorical("augmentation", (False, True)),
        "class_weighting": trial.suggest_categorical("class_weighting", ("none", "balanced")),
    }
