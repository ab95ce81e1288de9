"""Does VGG16's collapse come from its optimizer settings? A test that was stated before the trials were looked at.

    study = study_collapse(results)
    study.arms[0].verdict          # Explanation.EXPLAINED
    STATEMENT                      # the test in words, for the report

PRE-STATED TEST

Two arms, each a question of its own: ON (ImageNet weights, frozen) and OFF (from scratch). In each:

1. The paper names no optimizer; its setting is assumed to be Adam at learning rate 0.001, Keras's default. Settings of
   the optimizer are what it is (name, learning rate, momentum, weight decay) and how it steps: warm-up, schedule, rates
   by block, clipped gradients, none of which the paper's is assumed to have. All else is held fixed: VGG16, pixels /
   255, the data, the split, epochs, batch size. Only optimizer settings and seed differ. Where trials differ in more,
   each such background is tested by itself.
2. A trial has collapsed if it names one class (at least 0.95 of its predictions, with at most slight agreement with the
   truth: Cohen's kappa up to 0.2), or several at chance (kappa not significantly above 0), or if its loss became NaN.
   One that failed for a reason of its own counts nowhere, and is named.
3. The seeds that another optimizer setting shares with the paper's are halved: the first half (in their order, rounded
   down, at least one) has a say in the choice, the others test. The setting that collapses least on its seeds of the
   choice, (collapsed + 1/2) / (seeds + 1), is the alternative; of equal ones that of the highest mean validation
   accuracy on these seeds, where the rows have one; of equal ones the first by name of the optimizer, learning rate,
   momentum, weight decay and how it steps. A setting that shares fewer than half as many seeds as another does, or is
   confounded with the paper's, is chosen only where there is no other. No test accuracy is looked at for that: of the
   test part only whether the trials of these seeds collapsed.
4. The alternative's collapse rate is tested on the seeds that had no part in the choice, against the paper's setting on
   all of its seeds: that one was not chosen, so none of them is partial. Boschloo's exact test, two-sided. Newcombe's
   95 % interval of the reduction.
5. Confounding: where the trials of the two settings share no version of some code, or no device, host, name of the
   dataset or precision, there is no verdict on their contrast. Where they share some but are spread unevenly over them
   (p at most 0.1), the contrast must hold within them too, by an exact stratified test. Values that are not recorded
   are taken to be the same, which is said. Hosts do not count where each trial had its own.
6. Verdicts, the first that holds. Each kind errs in at most 5 % of studies: its p-values are corrected by Holm over all
   arms, run or not, and all backgrounds that have seeds enough to be tested.
   NOT_REPRODUCED  the paper's setting does not collapse: p of an exact binomial test that its rate is at least 1/2
   NOT_EXPLAINED   it collapses in at least half of its seeds, and so does every other optimizer setting: the largest p
                   of exact binomial tests that the rate of one is at most 1/2, over those that are not confounded, are
                   spread evenly and have seeds enough to be chosen. All of their seeds count. Not where each diverged
                   in half of its seeds or more: that shows no sound optimizer
   EXPLAINED       it collapses in at least half of its seeds; the alternative in fewer than half, with p of Boschloo's
                   test; and it is a cure: where it does not collapse, the 95 % interval of its accuracy on these seeds
                   is above the share of the commonest class. Both settings have at least 3 seeds
   INCONCLUSIVE    anything else, with the seeds that would decide: the fewest at which the verdict that the rates point
                   to, (collapsed + 1/2) / (seeds + 1), comes with a power of 0.8, all its conditions on rates counted
   NOT_TESTABLE    no trial of the paper's setting, or of another one with the same background, has come to its end, or
                   all of them diverged
   A verdict must also be the same where one class begins at 0.90 and at 0.99 of the predictions: one that hangs on that
   is INCONCLUSIVE. So is one that differs between backgrounds.

7. The batch size, too, is a setting of the optimizer, but held fixed in the test. Changed by itself it is tested like a
   rival (`analysis.collapse.rivals`), and so is each way to step, to say which of them removes the collapse. Neither
   stands against the answer that the collapse comes from these settings; a start, preprocessing, more epochs or another
   network that removes it does. Where both do, the answer names both.

Trials of two settings with one seed start from the same weights; where that makes them end alike, the test errs less
often than its level says.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from analysis.collapse.confounding import confounded, factors_of, uneven
from analysis.collapse.settings import (
    BACKBONE,
    OFF,
    ON,
    Accuracy,
    Group,
    Setting,
    arm_of,
    background_fields,
    background_text,
    groups_of,
    mean_validation,
    optimizer_settings,
    uses_paper_optimizer,
)
from analysis.statistics.boschloo import Wanted, boschloo, fewest_seeds
from analysis.statistics.intervals import Interval, Share, difference, holm
from analysis.statistics.rates import fewest_above, fewest_below, p_not_above, p_not_below
from analysis.statistics.seeds import MIN_SEEDS
from analysis.statistics.strata import stratified
from analysis.trials.endings import Ending, ending_of
from analysis.trials.load import in_order, show_value
from galaxytl.results.collapse import ONE_CLASS_SHARE
from galaxytl.trial import TrialResult

STATEMENT: Final = (__doc__ or "").partition("PRE-STATED TEST\n\n")[2]
LEVEL: Final = 0.05
NUM_ARMS: Final = 2
POWER: Final = 0.8
DISAGREE: Final = "the backgrounds do not agree"
MOST_NAMED: Final = 3
"""Backgrounds with one verdict: more of them are counted."""
SHARES: Final = (0.90, ONE_CLASS_SHARE, 0.99)
"""Of the predictions, from which on one class is named: a verdict is the same with each of them."""


@dataclass(frozen=True)
class Rule:
    """The choices of the test that could have been others; the defaults are those of the statement."""

    one_class_share: float = ONE_CLASS_SHARE
    """Of the predictions, from which on a network names one class."""
    half: float = 0.5
    """The collapse rate from which on a setting counts as one that collapses."""
    choice: int | None = None
    """Which half of the seeds chooses the alternative: None, the first in their order; a number, a random half, of
    which it is the seed."""


class Explanation(Enum):
    EXPLAINED = "EXPLAINED"
    NOT_EXPLAINED = "NOT_EXPLAINED"
    NOT_REPRODUCED = "NOT_REPRODUCED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTABLE = "NOT_TESTABLE"


@dataclass(frozen=True)
class CollapseArm:
    """One arm's test. What it lacks is None; `why` says what that is."""

    name: str
    verdict: Explanation
    why: str
    paper: Setting | None = None
    alternative: Setting | None = None
    choice_seeds: tuple[int, ...] = ()
    """Of the alternative, that had a say in its choice."""
    test_seeds: tuple[int, ...] = ()
    p_value: float | None = None
    corrected: float | None = None
    """p_value after Holm, over both arms and all backgrounds."""
    reduction: Interval | None = None
    """Of the collapse rate, the paper's minus the alternative's on the test seeds."""
    seeds_needed: int | None = None
    """Of an INCONCLUSIVE arm: how many seeds would decide; None: no number that one can run does, or see `obstacle`."""
    others: tuple[Setting, ...] = ()
    """All other settings, in the order of the choice."""
    background: str = ""
    """What is the same in all trials that were tested: epochs, image size, preprocessing, images, split."""
    backgrounds: tuple[CollapseArm, ...] = ()
    """Where there are several: the test of each."""
    obstacle: str = ""
    """What stands against a verdict and more seeds of the same kind would not remove."""
    at_shares: Mapping[float, Explanation] = field(default_factory=dict)
    """Share of one class -> the verdict with it; empty where all trials end the same with each."""
    high_p: float | None = None
    """p-value that the paper's setting collapses in at least half of the seeds, after Holm."""
    escaped_p: float | None = None
    """The largest p-value that another setting collapses in at most half of its seeds, after Holm."""
    rule: Rule = Rule()
    """By which it was tested."""

    @property
    def commonest(self) -> float | None:
        """Accuracy of always naming the commonest class of the test part."""
        results = [r for s in (self.paper, self.alternative) if s for r in s.trials() if r.confusion]
        return max((max(map(sum, r.confusion)) / sum(map(sum, r.confusion)) for r in results), default=None)

    @property
    def accuracies(self) -> tuple[Accuracy | None, Accuracy | None]:
        """Of the paper's setting on all its seeds, of the alternative on those of the test."""
        own = self.paper.accuracy() if self.paper else None
        return own, self.alternative.accuracy(self.test_seeds) if self.alternative else None

    def choice_of(self, setting: Setting) -> tuple[int, ...]:
        """Return the seeds with which an other setting took part in the choice."""
        return halves(shared_seeds(self.paper, setting), self.rule.choice)[0] if self.paper else ()

    @property
    def is_confounded(self) -> bool:
        """Whether the two settings that are compared differ in more than the optimizer."""
        own, other = self.paper, self.alternative
        return bool(own and other and confounded(own.trials(), other.trials(self.test_seeds)))

    @property
    def num_trials(self) -> int:
        return sum(len(setting.kinds) for setting in (self.paper, *self.others) if setting)


