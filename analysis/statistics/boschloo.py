"""An exact test that two shares are equal, its power, and how many trials decide.

    boschloo(5, 5, 0, 3)                 # p-value of 5 of 5 against 0 of 3: 0.0101
    fewest_seeds(0.9, 0.1, Wanted())     # seeds with which the whole rule says so: its power is 0.8

The test is Boschloo's (1970, Statistica Neerlandica 24, 1), two-sided: Fisher's exact p-value, not taken as a p-value
but as what is extreme, so that it rejects more often and still at most at its level (`scipy.stats.boschloo_exact` gives
the same for one table; this file has all tables of two sample sizes at once, which a power needs).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUISANCE = np.linspace(0, 1, 1001)[1:-1]
"""Values of the common share at which the probability of what is extreme is computed; the largest counts."""
FEW_NUISANCE = NUISANCE[24::50]
"""Some of them: p-values over these are a little too small, and a power by them is never too low."""
TOLERANCE = 1e-9  # tables whose Fisher p-values differ by less are equally extreme


def boschloo(first: int, first_total: int, second: int, second_total: int) -> float:
    """Return the two-sided p-value that `first` of `first_total` and `second` of `second_total` have the same share
    behind them.

    Twice the smaller one-sided p-value, at most 1, as SciPy has it.
    """
    return float(_p_values(first_total, second_total)[first, second])


@functools.cache
def _p_values(first_total: int, second_total: int) -> NDArray[np.float64]:
    """Return those of all tables: (first_total + 1, second_total + 1)."""
    if first_total < 1 or second_total < 1:
        raise ValueError(f"a test is of two samples with a trial each; got {first_total} and {second_total}")
    greater = _one_sided(first_total, second_total, NUISANCE)
    less = _one_sided(second_total, first_total, NUISANCE).T
    return np.minimum(1.0, 2 * np.minimum(greater, less))


def _one_sided(first_total: int, second_total: int, nuisance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-values that the first share is not greater, the largest over common shares `nuisance` (G,)."""
    from scipy.stats import hypergeom

    first, second = np.indices((first_total + 1, second_total + 1))
    fisher = hypergeom.sf(first - 1, first_total + second_total, first + second, first_total).ravel()
    order = np.argsort(fisher, kind="stable")
    probabilities = _probabilities(first_total, second_total, nuisance, nuisance).reshape(len(order), -1)
    as_extreme = np.searchsorted(fisher[order], fisher + TOLERANCE, side="right") - 1
    largest = np.cumsum(probabilities[order], axis=0).max(axis=1)
    return np.minimum(1.0, largest[as_extreme]).reshape(first.shape)


def _probabilities(first_total: int, second_total: int, first_share: Any, second_share: Any) -> NDArray[np.float64]:
    """Return those of all tables at shares (G,): (first_total + 1, second_total + 1, G)."""
    from scipy.stats import binom

    first = binom.pmf(np.arange(first_total + 1)[:, None], first_total, first_share)
    second = binom.pmf(np.arange(second_total + 1)[:, None], second_total, second_share)
    return np.asarray(first[:, None] * second[None])


@dataclass(frozen=True)
class Wanted:
    """What a difference must be to count: p-value at most `level`, the first share at least `half` and the second below
    it; and how often that must come about."""

    level: float = 0.05
    half: float = 0.5
    power: float = 0.8
    most: int = 60
    """Seeds that are thought of."""


@functools.cache
def fewest_seeds(first_share: float, second_share: float, wanted: Wanted) -> int | None:
    """Return the fewest seeds of each group, at least three, with which all that is wanted comes about as often as is
    wanted; None where none up to `wanted.most` do. Of the second group's seeds only those count that are left when half
    of them, rounded down, have chosen it.

    What the shares alone allow, and then p-values at few common shares, bound the power from above: p-values proper are
    computed only where those do not rule the number out.
    """
    for seeds in range(3, wanted.most + 1):
        tested = seeds - seeds // 2
        right = np.arange(seeds + 1)[:, None] / seeds >= wanted.half
        right = right & (np.arange(tested + 1)[None] / tested < wanted.half)
        chances = _probabilities(seeds, tested, np.array([first_share]), np.array([second_share]))[..., 0]
        for nuisance in (None, FEW_NUISANCE, NUISANCE):
            if nuisance is not None:
                right = right & (2 * _one_sided(seeds, tested, nuisance) <= wanted.level)
            if chances[right].sum() < wanted.power:
                break
        else:
            return seeds
    return None
