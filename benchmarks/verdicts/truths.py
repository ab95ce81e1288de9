"""Made-up results whose truth is known, in memory, for verdicts/rates.py and verdicts/intervals.py.

    # `analysis.claims.arms.Arm`: networks that classify
    arms = [arm_of(place, labels, easy, offsets, rng) for ...]
    trials = collapses({("ON", 0): [True, True], ("ON", 1): [False, True]})

A network of seed s has image i right with a probability of easy_i + offset_s: how easy an image is, how good a seed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.claims.arms import FROZEN_RANDOM, OFF, ON, Arm
from analysis.trials.predictions import Predictions
from analysis.trials.starts import FINE_TUNED
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

Floats = NDArray[np.float64]
COUNTS: Final = (324, 556, 794, 608, 100, 613, 549, 788, 427, 562)
"""30 % of Galaxy10 DECaLS, class by class; 5,321 images."""
NUM_IMAGES: Final = sum(COUNTS)
COMMONEST: Final = max(COUNTS) / NUM_IMAGES
IMAGES: Final = {"train": 11174, "validation": 1241, "test": NUM_IMAGES}
DATA: Final = {"dataset": "galaxy10_decals", "dataset_fingerprint": "0f3a" * 16}
TRAINABLE: Final = {"MobileNet": 501_770, "ResNet50": 1_003_530, "VGG16": 250_890}
STARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    ON: {"weights": "imagenet", "weights_requested": "imagenet", "unfrozen_blocks": 0},
    OFF: {"weights": "random", "weights_requested": "random", "unfrozen_blocks": "all"},
    FINE_TUNED: {"weights": "imagenet", "weights_requested": "imagenet", "unfrozen_blocks": "all"},
    FROZEN_RANDOM: {"weights": "random", "weights_requested": "random", "unfrozen_blocks": 0},
}
Fields = tuple[tuple[str, Any], ...]
"""Of a trial, by name: what can be looked up in a cache."""
OPTIMIZERS: Final[tuple[Fields, ...]] = (
    (("learning_rate", 1e-3), ("optimizer", "adam")),
    (("learning_rate", 1e-4), ("optimizer", "adam")),
    (("learning_rate", 1e-2), ("optimizer", "sgd")),
    (("learning_rate", 1e-4), ("optimizer", "rmsprop")),
)
"""The paper's assumed setting first."""
EPOCHS: Final = 5
"""That curves have."""


@functools.cache
def spec_of(backbone: str, start: str, seed: int = 0, fields: Fields = ()) -> TrialSpec:
    """Return a trial that starts as one of STARTS."""
    weights = STARTS[start]
    fingerprint = {"weights_fingerprint": f"f00d{backbone.lower()}"} if weights["weights"] == "imagenet" else {}
    changes = {"validation_fraction": 0.1, **weights, **fingerprint, **dict(fields)}
    return TrialSpec(**{**DATA, "backbone": backbone, "seed": seed, **changes})


def result_of(spec: TrialSpec, accuracy: float, confusion: Any = (), **changes: Any) -> TrialResult:
    """Return a complete trial of this accuracy, after one epoch."""
    epoch = {"epoch": 1.0, "loss": 1.0, "accuracy": accuracy, "val_loss": 1.0, "val_accuracy": accuracy}
    values: dict[str, Any] = {
        "status": COMPLETE,
        "history": ({**epoch, "val_top_share": 0.2},),
        "curves_on": "validation",
        "metrics": {"accuracy": accuracy, "loss": 1.0, "majority_share": COMMONEST},
        "confusion": confusion,
        "num_images": IMAGES,
        "num_parameters": {"trainable": TRAINABLE[spec.backbone]},
        "environment": {"device": "NVIDIA H200", "galaxytl": "0.1.0"},
    }
    return TrialResult(spec=spec, **{**values, **changes})


def easiness(mean: float, shared: Floats, rng: np.random.Generator) -> Floats:
    """Return that of the images of one network, within 0.25 of the mean: half of it all networks `share` (N,)."""
    return mean + shared + rng.uniform(-0.125, 0.125, len(shared))


def shared_easiness(num_images: int, rng: np.random.Generator) -> Floats:
    """Return the half that all networks share."""
    return rng.uniform(-0.125, 0.125, num_images)


def predictions_of(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], losses: Floats | None = None, num_classes: int = 10
) -> Predictions:
    """Return what a network says of images in order; without `losses`, they are unknown."""
    own = np.full(len(labels), np.nan) if losses is None else losses
    return Predictions(np.arange(len(labels)), labels, predicted, own, num_classes)


