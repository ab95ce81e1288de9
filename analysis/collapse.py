"""Does VGG16's collapse come from its optimizer settings? A test that was stated before the trials were looked at.

    study = examine(results)
    study.arms[0].verdict          # Verdict.EXPLAINED
    STATEMENT                      # the test in words, for the report

PRE-STATED TEST

Two arms, each a question of its own: ON (ImageNet weights, frozen) and OFF (from scratch). In each:

1. The paper names no optimizer; its setting is assumed to be Adam at learning rate 0.001, Keras's default. All else
   is held fixed: VGG16, pixels / 255, the data, the split, epochs, batch size. Only optimizer settings and seed differ.
   Where trials differ in more, each such background is tested by itself.
2. A trial has collapsed if it names one class (at least 0.95 of its predictions, with at most slight agreement with the
   truth: Cohen's kappa up to 0.2), or several at chance (kappa not significantly above 0), or if its loss became NaN.
   One that failed for a reason of its own counts nowhere, and is named.
3. The seeds that another optimizer setting shares with the paper's are halved: the first half (in their order, rounded
   down, at least one) has a say in the choice, the others test. The setting that collapses least on its seeds of the
   choice, (collapsed + 1/2) / (seeds + 1), is the alternative; of equal ones that of the highest mean validation
   accuracy on these seeds; of equal ones the first by name of the optimizer, learning rate, momentum and weight decay.
   A setting that shares fewer than half as many seeds as another does, or is confounded with the paper's, is chosen
   only where there is no other. No test accuracy is looked at for that.
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
   EXPLAINED       it collapses in at least half of its seeds; the alternative in fewer than half, with p of Boschloo's
                   test; and it is a cure: the 95 % interval of its accuracy on these seeds is above the share of the
                   commonest class. Both settings have at least 3 seeds
   NOT_EXPLAINED   it collapses in at least half of its seeds, and so does every other optimizer setting that has a seed
                   in common with it: the largest p of exact binomial tests that the rate of one is at most 1/2, over
                   those that can be chosen by the rule above and are spread evenly. All of their seeds count
   INCONCLUSIVE    anything else, with the seeds that would decide: the fewest at which the verdict that the rates point
                   to, (collapsed + 1/2) / (seeds + 1), comes with a power of 0.8, all its conditions on rates counted
   A verdict must also be the same where one class begins at 0.90 and at 0.99 of the predictions: one that hangs on that
   is INCONCLUSIVE. So is one that differs between backgrounds.

Trials of two settings with one seed start from the same weights; where that makes them end alike, the test errs less
often than its level says.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from analysis.banner import SUBSTITUTED
from analysis.confounding import confounded, factors_of, not_recorded, uneven, varying
from analysis.failure import Kind, kind_of
from analysis.gather import count_of_trials, in_order, show_value
from analysis.starts import FROM_SCRATCH, IMAGENET_FROZEN, start_name
from analysis.statistics.boschloo import Wanted, boschloo, fewest_seeds
from analysis.statistics.intervals import Interval, Share, difference, holm
from analysis.statistics.rates import fewest_above, fewest_below, p_not_above, p_not_below
from analysis.statistics.seeds import MIN_SEEDS, mean_over_seeds
from analysis.statistics.strata import stratified
from galaxytl.collapse import ONE_CLASS_SHARE
from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec

STATEMENT: Final = (__doc__ or "").partition("PRE-STATED TEST\n\n")[2]
LEVEL: Final = 0.05
NUM_ARMS: Final = 2
POWER: Final = 0.8
SHARES: Final = (0.90, ONE_CLASS_SHARE, 0.99)
"""Of the predictions, from which on one class is named: a verdict is the same with each of them."""

BACKBONE: Final = "VGG16"
OPTIMIZER_FIELDS: Final = ("optimizer", "learning_rate", "momentum", "weight_decay")
PAPER_OPTIMIZER: Final[Mapping[str, Any]] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "momentum": 0.0,
    "weight_decay": 0.0,
}
PAPER_PREPROCESSING: Final = "divide_by_255"


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
class Accuracy:
    """The mean test accuracy of some seeds, and its interval at 95 %: over seeds and images (Student's t) where there
    are several seeds, over images alone (Wilson) where there is one."""

    value: float
    interval: Interval
    num_seeds: int


@dataclass(frozen=True)
class Setting:
    """The seeds of one optimizer setting, those that say something first."""

    spec: TrialSpec
    """Of the trial with the lowest seed."""
    kinds: Mapping[int, Kind]
    """seed -> what became of it; FAILED ones left out."""
    validation: Mapping[int, float]
    """seed -> the last validation accuracy; 0 where the trial diverged. Empty where the curves are of the test part."""
    results: Mapping[int, TrialResult] = field(default_factory=dict, repr=False)
    """seed -> the trial, of those in `kinds`."""

    @property
    def label(self) -> str:
        return optimizer_label(self.spec)

    @property
    def order(self) -> tuple[Any, ...]:
        return tuple(getattr(self.spec, name) for name in OPTIMIZER_FIELDS)

    @property
    def accuracies(self) -> dict[int, float]:
        """seed -> accuracy on the part that trials are scored on; without those that diverged."""
        return {seed: r.metrics["accuracy"] for seed, r in self.results.items() if "accuracy" in r.metrics}

    def trials(self, seeds: Iterable[int] | None = None) -> list[TrialResult]:
        wanted = set(self.results) if seeds is None else set(seeds)
        return [result for seed, result in self.results.items() if seed in wanted]

    def collapsed(self, seeds: Iterable[int] | None = None) -> Share | None:
        """How many of the seeds collapsed; None where there is none."""
        wanted = set(self.kinds) if seeds is None else set(seeds)
        kinds = [kind for seed, kind in self.kinds.items() if seed in wanted]
        return Share(sum(kind.is_collapse for kind in kinds), len(kinds)) if kinds else None

    def ends(self, seeds: Iterable[int] | None = None) -> Counter[Kind]:
        """How many of the seeds ended in which way."""
        wanted = set(self.kinds) if seeds is None else set(seeds)
        return Counter(kind for seed, kind in self.kinds.items() if seed in wanted)

    def accuracy(self, seeds: Iterable[int] | None = None) -> Accuracy | None:
        """Of these seeds; None where none has one."""
        wanted = set(self.kinds) if seeds is None else set(seeds)
        values = [value for seed, value in self.accuracies.items() if seed in wanted]
        images = min((sum(map(sum, r.confusion)) for r in self.trials(wanted) if r.confusion), default=0)
        if not values or not images:
            return None
        mean = statistics.fmean(values)
        if len(values) == 1:
            return Accuracy(mean, Share(round(mean * images), images).interval, 1)
        # seeds share their images: the mean over seeds scatters over images as one of them does, at the most
        return Accuracy(mean, mean_over_seeds(values, mean * (1 - mean) / images).interval, len(values))


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
    backgrounds: tuple[Arm, ...] = ()
    """Where there are several: the test of each."""
    obstacle: str = ""
    """What stands against a verdict and more seeds of the same kind would not remove."""
    at_shares: Mapping[float, Verdict] = field(default_factory=dict)
    """Share of one class -> the verdict with it; empty where all trials end the same with each."""
    reproduced_p: float | None = None
    """p-value that the paper's setting collapses in at least half of the seeds, after Holm."""
    escaped_p: float | None = None
    """The largest p-value that an other setting collapses in at most half of its seeds, after Holm."""
    key: tuple[Any, ...] = field(default=(), repr=False)
    """Of the background."""

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

    @property
    def num_trials(self) -> int:
        return sum(len(setting.kinds) for setting in (self.paper, *self.others) if setting)


@dataclass(frozen=True)
class CollapseStudy:
    arms: tuple[Arm, ...]
    problems: tuple[str, ...]


def examine(results: Sequence[TrialResult], rule: Rule = Rule()) -> CollapseStudy:
    """Both arms, of the trials of one dataset; whether the verdict hangs on where one class begins is looked at for the
    rule of the statement only. Raises ValueError where they are of several datasets."""
    if len({r.spec.dataset_fingerprint for r in results}) > 1:
        raise ValueError("trials of several datasets are never put together: choose one first")
    results = in_order(r for r in results if r.spec.backbone == BACKBONE and arm_of(r.spec))
    problems: list[str] = []
    groups = [group for name in (ON, OFF) for group in _groups_of(name, results, problems)]
    tested = _tested(groups, rule)
    if rule == Rule() and any(_hangs(r) for r in results):
        others = {share: _tested(groups, replace(rule, one_class_share=share)) for share in SHARES}
        tested = [
            _steady(arm, {share: other[i].verdict for share, other in others.items()}) for i, arm in enumerate(tested)
        ]
    by_name: dict[str, list[Arm]] = defaultdict(list)
    for arm in tested:
        by_name[arm.name].append(arm)
    return CollapseStudy(tuple(map(_headline, by_name.values())), tuple(problems))


@dataclass(frozen=True)
class Group:
    """Trials of one arm and one background; or none, and why."""

    name: str
    trials: tuple[TrialResult, ...] = ()
    why_not: str = ""


def _groups_of(name: str, results: Sequence[TrialResult], problems: list[str]) -> list[Group]:
    """Those of one arm; of two where random weights stand in for ImageNet weights in some of its trials."""
    groups = []
    for own_name in (name, f"{name}, {SUBSTITUTED}"):
        if own := [r for r in results if arm_of(r.spec) == own_name]:
            groups += _backgrounds(own_name, own, problems)
    return groups or [Group(name, why_not=f"no trial of {BACKBONE} in this arm")]


def key_without(spec: TrialSpec, fields: Iterable[str] = ()) -> tuple[Any, ...]:
    """Equal for trials that differ in these fields and in their seed alone."""
    left_out = {*fields, "seed"}
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in left_out)


