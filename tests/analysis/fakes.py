"""Small, valid results whose numbers are known, for the tests of the analysis."""

from __future__ import annotations

import math
from typing import Any

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

CLASS_NAMES = (
    "Disturbed",
    "Merging",
    "Round Smooth",
    "In-between Round Smooth",
    "Cigar Round Smooth",
    "Barred Spiral",
    "Unbarred Tight Spiral",
    "Unbarred Loose Spiral",
    "Edge-on without Bulge",
    "Edge-on with Bulge",
)
COUNTS = (324, 556, 794, 608, 100, 613, 549, 788, 427, 562)
"""30 % of Galaxy10 DECaLS, class by class; 5,321 images."""


def make_spec(backbone: str = "MobileNet", imagenet: str = "ON", **changes: Any) -> TrialSpec:
    """A spec of one of the paper's cells, on data named as the real set, unless `changes` say otherwise."""
    weights: dict[str, Any] = {"weights": "random", "weights_requested": "random", "unfrozen_blocks": "all"}
    if imagenet == "ON":
        weights = {"weights": "imagenet", "weights_fingerprint": f"f00d{backbone.lower()}", "unfrozen_blocks": 0}
    data = {"dataset": "galaxy10_decals", "dataset_fingerprint": "0f3a" * 16}
    return TrialSpec(**{**data, "backbone": backbone, **weights, **changes})


def make_result(spec: TrialSpec | None = None, *, accuracy: float = 0.5, **changes: Any) -> TrialResult:
    """A COMPLETE trial with this accuracy; precision is 0.1 above it, F1 0.1 below, history 3 epochs."""
    metrics = {"accuracy": accuracy, "precision_weighted": accuracy + 0.1, "f1_weighted": accuracy - 0.1}
    metrics |= {"majority_share": max(COUNTS) / sum(COUNTS), "loss": 1.5}
    values: dict[str, Any] = {
        "status": COMPLETE,
        "history": make_history(accuracy, num_epochs=3),
        "metrics": metrics,
        "confusion": make_confusion(accuracy),
        "class_names": CLASS_NAMES,
        "num_images": {"train": 12415, "validation": 0, "test": 5321},
        "timings": {"train": 61.0, "total": 75.5},
        "environment": {"device": "NVIDIA H200", "host": "node7"},
        "started": "2025-01-02T03:04:05+00:00",
    }
    return TrialResult(spec=spec or make_spec(), **{**values, **changes})


def make_history(accuracy: float, num_epochs: int) -> tuple[dict[str, float], ...]:
    """Accuracy that rises from chance to `accuracy`, losses that fall from ln 10."""
    epochs = []
    for epoch in range(1, num_epochs + 1):
        done = 1 - math.exp(-3 * epoch / num_epochs)
        reached = 0.1 + (accuracy - 0.1) * done / (1 - math.exp(-3))
        loss = math.log(10) * (1 - 0.9 * reached)
        values = {"loss": loss * 0.8, "accuracy": min(1.0, reached * 1.1), "val_loss": loss, "val_accuracy": reached}
        epochs.append({"epoch": float(epoch), "seconds": 2.0, **values})
    return tuple(epochs)


def make_confusion(accuracy: float) -> tuple[tuple[int, ...], ...]:
    """Counts (10, 10): about `accuracy` of each true class right, all others predicted as the next class."""
    rows = []
    for index, count in enumerate(COUNTS):
        row = [0] * len(COUNTS)
        row[index] = round(count * accuracy)
        row[(index + 1) % len(COUNTS)] = count - row[index]
        rows.append(tuple(row))
    return tuple(rows)
