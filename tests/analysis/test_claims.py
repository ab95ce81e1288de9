"""Each claim about trials: where it holds, where the opposite does, and where nothing can be said."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.cells import PaperGrid
from analysis.claims import judge
from analysis.claims_sections import sections, summary
from analysis.sections import as_markdown
from analysis.verdicts import CONFIRMED, CONTRADICTED, NOT_CONFIRMED, NOT_TESTABLE, Judged
from tests.analysis.fake_predictions import LABELS, PARAMETERS, Fakes, predicted_with, write_predictions

AS_THE_PAPER = {"MobileNet": (0.82, 0.69), "ResNet50": (0.63, 0.56), "VGG16": (0.45, 0.3)}
TURNED = {backbone: (1 - on, 1 - off) for backbone, (on, off) in AS_THE_PAPER.items()}
EQUAL = dict.fromkeys(AS_THE_PAPER, (0.5, 0.5))


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path)


def judged(fakes: Fakes, grid: PaperGrid | None = None) -> Callable[[str], Judged]:
    """The one claim about trials whose text begins so; with all trials in the grid, if none is given."""
    claims = judge(fakes.trials, grid or fakes.grid)

    def find(beginning: str) -> Judged:
        (one,) = [one for one in claims.trials if one.claim.startswith(beginning)]
        return one

    return find


MORE_PARAMETERS = "the more parameters are trained, the worse the network (ImageNet ON)"
SCORED = (
    *(f"{backbone} is better with" for backbone in PARAMETERS),
    *(f"MobileNet > ResNet50 > VGG16 (ImageNet {imagenet})" for imagenet in ("ON", "OFF")),
    *("F1 ranks", "some classes", MORE_PARAMETERS),
)


@pytest.mark.parametrize(
    ("table", "verdict", "others"),
    [
        (AS_THE_PAPER, CONFIRMED, {MORE_PARAMETERS: CONTRADICTED}),  # VGG16's head is the smallest
        # VGG16 loses 0.15 of 100 images a class: not every class is sure
        (TURNED, CONTRADICTED, {"some classes": NOT_CONFIRMED}),
        (EQUAL, NOT_CONFIRMED, {}),
    ],
)
def test_scores_decide(fakes: Fakes, table: dict[str, Any], verdict: str, others: dict[str, str]) -> None:
    fakes.add_table(table)
    find = judged(fakes)
    assert {claim: find(claim).verdict for claim in SCORED} == {**dict.fromkeys(SCORED, verdict), **others}


def test_no_class_gains_where_all_lose(fakes: Fakes) -> None:
    fakes.add_pair("MobileNet", 0.1, 0.9)
    found = judged(fakes)("some classes")
    assert found.verdict == CONTRADICTED
    assert "recall of 10 classes of 1 networks: 0 gain, 10 lose" in found.evidence


@pytest.mark.parametrize("sizes", [(1, 2, 3), None])
def test_the_more_parameters_the_worse_or_not_known(fakes: Fakes, sizes: tuple[int, ...] | None) -> None:
    for index, (backbone, (on, _)) in enumerate(AS_THE_PAPER.items()):
        fakes.add(backbone, "ON", on, changes={"num_parameters": {"trainable": sizes[index]} if sizes else {}})
    found = judged(fakes)(MORE_PARAMETERS)

    assert found.verdict == (CONFIRMED if sizes else NOT_TESTABLE)
    expected = "MobileNet 1, ResNet50 2, VGG16 3" if sizes else "the rows do not say how many parameters were trained"
    assert found.evidence.startswith(expected)


def test_vgg16_that_learns_at_another_setting_can_be_trained(fakes: Fakes) -> None:
    claim = "VGG16 cannot be trained"
    fakes.add("VGG16", "ON", 0.1)
    assert judged(fakes)(claim).verdict == NOT_TESTABLE
    fakes.add("VGG16", "OFF", 0.1)
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    assert found.evidence.startswith("0 of 2 trials are better than always naming the largest class (0.100)")

    grid = fakes.grid
    fakes.add("VGG16", "OFF", 0.4, learning_rate=1e-4)
    found = judged(fakes, grid)(claim)
    assert found.verdict == CONTRADICTED
    assert "the best, ImageNet OFF, adam at 0.0001, has accuracy 0.400" in found.evidence


def test_a_little_better_than_one_class_is_not_confirmed(fakes: Fakes) -> None:
    fakes.add_pair("VGG16", 0.115, 0.04)  # p = 0.12, and its interval ends at 0.136: below 0.1 + 0.05
    assert judged(fakes)("VGG16 cannot be trained").verdict == CONFIRMED

    five_of_30 = 3 * np.roll(np.eye(10, dtype=int), 1, axis=1)
    five_of_30[0, :2], five_of_30[1, 1:3] = (3, 0), (2, 1)
    fakes.results.clear()
    fakes.add("VGG16", "ON", 0.1)
    fakes.add("VGG16", "OFF", changes={"confusion": tuple(map(tuple, five_of_30.tolist()))})
    fakes.forget_predictions()
    assert judged(fakes)("VGG16 cannot be trained").verdict == NOT_CONFIRMED  # 5 of 30 may be 0.1 or 0.3


SWAPPED = ((6, 7), (7, 6))
ALL_7 = np.full(len(LABELS), 7)


@pytest.mark.parametrize(
    ("named", "verdict"),
    [
        ([ALL_7], CONFIRMED),
        ([ALL_7, ALL_7], CONFIRMED),
        ([ALL_7 + 1], NOT_CONFIRMED),  # one class, but another
        ([ALL_7, 0.5], NOT_CONFIRMED),
        ([np.where(np.arange(len(LABELS)) < 200, 8, 7)], CONTRADICTED),
        ([0.5], CONTRADICTED),
    ],
)
def test_vgg16_names_class_8_counted_from_1(fakes: Fakes, named: list[Any], verdict: str) -> None:
    for seed, predicted in enumerate(named):
        fakes.add("VGG16", "ON", predicted, seed=seed)
    assert judged(fakes)("VGG16 names class 8 for all images (ImageNet ON)").verdict == verdict
    assert judged(fakes)("VGG16 names class 8 for all images (ImageNet OFF)").verdict == NOT_TESTABLE


def mistaken(number: int, *pairs: tuple[int, int]) -> np.ndarray:
    """All right, but for `number` images of a class that are taken for another; `pairs`: which for which."""
    predicted = LABELS.copy()
    for true, other in pairs:
        predicted[np.flatnonzero(true == LABELS)[:number]] = other
    return predicted


@pytest.mark.parametrize(
    ("claim", "on", "off", "verdict", "evidence"),
    [
        ("MobileNet confuses", mistaken(10, *SWAPPED), mistaken(40, *SWAPPED), CONFIRMED, ("-0.300", "+0.000")),
        ("MobileNet confuses", mistaken(40, *SWAPPED), mistaken(40, (7, 8), (8, 7)), CONTRADICTED, ("", "-0.400")),
        # 45 of 900 images of other classes
        ("ResNet50 takes", mistaken(5, (9, 1)), mistaken(50, (9, 1)), CONFIRMED, ("-0.050", "+0.000")),
        ("ResNet50 takes", mistaken(50, (9, 1)), mistaken(50, (9, 2)), CONTRADICTED, ("", "-0.056")),
    ],
)
def test_the_papers_classes_are_counted_from_1(
    fakes: Fakes, claim: str, on: np.ndarray, off: np.ndarray, verdict: str, evidence: tuple[str, str]
) -> None:
    fakes.add(claim.partition(" ")[0], "ON", on)
    assert judged(fakes)(claim).verdict == NOT_TESTABLE
    fakes.add(claim.partition(" ")[0], "OFF", off)
    found = judged(fakes)(claim)

    assert found.verdict == verdict
    assert f"counted from 1: {evidence[0]}" in found.evidence
    assert f"counted from 0: {evidence[1]}" in found.evidence


def epoch(train: float, watched: float, loss: float = 1.0) -> dict[str, tuple[dict[str, float], ...]]:
    last = {"epoch": 3.0, "loss": loss, "accuracy": train, "val_loss": 1.0, "val_accuracy": watched}
    return {"history": ({**last, "accuracy": 0.1}, last)}


@pytest.mark.parametrize(
    ("on", "off", "verdict"),
    [
        ([(0.95, 0.8)], [(0.7, 0.7)], CONFIRMED),
        ([(0.7, 0.7)], [(0.95, 0.8)], CONTRADICTED),
        ([(0.8, 0.7)], [(0.7, 0.6)], NOT_CONFIRMED),
        ([(0.6, 0.6), (1.0, 0.6)], [(0.6, 0.6)] * 2, NOT_CONFIRMED),  # seeds that differ decide nothing
    ],
)
def test_overfitting_is_the_gap_at_the_last_epoch(
    fakes: Fakes, on: list[tuple[float, float]], off: list[tuple[float, float]], verdict: str
) -> None:
    for imagenet, seeds in (("ON", on), ("OFF", off)):
        for seed, last in enumerate(seeds):
            fakes.add("ResNet50", imagenet, changes=epoch(*last), seed=seed)
        fakes.add("VGG16", imagenet, changes={"history": ()} if imagenet == "ON" else {})
    find = judged(fakes)

    assert find("ResNet50 overfits more").verdict == verdict
    gaps = [np.mean([train - watched for train, watched in seeds]) for seeds in (on, off)]
    assert "{:+.3f} with and {:+.3f} without".format(*gaps) in find("ResNet50 overfits more").evidence
    assert find("MobileNet overfits more").verdict == NOT_TESTABLE
    assert "curves" in find("VGG16 overfits more").evidence


def test_the_loss_is_compared_image_by_image(fakes: Fakes) -> None:
    claim = "MobileNet has a lower loss"
    on = fakes.add("MobileNet", "ON", 0.8, changes=epoch(0.8, 0.8, loss=0.5))
    fakes.add("MobileNet", "OFF", 0.6, changes=epoch(0.6, 0.6, loss=0.9))
    found = judged(fakes)(claim)
    assert found.verdict == CONFIRMED
    expected = -0.2 * np.log(0.55 / 0.05)  # a fifth of the images has the right class's 0.55 in place of 0.05
    assert f"test part: {expected:+.3f}" in found.evidence

    write_predictions(fakes.folder, on, predicted_with(0.8), confidence=0.9999)  # sure of what is wrong
    assert judged(fakes)(claim).verdict == CONTRADICTED
    fakes.forget_predictions()
    assert judged(fakes)(claim).verdict == NOT_TESTABLE


def test_a_higher_training_loss_is_not_lower_on_both(fakes: Fakes) -> None:
    fakes.add("MobileNet", "ON", 0.8, changes=epoch(0.8, 0.8, loss=0.9))
    fakes.add("MobileNet", "OFF", 0.6, changes=epoch(0.6, 0.6, loss=0.5))
    assert judged(fakes)("MobileNet has a lower loss").verdict == NOT_CONFIRMED


@pytest.mark.parametrize(
    ("number", "others", "verdict", "p_value"),
    [
        (22, {}, CONFIRMED, "0.016"),  # 8 against 22 images, alone
        (22, {"MobileNet": (0.5, 0.5), "ResNet50": (0.5, 0.5)}, CONFIRMED, "0.048"),  # two others are less clear
        (21, {"MobileNet": (0.5, 0.5), "ResNet50": (0.5, 0.5)}, NOT_CONFIRMED, "0.072"),  # alone: p = 0.024
        (21, {"MobileNet": (0.6, 0.5), "ResNet50": (0.6, 0.5)}, CONFIRMED, "0.024"),  # two others are clearer
    ],
)
def test_p_values_are_corrected_within_the_family(
    fakes: Fakes, number: int, others: dict[str, tuple[float, float]], verdict: str, p_value: str
) -> None:
    fakes.add_table({**others, "VGG16": (mistaken(8, (0, 1)), mistaken(number, (5, 6)))})
    found = judged(fakes)("VGG16 is better with")
    assert found.verdict == verdict
    assert f"p = {p_value}" in found.evidence


def test_simulated_galaxies_and_random_weights_test_nothing(fakes: Fakes) -> None:
    fakes.add_table(AS_THE_PAPER, dataset="simulated")
    claims = judge(fakes.trials, fakes.grid)
    assert {one.verdict for one in claims.trials} == {NOT_TESTABLE}
    helps = claims.trials[0].evidence
    assert helps.startswith("not testable with SIMULATED galaxies. These trials alone (by the same rule CONFIRMED): ")
    assert "+0.130" in helps

    fakes.results.clear()
    fakes.add("MobileNet", "ON", 0.8, weights="random", weights_fingerprint="")
    fakes.add("MobileNet", "OFF", 0.5)
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
    _, off = fakes.add_pair("MobileNet", 0.8, 0.6)
    write_predictions(fakes.folder, off, predicted_with(0.6), first_row=3)
    find = judged(fakes)

    for claim in ("MobileNet is better with", "MobileNet confuses"):
        assert find(claim).verdict == NOT_TESTABLE
        assert "different images" in find(claim).evidence


def test_settings_whose_trials_have_neither_predictions_nor_counts_are_named(fakes: Fakes) -> None:
    """Rows may be a stranger's, and have scores alone."""
    for learning_rate in (1e-3, 1e-4):
        fakes.add_pair("MobileNet", learning_rate=learning_rate)
    fakes.forget_predictions()
    fakes.results = [replace(result, confusion=()) for result in fakes.results]
    found = sections(judge(fakes.trials, None))
    assert [section.heading for section in found if section.heading.startswith("Comparisons")]


