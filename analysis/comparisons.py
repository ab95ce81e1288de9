"""Comparisons of arms on the test part: image by image where the predictions are there, over seeds where several are.

    for setting in settings_of(trials):
        compared = compare(setting)
        compared.of("MobileNet, ImageNet ON - OFF").accuracy.interval

A family is what one question asks at once (ImageNet ON minus OFF of all networks; all pairs of networks within one
start): its p-values are Holm's. Trials of different images, or that differ in more than the comparison says, are not
compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.arms import FROZEN_RANDOM, OFF, ON, STARTS, Arm, Event, Setting
from analysis.cells import SETTINGS
from analysis.paper import BACKBONES
from analysis.predictions import Predictions, same_images
from analysis.starts import FINE_TUNED
from analysis.statistics.bootstrap import Replicates
from analysis.statistics.intervals import Interval, Pairs, Share, Z, difference, holm, mcnemar


class NotComparedError(ValueError):
    """Two arms cannot be compared; the message says why."""


@dataclass(frozen=True)
class Estimate:
    """Of a difference: two-sided p-value that it is 0; `adjusted` is Holm's within its family."""

    value: float
    interval: Interval
    p_value: float
    adjusted: float = math.nan

    @classmethod
    def of(cls, replicates: Replicates) -> Estimate:
        return cls(replicates.value, replicates.interval, replicates.p_value)

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.interval}]"


@dataclass(frozen=True)
class Comparison:
    """Accuracy and weighted F1 of `first` minus those of `second`."""

    name: str
    family: str
    first: Arm
    second: Arm
    accuracy: Estimate
    """By `method`."""
    method: str
    resampled: Estimate | None
    """The accuracies by the bootstrap; None where nothing can be paired, as F1."""
    f1: Estimate | None


@dataclass(frozen=True)
class Effect:
    """Of the 2 x 2 of pretraining and freezing, of one network."""

    name: str
    family: str
    accuracy: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Compared:
    """What can be compared at one setting. `skipped`: a sentence for what cannot, or not image by image."""

    setting: Setting
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...] = ()
    skipped: tuple[str, ...] = ()
    what: str = ""
    """Which sizes, where they are compared."""

    def of(self, first: Arm, second: Arm) -> Comparison | None:
        return next((c for c in self.comparisons if c.first is first and c.second is second), None)


def compare(setting: Setting) -> Compared:
    """ON minus OFF of each network, each pair of networks within a start, and the 2 x 2 of pretraining and freezing."""
    effects = tuple(effect for backbone in _backbones(setting) for effect in _effects(setting, backbone))
    return replace(_compared(setting, _wanted(setting)), effects=effects)


def _compared(setting: Setting, wanted: Iterable[tuple[str, Arm, Arm]]) -> Compared:
    found, skipped = [], [*setting.problems, *_counted(setting)]
    for family, first, second in wanted:
        try:
            found.append(compare_arms(first, second, family))
        except NotComparedError as error:
            skipped.append(f"{first.name} and {second.name} are not compared: {error}")
    return Compared(setting, adjusted(found), (), tuple(skipped))


def _counted(setting: Setting) -> Iterable[str]:
    for arm in setting.arms.values():
        if arm.why_unpaired:
            yield f"{arm.name}: only counts are compared, nothing image by image: {arm.why_unpaired}"


def _backbones(setting: Setting) -> tuple[str, ...]:
    """The paper's from the best to the worst in its table, then others."""
    present = dict.fromkeys(backbone for backbone, _ in setting.arms)
    return tuple(sorted(present, key=lambda b: -BACKBONES.index(b) if b in BACKBONES else 1))


def _wanted(setting: Setting) -> Iterable[tuple[str, Arm, Arm]]:
    backbones = _backbones(setting)
    for backbone in backbones:
        on, off = setting.arm(backbone, ON), setting.arm(backbone, OFF)
        if on and off:
            yield "ImageNet ON - OFF", on, off
    for start in STARTS:
        arms = [arm for backbone in backbones if (arm := setting.arm(backbone, start))]
        for first, second in itertools.combinations(arms, 2):
            yield f"networks, {start}", first, second


