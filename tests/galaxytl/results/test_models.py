from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.results import models
from galaxytl.results.models import MOST_UNRANKED, ModelError, best, drop_models, model_name, read_model, store_model
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1)
ARRAYS = {"head.0": np.arange(6, dtype=np.float32).reshape(3, 2), "head.1": np.zeros(2, np.float32)}


def result(seed: int, accuracy: float, loss: float = 1.0, **fields: Any) -> TrialResult:
    epoch = {"epoch": 1, "loss": 1.0, "val_accuracy": accuracy, "val_loss": loss}
    spec = SPEC.replace(seed=seed, **fields)
    watched: Any = "validation" if spec.validation_fraction else "test"
    return TrialResult(spec=spec, status=COMPLETE, history=(epoch,), curves_on=watched)


def test_the_best_are_the_most_accurate_on_the_validation_part_then_those_of_least_loss() -> None:
    good, equal, bad = result(0, 0.8, 0.5), result(1, 0.8, 0.4), result(2, 0.3)
    failed = TrialResult(spec=SPEC.replace(seed=3), status=FAILED)
    assert best([bad, good, failed, equal], 2) == [equal, good]
    assert best([bad, good, failed, equal], None) == [bad, good, equal]
    assert best([bad, good], 0) == []


def test_of_a_search_the_trial_with_the_test_score_stands_for_its_twin() -> None:
    twins = [result(0, 0.8, scored_on=part) for part in ("validation", "test")]
    assert best(twins, 1) == best(twins[::-1], 1) == [twins[1]]


def test_the_test_part_ranks_nobody() -> None:
    unranked = [result(seed, seed / 100, validation_fraction=0.0) for seed in range(MOST_UNRANKED + 3)]
    assert best(unranked, 1) == unranked[:MOST_UNRANKED]
    assert best([*unranked, result(50, 0.1)], 1)[0].spec.validation_fraction


def test_weights_come_back_as_they_were_and_only_their_own_trials(tmp_path: Path) -> None:
    store_model(tmp_path, SPEC, ARRAYS)
    found = read_model(tmp_path / model_name(SPEC), SPEC)
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[name], value) for name, value in ARRAYS.items())
    other = SPEC.replace(seed=1)
    os.rename(tmp_path / model_name(SPEC), tmp_path / model_name(other))
    with pytest.raises(ModelError, match="it holds another trial's"):
        read_model(tmp_path / model_name(other), other)


@pytest.mark.parametrize("damage", ["cut", "none", "text"])
def test_damaged_weights_are_an_error_in_a_sentence(tmp_path: Path, damage: str) -> None:
    store_model(tmp_path, SPEC, ARRAYS)
    path = tmp_path / model_name(SPEC)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "none": b"", "text": b"no weights"}[damage])
    with pytest.raises(ModelError, match=f"the weights of trial {SPEC.trial_id} cannot be read"):
        read_model(path, SPEC)


def test_a_full_disk_costs_the_weights_not_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models, "write_atomically", fails)
    store_model(tmp_path, SPEC, ARRAYS)
    assert "could not be kept" in capsys.readouterr().out


def test_the_weights_of_others_are_removed(tmp_path: Path) -> None:
    stays, goes = result(0, 0.5), result(1, 0.4)
    for one in (stays, goes):
        store_model(tmp_path, one.spec, ARRAYS)
    assert drop_models(tmp_path, [stays]) == [model_name(goes.spec)]
    assert [path.stem for path in (tmp_path / "models").iterdir()] == [stays.trial_id]
