"""The paper's arithmetic against numbers computed by hand, and the same functions on tables where the claim holds."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from analysis import claims_arithmetic as arithmetic
from analysis import paper
from analysis.audit import main
from analysis.paper import Printed, cell_of
from analysis.verdicts import CONFIRMED, CONTRADICTED, NOT_CONFIRMED, NOT_TESTABLE, verdict_by_test, verdict_of_all
from galaxytl.backbones import backbone_named
from galaxytl.data.galaxy10 import CLASS_COUNTS

Scores = tuple[float, float, float]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    """Changes the scores of rows of Table 1: table(("VGG16", "ON"), (0.5, 0.5, 0.5))."""

    def change(row: tuple[str, Literal["ON", "OFF"]], scores: Scores) -> None:
        accuracy, precision, f1 = map(Printed, scores)
        cell = dataclasses.replace(cell_of(*row), accuracy=accuracy, precision=precision, f1=f1)
        rows = tuple(cell if (c.backbone, c.imagenet) == row else c for c in paper.TABLE_1)
        monkeypatch.setattr(paper, "TABLE_1", rows)
        monkeypatch.setattr(arithmetic, "TABLE_1", rows)

    return change


def test_the_facts_are_those_of_the_dataset_and_of_keras() -> None:
    assert arithmetic.CLASS_COUNTS == CLASS_COUNTS
    for name, count in arithmetic.TOTAL_PARAMETERS.items():
        assert backbone_named(name).num_parameters == count


def test_the_verdicts() -> None:
    expected = {
        "there are 17,736 images in ten classes": CONFIRMED,
        "the ten classes are about equally large": CONTRADICTED,
        "the split is 70 / 30: accuracies printed with four digits are possible on 30 %": CONFIRMED,
        "images of 256 x 256 feed networks of 224 x 224": CONTRADICTED,
        "all scores of Table 1 are possible": CONTRADICTED,
        "MobileNet's accuracy gains 0.1365": CONFIRMED,
        "MobileNet's accuracy gains 19.8 %": CONTRADICTED,
        "Table 1 has MobileNet better with ImageNet weights": CONFIRMED,
        "Table 1 has ResNet50 better with ImageNet weights": CONFIRMED,
        "Table 1 has VGG16 better with ImageNet weights": CONTRADICTED,
        "Table 1 has MobileNet before ResNet50 before VGG16": CONFIRMED,
        "precision and F1 have the same order (ON)": CONFIRMED,
        "MobileNet is 0.198 above ResNet50 (ON)": CONFIRMED,
        "ResNet50 is 0.483 above VGG16 (ON)": CONFIRMED,
        "MobileNet is the smallest network": CONFIRMED,
        "the more parameters are trained, the worse the model (ImageNet ON)": CONTRADICTED,
        "the more parameters are trained, the worse the model (ImageNet OFF)": CONTRADICTED,
        "both VGG16 trials are no better than one class": CONFIRMED,
        "VGG16 names one class for all images (ImageNet ON)": CONTRADICTED,
        "VGG16 names one class for all images (ImageNet OFF)": CONFIRMED,
        "the class that VGG16 names is class 8": NOT_CONFIRMED,
    }

    assert {one.claim: one.verdict for one in arithmetic.arithmetic_claims()} == expected


@pytest.mark.parametrize(
    ("claim", "numbers"),
    [
        (arithmetic.class_sizes_are_equal, ("334", "2,645", "7.9", "1,774")),  # 2645 / 334 = 7.92; 17736 / 10
        (arithmetic.accuracies_are_shares_of_the_test_part, ("5,321", "4,377", "3,651")),
        (arithmetic.mobilenet_gains_19_8_percent, ("19.895%", "19.88%", "19.91%")),
        (lambda: arithmetic.imagenet_helps("VGG16"), ("-0.015 [-0.028 to -0.001]",)),
        (lambda: arithmetic.trained_parameters_explain("ON"), ("250,890", "501,770", "1,003,530")),
        (lambda: arithmetic.vgg16_names_one_class("ON"), ("0.020", "0.035")),  # 0.142^2; 2 * 0.142^2 / 1.142
        (arithmetic.vgg16_off_names_class_8, ("index 2: 0.037", "index 7: 0.021")),
    ],
)
def test_the_evidence_has_the_numbers(claim, numbers: tuple[str, ...]) -> None:
    for number in numbers:
        assert number in claim().evidence


def test_trained_parameters_are_keras_own() -> None:
    """`sum(w.size)` of the trainable weights of Keras's VGG16, ResNet50, MobileNet with the head, at 224 pixels."""
    assert arithmetic.trained_parameters("VGG16", "OFF") == 14_714_688 + 250_890
    assert arithmetic.trained_parameters("ResNet50", "OFF") == 23_534_592 + 1_003_530
    assert arithmetic.trained_parameters("MobileNet", "OFF") == 3_206_976 + 501_770


