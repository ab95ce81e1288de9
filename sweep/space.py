"""The space that a search looks through, others to choose from, and how a user's own takes their place.

    python -m sweep.run --search optuna                                         # `space`, the default
    python -m sweep.run --search optuna --space sweep.space:best_in_an_hour
    python -m sweep.run --search optuna --space sweep.space:optimizer --set backbone=VGG16
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
ALL_OPTIMIZERS: Final = tuple(name for name, one in OPTIMIZERS.items() if not one.wants_weight_decay)
"""But AdamW, which is Adam with a weight decay."""
SEARCHED_OPTIMIZERS: Final = ("adam", "sgd", "rmsprop")
"""Of the default space, in which a seed gives the same suggestions in every later version."""


def space(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Suggest network, start, depth, head, optimizer with its own parameters, and regularisation: the default."""
    return {
        **_network(trial, facts),
        **_head(trial),
        **_optimizer(trial, SEARCHED_OPTIMIZERS),
        **_regularisation(trial),
    }


def wide(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Suggest what the default space does, of all optimizers, and the rest of how people train today: warm-up and
    schedule, clipped gradients, learning rates by block, label smoothing, and averaged weights.

    More parameters want more trials: `python benchmarks/bench_search.py spaces` measures what they cost a short search,
    and what they give a long one (docs/searches.md)."""
    network = _network(trial, facts)
    fields = {**network, **_head(trial), **_optimizer(trial, ALL_OPTIMIZERS), **_regularisation(trial)}
    decay = 1.0
    if network["unfrozen_blocks"] != 0 and fields["optimizer"] != "adafactor":  # a head alone has one learning rate
        decay = trial.suggest_categorical("learning_rate_decay", (1.0, 0.9, 0.7))
    return {**fields, **_steps(trial), "learning_rate_decay": decay, **_smoothing(trial)}


def best_in_an_hour(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Suggest what finds a good network in an hour on a laptop: heads on frozen ImageNet networks.

    python -m sweep.run --search optuna --space sweep.space:best_in_an_hour --trials 300 --data my_galaxies/

    What is frozen is computed once for each network, and its heads are trained together, so that an hour has hundreds
    of them; a network that is trained itself would take its share of the hour alone. Networks get pixels as they were
    trained on them (`preprocessing=backbone`). Adam with weight decay is AdamW. Of what people train with today only
    averaged weights are in it: of the fields that `bench_search.py spaces` tries, they alone gained among the best
    heads (docs/searches.md). `--set unfrozen_blocks=1` trains the
    last block of each network as well, on a machine with a GPU."""
    return {
        "backbone": trial.suggest_categorical("backbone", facts.backbones),
        **{"weights": "imagenet", "preprocessing": "backbone", "unfrozen_blocks": 0, "optimizer": "adam"},
        **_head(trial),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_categorical("weight_decay", WEIGHT_DECAYS),
        "class_weighting": trial.suggest_categorical("class_weighting", ("none", "balanced")),
        **_averages(trial),
    }


def optimizer(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Suggest settings of the optimizer alone, in the wide sense: its name, learning rate, momentum and weight decay,
    warm-up and schedule, clipped gradients, and the batch size. Is it the optimizer that a network fails by?

    python -m sweep.run --search optuna --space sweep.space:optimizer --trials 100 --scheduler none \\
        --set backbone=VGG16 --set weights=random --set unfrozen_blocks=all

    All else is what the profile and --set say: name one network there. The report's importances then say which of these
    settings mattered; `--scheduler none` lets those that start slowly, as with a warm-up, come to their end."""
    backbone = trial.suggest_categorical("backbone", facts.backbones)
    own = {"preprocessing": "backbone"} if backbone in facts.scales_pixels else {}
    batches = {"batch_size": trial.suggest_categorical("batch_size", (8, 16, 32, 64))}
    return {"backbone": backbone, **own, **_optimizer(trial, ALL_OPTIMIZERS), **_steps(trial), **batches}


def _network(trial: Suggests, facts: Facts) -> dict[str, Any]:
    backbone = trial.suggest_categorical("backbone", facts.backbones)
    fields = {"backbone": backbone, "weights": trial.suggest_categorical("weights", ("imagenet", "random"))}
    fields["preprocessing"] = "backbone"
    if backbone not in facts.scales_pixels:
        fields["preprocessing"] = trial.suggest_categorical("preprocessing", ("divide_by_255", "backbone"))
    depth = trial.suggest_categorical("unfrozen_blocks", (0, "some", "all"))
    if depth == "some":
        depth = trial.suggest_int(f"unfrozen_blocks@{backbone}", 1, max(1, facts.num_blocks[backbone] - 1))
    return {**fields, "unfrozen_blocks": depth}


def _head(trial: Suggests) -> dict[str, Any]:
    units = trial.suggest_categorical("head_units", (0, 64, 256))
    dropout = round(trial.suggest_float("head_dropout", 0.0, 0.5, step=0.1), 1) if units else 0.0  # 0.3, not 0.30...04
    return {"head_units": units, "head_dropout": dropout}


WEIGHT_DECAYS: Final = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)


def _optimizer(trial: Suggests, names: Sequence[str]) -> dict[str, Any]:
    name = trial.suggest_categorical("optimizer", tuple(names))
    low, high = OPTIMIZERS[name].learning_rates
    fields = {
        "optimizer": name,
        "learning_rate": trial.suggest_float(f"learning_rate@{name}", low, high, log=True),
        "weight_decay": trial.suggest_categorical("weight_decay", WEIGHT_DECAYS),
    }
    return fields | ({"momentum": trial.suggest_float("momentum@sgd", 0.0, 0.99)} if name == "sgd" else {})


def _steps(trial: Suggests) -> dict[str, Any]:
    """Suggest how long the optimizer's steps are in the course of training. A warm-up is shorter than any training."""
    return {
        "schedule": trial.suggest_categorical("schedule", ("constant", "cosine", "linear")),
        "warmup_epochs": trial.suggest_categorical("warmup_epochs", (0.0, 0.5, 0.9)),
        "global_clipnorm": trial.suggest_categorical("global_clipnorm", (0.0, 0.1, 1.0)),
    }


def _smoothing(trial: Suggests) -> dict[str, Any]:
    """Suggest whether targets are smoothed, and weights averaged over the steps."""
    return {"label_smoothing": trial.suggest_categorical("label_smoothing", (0.0, 0.1)), **_averages(trial)}


def _averages(trial: Suggests) -> dict[str, Any]:
    return {"ema_momentum": trial.suggest_categorical("ema_momentum", (0.0, 0.99))}


def _regularisation(trial: Suggests) -> dict[str, Any]:
    return {
        "augmentation": trial.suggest_categorical("augmentation", (False, True)),
        "class_weighting": trial.suggest_categorical("class_weighting", ("none", "balanced")),
    }
