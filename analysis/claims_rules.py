"""How a claim about trials is concluded: what is said where trials are missing, or are not real.

conclude(claim, where, verdict, evidence, arms)     # NOT_TESTABLE where the galaxies are simulated
lacking(claim, where, compared, [("VGG16", ON)])    # NOT_TESTABLE: which trials are missing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from analysis.arms import Arm
from analysis.comparisons import Compared, Comparison, Estimate
from analysis.verdicts import NOT_TESTABLE, Judged, Verdict, verdict_by_test

Place = tuple[str, str]
"""Backbone and start."""
NOT_REAL: Final = "not testable with"


def conclude(claim: str, where: str, verdict: Verdict, evidence: str, arms: Iterable[Arm | None]) -> Judged:
    """The verdict, if the trials can bear it: on simulated galaxies, or with random weights in place of ImageNet's, no
    claim about Galaxy10 or ImageNet can be tested. What they show is then said, as theirs."""
    results = [result for arm in arms if arm for result in arm.results]
    unreal = ["SIMULATED galaxies"] if any(r.spec.is_simulated for r in results) else []
    unreal += ["random weights in place of ImageNet's"] if any(r.spec.is_substituted for r in results) else []
    if not unreal:
        return Judged(claim, where, verdict, evidence)
    evidence = f"{NOT_REAL} {' and '.join(unreal)}. These trials alone (by the same rule {verdict}): {evidence}"
    return Judged(claim, where, NOT_TESTABLE, evidence)


def lacking(claim: str, where: str, compared: Compared, wanted: Sequence[Place], also: str = "") -> Judged:
    """NOT_TESTABLE: the arms that are missing; where none is, why they are not compared, or `also`, what they lack."""
    absent = [f"{', '.join(place)}" for place in wanted if not compared.setting.arm(*place)]
    reasons = [f"no trial to judge by: {'; '.join(absent)}"] if absent else [also] if also else []
    return Judged(claim, where, NOT_TESTABLE, ". ".join([*reasons, *compared.skipped]) or "nothing to judge by")


def decide(estimate: Estimate, sign: int = 1) -> Verdict:
    """Of a claim that the difference, times `sign`, is positive."""
    return verdict_by_test(sign * estimate.value, estimate.adjusted)


def in_words(found: Comparison) -> str:
    return f"{found.name}: {found.accuracy}, {p_text(found.accuracy)} ({found.method})"


def p_text(estimate: Estimate) -> str:
    """
    >>> from analysis.statistics.intervals import Interval
    >>> p_text(Estimate(0.1, Interval(0.05, 0.15), 1e-9, 3e-9)), p_text(Estimate(0.1, Interval(-0.05, 0.2), 0.2, 0.6))
    ('p < 0.001', 'p = 0.600')
    """
    return "p < 0.001" if estimate.adjusted < 0.001 else f"p = {estimate.adjusted:.3f}"