def has_papers_optimizer(spec: TrialSpec) -> bool:
    return all(getattr(spec, name) == value for name, value in PAPER_OPTIMIZER.items())


def _backgrounds(name: str, results: Sequence[TrialResult], problems: list[str]) -> list[Group]:
    own = [r for r in results if r.spec.preprocessing == PAPER_PREPROCESSING]
    backgrounds: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in own:
        backgrounds[key_without(result.spec, OPTIMIZER_FIELDS)].append(result)
    usable = [group for group in backgrounds.values() if _can_be_tested(group)]
    if not usable:
        return [Group(name, why_not=_why_not_testable(list(backgrounds.values())))]
    if others := len(own) - sum(map(len, usable)):
        problems.append(
            f"{BACKBONE} {name}: {count_of_trials(others)} differ from those tested in more than optimizer and seed, "
            "and have no part in the test"
        )
    for group in usable:
        problems += varying_problems(f"{BACKBONE} {name}", group) + failed_problems(f"{BACKBONE} {name}", group)
    return [Group(name, tuple(group)) for group in usable]


def _can_be_tested(group: Sequence[TrialResult]) -> bool:
    return _has_both(group) and any(map(_has_validation, group)) and not _all_diverged(group)


def _has_both(group: Sequence[TrialResult]) -> bool:
    return all(any(has_papers_optimizer(r.spec) == wanted for r in group) for wanted in (True, False))


