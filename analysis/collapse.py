"""Does VGG16's collapse come from its optimizer settings? A test that was stated before the trials were looked at.

    study = examine(results)
    study.arms[0].verdict          # Verdict.EXPLAINED
    STATEMENT                      # the test in words, for the report

PRE-STATED TEST

Two arms, each a question of its own: ON (ImageNet weights, frozen) and OFF (from scratch). In each:

1. The paper names no optimizer; its setting is assumed to be Adam at learning rate 0.001, Keras's default. All else
   is held fixed: VGG16, pixels / 255, the data, the split, epochs, batch size. Only optimizer settings and seed differ.
2. Of the other optimizer settings, the one with the highest mean validation accuracy on the first half of the seeds
   (in their order, rounded down, at least one) is the alternative. No test score is looked at for that.
3. Its collapse rate is tested on the other seeds, which had no part in the choice, against the paper's setting on all
   of its seeds: that one was not chosen, so none of them is partial. Boschloo's exact test, two-sided; p-values of
   both arms, run or not, corrected by Holm; level 0.05. Newcombe's 95 % interval of the reduction.
4. Verdicts, the first that holds:
   NOT_REPRODUCED  the paper's setting does not collapse: the upper end of its rate's Wilson interval is below 1/2
   EXPLAINED       it collapses in at least half of its seeds; the alternative in fewer than half, and p <= 0.05
   NOT_EXPLAINED   it collapses in at least half of its seeds, and the alternative removes less than half of collapses:
                   the upper end of the interval of the reduction is below 1/2. Here all seeds of the alternative
                   count: the choice favours settings that escape, so its seeds, too, can only speak for EXPLAINED
   INCONCLUSIVE    anything else, with the seeds that would decide: the fewest for which the same test has a power of
                   0.8 at rates of (collapsed + 1/2) / (seeds + 1)

A trial that failed for a reason of its own counts nowhere, and is named. Trials of two settings with one seed start
from the same weights; where that makes them end alike, the test errs less often than its level says.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from analysis.banner import SUBSTITUTED
from analysis.failure import Kind, kind_of
from analysis.gather import count_of_trials, in_order
from analysis.starts import FROM_SCRATCH, IMAGENET_FROZEN, start_name
from analysis.statistics.boschloo import boschloo, power
from analysis.statistics.intervals import Interval, Share, difference, holm
from galaxytl.collapse import ONE_CLASS_SHARE
from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec

STATEMENT: Final = (__doc__ or "").partition("PRE-STATED TEST\n\n")[2]
LEVEL: Final = 0.05
NUM_ARMS: Final = 2
POWER: Final = 0.8
MOST_SEEDS: Final = 60

BACKBONE: Final = "VGG16"
OPTIMIZER_FIELDS: Final = ("optimizer", "learning_rate", "momentum", "weight_decay")
PAPER_OPTIMIZER: Final[Mapping[str, Any]] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "momentum": 0.0,
    "weight_decay": 0.0,
}
PAPER_PREPROCESSING: Final = "divide_by_255"
VERSIONS: Final = ("galaxytl", "keras", "keras_backend", "tensorflow", "jax")
"""Of a trial's environment: code whose change may change results."""


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


class Verdict(Enum):
    EXPLAINED = "EXPLAINED"
    NOT_EXPLAINED = "NOT_EXPLAINED"
    NOT_REPRODUCED = "NOT_REPRODUCED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTABLE = "NOT_TESTABLE"


ON, OFF = "ON", "OFF"
ARMS: Final = {IMAGENET_FROZEN: ON, FROM_SCRATCH: OFF}


def arm_of(spec: TrialSpec) -> str | None:
    """The arm of a trial; None outside both. Random weights in place of ImageNet's make an arm of their own: the two
    are never mixed, and the one never called by the other's name."""
    name = ARMS.get(start_name(spec) or "")
    return f"{name}, {SUBSTITUTED}" if name and spec.is_substituted else name


