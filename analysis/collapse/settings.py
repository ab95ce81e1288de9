"""What the collapse question is asked of: trials of VGG16 by arm, by what they have in common, and by optimizer.

groups = groups_of(ON, results, problems)             # a group an arm and background, or why there is none
paper, *others = optimizer_settings(groups[0].trials)        # seeds of one optimizer setting each
paper.collapsed(), paper.accuracy()                   # of all seeds, or of those that are given
"""

from __future__ import annotations

import functools
import math
import operator
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from analysis.collapse.confounding import not_recorded, varying
from analysis.statistics.intervals import Interval, Share, binomial_variance
from analysis.statistics.seeds import mean_over_seeds
from analysis.trials.banner import SUBSTITUTED
from analysis.trials.endings import Ending, ending_of
from analysis.trials.load import count_of, count_of_trials, show_value
from analysis.trials.starts import FROM_SCRATCH, IMAGENET_FROZEN, start_name
from galaxytl.results.collapse import ONE_CLASS_SHARE
from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec
from galaxytl.trial.epochs import scored_values

BACKBONE: Final = "VGG16"
OPTIMIZER_FIELDS: Final = ("optimizer", "learning_rate", "momentum", "nesterov", "weight_decay")
WARMUP_FIELDS: Final = ("warmup_epochs", "warmup_steps")
SCHEDULE_FIELDS: Final = ("schedule", "learning_rate_floor", "step_epochs", "step_factor")
DECAY_FIELDS: Final = ("learning_rate_decay",)
CLIPPING_FIELDS: Final = ("global_clipnorm", "clipnorm", "clipvalue")
HOW_IT_STEPS: Final = (*WARMUP_FIELDS, *SCHEDULE_FIELDS, *DECAY_FIELDS, *CLIPPING_FIELDS)
"""How long an optimizer's steps are in the course of training. With what the optimizer is, these are its settings."""
SETTING_FIELDS: Final = (*OPTIMIZER_FIELDS, *HOW_IT_STEPS)
PAPER_OPTIMIZER: Final[Mapping[str, Any]] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "momentum": 0.0,
    "weight_decay": 0.0,
    **{name: SPEC_FIELDS[name].default for name in ("nesterov", *HOW_IT_STEPS)},
}
"""What the paper is taken to have had, as it says nothing of it: Keras's defaults, one rate, and nothing clipped."""
PAPER_PREPROCESSING: Final = "divide_by_255"


ON, OFF = "ON", "OFF"
ARMS: Final = {IMAGENET_FROZEN: ON, FROM_SCRATCH: OFF}


def arm_of(spec: TrialSpec) -> str | None:
    """Return the arm of a trial; None outside both. Random weights in place of ImageNet's make an arm of their own: the
    two are never mixed, and the one never called by the other's name."""
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
    kinds: Mapping[int, Ending]
    """seed -> what became of it; FAILED ones left out."""
    validation: Mapping[int, float]
    """seed -> the last validation accuracy; 0 where the trial diverged. None where the curves are of the test part, or
    not there."""
    results: Mapping[int, TrialResult] = field(default_factory=dict, repr=False)
    """seed -> the trial, of those in `kinds`."""

    @property
    def label(self) -> str:
        return setting_label(self.spec)

    @property
    def order(self) -> tuple[Any, ...]:
        return tuple(getattr(self.spec, name) for name in SETTING_FIELDS)

    @property
    def accuracies(self) -> dict[int, float]:
        """seed -> accuracy on the part that trials are scored on; without those that diverged."""
        return {seed: r.metrics["accuracy"] for seed, r in self.results.items() if "accuracy" in r.metrics}

    def trials(self, seeds: Iterable[int] | None = None) -> list[TrialResult]:
        return _of_seeds(self.results, seeds)

    def collapsed(self, seeds: Iterable[int] | None = None) -> Share | None:
        """Return how many of the seeds collapsed; None where there is none."""
        kinds = _of_seeds(self.kinds, seeds)
        return Share(sum(kind.is_collapse for kind in kinds), len(kinds)) if kinds else None

    def ends(self) -> Counter[Ending]:
        """Return how many of the seeds ended in which way."""
        return Counter(self.kinds.values())

    def accuracy(self, seeds: Iterable[int] | None = None) -> Accuracy | None:
        """Return that of these seeds; None where none has one."""
        seeds = None if seeds is None else set(seeds)
        values = _of_seeds(self.accuracies, seeds)
        images = min((sum(map(sum, r.confusion)) for r in self.trials(seeds) if r.confusion), default=0)
        if not values or not images:
            return None
        mean = statistics.fmean(values)
        if len(values) == 1:
            return Accuracy(mean, Share(round(mean * images), images).interval, 1)
        # seeds share their images: the mean over seeds scatters over images as one of them does, at the most
        return Accuracy(mean, mean_over_seeds(values, binomial_variance(mean, images)).interval, len(values))