def test_a_share_is_possible_or_not() -> None:
    assert arithmetic.possible_counts(0.8225, 5321) == []  # 4,376 are 0.82240, 4,377 are 0.82259
    assert arithmetic.possible_counts(0.5, 10, digits=1) == [5]


def test_another_table_turns_the_verdicts(table) -> None:
    table(("VGG16", "ON"), (0.162, 0.0262, 0.0452))  # one class
    assert arithmetic.vgg16_names_one_class("ON").verdict == CONFIRMED
    assert arithmetic.imagenet_helps("VGG16").verdict == NOT_CONFIRMED
    table(("VGG16", "ON"), (0.5, 0.5, 0.5))
    assert arithmetic.imagenet_helps("VGG16").verdict == CONFIRMED
    assert arithmetic.vgg16_cannot_be_trained().verdict == CONTRADICTED
    assert arithmetic.resnet_minus_vgg_is_0_483().verdict == CONTRADICTED
    table(("VGG16", "ON"), (0.9, 0.9, 0.9))
    assert arithmetic.mobilenet_beats_resnet_beats_vgg().verdict == CONTRADICTED
    assert arithmetic.precision_and_f1_rank_alike().verdict == CONTRADICTED
    assert arithmetic.trained_parameters_explain("ON").verdict == CONFIRMED  # .9 > .823 > .625
    table(("MobileNet", "OFF"), (0.686, 0.679, 0.663))
    assert arithmetic.scores_are_possible().verdict == CONFIRMED


def test_the_named_class_follows_its_share(table) -> None:
    table(("VGG16", "OFF"), (0.080, 0.006, 0.012))
    assert arithmetic.vgg16_off_names_class_8().verdict == NOT_CONFIRMED  # any class that large or larger may be it
    table(("VGG16", "OFF"), (0.2, 0.04, 0.067))
    assert arithmetic.vgg16_off_names_class_8().verdict == CONTRADICTED  # no class may


def test_the_rules_of_verdicts() -> None:
    assert verdict_by_test(0.1, 0.04) == CONFIRMED
    assert verdict_by_test(-0.1, 0.04) == CONTRADICTED
    assert verdict_by_test(0.1, 0.06) == verdict_by_test(0.1, float("nan")) == NOT_CONFIRMED
    assert verdict_of_all([CONFIRMED, CONFIRMED]) == CONFIRMED
    assert verdict_of_all([CONFIRMED, NOT_TESTABLE, NOT_CONFIRMED]) == NOT_TESTABLE
    assert verdict_of_all([CONFIRMED, NOT_TESTABLE, CONTRADICTED]) == CONTRADICTED
    assert verdict_of_all([]) == NOT_TESTABLE


def test_the_audit_prints_a_table_and_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "Claims: 12 CONFIRMED, 1 NOT_CONFIRMED, 8 CONTRADICTED." in printed
    assert max(map(len, printed.splitlines())) <= 100

    assert main(["--markdown"]) == 0
    assert "| there are 17,736 images in ten classes | sections 1, 2.1 | CONFIRMED |" in capsys.readouterr().out

    assert main(["--latex"]) == 2
    assert "--latex" in capsys.readouterr().err
