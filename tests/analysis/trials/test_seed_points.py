"""What stands for the seeds of one setting, and that one figure never mixes settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from analysis.trials import starts
from analysis.trials.comparable import comparable
from analysis.trials.seed_points import Point, seeds_note
from analysis.trials.starts import FINE_TUNED, FROM_SCRATCH, IMAGENET_FROZEN, RANDOM_FROZEN, Start, start_of
from galaxytl.trial import FAILED, PRUNED, TrialResult
from tests.analysis.fakes import make_spec
from tests.analysis.more_fakes import make_collapsed, make_ended, with_status

RATES = ("learning_rate",)


def test_a_start_is_named_by_weights_and_blocks() -> None:
    """None where only some blocks are trained; starred where weights are missing."""
    found = [
        start_of(make_spec(weights=weights, weights_requested=weights, unfrozen_blocks=blocks))
        for weights, blocks in (("random", "all"), ("random", 0), ("imagenet", 0), ("imagenet", "all"))
    ]
    missing = start_of(make_spec(weights="random", weights_fingerprint=""))

    assert found == [Start(FROM_SCRATCH), Start(RANDOM_FROZEN), Start(IMAGENET_FROZEN), Start(FINE_TUNED)]
    assert start_of(make_spec(unfrozen_blocks=2)) is None
    assert missing == Start(IMAGENET_FROZEN, True)
    assert missing.title == "ImageNet, frozen*"
    assert sorted([Start(FINE_TUNED), missing, Start(FROM_SCRATCH), Start(IMAGENET_FROZEN)]) == [
        *(Start(IMAGENET_FROZEN), missing, Start(FROM_SCRATCH), Start(FINE_TUNED)),
    ]


def test_collapsed_from_95_per_cent_on_and_learned_if_surely_above_the_commonest_class() -> None:
    assert starts.is_collapsed(make_ended(top_share=0.95))
    assert not starts.is_collapsed(make_ended(top_share=0.949))
    assert starts.has_learned(make_ended(0.3))
    assert not starts.has_learned(make_ended(0.16))  # of 300 images: 0.12 to 0.21, and 0.15 is the commonest class
    assert not starts.has_learned(make_ended(0.9, top_share=0.96))


def test_the_papers_setting_is_adam_at_one_thousandth_on_pixels_by_255() -> None:
    paper = make_spec("VGG16", "OFF")

    assert starts.distance_from_paper(paper) == (0, 0.0)
    assert starts.is_paper_setting(paper)
    assert starts.distance_from_paper(paper.replace(learning_rate=1e-5)) == (0, 2.0)
    assert starts.distance_from_paper(paper.replace(optimizer="sgd", momentum=0.9)) == (2, 0.0)
    assert not starts.is_paper_setting(paper.replace(preprocessing="backbone"))
    assert not starts.is_paper_setting(paper.replace(unfrozen_blocks=0))
    assert not starts.is_paper_setting(paper.replace(warmup_epochs=2.0))


def test_backbones_stand_in_the_papers_order_then_by_name() -> None:
    names = ["Xception", "MobileNet", "DenseNet121", "VGG16", "VGG16"]
    assert starts.ordered_backbones(names) == ["VGG16", "MobileNet", "DenseNet121", "Xception"]


def test_a_point_is_the_mean_and_the_range_of_its_seeds() -> None:
    rows = [make_ended(0.6, seed=0), make_collapsed(seed=1), make_ended(0.3, seed=2)]
    point = Point.of([*rows, with_status(make_ended(seed=3), FAILED), with_status(make_ended(seed=4), PRUNED)])

    assert point.mean == pytest.approx(0.35)
    assert point.low_high == (0.15, 0.6)
    assert (point.num_collapsed, point.num_failed, len(point.complete)) == (1, 1, 3)
    assert (point.has_some_collapsed, point.has_all_collapsed) == (True, False)


def test_a_point_of_one_seed_has_the_interval_of_its_images_and_of_none_is_a_gap() -> None:
    assert Point.of([make_ended(0.5)]).low_high == pytest.approx((0.4437, 0.5563), abs=1e-4)  # Wilson: 150 of 300
    gap = Point.of([with_status(make_ended(), FAILED)])
    assert math.isnan(gap.mean)
    assert (gap.low_high, gap.has_all_collapsed) == (None, False)


def test_what_the_bars_are_is_said() -> None:
    one, three = Point.of([make_ended()]), Point.of([make_ended(seed=seed) for seed in range(3)])

    assert seeds_note([three, three]) == "means of 3 seeds, bars: their range"
    assert seeds_note([one]) == "one seed: bar of 95 % over its images (Wilson 1927)"
    assert seeds_note([one, three]) == f"{seeds_note([three])}; {seeds_note([one])}"
    assert seeds_note([Point(())]) == ""


def test_only_trials_that_differ_in_nothing_else_are_compared() -> None:
    kept = [make_ended(learning_rate=rate, seed=seed) for rate in (1e-3, 1e-4) for seed in (0, 1)]
    others = [make_ended(batch_size=64), make_ended(image_size=64)]

    chosen = comparable([*others, *kept], RATES, lambda rows: True)

    assert list(chosen.results) == kept
    assert chosen.left_out == "2 trials of other settings (image_size, batch_size) are not in it; --where chooses them."


def test_of_equally_many_those_nearest_the_paper_and_pruned_ones_never() -> None:
    paper, other = make_ended(learning_rate=1e-4), make_ended(learning_rate=1e-4, preprocessing="backbone")
    pruned = with_status(make_ended(seed=1, preprocessing="backbone"), PRUNED)
    assert comparable([other, pruned, paper], RATES, lambda rows: True).results == (paper,)
    assert comparable([pruned], RATES, lambda rows: True).results == ()


def test_the_most_trials_lose_to_those_that_can_be_drawn() -> None:
    many = [make_ended(seed=seed, batch_size=64) for seed in range(5)]
    few = [make_ended(learning_rate=rate) for rate in (1e-3, 1e-4)]

    def can_draw(rows: Sequence[TrialResult]) -> bool:
        return len({r.spec.learning_rate for r in rows}) > 1

    assert list(comparable([*many, *few], RATES, can_draw).results) == few
    assert comparable(many, RATES, can_draw).results == ()


def test_what_stands_in_for_weights_goes_where_there_are_real_ones() -> None:
    real = make_ended(weights_fingerprint="a")
    stand_in = make_ended(weights="random", weights_fingerprint="")
    second = [make_ended(weights_fingerprint="b", seed=seed) for seed in (1, 2)]

    assert comparable([stand_in, real], RATES, lambda rows: True).results == (real,)
    assert comparable([stand_in], RATES, lambda rows: True).results == (stand_in,)
    chosen = comparable([real, *second], RATES, lambda rows: True)
    assert list(chosen.results) == second
    assert "1 trial of other settings (weights) is not in it" in chosen.left_out

    frozen = make_ended(weights="random", weights_requested="random", weights_fingerprint="", unfrozen_blocks=0)
    assert list(comparable([frozen, *second], RATES, lambda rows: True).results) == second  # another request


def test_panels_that_are_not_compared_may_have_trained_longer() -> None:
    panel = ("backbone", "unfrozen_blocks")
    varied = (*panel, "learning_rate", "weights_requested")
    short = [make_ended(learning_rate=rate, num_epochs=10, imagenet="OFF") for rate in (1e-3, 1e-4)]
    long = [make_ended(learning_rate=rate, num_epochs=20) for rate in (1e-3, 1e-4)]

    apart = comparable([*short, *long], varied, lambda rows: True, panel)
    assert {r.trial_id for r in apart.results} == {r.trial_id for r in (*short, *long)}
    assert apart.left_out == "Epochs: 10 for VGG16/all; 20 for VGG16/0."

    mixed = [*short, *long, make_ended(learning_rate=1e-5, num_epochs=10)]
    chosen = comparable(mixed, varied, lambda rows: True, panel)
    assert len({r.spec.num_epochs for r in chosen.results}) == 1
    assert comparable([*short, *long], varied, lambda rows: True).results != apart.results
