"""What came of a trial: `TrialResult`, which is a row of trials.jsonl, and how rows of all versions are read.

Standard library only, as all of `galaxytl.trial`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_type_hints

from galaxytl.system.confusion import Counts, as_json
from galaxytl.system.foreign_text import visible_values
from galaxytl.system.row_fields import RowError, check_unknown, reader_of
from galaxytl.system.strict_json import shown
from galaxytl.trial.convexity import is_convex
from galaxytl.trial.rules import SpecError
from galaxytl.trial.spec import ADDED, SPEC_FIELDS, TrialSpec, trial_id_of

SCHEMA = 3
"""Of a row in trials.jsonl; raised when a reader of the old rows would misunderstand the new ones. A further field of
TrialSpec or TrialResult is no reason: see there."""

DAMAGE: Final = "data_damage"
"""In a result's environment: what is wrong with the dataset, where its user accepted it."""

COMPLETE: Final = "COMPLETE"
FAILED: Final = "FAILED"
PRUNED: Final = "PRUNED"
TEXTS = ("status", "message", "curves_on", "class_names", "environment", "probabilities", "started")
"""Fields of a result that hold texts; of the others only names that are known are read."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What one trial gave. A failed trial has a `message` and whatever it had measured before it failed."""

    spec: TrialSpec
    status: Literal["COMPLETE", "FAILED", "PRUNED"]
    message: str = ""
    """Why a trial FAILED or was PRUNED, for people."""
    history: tuple[dict[str, float], ...] = ()
    """A dict an epoch: epoch (from 1), loss (of what is trained on: with class weights, smoothed targets, the focal
    loss), accuracy, val_loss (the plain cross-entropy always), val_accuracy, val_top_share (the share of the most
    predicted class among the predictions), seconds; resumed (1) where an interrupted trial went on from a checkpoint:
    its timings are of what came since."""
    curves_on: Literal["test", "validation"] = "test"
    """The split that val_loss and val_accuracy of the history were measured on."""
    metrics: dict[str, float] = field(default_factory=dict)
    """On the part that the spec is `scored_on`; `galaxytl.learning.metrics.evaluate` lists the names."""
    confusion: Counts = ()
    """(C, C) counts on that part: rows are true classes, columns predicted ones."""
    class_names: tuple[str, ...] = ()
    num_images: dict[str, int] = field(default_factory=dict)
    """Images in "train", "validation" and "test"."""
    num_parameters: dict[str, int] = field(default_factory=dict)
    """Weights in all ("total") and weights that were trained ("trainable")."""
    diagnostics: tuple[dict[str, Any], ...] = ()
    """What the gradients did, where the sweep asked for it (`galaxytl.learning.diagnostics`): a dict for the start
    (epoch 0) and one after each epoch, all of the same training images: epoch, loss, logit_spread, and by layer, from
    input to output, gradient_norms and dead_shares."""
    certificate: dict[str, float] = field(default_factory=dict)
    """Of a head on frozen features, where the sweep asked for it: the optimum of its training loss, and how far the
    trial is above it (`galaxytl.learning.certificate`), with the weights that its optimizer came to last: what is
    scored may be an average, or of an earlier epoch."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds: data, build, features, train, evaluate, diagnostics, total. Of heads trained together, each has an equal
    share."""
    num_fused: int = 1
    """How many heads were trained in the same pass; 1: trained alone."""
    multiply_adds: dict[str, float] = field(default_factory=dict)
    """Executed in features, train and evaluate: a trained step counts 3 forward passes. Shared as the timings are."""
    environment: dict[str, str] = field(default_factory=dict)
    """device, host, versions of python and of the packages that computed this; DAMAGE, where there is any."""
    probabilities: str = ""
    """Parquet file of that part's class probabilities, relative to the results folder."""
    started: str = ""
    """ISO 8601, UTC."""
    epoch_scored: int = 0
    """Number of the epoch whose weights are scored and kept, of a COMPLETE trial that `early_stopping` may end or whose
    `scored_epoch` is the best (`galaxytl.trial.epochs`); 0 of others, and of rows of before: all epochs are trained,
    and it is the last."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the row of a later version says beyond these, by name: kept where the row is written again, and not used. A
    further field needs nothing but a default, and a reader of its annotation (`galaxytl.system.row_fields`)."""

    def __post_init__(self) -> None:
        """Make texts visible: they may be others', or an error's."""
        for name in TEXTS:
            object.__setattr__(self, name, visible_values(getattr(self, name)))

    @property
    def trial_id(self) -> str:
        return self.spec.trial_id

    @property
    def is_scored(self) -> bool:
        """Whether it is COMPLETE and has what trials are compared by; of a sweep's own rows all that are COMPLETE."""
        accuracy = self.metrics.get("accuracy", math.nan)
        return self.status == COMPLETE and 0 <= accuracy <= 1 and "loss" in self.metrics

    @property
    def resumed_after(self) -> tuple[int, ...]:
        """The epochs after which the trial was interrupted, as far as an epoch came of it."""
        return tuple(int(epoch["epoch"]) - 1 for epoch in self.history if epoch.get("resumed"))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; NaN and infinity become None, which JSON has."""
        values = {name: getattr(self, name) for name in ("spec", *_READERS)} | {"spec": self.spec.to_dict()}
        values["confusion"] = as_json(self.confusion)
        if not self.epoch_scored:
            del values["epoch_scored"]  # rows of trials that do not use it are as before
        return _without_nan({"schema": SCHEMA, "trial_id": self.trial_id, **values, **self.extra})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> TrialResult:
        """Build a result from a row of this or an earlier version; of a later one, as far as its trial is one of today.

        Raises OtherVersionError, and RowError or SpecError where a field breaks its rule."""
        if not isinstance(row, Mapping):
            raise RowError(f"a row must be an object; got {shown(row)}")
        values = dict(row)
        spec = _spec_of(values.pop("schema", None), values.pop("trial_id", None), values.pop("spec", None))
        known = {name: read(name, values.pop(name)) for name, read in _READERS.items() if name in values}
        if "status" not in known:
            raise RowError("a row must have a status; got none")
        confusion, class_names = known.get("confusion", ()), known.get("class_names", ())
        if confusion and class_names and len(confusion) != len(class_names):
            raise RowError(f"confusion must have a line a class, {len(class_names)}; got {len(confusion)}")
        check_unknown(values)
        if not is_convex(spec):
            known.pop("certificate", None)  # earlier versions gave some, of a loss that was not the trial's
        return cls(spec=spec, extra=values, **known)


_READERS: Final = {
    name: reader_of(annotation)
    for name, annotation in get_type_hints(TrialResult).items()
    if name not in ("spec", "extra")
}


class OtherVersionError(RowError):
    """A row is sound, but of a kind of trial that only a later version knows: `what` it has that is not known here."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a row must be of a trial that this version knows; got {what}")
        self.what = what


