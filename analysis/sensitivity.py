"""How far a verdict hangs on choices of the test that could have been others.

    found = sensitivity(results, study)
    found[0].rows[4]           # of thresholds 0.95 and 1/2: the verdict, and the shares of those of other halves
    found[0].sentence          # empty where every choice gives the same verdict

The choices are the share of the predictions from which on a network names one class (0.90, 0.95, 0.99), the collapse
rate from which on a setting collapses (1/3, 1/2, 2/3), and which half of the seeds chooses the alternative. Of the
halves all are taken, each once, or, where there are more than MOST_HALVES, as many of them at random (fixed seed).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.collapse import BACKBONE, Arm, CollapseStudy, Rule, Verdict, examine, halves
from galaxytl.trial import TrialResult

SHARES: Final = (0.90, 0.95, 0.99)
HALVES: Final = (1 / 3, 1 / 2, 2 / 3)
MOST_HALVES: Final = 200


@dataclass(frozen=True)
class Row:
    """The verdicts of one pair of thresholds."""

    one_class_share: float
    half: float
    verdict: Verdict
    """With the half of the seeds that the statement has."""
    of_halves: tuple[tuple[Verdict, float], ...]
    """Share of the halves of the seeds that give each verdict, the most common first."""


@dataclass(frozen=True)
class Sensitivity:
    """Of one arm: the verdict as stated, and those of all other choices."""

    arm: str
    verdict: Verdict
    rows: tuple[Row, ...]
    num_halves: int
    are_all_halves: bool

    @property
    def agreement(self) -> float:
        """The share of all choices, thresholds and halves, that give the verdict as stated."""
        return sum(dict(row.of_halves).get(self.verdict, 0.0) for row in self.rows) / len(self.rows)

    @property
    def sentence(self) -> str:
        """What the answer must say; empty where all agree."""
        if self.agreement == 1 and all(row.verdict is self.verdict for row in self.rows):
            return ""
        others: dict[Verdict, float] = {}
        for verdict, share in (pair for row in self.rows for pair in row.of_halves if pair[0] is not self.verdict):
            others[verdict] = others.get(verdict, 0.0) + share / len(self.rows)
        ordered = sorted(others.items(), key=lambda item: (-item[1], item[0].value))
        named = ", ".join(f"{percent(share)} {verdict.value}" for verdict, share in ordered)
        return (
            f"The verdict hangs on choices of the test: of other thresholds and halves of the seeds "
            f"{percent(self.agreement)} give it too, {named}."
        )


def percent(share: float) -> str:
    """
    >>> percent(0.5), percent(0.999), percent(0.001)
    ('50 %', '> 99 %', '< 1 %')
    """
    if 0.99 < share < 1:
        return "> 99 %"
    return "< 1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def sensitivity(results: Sequence[TrialResult], study: CollapseStudy) -> tuple[Sensitivity, ...]:
    """Of every arm that was tested on seeds of its own."""
    arms = [arm for arm in study.arms if arm.alternative and arm.test_seeds]
    own = [r for r in results if r.spec.backbone == BACKBONE]
    numbers = {arm.name: _choices(arm) for arm in arms}
    verdicts: dict[tuple[float, float, int | None], dict[str, Verdict]] = {}
    wanted = [None, *sorted({number for found in numbers.values() for number in found})]
    for share, half, choice in itertools.product(SHARES, HALVES, wanted if arms else ()):
        verdicts[share, half, choice] = _verdicts(own, Rule(share, half, choice))
    return tuple(_sensitivity(arm, numbers[arm.name], verdicts) for arm in arms)


def _verdicts(results: Sequence[TrialResult], rule: Rule) -> dict[str, Verdict]:
    return {arm.name: arm.verdict for arm in examine(results, rule).arms}


def _sensitivity(
    arm: Arm, numbers: Sequence[int], verdicts: dict[tuple[float, float, int | None], dict[str, Verdict]]
) -> Sensitivity:
    rows = []
    for share, half in itertools.product(SHARES, HALVES):
        counts = Counter(verdicts[share, half, number][arm.name] for number in numbers)
        shares = tuple((verdict, count / len(numbers)) for verdict, count in counts.most_common())
        rows.append(Row(share, half, verdicts[share, half, None][arm.name], shares))
    return Sensitivity(arm.name, arm.verdict, tuple(rows), len(numbers), len(numbers) == _number_of_halves(arm))


def _number_of_halves(arm: Arm) -> int:
    return math.comb(len(arm.choice_seeds) + len(arm.test_seeds), len(arm.choice_seeds))


def _choices(arm: Arm) -> list[int]:
    """Numbers that stand for halves of the arm's seeds, each half once."""
    seeds = sorted({*arm.choice_seeds, *arm.test_seeds})
    wanted = min(_number_of_halves(arm), MOST_HALVES)
    found: dict[tuple[int, ...], int] = {}
    for number in itertools.count():
        found.setdefault(halves(seeds, number)[0], number)
        if len(found) == wanted:
            return list(found.values())
    raise AssertionError("every half comes once")
