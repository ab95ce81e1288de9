"""A trial is a value: `TrialSpec` says everything that its result depends on, `TrialResult` what came out.

    >>> spec = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", backbone="VGG16", learning_rate=1e-4)
    >>> spec.replace(seed=1).trial_id != spec.trial_id
    True

Standard library only: `analysis` reads results on machines that have no deep-learning framework.
"""

from galaxytl.trial.result import (
    BEFORE,
    COMPLETE,
    DAMAGE,
    FAILED,
    PRUNED,
    SCHEMA,
    OtherVersionError,
    TrialResult,
)
from galaxytl.trial.rules import SpecError
from galaxytl.trial.spec import (
    ADDED,
    FOLD_FIELDS,
    SCALAR_FIELDS,
    SET_BY_SWEEP,
    SPEC_FIELDS,
    SPLIT_FIELDS,
    WHERE_FIELDS_ARE,
    TrialSpec,
    check_field_name,
    parse_field,
    seed_for,
    settable_fields,
)

__all__ = [
    "ADDED",
    "BEFORE",
    "COMPLETE",
    "DAMAGE",
    "FAILED",
    "FOLD_FIELDS",
    "PRUNED",
    "SCALAR_FIELDS",
    "SCHEMA",
    "SET_BY_SWEEP",
    "SPEC_FIELDS",
    "SPLIT_FIELDS",
    "WHERE_FIELDS_ARE",
    "OtherVersionError",
    "SpecError",
    "TrialResult",
    "TrialSpec",
    "check_field_name",
    "parse_field",
    "seed_for",
    "settable_fields",
]
