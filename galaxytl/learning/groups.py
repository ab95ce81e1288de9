"""One group of trials, from the dataset to their scores: heads in one pass over frozen activations, or one network.

    results = HeadsRun(job, clock).results()        # or NetworkRun, of a single trial

Imports Keras; `galaxytl.training` imports this file when it is asked to train.
"""

from __future__ import annotations

import contextlib
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import DataError, Dataset, Splits, grouping, official, open_dataset, split_indices
from galaxytl.data.files.classes import Classes
from galaxytl.data.hot_copy import Size
from galaxytl.learning import certificate, diagnostics, heads
from galaxytl.learning.augmentation import augmented
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import Examples, class_weights
from galaxytl.learning.features import LiveActivations, Source, batch_size, stored_activations
from galaxytl.learning.fit_heads import Head, fit_heads
from galaxytl.learning.fit_network import Batches, CheckpointLost, Leg, fit
from galaxytl.learning.job import Clock, Diverged, Group, Job, Pruned
from galaxytl.learning.metrics import evaluate, softmax
from galaxytl.learning.outcome import environment, failed_row
from galaxytl.networks import device, warm
from galaxytl.networks.backbones import backbone_named, head_layers
from galaxytl.networks.blocks import TRAINED_STEP
from galaxytl.networks.weights import starting_weights
from galaxytl.results import collapse
from galaxytl.results.checkpoints import Epoch, checkpoint_path, epochs_kept, split_records
from galaxytl.results.models import store_model
from galaxytl.results.predictions import Probabilities, columns_to_keep, name_of, store_probabilities
from galaxytl.results.ranking import best
from galaxytl.results.storage import StorageError, waiting_for, with_retries
from galaxytl.results.thumbnails import write_thumbnails
from galaxytl.system.locations import is_remote
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
from galaxytl.trial.stages import Stage, readable_cuts, spec_of, stages_of

T = TypeVar("T")
READ_SECONDS = 120.0
"""For which a dataset on another machine that does not answer is tried again."""


@dataclass(frozen=True)
class Outcome:
    """What training gave: logits (n, C) of the part that the spec is scored on, or why there are none."""

    spec: TrialSpec
    logits: NDArray[np.float32] | Diverged | Pruned
    num_head: int
    """Weights of the head, and of all that was trained."""
    num_trained: int
    certificate: dict[str, float] = field(default_factory=dict)
    on_validation: NDArray[np.float32] | None = None
    """Logits of the validation part, where that is not the scored one."""
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What was trained, by the names of `galaxytl.networks.warm`; none where no trial's weights are kept."""


class Collapses:
    """Which trials of a group end because they ignore the image, where the group asks for it."""

    def __init__(self, group: Group, examples: Examples) -> None:
        self._patience = group.stop_collapsed
        labels, targets = examples.labels[examples.train], examples.targets(examples.train)
        watched = examples.targets(examples.watched)
        self._ignoring = {
            spec.trial_id: collapse.loss_of_ignoring(targets, watched, class_weights(spec, labels))
            for spec in group.specs
        }

    def __call__(self, histories: Mapping[str, Sequence[Epoch]]) -> dict[str, str]:
        """Return {trial_id: reason} of the trials, of those with these histories, that end here."""
        reasons = {
            trial_id: collapse.why_collapsed(history, self._ignoring[trial_id], self._patience)
            for trial_id, history in histories.items()
        }
        return {trial_id: reason for trial_id, reason in reasons.items() if reason}


