"""What can be said of a statement of the paper, and by which rule.

    judged = Judged("MobileNet is better than ResNet50", "Table 1", CONFIRMED, "0.198 [0.181, 0.215]")

CONFIRMED     the interval lies, or the test (by Holm's method within the claim's family) decides, on the claimed side;
              of arithmetic: the printed numbers agree to their last digit
CONTRADICTED  the same on the other side; of arithmetic: the printed numbers cannot all be right
NOT_CONFIRMED neither: the numbers allow the claim and its opposite
NOT_TESTABLE  there is nothing to judge by: trials are missing, galaxies are simulated, or random weights stand in for
              ImageNet's. What such trials show is then said, and changes nothing in the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from analysis.statistics.intervals import CONFIDENCE

Verdict = Literal["CONFIRMED", "NOT_CONFIRMED", "CONTRADICTED", "NOT_TESTABLE"]
CONFIRMED: Final = "CONFIRMED"
NOT_CONFIRMED: Final = "NOT_CONFIRMED"
CONTRADICTED: Final = "CONTRADICTED"
NOT_TESTABLE: Final = "NOT_TESTABLE"
VERDICTS: Final[tuple[Verdict, ...]] = (CONFIRMED, NOT_CONFIRMED, CONTRADICTED, NOT_TESTABLE)

LEVEL: Final = 1 - CONFIDENCE
"""Of the tests; a convention."""


@dataclass(frozen=True)
class Judged:
    """One statement of the paper, in our words, where it stands there, and what the numbers say of it."""

    claim: str
    where: str
    """Section, table or figure of the paper."""
    verdict: Verdict
    evidence: str


def verdict_of(agrees: bool) -> Verdict:
    """Of arithmetic, which leaves no doubt."""
    return CONFIRMED if agrees else CONTRADICTED


def verdict_by_test(value: float, p_value: float) -> Verdict:
    """Of a claim that a difference is positive: `p_value`, two-sided, is Holm's within the claim's family."""
    if not p_value < LEVEL or not value:  # a p-value that is NaN decides nothing
        return NOT_CONFIRMED
    return CONFIRMED if value > 0 else CONTRADICTED


def verdict_of_all(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a claim that says several things at once: one that is wrong makes it wrong, each must be right.

    >>> verdict_of_all(["CONFIRMED", "NOT_CONFIRMED"])
    'NOT_CONFIRMED'
    """
    found = set(verdicts)
    order: tuple[Verdict, ...] = (CONTRADICTED, NOT_TESTABLE, NOT_CONFIRMED, CONFIRMED)
    return next((verdict for verdict in order if verdict in found), NOT_TESTABLE)


def count_verdicts(judged: Iterable[Judged]) -> str:
    """
    >>> count_verdicts([Judged("", "", "CONFIRMED", ""), Judged("", "", "CONFIRMED", "")])
    '2 CONFIRMED'
    """
    counts = Counter(one.verdict for one in judged)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) or "none"
