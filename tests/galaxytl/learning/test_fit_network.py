"""After which epochs of a network a checkpoint is written; tests/galaxytl/test_training.py has trials go on from it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from galaxytl.learning import fit_network
from galaxytl.trial import TrialSpec

SPEC = TrialSpec(dataset="", dataset_fingerprint="", num_epochs=2)
LARGE = fit_network.SMALL_BYTES // fit_network.FLOAT_BYTES + 1


def due(num_weights: int, num_epochs: int, spec: TrialSpec = SPEC) -> bool:
    pace = fit_network._Pace([SimpleNamespace(shape=(num_weights - 1, 1)), SimpleNamespace(shape=())])
    return pace.is_due(spec, [{"epoch": number + 1, "val_loss": 1.0} for number in range(num_epochs)])


def test_a_small_checkpoint_is_written_after_every_epoch_and_a_large_one_when_time_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fit_network, "CHECKPOINT_SECONDS", math.inf)
    assert [due(LARGE - 1, number) for number in (1, 2)] == [True, True]
    assert [due(LARGE, number) for number in (1, 2)] == [False, False]
    monkeypatch.setattr(fit_network, "CHECKPOINT_SECONDS", 0.0)
    assert [due(LARGE, number) for number in (1, 2)] == [True, False]  # after the last epoch nobody goes on from it


def test_the_last_checkpoint_of_a_search_is_for_the_trial_that_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_network, "CHECKPOINT_SECONDS", math.inf)
    spec = SPEC.replace(validation_fraction=0.1, scored_on="validation")
    assert [due(LARGE, number, spec) for number in (1, 2)] == [False, True]
    stopped = spec.replace(num_epochs=9, early_stopping=1)  # after its second epoch, which is no better
    assert [due(LARGE, number, stopped) for number in (1, 2)] == [False, True]