@dataclass(frozen=True)
class Setting:
    """The seeds of one optimizer setting, those that say something first."""

    spec: TrialSpec
    """Of any of its trials."""
    kinds: Mapping[int, Kind]
    """seed -> what became of it; FAILED ones left out."""
    validation: Mapping[int, float]
    """seed -> the last validation accuracy; 0 where the trial diverged. Empty where the curves are of the test part."""

    @property
    def label(self) -> str:
        return optimizer_label(self.spec)

    def collapsed(self, seeds: Iterable[int] | None = None) -> Share | None:
        """How many of the seeds collapsed; None where there is none."""
        kinds = [kind for seed, kind in self.kinds.items() if seeds is None or seed in set(seeds)]
        return Share(sum(kind.is_collapse for kind in kinds), len(kinds)) if kinds else None


def optimizer_label(spec: TrialSpec) -> str:
    """
    >>> optimizer_label(TrialSpec(dataset="", dataset_fingerprint="", optimizer="sgd", momentum=0.9))
    'sgd 0.001, momentum 0.9'
    """
    momentum = f", momentum {spec.momentum:g}" if spec.momentum else ""
    decay = f", weight decay {spec.weight_decay:g}" if spec.weight_decay else ""
    return f"{spec.optimizer} {spec.learning_rate:g}{momentum}{decay}"


@dataclass(frozen=True)
class Arm:
    """One arm's test. What it lacks is None; `why` says what that is."""

    name: str
    verdict: Verdict
    why: str
    paper: Setting | None = None
    alternative: Setting | None = None
    choice_seeds: tuple[int, ...] = ()
    test_seeds: tuple[int, ...] = ()
    p_value: float | None = None
    corrected: float | None = None
    """p_value after Holm, over both arms."""
    reduction: Interval | None = None
    """Of the collapse rate, the paper's minus the alternative's on the test seeds."""
    seeds_needed: int | None = None
    others: tuple[Setting, ...] = ()
    """All other settings, by validation accuracy."""


@dataclass(frozen=True)
class CollapseStudy:
    arms: tuple[Arm, ...]
    problems: tuple[str, ...]


def examine(results: Sequence[TrialResult], rule: Rule = Rule()) -> CollapseStudy:
    """Both arms, of the trials of one dataset. Raises ValueError where they are of several."""
    if len({r.spec.dataset_fingerprint for r in results}) > 1:
        raise ValueError("trials of several datasets are never put together: choose one first")
    results = in_order(results)
    problems: list[str] = []
    drafts = [draft for name in (ON, OFF) for draft in _arms_of(name, results, problems, rule)]
    tested = [arm for arm in drafts if arm.p_value is not None]
    not_run = [1.0] * (NUM_ARMS - len(tested))  # count too: what is concluded must not hang on which arms were run
    p_values = holm([*(arm.p_value or 0.0 for arm in tested), *not_run])
    corrected = {arm.name: p_value for arm, p_value in zip(tested, p_values, strict=False)}
    arms = tuple(_judged(arm, corrected.get(arm.name), max(NUM_ARMS, len(tested)), rule) for arm in drafts)
    return CollapseStudy(arms, tuple(problems))


def _arms_of(name: str, results: Sequence[TrialResult], problems: list[str], rule: Rule) -> list[Arm]:
    """One arm; two where random weights stand in for ImageNet weights in some of its trials."""
    arms = []
    for own_name in (name, f"{name}, {SUBSTITUTED}"):
        own = [r for r in results if r.spec.backbone == BACKBONE and arm_of(r.spec) == own_name]
        if own:
            arms.append(_arm(own_name, own, problems, rule))
    return arms or [Arm(name, Verdict.NOT_TESTABLE, f"no trial of {BACKBONE} in this arm")]


def key_without(spec: TrialSpec, fields: Iterable[str] = ()) -> tuple[Any, ...]:
    """Equal for trials that differ in these fields and in their seed alone."""
    left_out = {*fields, "seed"}
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in left_out)


