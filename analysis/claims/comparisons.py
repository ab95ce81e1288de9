"""Comparisons of arms on the test part: over seeds where each arm has several, else of the networks that there are.

    for setting in trial_settings(trials):
        compared = compare(setting)
        compared.of(on, off).accuracy.interval

A family is what one question asks at once (ImageNet ON minus OFF of all networks; all pairs of networks within one
start): its p-values are Holm's. Trials of different images, or that differ in more than the comparison says, are not
compared.

With one seed in either arm a difference is that of these trained networks, tested over images: how far the next seed
would be off, one seed does not say. With two seeds or more of both the seed is the unit (`statistics.seeds`), and from
three of both a difference is one of the settings: only then may a claim be decided by it (`verdicts.verdict_by_test`).
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.claims.arms import FROZEN_RANDOM, OFF, ON, STARTS, Arm, Event, TrialSetting
from analysis.claims.verdicts import About, subject_of
from analysis.statistics.bootstrap import Replicates, mean_of
from analysis.statistics.equivalence import MARGIN, Equivalence, equivalence_of, seeds_needed
from analysis.statistics.intervals import Interval, Pairs, Share, difference, holm, mcnemar
from analysis.statistics.seeds import estimate_of, spread_of
from analysis.trials.load import show_value
from analysis.trials.paper import BACKBONES
from analysis.trials.predictions import Predictions, same_images
from analysis.trials.starts import FINE_TUNED
from analysis.trials.table1_cells import SETTINGS


class NotComparedError(ValueError):
    """Two arms cannot be compared; the message says why."""


@dataclass(frozen=True)
class Estimate:
    """Of a difference: two-sided p-value that it is 0; `adjusted` is Holm's within its family."""

    value: float
    interval: Interval
    p_value: float
    adjusted: float = math.nan
    seeds: tuple[int, ...] = ()
    """How many each of the arms has; where that is not said, it is of networks alone."""
    equivalence: Equivalence | None = None
    """Of shares of images, over seeds."""
    scatters: tuple[float, ...] = ()
    """Of the seeds of each arm, as standard deviations; none where an arm has one seed."""
    image_variance: float = 0.0

    @property
    def about(self) -> About:
        """Whether it is one of settings, or of these networks."""
        return subject_of(self.seeds)

    @property
    def more_seeds(self) -> int | None:
        """How many seeds of each arm would tell a difference of MARGIN from none; None where no number would do."""
        return seeds_needed(self.scatters, self.image_variance)

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.interval}]"


Part = tuple[float, Sequence[float]]
"""An arm in a sum of means: its factor, and its seeds' values."""


def estimate(parts: Sequence[Part], image_variance: float, margin: float | None = MARGIN) -> Estimate:
    """Return the sum of the arms' means over seeds, each times its factor.

    `image_variance` is the variance over images of that sum. With one seed in an arm nothing says how much seeds
    differ, and only images vary: the estimate is then of these networks. `margin` is None where no smallest difference
    of interest is stated. Raises ValueError for values that are not finite.
    """
    counts = tuple(len(values) for _, values in parts)
    value = sum(factor * float(np.mean(values)) for factor, values in parts)
    over_seeds = min(counts) > 1
    spreads = [spread_of(values) * factor for factor, values in parts] if over_seeds else []
    found = estimate_of(value, spreads, image_variance)
    plain = Estimate(value, found.interval, found.p_value, seeds=counts, image_variance=image_variance)
    if not over_seeds:
        return plain
    scatters = tuple(abs(factor) * float(np.std(values, ddof=1)) for factor, values in parts)
    equivalence = equivalence_of(value, spreads, image_variance, margin) if margin else None
    return replace(plain, scatters=scatters, equivalence=equivalence)


