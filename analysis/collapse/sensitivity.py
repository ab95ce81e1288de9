"""How far a verdict hangs on choices of the test that could have been others.

    found = sensitivity(results, study)
    found[0].rows              # the verdict at each pair of thresholds
    found[0].of_halves         # how many halves of the seeds give which verdict
    found[0].sentence          # empty where every choice gives the same verdict

The choices are the share of the predictions from which on a network names one class (0.90, 0.95, 0.99), the collapse
rate from which on a setting collapses (1/3, 1/2, 2/3), all nine pairs of them, and, at those of the statement, which
half of the seeds chooses the alternative: every half once, or, where there are more than MOST_HALVES, so many of them
at random (fixed seeds).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from analysis.collapse.settings import BACKBONE
from analysis.collapse.verdict import SHARES, CollapseArm, CollapseStudy, Explanation, Rule, halves, study_by_rules
from analysis.trials.endings import ending_of
from galaxytl.trial import TrialResult

HALVES: Final = (1 / 3, 1 / 2, 2 / 3)
HALF_NAMES: Final = dict(zip(HALVES, ("1/3", "1/2", "2/3"), strict=True))
MOST_HALVES: Final = 100


@dataclass(frozen=True)
class ThresholdVerdict:
    """The verdict at a pair of thresholds."""

    one_class_share: float
    half: float
    verdict: Explanation

    @property
    def is_stated(self) -> bool:
        return Rule(self.one_class_share, self.half) == Rule()


@dataclass(frozen=True)
class Sensitivity:
    """Of one arm: the verdict as stated, and those of all other choices."""

    arm: str
    verdict: Explanation
    rows: tuple[ThresholdVerdict, ...]
    of_halves: tuple[tuple[Explanation, int], ...]
    """The most common first; empty where there are no seeds to halve."""
    are_all_halves: bool

    @property
    def num_halves(self) -> int:
        return sum(number for _, number in self.of_halves)

    @property
    def sentence(self) -> str:
        """What the answer must say; empty where all agree."""
        others = Counter(row.verdict for row in self.rows if not row.is_stated)
        parts = [
            f"{_listed(counts, self.verdict)} of {total} {what}"
            for counts, total, what in (
                (others, others.total(), "other pairs of thresholds"),
                (Counter(dict(self.of_halves)), self.num_halves, "halves of the seeds"),
            )
            if set(counts) - {self.verdict}
        ]
        return f"The verdict hangs on choices of the test: {' and '.join(parts)}." if parts else ""


def _listed(counts: Counter[Explanation], stated: Explanation) -> str:
    others = sorted((verdict.value, number) for verdict, number in counts.items() if verdict is not stated)
    return f"it is {', '.join(f'{verdict} at {number}' for verdict, number in others)}"


def sensitivity(results: Sequence[TrialResult], study: CollapseStudy) -> tuple[Sensitivity, ...]:
    """Return that of every arm that was tested."""
    arms = [arm for arm in study.arms if arm.paper]
    own = [r for r in results if r.spec.backbone == BACKBONE]
    if not arms:
        return ()
    numbers = {arm.name: _choices(arm) for arm in arms}
    wanted = sorted({number for found in numbers.values() for number in found})
    at_thresholds = _at_thresholds(own)
    of_halves = _verdicts(own, {number: Rule(choice=number) for number in wanted})
    return tuple(
        Sensitivity(
            arm.name,
            arm.verdict,
            tuple(
                ThresholdVerdict(share, half, verdicts[arm.name]) for (share, half), verdicts in at_thresholds.items()
            ),
            tuple(_counted(of_halves[number][arm.name] for number in numbers[arm.name])),
            len(numbers[arm.name]) == _number_of_halves(arm),
        )
        for arm in arms
    )


def _counted(verdicts: Iterable[Explanation]) -> list[tuple[Explanation, int]]:
    return sorted(Counter(verdicts).items(), key=lambda item: (-item[1], item[0].value))


def _at_thresholds(results: Sequence[TrialResult]) -> dict[tuple[float, float], dict[str, Explanation]]:
    """Return the verdicts at every pair; a share at which every trial ends as at another one is not computed again."""
    ends = {share: tuple(ending_of(r, share).is_collapse for r in results) for share in SHARES}
    first = {share: next(other for other in SHARES if ends[other] == ends[share]) for share in SHARES}
    pairs = list(itertools.product(SHARES, HALVES))
    found = _verdicts(results, {(first[share], half): Rule(first[share], half) for share, half in pairs})
    return {(share, half): found[first[share], half] for share, half in pairs}


Key = TypeVar("Key")


def _verdicts(results: Sequence[TrialResult], rules: Mapping[Key, Rule]) -> dict[Key, dict[str, Explanation]]:
    """Return, of each rule, the verdict of each arm."""
    studies = study_by_rules(results, rules.values())
    return {key: {arm.name: arm.verdict for arm in study.arms} for key, study in zip(rules, studies, strict=True)}


def _number_of_halves(arm: CollapseArm) -> int:
    seeds = len(arm.choice_seeds) + len(arm.test_seeds)
    return math.comb(seeds, len(arm.choice_seeds)) if arm.test_seeds else 0


def _choices(arm: CollapseArm) -> list[int]:
    """Return the numbers that stand for halves of the alternative's seeds, each half once."""
    seeds = sorted({*arm.choice_seeds, *arm.test_seeds})
    wanted = min(_number_of_halves(arm), MOST_HALVES)
    found: dict[tuple[int, ...], int] = {}
    for number in itertools.count():
        if len(found) == wanted:
            break
        found.setdefault(halves(seeds, number)[0], number)
    return list(found.values())
