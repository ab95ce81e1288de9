"""The paper's statements about curves and confusion matrices, judged by our trials.

    for judged in error_claims(setting):
        print(judged.verdict, judged.claim)

The paper's class numbers are read from 1 (`claims_arithmetic` says why); what they give from 0 is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.claims.arms import OFF, ON, Arm, Event, TrialSetting
from analysis.claims.comparisons import (
    Compared,
    Estimate,
    NotComparedError,
    compare_shares,
    estimate,
    holm_of,
    holm_of_some,
    of_replicates,
    share_variance,
)
from analysis.claims.judging import conclude, decide, lacking, p_text, size_text
from analysis.claims.verdicts import CONFIRMED, CONTRADICTED, LEVEL, NOT_CONFIRMED, SETTINGS, Judged, Verdict
from analysis.statistics.intervals import Share
from analysis.trials.predictions import Predictions
from galaxytl.results.collapse import CONSTANT_SHARE
from galaxytl.trial import TrialResult

BACKBONES: Final = ("MobileNet", "ResNet50", "VGG16")
AGREEMENT: Final = 6
"""Seeds that must agree to be told from a half of them: 2 / 2**6 is below 0.05."""


def error_claims(setting: TrialSetting) -> tuple[Judged, ...]:
    gaps = holm_of_some([_gap_difference(setting, backbone) for backbone in BACKBONES])
    losses = holm_of_some([_loss_difference(setting, backbone) for backbone in BACKBONES])
    of_training = holm_of_some([_training_loss_difference(setting, backbone) for backbone in BACKBONES])
    return (
        *(imagenet_has_lower_loss(setting, *found) for found in zip(BACKBONES, losses, of_training, strict=True)),
        *(imagenet_overfits_more(setting, b, gap) for b, gap in zip(BACKBONES, gaps, strict=True)),
        some_classes_gain(setting),
        mobilenet_confuses_7_and_8_less(setting),
        resnet_names_class_2_less(setting),
        *(vgg16_names_class_8(setting, start) for start in (ON, OFF)),
    )


def _both(setting: TrialSetting, backbone: str) -> tuple[Arm, Arm] | None:
    on, off = setting.arm(backbone, ON), setting.arm(backbone, OFF)
    return (on, off) if on and off else None


def _lacking(claim: str, where: str, setting: TrialSetting, backbone: str, also: str) -> Judged:
    return lacking(claim, where, Compared(setting, ()), [(backbone, ON), (backbone, OFF)], also)


def imagenet_has_lower_loss(
    setting: TrialSetting, backbone: str, found: Estimate | None, of_training: Estimate | None
) -> Judged:
    """Models with ImageNet weights have a lower loss on training and validation data (section 3.1, Figures 4-15).

    The test part decides: `found` is ON minus OFF. Where the training loss is not lower too, by the same test over
    seeds, the claim is not confirmed. Families: the three networks, on either part."""
    claim, where = f"{backbone} has a lower loss with ImageNet weights", "section 3.1, Figures 4-15"
    arms = _both(setting, backbone)
    if not arms or not found:
        also = "there are no predictions of the same images, or a loss is not a finite number"
        return _lacking(claim, where, setting, backbone, also)
    verdict = decide(found, -1)
    if verdict == CONFIRMED and not (of_training and decide(of_training, -1) == CONFIRMED):
        verdict = NOT_CONFIRMED
    on, off = (_mean_of_last(arm, "loss") for arm in arms)
    training = f"last training loss {on:.3f} and {off:.3f}"
    if of_training and of_training.about == SETTINGS:
        training = f"{training}, {of_training}, {p_text(of_training)}"
    evidence = f"ON - OFF in nats, test part: {found}, {p_text(found)}; {training}"
    return conclude(claim, where, verdict, evidence, arms)


def _loss_difference(setting: TrialSetting, backbone: str) -> Estimate | None:
    arms = _both(setting, backbone)
    if not arms or any(arm.why_unpaired for arm in arms):
        return None
    on, off = arms
    if not np.array_equal(on.predictions[0].rows, off.predictions[0].rows):
        return None
    if not all(math.isfinite(one.value) for one in (*on.losses, *off.losses)):
        return None
    return of_replicates([(1, on.losses), (-1, off.losses)], margin=None)


def _training_loss_difference(setting: TrialSetting, backbone: str) -> Estimate | None:
    """Of the last epochs, over seeds; a training loss is one number a trial, so of one seed nothing can be said."""
    arms = _both(setting, backbone)
    on, off = ([_last(result, "loss") for result in arm.results] for arm in arms) if arms else ([], [])
    if min(len(on), len(off)) < 2 or not all(map(math.isfinite, (*on, *off))):
        return None
    return estimate([(1, on), (-1, off)], 0.0, margin=None)


def _mean_of_last(arm: Arm, name: str) -> float:
    """Over the seeds; NaN where one lacks it."""
    return float(np.mean([_last(result, name) for result in arm.results]))


def _last(result: TrialResult, name: str) -> float:
    """Of the last epoch; NaN where it is not recorded."""
    return result.history[-1].get(name, math.nan) if result.history else math.nan


def imagenet_overfits_more(setting: TrialSetting, backbone: str, found: Estimate | None) -> Judged:
    """Models with ImageNet weights tend more to overfit than those without (section 3.1, Figures 4-15).

    Measured by the accuracy on the train part minus that on the watched part at the last epoch; `found` is that gap of
    ON minus that of OFF. Family: the three networks."""
    claim, where = f"{backbone} overfits more with ImageNet weights", "section 3.1, Figures 4-15"
    arms = _both(setting, backbone)
    if not arms or not found:
        return _lacking(claim, where, setting, backbone, "the curves or the numbers of images are not recorded")
    gaps = [f"{_mean_of_last(arm, 'accuracy') - _mean_of_last(arm, 'val_accuracy'):+.3f}" for arm in arms]
    evidence = f"train - validation accuracy {gaps[0]} with and {gaps[1]} without; difference {found}, {p_text(found)}"
    return conclude(claim, where, decide(found), f"{evidence}{size_text(found)}", arms, [found])


def _gap_difference(setting: TrialSetting, backbone: str) -> Estimate | None:
    """Over seeds where both starts have several. Over images: the variances of the four accuracies, as if of different
    images. Keras's training accuracy is the mean over the epoch while the weights move, so gaps are a little low."""
    arms = _both(setting, backbone)
    gaps = [[_gap(result) for result in arm.results] for arm in arms or ()]
    if len(gaps) < 2 or not all(math.isfinite(gap.value) for own in gaps for gap in own):
        return None
    on, off = ([gap.value for gap in own] for own in gaps)
    # seeds share their images, so their number does not lower the variance over images
    return estimate([(1, on), (-1, off)], sum(float(np.mean([gap.variance for gap in own])) for own in gaps))


