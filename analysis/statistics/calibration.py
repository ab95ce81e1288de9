"""Whether a network's probabilities are what they say: of all images that it gives 80 %, it should have 80 % right.

    bins = bins_of(probabilities, labels)     # 15 bins of confidence
    bins.error                                # ECE, the expected calibration error
    error_by_chance(probabilities)            # what a network whose probabilities are true would show
    brier(probabilities, labels)

Probabilities are (N, C), each image's summing to 1; labels (N,) are classes from 0, targets labels or votes (N, C).
The confidence of a prediction is the largest of the C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import SEED

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]
Labels = NDArray[np.int64]
NUM_BINS: Final = 15
"""Of equal width, as Guo, Pleiss, Sun and Weinberger 2017 (ICML, arXiv:1706.04599) have them."""
NUM_DRAWS: Final = 200
"""Of what a calibrated network would show: enough for two digits of its mean."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Images by the confidence of their prediction, in bins (B,) of equal width from 0 to 1; a bin holds its upper end.

    `counts` images, `right` of them named right, `confidence` the sum of their confidences.
    """

    counts: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over images of how far their bin's share right is from its mean
        confidence (Naeini, Cooper and Hauskrecht 2015, AAAI; Guo et al. 2017)."""
        return float(np.abs(self.confidence - self.right).sum() / self.counts.sum())

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy: above 0 where the network is surer than it is right."""
        return float((self.confidence.sum() - self.right.sum()) / self.counts.sum())


def bins_of(probabilities: Numbers, labels: Labels, num_bins: int = NUM_BINS) -> Bins:
    """Return the images binned by confidence. Of equal probabilities the first class is predicted."""
    return _binned(_confidences(probabilities), probabilities.argmax(axis=1) == labels, num_bins)


def _confidences(probabilities: Numbers) -> Floats:
    return np.minimum(probabilities.max(axis=1).astype(np.float64), 1.0)


def _binned(confidences: Floats, right: NDArray[np.bool_], num_bins: int) -> Bins:
    bins = _bin_numbers(confidences, num_bins)
    return Bins(
        np.bincount(bins, minlength=num_bins),
        np.bincount(bins[right], minlength=num_bins),
        np.asarray(np.bincount(bins, weights=confidences, minlength=num_bins), np.float64),
    )


def _bin_numbers(confidences: Floats, num_bins: int) -> NDArray[np.int64]:
    """Return (N,): bin i holds what is above i / num_bins, up to and with (i + 1) / num_bins."""
    return np.clip(np.ceil(confidences * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


def error_by_chance(probabilities: Numbers, num_bins: int = NUM_BINS, num_draws: int = NUM_DRAWS) -> Floats:
    """Return the calibration errors (num_draws,) of a network whose probabilities are true, for as many images.

    They are above 0, and more so with few images: the share right of a bin scatters about its confidence, and the error
    counts each distance as positive. Each draw calls an image right with the probability of its confidence
    (consistency resampling: Broecker and Smith 2007, Weather and Forecasting 22, 651).
    """
    confidences = _confidences(probabilities)
    confidences = confidences[np.argsort(_bin_numbers(confidences, num_bins), kind="stable")]
    bins = _bin_numbers(confidences, num_bins)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    rng = np.random.default_rng(SEED)
    found = np.empty(num_draws)
    for draw in range(num_draws):
        excess = confidences - (rng.random(len(confidences)) < confidences)
        found[draw] = np.abs(np.add.reduceat(excess, starts)).sum() / len(confidences)
    return found


def brier(probabilities: Numbers, targets: Labels | Numbers) -> float:
    """Return the mean over images of the squared distance from the truth, summed over all classes (Brier 1950, Monthly
    Weather Review 78, 1): 0 at best, 2 where a wrong class has probability 1."""
    distances = probabilities.astype(np.float64)
    if targets.ndim == 2:
        distances -= targets
    else:
        distances[np.arange(len(targets)), targets] -= 1
    return float((distances**2).sum(axis=1).mean())
