"""Made-up results whose truth is known, in memory, for bench_verdicts.py.

truth = Truth(first=0.6, second=0.6, scatter=(0.02, 0.02))
first, second = truth.arms((3, 3), num_images=5321, rng=rng)     # two `analysis.arms.Arm`
trials = collapses({("ON", 0): [True, True], ("ON", 1): [False, True]})
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.arms import Arm
from analysis.predictions import Predictions
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

COUNTS: Final = (324, 556, 794, 608, 100, 613, 549, 788, 427, 562)
"""30 % of Galaxy10 DECaLS, class by class; 5,321 images."""
DATA: Final = {"dataset": "galaxy10_decals", "dataset_fingerprint": "0f3a" * 16}
TRAINABLE: Final = {"MobileNet": 501_770, "ResNet50": 1_003_530, "VGG16": 250_890}
OPTIMIZERS: Final[tuple[dict[str, Any], ...]] = (
    {"optimizer": "adam", "learning_rate": 1e-3},
    {"optimizer": "adam", "learning_rate": 1e-4},
    {"optimizer": "sgd", "learning_rate": 1e-2},
    {"optimizer": "rmsprop", "learning_rate": 1e-4},
)
"""The paper's assumed setting first."""


def spec_of(backbone: str, imagenet: str, **fields: Any) -> TrialSpec:
    weights: dict[str, Any] = {"weights": "random", "weights_requested": "random", "unfrozen_blocks": "all"}
    if imagenet == "ON":
        weights = {"weights": "imagenet", "weights_fingerprint": f"f00d{backbone.lower()}", "unfrozen_blocks": 0}
    return TrialSpec(**{**DATA, "backbone": backbone, "validation_fraction": 0.1, **weights, **fields})


def result_of(spec: TrialSpec, accuracy: float, confusion: Any, **changes: Any) -> TrialResult:
    total = sum(map(sum, confusion))
    epoch = {"epoch": 1.0, "loss": 1.0, "accuracy": accuracy, "val_loss": 1.0, "val_accuracy": accuracy}
    values: dict[str, Any] = {
        "status": COMPLETE,
        "history": ({**epoch, "val_top_share": 0.2},),
        "curves_on": "validation",
        "metrics": {"accuracy": accuracy, "loss": 1.0, "majority_share": max(COUNTS) / sum(COUNTS)},
        "confusion": confusion,
        "num_images": {"train": 11174, "validation": 1241, "test": total},
        "num_parameters": {"trainable": TRAINABLE[spec.backbone]},
        "environment": {"device": "NVIDIA H200", "galaxytl": "0.1.0"},
    }
    return TrialResult(spec=spec, **{**values, **changes})


@dataclass(frozen=True)
class Truth:
    """Two settings: their accuracies over all images and seeds, and the standard deviations over seeds.

    An image is as easy as a number between -0.25 and 0.25 says, of which half is its own and half the setting's: so two
    settings have trouble with partly the same images. A seed adds its number to all images."""

    first: float = 0.6
    second: float = 0.6
    scatter: tuple[float, float] = (0.022, 0.022)

    def arms(self, seeds: tuple[int, int], num_images: int, rng: np.random.Generator) -> tuple[Arm, Arm]:
        shared = rng.uniform(-0.125, 0.125, num_images)
        labels = rng.choice(10, num_images, p=np.array(COUNTS) / sum(COUNTS))
        places = (("MobileNet", "ON"), ("MobileNet", "OFF"))
        found = []
        for place, mean, scatter, number in zip(places, (self.first, self.second), self.scatter, seeds, strict=True):
            easy = mean + shared + rng.uniform(-0.125, 0.125, num_images)
            found.append(arm_of(place, labels, easy, rng.normal(0, scatter, number), rng))
        return found[0], found[1]


def arm_of(
    place: tuple[str, str],
    labels: NDArray[np.int64],
    easy: NDArray[np.float64],
    offsets: NDArray[np.float64],
    rng: np.random.Generator,
) -> Arm:
    """The trials of one network and start: a seed has an image right with a probability of easy + offset."""
    chances = np.clip(easy + offsets[:, None], 0.01, 0.99)
    right = rng.random(chances.shape) < chances
    wrong = (labels + 1 + (rng.random(chances.shape) * 9).astype(int)) % 10
    predicted = np.where(right, labels, wrong)
    losses = -np.log(np.where(right, chances, 1 - chances))
    results = tuple(_row(place, seed, labels, one, rng) for seed, one in enumerate(predicted))
    rows = np.arange(len(labels))
    shown = (Predictions(rows, labels, one, loss, 10) for one, loss in zip(predicted, losses, strict=True))
    return Arm(results, tuple(shown))


def _row(
    place: tuple[str, str], seed: int, labels: NDArray[np.int64], predicted: NDArray[np.int64], rng: np.random.Generator
) -> TrialResult:
    """Of the curves' last epoch, both accuracies differ from the test part's by their images alone."""
    accuracy = float((predicted == labels).mean())
    confusion = np.bincount(labels * 10 + predicted, minlength=100).reshape(10, 10).tolist()
    train, validation = (rng.binomial(number, accuracy) / number for number in (11174, 1241))
    losses = {"loss": 2 * (1 - train) + rng.normal(0, 0.02), "val_loss": 2 * (1 - validation)}
    epoch = {"epoch": 1.0, "accuracy": train, "val_accuracy": validation, "val_top_share": 0.2, **losses}
    return result_of(spec_of(*place, seed=seed), accuracy, tuple(map(tuple, confusion)), history=(epoch,))


@functools.cache
def _collapsing(arm: str, setting: int, seed: int, is_collapsed: bool, fields: tuple[tuple[str, Any], ...]) -> Any:
    spec = spec_of("VGG16", arm, seed=seed, **{**OPTIMIZERS[setting], **dict(fields)})
    if is_collapsed:
        return result_of(spec, 0.148, tuple((*[0] * 7, count, 0, 0) for count in COUNTS))
    return result_of(spec, 0.6, _learned())


@functools.cache
def _learned() -> tuple[tuple[int, ...], ...]:
    right = np.round(0.6 * np.array(COUNTS)).astype(int)
    return tuple(map(tuple, (np.diag(right) + np.roll(np.diag(COUNTS - right), 1, axis=1)).tolist()))


def collapses(outcomes: Mapping[tuple[str, int], Sequence[bool]], **fields: Any) -> list[TrialResult]:
    """VGG16's trials by arm and number of the optimizer's setting: whether each of its seeds collapses."""
    return [
        _collapsing(arm, setting, seed, bool(one), tuple(sorted(fields.items())))
        for (arm, setting), seeds in outcomes.items()
        for seed, one in enumerate(seeds)
    ]