def has_papers_optimizer(spec: TrialSpec) -> bool:
    return all(getattr(spec, name) == value for name, value in PAPER_OPTIMIZER.items())


def _arm(name: str, results: Sequence[TrialResult], problems: list[str], rule: Rule) -> Arm:
    backgrounds: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in results:
        if result.spec.preprocessing == PAPER_PREPROCESSING:
            backgrounds[key_without(result.spec, OPTIMIZER_FIELDS)].append(result)
    usable = [group for group in backgrounds.values() if _can_be_tested(group)]
    if not usable:
        return Arm(name, Verdict.NOT_TESTABLE, _why_not_testable(backgrounds.values()))
    chosen = max(usable, key=len)
    if others := len(results) - len(chosen) - sum(r.spec.preprocessing != PAPER_PREPROCESSING for r in results):
        problems.append(
            f"{BACKBONE} {name}: {count_of_trials(others)} differ from those tested in more than optimizer and seed, "
            "and have no part in the test"
        )
    problems += version_problems(f"{BACKBONE} {name}", chosen) + failed_problems(f"{BACKBONE} {name}", chosen)
    return _draft(name, settings_of(chosen, rule), rule)


def _can_be_tested(group: Sequence[TrialResult]) -> bool:
    has_paper, has_others = (any(has_papers_optimizer(r.spec) == wanted for r in group) for wanted in (True, False))
    return has_paper and has_others and any(r.curves_on == "validation" and r.history for r in group)


def _why_not_testable(groups: Iterable[Sequence[TrialResult]]) -> str:
    found = [result for group in groups for result in group]
    paper = optimizer_label(TrialSpec(dataset="", dataset_fingerprint="", **PAPER_OPTIMIZER))
    if not any(has_papers_optimizer(r.spec) for r in found):
        return f"no trial with the paper's assumed setting, {paper}, on pixels / 255"
    if not any(r.curves_on == "validation" for r in found):
        return "no trial holds out a validation part, without which no alternative can be chosen"
    return f"no trials that differ from {paper} in nothing but the optimizer's settings"


def settings_of(group: Iterable[TrialResult], rule: Rule = Rule()) -> list[Setting]:
    """By optimizer setting, of trials with one background."""
    by_setting: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in group:
        by_setting[tuple(getattr(result.spec, name) for name in OPTIMIZER_FIELDS)].append(result)
    return [_setting(sorted(own, key=lambda r: r.spec.seed), rule) for own in by_setting.values()]


def _setting(results: Sequence[TrialResult], rule: Rule) -> Setting:
    kinds = {r.spec.seed: kind for r in results if (kind := kind_of(r, rule.one_class_share)) is not Kind.FAILED}
    validation = {
        r.spec.seed: (r.history[-1]["val_accuracy"] if r.status == COMPLETE and r.history else 0.0)
        for r in results
        if r.spec.seed in kinds and (r.curves_on == "validation" or r.status != COMPLETE)
    }
    return Setting(results[0].spec, kinds, validation)


def version_problems(what: str, group: Sequence[TrialResult]) -> list[str]:
    """A sentence for each kind of code of which the trials have used several versions."""
    problems = []
    for name in VERSIONS:
        found = sorted({r.environment[name] for r in group if r.environment.get(name)})
        if len(found) > 1:
            problems.append(f"{what}: trials of several versions are compared, {name} {' and '.join(found)}")
    return problems


def failed_problems(what: str, group: Iterable[TrialResult]) -> list[str]:
    failed = [r for r in group if kind_of(r) is Kind.FAILED]
    return [
        f"{what}: trial {r.trial_id} ({optimizer_label(r.spec)}, seed {r.spec.seed}) is {r.status} and counts nowhere: "
        f"{' '.join(r.message.split()) or 'no reason recorded'}"
        for r in failed
    ]