_SINCE_SCHEMA_2: Final = {"unfrozen_batchnorm": "train", "precision": "float32"}
_SINCE_SCHEMA_3: Final = {
    **{"scored_on": "test", "augmentation": False, "class_weighting": "none"},
    **{"head_units": 0, "head_dropout": 0.0},
}
BEFORE: Final[Mapping[int, Mapping[str, Any]]] = {
    1: {"group_by_sky": False, "groups_fingerprint": "", **_SINCE_SCHEMA_2, **_SINCE_SCHEMA_3},
    2: _SINCE_SCHEMA_3,
    3: {},
}
"""By schema: fields that its rows lack, the first of them or all, and what trials did then."""


def _spec_of(schema: Any, trial_id: Any, values: Any) -> TrialSpec:
    """Read the spec of a row. Its trial_id is the hash of the spec as it stands there, whatever version wrote it."""
    if type(schema) is int and schema > SCHEMA:
        raise OtherVersionError(f"schema {schema}")
    if type(schema) is not int or schema not in BEFORE:
        raise RowError(f"a row must have a schema from 1 to {SCHEMA}; got {shown(schema)}")
    if type(values) is not dict:
        raise RowError(f"spec must be an object; got {shown(values)}")
    check_unknown(values)
    if trial_id != (wanted := trial_id_of(values)):
        raise RowError(f"trial_id must be the hash of the row's spec; got {shown(trial_id)} for {wanted}")
    if unknown := values.keys() - SPEC_FIELDS.keys():
        raise OtherVersionError(", ".join(shown(name).strip("'") for name in sorted(unknown)[:5]))
    complete = {**ADDED, **BEFORE[schema], **values}
    if missing := [name for name in SPEC_FIELDS if name not in complete]:
        raise RowError(f"the spec of a row of schema {schema} must have {missing[0]}; got none")
    try:
        spec = TrialSpec(**complete)
    except SpecError as error:
        if later := _later_choices(values):
            raise OtherVersionError(", ".join(later)) from error
        raise
    if len(complete) == len(values) + len(ADDED) and schema == SCHEMA:
        spec.__dict__["trial_id"] = trial_id  # as the property would keep it: the same hash
    if schema == 2 and spec.unfrozen_blocks not in (0, "all") and not spec.backbone.startswith("VGG"):
        raise RowError(
            "a row of schema 2 must say in which mode the BatchNorm of its frozen blocks was (the first version with "
            f"such trials had them train); got unfrozen_blocks={spec.unfrozen_blocks} of {shown(spec.backbone)}"
        )
    return spec


def _later_choices(values: Mapping[str, Any]) -> list[str]:
    """Return what a later version offers besides the choices of today."""
    choices = {name: rule.metadata["choices"] for name, rule in SPEC_FIELDS.items() if "choices" in rule.metadata}
    return [
        f"{name} {shown(values[name])}"
        for name, known in choices.items()
        if type(values.get(name)) is str and values[name] not in known
    ]


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return value