def test_sections_and_summary(fakes: Fakes) -> None:
    fakes.add_table(AS_THE_PAPER)
    fakes.add("MobileNet", "ON", 0.8, unfrozen_blocks="all")
    fakes.add("MobileNet", "OFF", 0.3, unfrozen_blocks=0)
    grid = fakes.grid
    fakes.add_pair("VGG16", 0.5, 0.4, learning_rate=1e-4)
    claims = judge(fakes.trials, grid)
    text = " ".join(as_markdown(sections(claims)).replace("\\", "").split())

    helps = claims.trials[0]
    assert (helps.claim[:9], helps.where) == ("MobileNet", "section 3.1, Table 1")
    assert helps.evidence.startswith("MobileNet, ImageNet ON - OFF: +0.130 [0.109 to 0.151]")
    assert helps.evidence.endswith("p < 0.001 (McNemar, one seed each)")
    assert "## Comparisons: learning_rate 0.001" in text
    assert "| MobileNet, ImageNet ON - OFF | +0.130 |" in text
    assert "## Pretraining and freezing, 2 x 2: learning_rate 0.001" in text
    details = [section.heading for section in sections(claims) if section.is_detail]
    assert details == ["Comparisons: learning_rate 0.0001"]
    first, second = summary(claims)
    assert first.startswith("claims: ")
    assert re.fullmatch(r"comparisons: .* pairs of settings differ in accuracy \(Holm's method\)", second)