class Run(Watcher, ABC):
    """A group on its way, which its epoch loop tells of: it passes that on. The specs differ in nothing that its data,
    its backbone and its batches depend on."""

    observe: diagnostics.Observer | None = None
    """What the gradients do, where that is asked for."""
    collapses: Collapses
    pass_cost: float
    """Multiply-adds of a forward pass of one image, from what is stored."""
    epoch_cost: float
    """Multiply-adds of an epoch of one trial."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self.specs, self.stored, self.workplace = job.group.specs, job.group.stored, job.workplace
        self.spec = self.specs[0]
        self.job, self.clock = job, clock
        if self.spec.augmentation and self.stored:
            raise ValueError(
                "a trial with augmentation reads images, each time others, and nothing stored: "
                f"stored must be (); got {self.stored}"
            )

    def results(self) -> list[TrialResult]:
        """Train all specs; one result each: COMPLETE, PRUNED or diverged."""
        dataset, splits = self._open()
        with self.clock.part("data"):
            size = functools.partial(dataset.resized, self.spec.image_size, self._say_progress, self.spec.fit)
            resized = self._patiently(size)
        images = resized.images
        if self.spec.scored_on == "test":
            with contextlib.suppress(OSError):  # a report without pictures is better than no trial
                write_thumbnails(self.workplace.out, images, dataset.labels, splits.test)
        outcomes = self.train(images, dataset.source.classes, splits)
        with self.clock.part("evaluate"):
            results = [self._result(outcome, dataset, splits) for outcome in outcomes]
            self._store_models(outcomes, results)
            return results

    @abstractmethod
    def train(self, images: NDArray[np.uint8], classes: Classes, splits: Splits) -> list[Outcome]:
        """Train on images (N, S, S, 3) of the dataset, towards their labels or votes."""

    def _open(self) -> tuple[Dataset, Splits]:
        self.say("opening the dataset")
        with self.clock.part("data"):
            where, size = self.workplace, Size(self.spec.image_size, self.spec.fit)
            read = functools.partial(open_dataset, where.data, None, self._say_progress, where.reading, [size])
            dataset = self._patiently(read)
            if dataset.fingerprint != self.spec.dataset_fingerprint:
                wanted, found = self.spec.dataset_fingerprint[:12], dataset.fingerprint[:12]
                raise DataError(f"{dataset.uri} must have the content {wanted} that the sweep saw; it has {found}")
            self._check_facts(dataset)
            groups, parts = grouping.checked_groups(dataset, self.spec), official.checked_parts(dataset, self.spec)
            return dataset, split_indices(dataset.labels, self.spec, groups, parts)

    def _check_facts(self, dataset: Dataset) -> None:
        """Raise DataError where this node reads other classes, or targets, out of the same content."""
        for name in ("num_classes", "targets"):
            wanted, found = getattr(self.spec, name), dataset.facts[name]
            if wanted != found:
                raise DataError(
                    f"{dataset.uri} must be read as the sweep read it, with {name} {wanted}; here it has {found}. Give "
                    "the trial's workplace the same reading (--class-names, --label-column)"
                )

    def _patiently(self, read: Callable[[], T]) -> T:
        """Return what `read` gives, and try it again for a while where the dataset lies on another machine."""
        if not is_remote(self.workplace.data):
            return read()
        try:
            return with_retries(read, READ_SECONDS, lambda error: self.say(waiting_for("dataset", error)))
        except StorageError as error:
            raise DataError(str(error)) from error

    def stored_inputs(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64], stored: tuple[int, ...]
    ) -> NDArray[Any]:
        """Return the activations (len(rows), h, w, channels) of `rows` at the last of the stored cuts."""
        self.say("frozen activations")
        counted = functools.partial(self.clock.count, "features")
        progress = functools.partial(self._say_progress, "frozen activations")
        source = Source(images, rows, self.network, progress, counted, self.workplace.neighbours)
        with self.clock.part("features"):
            return stored_activations(self.spec, stored, source)

    def network(self) -> warm.Network:
        self.say("building the backbone")
        with self.clock.part("build"):
            return warm.backbone(self.spec, self.weights_path)

    def weights_path(self) -> Path | None:
        """Return the weights file, checked; raises WeightsError."""
        return starting_weights(self.spec, self.workplace.weights_dir)

    def _result(self, outcome: Outcome, dataset: Dataset, splits: Splits) -> TrialResult:
        if isinstance(outcome.logits, Diverged):
            return failed_row(outcome.spec, outcome.logits, self.job)
        row = self._row(outcome, dataset, splits)
        if isinstance(outcome.logits, Pruned):
            return replace(row, status=PRUNED, message=str(outcome.logits))
        if not np.isfinite(outcome.logits).all():  # the last step may be the one that is too long
            return failed_row(outcome.spec, Diverged("the logits are not finite after the last epoch"), self.job)
        rows, probabilities = _scored(splits, outcome.spec), softmax(outcome.logits)
        found = self._probabilities(dataset, rows, probabilities)
        metrics, confusion = evaluate(found.labels, probabilities, found.votes)
        name = self._store(outcome.spec, "scored", found)
        self._store_validation(outcome, dataset, splits.validation)
        return replace(row, metrics=metrics, confusion=confusion, probabilities=name)

    def _probabilities(
        self, dataset: Dataset, rows: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> Probabilities:
        """Return probabilities (n, C) of these rows of the dataset with what it knows of their images."""
        votes = dataset.source.classes.votes
        kept = columns_to_keep(dataset.columns, self.workplace.reading.columns)
        columns = {column: values[rows] for column, values in kept.items()}
        return Probabilities(rows, dataset.labels[rows], probabilities, None if votes is None else votes[rows], columns)

    def _store_validation(self, outcome: Outcome, dataset: Dataset, rows: NDArray[np.int64]) -> None:
        """Store it beside what the trial is scored on, where it was computed and has numbers."""
        logits = outcome.on_validation
        if logits is not None and len(logits) and np.isfinite(logits).all():
            self._store(outcome.spec, "validation", self._probabilities(dataset, rows, softmax(logits)))

    def _store(self, spec: TrialSpec, part: str, found: Probabilities) -> str:
        """Store probabilities; return the file's name."""
        name = name_of(spec, part)
        store_probabilities(self.workplace.out, self.workplace.storage, name, found)
        return name

    def _store_models(self, outcomes: Sequence[Outcome], results: Sequence[TrialResult]) -> None:
        """Store the weights of the best: no more than the sweep keeps in all."""
        weights = {outcome.spec.trial_id: outcome.weights for outcome in outcomes}
        for result in best(results, self.workplace.most_models):
            store_model(self.workplace.out, result.spec, weights[result.trial_id])

    def _row(self, outcome: Outcome, dataset: Dataset, splits: Splits) -> TrialResult:
        """Return the row of a trial, without its scores."""
        total = backbone_named(outcome.spec.backbone).num_parameters + outcome.num_head
        history, records = split_records(self.job.histories[outcome.spec.trial_id])
        return TrialResult(
            spec=outcome.spec,
            status=COMPLETE,
            history=history,
            diagnostics=records,
            certificate=outcome.certificate,
            curves_on="validation" if self.spec.validation_fraction else "test",
            class_names=dataset.class_names,
            num_images=splits.sizes(),
            num_parameters={"total": total, "trainable": outcome.num_trained},
            environment=environment(self.workplace.damage),
            started=self.job.started,
        )

    def phase(self, trial_ids: Sequence[str], text: str) -> None:
        self.job.watcher.phase(trial_ids, text)

    def epoch(self, latest: Mapping[str, Epoch]) -> None:
        self.clock.count("train", self.epoch_cost * len(latest))
        self.job.watcher.epoch({trial_id: split_records([epoch])[0][0] for trial_id, epoch in latest.items()})

    def checkpoint(self) -> None:
        self.job.watcher.checkpoint()

    def ends(self, histories: Mapping[str, Sequence[Epoch]]) -> Mapping[str, str]:
        self.job.histories.update(histories)  # which grow; those of a checkpoint no epoch told of
        return {**self.job.watcher.ends(histories), **self.collapses(histories)}

    def records(self, number: int, state: Any) -> list[diagnostics.Record]:
        if self.observe is None:
            return self.job.watcher.records(number, state)
        with self.clock.part("diagnostics"):
            return self.observe(number, state)

    def say(self, text: str) -> None:
        self.phase([spec.trial_id for spec in self.specs], text)

    def _say_progress(self, what: str, done: int, total: int) -> None:
        self.say(f"{what}, {done}/{total}")