@dataclass(frozen=True)
class CollapseStudy:
    arms: tuple[CollapseArm, ...]
    problems: tuple[str, ...]


def study_collapse(results: Sequence[TrialResult], rule: Rule = Rule()) -> CollapseStudy:
    """Test both arms, of the trials of one dataset. Whether the verdict hangs on where one class begins is looked at
    for the rule of the statement only. Raises ValueError where they are of several datasets."""
    return study_by_rules(results, [rule])[0]


def study_by_rules(results: Sequence[TrialResult], rules: Iterable[Rule]) -> list[CollapseStudy]:
    """Test as `study_collapse` by several rules, in their order: what does not depend on them is done once."""
    if len({r.spec.dataset_fingerprint for r in results}) > 1:
        raise ValueError("trials of several datasets are never put together: choose one first")
    results = in_order(r for r in results if r.spec.backbone == BACKBONE and arm_of(r.spec))
    problems: list[str] = []
    groups = [group for name in (ON, OFF) for group in groups_of(name, results, problems)]
    return [CollapseStudy(_arms(groups, rule), tuple(problems)) for rule in rules]


def _arms(groups: Sequence[Group], rule: Rule) -> tuple[CollapseArm, ...]:
    """Return one arm a name, of the tests of all groups."""
    tested = _tested(groups, rule)
    if rule == Rule() and any(_hangs(r) for group in groups for r in group.trials):
        others = {share: _tested(groups, replace(rule, one_class_share=share)) for share in SHARES}
        tested = [
            _steady(arm, {share: other[i].verdict for share, other in others.items()}) for i, arm in enumerate(tested)
        ]
    by_name: dict[str, list[CollapseArm]] = defaultdict(list)
    for arm in tested:
        by_name[arm.name].append(arm)
    return tuple(map(_headline, by_name.values()))


