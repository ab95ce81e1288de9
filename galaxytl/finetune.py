"""One trial, from the dataset to its scores: frozen features and a head, or every layer from images.

Imports Keras; `galaxytl.training` imports this file when it is asked to train.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl import device
from galaxytl.backbones import backbone_named, build_head, build_model
from galaxytl.data import DataError, Dataset, Splits, open_dataset, sky, split_indices
from galaxytl.features import frozen_features
from galaxytl.fit import Batches, Epoch, Examples, Listener, compile_model, fit
from galaxytl.metrics import evaluate
from galaxytl.training import Clock, Watcher, Workplace, checkpoint_path, environment
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.weights import WeightsError, find_weights


@dataclass
class Trial:
    """A trial on its way. `clock` and `history` are the caller's, so that a failure keeps what was measured."""

    spec: TrialSpec
    workplace: Workplace
    watcher: Watcher
    clock: Clock
    history: list[Epoch]

    def run(self, started: str) -> TrialResult:
        dataset, splits = self._open()
        model, examples = self._prepare(dataset, splits)
        self._fit(model, examples)
        with self.clock.part("evaluate"):
            self._say("evaluating on the test split")
            probabilities = predict(model, examples, examples.test, self.spec.batch_size)
            metrics, confusion = evaluate(dataset.labels[splits.test], probabilities)
            stored = store_probabilities(self.workplace.out, self.spec, splits.test, dataset.labels, probabilities)
        return TrialResult(
            spec=self.spec,
            status=COMPLETE,
            history=tuple(self.history),
            curves_on="validation" if self.spec.validation_fraction else "test",
            metrics=metrics,
            confusion=confusion,
            class_names=dataset.class_names,
            num_images=splits.sizes(),
            num_parameters=count_parameters(self.spec, model),
            timings=self.clock.seconds,
            environment=environment(),
            probabilities=stored,
            started=started,
        )

    def _open(self) -> tuple[Dataset, Splits]:
        self._say("opening the dataset")
        with self.clock.part("data"):
            dataset = open_dataset(self.workplace.data)
            if dataset.fingerprint != self.spec.dataset_fingerprint:
                wanted, found = self.spec.dataset_fingerprint[:12], dataset.fingerprint[:12]
                raise DataError(f"{dataset.uri} must have the content {wanted} that the sweep saw; it has {found}")
            return dataset, split_indices(dataset.labels, self.spec, self._groups(dataset))

    def _groups(self, dataset: Dataset) -> NDArray[np.int64] | None:
        if not self.spec.group_by_sky:
            return None
        groups = sky.groups(dataset)
        if sky.groups_fingerprint(groups) != self.spec.groups_fingerprint:
            raise DataError(f"{dataset.uri} must have the positions (ra, dec) that the sweep saw; it has others")
        return groups

    def _prepare(self, dataset: Dataset, splits: Splits) -> tuple[Any, Examples]:
        """The compiled model that is trained, and its inputs: images, or what the frozen backbone makes of them."""
        with self.clock.part("data"):
            images = dataset.resized(self.spec.image_size, self._say_progress).images
        weights_path = self._weights_path()
        if self.spec.unfrozen_blocks == "all":
            examples = _examples(images, dataset.labels, splits)
            self._say("building the network")
            with self.clock.part("build"):
                model = build_model(self.spec, weights_path)
        else:
            rows = splits.all()
            self._say("frozen features")
            with self.clock.part("features"):
                features = frozen_features(self.spec, images, rows, weights_path, self._say_features)
            examples = _examples(features, dataset.labels[rows], _renumber(splits, rows))
            model = build_head(self.spec, features.shape[1:])
        compile_model(model, self.spec)
        return model, examples

    def _weights_path(self) -> Path | None:
        if self.spec.weights == "random":
            return None
        weights = find_weights(self.spec.backbone, self.workplace.weights_dir)
        if weights.fingerprint != self.spec.weights_fingerprint:
            wanted, found = self.spec.weights_fingerprint[:12], weights.fingerprint[:12]
            raise WeightsError(f"{weights.path} must hold the tensors {wanted} that the sweep saw; it holds {found}")
        return weights.path

    def _fit(self, model: Any, examples: Examples) -> None:
        def on_epoch(history: list[Epoch]) -> None:
            self.history[:] = history
            self.watcher.epoch(self.spec.trial_id, history)

        self._say("first step (tracing the network)")
        with self.clock.part("train"):
            path = checkpoint_path(self.workplace.out, self.spec)
            self.history[:] = fit(model, self.spec, examples, path, Listener(self._say, on_epoch))

    def _say(self, text: str) -> None:
        self.watcher.phase(self.spec.trial_id, text)

    def _say_progress(self, what: str, done: int, total: int) -> None:
        self._say(f"{what}, {done}/{total}")

    def _say_features(self, done: int, total: int) -> None:
        self._say_progress("frozen features", done, total)


def _examples(inputs: NDArray[Any], labels: NDArray[np.int64], splits: Splits) -> Examples:
    watched = splits.validation if len(splits.validation) else splits.test
    return Examples(inputs, labels, splits.train, watched, splits.test)


def _renumber(splits: Splits, rows: NDArray[np.int64]) -> Splits:
    """The same splits, counted in positions of `rows` (sorted) instead of rows of the dataset."""
    return Splits(*(np.searchsorted(rows, part) for part in (splits.train, splits.validation, splits.test)))


def predict(model: Any, examples: Examples, rows: NDArray[np.int64], batch_size: int) -> NDArray[np.float64]:
    """Class probabilities (len(rows), 10): the softmax of the logits, in float64."""
    batches = device.for_keras(Batches(examples, rows, batch_size))
    logits = model.predict(batches, verbose=0).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def store_probabilities(
    out: Path, spec: TrialSpec, rows: NDArray[np.int64], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> str:
    """Write one row a test image: `row` of the dataset, true `label`, float32 `p0`..`p9`. Returns the relative path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"probabilities/{spec.trial_id}.parquet"
    columns = {"row": rows, "label": labels[rows]}
    columns |= {f"p{i}": p for i, p in enumerate(probabilities.T.astype(np.float32))}
    (out / "probabilities").mkdir(parents=True, exist_ok=True)
    unfinished = out / "probabilities" / f".{spec.trial_id}.parquet"
    pq.write_table(pa.table(columns), unfinished)
    unfinished.replace(out / name)
    return name


def count_parameters(spec: TrialSpec, model: Any) -> dict[str, int]:
    """Weights of backbone and head in all, and those that training changes (BatchNorm's statistics are not)."""
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    frozen = 0 if spec.unfrozen_blocks == "all" else backbone_named(spec.backbone).num_parameters
    return {"total": int(model.count_params()) + frozen, "trainable": trainable}
