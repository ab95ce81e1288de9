"""The statements of the paper that its own numbers and the published dataset decide: no trial is needed.
`about_text` has those on networks, and on earlier work.

    for judged in arithmetic_claims():
        print(judged.verdict, judged.claim)      # python -m analysis.audit prints them as a table

One function a claim, under `@claim`: what the paper claims in our words, where, and the cases that it is claimed of;
they stand in the paper's order. The sizes of networks are those of keras.applications without its classifier, with the
paper's head: Flatten, then Dense(10).

Does the paper count classes from 0 or from 1? It speaks of classes 2, 7 and 8 and does not say. From 1, its 7 and 8 are
the two unbarred spirals, which fits its explanation by spirals, and VGG16's share of 0.157 excludes the class with
index 8 (`vgg16_off_names_class_8`). So claims about classes are read from 1, and the other reading is given beside.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analysis.claims.about_text import TEXT_CLAIMS
from analysis.claims.verdicts import (
    COMPATIBLE,
    CONFIRMED,
    CONTRADICTED,
    FEW_SEEDS,
    NOT_CONFIRMED,
    UNDECIDED,
    Judged,
    Reason,
    Verdict,
    verdict_of,
    verdict_of_all,
)
from analysis.statistics.blind import best_naming, deviation_of_f1, weighted_f1
from analysis.statistics.intervals import Interval, Share, difference
from analysis.trials.endings import is_one_class_row, one_class_scores
from analysis.trials.paper import BACKBONES, TABLE_1, PaperCell, cell_of
from galaxytl.data.galaxy10 import CLASS_COUNTS

NUM_IMAGES: Final = sum(CLASS_COUNTS)
NUM_TESTED: Final = math.ceil(NUM_IMAGES * 3 / 10)
"""Images of a test part of 30 %: scikit-learn, as most do, rounds up."""
TEST_PARTS: Final = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
"""Shares of the images that are usual for testing."""
SIDES: Final = (256, 224)
"""Sides of the images and of the networks' input, in pixels, as the paper says."""
HALF_DIGIT: Final = 0.0005
"""The most by which a score printed with three digits is off."""
ONE_NETWORK: Final = "one network a row, as far as the paper says"
WHAT_ON_IMPLIES: Final = (
    "So the network of the row with ImageNet weights tells some galaxies apart, though it has no more of them right"
    " than naming the largest class would give: it learned little, which is not the collapse to one class of the row"
    " without. A trial that names one class, or guesses, does not reproduce it. Unless the 0.142, which is also the"
    " row's accuracy, is a misprint, as the F1 of 9.663 in this table is"
)

TOTAL_PARAMETERS: Final = {"VGG16": 14_714_688, "ResNet50": 23_587_712, "MobileNet": 3_228_864}
"""`count_params()` of keras.applications at include_top=False."""
RUNNING_AVERAGES: Final = {"VGG16": 0, "ResNet50": 53_120, "MobileNet": 21_888}
"""BatchNorm's among them, which are never trained."""
FEATURES_AT_224: Final = {"VGG16": 7 * 7 * 512, "ResNet50": 7 * 7 * 2048, "MobileNet": 7 * 7 * 1024}
"""Numbers that Flatten gives at 224 x 224 pixels."""


def trained_parameters(backbone: str, imagenet: str) -> int:
    """Return how many weights the paper's trial trains: the head's where ImageNet is ON (section 2.3), else all.

    >>> trained_parameters("VGG16", "ON"), trained_parameters("ResNet50", "ON")
    (250890, 1003530)
    """
    head = FEATURES_AT_224[backbone] * 10 + 10
    own = TOTAL_PARAMETERS[backbone] - RUNNING_AVERAGES[backbone]
    return head + (own if imagenet == "OFF" else 0)


Finding = tuple[Verdict | bool, str] | tuple[Verdict | bool, str, Reason]
"""The verdict, or whether the numbers agree; the evidence; and, if it is not UNDECIDED, why it is not confirmed."""
CLAIMS: Final[list[Callable[[], Judged]]] = []
ORDER: Final = ("MobileNet", "ResNet50", "VGG16")
"""From the best to the worst, as the paper has it."""