Value = TypeVar("Value")


def _of_seeds(by_seed: Mapping[int, Value], seeds: Iterable[int] | None) -> list[Value]:
    """Return the values of these seeds, or of all where none are named."""
    wanted = by_seed.keys() if seeds is None else set(seeds)
    return [value for seed, value in by_seed.items() if seed in wanted]


def optimizer_label(spec: TrialSpec) -> str:
    """
    >>> optimizer_label(TrialSpec(dataset="", dataset_fingerprint="", optimizer="sgd", momentum=0.9))
    'sgd 0.001, momentum 0.9'
    """
    momentum = f", {'Nesterov ' if spec.nesterov else ''}momentum {spec.momentum:g}" if spec.momentum else ""
    decay = f", weight decay {spec.weight_decay:g}" if spec.weight_decay else ""
    return f"{spec.optimizer} {spec.learning_rate:g}{momentum}{decay}"


def setting_label(spec: TrialSpec) -> str:
    """Return all settings of the optimizer: what it is, and how it steps.

    >>> setting_label(TrialSpec(dataset="", dataset_fingerprint="", warmup_epochs=2.0, global_clipnorm=1.0))
    'adam 0.001, warm-up of 2 epochs, gradients clipped to a norm of 1'
    """
    texts = (warmup_text(spec), schedule_text(spec), decay_text(spec), clipping_text(spec))
    return ", ".join([optimizer_label(spec), *filter(None, texts)])


def warmup_text(spec: TrialSpec) -> str:
    """Return how the learning rate rises; empty where it does not."""
    if spec.warmup_steps:
        return f"warm-up of {count_of(spec.warmup_steps, 'step')}"
    epochs = f"{spec.warmup_epochs:g} epoch{'' if spec.warmup_epochs == 1 else 's'}"
    return f"warm-up of {epochs}" if spec.warmup_epochs else ""


def schedule_text(spec: TrialSpec) -> str:
    """Return how the learning rate falls; empty where it does not."""
    steps = f" by {spec.step_factor:g} every {spec.step_epochs:g} epochs" if spec.schedule == "step" else ""
    floor = f" down to {spec.learning_rate_floor:g}" if spec.learning_rate_floor else ""
    return "" if spec.schedule == "constant" else f"{spec.schedule} schedule{steps}{floor}"


def decay_text(spec: TrialSpec) -> str:
    """Return how much smaller the learning rate is in each block further from the output; empty where it is not."""
    return f"rates times {spec.learning_rate_decay:g} a block" if spec.learning_rate_decay != 1 else ""


def clipping_text(spec: TrialSpec) -> str:
    """Return how gradients are clipped; empty where they are not."""
    ways = {
        f"gradients clipped to a norm of {spec.global_clipnorm:g}": spec.global_clipnorm,
        f"each array's gradient clipped to a norm of {spec.clipnorm:g}": spec.clipnorm,
        f"gradients clipped to values of {spec.clipvalue:g}": spec.clipvalue,
    }
    return next((text for text, size in ways.items() if size), "")


@dataclass(frozen=True)
class Group:
    """Trials of one arm and one background; or none, and why."""

    name: str
    trials: tuple[TrialResult, ...] = ()
    why_not: str = ""


def groups_of(name: str, results: Sequence[TrialResult], problems: list[str]) -> list[Group]:
    """Return the groups of one arm; of two where random weights stand in for ImageNet weights in some of its trials."""
    groups = []
    for own_name in (name, f"{name}, {SUBSTITUTED}"):
        if own := [r for r in results if arm_of(r.spec) == own_name]:
            groups += _backgrounds(own_name, own, problems)
    return groups or [Group(name, why_not=f"no trial of {BACKBONE} in this arm")]


