"""The seeds of one setting together: their mean, how sure that is, and how many of them collapsed.

point = Point.of(results)                 # of trials that differ in nothing but the seed
point.mean, point.low_high                # 0.71, (0.69, 0.74)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.trials.endings import share
from analysis.trials.starts import is_collapsed, is_paper_setting
from galaxytl.trial import COMPLETE, FAILED, TrialResult


@dataclass(frozen=True)
class Point:
    """Trials that differ in nothing but the seed."""

    complete: tuple[TrialResult, ...]
    num_failed: int = 0

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> Point:
        rows = tuple(results)
        return cls(tuple(r for r in rows if r.status == COMPLETE), sum(r.status == FAILED for r in rows))

    @property
    def accuracies(self) -> tuple[float, ...]:
        return tuple(r.metrics["accuracy"] for r in self.complete)

    @property
    def mean(self) -> float:
        """NaN where none is complete, so that a line has a gap there."""
        return statistics.fmean(self.accuracies) if self.complete else math.nan

    @property
    def low_high(self) -> tuple[float, float] | None:
        """The range of the seeds: no interval of a mean suits seeds of which some collapse and some do not. Of one
        seed, the interval over its images, where their number is recorded."""
        if len(self.complete) > 1:
            return min(self.accuracies), max(self.accuracies)
        found = share(self.complete[0]) if self.complete else None
        return (found.interval.low, found.interval.high) if found else None

    @property
    def num_collapsed(self) -> int:
        return sum(map(is_collapsed, self.complete))

    @property
    def has_all_collapsed(self) -> bool:
        return bool(self.complete) and self.num_collapsed == len(self.complete)

    @property
    def has_some_collapsed(self) -> bool:
        """And some not."""
        return 0 < self.num_collapsed < len(self.complete)

    @property
    def is_paper_setting(self) -> bool:
        return any(is_paper_setting(r.spec) for r in self.complete)


def seeds_note(points: Iterable[Point]) -> str:
    """Return how many seeds the points are of, and what their bars are."""
    numbers = sorted({len(point.complete) for point in points if point.complete})
    several = [number for number in numbers if number > 1]
    span = f"{several[0]} to {several[-1]}" if len(several) > 1 else "".join(map(str, several))
    texts = [f"means of {span} seeds, bars: their range"] if several else []
    texts += ["one seed: bar of 95 % over its images (Wilson 1927)"] if 1 in numbers else []
    return "; ".join(texts)


def part_text(results: Sequence[TrialResult]) -> str:
    """Return the part that the trials are scored on, for an axis."""
    return f"accuracy on the {results[0].spec.scored_on} part"
