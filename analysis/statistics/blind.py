"""What a predictor that ignores the image can be expected to score, whatever classes it names and how often.

    naming = best_naming(shares)               # (C,) the shares by which it names the classes
    weighted_f1(shares, naming)                # its F1, weighted by class size, in the mean over its guesses
    deviation_of_f1(shares, naming, 5321)      # and how far that strays from one set of guesses to the next

Class c has the share t_c of N images and is named for the share q_c of them, without regard to the image. Of its images
N t_c q_c are then right in the mean, so that precision is t_c, recall q_c and F1 2 t_c q_c / (t_c + q_c).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def weighted_f1(shares: Floats, naming: Floats) -> float:
    """Return the expected F1, weighted by class size: the sum of t_c * 2 t_c q_c / (t_c + q_c).

    `shares` (C,) and `naming` (C,) are t and q, and each adds up to 1. It is exact where each class is named for a
    number of images that is fixed beforehand. Where these numbers vary as well it is a little above the mean, since F1
    is concave in q.
    """
    both = shares + naming
    return float(np.sum(np.divide(2 * shares**2 * naming, both, out=np.zeros_like(both), where=both > 0)))


def best_naming(shares: Floats) -> Floats:
    """Return the q (C,) of the largest `weighted_f1`.

    That is a concave function of q, so Lagrange's condition gives its one maximum: the derivative, 2 t^3 / (t + q)^2,
    is the same for all classes that are named and is no larger for others. So q_c = max(0, a t_c^1.5 - t_c), where a
    makes the sum 1: large classes are named more often than they occur, and the smallest may not be named at all.
    """
    order = np.sort(shares)[::-1]
    factors = (1 + np.cumsum(order)) / np.cumsum(order**1.5)  # with only the largest 1, 2, ... C classes named
    named = int(np.count_nonzero(factors * np.sqrt(order) > 1))
    naming: Floats = np.maximum(0.0, factors[named - 1] * shares**1.5 - shares)
    return naming


def deviation_of_f1(shares: Floats, naming: Floats, num_images: int) -> float:
    """Return the standard deviation of the weighted F1 where the names are put on the images in random order.

    The numbers of images right are then those of a random matching with n = N t and m = N q: the variance of class c is
    n m (N - n) (N - m) / (N^2 (N - 1)), and the covariance of c and d n_c m_c n_d m_d / (N^2 (N - 1)). F1 is linear
    in them.
    """
    true, named = num_images * shares, num_images * naming
    both = true * named
    covariance = np.outer(both, both)
    np.fill_diagonal(covariance, both * (num_images - true) * (num_images - named))
    slopes = 2 * shares / (true + named)
    return math.sqrt(float(slopes @ covariance @ slopes) / (num_images**2 * (num_images - 1)))