def compare_sizes(settings: Sequence[Setting], first: int = 256, second: int = 224) -> tuple[Compared, ...]:
    """`first` minus `second` pixels, of arms that differ in nothing else, setting by setting. The paper says both."""
    what = f"{first} - {second} pixels"
    found = []
    for large, small in itertools.permutations(settings, 2):
        if _key_without_size(large, first) == _key_without_size(small, second):
            places = [place for place in large.arms if place in small.arms]
            pairs = [(what, large.arms[place], small.arms[place]) for place in places]
            found.append(replace(_compared(large, pairs), what=what))
    return tuple(found)


def _key_without_size(setting: Setting, side: int) -> object:
    """Of a setting with this image size; of others something that equals nothing."""
    where = SETTINGS.index("image_size")
    return (*setting.key[:where], *setting.key[where + 1 :]) if setting.key[where] == side else object()


def compare_arms(first: Arm, second: Arm, family: str) -> Comparison:
    """Raises NotComparedError."""
    accuracy, method = compare_shares(first, second, lambda p: p.right)
    resampled = f1 = None
    if not (first.why_unpaired or second.why_unpaired):
        resampled = Estimate.of(first.scores.accuracy - second.scores.accuracy)
        f1 = Estimate.of(first.scores.f1 - second.scores.f1)
    return Comparison(_name(first, second, family), family, first, second, accuracy, method, resampled, f1)


def _name(first: Arm, second: Arm, family: str) -> str:
    """Of what the two differ in."""
    if first.start != second.start:
        return f"{first.name} - {second.start.removeprefix('ImageNet ')}"
    return f"{first.backbone} - {second.backbone}" if first.backbone != second.backbone else f"{first.name}, {family}"


def everywhere(predictions: Predictions) -> NDArray[np.bool_]:
    return np.ones(len(predictions.labels), bool)


def compare_shares(first: Arm, second: Arm, event: Event, among: Event = everywhere) -> tuple[Estimate, str]:
    """The share of images with `event`, of `first` minus of `second`, and by which method; raises NotComparedError.

    `among` are the images that the share is of; it must depend on their true classes only.
    """
    _refuse_other_images(first, second)
    if not among(first.predictions[0]).any():
        raise NotComparedError("the test part has no image of these classes")
    seeds = (len(first.results), len(second.results))
    if first.why_unpaired or second.why_unpaired:
        of_seeds = "one seed each" if seeds == (1, 1) else f"{seeds[0]} and {seeds[1]} seeds"
        return _unpaired(first, second, event, among), f"counts, unpaired, {of_seeds}"
    if seeds == (1, 1):
        return _paired(first.predictions[0], second.predictions[0], event, among), "McNemar, one seed each"
    estimate = Estimate.of(first.resampled(event, among) - second.resampled(event, among))
    return estimate, f"bootstrap over images and {seeds[0]} and {seeds[1]} seeds"


def _refuse_other_images(first: Arm, second: Arm) -> None:
    one, other = first.predictions[0], second.predictions[0]
    if first.why_unpaired or second.why_unpaired:
        same = np.array_equal(np.sort(one.labels), np.sort(other.labels))
    else:
        same = same_images(one, other)
    if not same:
        raise NotComparedError("they are scored on different images")


def _paired(first: Predictions, second: Predictions, event: Event, among: Event) -> Estimate:
    chosen = among(first)
    pairs = Pairs.of(event(first)[chosen], event(second)[chosen])
    return Estimate(pairs.first.value - pairs.second.value, pairs.interval, mcnemar(pairs))


