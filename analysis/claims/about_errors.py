"""The paper's statements about curves and confusion matrices, judged by our trials.

    for judged in error_claims(setting):
        print(judged.verdict, judged.claim)

The paper's class numbers are read from 1 (`about_arithmetic` says why); what they give from 0 is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.claims.about_curves import last_value
from analysis.claims.arms import OFF, ON, Arm, Event, TrialSetting
from analysis.claims.comparisons import (
    Estimate,
    NotComparedError,
    compare_shares,
    estimate,
    holm_of,
    holm_of_some,
    of_replicates,
    share_variance,
)
from analysis.claims.judging import Question, decide, p_text, size_text
from analysis.claims.verdicts import CONFIRMED, CONTRADICTED, LEVEL, NOT_CONFIRMED, SETTINGS, Judged, Verdict
from analysis.statistics.intervals import Share
from analysis.trials.predictions import Predictions
from galaxytl.results.collapse import CONSTANT_SHARE
from galaxytl.trial import TrialResult

BACKBONES: Final = ("MobileNet", "ResNet50", "VGG16")
AGREEMENT: Final = 6
"""Seeds that must agree to be told from a half of them: 2 / 2**6 is below 0.05."""


def error_claims(setting: TrialSetting) -> tuple[Judged, ...]:
    """Judge all claims of this file, at the settings of Table 1. A further claim is one more function and row here."""
    arms = [_both(setting, backbone) for backbone in BACKBONES]
    gaps, losses, of_training = (
        holm_of_some([measure(*pair) if pair else None for pair in arms])
        for measure in (_gap_difference, _loss_difference, _training_loss_difference)
    )
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


def _question(claim: str, where: str, backbone: str) -> Question:
    return Question(claim, where, ((backbone, ON), (backbone, OFF)))


def imagenet_has_lower_loss(
    setting: TrialSetting, backbone: str, found: Estimate | None, of_training: Estimate | None
) -> Judged:
    """Judge that models with ImageNet weights have a lower loss on training and validation data.

    The test part decides: `found` is ON minus OFF. Where the training loss is not lower too, by the same test over
    seeds, the claim is not confirmed. Families: the three networks, on either part."""
    question = _question(f"{backbone} has a lower loss with ImageNet weights", "section 3.1, Figures 4-15", backbone)
    arms = _both(setting, backbone)
    if not arms or not found:
        also = "there are no predictions of the same images, or a loss is not a finite number"
        return question.lacking(setting, also)
    verdict = decide(found, -1)
    if verdict == CONFIRMED and not (of_training and decide(of_training, -1) == CONFIRMED):
        verdict = NOT_CONFIRMED
    on, off = (_mean_of_last(arm, "loss") for arm in arms)
    training = f"last training loss {on:.3f} and {off:.3f}"
    if of_training and of_training.about == SETTINGS:
        training = f"{training}, {of_training}, {p_text(of_training)}"
    evidence = f"ON - OFF in nats, test part: {found}, {p_text(found)}; {training}"
    return question.conclude(verdict, evidence, arms)


def _loss_difference(on: Arm, off: Arm) -> Estimate | None:
    if on.why_unpaired or off.why_unpaired or not np.array_equal(on.predictions[0].rows, off.predictions[0].rows):
        return None
    if not all(math.isfinite(one.value) for one in (*on.losses, *off.losses)):
        return None
    return of_replicates([(1, on.losses), (-1, off.losses)], margin=None)


def _training_loss_difference(on: Arm, off: Arm) -> Estimate | None:
    """Return that of the last epochs, over seeds; a training loss is one number a trial, so of one seed nothing can be
    said."""
    losses = [[last_value(result, "loss") for result in arm.results] for arm in (on, off)]
    if min(map(len, losses)) < 2 or not all(math.isfinite(one) for own in losses for one in own):
        return None
    return estimate([(1, losses[0]), (-1, losses[1])], 0.0, margin=None)


def _mean_of_last(arm: Arm, name: str) -> float:
    """Return the mean over the seeds; NaN where one lacks it."""
    return float(np.mean([last_value(result, name) for result in arm.results]))


def imagenet_overfits_more(setting: TrialSetting, backbone: str, found: Estimate | None) -> Judged:
    """Judge that models with ImageNet weights tend more to overfit than those without, by the accuracy on the train
    part minus that on the watched part at the last epoch; `found` is that gap of ON minus that of OFF. Family: the
    three networks."""
    question = _question(f"{backbone} overfits more with ImageNet weights", "section 3.1, Figures 4-15", backbone)
    arms = _both(setting, backbone)
    if not arms or not found:
        return question.lacking(setting, "the curves or the numbers of images are not recorded")
    gaps = [f"{_mean_of_last(arm, 'accuracy') - _mean_of_last(arm, 'val_accuracy'):+.3f}" for arm in arms]
    evidence = f"train - validation accuracy {gaps[0]} with and {gaps[1]} without; difference {found}, {p_text(found)}"
    return question.conclude(decide(found), f"{evidence}{size_text(found)}", arms, [found])


def _gap_difference(on: Arm, off: Arm) -> Estimate | None:
    """Return it over seeds where both starts have several. Over images: the variances of the four accuracies, as if of
    different images. Keras's training accuracy is the mean over the epoch while the weights move, so gaps are a little
    low."""
    gaps = [[_gap(result) for result in arm.results] for arm in (on, off)]
    if not all(math.isfinite(value) for own in gaps for value, _ in own):
        return None
    # seeds share their images, so their number does not lower the variance over images
    variance = sum(float(np.mean([variance for _, variance in own])) for own in gaps)
    return estimate([(sign, [value for value, _ in own]) for sign, own in zip((1, -1), gaps, strict=True)], variance)


def _gap(result: TrialResult) -> tuple[float, float]:
    """Return a trial's gap and its variance over images; NaN where an accuracy or a number of images is not
    recorded."""
    shares = [last_value(result, name) for name in ("accuracy", "val_accuracy")]
    sizes = [result.num_images.get(name, 0) for name in ("train", result.curves_on)]
    if not all(sizes):
        return math.nan, 0.0
    return shares[0] - shares[1], sum(map(share_variance, shares, sizes))


def some_classes_gain(setting: TrialSetting) -> Judged:
    """Judge that ImageNet weights improve the accuracy of some of the data (abstract): of at least one class.

    Family: all classes of all networks at hand. Contradicted where every class loses."""
    question = Question(
        "some classes are classified better with ImageNet weights",
        "abstract, section 3.2",
        tuple((backbone, start) for backbone in BACKBONES for start in (ON, OFF)),
    )
    pairs = [arms for backbone in BACKBONES if (arms := _both(setting, backbone))]
    found = [(arms, index, one) for arms in pairs for index, one in _recalls(arms)]
    if not found:
        return question.lacking(setting)
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
    return question.conclude(verdict, evidence, [arm for pair in pairs for arm in pair], recalls)


def _recalls(arms: tuple[Arm, Arm]) -> list[tuple[int, Estimate]]:
    """Return ON minus OFF, by class that the test part has."""
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
    """Judge it by the share of the images of the two classes that is taken for the other one."""

    def swapped(first: int, second: int) -> Event:
        return lambda predictions: predictions.predicted == np.where(predictions.labels == first, second, first)

    claim, where = "MobileNet confuses classes 7 and 8 less with ImageNet weights", "section 3.2, Figures 16, 17"
    readings = [(swapped(7 - base, 8 - base), _true_is(7 - base, 8 - base)) for base in (1, 0)]
    return _error_claim(_question(claim, where, "MobileNet"), setting, readings)


def resnet_names_class_2_less(setting: TrialSetting) -> Judged:
    """Judge it by the share of the images of all other classes that is taken for class 2."""

    def named(index: int) -> Event:
        return lambda predictions: predictions.predicted == index

    def others(index: int) -> Event:
        return lambda predictions: predictions.labels != index

    claim, where = "ResNet50 takes other classes for class 2 less with ImageNet weights", "section 3.2, Figures 18, 19"
    readings = [(named(2 - base), others(2 - base)) for base in (1, 0)]
    return _error_claim(_question(claim, where, "ResNet50"), setting, readings)


def _error_claim(question: Question, setting: TrialSetting, readings: Sequence[tuple[Event, Event]]) -> Judged:
    """Judge that an error is rarer with ImageNet weights; `readings` of the class numbers, the deciding one first."""
    arms = _both(setting, question.places[0][0])
    if not arms:
        return question.lacking(setting)
    try:
        (first, method), (second, _) = (compare_shares(*arms, event, among) for event, among in readings)
    except NotComparedError as error:
        return question.lacking(setting, str(error))
    first, second = (holm_of([one])[0] for one in (first, second))
    evidence = (
        f"share of these errors, ON - OFF, classes counted from 1: {first}, {p_text(first)}"
        f" ({method}){size_text(first)}; counted from 0: {second}, {p_text(second)}, {decide(second, -1)}"
    )
    return question.conclude(decide(first, -1), evidence, arms, [first])


def vgg16_names_class_8(setting: TrialSetting, start: str) -> Judged:
    """Judge it of class 8 counted from 1, the class with index 7.

    A seed does, or no class can have all of its images, or neither: another class has them. Confirmed where more than
    half of the seeds do, contradicted where in more than half no class can, each by an exact sign test."""
    claim, where = f"VGG16 names class 8 for all images ({start})", "section 3.2, Figures 20, 21"
    question = Question(claim, where, (("VGG16", start),))
    arm = setting.arm("VGG16", start)
    if not arm:
        return question.lacking(setting)
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
    return question.conclude(verdict, evidence, [arm])


def _is_majority(seeds: Sequence[bool]) -> bool:
    """Return whether more than half of all seeds would do what so many of these do, by an exact two-sided sign test."""
    from scipy.stats import binomtest

    return sum(seeds) > len(seeds) / 2 and float(binomtest(sum(seeds), len(seeds)).pvalue) < LEVEL


def _most_named(predictions: Predictions) -> tuple[int, Share]:
    counts = np.bincount(predictions.predicted)
    return int(counts.argmax()), Share(int(counts.max()), len(predictions.labels))
