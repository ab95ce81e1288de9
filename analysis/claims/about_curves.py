"""The paper's statements about loss and accuracy over the epochs, and about how long networks train, judged by trials.

    for judged in (*curve_claims(setting), *training_claims(setting, settings)):
        print(judged.verdict, judged.claim)

A curve is summed up by one number a trial, and the numbers of the seeds are compared: its mean over the epochs (the
area under it, an epoch being 1 / E wide), its value after the first epoch, the epoch at which it first reaches 90 % of
its last value, and, at the last epoch, how much the validation loss is above the training loss.

"Validation" is what a trial's curves were watched on. Where the sweep held out no validation part, that is the test
part, and the evidence says so: the paper does not say what its own is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.claims.arms import OFF, ON, Arm, TrialSetting
from analysis.claims.comparisons import (
    Comparison,
    Estimate,
    NotComparedError,
    adjusted,
    compare_arms,
    estimate,
    holm_of_some,
    share_variance,
)
from analysis.claims.judging import Question, decide, in_words, p_text
from analysis.claims.verdicts import Judged, verdict_of_all
from analysis.statistics.intervals import Interval
from analysis.trials.endings import ending_of
from analysis.trials.predictions import same_images
from analysis.trials.table1_cells import SETTINGS, Score
from galaxytl.trial import TrialResult
from galaxytl.trial.epochs import is_stopped

BACKBONES: Final = ("MobileNet", "ResNet50", "VGG16")
WHERE: Final = "section 3.1, Figures 4-15"
REACHED: Final = 0.9
"""Share of the last value from which on a curve counts as converged."""
EPOCHS_TEXT: Final = f"epochs to {REACHED:.0%} of the last validation accuracy"


@dataclass(frozen=True)
class Measure:
    """One number of a trial's curves; `of` gives NaN where they lack it.

    `curve` is the one whose images the number varies with; empty where it is of the training images, which the claim is
    about, or where its variance over images is not known.
    """

    of: Callable[[TrialResult], float]
    curve: str = ""
    resolution: float = 0.0
    """Within which it is not known: a number of epochs is known to one."""
    wants_learning: bool = False
    """Whether it says nothing of a network that has collapsed."""


def values_of(result: TrialResult, name: str) -> NDArray[np.float64]:
    """Return a curve (E,), epoch by epoch; NaN where an epoch lacks it."""
    return np.array([epoch.get(name, math.nan) for epoch in result.history], np.float64)


def area_under(result: TrialResult, name: str) -> float:
    """Return the mean over the epochs; NaN without a history, where one epoch lacks the value, and of a trial that
    stopped early: a mean over fewer epochs is another quantity."""
    is_whole = result.history and not is_stopped(result.spec, result.history)
    return float(values_of(result, name).mean()) if is_whole else math.nan


def first_value(result: TrialResult, name: str) -> float:
    """Return the value after the first epoch, or NaN."""
    return float(values_of(result, name)[0]) if result.history else math.nan


def epochs_to(result: TrialResult, name: str = "val_accuracy", share: float = REACHED) -> float:
    """Return after how many epochs a curve first reaches `share` of its last value, between two epochs on a line.

    1 where the first epoch is there already: what was before it is not recorded. NaN for a curve of one epoch, which
    has no course, and where an epoch lacks the value.
    """
    curve = values_of(result, name)
    if len(curve) < 2 or not np.isfinite(curve).all():
        return math.nan
    wanted = share * curve[-1]
    index = int(np.argmax(curve >= wanted))
    if index == 0:
        return 1.0
    return index + float((wanted - curve[index - 1]) / (curve[index] - curve[index - 1]))


def last_value(result: TrialResult, name: str) -> float:
    """Return the value after the last epoch, or NaN."""
    return result.history[-1].get(name, math.nan) if result.history else math.nan


def loss_gap(result: TrialResult) -> float:
    """Return the validation loss minus the training loss at the last epoch, in nats, or NaN. Keras's training loss is
    the mean over the epoch while the weights move, so gaps are a little low. Of smoothed targets and the focal loss
    there is none: the training loss is of these, and the validation loss always the plain cross-entropy."""
    if result.spec.label_smoothing or result.spec.focal_gamma:
        return math.nan
    return last_value(result, "val_loss") - last_value(result, "loss")


LOSS: Final = Measure(partial(area_under, name="loss"))
ACCURACY: Final = Measure(partial(area_under, name="accuracy"))
VALIDATION_LOSS: Final = Measure(partial(area_under, name="val_loss"), "val_loss")
VALIDATION_ACCURACY: Final = Measure(partial(area_under, name="val_accuracy"), "val_accuracy")
FIRST_ACCURACY: Final = Measure(partial(first_value, name="val_accuracy"), "val_accuracy")
LOSS_GAP: Final = Measure(loss_gap, "val_loss")
EPOCHS: Final = Measure(epochs_to, resolution=1.0, wants_learning=True)

CURVE_HEADINGS: Final = ("Network", "Seeds", "Watched on", "Area", f"Epochs to {REACHED:.0%}", "Loss gap")


def curve_rows(setting: TrialSetting) -> tuple[tuple[str, ...], ...]:
    """Return a row an arm under CURVE_HEADINGS: means over the seeds, with their standard deviation."""
    rows = []
    for arm in setting.arms.values():
        watched = "/".join(sorted({result.curves_on for result in arm.results}))
        area, epochs, gap = (_mean_text(arm, measure) for measure in (VALIDATION_ACCURACY, EPOCHS, LOSS_GAP))
        rows.append((arm.name, str(arm.num_seeds), watched, area, epochs, gap))
    return tuple(rows)


def _mean_text(arm: Arm, measure: Measure) -> str:
    """Return the mean over an arm's seeds; nothing where the measure says nothing of the arm."""
    values = [measure.of(result) for result in arm.results]
    return "" if measure.wants_learning and why_no_course([arm]) else str(Score.of(values))


