"""Small, valid results whose numbers are known, for the tests of the analysis."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

Numbers = NDArray[Any]
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


@functools.cache
def make_confusion(accuracy: float) -> tuple[tuple[int, ...], ...]:
    """Counts (10, 10): about `accuracy` of each true class right, all others predicted as the next class."""
    right = np.array([round(count * accuracy) for count in COUNTS])
    return tuple(map(tuple, (np.diag(right) + np.roll(np.diag(COUNTS - right), 1, axis=1)).tolist()))


def make_compared(right: int = 30, total: int = 60, **fields: Any) -> TrialResult:
    """A trial of a search that has `right` of `total` validation images right; `fields` are of its spec."""
    spec = make_spec(**{"validation_fraction": 0.1, "scored_on": "validation", **fields})
    images = {"train": 12415 - total, "validation": total, "test": 5321}
    return make_result(spec, accuracy=right / total, num_images=images, curves_on="validation")


def make_tested(compared: TrialResult, right: int = 2500, **changes: Any) -> TrialResult:
    """The same trial on the test part, with `right` of 5,321 images right."""
    spec = compared.spec.replace(scored_on="test")
    return make_result(spec, accuracy=right / 5321, num_images=compared.num_images, **changes)


def write_probabilities(folder: Path, result: TrialResult, right: Sequence[bool], first_row: int = 100) -> None:
    """The file that a sweep writes for a trial that has these images right, all of class 3."""
    probabilities = np.full((len(right), 10), 0.05)
    probabilities[:, 3] = np.where(right, 0.9, 0.0)
    write_parquet(folder, result, [3] * len(right), probabilities, first_row)


def write_parquet(
    folder: Path,
    result: TrialResult,
    labels: Sequence[int] | Numbers,
    probabilities: Numbers,
    first_row: int,
    ending: str = ".parquet",
) -> None:
    """The file of a trial's `probabilities` (N, C) of the images from `first_row` on."""
    columns: dict[str, Any] = {"row": first_row + np.arange(len(labels)), "label": labels}
    columns |= {f"p{i}": probabilities[:, i] for i in range(probabilities.shape[1])}
    (folder / "probabilities").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "probabilities" / f"{result.trial_id}{ending}")


def write_search_file(folder: Path, **changes: Any) -> None:
    values = {"format": 1, "study": "search", "storage": f"sqlite:///{folder}/study.db", "num_trials": 40}
    values |= {"objectives": [["val_accuracy", "maximize"]], "space": "sweep.space:space"}
    values |= {"sampler": "TPESampler", "scheduler": "asha", **changes}
    (folder / "search.json").write_text(json.dumps(values))