def claim(text: str, where: str, *cases: tuple[Any, ...]) -> Callable[[Callable[..., Finding]], Callable[..., Judged]]:
    """Add a function to CLAIMS, once for each of `cases`, which are its arguments and fill the places of `text`."""

    def register(judge: Callable[..., Finding]) -> Callable[..., Judged]:
        @functools.wraps(judge)
        def judged(*case: Any) -> Judged:
            found, evidence, *why = judge(*case)
            verdict = verdict_of(found) if isinstance(found, bool) else found
            reason: Reason = why[0] if why else UNDECIDED
            return Judged(
                text.format(*case), where, verdict, evidence, reason=reason if verdict == NOT_CONFIRMED else ""
            )

        CLAIMS.extend(functools.partial(judged, *case) for case in cases or ((),))
        return judged

    return register


def arithmetic_claims() -> tuple[Judged, ...]:
    """Return what is said of all claims of this module and of `about_text`, each in the paper's order."""
    return (*(judge() for judge in CLAIMS), *TEXT_CLAIMS)


@claim("there are 17,736 images in ten classes", "sections 1, 2.1")
def dataset_has_17736_images() -> Finding:
    evidence = f"the published classes add up to {NUM_IMAGES:,} in {len(CLASS_COUNTS)} classes"
    return (NUM_IMAGES, len(CLASS_COUNTS)) == (17736, 10), evidence


@claim("the ten classes are about equally large", "section 2.1")
def class_sizes_are_equal() -> Finding:
    low, high = min(CLASS_COUNTS), max(CLASS_COUNTS)
    return high < 2 * low, (
        f"from {low:,} to {high:,} images, a factor of {high / low:.1f}; equal classes would hold"
        f" {NUM_IMAGES / len(CLASS_COUNTS):,.0f} each. The largest two have 3 of 10 images, the smallest 1 of 53"
    )


@claim("the split is 70 / 30: accuracies printed with four digits are possible on 30 %", "sections 2.1, 3.1")
def accuracies_are_shares_of_the_test_part() -> Finding:
    """Judge whether 0.8226 and 0.6861 (section 3.1) are whole numbers of 5,321 images. Only about every other
    four-digit number is, so two that are can be so by chance, and other test parts fit as well: the numbers agree with
    the split and do not prove it."""
    printed = (0.8226, 0.6861)
    texts = [f"{one} {_counts_text(possible_counts(one, NUM_TESTED))}" for one in printed]
    fits = [part for part in TEST_PARTS if all(possible_counts(one, _num_tested(part)) for one in printed)]
    others = [f"{part:.0%}" for part in TEST_PARTS if part not in fits]
    by_chance = share_of_possible(NUM_TESTED) ** len(printed)
    return COMPATIBLE if 0.3 in fits else CONTRADICTED, (
        f"of {NUM_TESTED:,} test images: {'; '.join(texts)}. Two numbers are possible by chance in {by_chance:.0%}; of"
        f" the usual test parts {', '.join(f'{part:.0%}' for part in fits) or 'none'} fit both, {', '.join(others)} do"
        " not"
    )


def _num_tested(part: float) -> int:
    """Return the number of images of a test part; scikit-learn rounds up."""
    return math.ceil(round(NUM_IMAGES * part, 6))


@functools.cache
def share_of_possible(total: int, digits: int = 4) -> float:
    """Return the share of all numbers with so many digits, 0 to 1, that are shares of `total` images.

    >>> share_of_possible(5, digits=1)
    0.5454545454545454
    """
    number = 10**digits
    return sum(bool(possible_counts(k / number, total, digits)) for k in range(number + 1)) / (number + 1)


def possible_counts(printed: float, total: int, digits: int = 4) -> list[int]:
    """Return how many of `total` images can be right where the share is printed with so many digits.

    >>> possible_counts(0.8226, 5321), possible_counts(0.8228, 5321)
    ([4377], [4378])
    """
    near = range(max(0, math.floor(printed * total) - 1), min(total, math.ceil(printed * total) + 1) + 1)
    return [count for count in near if abs(count / total - printed) <= 0.5 * 10**-digits]


def _counts_text(counts: list[int]) -> str:
    return f"is {' or '.join(f'{count:,}' for count in counts)} right" if counts else "is no number of images"


@claim("there are validation data beside the training and the test part", "sections 2.1, 2.3")
def validation_data_are_described() -> Finding:
    return NOT_CONFIRMED, (
        "70 % and 30 % leave nothing for a third part, and no section says what x_val is: the test part, watched in"
        " each epoch, or a share of the training part, which was then less than 70 %. The text allows both"
    )


