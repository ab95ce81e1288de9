from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.results import models
from galaxytl.results.models import WeightsGoneError, drop_models, model_name, read_model, store_model
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1)
ARRAYS = {"head.0": np.arange(6, dtype=np.float32).reshape(3, 2), "head.1": np.zeros(2, np.float32)}


def result(seed: int, accuracy: float, loss: float = 1.0, **fields: Any) -> TrialResult:
    epoch = {"epoch": 1, "loss": 1.0, "val_accuracy": accuracy, "val_loss": loss}
    spec = SPEC.replace(seed=seed, **fields)
    watched: Any = "validation" if spec.validation_fraction else "test"
    return TrialResult(spec=spec, status=COMPLETE, history=(epoch,), curves_on=watched)


def test_weights_come_back_as_they_were_and_only_their_own_trials(tmp_path: Path) -> None:
    store_model(tmp_path, SPEC, ARRAYS)
    found = read_model(tmp_path / model_name(SPEC), SPEC)
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[name], value) for name, value in ARRAYS.items())
    other = SPEC.replace(seed=1)
    os.rename(tmp_path / model_name(SPEC), tmp_path / model_name(other))
    with pytest.raises(WeightsGoneError, match="it holds another trial's"):
        read_model(tmp_path / model_name(other), other)


@pytest.mark.parametrize("damage", ["cut", "none", "text"])
def test_damaged_weights_are_an_error_in_a_sentence(tmp_path: Path, damage: str) -> None:
    store_model(tmp_path, SPEC, ARRAYS)
    path = tmp_path / model_name(SPEC)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "none": b"", "text": b"no weights"}[damage])
    with pytest.raises(WeightsGoneError, match=f"the weights of trial {SPEC.trial_id} cannot be read"):
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