def _unpaired(first: Arm, second: Arm, event: Event, among: Event) -> Estimate:
    """Of the seeds' mean shares, as if each were of one trial: seeds share their images and add none. Where there are
    several, the variance of their means is added and the test is a normal one."""
    counts = [_counts(arm, event, among) for arm in (first, second)]
    totals = [int(np.count_nonzero(among(arm.predictions[0]))) for arm in (first, second)]
    shares = [Share(round(float(own.mean())), total) for own, total in zip(counts, totals, strict=True)]
    value, interval = shares[0].value - shares[1].value, difference(*shares)
    of_seeds = sum(own.var(ddof=1) / len(own) / n**2 for own, n in zip(counts, totals, strict=True) if len(own) > 1)
    if not of_seeds:
        return Estimate(value, interval, score_test(*shares))
    low, high = (math.hypot(end - value, Z * math.sqrt(of_seeds)) for end in (interval.low, interval.high))
    error = math.sqrt(of_seeds + sum(share.value * (1 - share.value) / share.total for share in shares))
    return Estimate(value, Interval(value - low, value + high), 2 * NormalDist().cdf(-abs(value) / error))


def _counts(arm: Arm, event: Event, among: Event) -> NDArray[np.int64]:
    """Images with the event, seed by seed."""
    return np.array([np.count_nonzero(event(one)[among(one)]) for one in arm.predictions], np.int64)


def score_test(first: Share, second: Share) -> float:
    """Two-sided p-value that two shares of different images are equal: the pooled z test (the chi-square test of the
    2 x 2 table without continuity correction)."""
    total = first.total + second.total
    pooled = (first.right + second.right) / total
    variance = pooled * (1 - pooled) * (1 / first.total + 1 / second.total)
    if not variance:
        return 1.0
    return 2 * NormalDist().cdf(-abs(first.value - second.value) / math.sqrt(variance))


def holm_of(estimates: Sequence[Estimate]) -> list[Estimate]:
    """One family's, in the order given."""
    p_values = holm([one.p_value for one in estimates])
    return [replace(one, adjusted=p) for one, p in zip(estimates, p_values, strict=True)]


def adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """With Holm's p-values, family by family; accuracy, its bootstrap and F1 are families of their own."""
    done: list[Comparison] = []
    for family in dict.fromkeys(c.family for c in comparisons):
        members = [c for c in comparisons if c.family == family]
        accuracies = holm_of([c.accuracy for c in members])
        resampled, f1 = _holm_of_some([c.resampled for c in members]), _holm_of_some([c.f1 for c in members])
        done += [
            replace(member, accuracy=a, resampled=r, f1=f)
            for member, a, r, f in zip(members, accuracies, resampled, f1, strict=True)
        ]
    return tuple(done)


def _holm_of_some(estimates: Sequence[Estimate | None]) -> list[Estimate | None]:
    found = iter(holm_of([one for one in estimates if one]))
    return [next(found) if one else None for one in estimates]


EFFECTS: Final = (
    ("pretraining", (1, 1, -1, -1), 2),
    ("freezing", (1, -1, 1, -1), 2),
    ("interaction", (1, -1, -1, 1), 1),
)
"""Signs of ON, fine-tuned, frozen random, from scratch, and by what their sum is divided. Main effects are the mean of
the two differences; the interaction is what pretraining adds where the network is frozen minus what it adds where it is
trained."""


def _effects(setting: Setting, backbone: str) -> tuple[Effect, ...]:
    """Empty where an arm is missing, or has no predictions, or the arms are of different images."""
    found = [setting.arm(backbone, start) for start in (ON, FINE_TUNED, FROZEN_RANDOM, OFF)]
    arms = [arm for arm in found if arm and not arm.why_unpaired]
    if len(arms) < 4 or not all(same_images(arms[0].predictions[0], arm.predictions[0]) for arm in arms):
        return ()
    accuracy, f1 = (
        holm_of([Estimate.of(_combined(scores, signs, by)) for _, signs, by in EFFECTS])
        for scores in ([arm.scores.accuracy for arm in arms], [arm.scores.f1 for arm in arms])
    )
    names = [name for name, *_ in EFFECTS]
    return tuple(Effect(n, f"2 x 2, {backbone}", a, f) for n, a, f in zip(names, accuracy, f1, strict=True))


def _combined(scores: Sequence[Replicates], signs: Sequence[int], divisor: int) -> Replicates:
    plus = [score for score, sign in zip(scores, signs, strict=True) if sign > 0]
    minus = [score for score, sign in zip(scores, signs, strict=True) if sign < 0]
    return (plus[0] + plus[1] - minus[0] - minus[1]) / divisor
