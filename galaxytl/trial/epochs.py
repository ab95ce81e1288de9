"""When a trial has trained for long enough, and the weights of which epoch are scored.

    is_over(spec, history), scored_epoch(spec, history)         # while it trains: after the epochs of its history
    scored_values(result), ending_text(result)                  # of a row

`early_stopping` has the rule of keras.callbacks.EarlyStopping (Keras 3.15.1) with min_delta=0, monitor="val_loss" and
patience: an epoch whose loss is below that of all before it starts the count anew, any other adds one, and nothing
stops after the first epoch. `scored_epoch=best` is its restore_best_weights. The one difference: with Keras no loss is
below a first one that is NaN; here a loss that is no finite number is no improvement, and hides none.

Both go by the validation part, which the rules of a trial demand: never by the test part. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from galaxytl.trial.result import COMPLETE, TrialResult
from galaxytl.trial.spec import TrialSpec

History = Sequence[Mapping[str, float]]
"""A dict an epoch, the first one's first."""


def is_over(spec: TrialSpec, history: History) -> bool:
    """Return whether a trial with these epochs trains no further: it has all of them, or `early_stopping` ends it."""
    return len(history) >= spec.num_epochs or is_stopped(spec, history)


def is_stopped(spec: TrialSpec, history: History) -> bool:
    """Return whether `early_stopping` ends a trial with these epochs."""
    if not spec.early_stopping or len(history) < 2:
        return False
    return len(history) - best_epoch(history) >= spec.early_stopping


def best_epoch(history: History) -> int:
    """Return the number of the epoch with the lowest finite loss on the watched part, the first of equals; 0 if no
    epoch has one."""
    losses = [epoch.get("val_loss", math.nan) for epoch in history]
    finite = [loss for loss in losses if math.isfinite(loss)]
    return losses.index(min(finite)) + 1 if finite else 0


def scored_epoch(spec: TrialSpec, history: History) -> int:
    """Return the number of the epoch whose weights are scored if these are all: the best where the spec asks for it and
    there is one, else the last; 0 without epochs."""
    best = best_epoch(history) if spec.scored_epoch == "best" else 0
    return best or len(history)


def chooses_epoch(spec: TrialSpec) -> bool:
    """Return whether the epoch that is scored is known only when the trial has ended."""
    return bool(spec.early_stopping) or spec.scored_epoch == "best"


def scored_values(result: TrialResult) -> Mapping[str, float]:
    """Return the epoch of a row's history whose weights are scored, or that it came to; {} without a history.

    Of a mean over epochs, which no epoch watched: the last one, with the scores of the mean where they are of the
    validation part."""
    number = result.epoch_scored
    last = result.history[-1] if result.history else {}
    epoch = next((one for one in result.history if one.get("epoch") == number), last) if number else last
    if result.spec.average_epochs and result.spec.scored_on == "validation" and result.is_scored:
        return {**epoch, "val_accuracy": result.metrics["accuracy"], "val_loss": result.metrics["loss"]}
    return epoch


def ending_text(result: TrialResult) -> str:
    """Return what a reader must know of a COMPLETE trial that is not scored after the last epoch that was planned:
    "stopped after epoch 7 of 20, epoch 4 scored"; "" of any other."""
    planned, done, number = result.spec.num_epochs, len(result.history), result.epoch_scored
    if result.status != COMPLETE or not number or number == planned:
        return ""
    if done >= planned:
        return f"epoch {number} of {planned} scored"
    stopped = f"stopped after epoch {done} of {planned}"
    return stopped if number == done else f"{stopped}, epoch {number} scored"
