"""Trials whose probabilities are planted, of the test part and of the validation part, for the tests of what they say
of each image.

planted = Planted(tmp_path)
planted.add(make_spec("VGG16", "OFF", seed=1), accuracy=0.6, sharpness=3.0)
planted.networks
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.trials.load import Trials
from analysis.trials.repeats import Networks, read_networks
from galaxytl.results.temperature import tempered
from galaxytl.trial import TrialResult, TrialSpec
from tests.analysis.fakes import CLASS_NAMES, Numbers, make_history, make_result, write_parquet

NUM_CLASSES = len(CLASS_NAMES)
FIRST_VALIDATION_ROW = 100_000


def labels_of(number: int) -> Numbers:
    return np.arange(number) % NUM_CLASSES


@dataclass
class Planted:
    """Collects trials of `num_images` test images and 200 validation images; `folder` holds their files."""

    folder: Path
    num_images: int = 400
    results: list[TrialResult] = field(default_factory=list)

    @property
    def trials(self) -> Trials:
        return Trials(tuple(self.results), folders={r.trial_id: self.folder for r in self.results})

    @property
    def networks(self) -> Networks:
        return read_networks(self.trials)

    def add(
        self,
        spec: TrialSpec,
        accuracy: float = 0.7,
        sharpness: float = 1.0,
        *,
        with_validation: bool = True,
        **changes: Any,
    ) -> TrialResult:
        """A trial that is about as accurate and, but for `sharpness`, as sure as it is right: its logits are multiplied
        by that. Without validation no part was watched."""
        rng = np.random.default_rng(int(spec.trial_id[:8], 16))
        labels, held_out = labels_of(self.num_images), labels_of(200)
        test, validation = (_probabilities(rng, part, accuracy, sharpness) for part in (labels, held_out))
        history = make_history(accuracy, 3)
        sizes = {"train": 900, "validation": 0, "test": self.num_images}
        values: dict[str, Any] = {"history": history, "num_images": sizes}
        if with_validation:
            spec = spec.replace(validation_fraction=0.2)
            watched = float((validation.argmax(axis=1) == held_out).mean())
            values = {"history": (*history[:-1], {**history[-1], "val_accuracy": watched}), "curves_on": "validation"}
            values["num_images"] = {**sizes, "validation": 200}
        confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
        np.add.at(confusion, (labels, test.argmax(axis=1)), 1)
        values["confusion"] = tuple(map(tuple, confusion.tolist()))
        right = float((test.argmax(axis=1) == labels).mean())
        result = make_result(spec, accuracy=right, **{**values, **changes})
        self.results.append(result)
        write_parquet(self.folder, result, labels, test, 0)
        if with_validation:
            write_parquet(self.folder, result, held_out, validation, FIRST_VALIDATION_ROW, ".validation.parquet")
        return result


def _probabilities(rng: np.random.Generator, labels: Numbers, accuracy: float, sharpness: float) -> Numbers:
    """Of images of which each has its own classes in doubt; those of a calibrated network at a sharpness of 1."""
    logits = rng.normal(size=(len(labels), NUM_CLASSES))
    logits[np.arange(len(labels)), labels] += 4 * accuracy
    return tempered(np.exp(4 * accuracy * logits - 40), 1 / sharpness).astype(np.float32)