def _draft(name: str, settings: Sequence[Setting], rule: Rule) -> Arm:
    """The arm's counts and p-value; `_judged` completes it."""
    paper = next(setting for setting in settings if has_papers_optimizer(setting.spec))
    seeds = sorted({seed for setting in settings for seed in setting.kinds})
    choice, test = halves(seeds, rule.choice)
    others = sorted((s for s in settings if s is not paper), key=lambda s: (-mean_validation(s, choice), s.label))
    best = others[0] if others and mean_validation(others[0], choice) > -math.inf else None
    pending = Arm(name, Verdict.INCONCLUSIVE, "", paper, best, choice, test, others=tuple(others))
    first, second = paper.collapsed(), best.collapsed(test) if best else None
    if first is None or second is None:
        return pending
    p_value = boschloo(first.right, first.total, second.right, second.total)
    return replace(pending, p_value=p_value, reduction=difference(first, second))


def halves(seeds: Sequence[int], choice: int | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The seeds that choose, half of them rounded down and at least one, and the others, each in order.

    >>> halves([0, 1, 2, 3, 4])
    ((0, 1), (2, 3, 4))
    """
    order = sorted(seeds)
    if choice is not None:
        random.Random(choice).shuffle(order)
    half = max(1, len(order) // 2)
    return tuple(sorted(order[:half])), tuple(sorted(order[half:]))


def mean_validation(setting: Setting, seeds: Iterable[int]) -> float:
    """Mean last validation accuracy of these seeds; minus infinity where none has one."""
    found = [setting.validation[seed] for seed in seeds if seed in setting.validation]
    return statistics.fmean(found) if found else -math.inf


def _judged(arm: Arm, corrected: float | None, num_tested: int, rule: Rule) -> Arm:
    """The arm with its verdict, by the rules of the statement."""
    first = arm.paper.collapsed() if arm.paper else None
    if arm.paper is None or first is None:
        return replace(arm, why=arm.why or "no trial with the paper's setting has come to an end of its own")
    if first.interval.high < rule.half:
        why = f"with the paper's setting {first.right} of {first.total} seeds collapse"
        return replace(arm, verdict=Verdict.NOT_REPRODUCED, why=why, corrected=corrected)
    second = arm.alternative.collapsed(arm.test_seeds) if arm.alternative else None
    if arm.alternative is None or second is None or corrected is None:
        why = (
            f"the first half of the seeds, {len(arm.choice_seeds)}, chooses an alternative: none is left to test it on"
        )
        return replace(arm, why=why, seeds_needed=seeds_needed(first, Share(0, 1), num_tested))
    whole = arm.alternative.collapsed() or second
    if first.value >= rule.half and second.value < rule.half and corrected <= LEVEL:
        return replace(arm, verdict=Verdict.EXPLAINED, why=_contrast(first, second), corrected=corrected)
    if first.value >= rule.half and difference(first, whole).high < rule.half:
        why = f"{_contrast(first, whole)}, those of the choice included"
        return replace(arm, verdict=Verdict.NOT_EXPLAINED, why=why, corrected=corrected)
    needed = seeds_needed(first, second, num_tested)
    return replace(arm, why=_contrast(first, second), corrected=corrected, seeds_needed=needed)


def _contrast(first: Share, second: Share) -> str:
    return (
        f"{first.right} of {first.total} seeds collapse with the paper's setting, {second.right} of {second.total} "
        "with the alternative"
    )


def seeds_needed(first: Share, second: Share, num_tests: int) -> int | None:
    """The fewest seeds with which the test of the statement has its power at the rates behind these counts; None where
    MOST_SEEDS do not do. Rates are taken as (count + 1/2) / (total + 1): those of few seeds are seldom 0 or 1."""
    rates = [(share.right + 0.5) / (share.total + 1) for share in (first, second)]
    for seeds in range(2, MOST_SEEDS + 1):
        if power(seeds, seeds - max(1, seeds // 2), rates[0], rates[1], LEVEL / max(1, num_tests)) >= POWER:
            return seeds
    return None
