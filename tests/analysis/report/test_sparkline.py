"""Small curves in the table of trials, against points that are known."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest

from analysis.report.page import HEIGHT, MARGIN, MAX_POINTS, WIDTH, sparkline
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result

LEFT, RIGHT, TOP, BOTTOM = MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN


def with_curves(train: Sequence[float], watched: Sequence[float], quantity: str = "accuracy") -> TrialResult:
    pairs = zip(train, watched, strict=True)
    return make_result(history=tuple({quantity: own, f"val_{quantity}": other} for own, other in pairs))


def points_of(svg: str, name: str) -> list[tuple[float, float]]:
    path = next(element for element in ET.fromstring(svg) if element.get("class") == name)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.attrib["d"])]


def test_accuracy_goes_from_the_bottom_at_0_to_the_top_at_1() -> None:
    svg = sparkline(with_curves([0, 0.5, 1], [1, 0, 0.25]), "accuracy")

    assert points_of(svg, "train") == [(LEFT, BOTTOM), (WIDTH / 2, HEIGHT / 2), (RIGHT, TOP)]
    assert points_of(svg, "watched") == [(LEFT, TOP), (WIDTH / 2, BOTTOM), (RIGHT, BOTTOM - 0.25 * (BOTTOM - TOP))]
    assert ET.fromstring(svg).get("aria-label") == "accuracy 1.00 to 0.25"


def test_loss_fills_the_height_with_its_highest_value() -> None:
    svg = sparkline(with_curves([4, 2], [2, 0], "loss"), "loss")
    assert points_of(svg, "train") == [(LEFT, TOP), (RIGHT, HEIGHT / 2)]


def test_a_curve_that_became_nan_ends_with_a_cross_and_says_so() -> None:
    result = with_curves([2, 1, math.nan, math.nan], [2, math.inf, math.nan, math.nan], "loss")
    svg = sparkline(result, "loss")

    assert [len(points_of(svg, name)) for name in ("train", "watched")] == [2, 1]
    assert points_of(svg, "train")[-1][0] == pytest.approx(LEFT + (RIGHT - LEFT) / 3, abs=0.01)
    assert svg.count('class="end"') == 2
    assert "then not a number" in svg


def test_many_epochs_are_thinned_to_the_last_and_a_lone_finite_one_is_drawn() -> None:
    points = points_of(sparkline(with_curves([i / 499 for i in range(500)], [0.5] * 500), "accuracy"), "train")
    lone = [math.nan, 0.5, *[math.nan] * 198]

    assert len(points) <= MAX_POINTS
    assert (points[0], points[-1]) == ((LEFT, BOTTOM), (RIGHT, TOP))
    assert points == sorted(points)
    assert points_of(sparkline(with_curves(lone, lone), "accuracy"), "train")[0][1] == HEIGHT / 2


def test_one_epoch_is_a_dot_and_none_is_nothing() -> None:
    assert 'd="M2 11h.01"' in sparkline(with_curves([0.5], [0.5]), "accuracy")
    assert sparkline(make_result(history=()), "accuracy") == ""
    assert sparkline(with_curves([math.nan], [math.nan]), "accuracy") == ""