@claim("images of 256 x 256 feed networks of 224 x 224", "sections 2.1, 2.3")
def images_are_256_and_224_pixels() -> Finding:
    return len(set(SIDES)) == 1, (
        "256 x 256 is what the published file holds already; a Keras network with the input_shape 224 x 224 x 3"
        " refuses images of 256 x 256. One of the two statements does not describe the trials, or the images were"
        " resized once more, which no section says"
    )


@claim("all scores of Table 1 are possible", "Table 1")
def scores_are_possible() -> Finding:
    wrong = [
        f"{cell.title}: {name} {cell.printed(key).value:.3f}"
        for cell in TABLE_1
        for key, name in (("accuracy", "accuracy"), ("precision_weighted", "precision"), ("f1_weighted", "F1"))
        if cell.printed(key).sic
    ]
    return not wrong, f"{'; '.join(wrong) or 'none'} is above 1. A misprint of 0.663 would be possible"


@claim("MobileNet's accuracy gains 0.1365", "section 3.1")
def mobilenet_gains_0_1365() -> Finding:
    gain = 0.8226 - 0.6861
    evidence = f"0.8226 - 0.6861 = {gain:.4f}; Table 1 rounds both rightly to 0.823 and 0.686"
    return round(gain, 4) == 0.1365, evidence


@claim("MobileNet's accuracy gains 19.8 %", "section 3.1")
def mobilenet_gains_19_8_percent() -> Finding:
    gain = 0.8226 / 0.6861 - 1
    low, high = (0.8226 - 5e-5) / (0.6861 + 5e-5) - 1, (0.8226 + 5e-5) / (0.6861 - 5e-5) - 1
    return round(100 * low, 1) <= 19.8 <= round(100 * high, 1), (
        f"0.1365 / 0.6861 = {gain:.3%}, and {low:.2%} to {high:.2%} whatever the digits that were not printed: 19.9 %."
        " 19.8 % is the number cut off, not rounded"
    )


@claim("Table 1 has {} better with ImageNet weights", "section 3.1, Table 1", *((name,) for name in ORDER))
def table_1_has_imagenet_ahead(backbone: str) -> Finding:
    """Judge one network a row, which can agree with a claim about all of them, or not, and decides none. What VGG16
    without ImageNet weights scores is the share of the class that it names, which could have been another one."""
    on, off = (cell_of(backbone, imagenet).accuracy.value for imagenet in ("ON", "OFF"))
    interval = _difference(on, off)
    evidence = f"Table 1: {on:.3f} - {off:.3f} = {on - off:+.3f} [{interval}], unpaired; {ONE_NETWORK}"
    if is_one_class_row(*_scores(cell_of(backbone, "OFF"))):
        low, high = min(CLASS_COUNTS) / NUM_IMAGES, max(CLASS_COUNTS) / NUM_IMAGES
        evidence += (
            f". The {off:.3f} is the share of the one class that this network names: with another seed it may be any"
            f" class's, about {low:.3f} to {high:.3f}, so the sign hangs on that one seed"
        )
    return _of_one_network_each(_side(interval), evidence)


@claim("Table 1 has MobileNet before ResNet50 before VGG16", "section 3.1, Table 1")
def mobilenet_beats_resnet_beats_vgg() -> Finding:
    """Judge the accuracies with ImageNet weights, which the text is about (abstract and conclusion: MobileNet is the
    best)."""
    scores = [cell_of(name, "ON").accuracy.value for name in ORDER]
    intervals = [_difference(*pair) for pair in itertools.pairwise(scores)]
    evidence = "Table 1, ON: " + " > ".join(f"{score:.3f}" for score in scores)
    evidence += f"; differences [{intervals[0]}] and [{intervals[1]}], unpaired; {ONE_NETWORK}"
    return _of_one_network_each(verdict_of_all(map(_side, intervals)), evidence)


def _of_one_network_each(of_networks: Verdict, evidence: str) -> Finding:
    """Return what a claim about all networks is, where images say `of_networks` of those of Table 1."""
    if of_networks == CONTRADICTED:
        return NOT_CONFIRMED, evidence, FEW_SEEDS
    return COMPATIBLE if of_networks == CONFIRMED else of_networks, evidence


@claim("precision and F1 have the same order (ON)", "section 3.1, Table 1")
def precision_and_f1_rank_alike() -> Finding:
    orders = {
        name: [cell_of(backbone, "ON").printed(name).value for backbone in ORDER]
        for name in ("precision_weighted", "f1_weighted")
    }
    evidence = "; ".join(f"{name.split('_')[0]} {' > '.join(map('{:.3f}'.format, v))}" for name, v in orders.items())
    return all(values == sorted(values, reverse=True) for values in orders.values()), evidence


