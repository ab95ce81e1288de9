"""How a claim about trials is concluded: what is said where trials are missing, or are not real.

question = Question("VGG16 is better", "Table 1", (("VGG16", ON), ("VGG16", OFF)))
question.conclude(verdict, evidence, arms)     # NOT_TESTABLE where the galaxies are simulated; no side is taken of
                                               # settings that have too few seeds
question.lacking(setting)                      # NOT_TESTABLE: which trials are missing
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from analysis.claims.arms import Arm, TrialSetting
from analysis.claims.comparisons import Comparison, Estimate
from analysis.claims.verdicts import (
    EQUIVALENT,
    FEW_SEEDS,
    LEVEL,
    NETWORKS,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    SETTINGS,
    UNDECIDED,
    Judged,
    Reason,
    Verdict,
    of_settings,
    subject_of,
    verdict_by_test,
)
from analysis.statistics.equivalence import MOST_SEEDS
from analysis.statistics.seeds import MIN_SEEDS
from analysis.statistics.texts import p_digits
from galaxytl.trial import TrialSpec

Place = tuple[str, str]
"""Backbone and start."""
NOT_REAL: Final = "not testable with"
PAPERS_DATA: Final = "galaxy10_decals"
"""What `galaxytl.data.dataset` calls the published set, whichever file holds it."""


@dataclass(frozen=True)
class Question:
    """A claim about trials: its text, where the paper has it, and the networks and starts that it is about."""

    claim: str
    where: str
    places: tuple[Place, ...]

    def arms(self, setting: TrialSetting) -> list[Arm | None]:
        return [setting.arm(*place) for place in self.places]

    def is_lacking(self, setting: TrialSetting) -> bool:
        """Return whether an arm has no trials."""
        return not all(self.arms(setting))

    def conclude(
        self, verdict: Verdict, evidence: str, arms: Iterable[Arm | None], estimates: Sequence[Estimate] = ()
    ) -> Judged:
        """Return what is said of a claim about settings, each of which is one of `arms`, if the trials can bear it.

        Fewer than MIN_SEEDS of one of them decide nothing, however the verdict was come to. `estimates` are what the
        verdict hangs on: they say why a claim is not confirmed.
        """
        own = list(dict.fromkeys(arm for arm in arms if arm))
        seeds = [arm.num_seeds for arm in own]
        verdict = of_settings(verdict, seeds)
        if (about := subject_of(seeds)) == NETWORKS:
            evidence = f"{evidence}. {few_seeds(seeds)}"
        reason = reason_of(verdict, seeds, estimates)
        return _if_real(Judged(self.claim, self.where, verdict, evidence, about, reason=reason), own)

    def conclude_of_networks(self, verdict: Verdict, evidence: str, arms: Iterable[Arm]) -> Judged:
        """Return what is said of a claim that single trained networks decide, whatever other seeds would do."""
        reason: Reason = UNDECIDED if verdict == NOT_CONFIRMED else ""
        return _if_real(Judged(self.claim, self.where, verdict, evidence, NETWORKS, reason=reason), list(arms))

    def lacking(self, setting: TrialSetting, also: str = "", skipped: Iterable[str] = ()) -> Judged:
        """Return NOT_TESTABLE: the arms that are missing, or why those that have trials are not used; where none is
        missing, why they are not compared (`skipped`), or `also`, what they lack."""
        seeds = {
            ", ".join(place): arm.num_seeds if arm else 0
            for place, arm in zip(self.places, self.arms(setting), strict=True)
        }
        absent = [name for name, number in seeds.items() if not number]
        reasons = _absence(setting, absent) if absent else [also] if also else []
        evidence = ". ".join(dict.fromkeys([*reasons, *skipped])) or "nothing to judge by"
        about = subject_of(seeds.values())
        return Judged(self.claim, self.where, NOT_TESTABLE, evidence, about, tuple(seeds.items()))


def _if_real(judged: Judged, arms: Sequence[Arm]) -> Judged:
    """Return it with the seeds of the arms. On other data than the paper's, and with random weights in place of
    ImageNet's, no claim about Galaxy10 or ImageNet can be tested. What they show is then said, as theirs."""
    judged = replace(judged, seeds=tuple((arm.name, arm.num_seeds) for arm in arms))
    results = [result for arm in arms for result in arm.results]
    unreal = ["SIMULATED galaxies"] if any(r.spec.is_simulated for r in results) else []
    unreal += [f"other data ({name})" for name in sorted({r.spec.dataset for r in results if is_other_data(r.spec)})]
    unreal += ["random weights in place of ImageNet's"] if any(r.spec.is_substituted for r in results) else []
    if not unreal:
        return judged
    alone = f"These trials alone (by the same rule {judged.verdict}): {judged.evidence}"
    return replace(judged, verdict=NOT_TESTABLE, evidence=f"{NOT_REAL} {' and '.join(unreal)}. {alone}", reason="")


