"""The rules of a trial's fields: what each may be, and which go together.

    learning_rate: float = number(1e-3, 0.0, open_low=True)
    label_smoothing: float = added(number(0.0, 0.0, 0.9))         # a field that a later version added
    check_together(spec)                                            # raises SpecError

Standard library only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from galaxytl.system.foreign_text import did_you_mean
from galaxytl.system.strict_json import shown
from galaxytl.trial import stages
from galaxytl.trial.optimizers import CLIPPING, OPTIMIZERS

MOST_CLASSES: Final = 1000
"""Of a dataset: as many as ImageNet has."""
ADDED_WITH: Final = "added_with"


class SpecError(ValueError):
    """A field of a TrialSpec is unknown, of the wrong type, or out of range."""


def choice(*allowed: str, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that has one of these values."""
    return dataclasses.field(default=default, metadata={"choices": allowed})


def number(default: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> Any:
    """Declare a field that has a number from `low` (without it, where `open_low`) to `high`."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "open_low": open_low})


def added(rule: Any, *added_with: Any) -> Any:
    """Declare a field that a later version adds to TrialSpec: `rule` is its default, or what `number` or `choice`
    gives.

    added_with: what trials did before there was the field, once its default is another; until then, its default."""
    rule = rule if isinstance(rule, dataclasses.Field) else dataclasses.field(default=rule)
    (first,) = added_with or (rule.default,)
    return dataclasses.field(default=rule.default, metadata={**rule.metadata, ADDED_WITH: first})


def check_value(name: str, rule: dataclasses.Field[Any], value: Any) -> None:
    """Raise SpecError unless `value` is one that the field may have by itself."""
    if name == "unfrozen_blocks":
        if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise SpecError(
                f"unfrozen_blocks must be 0 (train the head only), a whole number, or all; got {shown(value)}"
            )
        return
    if name == "unfreeze_stages" and value != "" and not (isinstance(value, str) and stages.depths_of(value)):
        raise SpecError(f"{stages.RULE}, like 0,2,all; got {shown(value)}")
    if choices := rule.metadata.get("choices"):
        if value not in choices:
            hint = did_you_mean(str(value)[:40], choices)
            raise SpecError(f"{name} must be one of {', '.join(choices)}; got {shown(value)}.{hint}")
        return
    python_type = {"str": str, "int": int, "float": float, "bool": bool}[str(rule.type)]
    if not isinstance(value, python_type) or (python_type is not bool and isinstance(value, bool)):
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise SpecError(f"{name} must be {words[python_type]}; got {shown(value)}")
    if "low" in rule.metadata:
        _check_range(name, value, rule.metadata)


def _check_range(name: str, value: Any, rule: Mapping[str, Any]) -> None:
    low, high, open_low = rule["low"], rule["high"], rule["open_low"]
    if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
        above = f"greater than {low:g}" if open_low else f"at least {low:g}"
        below = f" and at most {high:g}" if math.isfinite(high) else ""
        raise SpecError(f"{name} must be {above}{below}; got {shown(value)}")


def check_together(spec: Any) -> None:
    """Raise SpecError unless the fields of a TrialSpec go together."""
    for rule, names in broken_rules(spec):
        raise SpecError(f"{rule}; got {', '.join(f'{name}={_text(getattr(spec, name))}' for name in names)}")


def broken_rules(spec: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give each rule that the fields of a TrialSpec break together: its words, and the names of the fields."""
    for rules in (_optimizer, _schedule, _choosing, _targets, _images, _depth, _parts, _given):
        yield from ((rule, names) for rule, breaks, names in rules(spec) if breaks)


Rules = Iterator[tuple[str, Any, tuple[str, ...]]]
"""Of each rule its words, whether the spec breaks it, and the fields that it is about."""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _optimizer(spec: Any) -> Rules:
    having = " and ".join(name for name, optimizer in OPTIMIZERS.items() if optimizer.has_momentum)
    no_momentum = spec.momentum and not OPTIMIZERS[spec.optimizer].has_momentum
    yield f"momentum is a setting of {having}", no_momentum, ("momentum", "optimizer")
    unused = spec.nesterov and (spec.optimizer != "sgd" or not spec.momentum)
    yield "nesterov wants optimizer=sgd and a momentum", unused, ("nesterov", "optimizer", "momentum")
    bare = OPTIMIZERS[spec.optimizer].wants_weight_decay and not spec.weight_decay
    yield "adamw wants a weight_decay: without one it is adam", bare, ("optimizer", "weight_decay")
    clips = [name for name in CLIPPING if getattr(spec, name)]
    yield "gradients are clipped in one way", len(clips) > 1, tuple(clips)


def _schedule(spec: Any) -> Rules:
    both = spec.warmup_epochs and spec.warmup_steps
    yield "a warm-up is given in epochs or in steps", both, ("warmup_epochs", "warmup_steps")
    too_long = spec.warmup_epochs and spec.warmup_epochs >= spec.num_epochs
    yield "warm-up must be over before training is", too_long, ("warmup_epochs", "num_epochs")
    is_step = spec.schedule == "step"
    yield "schedule=step wants step_epochs", is_step and not spec.step_epochs, ("schedule", "step_epochs")
    yield "step_epochs is a setting of schedule=step", spec.step_epochs and not is_step, ("step_epochs", "schedule")
    unused = spec.step_factor != 0.1 and not is_step
    yield "step_factor is a setting of schedule=step", unused, ("step_factor", "schedule")
    unused = spec.learning_rate_floor and spec.schedule == "constant"
    yield "learning_rate_floor is a setting of schedules that fall", unused, ("learning_rate_floor", "schedule")
    late = is_step and spec.step_epochs and spec.warmup_epochs > spec.step_epochs
    yield "warm-up must be over before the rate falls", late, ("warmup_epochs", "step_epochs")


def _choosing(spec: Any) -> Rules:
    fraction, blind = "validation_fraction", not spec.validation_fraction
    best = spec.scored_epoch == "best"
    yield "early_stopping wants a validation part", spec.early_stopping and blind, ("early_stopping", fraction)
    yield "scored_epoch=best wants a validation part", best and blind, ("scored_epoch", fraction)
    scores = spec.scored_on == "validation"
    yield "scored_on=validation wants a validation part", scores and blind, ("scored_on", fraction)
    averages, more = spec.average_epochs, spec.average_epochs > spec.num_epochs
    yield "no more epochs can be averaged than are trained", more, ("average_epochs", "num_epochs")
    clash = averages and (best or spec.early_stopping or spec.ema_momentum)
    others = ("average_epochs", "scored_epoch", "early_stopping", "ema_momentum")
    yield "average_epochs goes with neither scored_epoch=best, nor early_stopping, nor ema_momentum", clash, others


def _targets(spec: Any) -> Rules:
    yield "head_dropout wants hidden units, head_units", spec.head_dropout and not spec.head_units, ("head_dropout",)
    weighted = spec.class_weighting != "none"
    yield (
        "class_weighting wants classes, not votes, as targets",
        spec.targets == "votes" and weighted,
        ("class_weighting",),
    )
    mixes = spec.mixup or spec.cutmix
    yield (
        "class_weighting does not go with mixup and cutmix, whose targets are of two classes",
        weighted and mixes,
        (*("class_weighting", "mixup", "cutmix"),),
    )


def _images(spec: Any) -> Rules:
    changes = spec.augmentation or spec.shift or spec.zoom or spec.brightness
    yield "views wants augmentation, shift, zoom or brightness", spec.views and not changes, ("views",)
    more = spec.views > 8 and not (spec.shift or spec.zoom or spec.brightness)
    yield "augmentation alone has eight views, the symmetries", changes and more, ("views", "augmentation")
    mixes = spec.mixup or spec.cutmix
    yield (
        "views does not go with mixup and cutmix, which blend new pairs in each epoch",
        spec.views and mixes,
        (*("views", "mixup", "cutmix"),),
    )
    thaws = spec.unfrozen_blocks == "all"
    yield "views wants frozen blocks, which they spare", spec.views and thaws, ("views", "unfrozen_blocks")
    staged = spec.views and spec.unfreeze_stages
    yield "views does not go with unfreeze_stages", staged, ("views", "unfreeze_stages")
    yield "an image is blended by mixup or by cutmix", spec.mixup and spec.cutmix, ("mixup", "cutmix")


def _depth(spec: Any) -> Rules:
    alone = spec.learning_rate_decay != 1.0 and spec.unfrozen_blocks == 0
    yield (
        "learning_rate_decay wants unfrozen blocks: a head alone has one learning rate",
        alone,
        (*("learning_rate_decay", "unfrozen_blocks"),),
    )
    bounded = spec.learning_rate_decay != 1.0 and spec.optimizer == "adafactor"
    yield (
        "learning_rate_decay does not go with adafactor, which bounds the rate of each step itself",
        bounded,
        ("learning_rate_decay", "optimizer"),
    )
    depths = stages.depths_of(spec.unfreeze_stages)
    other = bool(depths) and depths[-1] != spec.unfrozen_blocks
    yield "the last of unfreeze_stages must be unfrozen_blocks", other, ("unfreeze_stages", "unfrozen_blocks")
    more = len(depths) > spec.num_epochs
    yield "unfreeze_stages must be no more stages than epochs", more, ("unfreeze_stages", "num_epochs")
    clashes = [name for name in ("early_stopping", "average_epochs", "ema_momentum") if getattr(spec, name)]
    clashes += ["scored_epoch"] if spec.scored_epoch == "best" else []
    yield (
        "unfreeze_stages, of which the last one's weights count, goes with neither early_stopping, nor "
        "scored_epoch=best, nor average_epochs, nor ema_momentum",
        depths and clashes,
        ("unfreeze_stages", *clashes),
    )


def _parts(spec: Any) -> Rules:
    yield "num_folds must be 0 or at least 2", spec.num_folds == 1, ("num_folds",)
    beyond = spec.fold >= max(1, spec.num_folds)
    yield "fold must be below num_folds", beyond, ("fold", "num_folds")
    yield "num_folds does not go with the dataset's own split", spec.num_folds and spec.official_split, ("num_folds",)


ON_FEATURES: Final[Mapping[str, Any]] = {
    **{"weights": "given", "unfrozen_blocks": 0, "preprocessing": "divide_by_255", "fit": "resize"},
    **{"precision": "float32", "augmentation": False, "shift": 0.0, "zoom": 0.0, "brightness": 0.0},
    **{"mixup": 0.0, "cutmix": 0.0, "views": 0, "test_time_augmentation": False, "unfreeze_stages": ""},
    **{"learning_rate_decay": 1.0, "unfrozen_batchnorm": "train"},
}
"""What fields are where features are given: no image is read, and there are no blocks."""


def _given(spec: Any) -> Rules:
    if spec.backbone.partition(":")[0] == "features":
        for name, value in ON_FEATURES.items():
            wrong = getattr(spec, name) != value
            yield f"on given features, which no image enters, {name} must be {_text(value) or 'empty'}", wrong, (name,)
    none = spec.weights == "given" and spec.backbone.isidentifier() and spec.backbone != "features"
    yield "weights=given is of given features, or of a network of your own", none, ("weights", "backbone")
