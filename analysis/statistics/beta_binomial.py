"""How much lower one rate is than another, as a posterior: what few trials say, and what they leave open.

    found = reduction(Share(5, 5), Share(0, 3))
    found.interval, found.probability_above(0.5)     # Interval(0.44, 0.99), 0.96

Each rate has the prior Beta(1/2, 1/2), Jeffreys's (1946, Proc. R. Soc. A 186, 453) for a binomial share, and so the
posterior Beta(count + 1/2, rest + 1/2); the two are independent. Their difference has no closed form: its distribution
is an integral over one rate, computed by Gauss-Legendre quadrature. Nothing here is random.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import CONFIDENCE, Interval, Share

PRIOR: Final = 0.5
"""Both parameters of the prior: as much as half a trial of either outcome."""
NODES: Final = 200


@dataclass(frozen=True)
class Reduction:
    """The posterior of the first rate minus the second."""

    first: Share
    second: Share

    @property
    def interval(self) -> Interval:
        """The equal-tailed interval that holds CONFIDENCE of the posterior, within -1 to 1."""
        tail = (1 - CONFIDENCE) / 2
        return Interval(self._value_exceeded_by(1 - tail), self._value_exceeded_by(tail))

    def probability_above(self, bound: float) -> float:
        """Return the posterior probability that the reduction is above `bound`, of -1 to 1."""
        if bound < 0:
            return 1 - _exceeds(self.second, self.first, -bound)
        return _exceeds(self.first, self.second, bound)

    def _value_exceeded_by(self, probability: float) -> float:
        from scipy.optimize import brentq  # half a second that `--help` need not wait for

        return float(brentq(lambda bound: self.probability_above(bound) - probability, -1.0, 1.0, xtol=1e-6))


def reduction(first: Share, second: Share) -> Reduction:
    """Return the posterior of the rate behind `first` minus that behind `second`."""
    return Reduction(first, second)


def _exceeds(first: Share, second: Share, bound: float) -> float:
    """Return P(first rate > second rate + bound), for a bound of 0 to 1: the integral of the first's density times the
    second's distribution function from `bound` to 1.

    At rate = bound + (1 - bound) * sin(angle)^2 both the density's poles at 0 and 1 and the root with which the
    distribution function starts are smooth in the angle, so that few nodes are exact to many digits.
    """
    from scipy.special import betainc, betaln

    if bound >= 1:
        return 0.0
    angles, weights = _nodes()
    sine, cosine = np.sin(angles), np.cos(angles)
    above, below = (1 - bound) * sine**2, (1 - bound) * cosine**2  # rate - bound, and 1 - rate
    rate = bound + above
    yes, no = first.right + PRIOR, first.total - first.right + PRIOR
    density = np.exp((yes - 1) * np.log(rate) + (no - 1) * np.log(below) - betaln(yes, no))
    others = betainc(second.right + PRIOR, second.total - second.right + PRIOR, above)
    return float(min(1.0, np.sum(weights * density * others * 2 * (1 - bound) * sine * cosine)))


@functools.cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the angles (NODES,) between 0 and a right angle, and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return (nodes + 1) * math.pi / 4, weights * math.pi / 4