def of_replicates(parts: Sequence[tuple[float, Sequence[Replicates]]], margin: float | None = MARGIN) -> Estimate:
    """Return `estimate` of scores whose variance over images only resampling knows.

    With one seed in an arm it is the percentile bootstrap of these networks.
    """
    counts = tuple(len(seeds) for _, seeds in parts)
    total = functools.reduce(operator.add, (mean_of(seeds) * factor for factor, seeds in parts))
    if min(counts) < 2:
        return Estimate(total.value, total.interval, total.p_value, seeds=counts)
    shares = [(factor, [one.value for one in seeds]) for factor, seeds in parts]
    return of_shares(shares, total.variance) if margin else estimate(shares, total.variance, None)


def of_shares(parts: Sequence[Part], image_variance: float) -> Estimate:
    """Return `estimate` of numbers that lie from 0 to 1, whose sum has its limits too."""
    found = estimate(parts, image_variance)
    low, high = (sum(sign(factor, 0) for factor, _ in parts) for sign in (min, max))
    return replace(found, interval=found.interval.within(low, high))


@dataclass(frozen=True)
class Comparison:
    """Accuracy and weighted F1 of `first` minus those of `second`."""

    names: tuple[str, str]
    """Of the first and the second setting, each in full."""
    family: str
    first: Arm
    second: Arm
    accuracy: Estimate
    """The difference, by the method that `method` names."""
    method: str
    f1: Estimate | None
    """None where there are only counts."""

    @property
    def name(self) -> str:
        return " - ".join(self.names)

    @property
    def about(self) -> About:
        """Whether it is one of settings, or of these two networks."""
        return self.accuracy.about


@dataclass(frozen=True)
class FactorialEffect:
    """Of the 2 x 2 of pretraining and freezing, of one network."""

    name: str
    family: str
    accuracy: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Compared:
    """What can be compared at one setting. `skipped`: a sentence for what cannot, or not image by image."""

    setting: TrialSetting
    comparisons: tuple[Comparison, ...]
    effects: tuple[FactorialEffect, ...] = ()
    skipped: tuple[str, ...] = ()
    what: str = ""
    """Which sizes, where they are compared."""

    def of(self, first: Arm, second: Arm) -> Comparison | None:
        return next((c for c in self.comparisons if c.first is first and c.second is second), None)


def compare(setting: TrialSetting) -> Compared:
    """Compare ON minus OFF of each network, each pair of networks within a start, and the 2 x 2 of pretraining and
    freezing."""
    effects = tuple(effect for backbone in _backbones(setting) for effect in _effects(setting, backbone))
    return replace(_compared(setting, _wanted(setting)), effects=effects)


def _compared(setting: TrialSetting, wanted: Iterable[tuple[str, Arm, Arm]]) -> Compared:
    found, skipped = [], [*setting.problems, *_counted(setting)]
    for family, first, second in wanted:
        try:
            found.append(compare_arms(first, second, family))
        except NotComparedError as error:
            skipped.append(f"{first.name} and {second.name} are not compared: {error}")
    return Compared(setting, adjusted(found), (), tuple(skipped))


def _counted(setting: TrialSetting) -> Iterable[str]:
    for arm in setting.arms.values():
        if arm.why_unpaired:
            yield f"{arm.name}: only counts are compared, nothing image by image: {arm.why_unpaired}"


def _backbones(setting: TrialSetting) -> tuple[str, ...]:
    """Return the paper's from the best to the worst in its table, then others."""
    present = dict.fromkeys(backbone for backbone, _ in setting.arms)
    return tuple(sorted(present, key=lambda b: -BACKBONES.index(b) if b in BACKBONES else 1))


def _wanted(setting: TrialSetting) -> Iterable[tuple[str, Arm, Arm]]:
    backbones = _backbones(setting)
    for backbone in backbones:
        on, off = setting.arm(backbone, ON), setting.arm(backbone, OFF)
        if on and off:
            yield "ImageNet ON - OFF", on, off
    for start in STARTS:
        arms = [arm for backbone in backbones if (arm := setting.arm(backbone, start))]
        for first, second in itertools.combinations(arms, 2):
            yield f"networks, {start}", first, second


