"""The paper's arithmetic against numbers computed by hand, and the same functions on tables where the claim holds."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import Literal

import pytest

from analysis.audit import main
from analysis.claims import about_arithmetic as arithmetic
from analysis.claims import about_text as text
from analysis.claims.verdicts import (
    COMPATIBLE,
    CONFIRMED,
    CONTRADICTED,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    verdict_by_test,
    verdict_of_all,
)
from analysis.trials import paper
from analysis.trials.paper import Printed, cell_of
from galaxytl.networks.backbones import backbone_named

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


def test_the_sizes_of_networks_are_keras_own() -> None:
    for name, count in arithmetic.TOTAL_PARAMETERS.items():
        assert backbone_named(name).num_parameters == count


def test_layers_add_up_to_what_keras_counts() -> None:
    assert text.vgg16_parameters() == arithmetic.TOTAL_PARAMETERS["VGG16"]
    assert text.resnet50_parameters(3) == arithmetic.TOTAL_PARAMETERS["ResNet50"] != text.resnet50_parameters(2)
    assert text.vgg16_parameters() + text.dense_parameters() == 138_357_544  # VGG16 with its classifier
    with pytest.raises(ValueError, match="two or three convolutions; got 4"):
        text.resnet50_parameters(4)


def test_keras_builds_resnets_as_the_claims_say() -> None:
    """Read from its source: building the networks takes seconds."""
    (package,) = importlib.util.find_spec("keras").submodule_search_locations
    source = (Path(package) / "src" / "applications" / "resnet.py").read_text()
    block = source.partition("def residual_block_v1(")[2].partition("\ndef ")[0]

    assert len(re.findall(r'name=f"{name}_[123]_conv"', block)) == 3
    assert "https://arxiv.org/abs/1512.03385" in source
    for name in ("ResNet50", "ResNet101", "ResNet152"):  # one text, with that reference, for all three
        assert f'setattr({name}, "__doc__", {name}.__doc__ + DOC)' in source


@pytest.mark.parametrize(
    ("claim", "numbers"),
    [
        (arithmetic.class_sizes_are_equal, ("334", "2,645", "7.9", "1,774")),  # 2645 / 334 = 7.92; 17736 / 10
        # (5322 / 10001)^2 = 0.283
        (arithmetic.accuracies_are_shares_of_the_test_part, ("5,321", "4,377", "3,651", "28%", "30%, 40% fit both")),
        (arithmetic.precision_ranks_alike_without_imagenet, ("0.679", "0.698", "MobileNet is not before ResNet50")),
        (lambda: arithmetic.vgg16_ignores_the_image("ON"), ("0.116", "0.0043", "6 deviations", "misprint")),
        (arithmetic.mobilenet_gains_19_8_percent, ("19.895%", "19.88%", "19.91%")),
        (
            lambda: arithmetic.table_1_has_imagenet_ahead("VGG16"),
            ("-0.015 [-0.028 to -0.001]", "0.019 to 0.149", "that one seed"),
        ),
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
    assert arithmetic.vgg16_names_one_class("ON").verdict == COMPATIBLE
    assert arithmetic.vgg16_ignores_the_image("ON").verdict == COMPATIBLE
    assert arithmetic.row_in_words(arithmetic.cell_of("VGG16", "ON")) == "one class"
    assert arithmetic.table_1_has_imagenet_ahead("VGG16").verdict == NOT_CONFIRMED
    table(("VGG16", "ON"), (0.5, 0.5, 0.5))
    assert arithmetic.table_1_has_imagenet_ahead("VGG16").verdict == COMPATIBLE
    assert arithmetic.vgg16_rows_are_poor().verdict == CONTRADICTED
    assert arithmetic.accuracies_differ_by("ResNet50", 0.483, "VGG16").verdict == CONTRADICTED
    table(("VGG16", "ON"), (0.9, 0.9, 0.9))
    assert arithmetic.mobilenet_beats_resnet_beats_vgg().verdict == NOT_CONFIRMED  # one network a row
    assert arithmetic.precision_and_f1_rank_alike().verdict == CONTRADICTED
    assert arithmetic.trained_parameters_explain("ON").verdict == CONFIRMED  # .9 > .823 > .625
    table(("MobileNet", "OFF"), (0.686, 0.679, 0.663))
    assert arithmetic.scores_are_possible().verdict == CONFIRMED
    table(("MobileNet", "OFF"), (0.686, 0.7, 0.663))
    assert arithmetic.precision_ranks_alike_without_imagenet().verdict == CONFIRMED


def test_scores_of_guesses_and_of_little_learning_are_told_apart(table) -> None:
    """An accuracy of 0.142 with F1 up to 0.116 and three deviations more may be guesses."""
    for f1, words in ((0.128, "perhaps without regard"), (0.130, "with some regard")):
        table(("VGG16", "ON"), (0.142, 0.136, f1))
        assert words in arithmetic.row_in_words(arithmetic.cell_of("VGG16", "ON"))


def test_the_named_class_follows_its_share(table) -> None:
    table(("VGG16", "OFF"), (0.080, 0.006, 0.012))
    assert arithmetic.vgg16_off_names_class_8().verdict == NOT_CONFIRMED  # any class that large or larger may be it
    table(("VGG16", "OFF"), (0.2, 0.04, 0.067))
    assert arithmetic.vgg16_off_names_class_8().verdict == CONTRADICTED  # no class may


def test_the_rules_of_verdicts() -> None:
    seeds = (3, 4)
    assert verdict_by_test(0.1, 0.04, seeds) == CONFIRMED
    assert verdict_by_test(-0.1, 0.04, seeds) == CONTRADICTED
    assert verdict_by_test(0.1, 0.06, seeds) == verdict_by_test(0.1, float("nan"), seeds) == NOT_CONFIRMED
    assert verdict_by_test(0.1, 0.04, (2, 9)) == NOT_CONFIRMED
    assert verdict_of_all([CONFIRMED, COMPATIBLE]) == COMPATIBLE
    assert verdict_of_all([COMPATIBLE, NOT_CONFIRMED]) == NOT_CONFIRMED
    assert verdict_of_all([CONFIRMED, CONFIRMED]) == CONFIRMED
    assert verdict_of_all([CONFIRMED, NOT_TESTABLE, NOT_CONFIRMED]) == NOT_TESTABLE
    assert verdict_of_all([CONFIRMED, NOT_TESTABLE, CONTRADICTED]) == CONTRADICTED
    assert verdict_of_all([]) == NOT_TESTABLE


def test_the_audit_prints_a_table_and_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "about networks       1 CONFIRMED, 1 COMPATIBLE, 3 CONTRADICTED" in printed
    assert "The paper's claims about earlier work" in printed
    assert max(map(len, printed.splitlines())) <= 100

    assert main(["--markdown"]) == 0
    assert "| there are 17,736 images in ten classes | sections 1, 2.1 | CONFIRMED |" in capsys.readouterr().out

    assert main(["--latex"]) == 2
    assert "--latex" in capsys.readouterr().err