def key_without(spec: TrialSpec, fields: Iterable[str] = ()) -> tuple[Any, ...]:
    """Return what is equal for trials that differ in these fields and in their seed alone."""
    values: tuple[Any, ...] = _all_but(frozenset((*fields, "seed")))(spec)
    return values


@functools.cache
def _all_but(fields: frozenset[str]) -> operator.attrgetter[Any]:
    """Return what gives a spec's other fields, 20 times as fast as a loop over them: rivals want a million."""
    return operator.attrgetter(*(name for name in SPEC_FIELDS if name not in fields))


def uses_paper_optimizer(spec: TrialSpec) -> bool:
    return all(getattr(spec, name) == value for name, value in PAPER_OPTIMIZER.items())


def is_asked(results: Iterable[TrialResult]) -> bool:
    """Return whether there are trials of the question: of the network that collapsed in the paper, at the optimizer
    setting assumed for it and at another."""
    own = [r.spec for r in results if r.spec.backbone == BACKBONE and arm_of(r.spec)]
    return {uses_paper_optimizer(spec) for spec in own if spec.preprocessing == PAPER_PREPROCESSING} == {True, False}


def _backgrounds(name: str, results: Sequence[TrialResult], problems: list[str]) -> list[Group]:
    own = [r for r in results if r.spec.preprocessing == PAPER_PREPROCESSING]
    backgrounds: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in own:
        backgrounds[key_without(result.spec, SETTING_FIELDS)].append(result)
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
    return _has_both(_ended(group)) and not _all_diverged(group)


def _ended(group: Iterable[TrialResult]) -> list[TrialResult]:
    """Return those that count: the others failed for a reason of their own."""
    return [r for r in group if ending_of(r) is not Ending.FAILED]


def _has_both(group: Sequence[TrialResult]) -> bool:
    return all(any(uses_paper_optimizer(r.spec) == wanted for r in group) for wanted in (True, False))


def _all_diverged(group: Iterable[TrialResult]) -> bool:
    return {ending_of(r) for r in group} - {Ending.FAILED} == {Ending.DIVERGED}


def _why_not_testable(groups: Sequence[Sequence[TrialResult]]) -> str:
    present = [result for group in groups for result in group]
    paper = optimizer_label(TrialSpec(dataset="", dataset_fingerprint="", **PAPER_OPTIMIZER))
    if not any(uses_paper_optimizer(r.spec) for r in present):
        return f"no trial with the paper's assumed setting, {paper}, on pixels / 255"
    both = [group for group in groups if _has_both(group)]
    if ended := [group for group in both if _has_both(_ended(group))]:  # these would be tested, had not all diverged
        counts = " that counts" if any(len(_ended(group)) < len(group) for group in ended) else ""
        return (
            f"every trial{counts} diverged, its loss NaN or infinite: with any optimizer, and a fault of the run looks "
            "the same"
        )
    if both:
        return _why_none_ended(max(both, key=len), paper)
    also = _nearest_difference(groups)
    return f"no trials that differ from {paper} in nothing but the optimizer's settings" + (f": {also}" if also else "")


def _why_none_ended(group: Sequence[TrialResult], paper: str) -> str:
    """Say why, of trials of which none counts of the paper's setting, or none of the others."""
    of_papers = not any(uses_paper_optimizer(r.spec) for r in _ended(group))
    lost = [r for r in group if uses_paper_optimizer(r.spec) == of_papers]
    whose = f"with the paper's setting, {paper}," if of_papers else "with another optimizer setting"
    return f"of {count_of_trials(len(lost))} {whose} none came to its end: {_reason(lost[0])}"


def _reason(result: TrialResult) -> str:
    return " ".join(result.message.split()) or f"{result.status}, no reason recorded"


def _nearest_difference(groups: Sequence[Sequence[TrialResult]]) -> str:
    """Say in what the trials of other optimizers that are nearest to the paper's setting differ from it besides."""
    papers, others = ([group[0].spec for group in groups if _fits(group, wanted)] for wanted in (True, False))
    pairs = [(_differ(a, b), a, b) for a in papers for b in others]
    if not pairs:
        return ""
    fields, first, second = min(pairs, key=lambda pair: (len(pair[0]), pair[0]))
    return "they differ in " + ", ".join(
        f"{n} ({show_value(getattr(first, n))} against {show_value(getattr(second, n))})" for n in fields
    )


