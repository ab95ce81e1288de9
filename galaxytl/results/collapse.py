"""When a trial has collapsed: three names, each for something else, and the only place where they are defined.

    is_one_class(confusion), is_at_chance(confusion)                # of a trial that has ended
    ignoring = loss_of_ignoring(training_targets, watched_targets, class_weights, label_smoothing, focal_gamma)
    reason = why_collapsed(history, ignoring, patience=3)           # of one that is trained: "" while it has not

one class      of a finished trial: one class takes at least ONE_CLASS_SHARE of its predictions, and they agree with the
               truth slightly at most. Where one class makes up most of the data, naming it mostly is no collapse if
               the rest is right too; so the share alone does not tell
at chance      of a finished trial: it names several classes, and agrees with the truth no more than guessing does
constant       of a trial that is trained: it names one class, whatever the image (CONSTANT_SHARE), and its loss is that
               of ignoring the image. Both signs are wanted. The loss is the watched one, which is the plain
               cross-entropy; which answer a network comes to that ignores the image, its training loss says. A network
               that names one class but whose loss is another may be on its way: early epochs are so. And one whose loss
               is near the prior's by chance, but that tells images apart, has learned something

The first two are what a report counts; the third ends the trials of a search. A loss that is no number is none of them:
the trial has diverged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ONE_CLASS_SHARE: Final = 0.95
SLIGHT_KAPPA: Final = 0.2
"""Up to here agreement is called slight (Landis and Koch 1977, Biometrics 33, 159). Of C classes that are equally
common, who names one in 95 % of cases has at most 0.05 C / (C - 1): 0.1 of two, less of more. Where one class makes up
most of the data it can be more, and is no collapse then."""
Z: Final = NormalDist().inv_cdf(0.975)
CONSTANT_SHARE: Final = 0.999
"""Share of the most predicted class from which on it counts as the only one."""
TOLERANCE = 0.02
"""Nats between the loss and that of ignoring the image. VGG16 on simulated galaxies at 32 px, after 5 epochs with Adam:
collapsed at 1e-3 with the prior's loss to its last digit, 2.21; at 3e-5, the slowest that learned, it had 2.07. Not 0,
because also the answer that is the same for every image moves a little with every step."""


def is_one_class(confusion: Sequence[Sequence[int]], share: float = ONE_CLASS_SHARE) -> bool:
    """Return whether counts (C, C), true classes in rows, have one class in at least this share of the predictions, and
    at most slight agreement with the truth."""
    return top_share(confusion) >= share and cohen_kappa(confusion)[0] <= SLIGHT_KAPPA


def is_at_chance(confusion: Sequence[Sequence[int]]) -> bool:
    """Return whether kappa is below Z standard errors of what guessing gives: not significantly above 0, at 2.5 %."""
    kappa, error = cohen_kappa(confusion)
    return kappa <= Z * error


def top_share(confusion: Sequence[Sequence[int]]) -> float:
    """Return the share of the predictions that the most predicted class takes, of counts (C, C) with true classes in
    rows."""
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    return max(columns) / sum(columns)


def cohen_kappa(confusion: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return Cohen's kappa (1960) of counts (C, C), and its standard error where truth and predictions have nothing to
    do with each other (Fleiss, Cohen and Everitt 1969, Psychological Bulletin 72, 323, eq. 14); (0, 0) where kappa is
    undefined, with one class in both."""
    total = sum(map(sum, confusion))
    true = [sum(row) / total for row in confusion]
    predicted = [sum(column) / total for column in zip(*confusion, strict=True)]
    agreed = sum(confusion[i][i] for i in range(len(confusion))) / total
    by_chance = sum(a * b for a, b in zip(true, predicted, strict=True))
    if by_chance >= 1:
        return 0.0, 0.0
    spread = sum(a * b * (a + b) for a, b in zip(true, predicted, strict=True))
    variance = (by_chance + by_chance**2 - spread) / (total * (1 - by_chance) ** 2)
    return (agreed - by_chance) / (1 - by_chance), math.sqrt(max(0.0, variance))


