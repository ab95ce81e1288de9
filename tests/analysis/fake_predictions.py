"""Trials with predictions on disk, whose confusions are known, for the tests of comparisons and claims.

fakes = Fakes(tmp_path)
fakes.add("MobileNet", "ON", 0.8)
fakes.trials, fakes.grid
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import Draws
from analysis.trials.load import Trials
from analysis.trials.table1_cells import PaperGrid, fill_cells
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result, make_spec, write_parquet

NUM_IMAGES = 1000
LABELS = np.arange(NUM_IMAGES) % 10
PARAMETERS = {"MobileNet": 501_770, "ResNet50": 1_003_530, "VGG16": 250_890}


@functools.cache
def few_draws(num_images: int) -> Draws:
    """In place of `analysis.claims.arms.draws_of`: a fifth of the resamples, for tests that look at verdicts."""
    return Draws.of(num_images, 400)


def predicted_with(accuracy: float, seed: int = 0) -> NDArray[np.int64]:
    """Of LABELS, exactly this share right, at random places; the others are taken for the next class."""
    wrong = np.random.default_rng(seed).permutation(NUM_IMAGES)[round(accuracy * NUM_IMAGES) :]
    predicted = LABELS.copy()
    predicted[wrong] = (LABELS[wrong] + 1) % 10
    return predicted


@dataclass
class Fakes:
    """Collects trials; `folder` holds their predictions."""

    folder: Path
    results: list[TrialResult] = field(default_factory=list)

    @property
    def trials(self) -> Trials:
        return Trials(tuple(self.results), folders={r.trial_id: self.folder for r in self.results})

    @property
    def grid(self) -> PaperGrid:
        return fill_cells(self.trials)

    def add(
        self,
        backbone: str,
        imagenet: str = "ON",
        predicted: NDArray[np.int64] | float = 0.5,
        *,
        changes: dict[str, Any] | None = None,
        **fields: Any,
    ) -> TrialResult:
        """A trial with these predictions of LABELS, or with this accuracy; `fields` are of its spec, `changes` of its
        row. What it predicts has probability 0.55, all else 0.05."""
        spec = make_spec(backbone, imagenet, **fields)
        named = predicted_with(predicted, spec.seed) if isinstance(predicted, float) else predicted
        values: dict[str, Any] = {
            "num_images": {"train": 2000, "validation": 0, "test": NUM_IMAGES},
            "num_parameters": {"trainable": PARAMETERS[backbone]},
            "confusion": tuple(map(tuple, np.histogram2d(LABELS, named, bins=range(11))[0].astype(int).tolist())),
        }
        result = make_result(spec, accuracy=float((named == LABELS).mean()), **{**values, **(changes or {})})
        self.results.append(result)
        write_predictions(self.folder, result, named)
        return result

    def add_pair(
        self, backbone: str, on: Any = 0.5, off: Any = 0.5, *, seeds: int = 1, **fields: Any
    ) -> tuple[TrialResult, TrialResult]:
        """With ImageNet weights and without; the last of so many seeds, all of which have these predictions, or this
        accuracy."""
        for seed in range(seeds - 1):
            self.add_pair(backbone, on, off, **{**fields, "seed": seed + 1})
        return self.add(backbone, "ON", on, **fields), self.add(backbone, "OFF", off, **fields)

    def add_table(self, accuracies: dict[str, tuple[Any, Any]], **fields: Any) -> None:
        """`accuracies`: backbone -> with ImageNet weights and without."""
        for backbone, pair in accuracies.items():
            self.add_pair(backbone, *pair, **fields)

    def forget_predictions(self) -> None:
        for file in (self.folder / "probabilities").iterdir():
            file.unlink()


def write_predictions(
    folder: Path, result: TrialResult, predicted: NDArray[np.int64], first_row: int = 0, confidence: float = 0.55
) -> None:
    probabilities = np.full((len(predicted), 10), (1 - confidence) / 9, np.float32)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    write_parquet(folder, result, LABELS[: len(predicted)], probabilities, first_row)