def _has_validation(result: TrialResult) -> bool:
    """Of a trial that did not end, the row does not say what its curves are of."""
    if result.status != COMPLETE:
        return result.spec.validation_fraction > 0
    return result.curves_on == "validation" and bool(result.history)


def _all_diverged(group: Iterable[TrialResult]) -> bool:
    return {kind_of(r) for r in group} - {Kind.FAILED} == {Kind.DIVERGED}


def _why_not_testable(groups: Sequence[Sequence[TrialResult]]) -> str:
    present = [result for group in groups for result in group]
    paper = optimizer_label(TrialSpec(dataset="", dataset_fingerprint="", **PAPER_OPTIMIZER))
    if not any(has_papers_optimizer(r.spec) for r in present):
        return f"no trial with the paper's assumed setting, {paper}, on pixels / 255"
    if any(map(_has_both, groups)) and _all_diverged(r for group in groups if _has_both(group) for r in group):
        return (
            "every trial diverged, its loss NaN or infinite: with any optimizer, and a fault of the run looks the same"
        )
    if not any(map(_has_validation, present)):
        return "no trial holds out a validation part, without which no alternative can be chosen"
    also = _nearest_difference(groups)
    return f"no trials that differ from {paper} in nothing but the optimizer's settings" + (f": {also}" if also else "")


