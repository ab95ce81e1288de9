"""The fused step: H linear heads, each with its own learning rate, momentum and weight decay, in one pass.

    state = join([initial_state(spec, num_features) for spec in specs])
    for chunk in chunks(examples, rows, batch_size):
        state, totals = train_steps(spec.optimizer, settings(specs), state, chunk)

Equal to training each head alone: the loss is summed over heads, never averaged, and nothing is shared between them
(no clipping, no loss scale), so a head that becomes NaN leaves the others as they are. Head h reads and writes index h
of axis 1 of every state array: "weights" (D, H, C), "bias" (1, H, C), "steps" (1, H, 1), and the optimizer's slots.

Why: a step reads the features once for all heads, as one matrix product (B, D) x (D, H * C).

The update rules are Keras's (keras.optimizers.SGD, Adam, RMSprop with their default constants, weight decay decoupled
as in Loshchilov & Hutter 2019), tested against them. The gradient needs no automatic differentiation: of the
cross-entropy of a softmax with respect to the logits it is probabilities - one_hot(label).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl import device
from galaxytl.backbones import head_initializer
from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.data.prefetch import ahead
from galaxytl.fit import Examples
from galaxytl.trial import TrialSpec

State = dict[str, Any]

CHUNK_BYTES = 2**26  # of features handed to one compiled call: as many steps as fit, without Python between them
BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7  # Keras's defaults of Adam and RMSprop
XLA_FROM_HEADS = 4  # on CPU; with fewer the plain graph was faster: 1.4 ms a step against 3.5 for one head of 16,384

traces: Counter[str] = Counter()
"""How often each compiled function was traced by this process: tests count on it."""


@dataclass(frozen=True)
class Chunk:
    """Some batches of B examples. The last may be ragged: rows without an example are zero, with label -1."""

    features: NDArray[Any]
    """(S, B, D), of which the first `num_steps` along S are used."""
    labels: NDArray[np.int32]
    """(S, B)"""
    sizes: NDArray[np.float32]
    """(S,): examples in each batch."""
    num_steps: int


def initial_state(spec: TrialSpec, num_features: int) -> State:
    """One head's state before its first step, H = 1: Glorot-uniform weights that follow the spec's seed, zero bias."""
    weights = np.asarray(head_initializer(spec)((num_features, NUM_CLASSES), dtype="float32"))[:, None, :]
    state = {"weights": weights, "bias": np.zeros((1, 1, NUM_CLASSES), np.float32)}
    slots = {f"{slot}_{name}": np.zeros_like(value) for slot in SLOTS[spec.optimizer] for name, value in state.items()}
    return {**state, **slots, "steps": np.zeros((1, 1, 1), np.float32)}


def join(states: Sequence[State]) -> State:
    """Several states as one; they must be of the same optimizer and at the same step."""
    return {name: np.concatenate([np.asarray(state[name]) for state in states], axis=1) for name in states[0]}


def on_host(state: State) -> dict[str, NDArray[np.float32]]:
    """As numpy arrays; waits for the steps that are under way."""
    return {name: np.asarray(value) for name, value in state.items()}


def take(state: Mapping[str, NDArray[np.float32]], head: int) -> dict[str, NDArray[np.float32]]:
    """The state of one head, of a state on the host."""
    return {name: value[:, head : head + 1] for name, value in state.items()}


def settings(specs: Sequence[TrialSpec]) -> dict[str, NDArray[np.float32]]:
    """What differs between the heads, (1, H, 1) each."""
    names = ("learning_rate", "momentum", "weight_decay")
    return {n: np.array([getattr(spec, n) for spec in specs], np.float32).reshape(1, -1, 1) for n in names}


def chunks(examples: Examples, rows: NDArray[np.int64], batch_size: int) -> Iterator[Chunk]:
    """All `rows` in order, in batches of `batch_size`; the next chunk is read while one is being computed."""
    width = int(np.prod(examples.inputs.shape[1:]))
    fit = CHUNK_BYTES // (batch_size * width * examples.inputs.dtype.itemsize)
    most = max(1, min(fit, -(-len(rows) // batch_size)))

    def make() -> Iterator[Chunk]:
        for start in range(0, len(rows), most * batch_size):
            yield _chunk(examples, rows[start : start + most * batch_size], (most, batch_size, width))

    return ahead(make())


def _chunk(examples: Examples, rows: NDArray[np.int64], shape: tuple[int, int, int]) -> Chunk:
    steps, batch_size, width = shape
    features = np.asarray(examples.inputs[rows]).reshape(len(rows), width)
    labels = np.full((steps, batch_size), -1, np.int32)
    labels.flat[: len(rows)] = examples.labels[rows]
    if len(rows) < labels.size:
        padded = np.zeros((labels.size, width), features.dtype)
        padded[: len(rows)] = features
        features = padded
    sizes = (labels >= 0).sum(axis=1).astype(np.float32)
    return Chunk(features.reshape(shape), labels, sizes, int(np.count_nonzero(sizes)))


def train_steps(
    optimizer: str, scalars: Mapping[str, NDArray[np.float32]], state: State, chunk: Chunk
) -> tuple[State, dict[str, Any]]:
    """One optimizer step a batch, for every head. Returns the new state and, over the examples of the chunk and before
    each step, the "loss" and "correct" sums (H,) as Keras's training logs have them."""
    compiled = _compiled(optimizer, device.on_gpu() or scalars["learning_rate"].size >= XLA_FROM_HEADS)
    return compiled(chunk.features, chunk.labels, chunk.sizes, np.int32(chunk.num_steps), scalars, state)


