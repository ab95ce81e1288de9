"""The paper's statements about curves and confusion matrices, judged by our trials.

    for judged in error_claims(setting):
        print(judged.verdict, judged.claim)

The paper's class numbers are read from 1 (`claims_arithmetic` says why); what they give from 0 is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.arms import OFF, ON, Arm, Event, Setting
from analysis.claims_rules import conclude, decide, lacking, p_text
from analysis.comparisons import Compared, Estimate, NotComparedError, compare_shares, holm_of
from analysis.predictions import Predictions
from analysis.statistics.intervals import Interval, Share, Z
from analysis.verdicts import CONFIRMED, CONTRADICTED, NOT_CONFIRMED, Judged, Verdict

BACKBONES: Final = ("MobileNet", "ResNet50", "VGG16")
ONE_CLASS: Final = 0.999
"""Share of the test part from which on a class counts as the only one that is named; as `galaxytl.collapse` has it."""


def error_claims(setting: Setting) -> tuple[Judged, ...]:
    gaps = _adjusted([_gap_difference(setting, backbone) for backbone in BACKBONES])
    losses = _adjusted([_loss_difference(setting, backbone) for backbone in BACKBONES])
    return (
        *(imagenet_has_lower_loss(setting, b, loss) for b, loss in zip(BACKBONES, losses, strict=True)),
        *(imagenet_overfits_more(setting, b, gap) for b, gap in zip(BACKBONES, gaps, strict=True)),
        some_classes_gain(setting),
        mobilenet_confuses_7_and_8_less(setting),
        resnet_names_class_2_less(setting),
        *(vgg16_names_class_8(setting, start) for start in (ON, OFF)),
    )


def _both(setting: Setting, backbone: str) -> tuple[Arm, Arm] | None:
    on, off = setting.arm(backbone, ON), setting.arm(backbone, OFF)
    return (on, off) if on and off else None


def _lacking(claim: str, where: str, setting: Setting, backbone: str, also: str) -> Judged:
    return lacking(claim, where, Compared(setting, ()), [(backbone, ON), (backbone, OFF)], also)


def _adjusted(estimates: Sequence[Estimate | None]) -> list[Estimate | None]:
    found = iter(holm_of([one for one in estimates if one]))
    return [next(found) if one else None for one in estimates]


def imagenet_has_lower_loss(setting: Setting, backbone: str, found: Estimate | None) -> Judged:
    """Models with ImageNet weights have a lower loss on training and validation data (section 3.1, Figures 4-15).

    The test part decides, image by image: `found` is ON minus OFF. A training loss is one number a trial, without an
    interval; where it is not lower too, the claim is not confirmed. Family: the three networks."""
    claim, where = f"{backbone} has a lower loss with ImageNet weights", "section 3.1, Figures 4-15"
    arms = _both(setting, backbone)
    if not arms or not found:
        return _lacking(claim, where, setting, backbone, "there are no predictions of the same images")
    verdict = decide(found, -1)
    on, off = (_mean_of_last(arm, "loss") for arm in arms)
    if verdict == CONFIRMED and not on < off:
        verdict = NOT_CONFIRMED
    evidence = f"ON - OFF in nats, test part: {found}, {p_text(found)}; last training loss {on:.3f} and {off:.3f}"
    return conclude(claim, where, verdict, evidence, arms)


def _loss_difference(setting: Setting, backbone: str) -> Estimate | None:
    arms = _both(setting, backbone)
    if not arms or any(arm.why_unpaired for arm in arms):
        return None
    on, off = arms
    if not np.array_equal(on.predictions[0].rows, off.predictions[0].rows):
        return None
    found = Estimate.of(on.losses - off.losses)
    return found if math.isfinite(found.value) else None


def _mean_of_last(arm: Arm, name: str) -> float:
    """Of the seeds' last epochs; NaN where one lacks it."""
    return float(np.mean([r.history[-1].get(name, math.nan) if r.history else math.nan for r in arm.results]))


def imagenet_overfits_more(setting: Setting, backbone: str, found: Estimate | None) -> Judged:
    """Models with ImageNet weights tend more to overfit than those without (section 3.1, Figures 4-15).

    Measured by the accuracy on the train part minus that on the watched part at the last epoch; `found` is that gap of
    ON minus that of OFF. Family: the three networks."""
    claim, where = f"{backbone} overfits more with ImageNet weights", "section 3.1, Figures 4-15"
    arms = _both(setting, backbone)
    if not arms or not found:
        return _lacking(claim, where, setting, backbone, "the curves or the numbers of images are not recorded")
    gaps = [f"{_mean_of_last(arm, 'accuracy') - _mean_of_last(arm, 'val_accuracy'):+.3f}" for arm in arms]
    evidence = f"train - validation accuracy {gaps[0]} with and {gaps[1]} without; difference {found}, {p_text(found)}"
    return conclude(claim, where, decide(found), evidence, arms)


def _gap_difference(setting: Setting, backbone: str) -> Estimate | None:
    """A normal interval: variances of the four accuracies, as if of different images, and of the seeds where there are
    several. Keras's training accuracy is the mean over the epoch while the weights move, so gaps are a little low."""
    arms = _both(setting, backbone)
    gaps = [_gap(arm) for arm in arms or ()]
    if len(gaps) < 2 or not all(math.isfinite(gap.value) and gap.variance for gap in gaps):
        return None
    value, error = gaps[0].value - gaps[1].value, math.sqrt(gaps[0].variance + gaps[1].variance)
    p_value = 2 * NormalDist().cdf(-abs(value) / error)
    return Estimate(value, Interval(value - Z * error, value + Z * error), p_value)


