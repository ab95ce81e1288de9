"""What the gradients of a trial did: recorded at its start and after each epoch, on the same few training images.

    observe = of_heads(examples, spec)           # observe(epoch, state) -> a record for each head
    observe = NetworkProbe(model, network, start_cut, freeze_cut).observer(examples, spec)     # (epoch, model) -> one

A record is a dict:

    epoch            0 before the first step, then the number of the epoch just ended
    loss             mean cross-entropy of the images, towards their labels or votes, nats, as a training step has it:
                     BatchNorm that is trained normalises by these images; without class weights, weight decay and a
                     head's dropout, and, whatever the trial is trained on, without smoothed targets, the focal loss and
                     clipping: records of trials that differ in these are of one loss
    logit_spread     standard deviation of a logit over the images, mean over the classes: 0 where a network gives the
                     same answer to every image
    gradient_norms   {layer: L2 norm of the loss's gradient with respect to the layer's kernel and bias}, from input to
                     output, of layers that are trained and have a kernel
    dead_shares      {layer: share of its units that are 0 for every one of the images}, of trained layers with a ReLU;
                     of a frozen network "features", its output. A unit of a convolution is a channel: dead, it is 0 at
                     every place. A dead unit has no gradient, so it stays dead (Lu et al. 2020, "Dying ReLU and
                     Initialization: Theory and Numerical Examples")

They change nothing in the training: the optimizer, the random numbers and BatchNorm's averages stay as they are. They
need a forward and a backward pass of at most 32 images an epoch, and the tracing of two more functions a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.learning import heads
from galaxytl.learning.examples import Examples
from galaxytl.networks import device
from galaxytl.networks.backbones import HIDDEN, OUTPUT
from galaxytl.networks.blocks import relu_tensors
from galaxytl.networks.recipe.compiled import cross_entropy
from galaxytl.networks.warm import Network
from galaxytl.trial import TrialSpec
from galaxytl.trial.optimizers import State

MOST_IMAGES = 32
DIGITS = 4  # significant ones that a record keeps: a row of ResNet50 has thousands of numbers

Record = dict[str, Any]
Observer = Callable[[int, Any], list[Record]]
"""Gives the records of what is trained: (epoch, `State` of H heads or a keras.Model) -> H records, or one."""


def probe_rows(examples: Examples, batch_size: int) -> NDArray[np.int64]:
    """Return the rows to look at, evenly spaced among those to train on: as many as a batch, at most MOST_IMAGES."""
    count = min(MOST_IMAGES, batch_size, len(examples.train))
    return examples.train[np.linspace(0, len(examples.train) - 1, count).astype(np.int64)]


def of_heads(examples: Examples, spec: TrialSpec) -> Observer:
    """Return what gives the record of each of H heads on frozen features."""
    rows = probe_rows(examples, spec.batch_size)
    targets: dict[str, NDArray[Any]] = {"labels": examples.labels[rows].astype(np.int32)}
    targets |= {} if examples.votes is None else {"votes": examples.votes[rows]}
    features = np.asarray(examples.inputs[rows]).reshape(len(rows), -1)
    dead = {"features": _dead_share(features)}

    def observe(number: int, state: State) -> list[Record]:
        found = {name: np.asarray(values) for name, values in heads.probe(state, features, targets).items()}
        return [
            _head_record(number, {n: float(v[i]) for n, v in found.items()}, dead) for i in range(len(found["loss"]))
        ]

    return observe


def _dead_share(activations: NDArray[Any]) -> float:
    """Return the share of the features (B, D) that are 0 for all images. Flatten's are one channel at one place."""
    return float(np.mean(~activations.astype(bool).any(axis=0)))


def _head_record(number: int, found: Mapping[str, float], dead: Mapping[str, float]) -> Record:
    norms = {name: found[f"gradient_norm_{name}"] for name in (HIDDEN, OUTPUT) if f"gradient_norm_{name}" in found}
    shares = {**dead, **({HIDDEN: found["dead_share_hidden"]} if "dead_share_hidden" in found else {})}
    return _record(number, found, norms, shares)


def _record(number: int, scores: Mapping[str, Any], norms: Mapping[str, float], shares: Mapping[str, float]) -> Record:
    return {
        "epoch": number,
        "loss": _rounded(scores["loss"]),
        "logit_spread": _rounded(scores["logit_spread"]),
        "gradient_norms": {name: _rounded(value) for name, value in norms.items()},
        "dead_shares": {name: _rounded(value) for name, value in shares.items()},
    }


def _rounded(value: Any) -> float:
    return float(f"{float(np.asarray(value)):.{DIGITS}g}")


class NetworkProbe:
    """Looks at one compiled network, for as long as that is kept: its functions are traced once."""

    def __init__(self, model: Any, network: Network, start_cut: int, freeze_cut: int) -> None:
        """Look at `model`, which reads activations at `start_cut` (or images) and trains what comes after
        `freeze_cut`."""
        self._model = model
        variables = [(_layer_of(variable), len(variable.shape)) for variable in model.trainable_variables]
        self._layers = [layer for layer, _ in variables]
        self._kernels = {layer for layer, dimensions in variables if dimensions > 1}
        self._gradients = device.compiled(self._squared_gradients, xla=False)
        names, units = network.unit_maxima(model, start_cut, relu_tensors(network.model, freeze_cut))
        self._names, self._units = names, device.compiled_forward(units) if names else None

    def observer(self, examples: Examples, spec: TrialSpec) -> Observer:
        """Return what gives the record after an epoch of a trial on these examples."""
        rows = probe_rows(examples, spec.batch_size)
        inputs, found = np.asarray(examples.inputs[rows]), examples.targets(rows)
        targets = found.astype(np.int32) if examples.votes is None else found
        return lambda number, model: [self._observe(number, inputs, targets)]

    def _observe(self, number: int, inputs: NDArray[Any], targets: NDArray[Any]) -> Record:
        trained, others = (
            [ops.convert_to_tensor(variable.value) for variable in part]
            for part in (self._model.trainable_variables, self._model.non_trainable_variables)
        )
        loss, spread, squares = self._gradients(trained, others, inputs, targets)
        sums = dict.fromkeys((layer for layer in self._layers if layer in self._kernels), 0.0)
        for layer, square in zip(self._layers, squares, strict=True):
            if layer in sums:
                sums[layer] += float(np.asarray(square))
        norms = {layer: math.sqrt(total) for layer, total in sums.items()}
        return _record(number, {"loss": loss, "logit_spread": spread}, norms, self._dead_shares(inputs))

    def _squared_gradients(self, trained: Any, others: Any, inputs: Any, targets: Any) -> tuple[Any, Any, list[Any]]:
        """Return loss, spread of the logits, and the squared norm of the gradient of each trained variable."""

        def loss(values: Any) -> tuple[Any, Any]:
            logits, _ = self._model.stateless_call(values, others, inputs, training=True)
            return ops.mean(cross_entropy(targets, logits)), heads.spread(logits)

        (value, spread), gradients = device.value_and_gradients(loss, trained)
        return value, spread, [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]

    def _dead_shares(self, inputs: NDArray[Any]) -> dict[str, float]:
        if self._units is None:
            return {}
        units = self._units(inputs)
        several = units if isinstance(units, list | tuple) else [units]  # Keras unpacks a single output
        return {name: _dead_share(np.asarray(u)) for name, u in zip(self._names, several, strict=True)}


def _layer_of(variable: Any) -> str:
    """Return "block1_conv1" of "block1_conv1/kernel"."""
    return variable.path.split("/")[-2]
