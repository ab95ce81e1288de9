"""The range of what is left, where the truth is known."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.results.progress_file import Progress
from sweep.status.time_left import time_left, trials_an_hour
from tests.sweep.status.folders import progress


def at(share: float, seconds: float, **others: Any) -> Progress:
    return progress(share=share, seconds=seconds, begun=0.0, **others)


def test_before_the_first_epoch_it_is_what_the_plan_says() -> None:
    low, high = time_left(progress(estimate=(50.0, 100.0, 200.0), begun=None, share=0.0, seconds=5.0)) or (0, 0)
    assert (low, high) == pytest.approx((50, 200))
    assert time_left(progress(estimate=None, begun=None, share=0.0)) is None


def test_a_machine_that_is_slower_than_planned_moves_the_range_and_more_that_is_done_narrows_it() -> None:
    """Planned were 100 seconds, and it takes 1,000 of a steady pace."""
    spans = []
    for share in (0.1, 0.5, 0.9, 0.99):
        low, high = time_left(at(share, 1000 * share, estimate=(50.0, 100.0, 200.0))) or (0, 0)
        spans.append((low, high, 1000 * (1 - share)))
    for low, high, truth in spans[2:]:
        assert low < truth < 2.5 * high
    widths = [high / low for low, high, _ in spans]
    assert widths == sorted(widths, reverse=True)
    measured = [time_left(at(share, 1000 * share, estimate=None)) or (0, 0) for share in (0.1, 0.5, 0.9)]
    assert all(low < 1000 * (1 - share) < high for (low, high), share in zip(measured, (0.1, 0.5, 0.9), strict=True))


def test_nothing_is_left_at_the_end() -> None:
    assert time_left(at(1.0, 50.0)) == (0.0, 0.0)


def test_the_start_of_ray_is_no_part_of_the_pace() -> None:
    assert trials_an_hour(progress(seconds=130.0, begun=30.0, finished=10)) == pytest.approx(360)
    assert trials_an_hour(progress(finished=0)) is None
