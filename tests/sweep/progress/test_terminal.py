"""What the live table shows, drawn at 80 and 140 columns into a text. No Ray, no threads."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep.progress.terminal import SweepTable, brief_label, trial_label, varied_fields
from tests.sweep.fakes import toy_spec

WIDTHS = pytest.mark.parametrize("width", [80, 140])
NAN = "diverged: the loss became nan in epoch 2"
PAPER = [
    toy_spec(backbone=name, weights=start, weights_requested=start, unfrozen_blocks=0 if start == "imagenet" else "all")
    for name in ("VGG16", "ResNet50", "MobileNet")
    for start in ("imagenet", "random")
]
VARIED = [
    toy_spec(
        backbone="EfficientNetV2B0",
        weights="random",
        weights_requested="imagenet",
        unfrozen_blocks=12,
        optimizer="rmsprop" if number else "adam",
        learning_rate=10.0**-number,
        preprocessing="backbone" if number else "divide_by_255",
        augmentation=bool(number),
        class_weighting="balanced" if number else "none",
        head_units=256 * number,
        seed=number,
    )
    for number in range(3)
]
MANY = [toy_spec(backbone="ConvNeXtXLarge", learning_rate=10.0 ** -(n / 100), seed=n % 3) for n in range(468)]


def table(specs: list[TrialSpec], width: int, height: int = 24, num_more: int = 0) -> SweepTable:
    return SweepTable(specs, Console(file=io.StringIO(), width=width, height=height), num_more)


def drawn(what: SweepTable, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(what.drawn())
    return [line.rstrip() for line in file.getvalue().splitlines()]


def done(spec: TrialSpec, status: str = COMPLETE, message: str = "") -> TrialResult:
    metrics = {"accuracy": 0.612, "loss": 1.0} if status == COMPLETE else {}
    return TrialResult(spec=spec, status=status, message=message, metrics=metrics)  # type: ignore[arg-type]


@WIDTHS
@pytest.mark.parametrize("specs", [PAPER, VARIED, MANY])
def test_every_table_fits_its_terminal_and_has_its_headings(specs: list[TrialSpec], width: int) -> None:
    sweep = table(specs, width)
    for number, spec in enumerate(specs):
        if number % 3 == 0:
            sweep.finished(done(spec, FAILED, NAN))
        elif number % 3 == 1:
            sweep.epochs({spec.trial_id: {"epoch": 3.0, "loss": 1.5e12, "val_accuracy": 0.5}})
    lines = drawn(sweep, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    heading = " ".join(" ".join(lines[1:3]).split())
    assert heading.startswith("trial state time loss accuracy")
    assert any("epoch 3/10" in line and "1.5e+12" in line for line in lines)
    assert sum(NAN in line for line in lines) == 1
    assert not any("…" in line for line in lines)


@WIDTHS
def test_every_trial_of_a_small_sweep_is_shown_whole_in_two_lines_at_most(width: int) -> None:
    lines = drawn(table(PAPER, width), width)
    text = " ".join(" ".join(lines).split())
    for name in ("VGG16, ImageNet, frozen", "ResNet50, random, all layers", "MobileNet, ImageNet, frozen"):
        assert name in text
    assert lines[0] == "0 of 6 trials ended"
    assert sum("waiting" in line for line in lines) == 6


def test_of_many_trials_those_that_run_come_first_and_the_others_are_counted() -> None:
    sweep = table(MANY, 140)
    for spec in MANY[:100]:
        sweep.finished(done(spec))
    sweep.phases({MANY[200].trial_id: "reading images"})
    lines = drawn(sweep, 140)
    assert lines[3].startswith("ConvNeXtXLarge")
    assert "reading images" in lines[3]
    assert "COMPLETE" in lines[4]
    (rest,) = [line for line in lines if line.startswith("and ")]
    assert rest == "and 450 more: 83 COMPLETE, 367 waiting"


def test_a_reason_is_in_the_table_while_it_lives_and_not_in_the_end() -> None:
    sweep = table(PAPER, 80)
    with sweep:
        for spec in PAPER[:4]:
            sweep.finished(done(spec, FAILED, NAN))
        assert f"4 FAILED: {NAN}" in drawn(sweep, 80)
    assert not [line for line in drawn(sweep, 80) if NAN in line]


def test_stand_in_weights_have_a_note_below() -> None:
    lines = drawn(table(VARIED, 80), 80)
    assert any("random *" in line for line in lines)
    assert "* random (ImageNet weights not found)" in lines
    assert not [line for line in drawn(table(PAPER, 80), 80) if "*" in line]


def test_the_chosen_trial_of_a_search_counts_apart() -> None:
    specs = [toy_spec(scored_on="validation", learning_rate=10.0**-number) for number in range(1, 9)]
    search = table([], 80, num_more=8)
    search.add(specs, ["learning_rate"])
    for spec in specs:
        search.finished(done(spec, PRUNED if spec is specs[0] else COMPLETE))
    assert drawn(search, 80)[0] == "8 of 8 trials ended: 7 COMPLETE, 1 PRUNED"
    chosen = specs[3].replace(scored_on="test")
    search.add_chosen(chosen, ["learning_rate"])
    ended = "8 of 8 trials ended: 7 COMPLETE, 1 PRUNED; the chosen one"
    assert " ".join(drawn(search, 80)[:2]).startswith(f"{ended} being scored on the test part")
    search.finished(done(chosen))
    assert " ".join(drawn(search, 80)[:2]).startswith(f"{ended} scored on the test part")


def test_a_log_has_a_line_an_event_and_a_reason_once() -> None:
    file = io.StringIO()
    sweep = SweepTable(PAPER, Console(file=file, width=200))
    for spec in PAPER[:2]:
        sweep.finished(done(spec, FAILED, NAN))
    sweep.finished(done(PAPER[2]))
    first, second, third = file.getvalue().splitlines()
    assert first.endswith(f"VGG16, ImageNet, frozen: FAILED: {NAN}")
    assert second.endswith("VGG16, random, all layers trained: FAILED: as another before")
    assert third.endswith("ResNet50, ImageNet, frozen: COMPLETE: test accuracy 0.612")


def test_an_end_says_which_epoch_is_scored_where_training_stopped_early() -> None:
    spec = PAPER[0].replace(validation_fraction=0.1, early_stopping=3, scored_epoch="best")
    row = replace(done(spec), history=tuple({"epoch": i} for i in range(1, 8)), epoch_scored=4)
    file = io.StringIO()
    sweep = SweepTable([spec], Console(file=file, width=200))
    sweep.finished(row)
    assert "test accuracy 0.612; stopped after epoch 7 of 10, epoch 4 scored" in file.getvalue()
    assert "COMPLETE, epoch 4 of 7" in "\n".join(drawn(sweep, 100))


def test_labels_name_what_varies() -> None:
    assert varied_fields(VARIED)[0] == "preprocessing"
    assert trial_label(PAPER[0], ["learning_rate"]) == "VGG16, ImageNet, frozen, learning_rate 0.001"
    assert brief_label(VARIED[1], ["optimizer"]) == "EfficientNetV2B0, random *, 12 blocks, rmsprop, seed 1"