def _nearest_difference(groups: Sequence[Sequence[TrialResult]]) -> str:
    """In what the trials of other optimizers that are nearest to the paper's setting differ from it besides."""
    papers, others = ([group[0].spec for group in groups if _fits(group, wanted)] for wanted in (True, False))
    pairs = [(_differ(a, b), a, b) for a in papers for b in others]
    if not pairs:
        return ""
    fields, first, second = min(pairs, key=lambda pair: (len(pair[0]), pair[0]))
    return "they differ in " + ", ".join(
        f"{n} ({show_value(getattr(first, n))} against {show_value(getattr(second, n))})" for n in fields
    )


def _fits(group: Sequence[TrialResult], is_papers: bool) -> bool:
    return any(has_papers_optimizer(r.spec) == is_papers for r in group)


def _background_fields() -> list[str]:
    return [name for name in SPEC_FIELDS if name not in (*OPTIMIZER_FIELDS, "seed")]


def _differ(first: TrialSpec, second: TrialSpec) -> list[str]:
    return [name for name in _background_fields() if getattr(first, name) != getattr(second, name)]


def background_text(result: TrialResult) -> str:
    """What a trial has in common with those that it is compared with."""
    spec, images = result.spec, result.num_images
    preprocessing = "pixels / 255" if spec.preprocessing == PAPER_PREPROCESSING else "the backbone's own preprocessing"
    counts = f", {images['train']:,} images to train on and {images['test']:,} to test on" if len(images) > 1 else ""
    part = f"a test part of {spec.test_fraction:g}, of the rest {spec.validation_fraction:g} for validation"
    return (
        f"{spec.num_epochs} epochs of batches of {spec.batch_size}, {spec.image_size} pixels a side, {preprocessing}"
        f"{counts}, split {spec.split_seed} with {part}"
    )


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
    return Setting(results[0].spec, kinds, validation, {r.spec.seed: r for r in results if r.spec.seed in kinds})


def varying_problems(what: str, group: Sequence[TrialResult]) -> list[str]:
    """A sentence for each thing besides optimizer and seed in which trials that are compared differ."""
    return [
        f"{what}: trials that are compared differ in more than optimizer and seed, {name} {' and '.join(values)}"
        for name, values in varying(group).items()
    ] + [
        f"{what}: some trials that are compared do not record {name}: taken to be as with the others"
        for name in not_recorded(group, ())
    ]


def failed_problems(what: str, group: Iterable[TrialResult]) -> list[str]:
    failed = [r for r in group if kind_of(r) is Kind.FAILED]
    return [
        f"{what}: trial {r.trial_id} ({optimizer_label(r.spec)}, seed {r.spec.seed}) is {r.status} and counts nowhere: "
        f"{' '.join(r.message.split()) or 'no reason recorded'}"
        for r in failed
    ]


def _tested(groups: Sequence[Group], rule: Rule) -> list[Arm]:
    """Each group's test, judged. What is corrected together: the tests that have seeds enough to be significant at all,
    which is known before any outcome (Tarone 1990, Biometrics 46, 515), and at least one an arm, run or not."""
    drafts = [_draft(group, rule) for group in groups]
    families = [
        _corrected([draft.p_value for draft in drafts], [draft.least_p for draft in drafts]),
        _corrected([draft.low_p for draft in drafts], [draft.least_low_p for draft in drafts]),
        _corrected([draft.high_p for draft in drafts], [draft.least_high_p for draft in drafts]),
    ]
    num_tests = max(NUM_ARMS, sum(draft.least_p <= LEVEL for draft in drafts))
    return [
        _judged(replace(draft.arm, corrected=a, reproduced_p=b, escaped_p=c), draft, num_tests, rule)
        for draft, a, b, c in zip(drafts, *families, strict=True)
    ]


def _corrected(p_values: Sequence[float | None], least: Sequence[float]) -> list[float | None]:
    """By Holm, of those whose `least` possible value is significant; the others are 1."""
    family = [i for i, p in enumerate(p_values) if p is not None and least[i] <= LEVEL]
    not_run = [1.0] * (NUM_ARMS - len(family))  # what is concluded must not hang on which arms were run
    found = dict(zip(family, holm([*((p_values[i] or 0.0) for i in family), *not_run]), strict=False))
    return [None if p is None else found.get(i, 1.0) for i, p in enumerate(p_values)]