@functools.cache
def _compiled(optimizer: str, xla: bool) -> Any:
    def run(features: Any, labels: Any, sizes: Any, num_steps: Any, scalars: Any, state: State) -> Any:
        traces[f"train_steps {optimizer}"] += 1

        def body(step: Any, carried: Any) -> Any:
            old, totals = carried
            gradients, sums = _gradients(old, features[step], labels[step], sizes[step])
            new = UPDATES[optimizer](_decayed(old, scalars), gradients, scalars)
            return {**new, "steps": old["steps"] + 1}, {name: totals[name] + sums[name] for name in totals}

        zero = ops.zeros((state["bias"].shape[1],), "float32")
        return ops.fori_loop(0, num_steps, body, (state, {"loss": zero, "correct": zero}))

    return device.compiled(run, xla=xla)


def _logits(state: State, features: Any) -> Any:
    """(B, D) to (B, H, C)."""
    num_features, num_heads, num_classes = state["weights"].shape
    flat = ops.reshape(state["weights"], (num_features, num_heads * num_classes))
    product = ops.matmul(ops.cast(features, "float32"), flat)
    return ops.reshape(product, (-1, num_heads, num_classes)) + state["bias"]


def _sums(logits: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
    """Log-probabilities (B, H, C), and each head's sums of cross-entropies and of right answers (H,)."""
    log_probabilities = ops.log_softmax(logits)
    wanted = ops.expand_dims(ops.one_hot(labels, NUM_CLASSES), 1)  # all zeros where the label is -1
    right = ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(ops.expand_dims(labels, 1), "int32")), "float32")
    chosen = ops.where(wanted > 0, log_probabilities, 0.0)  # not a product: 0 * -inf would be NaN
    return log_probabilities, {"loss": -ops.sum(chosen, axis=(0, 2)), "correct": ops.sum(right, axis=0)}


def _gradients(state: State, features: Any, labels: Any, size: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    log_probabilities, sums = _sums(_logits(state, features), labels)
    is_example = ops.cast(ops.expand_dims(labels >= 0, (1, 2)), "float32")
    wanted = ops.expand_dims(ops.one_hot(labels, NUM_CLASSES), 1)
    error = (ops.exp(log_probabilities) * is_example - wanted) / size  # (B, H, C)
    flat = ops.reshape(error, (labels.shape[0], -1))
    weights = ops.matmul(ops.transpose(ops.cast(features, "float32")), flat)
    bias = ops.sum(error, axis=0, keepdims=True)
    return {"weights": ops.reshape(weights, state["weights"].shape), "bias": bias}, sums


def _decayed(state: State, scalars: Any) -> State:
    factor = scalars["weight_decay"] * scalars["learning_rate"]
    return {**state, **{name: state[name] - state[name] * factor for name in ("weights", "bias")}}


def _sgd(state: State, gradients: dict[str, Any], scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        velocity = f"velocity_{name}"
        new[velocity] = state[velocity] * scalars["momentum"] - gradient * scalars["learning_rate"]
        new[name] = state[name] + new[velocity]
    return new


def _rmsprop(state: State, gradients: dict[str, Any], scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        square, velocity = f"square_{name}", f"velocity_{name}"
        new[square] = RHO * state[square] + (1 - RHO) * ops.square(gradient)
        increment = scalars["learning_rate"] * gradient / ops.sqrt(new[square] + EPSILON)
        new[velocity] = scalars["momentum"] * state[velocity] + increment
        new[name] = state[name] - new[velocity]
    return new


def _adam(state: State, gradients: dict[str, Any], scalars: Any) -> State:
    new = dict(state)
    step = state["steps"] + 1
    rate = scalars["learning_rate"] * ops.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    for name, gradient in gradients.items():
        mean, square = f"mean_{name}", f"square_{name}"
        new[mean] = state[mean] + (gradient - state[mean]) * (1 - BETA_1)
        new[square] = state[square] + (ops.square(gradient) - state[square]) * (1 - BETA_2)
        new[name] = state[name] - new[mean] * rate / (ops.sqrt(new[square]) + EPSILON)
    return new


SLOTS = {"sgd": ("velocity",), "rmsprop": ("square", "velocity"), "adam": ("mean", "square")}
UPDATES = {"sgd": _sgd, "rmsprop": _rmsprop, "adam": _adam}


def score(state: State, chunk: Chunk) -> dict[str, Any]:
    """The heads' "loss" and "correct" sums (H,) over the examples of a chunk."""
    return _compiled_score()(chunk.features, chunk.labels, np.int32(chunk.num_steps), state)


@functools.cache
def _compiled_score() -> Any:
    def run(features: Any, labels: Any, num_steps: Any, state: State) -> Any:
        traces["score"] += 1

        def body(step: Any, totals: Any) -> Any:
            sums = _sums(_logits(state, features[step]), labels[step])[1]
            return {name: totals[name] + sums[name] for name in totals}

        zero = ops.zeros((state["bias"].shape[1],), "float32")
        return ops.fori_loop(0, num_steps, body, {"loss": zero, "correct": zero})

    return device.compiled(run, xla=device.on_gpu())


def logits(
    states: Sequence[State], examples: Examples, rows: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32]:
    """Logits (H, len(rows), C) of heads with these states; of the same optimizer, at whatever step."""
    if not states:
        return np.empty((0, len(rows), NUM_CLASSES), np.float32)
    state = {name: array for name, array in join(states).items() if name in ("weights", "bias")}
    parts = []
    for chunk in chunks(examples, rows, batch_size):
        for features, size in zip(chunk.features[: chunk.num_steps], chunk.sizes, strict=False):
            parts.append(np.asarray(_compiled_logits()(features, state))[: int(size)])
    return np.concatenate(parts).transpose(1, 0, 2)


@functools.cache
def _compiled_logits() -> Any:
    def run(features: Any, state: State) -> Any:
        traces["logits"] += 1
        return _logits(state, features)

    return device.compiled(run, xla=False)
