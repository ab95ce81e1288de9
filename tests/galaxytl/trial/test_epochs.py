"""When training ends, and which epoch is scored: pure functions of a history."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from galaxytl.trial.epochs import best_epoch, ending_text, is_over, is_stopped, scored_epoch, scored_values

SPEC = TrialSpec(
    dataset="simulated", dataset_fingerprint="0" * 64, validation_fraction=0.2, early_stopping=2, scored_epoch="best"
)
NAN, INF = math.nan, math.inf


def history_of(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": i, "val_loss": loss, "val_accuracy": i / 10} for i, loss in enumerate(losses, start=1)]


def stops_after(spec: TrialSpec, *losses: float) -> int:
    """The epochs of a training with these losses."""
    return next(n for n in range(1, len(losses) + 1) if is_over(spec, history_of(*losses[:n])) or n == len(losses))


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_training_stops_where_keras_stops_it_and_the_best_epoch_is_the_one_that_keras_restores(patience: int) -> None:
    spec = SPEC.replace(early_stopping=patience)
    for seed in range(40):
        losses = np.random.default_rng(seed).integers(0, 9, 20).tolist()  # with equal ones
        keras_s = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True, mode="min")
        keras_s.set_model(SimpleNamespace(stop_training=False, get_weights=list, metrics=[]))
        keras_s.on_train_begin()
        for done, loss in enumerate(losses, start=1):
            keras_s.on_epoch_end(done - 1, {"val_loss": loss})
            if keras_s.model.stop_training:
                break
        assert stops_after(spec, *losses) == done
        assert scored_epoch(spec, history_of(*losses[:done])) == keras_s.best_epoch + 1


@pytest.mark.parametrize(
    ("losses", "best", "is_end"),
    [
        ((), 0, False),
        ((NAN,), 0, False),
        ((NAN, INF), 0, True),
        ((NAN, 2.0), 2, False),
        ((1.0, NAN), 1, False),
        ((1.0, NAN, INF), 1, True),
        ((2.0, 1.0, 1.0), 2, False),
        ((2.0, 1.0, 1.0, 1.0), 2, True),
    ],
)
def test_a_loss_that_is_no_finite_number_is_no_improvement_and_hides_none(
    losses: tuple[float, ...], best: int, is_end: bool
) -> None:
    history = history_of(*losses)
    assert (best_epoch(history), is_stopped(SPEC, history)) == (best, is_end)
    assert scored_epoch(SPEC, history) == (best or len(losses))  # with none that is finite, the last


def test_without_the_fields_all_epochs_are_trained_and_the_last_is_scored() -> None:
    spec = SPEC.replace(early_stopping=0, scored_epoch="last", num_epochs=4)
    rising = history_of(1.0, 2.0, 3.0)
    assert (is_over(spec, rising), is_over(spec, history_of(1, 2, 3, 4)), scored_epoch(spec, rising)) == (
        False,
        True,
        3,
    )


@pytest.mark.parametrize(
    ("scored", "done", "text"),
    [
        (4, 7, "stopped after epoch 7 of 20, epoch 4 scored"),
        (7, 7, "stopped after epoch 7 of 20"),
        (4, 20, "epoch 4 of 20 scored"),
        (20, 20, ""),
        (0, 20, ""),
    ],
)
def test_a_row_says_which_epoch_is_scored_where_it_is_not_the_last_that_was_planned(
    scored: int, done: int, text: str
) -> None:
    row = TrialResult(spec=SPEC, status=COMPLETE, history=tuple(history_of(*range(done))), epoch_scored=scored)
    assert ending_text(row) == text
    assert scored_values(row)["epoch"] == (scored or done)
    assert TrialResult.from_dict(row.to_dict()) == row
    assert ("epoch_scored" in row.to_dict()) == bool(scored)  # other rows are written as before
    assert ending_text(TrialResult(spec=SPEC, status=FAILED)) == ""


def test_the_scores_of_a_mean_over_epochs_are_those_of_no_epoch() -> None:
    spec = SPEC.replace(early_stopping=0, scored_epoch="last", average_epochs=2, scored_on="validation")
    row = TrialResult(
        spec=spec, status=COMPLETE, history=tuple(history_of(2, 1)), metrics={"accuracy": 0.75, "loss": 0.5}
    )
    assert scored_values(row) == {"epoch": 2, "val_accuracy": 0.75, "val_loss": 0.5}