Difference = Estimate | str
"""Between two arms, or why there is none."""


@dataclass(frozen=True)
class CurveClaim:
    """What the paper says of each network's curves with ImageNet weights, against those without; the family of its
    tests is all measures of the three networks."""

    text: str
    sign: int
    """Of ON - OFF, as the claim has it."""
    measures: tuple[Measure, ...]
    """All of which must differ so."""
    evidence: str
    """With a place for the difference in each."""


CURVE_CLAIMS: Final = (
    # "overall" loss: the mean of a curve. That which a trial ends with is in `about_errors`.
    CurveClaim(
        "{}'s loss curves lie lower with ImageNet weights",
        -1,
        (LOSS, VALIDATION_LOSS),
        "mean over the epochs, ON - OFF in nats: training {}; validation {}",
    ),
    CurveClaim(
        "{}'s accuracy curves lie higher with ImageNet weights",
        1,
        (ACCURACY, VALIDATION_ACCURACY),
        "mean over the epochs, ON - OFF: training {}; validation {}",
    ),
    # The paper: they tend more to overfit. `about_errors.imagenet_overfits_more` has that by the accuracy.
    CurveClaim(
        "{}'s validation loss ends further above its training loss with ImageNet weights",
        1,
        (LOSS_GAP,),
        "loss gap in nats, ON - OFF: {}",
    ),
    # The paper: they may have a better starting point. The first epoch's is the earliest that is recorded.
    CurveClaim(
        "{} is better after the first epoch with ImageNet weights",
        1,
        (FIRST_ACCURACY,),
        "validation accuracy after one epoch, ON - OFF: {}",
    ),
    # A network that has collapsed has its last value from the start: with one in an arm this is not testable.
    CurveClaim("{} converges faster with ImageNet weights", -1, (EPOCHS,), f"{EPOCHS_TEXT}, ON - OFF: {{}}"),
)
"""Section 3.1, Figures 4-15. A further claim about curves is one more row."""


def curve_claims(setting: TrialSetting) -> Iterator[Judged]:
    """Judge CURVE_CLAIMS of each network, at the settings of Table 1."""
    for claim in CURVE_CLAIMS:
        pairs = {backbone: (setting.arm(backbone, ON), setting.arm(backbone, OFF)) for backbone in BACKBONES}
        found = iter(_holm([_if_there(*arms, measure) for arms in pairs.values() for measure in claim.measures]))
        for backbone in BACKBONES:
            question = Question(claim.text.format(backbone), WHERE, ((backbone, ON), (backbone, OFF)))
            own = list(itertools.islice(found, len(claim.measures)))
            yield _conclude(question, setting, own, claim.sign, claim.evidence)