def plain_arm(spec: TrialSpec, easy: Floats, offsets: Floats, rng: np.random.Generator) -> Arm:
    """Return networks that are right or wrong and nothing else: for what is said of accuracies."""
    chances = (easy + offsets[:, None]).astype(np.float32)
    right = rng.random(chances.shape, np.float32) < chances
    labels = np.zeros(len(easy), np.int64)
    results = tuple(plain_result(spec.replace(seed=seed)) for seed in range(len(offsets)))
    return Arm(results, tuple(predictions_of(labels, (~one).astype(np.int64), num_classes=2) for one in right))


@functools.cache
def plain_result(spec: TrialSpec, accuracy: float = 0.6) -> TrialResult:
    """Return a trial of which the predictions say the rest."""
    return result_of(spec, accuracy)


def arm_of(spec: TrialSpec, labels: NDArray[np.int64], easy: Floats, offsets: Floats, rng: np.random.Generator) -> Arm:
    """Return networks with classes, losses and curves.

    A wrong image goes to any other class; all means are linear in the offset, so that arms of equal easiness are equal
    in everything, however much their seeds scatter.
    """
    chances = np.clip(easy + offsets[:, None], 0.01, 0.99)
    right = rng.random(chances.shape) < chances
    wrong = (labels + 1 + (rng.random(chances.shape) * 9).astype(int)) % 10
    predicted = np.where(right, labels, wrong)
    losses = 2 * (1 - chances) * rng.exponential(1.0, chances.shape)
    results = tuple(
        _row(spec.replace(seed=seed), confusion_of(labels, one), float(offset), rng)
        for seed, (one, offset) in enumerate(zip(predicted, offsets, strict=True))
    )
    return Arm(results, tuple(predictions_of(labels, p, loss) for p, loss in zip(predicted, losses, strict=True)))


def confusion_of(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """Return counts, a row a true class."""
    counts = np.bincount(labels * 10 + predicted, minlength=100).reshape(10, 10)
    return tuple(map(tuple, counts.tolist()))


def _row(
    spec: TrialSpec, confusion: tuple[tuple[int, ...], ...], offset: float, rng: np.random.Generator
) -> TrialResult:
    """Return a trial with curves that rise to 0.6 + offset as fast as a number of the seed's own says."""
    accuracy = float(np.trace(confusion) / np.sum(confusion))
    course = 1 - np.exp(-np.arange(1, EPOCHS + 1) / rng.uniform(0.7, 1.3))
    true = (0.6 + offset) * course
    train, validation = (rng.binomial(IMAGES[part], true) / IMAGES[part] for part in ("train", "validation"))
    losses = 2 * (1 - true)
    names = ("accuracy", "val_accuracy", "loss", "val_loss")
    curves = (train, validation, losses + rng.normal(0, 0.01), losses + rng.normal(0, 0.03))
    history = tuple(
        {"epoch": epoch + 1.0, "val_top_share": 0.2, **{n: float(c[epoch]) for n, c in zip(names, curves, strict=True)}}
        for epoch in range(EPOCHS)
    )
    images = {**IMAGES, "test": int(np.sum(confusion))}
    return result_of(spec, accuracy, confusion, history=history, num_images=images)


def confusion_at(accuracy: float) -> tuple[tuple[int, ...], ...]:
    """Return the test part's, each class right with this share; wrong images all go to the next class."""
    right = np.round(accuracy * np.array(COUNTS)).astype(int)
    return tuple(map(tuple, (np.diag(right) + np.roll(np.diag(COUNTS - right), 1, axis=1)).tolist()))


ONE_CLASS: Final = tuple((*[0] * 7, count, 0, 0) for count in COUNTS)


@functools.cache
def _collapsing(arm: str, setting: int, seed: int, is_collapsed: bool, fields: Fields) -> TrialResult:
    own = tuple(sorted({**dict(OPTIMIZERS[setting]), **dict(fields)}.items()))
    spec = spec_of("VGG16", f"ImageNet {arm}", seed, own)
    return result_of(spec, 0.148, ONE_CLASS) if is_collapsed else result_of(spec, 0.6, confusion_at(0.6))


def collapses(outcomes: Mapping[tuple[str, int], Sequence[bool]], **fields: Any) -> list[TrialResult]:
    """Return VGG16's trials; `outcomes` says by arm, "ON" or "OFF", and number of the optimizer's setting whether each
    of its seeds collapses."""
    return [
        _collapsing(arm, setting, seed, bool(one), tuple(sorted(fields.items())))
        for (arm, setting), seeds in outcomes.items()
        for seed, one in enumerate(seeds)
    ]
