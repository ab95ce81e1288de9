"""What ignoring the image can score, against simulated guesses and against a numeric maximum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from analysis.statistics.blind import best_naming, deviation_of_f1, weighted_f1

CASES = (
    np.array([1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873]) / 17736,  # Galaxy10 DECaLS
    np.full(4, 0.25),
    np.array([0.9, 0.05, 0.03, 0.02]),
    np.array([0.5, 0.5, 0.0]),
)


def test_galaxy10s_largest_expectation() -> None:
    naming = best_naming(CASES[0])
    assert weighted_f1(CASES[0], naming) == pytest.approx(0.1159, abs=5e-5)
    assert deviation_of_f1(CASES[0], naming, 5321) == pytest.approx(0.0043, abs=5e-5)
    assert naming[4] == 0  # the smallest class is best left out


@pytest.mark.parametrize("shares", CASES)
def test_no_naming_is_better(shares: np.ndarray) -> None:
    naming = best_naming(shares)
    assert naming.sum() == pytest.approx(1)
    best = weighted_f1(shares, naming)
    rng = np.random.default_rng(0)
    others = [rng.dirichlet(np.full(len(shares), size)) for size in (0.1, 0.3, 1, 10) for _ in range(500)]
    assert max(weighted_f1(shares, other) for other in [*others, *np.eye(len(shares)), shares]) <= best + 1e-12
    found = minimize(
        lambda q: -weighted_f1(shares, q), np.full(len(shares), 1 / len(shares)), bounds=[(0, 1)] * len(shares),
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1}, method="SLSQP",
    )  # fmt: skip
    assert -found.fun == pytest.approx(best, abs=1e-6)


def test_simulated_guesses_have_this_mean_and_deviation() -> None:
    """Names in random order on a test part of 1,000 images, each class as often as it is said to be."""
    rng, number = np.random.default_rng(1), 1000
    counts = np.array([300, 250, 200, 150, 100])
    named = np.array([400, 300, 200, 100, 0])
    labels, names = (np.repeat(np.arange(5), n) for n in (counts, named))
    scores = [f1_score(labels, rng.permutation(names), average="weighted", zero_division=0) for _ in range(150)]
    error = np.std(scores) / 150**0.5
    assert np.mean(scores) == pytest.approx(weighted_f1(counts / number, named / number), abs=3 * error)
    expected = deviation_of_f1(counts / number, named / number, number)
    assert np.std(scores) == pytest.approx(expected, rel=0.2)  # 150 give it to 6 %