@dataclass(frozen=True)
class PValue:
    """A p-value, and the least that it could be with so many seeds, whatever their outcome."""

    value: float
    least: float


@dataclass(frozen=True)
class Draft:
    """An arm before it is judged. Its tests: that the rates of both settings are equal, that the paper's is at least
    half, and that another setting's is at most half; None where there are no trials for it."""

    arm: CollapseArm
    equal: PValue | None = None
    high: PValue | None = None
    escaped: PValue | None = None


def _tested(groups: Sequence[Group], rule: Rule) -> list[CollapseArm]:
    """Return each group's test, judged."""
    drafts = [_draft(group, rule) for group in groups]
    equal = [draft.equal for draft in drafts]
    families = zip(
        _corrected(equal),
        _corrected([draft.high for draft in drafts]),
        _corrected([draft.escaped for draft in drafts]),
        strict=True,
    )
    num_tests = max(NUM_ARMS, sum(test is not None and test.least <= LEVEL for test in equal))
    arms = [
        replace(draft.arm, corrected=one, high_p=two, escaped_p=three)
        for draft, (one, two, three) in zip(drafts, families, strict=True)
    ]
    return [_judged(arm, num_tests, rule) for arm in arms]


def _corrected(tests: Sequence[PValue | None]) -> list[float | None]:
    """Correct by Holm the tests that have seeds enough to be significant at all, which is known before any outcome
    (Tarone 1990, Biometrics 46, 515); of the others 1. At least one test an arm counts, run or not."""
    family = [test for test in tests if test and test.least <= LEVEL]
    not_run = [1.0] * (NUM_ARMS - len(family))  # what is concluded must not hang on which arms were run
    p_values = iter(holm([*(test.value for test in family), *not_run]))
    return [None if test is None else next(p_values) if test.least <= LEVEL else 1.0 for test in tests]


