"""Exact tests of two groups whose members fall into strata, given how many of each group fall where.

    association("aaab", "abbb")               # p-value that group and stratum have nothing to do with each other
    stratified([(5, 5, 0, 1), (1, 4, 0, 4)])  # p-value that within every stratum both groups have equal shares

Nothing here is random, and nothing is taken to be normal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

ROUNDING = 2
"""Decimals of the logarithm of a table's probability: tables that differ by less are equally probable."""


def association(first: Iterable[Hashable], second: Iterable[Hashable]) -> float:
    """The p-value of the test of Freeman and Halton (1951, Biometrika 38, 141), Fisher's for more than two values, that
    a value is as frequent in the one group as in the other: the probability of all tables with the same margins that
    are at most as probable as the one at hand. 1 where a group is empty."""
    own, others = Counter(first), Counter(second)
    totals = {value: own[value] + others[value] for value in own | others}
    tables: dict[tuple[int, float], float] = {(0, 0.0): 1.0}
    for total in totals.values():
        further: dict[tuple[int, float], float] = {}
        for (number, logarithm), count in tables.items():
            for chosen in range(min(total, own.total() - number) + 1):
                weight = logarithm + math.log(math.comb(total, chosen))
                key = (number + chosen, round(weight, ROUNDING))
                further[key] = further.get(key, 0.0) + count * math.comb(total, chosen)
        tables = further
    seen = sum(math.log(math.comb(totals[value], own[value])) for value in totals)
    complete = {logarithm: count for (number, logarithm), count in tables.items() if number == own.total()}
    slack = len(totals) * 10.0**-ROUNDING
    return min(1.0, sum(count for weight, count in complete.items() if weight <= seen + slack) / sum(complete.values()))


def stratified(tables: Sequence[tuple[int, int, int, int]]) -> float:
    """The two-sided p-value of the exact conditional test that both groups have the same share behind them in every
    stratum (Cox 1970, The Analysis of Binary Data, section 5.3), of (first, first_total, second, second_total) of each.

    Given the margins of each stratum, the count of the first group is hypergeometric; the sum over the strata is the
    statistic. A stratum with one group alone says nothing. Twice the smaller one-sided p-value, at most 1.
    """
    from scipy.stats import hypergeom

    probabilities, lowest, seen = np.ones(1), 0, 0
    for first, first_total, second, second_total in tables:
        positive, total = first + second, first_total + second_total
        low, high = max(0, positive - second_total), min(first_total, positive)
        own = hypergeom.pmf(np.arange(low, high + 1), total, positive, first_total)
        probabilities, lowest, seen = np.convolve(probabilities, own), lowest + low, seen + first
    at_least = float(probabilities[seen - lowest :].sum())
    at_most = float(probabilities[: seen - lowest + 1].sum())
    return min(1.0, 2 * min(at_least, at_most))
