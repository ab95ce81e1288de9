"""What became of a trial: it learned, or in which way it did not.

    kind_of(result)                          # Kind.ONE_CLASS
    is_one_class_row(0.157, 0.025, 0.043)    # True: scores that a predictor of one class can have

Kinds, each measured on the part that the trial is scored on:

    one class    one class takes at least 0.95 of the predictions
    chance       several classes are predicted, and Cohen's kappa (1960) is not above what guessing gives: it is below
                 1.96 standard errors under the null hypothesis (Fleiss, Cohen and Everitt 1969, Psychological Bulletin
                 72, 323, eq. 14)
    diverged     the loss became NaN or infinite
    failed       it did not end, for another reason
    learned      anything else

A trial has *collapsed* if it is of one class, at chance, or diverged. One that failed for another reason says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

from analysis.statistics.intervals import Z
from galaxytl.trial import COMPLETE, FAILED, TrialResult

ONE_CLASS_SHARE: Final = 0.95


class Kind(Enum):
    ONE_CLASS = "one class"
    CHANCE = "chance"
    DIVERGED = "diverged"
    FAILED = "failed"
    LEARNED = "learned"

    @property
    def is_collapse(self) -> bool:
        return self in {Kind.ONE_CLASS, Kind.CHANCE, Kind.DIVERGED}


def kind_of(result: TrialResult, one_class_share: float = ONE_CLASS_SHARE) -> Kind:
    """A trial that was stopped early (PRUNED) or has no confusion matrix counts as failed: its end is not known."""
    if result.status == FAILED and result.message.startswith("diverged"):
        return Kind.DIVERGED
    if result.status != COMPLETE or not result.confusion:
        return Kind.FAILED
    if top_share(result.confusion) >= one_class_share:
        return Kind.ONE_CLASS
    kappa, error = cohen_kappa(result.confusion)
    return Kind.LEARNED if kappa > Z * error else Kind.CHANCE


def top_share(confusion: Sequence[Sequence[int]]) -> float:
    """Share of the predictions that the most predicted class takes, of counts (C, C) with true classes in rows."""
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    return max(columns) / sum(columns)


def cohen_kappa(confusion: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Cohen's kappa of counts (C, C), and its standard error where truth and predictions have nothing to do with each
    other; (0, 0) where kappa is undefined, with one class in both."""
    total = sum(map(sum, confusion))
    true = [sum(row) / total for row in confusion]
    predicted = [sum(column) / total for column in zip(*confusion, strict=True)]
    agreed = sum(confusion[i][i] for i in range(len(confusion))) / total
    by_chance = sum(a * b for a, b in zip(true, predicted, strict=True))
    if by_chance >= 1:
        return 0.0, 0.0
    spread = sum(a * b * (a + b) for a, b in zip(true, predicted, strict=True))
    variance = (by_chance + by_chance**2 - spread) / (total * (1 - by_chance) ** 2)
    return (agreed - by_chance) / (1 - by_chance), math.sqrt(max(0.0, variance))


def one_class_scores(share: float) -> tuple[float, float, float]:
    """Accuracy, weighted precision and weighted F1 of naming a class of this share whatever the image.

    Its precision is the share p and its recall 1, all other classes count 0: weighted by p, precision is p^2 and F1
    p * 2p / (1 + p).
    """
    return share, share**2, 2 * share**2 / (1 + share)


def is_one_class_row(accuracy: float, precision: float, f1: float, digits: int = 3) -> bool:
    """Whether some class share gives all three scores, rounded to so many digits: each says in which range it lies."""
    half = 0.5 * 10**-digits
    ranges = [(accuracy - half, accuracy + half)]
    ranges.append((math.sqrt(max(0.0, precision - half)), math.sqrt(precision + half)))
    ranges.append((_share_of_f1(max(0.0, f1 - half)), _share_of_f1(f1 + half)))
    return max(low for low, _ in ranges) <= min(high for _, high in ranges)


def _share_of_f1(f1: float) -> float:
    """The p of 2 p^2 / (1 + p) = f1."""
    return (f1 + math.sqrt(f1**2 + 8 * f1)) / 4
