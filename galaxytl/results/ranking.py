"""Which trials are the best: by the validation part, never by the test part. Standard library only.

best(results, most=3)          # whose weights a sweep keeps, and what is exported
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from galaxytl.trial import COMPLETE, TrialResult
from galaxytl.trial.epochs import scored_values

MOST_UNRANKED: Final = 12
"""Trials of a dataset without a validation part whose weights are kept: nothing but the test part could rank them."""


def validation_accuracy(result: TrialResult) -> float | None:
    """Return what the trial had right of its validation part after the epoch that is scored, or its last; None where no
    validation part was watched."""
    if result.curves_on != "validation" or not result.history:
        return None
    accuracy = scored_values(result).get("val_accuracy")
    return accuracy if accuracy is not None and 0 <= accuracy <= 1 else None


def is_ranked(result: TrialResult) -> bool:
    """Return whether a validation part says how good the trial is."""
    return validation_accuracy(result) is not None


def best(results: Iterable[TrialResult], most: int | None) -> list[TrialResult]:
    """Return, of each dataset, the `most` best COMPLETE trials by validation accuracy and the first MOST_UNRANKED of
    those without a validation part, which have no rank; the best first. None: all.

    Trials on different images are never compared."""
    complete = [result for result in results if result.status == COMPLETE]
    if most is None:
        return complete
    stay, numbers = list[TrialResult](), Counter[tuple[str, bool]]()
    in_order = sorted((result for result in complete if is_ranked(result)), key=rank)
    for result in [*in_order, *(result for result in complete if not is_ranked(result))]:
        key = (result.spec.dataset_fingerprint, is_ranked(result))
        numbers[key] += 1
        if numbers[key] <= (most if is_ranked(result) else MOST_UNRANKED if most else 0):
            stay.append(result)
    return stay


def rank(result: TrialResult) -> tuple[float, float, bool, str]:
    """Return what sorts the better of two ranked trials first: by accuracy, then loss, on the validation part. Of a
    trial that a search has scored twice, the one with the test score comes first."""
    accuracy, loss = validation_accuracy(result), scored_values(result).get("val_loss")
    loss = loss if loss is not None and math.isfinite(loss) else math.inf
    return -(accuracy or 0.0), loss, result.spec.scored_on != "test", result.trial_id
