"""Results folders for the tests of reports: the paper's grid, another sweep beside it, and as many trials as wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from analysis.trials.paper import TABLE_1
from galaxytl.results.rows import FILE_NAME
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_history, make_result, make_spec

RATES = (1e-5, 1e-4, 1e-3, 1e-2)
COLLAPSED = 0.149


def write_folder(folder: Path, results: Iterable[TrialResult]) -> Path:
    """All rows at once: appending a thousand waits for the disk a thousand times."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps(result.to_dict(), allow_nan=False) for result in results)
    (folder / FILE_NAME).write_text("".join(f"{row}\n" for row in rows))
    return folder


def paper_grid(**changes: Any) -> list[TrialResult]:
    """The six trials, with the paper's own accuracies."""
    specs = {cell: make_spec(cell.backbone, cell.imagenet, **changes) for cell in TABLE_1}
    return [make_result(spec, accuracy=cell.accuracy.value) for cell, spec in specs.items()]


def own_grid(num_classes: int = 4, **changes: Any) -> list[TrialResult]:
    """The paper's six trials on somebody's own images: ten a class, of which three are tested, named a, b, c, ..., or
    by numbers."""
    names = tuple("abcd") if num_classes == 4 else tuple(f"kind of galaxy {index}" for index in range(num_classes))
    data = {"dataset": f"own_classes_{10 * num_classes}_images", "dataset_fingerprint": "beef" * 16}
    images = {"train": 7 * num_classes, "validation": 0, "test": 3 * num_classes}
    confusion = tuple(map(tuple, (2 * np.eye(num_classes, dtype=int) + np.eye(num_classes, dtype=int, k=1)).tolist()))
    own = {"class_names": names, "num_images": images, "confusion": confusion}
    specs = [
        make_spec(cell.backbone, cell.imagenet, **{**data, "num_classes": num_classes, **changes}) for cell in TABLE_1
    ]
    return [make_result(spec, accuracy=2 / 3 - index / 100, **own) for index, spec in enumerate(specs)]


def other_sweep(number: int, **changes: Any) -> list[TrialResult]:
    """`number` trials at other settings than `paper_grid`, 20 epochs each; VGG16 collapses at high rates, every tenth
    trial fails."""
    return [_other(index, **changes) for index in range(number)]


def _other(index: int, **changes: Any) -> TrialResult:
    backbone, rate = ("VGG16", "ResNet50", "MobileNet")[index % 3], RATES[index // 3 % 4]
    own = {"learning_rate": rate, "validation_fraction": 0.1, "seed": index // 12, **changes}
    spec = make_spec(backbone, "ON" if index // 12 % 2 else "OFF", **own)
    if index % 10 == 9:
        history = (*make_history(0.3, 5), {"epoch": 6.0, "loss": math.nan, "val_loss": math.nan, "accuracy": 0.1})
        return make_result(spec, status=FAILED, message="diverged: NaN", metrics={}, confusion=(), history=history)
    accuracy = COLLAPSED if backbone == "VGG16" and rate > 1e-4 else 0.5 + index % 7 / 20
    return make_result(spec, accuracy=accuracy, history=make_history(accuracy, 20))
