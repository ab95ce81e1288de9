"""One group of trials, from the dataset to their scores: what all do, and heads in one pass over frozen activations.

    results = HeadsRun(job, clock).results()        # or galaxytl.learning.network_run's NetworkRun, of a single trial

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
from galaxytl.data.files.containers import ID_COLUMN
from galaxytl.data.hot_copy import Size
from galaxytl.learning import certificate, diagnostics, heads
from galaxytl.learning.augmentation.seen import SeenFrom, readable, seen_in_epochs, turned
from galaxytl.learning.augmentation.symmetries import NUM_WAYS
from galaxytl.learning.augmentation.views import view_rows
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import Examples, class_weights
from galaxytl.learning.features import LiveActivations, Source, batch_size, stored_activations
from galaxytl.learning.fit_heads import Head, fit_heads
from galaxytl.learning.job import Clock, Diverged, Group, Job, Pruned
from galaxytl.learning.metrics import evaluate, softmax
from galaxytl.learning.outcome import environment, failed_row
from galaxytl.networks import warm
from galaxytl.networks.backbones import backbone_named, head_layers
from galaxytl.networks.blocks import TRAINED_STEP
from galaxytl.networks.families import is_features
from galaxytl.networks.given import trial_features
from galaxytl.networks.own import own_backbone
from galaxytl.networks.weights import starting_weights
from galaxytl.results import collapse
from galaxytl.results.checkpoints import Epoch, split_records
from galaxytl.results.models import store_model
from galaxytl.results.predictions import Probabilities, columns_to_keep, name_of, store_probabilities
from galaxytl.results.ranking import best
from galaxytl.results.storage import StorageError, waiting_for, with_retries
from galaxytl.results.thumbnails import write_thumbnails
from galaxytl.system.locations import is_remote
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
from galaxytl.trial.convexity import is_convex
from galaxytl.trial.epochs import chooses_epoch, scored_epoch
from galaxytl.trial.schedules import check_warmup

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
    on_symmetries: NDArray[np.float64] | None = None
    """Probabilities (n, C) of the scored part, means over the eight symmetries, where the spec asks for them."""
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What was trained, by the names of `galaxytl.networks.warm`; none where no trial's weights are kept."""