def compare_sizes(settings: Sequence[TrialSetting], first: int = 256, second: int = 224) -> tuple[Compared, ...]:
    """Compare `first` minus `second` pixels, of arms that differ in nothing else, setting by setting. The paper says
    both."""
    what = f"{first} - {second} pixels"
    found = []
    for large, small in itertools.permutations(settings, 2):
        if _key_without_size(large, first) == _key_without_size(small, second):
            places = [place for place in large.arms if place in small.arms]
            pairs = [(what, large.arms[place], small.arms[place]) for place in places]
            found.append(replace(_compared(large, pairs), what=what))
    return tuple(found)


def _key_without_size(setting: TrialSetting, side: int) -> object:
    """Return the rest of the key of a setting with this image size; of others something that equals nothing."""
    where = SETTINGS.index("image_size")
    return (*setting.key[:where], *setting.key[where + 1 :]) if setting.key[where] == side else object()


def compare_arms(first: Arm, second: Arm, family: str) -> Comparison:
    """Compare two arms by accuracy and F1. Raises NotComparedError."""
    accuracy, method = compare_shares(first, second, lambda p: p.right)
    f1 = None
    if not (first.why_unpaired or second.why_unpaired):
        scores = [[one.f1 for one in arm.scores] for arm in (first, second)]
        f1 = of_replicates([(1, scores[0]), (-1, scores[1])])
    return Comparison(_names(first, second), family, first, second, accuracy, method, f1)


def _names(first: Arm, second: Arm) -> tuple[str, str]:
    """Return the network and the start of each, and what else the two differ in."""
    names = [name for name in SETTINGS if getattr(first.spec, name) != getattr(second.spec, name)]
    one, other = (", ".join([arm.name, *(_value_text(arm, name) for name in names)]) for arm in (first, second))
    return one, other


def _value_text(arm: Arm, name: str) -> str:
    """Return a setting in words."""
    value = show_value(getattr(arm.spec, name))
    units = {"image_size": "pixels", "num_epochs": "epochs"}
    return f"{value} {units[name]}" if name in units else f"{name} {value}"


def everywhere(predictions: Predictions) -> NDArray[np.bool_]:
    return np.ones(len(predictions.labels), bool)


def compare_shares(first: Arm, second: Arm, event: Event, among: Event = everywhere) -> tuple[Estimate, str]:
    """Return the share of images with `event`, of `first` minus of `second`, and by which method; raises
    NotComparedError.

    `among` are the images that the share is of; it must depend on their true classes only.
    """
    _refuse_other_images(first, second)
    if not among(first.predictions[0]).any():
        raise NotComparedError("the test part has no image of these classes")
    seeds, is_paired = (first.num_seeds, second.num_seeds), not (first.why_unpaired or second.why_unpaired)
    if seeds == (1, 1):
        alone = _paired if is_paired else _unpaired
        method = "McNemar, one seed each" if is_paired else "counts, unpaired, one seed each"
        return replace(alone(first.predictions[0], second.predictions[0], event, among), seeds=seeds), method
    shares = [_shares(arm, event, among) for arm in (first, second)]
    variance = _paired_variance(first, second, event, among) if is_paired else _unpaired_variance(first, shares, among)
    by = f"t over {seeds[0]} and {seeds[1]} seeds" if min(seeds) > 1 else f"these {sum(seeds)} networks"
    return of_shares([(1, shares[0]), (-1, shares[1])], variance), f"{by}{'' if is_paired else ', counts, unpaired'}"


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


def _unpaired(first: Predictions, second: Predictions, event: Event, among: Event) -> Estimate:
    chosen = [event(one)[among(one)] for one in (first, second)]
    own, other = (Share(int(np.count_nonzero(right)), len(right)) for right in chosen)
    return Estimate(own.value - other.value, difference(own, other), score_test(own, other))


def _shares(arm: Arm, event: Event, among: Event) -> list[float]:
    """Return the shares of the images `among`, seed by seed."""
    return [float(event(one)[among(one)].mean()) for one in arm.predictions]


