"""Each claim about trials: where it holds, where the opposite does, and where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.claims import Claims, judge
from analysis.claims_sections import sections, summary
from analysis.sections import as_markdown
from analysis.verdicts import CONFIRMED, CONTRADICTED, NOT_CONFIRMED, NOT_TESTABLE, Judged
from tests.analysis.fake_predictions import LABELS, PARAMETERS, Fakes, predicted_with, write_predictions

AS_THE_PAPER = {
    ("MobileNet", "ON"): 0.82,
    ("MobileNet", "OFF"): 0.69,
    ("ResNet50", "ON"): 0.63,
    ("ResNet50", "OFF"): 0.56,
    ("VGG16", "ON"): 0.45,
    ("VGG16", "OFF"): 0.3,
}
TURNED = {cell: 1 - accuracy for cell, accuracy in AS_THE_PAPER.items()}
EQUAL = dict.fromkeys(AS_THE_PAPER, 0.5)


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path)


def judged(fakes: Fakes) -> Callable[[str], Judged]:
    """The one claim about trials whose text begins so."""
    claims = judge(fakes.trials, fakes.grid)

    def find(beginning: str) -> Judged:
        (one,) = [one for one in claims.trials if one.claim.startswith(beginning)]
        return one

    return find


HELPS = [f"{backbone} is better with" for backbone in ("MobileNet", "ResNet50", "VGG16")]
RANKS = [f"MobileNet > ResNet50 > VGG16 (ImageNet {imagenet})" for imagenet in ("ON", "OFF")]


@pytest.mark.parametrize("claim", [*HELPS, *RANKS, "F1 ranks", "some classes"])
@pytest.mark.parametrize(
    ("table", "verdict"), [(AS_THE_PAPER, CONFIRMED), (TURNED, CONTRADICTED), (EQUAL, NOT_CONFIRMED)]
)
def test_scores_decide(fakes: Fakes, claim: str, table: dict[tuple[str, str], float], verdict: str) -> None:
    fakes.add_table(table)
    found = judged(fakes)(claim)

    if (claim, table) == ("some classes", TURNED):  # VGG16 loses 0.15 of 100 images a class: not every class is sure
        assert found.verdict == NOT_CONFIRMED
        assert " 0 gain" in found.evidence
    else:
        assert found.verdict == verdict


def test_the_evidence_has_the_numbers(fakes: Fakes) -> None:
    fakes.add_table(AS_THE_PAPER)
    found = judged(fakes)("MobileNet is better with")

    assert found.where == "section 3.1, Table 1"
    assert found.evidence.startswith("MobileNet, ImageNet ON - OFF: +0.130 [0.109 to 0.151]")
    assert found.evidence.endswith("p < 0.001 (McNemar, one seed each)")


def test_no_class_gains_where_all_lose(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", accuracy=0.1)
    fakes.add("MobileNet", "OFF", accuracy=0.9)

    assert judged(fakes)("some classes").verdict == CONTRADICTED


def test_more_parameters_are_worse_or_not(fakes: Fakes) -> None:
    """Table 1's own order is against it: VGG16's head is the smallest. With the numbers exchanged it holds."""
    fakes.add_table(AS_THE_PAPER)
    sizes = {"MobileNet": 1, "ResNet50": 2, "VGG16": 3}
    assert judged(fakes)("the more parameters are trained, the worse the network (ImageNet ON)").verdict == CONTRADICTED

    holding = Fakes(fakes.folder)
    for (backbone, imagenet), accuracy in AS_THE_PAPER.items():
        changes = {"num_parameters": {"trainable": sizes[backbone]}}
        holding.add(backbone, imagenet, accuracy=accuracy, changes=changes)
    found = judged(holding)("the more parameters are trained, the worse the network (ImageNet OFF)")
    assert found.verdict == CONFIRMED
    assert found.evidence.startswith("MobileNet 1, ResNet50 2, VGG16 3")

    unknown = Fakes(fakes.folder)
    for backbone in PARAMETERS:
        unknown.add(backbone, "ON", changes={"num_parameters": {}})
    found = judged(unknown)("the more parameters are trained, the worse the network (ImageNet ON)")
    assert found.verdict == NOT_TESTABLE
    assert "how many parameters" in found.evidence


def test_vgg16_that_learns_at_another_setting_can_be_trained(fakes: Fakes) -> None:
    claim = "VGG16 cannot be trained"
    fakes.add("VGG16", "ON", accuracy=0.1)
    assert judged(fakes)(claim).verdict == NOT_TESTABLE
    fakes.add("VGG16", "OFF", accuracy=0.1)
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    assert found.evidence.startswith("0 of 2 trials are better than always naming the largest class (0.100)")

    grid = fakes.grid
    fakes.add("VGG16", "OFF", accuracy=0.4, learning_rate=1e-4)
    (found,) = [one for one in judge(fakes.trials, grid).trials if one.claim.startswith(claim)]
    assert found.verdict == CONTRADICTED
    assert "the best, ImageNet OFF, adam at 0.0001, has accuracy 0.400" in found.evidence


def test_a_little_better_than_one_class_is_not_confirmed(fakes: Fakes) -> None:
    fakes.add("VGG16", "ON", accuracy=0.115)  # p = 0.12, and its interval ends at 0.136: below 0.1 + 0.05
    fakes.add("VGG16", "OFF", accuracy=0.04)
    assert judged(fakes)("VGG16 cannot be trained").verdict == CONFIRMED

    fakes.results.clear()
    fakes.add("VGG16", "ON", accuracy=0.1)
    fakes.add("VGG16", "OFF", changes={"confusion": _rows(right=5, total=30)})
    fakes.forget_predictions()
    assert judged(fakes)("VGG16 cannot be trained").verdict == NOT_CONFIRMED  # 5 of 30 may be 0.1 or 0.3


def _rows(right: int, total: int) -> tuple[tuple[int, ...], ...]:
    """`total` images, three of each class and a trial that has `right` of them right."""
    rows = [[0] * 10 for _ in range(10)]
    for image in range(total):
        rows[image % 10][(image % 10 + (image >= right)) % 10] += 1
    return tuple(map(tuple, rows))


def one_class(index: int, others: int = 0) -> np.ndarray:
    """All named `index`, but for so many."""
    predicted = np.full(len(LABELS), index)
    predicted[:others] = (index + 1) % 10
    return predicted


@pytest.mark.parametrize(
    ("named", "verdict"),
    [
        ([one_class(7)], CONFIRMED),
        ([one_class(7), one_class(7)], CONFIRMED),
        ([one_class(8)], NOT_CONFIRMED),  # one class, but another
        ([one_class(7), predicted_with(0.5)], NOT_CONFIRMED),
        ([one_class(7, others=200)], CONTRADICTED),
        ([predicted_with(0.5)], CONTRADICTED),
    ],
)
def test_vgg16_names_class_8_counted_from_1(fakes: Fakes, named: list[np.ndarray], verdict: str) -> None:
    for seed, predicted in enumerate(named):
        fakes.add("VGG16", "ON", predicted, seed=seed)

    assert judged(fakes)("VGG16 names class 8 for all images (ImageNet ON)").verdict == verdict
    assert judged(fakes)("VGG16 names class 8 for all images (ImageNet OFF)").verdict == NOT_TESTABLE


def swapped(first: int, second: int, number: int) -> np.ndarray:
    """All right, but for `number` images of each of two classes, which are taken for the other."""
    predicted = LABELS.copy()
    for one, other in ((first, second), (second, first)):
        predicted[np.flatnonzero(one == LABELS)[:number]] = other
    return predicted


def test_classes_7_and_8_are_read_from_1(fakes: Fakes) -> None:
    claim = "MobileNet confuses classes 7 and 8 less"
    fakes.add("MobileNet", "ON", swapped(6, 7, 10))
    assert judged(fakes)(claim).verdict == NOT_TESTABLE
    fakes.add("MobileNet", "OFF", swapped(6, 7, 40))
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    assert "counted from 1: -0.300" in found.evidence
    assert "counted from 0: +0.000" in found.evidence

    fakes.results.clear()
    fakes.add("MobileNet", "ON", swapped(6, 7, 40))
    fakes.add("MobileNet", "OFF", swapped(7, 8, 40))
    found = judged(fakes)(claim)
    assert found.verdict == CONTRADICTED
    assert "counted from 0: -0.400" in found.evidence


def too_often(index: int, number: int) -> np.ndarray:
    """All right, but for `number` images of another class, which are taken for `index`."""
    predicted = LABELS.copy()
    predicted[np.flatnonzero(LABELS == 9)[:number]] = index
    return predicted


def test_class_2_is_read_from_1(fakes: Fakes) -> None:
    claim = "ResNet50 takes other classes for class 2 less"
    fakes.add("ResNet50", "ON", too_often(1, 5))
    assert judged(fakes)(claim).verdict == NOT_TESTABLE
    fakes.add("ResNet50", "OFF", too_often(1, 50))
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    assert "counted from 1: -0.050" in found.evidence  # 45 of 900 images of other classes

    fakes.results.clear()
    fakes.add("ResNet50", "ON", too_often(1, 50))
    fakes.add("ResNet50", "OFF", too_often(2, 50))
    assert judged(fakes)(claim).verdict == CONTRADICTED


def epoch(train: float, watched: float, loss: float = 1.0) -> dict[str, tuple[dict[str, float], ...]]:
    last = {"epoch": 3.0, "loss": loss, "accuracy": train, "val_loss": 1.0, "val_accuracy": watched}
    return {"history": ({**last, "accuracy": 0.1}, last)}


@pytest.mark.parametrize(
    ("on", "off", "verdict"),
    [
        ((0.95, 0.8), (0.7, 0.7), CONFIRMED),
        ((0.7, 0.7), (0.95, 0.8), CONTRADICTED),
        ((0.8, 0.7), (0.7, 0.6), NOT_CONFIRMED),
    ],
)
def test_overfitting_is_the_gap_at_the_last_epoch(
    fakes: Fakes, on: tuple[float, float], off: tuple[float, float], verdict: str
) -> None:
    fakes.add("ResNet50", "ON", changes=epoch(*on))
    fakes.add("ResNet50", "OFF", changes=epoch(*off))

    assert judged(fakes)("ResNet50 overfits more").verdict == verdict
    assert judged(fakes)("MobileNet overfits more").verdict == NOT_TESTABLE


def test_gaps_of_seeds_that_differ_decide_nothing(fakes: Fakes) -> None:
    for seed, gap in enumerate((0.0, 0.4)):
        fakes.add("ResNet50", "ON", changes=epoch(0.6 + gap, 0.6), seed=seed)
        fakes.add("ResNet50", "OFF", changes=epoch(0.6, 0.6), seed=seed)

    found = judged(fakes)("ResNet50 overfits more")

    assert found.verdict == NOT_CONFIRMED
    assert "+0.200 with and +0.000 without" in found.evidence


def test_gaps_without_curves_are_not_testable(fakes: Fakes) -> None:
    fakes.add("ResNet50", "ON", changes={"history": ()})
    fakes.add("ResNet50", "OFF", changes=epoch(0.7, 0.7))

    assert "curves" in judged(fakes)("ResNet50 overfits more").evidence


def test_the_loss_is_compared_image_by_image(fakes: Fakes) -> None:
    claim = "MobileNet has a lower loss"
    on = fakes.add("MobileNet", "ON", accuracy=0.8, changes=epoch(0.8, 0.8, loss=0.5))
    fakes.add("MobileNet", "OFF", accuracy=0.6, changes=epoch(0.6, 0.6, loss=0.9))
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    expected = -0.2 * np.log(0.55 / 0.05)  # a fifth of the images has the right class's 0.55 in place of 0.05
    assert f"test part: {expected:+.3f}" in found.evidence

    write_predictions(fakes.folder, on, predicted_with(0.8), confidence=0.9999)  # sure of what is wrong
    assert judged(fakes)(claim).verdict == CONTRADICTED


def test_a_higher_training_loss_is_not_lower_on_both(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", accuracy=0.8, changes=epoch(0.8, 0.8, loss=0.9))
    fakes.add("MobileNet", "OFF", accuracy=0.6, changes=epoch(0.6, 0.6, loss=0.5))
    assert judged(fakes)("MobileNet has a lower loss").verdict == NOT_CONFIRMED

    fakes.forget_predictions()
    assert judged(fakes)("MobileNet has a lower loss").verdict == NOT_TESTABLE


def test_p_values_are_corrected_within_the_family(fakes: Fakes) -> None:
    """8 against 22 images: p = 0.016 alone, 0.048 in a family of three where the others are clear, and twice 0.016 or
    three times where they are not."""
    on, off = LABELS.copy(), LABELS.copy()
    on[:8] += 1
    on[:8] %= 10
    off[100:122] = (off[100:122] + 1) % 10
    fakes.add("VGG16", "ON", on)
    fakes.add("VGG16", "OFF", off)
    assert judged(fakes)("VGG16 is better with").verdict == CONFIRMED
    for backbone in ("MobileNet", "ResNet50"):
        fakes.add(backbone, "ON", accuracy=0.5)
        fakes.add(backbone, "OFF", accuracy=0.5)
    found = judged(fakes)("VGG16 is better with")
    assert "p = 0.048" in found.evidence
    off[100] = LABELS[100]
    fakes.results.clear()
    fakes.add_table(EQUAL)
    fakes.results = [r for r in fakes.results if r.spec.backbone != "VGG16"]
    fakes.add("VGG16", "ON", on)
    fakes.add("VGG16", "OFF", off)
    assert judged(fakes)("VGG16 is better with").verdict == NOT_CONFIRMED  # 8 against 21: p = 0.024, tripled


def test_simulated_galaxies_test_nothing_about_galaxy10(fakes: Fakes) -> None:
    fakes.add_table(AS_THE_PAPER, dataset="simulated")
    claims = judge(fakes.trials, fakes.grid)

    assert {one.verdict for one in claims.trials} == {NOT_TESTABLE}
    helps = claims.trials[0].evidence
    assert helps.startswith("not testable with SIMULATED galaxies. These trials alone (by the same rule CONFIRMED): ")
    assert "+0.130" in helps


def test_random_weights_test_nothing_about_imagenet(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", accuracy=0.8, weights="random", weights_fingerprint="")
    fakes.add("MobileNet", "OFF", accuracy=0.5)
    found = judged(fakes)("MobileNet is better with")

    assert found.verdict == NOT_TESTABLE
    assert "random weights in place of ImageNet's" in found.evidence


def test_without_trials_of_table_1_only_arithmetic_is_judged(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", unfrozen_blocks=2)
    claims = judge(fakes.trials, None)

    assert {one.verdict for one in claims.trials} == {NOT_TESTABLE}
    assert claims.trials[0].evidence == "no trial to judge by: MobileNet, ImageNet ON; MobileNet, ImageNet OFF"
    assert len(claims.arithmetic) == 21
    assert summary(claims) == ("claims: 12 CONFIRMED, 1 NOT_CONFIRMED, 8 CONTRADICTED, 20 NOT_TESTABLE",)


def test_different_images_are_named_as_the_reason(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", accuracy=0.8)
    write_predictions(fakes.folder, fakes.add("MobileNet", "OFF", accuracy=0.6), predicted_with(0.6), first_row=3)
    find = judged(fakes)

    for claim in ("MobileNet is better with", "MobileNet confuses"):
        assert find(claim).verdict == NOT_TESTABLE
        assert "different images" in find(claim).evidence


def said(claims: Claims) -> str:
    return " ".join(as_markdown(sections(claims)).replace("\\", "").split())


def test_sections_and_summary(fakes: Fakes) -> None:
    fakes.add_table(AS_THE_PAPER)
    fakes.add("MobileNet", "ON", accuracy=0.8, unfrozen_blocks="all")
    fakes.add("MobileNet", "OFF", accuracy=0.3, unfrozen_blocks=0)
    grid = fakes.grid
    fakes.add("VGG16", "ON", accuracy=0.5, learning_rate=1e-4)
    fakes.add("VGG16", "OFF", accuracy=0.4, learning_rate=1e-4)
    claims = judge(fakes.trials, grid)
    text = said(claims)

    assert "## Comparisons: learning_rate 0.001" in text
    assert "| MobileNet, ImageNet ON - OFF | +0.130 |" in text
    assert "## Pretraining and freezing, 2 x 2: learning_rate 0.001" in text
    details = [section.heading for section in sections(claims) if section.is_detail]
    assert details == ["Comparisons: learning_rate 0.0001"]
    first, second = summary(claims)
    assert first.startswith("claims: ")
    assert second.startswith("comparisons: ")
    assert second.endswith("pairs of settings differ in accuracy (Holm's method)")