class HeadsRun(Run):
    """Heads on what the frozen backbone gives, all in one pass."""

    def train(self, images: NDArray[np.uint8], classes: Classes, splits: Splits) -> list[Outcome]:
        rows = splits.all() if self.stored else np.arange(len(images))
        inputs = self._head_inputs(images, rows)
        examples = _examples(self.spec, inputs, classes, (splits, rows))
        if self.spec.augmentation:
            examples = replace(examples, augmented=lambda n: replace(inputs, inputs=augmented(images, self.spec, n)))
        self.pass_cost, num = _head_size(self.spec, math.prod(inputs.shape[1:]))
        self.epoch_cost = self.pass_cost * (TRAINED_STEP * len(examples.train) + len(examples.watched))
        self.say("first step (tracing the heads)")
        with self.clock.part("train"):
            self.observe = diagnostics.of_heads(examples, self.spec) if self.job.group.diagnostics else None
            self.collapses = Collapses(self.job.group, examples)
            group = fit_heads(self.specs, examples, self.workplace.out, self)
        self.job.histories.update({head.spec.trial_id: head.history for head in group})
        with self.clock.part("evaluate"):
            self.say(f"evaluating on the {self.spec.scored_on} split")
            outcomes = [outcome for _, outcome in self._outcomes(group, examples)]
            watched = [outcome for _, outcome in self._outcomes(group, examples.only_watched)]
        certificates = self._certificates(group, examples)
        return [
            Outcome(
                *(head.spec, outcome, num, num, certificate, beside if isinstance(beside, np.ndarray) else None),
                weights=warm.named(heads.weights(head.state)),
            )
            for head, outcome, beside, certificate in zip(group, outcomes, watched, certificates, strict=True)
        ]

    def _certificates(self, group: list[Head], examples: Examples) -> list[dict[str, float]]:
        """Return of each head the optimum of its loss, and its distance; {} where not asked for or not known."""
        if not self.job.group.diagnostics or not certificate.is_convex(self.spec) or self._reads_live:
            return [{} for _ in group]
        with self.clock.part("diagnostics"):
            self.say("the optimum of the head's loss")
            return certificate.certificates(group, examples)

    @property
    def _reads_live(self) -> bool:
        """Whether the heads' features are computed whenever they are read: an optimum takes hundreds of passes."""
        return not self.stored or self.stored[-1] != 0

    def _outcomes(
        self, group: list[Head], examples: Examples
    ) -> Iterator[tuple[Head, NDArray[np.float32] | Diverged | Pruned]]:
        """Give each head with its logits, or why it has none."""
        whole = [head for head in group if not head.diverged and head.pruned is None]
        self.clock.count("evaluate", self.pass_cost * len(examples.scored) * len(whole))
        logits = iter(heads.logits([head.state for head in whole], examples, examples.scored, heads.WATCHED_BATCH))
        for head in group:
            if head.diverged:
                yield head, Diverged(head.diverged)
            else:
                yield head, next(logits) if head.pruned is None else Pruned(head.pruned)

    def _head_inputs(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Any:
        """Return the backbone's output for `rows`: stored, or computed whenever it is read, from what is stored or the
        images.

        Without anything stored `rows` must be all rows of the dataset: the images are mapped, not copied.
        """
        inputs = self.stored_inputs(images, rows, self.stored) if self.stored else images
        if self.stored and self.stored[-1] == 0:
            return inputs
        structure = self.network().structure
        cut = self.stored[-1] if self.stored else len(structure.blocks)
        return LiveActivations(
            inputs,
            self.network().forward(cut, 0),
            (len(inputs), *structure.shape_at(0)),
            np.dtype(self.spec.activations_dtype),
            batch_size(self.spec.batch_size, self.spec.image_size),
            lambda count: self.clock.count("train", float(count * structure.multiply_adds(cut, 0))),
        )


@dataclass(frozen=True)
class _Network:
    """What a trial trains, or a stage of it."""

    spec: TrialSpec
    """Of the stage (`galaxytl.trial.stages.spec_of`)."""
    start_cut: int
    """What it reads: a stored cut, or the images."""
    model: Any
    network: warm.Network

    @property
    def head(self) -> tuple[int, int]:
        """`_head_size` of its head."""
        return _head_size(self.spec, math.prod(self.network.structure.shape_at(0)))

    @property
    def freeze_cut(self) -> int:
        return warm.frozen_until(self.spec, len(self.network.structure.blocks))

    def trained(self) -> dict[str, NDArray[Any]]:
        """Return copies of the head and the unfrozen blocks."""
        return self.network.trained_weights(self.model, self.spec)

    def costs(self) -> tuple[float, float]:
        """Return the multiply-adds an image of a forward pass, and of a training step, from what is stored."""
        structure = self.network.structure
        frozen = structure.multiply_adds(self.start_cut, self.freeze_cut)
        trained = structure.multiply_adds(self.freeze_cut, 0) + self.head[0]
        return float(frozen + trained), float(frozen + TRAINED_STEP * trained)


class NetworkRun(Run):
    """One trial that trains blocks of its backbone, or all of it; where it unfreezes in stages, one after the other,
    each from the weights that the one before came to."""

    def train(self, images: NDArray[np.uint8], classes: Classes, splits: Splits) -> list[Outcome]:
        stages, path = stages_of(self.spec), checkpoint_path(self.workplace.out, self.spec)
        kept = epochs_kept(path) if len(stages) > 1 else 0
        left = [stage for stage in stages if stage.last >= kept]  # the first has the last epoch that is kept
        reads = [self._read(stage, images, classes, splits) for stage in left]  # all at once: now it is heard if the
        trained, history = None, None  # disk lacks room, and storing sets the backbone's weights to those at the start
        for stage, examples in zip(left, reads, strict=True):
            trained = self._network(stage, trained, len(stages))
            resumed = history is not None and len(history) == kept
            try:
                history = self._fit(trained, examples, Leg(stage.first, stage.last, history, resumed))
            except Pruned as end:
                return [self._outcome(trained, end.with_traceback(None))]  # which would keep alive what training read
            except CheckpointLost:
                path.unlink(missing_ok=True)
                return self.train(images, classes, splits)
        assert trained is not None
        self.say(f"evaluating on the {self.spec.scored_on} split")
        logits = self._scores(trained.model, examples)
        return [self._outcome(trained, logits, self._scores(trained.model, examples.only_watched))]

    def _read(self, stage: Stage, images: NDArray[np.uint8], classes: Classes, splits: Splits) -> Examples:
        """Return what a stage reads: the last stored cut after which all lies that it trains, or images."""
        stored = readable_cuts(self.stored, stage.depth)
        rows = splits.all() if stored else np.arange(len(images))
        inputs = self.stored_inputs(images, rows, stored) if stored else images
        examples = _examples(self.spec, inputs, classes, (splits, rows))
        if self.spec.augmentation:
            examples = replace(examples, augmented=lambda n: augmented(images, self.spec, n))
        return examples

    def _network(self, stage: Stage, before: _Network | None, num_stages: int) -> _Network:
        """Return what a stage trains, from the weights that the stage before came to."""
        self.say("building the network")
        spec, cut = spec_of(self.spec, stage), min(readable_cuts(self.stored, stage.depth), default=None)
        weights = before.trained() if before else {}
        with self.clock.part("build"):
            model, network = warm.trainable(spec, cut, self.weights_path, num_stages)
            if before:
                network.set_trained(model.get_layer("head"), before.spec, weights)
        return _Network(spec, len(network.structure.blocks) if cut is None else cut, model, network)

    def _outcome(
        self, trained: _Network, logits: NDArray[np.float32] | Pruned, beside: NDArray[np.float32] | None = None
    ) -> Outcome:
        num_trained = sum(math.prod(v.shape) for v in trained.model.trainable_weights)
        weights = trained.trained() if self.workplace.most_models != 0 else {}
        return Outcome(self.spec, logits, trained.head[1], num_trained, on_validation=beside, weights=weights)

    def _observer(self, trained: _Network, examples: Examples) -> diagnostics.Observer:
        cuts = (trained.start_cut, trained.freeze_cut)
        with self.clock.part("diagnostics"):
            probe = warm.beside_trainable(lambda: diagnostics.NetworkProbe(trained.model, trained.network, *cuts))
        return probe.observer(examples, self.spec)

    def _fit(self, trained: _Network, examples: Examples, leg: Leg) -> list[Epoch]:
        """Train a stage; return the history. Raises what `fit` does."""
        self.pass_cost, step = trained.costs()
        self.epoch_cost = step * len(examples.train) + self.pass_cost * len(examples.watched)
        self.observe = self._observer(trained, examples) if self.job.group.diagnostics else None
        self.say("first step (tracing the network)")
        self.collapses = Collapses(self.job.group, examples)
        path = checkpoint_path(self.workplace.out, self.spec)
        with self.clock.part("train"):
            history = fit(trained.model, self.spec, examples, path, self, leg)
        self.job.histories[self.spec.trial_id] = history
        return history

    def _scores(self, model: Any, examples: Examples) -> NDArray[np.float32]:
        """Return the logits of the examples to score; none where there are no such rows."""
        if not len(examples.scored):
            return np.empty((0, self.spec.num_classes), np.float32)
        with self.clock.part("evaluate"):
            self.clock.count("evaluate", self.pass_cost * len(examples.scored))
            return predict(model, examples, self.spec.batch_size)


def _examples(spec: TrialSpec, inputs: Any, classes: Classes, part: tuple[Splits, NDArray[np.int64]]) -> Examples:
    """Return the inputs of some rows (sorted) with what is wanted of them. part: the dataset's splits, and the rows."""
    splits, rows = _renumber(*part), part[1]
    watched = splits.validation if len(splits.validation) else splits.test
    votes = None if classes.votes is None else classes.votes[rows]
    return Examples(inputs, classes.labels[rows], splits.train, watched, _scored(splits, spec), votes)


def _scored(splits: Splits, spec: TrialSpec) -> NDArray[np.int64]:
    """Return the rows that the spec's trial is scored on."""
    return splits.validation if spec.scored_on == "validation" else splits.test


def _head_size(spec: TrialSpec, num_features: int) -> tuple[int, int]:
    """Return the multiply-adds of a forward pass of the spec's head, and how many weights it has."""
    layers = head_layers(spec, num_features)
    return sum(a * b for a, b in layers), sum((a + 1) * b for a, b in layers)


def _renumber(splits: Splits, rows: NDArray[np.int64]) -> Splits:
    """Return the same splits, counted in positions of `rows` (sorted) instead of rows of the dataset."""
    return Splits(*(np.searchsorted(rows, part) for part in (splits.train, splits.validation, splits.test)))


def predict(model: Any, examples: Examples, batch_size: int) -> NDArray[np.float32]:
    """Return the logits (n, C) of the examples to score."""
    batches = Batches(examples, examples.scored, batch_size)
    return np.asarray(model.predict(device.for_keras(batches), verbose=0))