@dataclass(frozen=True)
class _Gap:
    """Of one trial, with its variance over images."""

    value: float
    variance: float


def _gap(result: TrialResult) -> _Gap:
    """NaN where an accuracy or a number of images is not recorded."""
    shares = [_last(result, name) for name in ("accuracy", "val_accuracy")]
    sizes = [result.num_images.get(name, 0) for name in ("train", result.curves_on)]
    if not all(sizes):
        return _Gap(math.nan, 0.0)
    return _Gap(shares[0] - shares[1], sum(map(share_variance, shares, sizes)))


def some_classes_gain(setting: TrialSetting) -> Judged:
    """ImageNet weights improve the accuracy of some of the data (abstract): of at least one class.

    Family: all classes of all networks at hand. Contradicted where every class loses."""
    claim, where = "some classes are classified better with ImageNet weights", "abstract, section 3.2"
    pairs = [arms for backbone in BACKBONES if (arms := _both(setting, backbone))]
    found = [(arms, index, one) for arms in pairs for index, one in _recalls(arms)]
    if not found:
        return lacking(claim, where, Compared(setting, ()), [(b, s) for b in BACKBONES for s in (ON, OFF)])
    recalls = holm_of([one for *_, one in found])
    verdicts = [decide(one) for one in recalls]
    verdict: Verdict = NOT_CONFIRMED
    if CONFIRMED in verdicts:
        verdict, pairs = CONFIRMED, [arms for (arms, *_), one in zip(found, verdicts, strict=True) if one == CONFIRMED]
    elif verdicts.count(CONTRADICTED) == len(found):
        verdict = CONTRADICTED
    signs = [np.sign(one.value) for one in recalls if one.adjusted < LEVEL]
    arms, index, best = max(found, key=lambda item: item[2].value)
    evidence = (
        f"recall of {len(found)} classes of {len({pair[0].backbone for pair, *_ in found})} networks:"
        f" {signs.count(1)} gain, {signs.count(-1)} lose, by Holm's method;"
        f" most gains {arms[0].backbone}, {_class_name(arms[0], index)}: {best}"
    )
    return conclude(claim, where, verdict, evidence, [arm for pair in pairs for arm in pair], recalls)


def _recalls(arms: tuple[Arm, Arm]) -> list[tuple[int, Estimate]]:
    """ON minus OFF, by class that the test part has."""
    try:
        return [
            (index, compare_shares(*arms, lambda p: p.right, _true_is(index))[0])
            for index in sorted({int(label) for label in arms[0].predictions[0].labels})
        ]
    except NotComparedError:
        return []


