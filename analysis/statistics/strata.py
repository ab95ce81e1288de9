"""Two groups whose members fall into strata: whether they do so alike, and whether they differ within the strata.

    association("aaab", "abbb")               # p-value that group and stratum have nothing to do with each other
    stratified([(5, 5, 0, 1), (1, 4, 0, 4)])  # p-value that within every stratum both groups have equal shares

Nothing here is random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def association(first: Iterable[Hashable], second: Iterable[Hashable]) -> float:
    """Return the p-value of Pearson's chi-squared test (1900, Philosophical Magazine 50, 157), without a correction,
    that a value is as frequent in the one group as in the other. 1 where a group is empty, or where there is one value.

    An approximation, and with few members a rough one: it tells what is spread unevenly, and decides no claim.
    """
    from scipy.stats import chi2_contingency

    own, others = Counter(first), Counter(second)
    values = list(own | others)
    if len(values) < 2 or not own or not others:
        return 1.0
    table = [[counts[value] for value in values] for counts in (own, others)]
    return float(chi2_contingency(table, correction=False).pvalue)


def stratified(tables: Sequence[tuple[int, int, int, int]]) -> float:
    """Return the two-sided p-value of the exact conditional test that both groups have the same share behind them in
    every stratum (Cox 1970, The Analysis of Binary Data, section 5.3), of (first, first_total, second, second_total) of
    each.

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