def _paired_variance(first: Arm, second: Arm, event: Event, among: Event) -> float:
    """Return the variance over images of the difference of two means over seeds. One image is added that only the first
    has and one that only the second has, each by half (Agresti and Min 2005, Statistics in Medicine 24, 729), so that
    it is not 0 where all agree."""
    chosen = among(first.predictions[0])
    own, other = (np.mean([event(one)[chosen] for one in arm.predictions], axis=0) for arm in (first, second))
    differences, total = own - other, len(own) + 2
    mean_square = (float(np.square(differences).sum()) + 1) / total
    return (mean_square - (float(differences.sum()) / total) ** 2) / total


def _unpaired_variance(arm: Arm, shares: Sequence[Sequence[float]], among: Event) -> float:
    """Return the variance over images of the difference of two means over seeds, as if each were the share of one
    trial: seeds share their images and add none."""
    total = int(np.count_nonzero(among(arm.predictions[0])))
    return sum(share_variance(float(np.mean(own)), total) for own in shares)


def share_variance(share: float, total: int) -> float:
    """Return the variance of a share of images, one right and one wrong image added (Agresti and Caffo 2000, The
    American Statistician 54, 280), so that it is not 0 where all are right."""
    moved = (share * total + 1) / (total + 2)
    return moved * (1 - moved) / (total + 2)


def score_test(first: Share, second: Share) -> float:
    """Return the two-sided p-value that two shares of different images are equal: the pooled z test, which is the
    chi-square test of the 2 x 2 table without continuity correction."""
    from scipy.stats import chi2_contingency

    if first.value == second.value:
        return 1.0
    table = [[share.right, share.total - share.right] for share in (first, second)]
    return float(chi2_contingency(table, correction=False).pvalue)


def holm_of(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return one family's estimates with Holm's p-values, in the order given."""
    p_values = holm([one.p_value for one in estimates])
    return [replace(one, adjusted=p) for one, p in zip(estimates, p_values, strict=True)]


def adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with Holm's p-values, family by family; accuracy and F1 are families of their own."""
    done: list[Comparison] = []
    for family in dict.fromkeys(c.family for c in comparisons):
        members = [c for c in comparisons if c.family == family]
        accuracies = holm_of([c.accuracy for c in members])
        f1 = holm_of_some([c.f1 for c in members])
        done += [replace(member, accuracy=a, f1=f) for member, a, f in zip(members, accuracies, f1, strict=True)]
    return tuple(done)


def holm_of_some(estimates: Sequence[Estimate | None]) -> list[Estimate | None]:
    """Return one family's as `holm_of`; what could not be estimated stays None and is no member."""
    found = iter(holm_of([one for one in estimates if one]))
    return [next(found) if one else None for one in estimates]


EFFECTS: Final = (
    ("pretraining", (0.5, 0.5, -0.5, -0.5)),
    ("freezing", (0.5, -0.5, 0.5, -0.5)),
    ("interaction", (1, -1, -1, 1)),
)
"""Factors of ON, fine-tuned, frozen random, from scratch. Main effects are the mean of the two differences; the
interaction is what pretraining adds where the network is frozen minus what it adds where it is trained."""


def _effects(setting: TrialSetting, backbone: str) -> tuple[FactorialEffect, ...]:
    """Return the effects; none where an arm is missing, or has no predictions, or the arms are of different images."""
    found = [setting.arm(backbone, start) for start in (ON, FINE_TUNED, FROZEN_RANDOM, OFF)]
    arms = [arm for arm in found if arm and not arm.why_unpaired]
    if len(arms) < 4 or not all(same_images(arms[0].predictions[0], arm.predictions[0]) for arm in arms):
        return ()
    scores = [[one.accuracy for one in arm.scores] for arm in arms], [[one.f1 for one in arm.scores] for arm in arms]
    accuracy, f1 = (
        holm_of([of_replicates(list(zip(factors, seeds, strict=True))) for _, factors in EFFECTS]) for seeds in scores
    )
    names = [name for name, _ in EFFECTS]
    return tuple(FactorialEffect(n, f"2 x 2, {backbone}", a, f) for n, a, f in zip(names, accuracy, f1, strict=True))
