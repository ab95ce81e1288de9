"""What became of a trial: it learned, or in which way it did not.

    ending_of(result)                          # Ending.ONE_CLASS
    is_one_class_row(0.157, 0.025, 0.043)    # True: scores that a predictor of one class can have

Endings, each measured on the part that the trial is scored on:

    one class    one class takes at least 0.95 of the predictions, which agree with the truth slightly at most
    chance       several classes are predicted, and agree with the truth no more than guessing does
    diverged     the loss became NaN or infinite
    failed       it did not end, for another reason
    learned      anything else

The first two are defined in `galaxytl.results.collapse`, beside what ends a trial early. A trial has *collapsed* if
it is of one class, at chance, or diverged. One that failed for another reason says nothing.
"""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from analysis.statistics.intervals import Interval, Share, binomial_variance
from analysis.statistics.seeds import mean_over_seeds
from galaxytl.results.collapse import ONE_CLASS_SHARE, is_at_chance, is_one_class
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult


class Ending(Enum):
    ONE_CLASS = "one class"
    CHANCE = "chance"
    DIVERGED = "diverged"
    FAILED = "failed"
    LEARNED = "learned"

    @property
    def is_collapse(self) -> bool:
        return self in {Ending.ONE_CLASS, Ending.CHANCE, Ending.DIVERGED}


def ending_of(result: TrialResult, one_class_share: float = ONE_CLASS_SHARE) -> Ending:
    """Return the ending; a trial that was stopped early (PRUNED) or has no confusion matrix counts as failed: its end
    is not known."""
    if result.status == FAILED and result.message.startswith("diverged"):
        return Ending.DIVERGED
    if result.status != COMPLETE or not result.confusion:
        return Ending.FAILED
    return _ending_of_counts(result.confusion, one_class_share)


@functools.lru_cache(maxsize=4096)  # the same trials are looked at again and again, with every choice of a rule
def _ending_of_counts(confusion: tuple[tuple[int, ...], ...], one_class_share: float) -> Ending:
    if is_one_class(confusion, one_class_share):
        return Ending.ONE_CLASS
    return Ending.CHANCE if is_at_chance(confusion) else Ending.LEARNED


def one_class_scores(share: float) -> tuple[float, float, float]:
    """Return accuracy, weighted precision and weighted F1 of naming a class of this share whatever the image.

    Its precision is the share p and its recall 1, all other classes count 0: weighted by p, precision is p^2 and F1
    p * 2p / (1 + p).
    """
    return share, share**2, 2 * share**2 / (1 + share)


def is_one_class_row(accuracy: float, precision: float, f1: float, digits: int = 3) -> bool:
    """Return whether some class share gives all three scores, rounded to so many digits: each says in which range it
    lies."""
    half = 0.5 * 10**-digits
    ranges = [(accuracy - half, accuracy + half)]
    ranges.append((math.sqrt(max(0.0, precision - half)), math.sqrt(precision + half)))
    ranges.append((_share_of_f1(max(0.0, f1 - half)), _share_of_f1(f1 + half)))
    return max(low for low, _ in ranges) <= min(high for _, high in ranges)


def _share_of_f1(f1: float) -> float:
    """Return the p of 2 p^2 / (1 + p) = f1."""
    return (f1 + math.sqrt(f1**2 + 8 * f1)) / 4


def share(result: TrialResult) -> Share | None:
    """Return the images that a COMPLETE trial has right, of those it is scored on; None where their number is not
    recorded."""
    total = result.num_images.get(result.spec.scored_on, 0)
    return Share(round(result.metrics["accuracy"] * total), total) if total else None


def mean_interval(results: Sequence[TrialResult]) -> Interval | None:
    """Return the 95 % interval of the mean accuracy of COMPLETE trials: over seeds and images (Student's t) where there
    are several seeds, else over images (Wilson); None of one trial whose number of images is not recorded, and where an
    accuracy is not a number."""
    values = [r.metrics["accuracy"] for r in results]
    if not values or not all(map(math.isfinite, values)):
        return None
    shares = [share(r) for r in results]
    if len(values) == 1:
        return shares[0].interval if shares[0] else None
    images = min((own.total for own in shares if own), default=0)
    variance = binomial_variance(statistics.fmean(values), images)
    return mean_over_seeds(values, variance).interval.within(0.0, 1.0)


@dataclass(frozen=True)
class StatusCount:
    """How many trials ended in one way, and why: reasons that differ in numbers only count together."""

    status: str
    number: int
    reasons: tuple[tuple[str, int], ...]
    """The most common first."""


def count_by_status(results: Iterable[TrialResult]) -> tuple[StatusCount, ...]:
    """Return counts by status, COMPLETE first; those without trials are left out."""
    found: dict[str, list[TrialResult]] = {status: [] for status in (COMPLETE, PRUNED, FAILED)}
    for result in results:
        found[result.status].append(result)
    return tuple(
        StatusCount(status, len(rows), common_reasons(r.message for r in rows))
        for status, rows in found.items()
        if rows
    )


def common_reasons(messages: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return the messages and how often each occurs, the most common first; numbers and trial_ids in which alike
    messages differ are left out.

    >>> common_reasons(["stopped after epoch 2", "stopped after epoch 6", "no memory on gpu0", ""])
    (('stopped after epoch ...', 2), ('no memory on gpu0', 1))
    """
    alike: dict[str, Counter[str]] = {}
    for message in filter(None, (" ".join(text.split()) for text in messages)):
        alike.setdefault(_VARYING.sub("...", message), Counter())[message] += 1
    counts = Counter({pattern if len(own) > 1 else next(iter(own)): own.total() for pattern, own in alike.items()})
    return tuple(counts.most_common())


_VARYING: Final = re.compile(r"\b[0-9a-f]{16}\b|(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)", re.IGNORECASE)