def _true_is(*classes: int) -> Event:
    return lambda predictions: np.isin(predictions.labels, classes)


def _class_name(arm: Arm, index: int) -> str:
    names = arm.results[0].class_names
    return names[index] if index < len(names) else f"index {index}"


def mobilenet_confuses_7_and_8_less(setting: TrialSetting) -> Judged:
    """MobileNet confuses classes 7 and 8 less with ImageNet weights (section 3.2, Figures 16 and 17).

    Of the images of the two classes, the share that is taken for the other one."""
    claim, where = "MobileNet confuses classes 7 and 8 less with ImageNet weights", "section 3.2, Figures 16, 17"

    def swapped(first: int, second: int) -> Event:
        def event(predictions: Predictions) -> NDArray[np.bool_]:
            return predictions.predicted == np.where(predictions.labels == first, second, first)

        return event

    readings = [(swapped(7 - base, 8 - base), _true_is(7 - base, 8 - base)) for base in (1, 0)]
    return _error_claim(claim, where, setting, "MobileNet", readings)


def resnet_names_class_2_less(setting: TrialSetting) -> Judged:
    """ResNet wrongly predicts class 2 less with ImageNet weights (section 3.2, Figures 18 and 19).

    Of the images of all other classes, the share that is taken for class 2."""
    claim, where = "ResNet50 takes other classes for class 2 less with ImageNet weights", "section 3.2, Figures 18, 19"

    def named(index: int) -> Event:
        return lambda predictions: predictions.predicted == index

    def others(index: int) -> Event:
        return lambda predictions: predictions.labels != index

    readings = [(named(2 - base), others(2 - base)) for base in (1, 0)]
    return _error_claim(claim, where, setting, "ResNet50", readings)


def _error_claim(
    claim: str, where: str, setting: TrialSetting, backbone: str, readings: Sequence[tuple[Event, Event]]
) -> Judged:
    """That an error is rarer with ImageNet weights; `readings` of the class numbers, the deciding one first."""
    arms = _both(setting, backbone)
    if not arms:
        return _lacking(claim, where, setting, backbone, "")
    try:
        (first, method), (second, _) = (compare_shares(*arms, event, among) for event, among in readings)
    except NotComparedError as error:
        return _lacking(claim, where, setting, backbone, str(error))
    first, second = (holm_of([one])[0] for one in (first, second))
    evidence = (
        f"share of these errors, ON - OFF, classes counted from 1: {first}, {p_text(first)}"
        f" ({method}){size_text(first)}; counted from 0: {second}, {p_text(second)}, {decide(second, -1)}"
    )
    return conclude(claim, where, decide(first, -1), evidence, arms, [first])


def vgg16_names_class_8(setting: TrialSetting, start: str) -> Judged:
    """VGG predicts class 8 for all images (section 3.2, Figures 20 and 21): counted from 1, the class with index 7.

    A seed does, or no class can have all of its images, or neither: another class has them. Confirmed where more than
    half of the seeds do, contradicted where in more than half no class can, each by an exact sign test."""
    claim, where = f"VGG16 names class 8 for all images ({start})", "section 3.2, Figures 20, 21"
    arm = setting.arm("VGG16", start)
    if not arm:
        return lacking(claim, where, Compared(setting, ()), [("VGG16", start)])
    named = [_most_named(one) for one in arm.predictions]
    verdict: Verdict = NOT_CONFIRMED
    if _is_majority([share.value >= CONSTANT_SHARE and index == 7 for index, share in named]):
        verdict = CONFIRMED
    elif _is_majority([share.interval.high < CONSTANT_SHARE for _, share in named]):
        verdict = CONTRADICTED
    texts = [f"{_class_name(arm, index)} (index {index}) {share.value:.3f}" for index, share in named]
    evidence = (
        f"share of the most named class: {'; '.join(texts)}. {AGREEMENT} seeds that agree are the least that decide"
    )
    return conclude(claim, where, verdict, evidence, [arm])


def _is_majority(seeds: Sequence[bool]) -> bool:
    """Whether more than half of all seeds would do what so many of these do, by an exact two-sided sign test."""
    from scipy.stats import binomtest

    return sum(seeds) > len(seeds) / 2 and float(binomtest(sum(seeds), len(seeds)).pvalue) < LEVEL


def _most_named(predictions: Predictions) -> tuple[int, Share]:
    counts = np.bincount(predictions.predicted)
    return int(counts.argmax()), Share(int(counts.max()), len(predictions.labels))