@claim("precision has the same order as accuracy (OFF)", "section 3.1, Table 1")
def precision_ranks_alike_without_imagenet() -> Finding:
    precisions = {name: cell_of(name, "OFF").precision.value for name in ORDER}
    falls = [(a, b) for a, b in itertools.pairwise(precisions) if precisions[a] <= precisions[b]]
    evidence = f"Table 1, OFF: precision {', '.join(f'{name} {value:.3f}' for name, value in precisions.items())}"
    evidence += "".join(f"; {first} is not before {second}" for first, second in falls)
    evidence += f"; {ONE_NETWORK}. The text says so after accuracies with ImageNet weights, and names no other"
    return not falls, evidence


@claim("{} is {} above {} (ON)", "section 3.1", ("MobileNet", 0.198, "ResNet50"), ("ResNet50", 0.483, "VGG16"))
def accuracies_differ_by(first: str, printed: float, second: str) -> Finding:
    high, low = cell_of(first, "ON").accuracy.value, cell_of(second, "ON").accuracy.value
    return round(high - low, 3) == printed, f"{high:.3f} - {low:.3f} = {high - low:.3f}"


@claim("MobileNet is the smallest network", "section 3.1")
def mobilenet_is_the_smallest() -> Finding:
    sizes = sorted(TOTAL_PARAMETERS.items(), key=lambda item: item[1])
    return sizes[0][0] == "MobileNet", f"without classifier: {', '.join(f'{name} {count:,}' for name, count in sizes)}"


@claim("the more parameters are trained, the worse the model (ImageNet {})", "section 3.1, Table 1", ("ON",), ("OFF",))
def trained_parameters_explain(imagenet: str) -> Finding:
    """Judge the paper's explanation: MobileNet has the fewest trainable parameters, and ResNet and VGG too many to
    converge. So the more a trial trains, the worse it must score."""
    order = sorted(BACKBONES, key=lambda name: trained_parameters(name, imagenet))
    scores = [cell_of(name, imagenet).accuracy.value for name in order]
    rows = (f"{n} {trained_parameters(n, imagenet):,} -> {s:.3f}" for n, s in zip(order, scores, strict=True))
    trained = "the head alone" if imagenet == "ON" else "all"
    evidence = f"trained parameters ({trained}) -> accuracy: {', '.join(rows)}"
    return scores == sorted(scores, reverse=True), evidence


@claim("both VGG16 rows have no better accuracy than naming one class", "section 3.2, Table 1")
def vgg16_rows_are_poor() -> Finding:
    """Judge by accuracy alone that VGG cannot be trained properly; `vgg16_ignores_the_image` has the other scores."""
    largest = max(CLASS_COUNTS) / NUM_IMAGES
    on, off = (cell_of("VGG16", imagenet).accuracy.value for imagenet in ("ON", "OFF"))
    spread = Share(round(largest * NUM_TESTED), NUM_TESTED).interval
    fits = max(on, off) - HALF_DIGIT <= spread.high
    return COMPATIBLE if fits else CONTRADICTED, (
        f"accuracy {on:.3f} and {off:.3f}; naming the largest class gives {largest:.3f} [{spread}];"
        f" {ONE_NETWORK}, at one setting of the optimizer"
    )


@claim("VGG16 names one class for all images (ImageNet {})", "section 3.2, Table 1", ("ON",), ("OFF",))
def vgg16_names_one_class(imagenet: str) -> Finding:
    """Judge whether accuracy p goes with a weighted precision of p^2 and a weighted F1 of 2 p^2 / (1 + p): only the
    named class, of share p, has a precision (p), a recall (1) and a weight. Scores that fit do not prove it: naming
    others now and then can print the same three numbers."""
    cell = cell_of("VGG16", imagenet)
    _, precision, f1 = one_class_scores(cell.accuracy.value)
    return COMPATIBLE if is_one_class_row(*_scores(cell)) else CONTRADICTED, (
        f"one class of share {cell.accuracy} has precision {precision:.3f} and F1 {f1:.3f};"
        f" printed are {cell.precision} and {cell.f1}"
    )


