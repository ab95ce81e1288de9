"""One network of a group, from its images or stored activations to its scores: all in one go, or in stages.

    results = NetworkRun(job, clock).results()

Imports Keras; `galaxytl.training` imports this file when it is asked to train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import Splits
from galaxytl.data.files.classes import Classes
from galaxytl.learning import diagnostics
from galaxytl.learning.augmentation.seen import SeenFrom, readable, seen_in_epochs
from galaxytl.learning.augmentation.symmetries import NUM_WAYS
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_network import Batches, CheckpointLost, Leg, fit
from galaxytl.learning.groups import Collapses, Outcome, Run, examples_of, has_scores, head_size
from galaxytl.learning.job import Pruned
from galaxytl.learning.metrics import softmax
from galaxytl.networks import device, warm
from galaxytl.networks.blocks import TRAINED_STEP
from galaxytl.results.checkpoints import Epoch, checkpoint_path, epochs_kept
from galaxytl.trial import TrialSpec
from galaxytl.trial.stages import Stage, readable_cuts, spec_of, stages_of


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
        """`head_size` of its head."""
        return head_size(self.spec, math.prod(self.network.structure.shape_at(0)))

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
        self.network()  # before what is stored is waited for: another worker may be computing it
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
        outcome = self._outcome(trained, logits, self._scores(trained.model, examples.only_watched))
        read = (trained.start_cut, self.spec.batch_size)
        others = self.on_symmetries(images, splits, trained.network, read)
        return [replace(outcome, on_symmetries=self._on_symmetries(trained.model, logits, others))]

    def _read(self, stage: Stage, images: NDArray[np.uint8], classes: Classes, splits: Splits) -> Examples:
        """Return what a stage reads: the last stored cut after which all lies that it trains, or images."""
        stored, seen = readable_cuts(self.stored, stage.depth), readable(images, self.spec)
        rows = self.read_rows(seen, splits, stored)
        inputs = self.stored_inputs(seen, rows, stored) if stored else seen
        examples = examples_of(self.spec, inputs, classes, (splits, rows))
        return seen_in_epochs(examples, self.spec, SeenFrom(images, rows, lambda others: others))

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

    def _on_symmetries(
        self, model: Any, logits: NDArray[np.float32] | Pruned, others: Iterator[Examples]
    ) -> NDArray[np.float64] | None:
        """Return the mean of the probabilities (n, C) of the scored rows over the symmetries, where it is asked for;
        `others` are those after the first."""
        if not self.spec.test_time_augmentation or not has_scores(logits):
            return None
        return (
            softmax(np.asarray(logits)) + sum(softmax(self._scores(model, examples)) for examples in others)
        ) / NUM_WAYS

    def _scores(self, model: Any, examples: Examples) -> NDArray[np.float32]:
        """Return the logits of the examples to score; none where there are no such rows."""
        if not len(examples.scored):
            return np.empty((0, self.spec.num_classes), np.float32)
        with self.clock.part("evaluate"):
            self.clock.count("evaluate", self.pass_cost * len(examples.scored))
            return predict(model, examples, self.spec.batch_size)


def predict(model: Any, examples: Examples, batch_size: int) -> NDArray[np.float32]:
    """Return the logits (n, C) of the examples to score."""
    batches, at_once = Batches(examples, examples.scored, batch_size), model.steps_per_execution
    model.steps_per_execution = 1  # of more, Keras traces as many copies of the network, and again where fewer are left
    try:
        return np.asarray(model.predict(device.for_keras(batches), verbose=0))
    finally:
        model.steps_per_execution = at_once