@dataclass(frozen=True)
class Draft:
    """An arm's counts before it is judged, its p-values, and the least that they could be with so many seeds."""

    arm: Arm
    p_value: float | None = None
    least_p: float = 1.0
    low_p: float | None = None
    least_low_p: float = 1.0
    high_p: float | None = None
    least_high_p: float = 1.0


def _draft(group: Group, rule: Rule) -> Draft:
    if not group.trials:
        return Draft(Arm(group.name, Verdict.NOT_TESTABLE, group.why_not))
    settings = settings_of(group.trials, rule)
    paper = next(setting for setting in settings if has_papers_optimizer(setting.spec))
    others = _in_order_of_choice(paper, [s for s in settings if s is not paper], rule)
    best = next(iter(_candidates(paper, others, rule)), others[0])
    choice, test = halves(_shared(paper, best), rule.choice)
    key = key_without(paper.spec, OPTIMIZER_FIELDS)
    text = background_text(next((r for r in group.trials if r.num_images), group.trials[0]))
    arm = Arm(
        group.name, Verdict.INCONCLUSIVE, "", paper, best, choice, test, others=tuple(others), background=text, key=key
    )
    first, second = paper.collapsed(), best.collapsed(test)
    if first is None:
        return Draft(arm)
    draft = Draft(arm, low_p=p_not_below(first, rule.half), least_low_p=p_not_below(Share(0, first.total), rule.half))
    shares = [s.collapsed() for s in _comparable(paper, others)]
    known = [share for share in shares if share]
    if known:
        high, least = (
            max(p_not_above(s, rule.half) for s in own) for own in (known, [Share(s.total, s.total) for s in known])
        )
        draft = replace(draft, high_p=high, least_high_p=least)
    if second is None:
        return draft
    p_value = boschloo(first.right, first.total, second.right, second.total)
    least = boschloo(first.total, first.total, 0, second.total)
    return replace(
        draft, arm=replace(arm, p_value=p_value, reduction=difference(first, second)), p_value=p_value, least_p=least
    )


def _shared(paper: Setting, other: Setting) -> list[int]:
    return sorted(set(paper.kinds) & set(other.kinds))


def _in_order_of_choice(paper: Setting, others: Sequence[Setting], rule: Rule) -> list[Setting]:
    """By the statement: least collapsed, then of the highest validation accuracy, then by optimizer."""

    def place(setting: Setting) -> tuple[Any, ...]:
        seeds, _ = halves(_shared(paper, setting), rule.choice)
        share = setting.collapsed(seeds)
        rate = _shrunk(share) if share else math.inf
        return rate, -mean_validation(setting, seeds), setting.order

    return sorted(others, key=place)


def _shrunk(share: Share) -> float:
    """A rate that few seeds do not make 0 or 1."""
    return (share.right + 0.5) / (share.total + 1)


def _candidates(paper: Setting, others: Sequence[Setting], rule: Rule) -> list[Setting]:
    """The settings that can be chosen, in their order; where all are confounded, those."""
    enough = _with_seeds_enough(paper, others)
    free = [s for s in enough if not confounded(paper.trials(), s.trials(halves(_shared(paper, s), rule.choice)[1]))]
    return free or enough


def _with_seeds_enough(paper: Setting, others: Sequence[Setting]) -> list[Setting]:
    """A seed to choose and one to test, and at least half as many in common with the paper's setting as any other."""
    most = max((len(_shared(paper, setting)) for setting in others), default=0)
    return [s for s in others if len(_shared(paper, s)) >= max(2, most / 2)]


def _comparable(paper: Setting, others: Sequence[Setting]) -> list[Setting]:
    """With seeds enough, neither confounded with the paper's setting nor unevenly spread."""
    own = paper.trials()
    return [
        s for s in _with_seeds_enough(paper, others) if not confounded(own, s.trials()) and not uneven(own, s.trials())
    ]


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