@dataclass(frozen=True)
class _Gap:
    value: float
    variance: float


def _gap(arm: Arm) -> _Gap:
    """Mean over seeds. The seeds' images are the same, so their number does not lower the variance of the images."""
    seeds = [
        _gap_of(result.history[-1], result.num_images, result.curves_on) for result in arm.results if result.history
    ]
    if len(seeds) < len(arm.results):
        return _Gap(math.nan, 0.0)
    values = [seed.value for seed in seeds]
    of_seeds = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    return _Gap(float(np.mean(values)), float(np.mean([seed.variance for seed in seeds])) + of_seeds)


def _gap_of(epoch: dict[str, float], num_images: dict[str, int], watched: str) -> _Gap:
    train, other = epoch.get("accuracy", math.nan), epoch.get("val_accuracy", math.nan)
    sizes = (num_images.get("train", 0), num_images.get(watched, 0))
    if not all(sizes):
        return _Gap(math.nan, 0.0)
    return _Gap(train - other, sum(_variance(share, size) for share, size in zip((train, other), sizes, strict=True)))


def _variance(share: float, total: int) -> float:
    """Of a share of images, one right and one wrong image added (Agresti and Caffo 2000, The American Statistician 54,
    280), so that it is not 0 where all are right."""
    moved = (share * total + 1) / (total + 2)
    return moved * (1 - moved) / (total + 2)


def some_classes_gain(setting: Setting) -> Judged:
    """ImageNet weights improve the accuracy of some of the data (abstract): of at least one class.

    Family: all classes of all networks at hand. Contradicted where every class loses."""
    claim, where = "some classes are classified better with ImageNet weights", "abstract, section 3.2"
    pairs = [arms for backbone in BACKBONES if (arms := _both(setting, backbone))]
    found = [(arms, index, one) for arms in pairs for index, one in _recalls(arms)]
    if not found:
        return lacking(claim, where, Compared(setting, ()), [(b, s) for b in BACKBONES for s in (ON, OFF)])
    verdicts = [decide(one) for one in holm_of([one for *_, one in found])]
    gained, lost = verdicts.count(CONFIRMED), verdicts.count(CONTRADICTED)
    verdict: Verdict = CONFIRMED if gained else CONTRADICTED if lost == len(found) else NOT_CONFIRMED
    arms, index, best = max(found, key=lambda item: item[2].value)
    evidence = (
        f"recall of {len(found)} classes of {len(pairs)} networks: {gained} gain, {lost} lose, by Holm's method;"
        f" most gains {arms[0].backbone}, {_class_name(arms[0], index)}: {best}"
    )
    return conclude(claim, where, verdict, evidence, [arm for pair in pairs for arm in pair])


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


def mobilenet_confuses_7_and_8_less(setting: Setting) -> Judged:
    """MobileNet confuses classes 7 and 8 less with ImageNet weights (section 3.2, Figures 16 and 17).

    Of the images of the two classes, the share that is taken for the other one."""
    claim, where = "MobileNet confuses classes 7 and 8 less with ImageNet weights", "section 3.2, Figures 16, 17"

    def swapped(first: int, second: int) -> Event:
        def event(predictions: Predictions) -> NDArray[np.bool_]:
            return predictions.predicted == np.where(predictions.labels == first, second, first)

        return event

    readings = [(swapped(7 - base, 8 - base), _true_is(7 - base, 8 - base)) for base in (1, 0)]
    return _error_claim(claim, where, setting, "MobileNet", readings)


def resnet_names_class_2_less(setting: Setting) -> Judged:
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
    claim: str, where: str, setting: Setting, backbone: str, readings: Sequence[tuple[Event, Event]]
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
        f"share of these errors, ON - OFF, classes counted from 1: {first}, {p_text(first)} ({method});"
        f" counted from 0: {second}, {p_text(second)}, {decide(second, -1)}"
    )
    return conclude(claim, where, decide(first, -1), evidence, arms)


def vgg16_names_class_8(setting: Setting, start: str) -> Judged:
    """VGG predicts class 8 for all images (section 3.2, Figures 20 and 21): counted from 1, the class with index 7.

    Confirmed where each seed does; contradicted where in no seed one class can have all images; not confirmed where
    another class has them, or the seeds differ."""
    claim, where = f"VGG16 names class 8 for all images ({start})", "section 3.2, Figures 20, 21"
    arm = setting.arm("VGG16", start)
    if not arm:
        return lacking(claim, where, Compared(setting, ()), [("VGG16", start)])
    named = [_most_named(one) for one in arm.predictions]
    single = [share.value >= ONE_CLASS for _, share in named]
    if all(single) and {index for index, _ in named} == {7}:
        verdict: Verdict = CONFIRMED
    else:
        verdict = CONTRADICTED if all(share.interval.high < ONE_CLASS for _, share in named) else NOT_CONFIRMED
    texts = [f"{_class_name(arm, index)} (index {index}) {share.value:.3f}" for index, share in named]
    return conclude(claim, where, verdict, f"share of the most named class: {'; '.join(texts)}", [arm])


def _most_named(predictions: Predictions) -> tuple[int, Share]:
    counts = np.bincount(predictions.predicted)
    return int(counts.argmax()), Share(int(counts.max()), len(predictions.labels))