class Collapses:
    """Which trials of a group end because they ignore the image, where the group asks for it."""

    def __init__(self, group: Group, examples: Examples) -> None:
        self._patience = group.stop_collapsed
        labels, targets = examples.labels[examples.train], examples.targets(examples.train)
        watched = examples.targets(examples.watched)
        self._ignoring = {
            spec.trial_id: collapse.loss_of_ignoring(
                *(targets, watched, class_weights(spec, labels), spec.label_smoothing, spec.focal_gamma)
            )
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
    features: NDArray[np.float32] | None = None
    """(N, D) of the dataset's images, where they are given and no network computes them."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self.specs, self.stored, self.workplace = job.group.specs, job.group.stored, job.workplace
        self.spec = self.specs[0]
        self.job, self.clock = job, clock
        if self.stored and not self.spec.stores_activations:
            raise ValueError(
                "a trial with augmentation and without views reads images, each time others, and nothing stored: "
                f"stored must be (); got {self.stored}"
            )

    def results(self) -> list[TrialResult]:
        """Train all specs; one result each: COMPLETE, PRUNED or diverged."""
        dataset, splits = self._open()
        for spec in self.specs:
            check_warmup(spec, len(splits.train))
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
            if is_features(self.spec.backbone):
                given = trial_features(self.spec, where.features, dataset.columns.get(ID_COLUMN), len(dataset))
                self.features = given.values
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

    def read_rows(self, images: Any, splits: Splits, stored: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the rows of images, or of views (`readable`), that are stored; all where nothing is."""
        return view_rows(self.spec, splits) if stored else np.arange(images.shape[0])

    def stored_inputs(self, images: Any, rows: NDArray[np.int64], stored: tuple[int, ...]) -> NDArray[Any]:
        """Return the activations (len(rows), h, w, channels) of `rows` at the last of the stored cuts."""
        self.say("frozen activations")
        counted = functools.partial(self.clock.count, "features")
        progress = functools.partial(self._say_progress, "frozen activations")
        source = Source(images, rows, self.network, progress, counted, self.workplace.neighbours)
        with self.clock.part("features"):
            return stored_activations(self.spec, stored, source)

    def on_symmetries(
        self, images: NDArray[np.uint8], splits: Splits, network: warm.Network, read: tuple[int, int]
    ) -> Iterator[Examples]:
        """Yield the scored rows of images (N, S, S, 3) in each symmetry but the first, in which they are as they are.

        read: the cut that they are read at, and how many at once. Where the cut is behind the images, the inputs are
        activations there, computed when they are read."""
        cut, at_once = read
        structure, scored = network.structure, _scored(splits, self.spec)
        start, none = len(structure.blocks), np.empty(0, np.int64)
        labels = np.zeros(len(images), np.int64)  # nothing is compared with them
        for way in range(1, NUM_WAYS):
            self.say(f"evaluating on the {self.spec.scored_on} split, symmetry {way + 1}/{NUM_WAYS}")
            inputs: Any = turned(images, way)
            if cut != start:
                inputs = LiveActivations(
                    inputs,
                    network.forward(start, cut),
                    (len(images), *structure.shape_at(cut)),
                    np.dtype(self.spec.activations_dtype),
                    batch_size(min(at_once, len(scored)), self.spec.image_size),  # each read fills whole batches
                    lambda count: self.clock.count("evaluate", float(count * structure.multiply_adds(start, cut))),
                )
            yield Examples(inputs, labels, none, none, scored)

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
        metrics |= _scores_on_symmetries(outcome, found)
        name = self._store(outcome.spec, "scored", found)
        self._store_validation(outcome, dataset, splits.validation)
        number = scored_epoch(outcome.spec, row.history) if chooses_epoch(outcome.spec) else 0
        return replace(row, metrics=metrics, confusion=confusion, probabilities=name, epoch_scored=number)

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
        total = self._num_parameters() + outcome.num_head
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

    def _num_parameters(self) -> int:
        """Return the weights of the backbone: of one that is none of the table, as it is built."""
        if own_backbone(self.spec.backbone):
            structure = self.network().structure
            return structure.num_parameters(len(structure.blocks))
        return backbone_named(self.spec.backbone).num_parameters

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
        rows = self.read_rows(seen := readable(images, self.spec), splits, self.stored)
        inputs = self._head_inputs(seen, rows)
        examples = examples_of(self.spec, inputs, classes, (splits, rows))
        source = SeenFrom(images, rows, lambda others: replace(inputs, inputs=others))
        examples = seen_in_epochs(examples, self.spec, source)
        self.pass_cost, num = head_size(self.spec, math.prod(inputs.shape[1:]))
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
            on_symmetries = self._on_symmetries(group, outcomes, images, splits)
        certificates = self._certificates(group, examples)
        return [
            Outcome(
                *(head.spec, outcome, num, num, certificate, beside if isinstance(beside, np.ndarray) else None),
                on_symmetries=on_symmetries.get(head.spec.trial_id),
                weights=warm.named(heads.weights(head.scored)),
            )
            for head, outcome, beside, certificate in zip(group, outcomes, watched, certificates, strict=True)
        ]

    def _certificates(self, group: list[Head], examples: Examples) -> list[dict[str, float]]:
        """Return of each head the optimum of its loss, and its distance; {} where not asked for or not known."""
        is_any = any(is_convex(spec) for spec in self.specs)  # heads may be trained on other losses
        if not self.job.group.diagnostics or not is_any or self._reads_live:
            return [{} for _ in group]
        with self.clock.part("diagnostics"):
            self.say("the optimum of the head's loss")
            return certificate.certificates(group, examples)

    @property
    def _reads_live(self) -> bool:
        """Whether the heads' features are computed whenever they are read: an optimum takes hundreds of passes."""
        return self.features is None and (not self.stored or self.stored[-1] != 0)

    def _outcomes(
        self, group: list[Head], examples: Examples
    ) -> Iterator[tuple[Head, NDArray[np.float32] | Diverged | Pruned]]:
        """Give each head with its logits, or why it has none."""
        whole = [head for head in group if not head.diverged and head.pruned is None]
        self.clock.count("evaluate", self.pass_cost * len(examples.scored) * len(whole))
        logits = iter(heads.logits([head.scored for head in whole], examples, examples.scored, heads.WATCHED_BATCH))
        for head in group:
            if head.diverged:
                yield head, Diverged(head.diverged)
            else:
                yield head, next(logits) if head.pruned is None else Pruned(head.pruned)

    def _on_symmetries(
        self,
        group: Sequence[Head],
        outcomes: Sequence[NDArray[np.float32] | Diverged | Pruned],
        images: NDArray[np.uint8],
        splits: Splits,
    ) -> dict[str, NDArray[np.float64]]:
        """Return, by the trial_id of each head that asks for them, the mean of its probabilities (n, C) of the scored
        rows over the symmetries. The backbone's part is computed once for all heads, in the first symmetry not again.
        """
        ended = zip(group, outcomes, strict=True)
        asking = {
            head.spec.trial_id: (head, softmax(np.asarray(outcome)))
            for head, outcome in ended
            if head.spec.test_time_augmentation and has_scores(outcome)
        }
        if not asking:
            return {}
        heads_asking, sums = [head for head, _ in asking.values()], {name: own for name, (_, own) in asking.items()}
        for examples in self.on_symmetries(images, splits, self.network(), (0, len(images))):
            for head, outcome in self._outcomes(heads_asking, examples):
                sums[head.spec.trial_id] = sums[head.spec.trial_id] + softmax(np.asarray(outcome))
        return {name: total / NUM_WAYS for name, total in sums.items()}

    def _head_inputs(self, images: Any, rows: NDArray[np.int64]) -> Any:
        """Return the backbone's output for `rows`: stored, or computed whenever it is read, from what is stored or the
        images.

        Without anything stored `rows` must be all rows of the dataset: the images are mapped, not copied.
        """
        if self.features is not None:
            return self.features
        inputs = self.stored_inputs(images, rows, self.stored) if self.stored else images
        if self.stored and self.stored[-1] == 0:
            return inputs
        structure = self.network().structure
        cut = self.stored[-1] if self.stored else len(structure.blocks)
        return LiveActivations(
            inputs,
            self.network().forward(cut, 0),
            (inputs.shape[0], *structure.shape_at(0)),
            np.dtype(self.spec.activations_dtype),
            batch_size(self.spec.batch_size, self.spec.image_size),
            lambda count: self.clock.count("train", float(count * structure.multiply_adds(cut, 0))),
        )


def has_scores(outcome: NDArray[np.float32] | Diverged | Pruned) -> bool:
    return isinstance(outcome, np.ndarray) and bool(np.isfinite(outcome).all())


def _scores_on_symmetries(outcome: Outcome, found: Probabilities) -> dict[str, float]:
    """Return the scores of the means over the symmetries, named tta_accuracy and so on; none where there are none."""
    means = outcome.on_symmetries
    if means is None or not np.isfinite(means).all():
        return {}
    return {f"tta_{name}": value for name, value in evaluate(found.labels, means, found.votes)[0].items()}


def examples_of(spec: TrialSpec, inputs: Any, classes: Classes, part: tuple[Splits, NDArray[np.int64]]) -> Examples:
    """Return the inputs of some rows (sorted) with what is wanted of them. part: the dataset's splits, and the rows, of
    the dataset or places of `views`."""
    each = spec.views + 1
    splits, rows = _renumber(*part, each), part[1] // each
    watched = splits.validation if len(splits.validation) else splits.test
    votes = None if classes.votes is None else classes.votes[rows]
    return Examples(inputs, classes.labels[rows], splits.train, watched, _scored(splits, spec), votes)


def _scored(splits: Splits, spec: TrialSpec) -> NDArray[np.int64]:
    """Return the rows that the spec's trial is scored on."""
    return splits.validation if spec.scored_on == "validation" else splits.test


def head_size(spec: TrialSpec, num_features: int) -> tuple[int, int]:
    """Return the multiply-adds of a forward pass of the spec's head, and how many weights it has."""
    layers = head_layers(spec, num_features)
    return sum(a * b for a, b in layers), sum((a + 1) * b for a, b in layers)


def _renumber(splits: Splits, rows: NDArray[np.int64], each: int) -> Splits:
    """Return the same splits, counted in positions of `rows` (sorted), of which each row of the dataset has `each`."""
    return Splits(*(np.searchsorted(rows, part * each) for part in (splits.train, splits.validation, splits.test)))
