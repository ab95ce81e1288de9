"""What can be said of a statement of the paper, and by which rule.

    judged = Judged("MobileNet is better than ResNet50", "Table 1", CONFIRMED, "0.198 [0.181 to 0.215]")

CONFIRMED     the test over seeds (by Holm's method within the claim's family) decides on the claimed side, with three
              seeds or more of each setting; of arithmetic: the printed numbers agree to their last digit
COMPATIBLE    of arithmetic alone: what is printed agrees with the claim, and would agree with other ones too, or is of
              one network where the claim is about all of them. It does not prove the claim
CONTRADICTED  as CONFIRMED, on the other side; of arithmetic: the printed numbers cannot all be right
NOT_CONFIRMED neither: the numbers allow the claim and its opposite (`reason` "undecided"), or leave no difference that
              matters ("equivalent"), or are of so few seeds that they speak of these networks alone ("few seeds")
NOT_TESTABLE  there is nothing to judge by: trials are missing, galaxies are simulated, or random weights stand in for
              ImageNet's. What such trials show is then said, and changes nothing in the verdict.

What is claimed of a setting (a network, a start, an optimizer) is claimed of all networks that it would train: one seed
a setting shows two networks, and a test over their images says which of these two is better, however much the next seed
would differ. One claim is about single networks: that none can be trained, which one that learned contradicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS

Verdict = Literal["CONFIRMED", "COMPATIBLE", "NOT_CONFIRMED", "CONTRADICTED", "NOT_TESTABLE"]
CONFIRMED: Final = "CONFIRMED"
COMPATIBLE: Final = "COMPATIBLE"
NOT_CONFIRMED: Final = "NOT_CONFIRMED"
CONTRADICTED: Final = "CONTRADICTED"
NOT_TESTABLE: Final = "NOT_TESTABLE"
VERDICTS: Final[tuple[Verdict, ...]] = (CONFIRMED, COMPATIBLE, NOT_CONFIRMED, CONTRADICTED, NOT_TESTABLE)

LEVEL: Final = 1 - CONFIDENCE
"""Of the tests; a convention."""

About = Literal["settings", "networks", "paper"]
"""Whether numbers speak of settings, of single trained networks, or of what the paper prints."""
SETTINGS: Final = "settings"
NETWORKS: Final = "networks"
PAPER: Final = "paper"

Reason = Literal["", "few seeds", "equivalent", "undecided"]
"""Why a claim is NOT_CONFIRMED; of other verdicts empty."""
FEW_SEEDS: Final = "few seeds"
EQUIVALENT: Final = "equivalent"
UNDECIDED: Final = "undecided"


@dataclass(frozen=True)
class Judged:
    """One statement of the paper, in our words, where it stands there, and what the numbers say of it."""

    claim: str
    where: str
    """Section, table or figure of the paper."""
    verdict: Verdict
    evidence: str
    about: About = PAPER
    """What the evidence speaks of."""
    seeds: tuple[tuple[str, int], ...] = ()
    """Names of the settings, as in ("MobileNet, ImageNet ON", 3), and how many seeds each has, 0 where its trials are
    missing; none of arithmetic."""
    reason: Reason = ""

    @property
    def has_trials(self) -> bool:
        """Whether there are trials of all that it is about; of arithmetic there are none."""
        return bool(self.seeds) and all(number for _, number in self.seeds)


def verdict_of(agrees: bool) -> Verdict:
    """Return the verdict of arithmetic, which leaves no doubt."""
    return CONFIRMED if agrees else CONTRADICTED


def subject_of(seeds: Collection[int]) -> About:
    """Return what numbers speak of that come from so many seeds of each setting; of none, nothing is known."""
    return SETTINGS if seeds and min(seeds) >= MIN_SEEDS else NETWORKS


def of_settings(verdict: Verdict, seeds: Collection[int]) -> Verdict:
    """Return the verdict, if so many seeds of each setting can bear it: fewer than MIN_SEEDS decide nothing."""
    return NOT_CONFIRMED if verdict in (CONFIRMED, CONTRADICTED) and subject_of(seeds) == NETWORKS else verdict


def verdict_by_test(value: float, p_value: float, seeds: Collection[int]) -> Verdict:
    """Return that of a claim that a difference between settings is positive.

    `p_value`, two-sided, is Holm's within the claim's family; `seeds` says how many each of the settings has.
    """
    if not p_value < LEVEL or not value:  # a p-value that is NaN decides nothing
        return NOT_CONFIRMED
    return of_settings(CONFIRMED if value > 0 else CONTRADICTED, seeds)


def verdict_of_all(verdicts: Iterable[Verdict]) -> Verdict:
    """Return that of a claim that says several things at once: one that is wrong makes it wrong, each must be right.

    >>> verdict_of_all(["CONFIRMED", "NOT_CONFIRMED"])
    'NOT_CONFIRMED'
    """
    found = set(verdicts)
    order: tuple[Verdict, ...] = (CONTRADICTED, NOT_TESTABLE, NOT_CONFIRMED, COMPATIBLE, CONFIRMED)
    return next((verdict for verdict in order if verdict in found), NOT_TESTABLE)


def count_verdicts(judged: Iterable[Judged]) -> str:
    """
    >>> count_verdicts([Judged("", "", "CONFIRMED", ""), Judged("", "", "CONFIRMED", "")])
    '2 CONFIRMED'
    """
    counts = Counter(one.verdict for one in judged)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) or "none"