@dataclass(frozen=True)
class Blind:
    """The largest F1 that ignoring the image can be expected to give on the paper's test part."""

    f1: float
    deviation: float
    """Standard deviation from one set of guesses to the next."""


def blind_f1() -> Blind:
    """Return it for Galaxy10's class shares and 5,321 images, over all numbers by which classes can be named."""
    shares = np.array(CLASS_COUNTS) / NUM_IMAGES
    naming = best_naming(shares)
    return Blind(weighted_f1(shares, naming), deviation_of_f1(shares, naming, NUM_TESTED))


def ignores_the_image(cell: PaperCell) -> bool:
    """Return whether a row's F1, less the digits that are not printed, is within 3 standard deviations of the largest
    that a predictor which ignores the image can be expected to have."""
    best = blind_f1()
    return cell.f1.value - HALF_DIGIT <= best.f1 + 3 * best.deviation


@claim("what VGG16 predicts has nothing to do with the image (ImageNet {})", "section 3.2, Table 1", ("ON",), ("OFF",))
def vgg16_ignores_the_image(imagenet: str) -> Finding:
    """Judge by F1 that VGG cannot be trained properly.

    Accuracy does not say so: always naming the largest class has 0.149. F1 does, since no way of naming classes without
    looking is good in all of them. So 0.142 in accuracy and in F1 at once means several classes, named with some
    regard to the image, and no more images right than one class would give."""
    cell, best = cell_of("VGG16", imagenet), blind_f1()
    evidence = (
        f"F1 {cell.f1}; naming classes at the best rates without looking can be expected to give {best.f1:.3f}"
        f" (standard deviation {best.deviation:.4f}), "
    )
    if ignores_the_image(cell):
        return COMPATIBLE, f"{evidence}which is no less"
    evidence += f"{(cell.f1.value - HALF_DIGIT - best.f1) / best.deviation:.0f} deviations below"
    is_misprint = cell.accuracy.value <= max(CLASS_COUNTS) / NUM_IMAGES
    return CONTRADICTED, f"{evidence}. {WHAT_ON_IMPLIES}" if is_misprint else evidence


def row_in_words(cell: PaperCell) -> str:
    """Return what the three scores of a row of VGG16 imply together, in a few words."""
    if is_one_class_row(*_scores(cell)):
        return "one class"
    if ignores_the_image(cell):
        return "several classes, perhaps without regard to the image"
    return "several classes, with some regard to the image"


def _scores(cell: PaperCell) -> tuple[float, float, float]:
    return cell.accuracy.value, cell.precision.value, cell.f1.value


@claim("the class that VGG16 names is class 8", "section 3.2, Table 1")
def vgg16_off_names_class_8() -> Finding:
    """Judge by the class's share of the test part, which is the accuracy, 0.157 without ImageNet weights; no class has
    as much of the whole, so the split was not stratified."""
    wanted = cell_of("VGG16", "OFF").accuracy.value
    chances = {index: chance_of_share(count, wanted) for index, count in enumerate(CLASS_COUNTS)}
    possible = {index for index, chance in chances.items() if chance >= 0.001}
    listed = ", ".join(f"index {index}: {chances[index]:.2g}" for index in sorted({*possible, 8}))
    evidence = (
        f"chance of a test share of {wanted:.3f} or more in a random 30 %: {listed}. Counted from 0, class 8 has"
        f" {CLASS_COUNTS[8] / NUM_IMAGES:.3f} of the images and is excluded; counted from 1 (index 7) it is possible"
    )
    if possible.isdisjoint({7, 8}):
        return CONTRADICTED, evidence
    return CONFIRMED if possible <= {7, 8} else NOT_CONFIRMED, evidence


def chance_of_share(count: int, printed: float) -> float:
    """Return the hypergeometric chance that a class with `count` images has the printed share, or more, of a random
    test part."""
    from scipy.stats import hypergeom

    least = math.ceil((printed - HALF_DIGIT) * NUM_TESTED)
    return float(hypergeom.sf(least - 1, NUM_IMAGES, count, NUM_TESTED))


def _difference(first: float, second: float) -> Interval:
    """Return the interval of two accuracies of Table 1. Which images each has right is not printed, so nothing is
    paired."""
    return difference(*(Share(round(value * NUM_TESTED), NUM_TESTED) for value in (first, second)))


def _side(interval: Interval) -> Verdict:
    if 0 in interval:
        return NOT_CONFIRMED
    return CONFIRMED if interval.low > 0 else CONTRADICTED