def loss_of_ignoring(
    targets: NDArray[Any],
    watched: NDArray[Any],
    class_weights: NDArray[np.floating],
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> float:
    """Return the plain cross-entropy, in nats, on the watched labels (m,), or votes (m, C), of the best answer that is
    the same for every image.

    Best in training, on labels (n,) that count class_weights (C,) each: the classes' shares of the weights; or on votes
    (n, C): their means; or what `best_answer` makes of these where the training loss is another. Infinite where a class
    is watched that training has no image, or vote, of, and its targets are not smoothed. Mixup and cutmix change
    nothing here: they leave the mean of the targets as it is, in expectation.
    """
    if targets.ndim == 2:
        shares, wanted = targets.mean(axis=0, dtype=np.float64), watched.mean(axis=0, dtype=np.float64)
        shares = best_answer(shares, label_smoothing, focal_gamma)
        is_watched = wanted > 0
        is_known = np.all(shares[is_watched] > 0)
        return float(-(wanted[is_watched] * np.log(shares[is_watched])).sum()) if is_known else math.inf
    labels = targets
    counts = np.bincount(labels, minlength=len(class_weights)) * class_weights
    shares = best_answer(counts / counts.sum(), label_smoothing, focal_gamma)[watched]
    return float(-np.log(shares).mean()) if np.all(shares > 0) else math.inf


def best_answer(
    shares: NDArray[np.floating], label_smoothing: float = 0.0, focal_gamma: float = 0.0
) -> NDArray[np.floating]:
    """Return the probabilities (C,), the same for every image, with the least training loss, of targets whose mean is
    `shares` (C,): those themselves, for the cross-entropy.

    Smoothing makes them (1 - smoothing) shares + smoothing / C. The focal loss, sum of t_c f(p_c) with f(p) =
    -(1 - p)^gamma log p, is convex, being a sum of products of convex, falling, positive functions. Where it is least
    under sum p = 1, t_c f'(p_c) is one number, -multiplier, for all classes: both are found by bisection.
    """
    if label_smoothing:
        shares = shares * (1 - label_smoothing) + label_smoothing / len(shares)
    if not focal_gamma:
        return shares
    known = shares > 0
    lows, highs = -LARGEST_LOGARITHM, LARGEST_LOGARITHM  # of the multiplier
    for _ in range(BISECTIONS):
        middle = (lows + highs) / 2
        answer = _probabilities_where(np.exp(middle) / shares[known], focal_gamma)
        lows, highs = (middle, highs) if answer.sum() > 1 else (lows, middle)
    best = np.zeros(len(shares))
    best[known] = answer / answer.sum()
    return best


LARGEST_LOGARITHM: Final = 50.0
BISECTIONS: Final = 60
"""Of numbers between -50 and 50 they leave 1e-16."""


def _probabilities_where(slopes: NDArray[np.floating], gamma: float) -> NDArray[np.floating]:
    """Return the p at which -(1 - p)^gamma log p falls by these slopes (n,), which is the more the smaller p is."""
    lows, highs = np.full(len(slopes), -LARGEST_LOGARITHM), np.full(len(slopes), LARGEST_LOGARITHM)  # of p's logits
    for _ in range(BISECTIONS):
        middle = (lows + highs) / 2
        p, doubt = 1 / (1 + np.exp(-middle)), 1 / (1 + np.exp(middle))
        falls = doubt**gamma / p - gamma * doubt ** (gamma - 1) * np.log(p)
        lows, highs = np.where(falls > slopes, middle, lows), np.where(falls > slopes, highs, middle)
    return 1 / (1 + np.exp(-(lows + highs) / 2))


def is_constant(epoch: Mapping[str, float], ignoring: float) -> bool:
    return epoch["val_top_share"] >= CONSTANT_SHARE and abs(epoch["val_loss"] - ignoring) <= TOLERANCE


def why_collapsed(history: Sequence[Mapping[str, float]], ignoring: float, patience: int) -> str:
    """Return why a trial with these epochs has collapsed; "" if not all of the last `patience` are so, or that is 0."""
    latest = history[-patience:] if patience else []
    if len(latest) < max(patience, 1) or not all(is_constant(epoch, ignoring) for epoch in latest):
        return ""
    epochs = "an epoch" if patience == 1 else f"{patience} epochs in a row"
    return f"collapsed: one class whatever the image, and the loss of ignoring it ({ignoring:.2f} nats), for {epochs}"