def _draft(group: Group, rule: Rule) -> Draft:
    """Make the settings, the choice and the tests of trials that have one background."""
    if not group.trials:
        return Draft(CollapseArm(group.name, Explanation.NOT_TESTABLE, group.why_not))
    settings = optimizer_settings(group.trials, rule.one_class_share)
    paper = next(setting for setting in settings if uses_paper_optimizer(setting.spec))
    others = _in_order_of_choice(paper, [s for s in settings if s is not paper], rule)
    best = next(iter(_candidates(paper, others, rule)), others[0])
    choice, test = halves(shared_seeds(paper, best), rule.choice)
    arm = CollapseArm(
        group.name, Explanation.INCONCLUSIVE, "", paper, best, choice, test, others=tuple(others), rule=rule
    )
    arm = replace(arm, background=background_text(next((r for r in group.trials if r.num_images), group.trials[0])))
    first, second = paper.collapsed(), best.collapsed(test)
    if first is None:
        return Draft(arm)
    none = Share(0, first.total)
    high = PValue(p_not_below(first, rule.half), p_not_below(none, rule.half))
    draft = Draft(arm, None, high, _escaped(paper, others, rule))
    if second is None:
        return draft
    p_value = boschloo(first.right, first.total, second.right, second.total)
    equal = PValue(p_value, boschloo(first.total, first.total, 0, second.total))
    return replace(draft, arm=replace(arm, p_value=p_value, reduction=difference(first, second)), equal=equal)


def _escaped(paper: Setting, others: Sequence[Setting], rule: Rule) -> PValue | None:
    """Test that one of the settings that can be compared with the paper's collapses in at most half of its seeds. All
    have to be found not to, so that the largest p-value is theirs together, without a correction for their number
    (Berger 1982, Technometrics 24, 295)."""
    shares = [share for s in _comparable(paper, others) if (share := s.collapsed())]
    if not shares:
        return None
    most = [Share(share.total, share.total) for share in shares]
    return PValue(*(max(p_not_above(share, rule.half) for share in own) for own in (shares, most)))


def shared_seeds(paper: Setting, other: Setting) -> list[int]:
    return sorted(set(paper.kinds) & set(other.kinds))


def _in_order_of_choice(paper: Setting, others: Sequence[Setting], rule: Rule) -> list[Setting]:
    """Sort as the statement does: least collapsed, then of the highest validation accuracy, then by optimizer."""

    def place(setting: Setting) -> tuple[Any, ...]:
        seeds, _ = halves(shared_seeds(paper, setting), rule.choice)
        share = setting.collapsed(seeds)
        rate = _shrunk(share) if share else math.inf
        return rate, -mean_validation(setting, seeds), setting.order

    return sorted(others, key=place)


def _shrunk(share: Share) -> float:
    """Return a rate that few seeds do not make 0 or 1."""
    return (share.right + 0.5) / (share.total + 1)


def _candidates(paper: Setting, others: Sequence[Setting], rule: Rule) -> list[Setting]:
    """Return the settings that can be chosen, in their order; where all are confounded, those."""
    enough = _with_seeds_enough(paper, others)
    free = [
        s for s in enough if not confounded(paper.trials(), s.trials(halves(shared_seeds(paper, s), rule.choice)[1]))
    ]
    return free or enough


def _with_seeds_enough(paper: Setting, others: Sequence[Setting]) -> list[Setting]:
    """Return those that have a seed to choose and one to test, and at least half as many in common with the paper's
    setting as any other."""
    most = max((len(shared_seeds(paper, setting)) for setting in others), default=0)
    return [s for s in others if len(shared_seeds(paper, s)) >= max(2, most / 2)]


def _comparable(paper: Setting, others: Sequence[Setting]) -> list[Setting]:
    """Return those with seeds enough, neither confounded with the paper's setting nor unevenly spread."""
    own = paper.trials()
    return [
        s for s in _with_seeds_enough(paper, others) if not confounded(own, s.trials()) and not uneven(own, s.trials())
    ]