def _fits(group: Sequence[TrialResult], is_papers: bool) -> bool:
    return any(uses_paper_optimizer(r.spec) == is_papers for r in group)


def background_fields() -> list[str]:
    return [name for name in SPEC_FIELDS if name not in (*SETTING_FIELDS, "seed")]


def _differ(first: TrialSpec, second: TrialSpec) -> list[str]:
    return [name for name in background_fields() if getattr(first, name) != getattr(second, name)]


def background_text(result: TrialResult) -> str:
    """Return what a trial has in common with those that it is compared with."""
    spec, images = result.spec, result.num_images
    preprocessing = "pixels / 255" if spec.preprocessing == PAPER_PREPROCESSING else "the backbone's own preprocessing"
    counts = f", {images['train']:,} training and {images['test']:,} test images" if len(images) > 1 else ""
    return (
        f"{spec.num_epochs} epochs, batches of {spec.batch_size}, {spec.image_size} x {spec.image_size} pixels, "
        f"{preprocessing}{counts}, split {spec.split_seed} (test part {spec.test_fraction:g}, validation "
        f"{spec.validation_fraction:g} of the rest)"
    )


def optimizer_settings(group: Iterable[TrialResult], one_class_share: float = ONE_CLASS_SHARE) -> list[Setting]:
    """Sort by optimizer setting trials with one background."""
    by_setting: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in group:
        by_setting[tuple(getattr(result.spec, name) for name in SETTING_FIELDS)].append(result)
    return [_setting(sorted(own, key=lambda r: r.spec.seed), one_class_share) for own in by_setting.values()]


def _setting(results: Sequence[TrialResult], one_class_share: float) -> Setting:
    kinds = {r.spec.seed: kind for r in results if (kind := ending_of(r, one_class_share)) is not Ending.FAILED}
    found = {r.spec.seed: _last_validation(r) for r in results if r.spec.seed in kinds}
    validation = {seed: value for seed, value in found.items() if value is not None}
    return Setting(results[0].spec, kinds, validation, {r.spec.seed: r for r in results if r.spec.seed in kinds})


def _last_validation(result: TrialResult) -> float | None:
    """Return the validation accuracy of the epoch that is scored; of a trial that diverged 0; None where none is
    recorded."""
    if result.status != COMPLETE:
        return 0.0
    value = scored_values(result).get("val_accuracy", math.nan)
    return value if result.curves_on == "validation" and math.isfinite(value) else None


def varying_problems(what: str, group: Sequence[TrialResult]) -> list[str]:
    """Return a sentence for each thing besides optimizer and seed in which trials that are compared differ, and one for
    what some of them do not say."""
    ended = [r for r in group if ending_of(r) is not Ending.FAILED]
    problems = [
        f"{what}: trials that are compared differ in more than optimizer and seed, {name} {' and '.join(values)}"
        for name, values in varying(ended).items()
    ]
    if number := sum(not r.environment for r in ended):
        problems.append(
            f"{what}: {number} of {count_of_trials(len(ended))} that are compared do not record their versions and "
            "device, which are taken to be the same"
        )
    elif names := not_recorded(ended, ()):
        problems.append(
            f"{what}: some trials that are compared do not record {', '.join(names)}, taken to be as with the others"
        )
    return problems


def failed_problems(what: str, group: Iterable[TrialResult]) -> list[str]:
    """Return a sentence for each optimizer setting and reason for which trials of it failed."""
    failed: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for r in group:
        if ending_of(r) is Ending.FAILED:
            failed[setting_label(r.spec), r.status, _reason(r)].append(r.spec.seed)
    return [
        f"{what}: {count_of_trials(len(seeds))} with {label} ({seeds_named(seeds)}), {status}, not counted: {reason}"
        for (label, status, reason), seeds in failed.items()
    ]


def seeds_named(seeds: Sequence[int]) -> str:
    """
    >>> seeds_named([1, 0]), seeds_named([4]), seeds_named([])
    ('seeds 0, 1', 'seed 4', 'no seed')
    """
    if not seeds:
        return "no seed"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def mean_validation(setting: Setting, seeds: Iterable[int]) -> float:
    """Return the mean last validation accuracy of these seeds; minus infinity where none has one."""
    found = [setting.validation[seed] for seed in seeds if seed in setting.validation]
    return statistics.fmean(found) if found else -math.inf