def is_other_data(spec: TrialSpec) -> bool:
    """Return whether its galaxies are real and are not the published Galaxy10 DECaLS, which a sweep names by its
    content."""
    return not spec.is_simulated and spec.dataset != PAPERS_DATA


def few_seeds(seeds: Sequence[int]) -> str:
    """
    >>> few_seeds([1, 1])
    'These 2 trained networks alone (one seed each): fewer than 3 seeds a setting decide nothing about settings'
    """
    counts = "one seed each" if set(seeds) == {1} else f"{', '.join(map(str, seeds))} seeds"
    networks = f"These {sum(seeds)} trained networks alone ({counts})"
    return f"{networks}: fewer than {MIN_SEEDS} seeds a setting decide nothing about settings"


def reason_of(verdict: Verdict, seeds: Collection[int], estimates: Sequence[Estimate]) -> Reason:
    """Return why a claim about settings is not confirmed: equivalent, where each of its estimates that does not decide
    is too small to matter."""
    if verdict != NOT_CONFIRMED:
        return ""
    if subject_of(seeds) == NETWORKS:
        return FEW_SEEDS
    undecided = [one for one in estimates if not one.adjusted < LEVEL]
    return EQUIVALENT if undecided and all(map(is_equivalent, undecided)) else UNDECIDED


def is_equivalent(estimate: Estimate) -> bool:
    """Return whether a difference between settings as large as the smallest of interest is rejected on either side."""
    equivalence = estimate.equivalence
    return estimate.about == SETTINGS and equivalence is not None and equivalence.p_value < LEVEL


def _absence(setting: TrialSetting, names: Sequence[str]) -> list[str]:
    """Return why arms are not there: those that have trials, which cannot be used, and those that have none."""
    if not setting.arms and setting.problems:
        return list(setting.problems)
    problems = [text for text in setting.problems if text.startswith(tuple(f"{name}:" for name in names))]
    without = [name for name in names if not any(text.startswith(f"{name}:") for text in problems)]
    return [*([f"no trial to judge by: {'; '.join(without)}"] if without else []), *problems]


def decide(estimate: Estimate, sign: int = 1) -> Verdict:
    """Return that of a claim that the difference, times `sign`, is positive."""
    return verdict_by_test(sign * estimate.value, estimate.adjusted, estimate.seeds)


def in_words(found: Comparison) -> str:
    return f"{found.name}: {found.accuracy}, {p_text(found.accuracy)} ({found.method}){size_text(found.accuracy)}"


def size_text(estimate: Estimate) -> str:
    """Return what a difference between settings that is not told from 0 may still be; of any other nothing."""
    if estimate.about == NETWORKS or not estimate.equivalence or estimate.adjusted < LEVEL:
        return ""
    margin = f"{estimate.equivalence.margin:g}"
    if is_equivalent(estimate):
        return f", no difference as large as {margin}"
    wanted = estimate.more_seeds
    if not wanted:
        return f", too few seeds or images to tell; {MOST_SEEDS} seeds of each would not tell {margin} from none"
    if wanted <= min(estimate.seeds):
        return f", told neither from none nor from {margin}"
    return f", too few seeds to tell; about {wanted} of each would tell {margin} from none"


def p_text(estimate: Estimate) -> str:
    """
    >>> from analysis.statistics.intervals import Interval
    >>> p_text(Estimate(0.1, Interval(0.05, 0.15), 1e-9, 3e-9)), p_text(Estimate(0.1, Interval(-0.05, 0.2), 0.2, 0.6))
    ('p < 0.001', 'p = 0.600')
    """
    return f"p {digits}" if (digits := p_digits(estimate.adjusted)).startswith("<") else f"p = {digits or 'nan'}"