def halves(seeds: Sequence[int], choice: int | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the seeds that choose, half of them rounded down and at least one, and the others, each in order.

    >>> halves([0, 1, 2, 3, 4])
    ((0, 1), (2, 3, 4))
    """
    order = sorted(seeds)
    if choice is not None:
        random.Random(choice).shuffle(order)
    half = max(1, len(order) // 2)
    return tuple(sorted(order[:half])), tuple(sorted(order[half:]))


def _judged(arm: CollapseArm, num_tests: int, rule: Rule) -> CollapseArm:
    """Return the arm with its verdict, by the rules of the statement."""
    first = arm.paper.collapsed() if arm.paper else None
    if arm.paper is None or arm.alternative is None or first is None:
        return arm
    own = f"{first} seeds collapse with the paper's setting{_ways(arm.paper)}"
    if _is_significant(arm.high_p):
        return replace(arm, verdict=Explanation.NOT_REPRODUCED, why=own)
    if first.value >= rule.half and _is_significant(arm.escaped_p) and _all_collapse(arm.others, rule):
        label, fewest = _fewest(arm.others, arm.alternative)
        why = f"{own}, and with every other setting as well: fewest with {label}, {fewest}"
        if all(2 * s.ends()[Ending.DIVERGED] >= len(s.kinds) for s in arm.others):
            obstacle = "the other settings diverged, so that none shows what a sound optimizer does"
            return replace(arm, why=f"{why}; {obstacle}", obstacle=obstacle)
        return replace(arm, verdict=Explanation.NOT_EXPLAINED, why=why)
    return _contrasted(arm, arm.alternative, own, num_tests, rule)


def _contrasted(arm: CollapseArm, alternative: Setting, own: str, num_tests: int, rule: Rule) -> CollapseArm:
    """Return the arm as EXPLAINED or INCONCLUSIVE. `own` says how the paper's setting ended."""
    first, second = arm.paper.collapsed() if arm.paper else None, alternative.collapsed(arm.test_seeds)
    if first is None or second is None:
        why = f"{own}; of the seeds that another setting shares with it none is left to test one after the choice"
        return replace(arm, why=why, seeds_needed=seeds_for_any_verdict(num_tests, rule))
    arm = replace(arm, why=f"{own}, {second} with the alternative, {alternative.label}")
    differs = _differs(arm, first, second, rule)
    if obstacle := _obstacle(arm, differs):
        return replace(arm, why=f"{arm.why}; {obstacle}", obstacle=obstacle)
    label, fewest = _fewest(arm.others, alternative)
    if first.value >= rule.half and second.value >= rule.half and label != alternative.label:
        why = f"{arm.why}; fewest of all settings with {label}, {fewest}"
        return _open(arm, why, (first, fewest), num_tests, rule)
    if not differs or _too_few(arm):
        few = f": fewer than {MIN_SEEDS} seeds speak of these networks only" if differs else ""
        return _open(arm, arm.why + few, (first, second), num_tests, rule)
    return replace(arm, verdict=Explanation.EXPLAINED)


def _differs(arm: CollapseArm, first: Share, second: Share, rule: Rule) -> bool:
    """Return whether the collapse rates are as EXPLAINED wants them."""
    return first.value >= rule.half > second.value and _is_significant(arm.corrected)


def _too_few(arm: CollapseArm) -> bool:
    numbers = [len(setting.kinds) for setting in (arm.paper, arm.alternative) if setting]
    return min(numbers) < MIN_SEEDS or len(arm.test_seeds) < 2


def _obstacle(arm: CollapseArm, differs: bool) -> str:
    """Return what stands against a verdict on the contrast and more seeds would not remove; empty where nothing does.
    What stands against EXPLAINED alone matters only where the rates differ as that wants."""
    if arm.paper is None or arm.alternative is None:
        return ""
    own, others = arm.paper.trials(), arm.alternative.trials(arm.test_seeds)
    if apart := confounded(own, others):
        listed = "; ".join(apart)
        return f"the trials of the two settings differ in more than the optimizer, which may be the cause: {listed}"
    if not differs:
        return ""
    if factors := [name for name in uneven(own, others) if within(arm, name) > LEVEL]:
        listed = " and ".join(factors)
        return f"the two are spread unevenly over {listed}, within which the difference is not shown"
    return "" if _too_few(arm) or is_cure(arm) else f"the alternative is no cure: {_accuracy_text(arm)}"


def _fewest(others: Iterable[Setting], alternative: Setting) -> tuple[str, Share]:
    """Return the setting of which the smallest share of seeds collapses, and that share; of equal ones the
    alternative."""
    counts = [(share.value, s is not alternative, s.label, share) for s in others if (share := s.collapsed())]
    _, _, label, share = min(counts, key=lambda count: count[:3])
    return label, share


def _is_significant(p_value: float | None) -> bool:
    return p_value is not None and p_value <= LEVEL


def _all_collapse(others: Iterable[Setting], rule: Rule) -> bool:
    """Return whether they collapse in at least half of their seeds, each: also those that are too few to be tested."""
    shares = (setting.collapsed() for setting in others)
    return all(share.value >= rule.half for share in shares if share)


def within(arm: CollapseArm, factor: str) -> float:
    """Return the p-value that the paper's setting and the alternative collapse equally often within each value of a
    factor that `analysis.collapse.confounding` knows."""
    tables: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    pairs = ((0, arm.paper, None), (2, arm.alternative, arm.test_seeds))
    for column, setting, seeds in pairs:
        for result in setting.trials(seeds) if setting else ():
            table = tables[factors_of(result).get(factor, "")]
            table[column] += setting.kinds[result.spec.seed].is_collapse if setting else 0
            table[column + 1] += 1
    return stratified([(a, b, c, d) for a, b, c, d in tables.values()])


def is_cure(arm: CollapseArm) -> bool:
    """Return whether the alternative does better than always naming the commonest class, where it does not collapse."""
    accuracy = _where_it_learns(arm)
    return accuracy is not None and arm.commonest is not None and accuracy.interval.low > arm.commonest


def _where_it_learns(arm: CollapseArm) -> Accuracy | None:
    """Return that of the alternative's seeds of the test that did not collapse: how many did is another question, and
    with them accuracies fall into two heaps, which no interval of a mean suits."""
    alternative = arm.alternative
    if alternative is None:
        return None
    return alternative.accuracy(
        s for s in arm.test_seeds if s in alternative.kinds and alternative.kinds[s] is Ending.LEARNED
    )


def _accuracy_text(arm: CollapseArm) -> str:
    accuracy = _where_it_learns(arm)
    if accuracy is None:
        return "none of its seeds has an accuracy"
    value = f"where it does not collapse its accuracy is {accuracy.value:.3f} (95 % interval {accuracy.interval})"
    return f"{value}, and always naming the commonest class gives {arm.commonest or math.nan:.3f}"


def _open(arm: CollapseArm, why: str, shares: tuple[Share, Share], num_tests: int, rule: Rule) -> CollapseArm:
    """Return the arm as INCONCLUSIVE, with the seeds that would decide."""
    return replace(arm, why=why, seeds_needed=seeds_that_decide(*shares, num_tests, rule))


def _ways(setting: Setting) -> str:
    """Return how its seeds collapsed, where that is said."""
    ends = setting.ends()
    if not (diverged := ends[Ending.DIVERGED]):
        return ""
    lost = f"{'all' if diverged == len(setting.kinds) else diverged} diverged, the loss NaN or infinite"
    return f" ({lost}, which is not the one class of the paper)"


def seeds_to_explain(first: Share, second: Share, num_tests: int, rule: Rule = Rule()) -> int | None:
    """Return the fewest seeds with which the test of the statement comes to EXPLAINED with its power at the rates
    behind these counts, all conditions on rates counted; None where no number that is thought of does. Rates are taken
    as (count + 1/2) / (total + 1): those of few seeds are seldom 0 or 1."""
    return fewest_seeds(_shrunk(first), _shrunk(second), Wanted(LEVEL / max(1, num_tests), rule.half, POWER))


def seeds_that_decide(first: Share, second: Share, num_tests: int, rule: Rule = Rule()) -> int | None:
    """Return the same of the verdict to which these rates point: NOT_REPRODUCED where the first is below half,
    EXPLAINED where the second is, else NOT_EXPLAINED."""
    level = LEVEL / max(1, num_tests)
    if first.value < rule.half:
        return fewest_below(_shrunk(first), rule.half, level, POWER)
    if second.value < rule.half:
        return seeds_to_explain(first, second, num_tests, rule)
    return fewest_above(_shrunk(second), rule.half, level, POWER)


def seeds_for_any_verdict(num_tests: int = NUM_ARMS, rule: Rule = Rule()) -> int | None:
    """Return the fewest seeds of each setting with which every verdict is possible: where all trials of a setting end
    alike.

    >>> seeds_for_any_verdict()
    6
    """
    level = LEVEL / max(1, num_tests)
    rates = ((fewest_below, 0.0), (fewest_above, 1.0))
    numbers = [fewest(rate, rule.half, level, POWER) for fewest, rate in rates]
    numbers.append(fewest_seeds(1.0, 0.0, Wanted(level, rule.half, POWER)))
    return max((n for n in numbers if n), default=None) if all(numbers) else None


def _hangs(result: TrialResult) -> bool:
    """Return whether it is a question of the share whether the trial collapsed."""
    return len({ending_of(result, share).is_collapse for share in SHARES}) > 1


def _steady(arm: CollapseArm, at_shares: Mapping[float, Explanation]) -> CollapseArm:
    """Return the arm without a verdict where that hangs on the share from which on one class is named."""
    if arm.verdict in {Explanation.INCONCLUSIVE, Explanation.NOT_TESTABLE} or len(set(at_shares.values())) == 1:
        return replace(arm, at_shares=at_shares)
    others = ", ".join(f"{verdict.value} at {share:.2f}" for share, verdict in at_shares.items())
    why = f"the verdict hangs on the share of the predictions from which on one class is named: {others}"
    return replace(arm, verdict=Explanation.INCONCLUSIVE, why=f"{arm.why}; {why}", obstacle=why, at_shares=at_shares)


def _headline(arms: Sequence[CollapseArm]) -> CollapseArm:
    """Make one arm for the tests of all its backgrounds: of the largest that has the verdict, where they do not
    disagree."""
    if len(arms) == 1:
        return arms[0]
    labels = _labels(arms)
    named = _verdicts(arms, labels)
    largest = sorted(range(len(arms)), key=lambda i: (-arms[i].num_trials, labels[i]))
    decided = {arm.verdict for arm in arms} - {Explanation.INCONCLUSIVE}
    chosen = next(i for i in largest if not decided or arms[i].verdict in decided or len(decided) > 1)
    apart = f" ({', '.join(labels)})" if len(labels) <= MOST_NAMED else ""
    at = f"each of {len(arms)} backgrounds{apart}; the numbers are of {arms[chosen].background}"
    arm = replace(arms[chosen], background=at, backgrounds=tuple(arms))
    if len(decided) > 1:
        why = f"the answer is not the same for all trials: {named}"
        return replace(arm, verdict=Explanation.INCONCLUSIVE, seeds_needed=None, why=why, obstacle=DISAGREE)
    if len({one.verdict for one in arms}) == 1:
        return replace(arm, why=f"{arm.why}; {arm.verdict.value} with each of the {len(arms)} backgrounds")
    return replace(arm, why=f"{arm.why}; of {len(arms)} backgrounds: {named}")


def varied_fields(arms: Iterable[CollapseArm]) -> tuple[str, ...]:
    """Return the fields in which these backgrounds differ, optimizer and seed apart."""
    specs = [arm.paper.spec for arm in arms if arm.paper]
    return tuple(name for name in background_fields() if len({getattr(spec, name) for spec in specs}) > 1)


def _verdicts(arms: Sequence[CollapseArm], labels: Sequence[str]) -> str:
    """Say which verdict comes with which background, the number alone where there are many."""
    by_verdict: dict[Explanation, list[str]] = defaultdict(list)
    for arm, label in zip(arms, labels, strict=True):
        by_verdict[arm.verdict].append(label)
    parts = ((verdict, own) for verdict in Explanation if (own := by_verdict[verdict]))
    return "; ".join(
        f"{verdict.value} with {', '.join(own) if len(own) <= MOST_NAMED else f'{len(own)} of them'}"
        for verdict, own in parts
    )


def _labels(arms: Sequence[CollapseArm]) -> list[str]:
    """Name what sets each background apart from the others, as `--where` takes it."""
    names = varied_fields(arms)
    specs = [arm.paper.spec for arm in arms if arm.paper]
    return [" ".join(f"{name}={show_value(getattr(spec, name))}" for name in names) for spec in specs]
