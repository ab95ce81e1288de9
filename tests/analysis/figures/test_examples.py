"""Which images pretraining fixed and broke, from real files of probabilities and thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.catalogue import plan_figures
from analysis.figures.examples import NUM_SHOWN, Example, changes_of, sample, trials_to_compare
from analysis.figures.plans import Material
from analysis.figures.style import style
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.more_fakes import make_ended, with_status, write_predictions, write_thumbnails

LABELS = [0, 1, 2, 3, 4]
"""Of rows 10 to 14."""


def write_pair(folder: Path, on: list[int], off: list[int], **fields: Any) -> tuple[list[TrialResult], dict[str, Path]]:
    """An ON and an OFF trial that predict these classes, and their folder."""
    trials = [make_ended(imagenet=name, **fields) for name in ("ON", "OFF")]
    results = [write_predictions(folder, r, LABELS, own) for r, own in zip(trials, (on, off), strict=True)]
    return results, {r.trial_id: folder for r in results}


def test_fixed_and_broken_are_those_that_one_of_the_two_has_right(tmp_path: Path) -> None:
    results, folders = write_pair(tmp_path, on=[0, 1, 9, 8, 4], off=[0, 7, 2, 6, 4])
    write_thumbnails(tmp_path, dict(enumerate(LABELS, start=10)))

    (changes,), problems = changes_of(results, folders)

    assert problems == []
    assert (changes.on, changes.off, changes.num_images) == (*results, 5)
    assert changes.fixed == (Example(11, 1, 7),)
    assert changes.broken == (Example(12, 2, 9),)
    assert {row: p[0, 0].tolist() for row, p in changes.pictures.items()} == {11: [11, 0, 0], 12: [12, 0, 0]}


def sheet(results: list[TrialResult], folder: Path) -> tuple[Figure, str]:
    """The figure and its caption."""
    plans = plan_figures(Material(results, {r.trial_id: folder for r in results}))
    plan = next(plan for plan in plans if plan.stem == "examples")
    assert plan.draw is not None, plan.why_not
    with style():
        return plan.draw(), plan.caption


def test_the_sheet_shows_the_pictures_with_both_classes(tmp_path: Path) -> None:
    results, _ = write_pair(tmp_path, on=[0, 1, 9, 3, 4], off=[0, 7, 2, 3, 4])
    write_thumbnails(tmp_path, dict(enumerate(LABELS, start=10)))

    figure, _ = sheet(results, tmp_path)

    fixed, broken = figure.axes[0], figure.axes[NUM_SHOWN]
    assert [axes.get_title() for axes in (fixed, broken)] == ["Merging", "Round Smooth"]
    assert fixed.get_xlabel() == "OFF: Unbarred Loose\nSpiral"
    assert broken.get_xlabel() == "ON: Edge-on with\nBulge"
    assert (fixed.get_ylabel(), broken.get_ylabel()) == ("VGG16\nfixed: 1\nof 5", "VGG16\nbroken: 1\nof 5")
    assert np.asarray(fixed.images[0].get_array())[5, 5].tolist() == [11, 0, 0]
    assert not figure.axes[1].images


def test_stand_ins_for_imagenet_weights_are_starred(tmp_path: Path) -> None:
    on, off = (make_ended(imagenet=name, dataset="simulated") for name in ("ON", "OFF"))
    stand_in = make_ended(dataset="simulated", weights="random", weights_fingerprint="")
    results = [write_predictions(tmp_path, r, LABELS, p) for r, p in ((stand_in, LABELS), (off, [0, 0, 0, 0, 0]))]
    write_thumbnails(tmp_path, dict(enumerate(LABELS, start=10)))

    figure, caption = sheet(results, tmp_path)

    assert figure.axes[0].get_ylabel().startswith("VGG16*\n")
    assert "* random weights" in caption
    assert trials_to_compare([stand_in, on, off]) == {"VGG16": (on, off)}  # the real weights where there are some


def test_trials_are_compared_at_the_same_other_settings_nearest_the_paper() -> None:
    paper = [make_ended(imagenet=name, seed=1) for name in ("ON", "OFF")]
    farther = [make_ended(imagenet=name, learning_rate=1e-4) for name in ("ON", "OFF")]
    alone = [make_ended(seed=0), with_status(make_ended(imagenet="OFF", seed=0), FAILED)]
    mobilenet = [make_ended(imagenet=name, seed=seed, backbone="MobileNet") for name, seed in (("ON", 0), ("OFF", 3))]

    assert trials_to_compare([*farther, *alone, *mobilenet, *paper]) == {"VGG16": tuple(paper)}


def test_a_sample_is_the_same_again_has_six_at_most_and_only_those_with_a_thumbnail() -> None:
    examples = [Example(row, row % 3, 9) for row in range(40)]
    labels = {row: row % 3 for row in range(30)} | {35: 0}  # row 35 is of class 2: another dataset's thumbnail

    chosen = sample(examples, labels)

    assert chosen == sample(list(reversed(examples)), labels)
    assert len(set(chosen)) == NUM_SHOWN
    assert [example.true for example in chosen] == sorted(example.true for example in chosen)
    assert all(example.row < 30 for example in chosen)
    assert sample(examples[:2], labels) == examples[:2]
    assert sample(examples, {35: 0}) == []


def test_why_nothing_is_shown(tmp_path: Path) -> None:
    results, folders = write_pair(tmp_path, on=LABELS, off=[9] * 5)

    assert changes_of(results, folders) == ([], [f"VGG16: {tmp_path} holds no thumbnails.parquet"])
    write_thumbnails(tmp_path, {99: 3})
    assert changes_of(results, folders)[1] == [
        f"VGG16: {tmp_path}/thumbnails.parquet holds none of the 5 images that changed"
    ]
    assert changes_of(results[:1], folders)[1] == [
        "no backbone has an ON and an OFF trial with the same other settings and seed"
    ]
    (tmp_path / "probabilities" / f"{results[1].trial_id}.parquet").unlink()
    assert "the probabilities of trial" in changes_of(results, folders)[1][0]
