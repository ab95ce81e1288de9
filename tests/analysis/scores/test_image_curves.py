"""Scores by the number of training images: which trials stand in them, and how sure each point is."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.scores.image_curves import VARIED, can_draw, curves_of, sections
from analysis.trials.comparable import comparable
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.more_fakes import drawn, footer_of, plans_of


def of_size(size: int, right: int, seed: int = 0, backbone: str = "MobileNet", **fields: object) -> TrialResult:
    """30 % of the images are the test part, in two classes; a share `right` per cent of each is right."""
    test = round(0.3 * size) or 300
    half = test // 2
    own = round(half * right / 100)
    confusion = ((own, half - own), (half - own, own))
    spec = make_spec(backbone, max_images=size, seed=seed, **fields)
    counts = {"train": (size or 1000) - 2 * half, "validation": 0, "test": 2 * half}
    return make_result(spec, accuracy=own / half, confusion=confusion, class_names=("a", "b"), num_images=counts)


def grid() -> list[TrialResult]:
    return [of_size(size, right + seed, seed) for size, right in ((0, 80), (200, 60), (400, 70)) for seed in range(3)]


def test_a_curve_goes_from_few_images_to_all() -> None:
    (curve,) = curves_of(grid())

    assert [place.num_train for place in curve.places] == [140, 280, 700]
    assert [place.num_scored for place in curve.places] == [60, 120, 300]
    assert [len(place.accuracy.values) for place in curve.places] == [3, 3, 3]
    means = [place.accuracy.mean for place in curve.places]
    assert means == sorted(means)
    for place in curve.places:
        assert place.balanced is not None
        assert place.balanced.mean == pytest.approx(place.accuracy.mean)
        assert place.accuracy.mean in place.accuracy.interval


def test_seeds_widen_the_interval_and_one_seed_has_that_of_its_images() -> None:
    one, several = (curves_of(rows)[0].places[-1].accuracy for rows in (grid()[::3], grid()))
    assert one.interval.low == pytest.approx(0.751, abs=0.002)  # Wilson: 240 of 300
    assert several.interval.high - several.interval.low > 0.05


def test_trials_that_differ_in_more_than_size_are_not_in_it() -> None:
    other = [of_size(200, 99, learning_rate=1e-4), of_size(0, 99, optimizer="sgd")]

    chosen = comparable([*other, *grid()], VARIED, can_draw)

    assert len(chosen.results) == 9
    assert "2 trials of other settings (optimizer, learning_rate) are not in it" in chosen.left_out
    assert sections(other) == []


def test_the_section_says_that_the_test_part_changes_too() -> None:
    (section,) = sections(grid())

    assert section.listing is not None
    assert [row[1:4] for row in section.listing.rows] == [("140", "60", "3"), ("280", "120", "3"), ("700", "300", "3")]
    assert any("with fewer images the part that a trial is scored on is smaller too" in s for s in section.sentences)


def test_the_figure_has_every_seed_as_a_point() -> None:
    figure = drawn("scores-by-images", grid())

    lines = figure.axes[0].lines
    assert sum(len(np.asarray(line.get_ydata())) == 3 and line.get_markersize() == 2.5 for line in lines) == 3
    assert sum(line.get_gid() == "mean accuracy" for line in lines) == 3
    assert "each size is scored on its own test part" in footer_of(figure)
    simulated = [of_size(size, 60, dataset="simulated") for size in (0, 200)]
    assert "SIMULATED" in plans_of(simulated)["scores-by-images"].caption


def test_trials_without_a_confusion_matrix_have_accuracy_alone() -> None:
    rows = [make_result(r.spec, accuracy=0.5, confusion=(), num_images=r.num_images) for r in grid()]
    (section,) = sections(rows)
    assert section.listing is not None
    assert {row[-1] for row in section.listing.rows} == {"-"}
    above, below = drawn("scores-by-images", rows).axes
    assert [len(np.asarray(axes.lines[0].get_xdata())) for axes in (above, below)] == [3, 0]
