"""Trials that differ in a field of a later version are other settings, in every table, and are named by it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from analysis.claims.arms import trial_settings
from analysis.collapse.settings import OPTIMIZER_FIELDS, key_without
from analysis.scores.all_pairs import settings_in
from analysis.scores.folds import cross_validated
from analysis.scores.splits import replicated
from analysis.trials.comparable import comparable
from analysis.trials.load import AnalysisError, Trials
from analysis.trials.repeats import repeats_of
from analysis.trials.starts import NOT_OF_TRAINING, is_paper_setting
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import ADDED, TrialResult, TrialSpec
from sweep.progress.terminal import brief_label, trial_label, varied_fields
from tests.analysis.fakes import make_result, make_spec

CHANGES: dict[str, dict[str, Any]] = {
    "num_classes": {"num_classes": 11},
    "targets": {"targets": "votes"},
    "fit": {"fit": "crop"},
    "group_by": {"group_by": "plate"},
    "official_split": {"official_split": "abc"},
    "num_folds": {"num_folds": 5},
    "fold": {"num_folds": 5, "fold": 1},
    "shift": {"shift": 0.1},
    "zoom": {"zoom": 0.1},
    "brightness": {"brightness": 0.1},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "views": {"views": 4, "shift": 0.1},
    "test_time_augmentation": {"test_time_augmentation": True},
    "schedule": {"schedule": "cosine"},
    "warmup_epochs": {"warmup_epochs": 2.0},
    "warmup_steps": {"warmup_steps": 100},
    "learning_rate_floor": {"learning_rate_floor": 0.1, "schedule": "cosine"},
    "step_epochs": {"step_epochs": 5.0, "schedule": "step"},
    "step_factor": {"step_factor": 0.5, "step_epochs": 5.0, "schedule": "step"},
    "learning_rate_decay": {"learning_rate_decay": 0.9, "unfrozen_blocks": 2},
    "unfreeze_stages": {"unfreeze_stages": "0,1,2", "unfrozen_blocks": 2},
    "nesterov": {"nesterov": True, "optimizer": "sgd", "momentum": 0.9},
    "clipnorm": {"clipnorm": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "clipvalue": {"clipvalue": 0.5},
    "ema_momentum": {"ema_momentum": 0.99},
    "average_epochs": {"average_epochs": 3},
    "early_stopping": {"early_stopping": 3},
    "scored_epoch": {"scored_epoch": "best"},
    "label_smoothing": {"label_smoothing": 0.1},
    "focal_gamma": {"focal_gamma": 2.0},
}
"""Each field of a later version with a value of it, and what that value wants beside it."""


def pair(name: str) -> tuple[TrialSpec, TrialSpec]:
    """Specs that differ in the field, or in whether there is what it belongs to, and in nothing else."""
    beside = {field: value for field, value in CHANGES[name].items() if field != name}
    beside = {} if name in ("views", "step_epochs") else beside  # one wants the other
    specs = (make_spec(validation_fraction=0.1, **own) for own in (beside, CHANGES[name]))
    first, second = specs
    return first, second


def results_of(name: str) -> list[TrialResult]:
    """Two seeds and two splits of each."""
    return [
        make_result(spec.replace(seed=seed, split_seed=split), num_images={"train": 9, "validation": 1, "test": 3})
        for spec, seed, split in itertools.product(pair(name), range(2), range(2))
    ]


def test_every_later_field_is_here() -> None:
    assert CHANGES.keys() == ADDED.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_trials_that_differ_in_it_are_never_repeats_of_one_setting(name: str) -> None:
    results, (first, second) = results_of(name), pair(name)
    for groups in (
        [own.results for own in repeats_of(results)],
        settings_in(results),
        [arm.results for setting in trial_settings(Trials(tuple(results))) for arm in setting.arms.values()],
        [trials for own in replicated(results) for trials in own.splits.values()],
        [trials for own in cross_validated(results) for trials in own.folds.values()],
    ):
        for own in groups:
            assert len({getattr(result.spec, name) for result in own}) == 1
    names = [own.name for own in repeats_of(results)]
    assert len(set(names)) == len(names) == 4
    chosen = comparable(results, ("learning_rate",), lambda rows: True)
    assert len({getattr(result.spec, name) for result in chosen.results}) == 1
    assert name in chosen.left_out
    assert name in OPTIMIZER_FIELDS or key_without(first, OPTIMIZER_FIELDS) != key_without(second, OPTIMIZER_FIELDS)


@pytest.mark.parametrize("name", CHANGES)
def test_they_are_not_in_one_table_and_their_labels_differ(name: str) -> None:
    first, second = pair(name)
    varied = varied_fields([first, second])
    assert name in varied
    for label in (trial_label, brief_label):
        assert label(first, varied) != label(second, varied)
    if first.unfrozen_blocks == 0:  # Table 1 has no row of others
        with pytest.raises(AnalysisError, match=name):
            fill_cells(Trials((make_result(first), make_result(second))))
    if name not in NOT_OF_TRAINING:
        assert not is_paper_setting(second)