def _judged(arm: Arm, draft: Draft, num_tests: int, rule: Rule) -> Arm:
    """The arm with its verdict, by the rules of the statement."""
    first = arm.paper.collapsed() if arm.paper else None
    if arm.paper is None or arm.alternative is None or first is None:
        return replace(arm, why=arm.why or "no trial with the paper's setting has come to an end of its own")
    own = f"{first.right} of {first.total} seeds collapse with the paper's setting{_ways(arm.paper)}"
    if arm.reproduced_p is not None and arm.reproduced_p <= LEVEL:
        return replace(arm, verdict=Verdict.NOT_REPRODUCED, why=own)
    second = arm.alternative.collapsed(arm.test_seeds)
    if second is None:
        why = f"{own}; of the seeds that another setting shares with it none is left to test one after the choice"
        return _open(arm, why, (first, Share(0, 1)), num_tests, rule)
    contrast = f"{own}, {second.right} of {second.total} with the alternative, {arm.alternative.label}"
    if first.value >= rule.half and second.value < rule.half and _at_most_level(arm.corrected):
        return _contrasted(arm, contrast, (first, second), num_tests, rule)
    if first.value >= rule.half and _at_most_level(arm.escaped_p) and _all_collapse(arm.others, rule):
        least = min((s.collapsed() for s in arm.others if s.kinds), key=lambda s: s.value if s else 1)
        why = (
            f"{own}, and with all of {len(arm.others)} other settings at least {least.right} of {least.total}"
            if least
            else own
        )
        return replace(arm, verdict=Verdict.NOT_EXPLAINED, why=why)
    if apart := confounded(arm.paper.trials(), arm.alternative.trials(arm.test_seeds)):
        return replace(arm, why=f"{contrast}; {_confounding(apart)}", obstacle=_confounding(apart))
    return _open(arm, contrast, (first, second), num_tests, rule)


def _at_most_level(p_value: float | None) -> bool:
    return p_value is not None and p_value <= LEVEL


def _all_collapse(others: Iterable[Setting], rule: Rule) -> bool:
    """In at least half of their seeds, each: also those that are too few to be tested."""
    shares = (setting.collapsed() for setting in others)
    return all(share.value >= rule.half for share in shares if share)


def _contrasted(arm: Arm, contrast: str, shares: tuple[Share, Share], num_tests: int, rule: Rule) -> Arm:
    """Of an arm whose collapse rates differ as EXPLAINED wants it: whether nothing else stands against that."""
    assert arm.paper is not None
    assert arm.alternative is not None
    own, others = arm.paper.trials(), arm.alternative.trials(arm.test_seeds)
    if apart := confounded(own, others):
        return replace(arm, why=f"{contrast}; {_confounding(apart)}", obstacle=_confounding(apart))
    if factors := [name for name in uneven(own, others) if within(arm, name) > LEVEL]:
        why = f"the two are spread unevenly over {' and '.join(factors)}, within which the difference is not shown"
        return replace(arm, why=f"{contrast}; {why}", obstacle=why)
    if min(len(arm.paper.kinds), len(arm.alternative.kinds)) < MIN_SEEDS or len(others) < 2:
        why = f"{contrast}: of fewer than {MIN_SEEDS} seeds, which speak of these networks only"
        return _open(arm, why, shares, num_tests, rule)
    if not is_cure(arm):
        why = f"the alternative is no cure: {_accuracy_text(arm)}"
        return replace(arm, why=f"{contrast}; {why}", obstacle=why)
    return replace(arm, verdict=Verdict.EXPLAINED, why=contrast)


def _confounding(apart: Sequence[str]) -> str:
    return (
        f"the trials of the two settings differ in more than the optimizer, {'; '.join(apart)}, which may be the cause"
    )


def within(arm: Arm, factor: str) -> float:
    """The p-value that the paper's setting and the alternative collapse equally often within each value of a factor
    that `analysis.confounding` knows."""
    tables: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    pairs = ((0, arm.paper, None), (2, arm.alternative, arm.test_seeds))
    for column, setting, seeds in pairs:
        for result in setting.trials(seeds) if setting else ():
            table = tables[factors_of(result).get(factor, "")]
            table[column] += setting.kinds[result.spec.seed].is_collapse if setting else 0
            table[column + 1] += 1
    return stratified([(a, b, c, d) for a, b, c, d in tables.values()])


def is_cure(arm: Arm) -> bool:
    """Whether the interval of the alternative's accuracy is above the share of the commonest class."""
    _, accuracy = arm.accuracies
    return accuracy is not None and arm.commonest is not None and accuracy.interval.low > arm.commonest


def _accuracy_text(arm: Arm) -> str:
    _, accuracy = arm.accuracies
    if accuracy is None:
        return "it has no accuracy"
    value = f"its accuracy is {accuracy.value:.3f} (95 % interval {accuracy.interval})"
    return f"{value}, and always naming the commonest class gives {arm.commonest or math.nan:.3f}"


