"""The posterior of a reduction, against a closed form, sampling, and another integral."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from analysis.statistics.beta_binomial import reduction
from analysis.statistics.intervals import Interval, Share

PAIRS = [
    ((5, 5), (0, 3)),
    ((3, 6), (2, 9)),
    ((0, 5), (5, 5)),
    ((10, 10), (10, 10)),
    ((90, 100), (10, 100)),
    ((0, 1), (0, 1)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("bound", [-0.5, 0.0, 0.3, 0.5])
def test_probabilities_are_those_of_an_adaptive_integral(
    first: tuple[int, int], second: tuple[int, int], bound: float
) -> None:
    """Over the second rate instead of the first."""
    (x, n), (y, m) = first, second
    own, other = beta(x + 0.5, n - x + 0.5), beta(y + 0.5, m - y + 0.5)
    low, high = max(0.0, -bound), min(1.0, 1 - bound)
    inside, _ = quad(lambda rate: other.pdf(rate) * own.sf(rate + bound), low, high, epsabs=1e-10, limit=500)
    expected = inside + other.cdf(low)  # below it the first rate is above rate + bound in any case

    assert reduction(Share(*first), Share(*second)).probability_above(bound) == pytest.approx(expected, abs=2e-6)


def test_the_interval_holds_95_percent_of_samples() -> None:
    numbers = np.random.default_rng(0)
    for (x, n), (y, m) in PAIRS:
        sample = numbers.beta(x + 0.5, n - x + 0.5, 200_000) - numbers.beta(y + 0.5, m - y + 0.5, 200_000)
        found = reduction(Share(x, n), Share(y, m)).interval
        assert np.mean(sample < found.low) == pytest.approx(0.025, abs=0.002)
        assert np.mean(sample > found.high) == pytest.approx(0.025, abs=0.002)


def test_equal_counts_are_symmetric_and_reversed_ones_opposite() -> None:
    alike = reduction(Share(2, 6), Share(2, 6))
    assert alike.probability_above(0) == pytest.approx(0.5)
    assert alike.interval.low == pytest.approx(-alike.interval.high, abs=1e-5)

    one, other = reduction(Share(5, 5), Share(1, 4)), reduction(Share(1, 4), Share(5, 5))
    assert one.probability_above(0.2) == pytest.approx(1 - other.probability_above(-0.2))
    assert one.interval.low == pytest.approx(-other.interval.high, abs=1e-5)


def test_the_ends_are_no_singularities() -> None:
    found = reduction(Share(1000, 1000), Share(0, 1000))
    assert found.probability_above(-1) == pytest.approx(1)
    assert found.probability_above(1) == 0
    assert isinstance(found.interval, Interval)
    assert 0.99 < found.interval.low < found.interval.high < 1