def _holm(found: Sequence[Difference]) -> list[Difference]:
    estimates = holm_of_some([one if isinstance(one, Estimate) else None for one in found])
    return [own or one for own, one in zip(estimates, found, strict=True)]


def _if_there(first: Arm | None, second: Arm | None, measure: Measure) -> Difference:
    return difference_of(first, second, measure) if first and second else "an arm is missing"


def difference_of(first: Arm, second: Arm, measure: Measure) -> Difference:
    """Return `first` minus `second`, over seeds and the images of the measure's curve, or why there is none."""
    if measure.wants_learning and (why := why_no_course([first, second])):
        return why
    values = [[measure.of(result) for result in arm.results] for arm in (first, second)]
    if not all(math.isfinite(value) for own in values for value in own):
        return (
            "a curve is not recorded for all of its epochs, stopped early, has one epoch, or is not of finite numbers"
        )
    if min(map(len, values)) < 2:
        value = float(np.mean(values[0]) - np.mean(values[1]))
        return Estimate(value, Interval(-math.inf, math.inf), 1.0, seeds=tuple(map(len, values)))
    of_resolution = 2 * measure.resolution**2 / 12  # as if uniform, and the same for all seeds of an arm
    variance = of_resolution + _image_variance(first, second, measure, values)
    return estimate([(1, values[0]), (-1, values[1])], variance, margin=None)


def _image_variance(first: Arm, second: Arm, measure: Measure, values: Sequence[Sequence[float]]) -> float:
    """Return the variance over images of a difference. Of shares of images: as if each arm had images of its own, and
    all epochs were right on the same ones. Of losses: from the differences image by image at the end, on the test part.
    0 where that is not known."""
    numbers = [_num_images(arm, measure.curve) for arm in (first, second)]
    if not measure.curve or not all(numbers):
        return 0.0
    if "accuracy" in measure.curve:
        means = [min(1.0, max(0.0, float(np.mean(own)))) for own in values]
        return sum(share_variance(mean, number) for mean, number in zip(means, numbers, strict=True))
    if first.why_unpaired or second.why_unpaired or not same_images(first.predictions[0], second.predictions[0]):
        return 0.0
    own, other = (np.mean([one.losses for one in arm.predictions], axis=0) for arm in (first, second))
    variance = float(np.var(own - other)) / min(numbers)
    return variance if math.isfinite(variance) else 0.0


def _num_images(arm: Arm, curve: str) -> int:
    """Return the number of images of the part that a curve is of."""
    result = arm.results[0]
    return result.num_images.get(result.curves_on if curve.startswith("val_") else "train", 0)


def _conclude(question: Question, setting: TrialSetting, found: Sequence[Difference], sign: int, text: str) -> Judged:
    """Return what is said of a claim that all of `found`, times `sign`, are positive; `text` has a place for each."""
    estimates = [one for one in found if isinstance(one, Estimate)]
    if question.is_lacking(setting) or len(estimates) < len(found):
        return question.lacking(setting, next((one for one in found if isinstance(one, str)), ""))
    arms = question.arms(setting)
    evidence = f"{text.format(*map(_estimate_text, estimates))}{watched_text(arms)}"
    return question.conclude(verdict_of_all(decide(one, sign) for one in estimates), evidence, arms, estimates)


def _estimate_text(found: Estimate) -> str:
    if math.isinf(found.interval.low):
        return f"{found.value:+.3f} (no interval from one seed)"
    return f"{found}, {p_text(found)}"


def watched_text(arms: Iterable[Arm | None]) -> str:
    """Return what "validation" is, where it is no validation part."""
    parts = sorted({result.curves_on for arm in arms if arm for result in arm.results})
    if parts == ["validation"]:
        return ""
    if parts == ["test"]:
        return "; watched on the test part, as no validation part was held out"
    return f"; watched on {' and '.join(part or 'a part that is not recorded' for part in parts)}"