def _open(arm: Arm, why: str, shares: tuple[Share, Share], num_tests: int, rule: Rule) -> Arm:
    """INCONCLUSIVE, with the seeds that would decide."""
    return replace(arm, why=why, seeds_needed=seeds_that_decide(*shares, num_tests, rule))


def _ways(setting: Setting) -> str:
    """How its seeds collapsed, where that is said."""
    ends = setting.ends()
    if not (diverged := ends[Kind.DIVERGED]):
        return ""
    lost = f"{'all' if diverged == len(setting.kinds) else diverged} diverged, the loss NaN or infinite"
    return f" ({lost}, which is not the one class of the paper)"


def seeds_needed(first: Share, second: Share, num_tests: int, rule: Rule = Rule()) -> int | None:
    """The fewest seeds with which the test of the statement comes to EXPLAINED with its power at the rates behind these
    counts, all conditions on rates counted; None where no number that is thought of does. Rates are taken as
    (count + 1/2) / (total + 1): those of few seeds are seldom 0 or 1."""
    return fewest_seeds(_shrunk(first), _shrunk(second), Wanted(LEVEL / max(1, num_tests), rule.half, POWER))


def seeds_that_decide(first: Share, second: Share, num_tests: int, rule: Rule = Rule()) -> int | None:
    """The same of the verdict to which these rates point: NOT_REPRODUCED where the first is below half, EXPLAINED where
    the second is, else NOT_EXPLAINED."""
    level = LEVEL / max(1, num_tests)
    if first.value < rule.half:
        return fewest_below(_shrunk(first), rule.half, level, POWER)
    if second.value < rule.half:
        return seeds_needed(first, second, num_tests, rule)
    return fewest_above(_shrunk(second), rule.half, level, POWER)


def _hangs(result: TrialResult) -> bool:
    """Whether it is a question of the share whether the trial collapsed."""
    return len({kind_of(result, share).is_collapse for share in SHARES}) > 1


def _steady(arm: Arm, at_shares: Mapping[float, Verdict]) -> Arm:
    """The arm without a verdict where that hangs on the share from which on one class is named."""
    if arm.verdict in {Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE} or len(set(at_shares.values())) == 1:
        return replace(arm, at_shares=at_shares)
    others = ", ".join(f"{verdict.value} at {share:.2f}" for share, verdict in at_shares.items())
    why = f"the verdict hangs on the share of the predictions from which on one class is named: {others}"
    return replace(arm, verdict=Verdict.INCONCLUSIVE, why=f"{arm.why}; {why}", obstacle=why, at_shares=at_shares)


def _headline(arms: Sequence[Arm]) -> Arm:
    """One arm for the tests of all its backgrounds: of the largest that has the verdict, where they do not disagree."""
    if len(arms) == 1:
        return arms[0]
    labels = _labels(arms)
    largest = sorted(range(len(arms)), key=lambda i: (-arms[i].num_trials, labels[i]))
    decided = {arm.verdict for arm in arms} - {Verdict.INCONCLUSIVE}
    if len(decided) > 1:
        named = "; ".join(f"{arms[i].verdict.value} with {labels[i]}" for i in largest)
        why = f"the answer is not the same for all trials: {named}"
        chosen = replace(arms[largest[0]], verdict=Verdict.INCONCLUSIVE, seeds_needed=None)
        return replace(chosen, why=f"{why}. Choose with --where", obstacle=why, backgrounds=tuple(arms))
    chosen = arms[next(i for i in largest if not decided or arms[i].verdict in decided)]
    named = "; ".join(f"{arms[i].verdict.value} with {labels[i]}" for i in largest)
    return replace(chosen, why=f"{chosen.why}; of {len(arms)} backgrounds: {named}", backgrounds=tuple(arms))


def _labels(arms: Sequence[Arm]) -> list[str]:
    """What sets each background apart from the others, as `--where` takes it."""
    specs = [arm.paper.spec for arm in arms if arm.paper]
    names = [name for name in _background_fields() if len({getattr(spec, name) for spec in specs}) > 1]
    return [" ".join(f"{name}={show_value(getattr(spec, name))}" for name in names) for spec in specs]
