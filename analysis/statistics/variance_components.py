"""How much of a score's scatter comes from the split of the data, and how much from the seed within a split.

    found = components([[0.80, 0.81], [0.77, 0.78], [0.83, 0.82]])     # a list a split, of its seeds' scores
    found.between, found.within                                        # variances: splits', seeds'
    corrected_mean([0.11, 0.09, 0.12], test_to_train=3 / 7).interval   # of a difference, over splits

Splits are drawn at random, seeds within them: one-way random effects, estimated by the analysis of variance (Searle,
Casella and McCulloch 1992, Variance Components, chapter 3), also for unequal numbers of seeds. Training parts of
different splits overlap, so that the splits' scores are not independent and a plain t interval over splits is too
narrow. It is widened as Nadeau and Bengio have it (2003, Machine Learning 52, 239): as much as shared test images ask
for. Where training images make as much of the scatter, which they share more of, 0.95 are 0.87 to 0.94.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.intervals import CONFIDENCE, Interval
from analysis.statistics.seeds import SeedEstimate


@dataclass(frozen=True)
class Components:
    """Of scores by split and seed: variances are never below 0."""

    mean: float
    """Of the splits' means, each counting once."""
    between: float
    """Variance over splits of a split's expected score. Its test images are other ones in each split, so their part of
    the variance is in it."""
    within: float
    """Variance over seeds within a split; NaN where no split has two seeds."""
    p_value: float
    """That splits add nothing to what seeds scatter (F test); NaN where no split has two seeds."""
    num_splits: int


def components(groups: Sequence[Sequence[float]]) -> Components:
    """Return the components of scores, `groups` being a list a split. Without two seeds anywhere all
    scatter is said to be the splits'. Raises ValueError for fewer than two splits, a split without a score, and scores
    that are not finite.
    """
    if len(groups) < 2 or not all(len(group) for group in groups):
        raise ValueError(f"a scatter over splits needs two splits with a score each; got {list(map(len, groups))}")
    sizes = np.array([len(group) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    scores = np.concatenate([np.asarray(group, float) for group in groups])
    if not np.isfinite(scores).all():
        raise ValueError(f"each seed has a finite score; got {scores.tolist()}")
    of_splits, of_seeds = len(groups) - 1, len(scores) - len(groups)
    mean_square_between = float((sizes * (means - scores.mean()) ** 2).sum() / of_splits)
    if not of_seeds:
        return Components(float(means.mean()), float(means.var(ddof=1)), math.nan, math.nan, len(groups))
    within = float(((scores - np.repeat(means, sizes)) ** 2).sum() / of_seeds)
    size = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / of_splits
    between = max(0.0, (mean_square_between - within) / float(size))
    return Components(
        float(means.mean()), between, within, _f_test(mean_square_between, within, of_splits, of_seeds), len(groups)
    )


def _f_test(between: float, within: float, of_splits: int, of_seeds: int) -> float:
    from scipy.stats import f  # half a second that `--help` need not wait for

    if not within:
        return 0.0 if between else 1.0
    return float(f.sf(between / within, of_splits, of_seeds))


def corrected_mean(values: Sequence[float], test_to_train: float) -> SeedEstimate:
    """Return the mean of `values` (J,), one a split, by the corrected resampled t test: its variance is that of the
    values times 1 / J + test images / training images. Raises ValueError for fewer than two splits, a value that is not
    finite, and a ratio that is not above 0."""
    from scipy.stats import t

    numbers = np.asarray(values, float)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        raise ValueError(f"a scatter over splits needs two finite values; got {numbers.tolist()}")
    if not 0 < test_to_train < math.inf:
        raise ValueError(f"the ratio of test to training images is above 0; got {test_to_train}")
    mean, degrees = float(numbers.mean()), len(numbers) - 1
    error = math.sqrt(float(numbers.var(ddof=1)) * (1 / len(numbers) + test_to_train))
    half = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    p_value = float(2 * t.sf(abs(mean) / error, degrees)) if error else float(not mean)
    return SeedEstimate(mean, Interval(mean - half, mean + half), p_value, degrees)