def why_no_course(arms: Iterable[Arm | None]) -> str:
    """Return why convergence says nothing of these arms, or nothing."""
    for arm in arms:
        collapsed = sum(ending_of(result).is_collapse for result in arm.results) if arm else 0
        if arm and collapsed:
            return (
                f"{collapsed} of {arm.num_seeds} networks of {arm.name} have collapsed: they stay at the level of"
                " guessing, which they reach at once"
            )
    return ""


def training_claims(setting: TrialSetting, settings: Sequence[TrialSetting]) -> tuple[Judged, ...]:
    """Judge what the paper says of how long networks must train; `setting` is Table 1's, `settings` are all."""
    longer = [place for backbone in ("ResNet50", "VGG16") for place in ((backbone, ON), (backbone, OFF))]
    pairs = {place: _longest(setting, settings, *place) for place in longer}
    compared = _compared_lengths([pair for pair in pairs.values() if pair])
    return (
        *(mobilenet_needs_fewest_epochs(setting, start) for start in (ON, OFF)),
        *(more_epochs_help(setting, place, pairs[place], compared) for place in longer),
    )


def mobilenet_needs_fewest_epochs(setting: TrialSetting, start: str) -> Judged:
    """Judge that MobileNet is trained in relatively few iterations, while ResNet and VGG converge more slowly (section
    3.1), by the epochs to 90 % of the last validation accuracy, of networks that have not collapsed. Family: the two
    pairs."""
    claim = f"MobileNet converges in fewer epochs than ResNet50 and VGG16 ({start})"
    question = Question(claim, WHERE, tuple((backbone, start) for backbone in BACKBONES))
    first, *others = question.arms(setting)
    found = _holm([_if_there(first, other, EPOCHS) for other in others])
    return _conclude(question, setting, found, -1, f"{EPOCHS_TEXT}, MobileNet - ResNet50 {{}}; MobileNet - VGG16 {{}}")


Lengths = tuple[Arm, Arm]
"""Of one network and start: the arm of the most epochs, and that of Table 1's."""


def _longest(setting: TrialSetting, settings: Sequence[TrialSetting], backbone: str, start: str) -> Lengths | None:
    """Return the arm of most epochs and Table 1's; None without trials of more epochs that differ in nothing else."""
    own = setting.arm(backbone, start)
    if not own:
        return None
    longer = [
        arm
        for other in settings
        if _but_epochs(other) == _but_epochs(setting) and (arm := other.arm(backbone, start))
        if arm.spec.num_epochs > own.spec.num_epochs
    ]
    return (max(longer, key=lambda arm: arm.spec.num_epochs), own) if longer else None


def _but_epochs(setting: TrialSetting) -> tuple[object, ...]:
    return tuple(value for name, value in zip(SETTINGS, setting.key, strict=True) if name != "num_epochs")


def _compared_lengths(pairs: Iterable[Lengths]) -> dict[Lengths, Comparison | str]:
    """Return the comparisons, one family; a sentence for a pair that cannot be compared."""
    found: dict[Lengths, Comparison | str] = {}
    for pair in pairs:
        try:
            found[pair] = compare_arms(*pair, "epochs")
        except NotComparedError as error:
            found[pair] = str(error)
    own = {pair: one for pair, one in found.items() if isinstance(one, Comparison)}
    return found | dict(zip(own, adjusted(list(own.values())), strict=True))


def more_epochs_help(
    setting: TrialSetting, place: tuple[str, str], pair: Lengths | None, compared: dict[Lengths, Comparison | str]
) -> Judged:
    """Judge that ResNet and VGG need prolonged training to reach their optimal level (section 3.1): trials of more
    epochs, at Table 1's setting in all else, must be more accurate. Not confirmed by none: more epochs still might.
    Family: both networks with ImageNet weights and without."""
    backbone, start = place
    question = Question(f"{backbone} is better after more epochs ({start})", WHERE, (place,))
    if not pair:
        epochs = setting.value("num_epochs") if setting.key else 0
        also = f"no trial has more epochs than Table 1's {epochs} and the same settings else (--set num_epochs=...)"
        return question.lacking(setting, also)
    found = compared[pair]
    if isinstance(found, str):
        return question.lacking(setting, found)
    return question.conclude(decide(found.accuracy), in_words(found), pair, [found.accuracy])
