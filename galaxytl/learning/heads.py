"""The fused step: H heads, each with its own learning rate, momentum, weight decay and dropout, in one pass.

    state = join([initial_state(spec, num_features) for spec in specs])
    for chunk in chunks(examples, rows, batch_size):
        state, totals = train_steps(spec.optimizer, settings(specs, labels), state, chunk)

Equal to training each head alone: the loss is summed over heads, never averaged, and nothing is shared between them
(no norm, no loss scale), so a head that becomes NaN leaves the others as they are. Head h reads and writes index h
of axis 1 of every state array: "weights" (D, H, C), "bias" (1, H, C), "steps" (1, H, 1), and the optimizer's slots.
Heads with U hidden units have "hidden_weights" (D, H, U) and "hidden_bias" (1, H, U) too, and (U, H, C) "weights".
Where a head keeps moving averages (`galaxytl.networks.recipe.averages`) there are "ema_weights" and such.

Why: a step reads the features once for all heads, as one matrix product, (B, D) x (D, H * C) or (B, D) x (D, H * U).

The update rules are Keras's, tested against them (`galaxytl.trial.optimizers`). The gradient needs no automatic
differentiation: of the cross-entropy of a softmax with respect to the logits it is probabilities - one_hot(label), or,
where the targets are votes, probabilities - votes; those of other training losses stand in
`galaxytl.networks.recipe.losses`. Such a loss is of training alone: `score` and `probe` are of the cross-entropy.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.learning import head_dropout
from galaxytl.learning.examples import Examples, class_weights
from galaxytl.networks import device
from galaxytl.networks.backbones import HIDDEN, OUTPUT, head_initializer, head_layers
from galaxytl.networks.recipe import averages, losses
from galaxytl.system.prefetch import ahead
from galaxytl.trial import TrialSpec
from galaxytl.trial.optimizers import CLIPPING, OPTIMIZERS, State, clipped

CHUNK_BYTES = (
    2**26
)  # of features and votes handed to one compiled call: as many steps as fit, without Python between them
WATCHED_BATCH = 256  # rows that are scored at once: no result depends on it
TRAINED = ("hidden_weights", "hidden_bias", "weights", "bias")  # of a state; the first two where units are hidden
XLA_FROM_HEADS = 4  # on CPU; with fewer the plain graph was faster: 1.4 ms a step against 3.5 for one head of 16,384

NO_RATES: Final = np.empty((0, 0), np.float32)
"""Of steps that have those of the settings."""

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
    votes: NDArray[np.float32] | None = None
    """(S, B, C) where they are the targets: zeros where there is no example."""


def initial_state(spec: TrialSpec, num_features: int) -> State:
    """Return one head's state before its first step, H = 1: Glorot-uniform weights of the spec's seed, no bias."""
    *hidden, output = head_layers(spec, num_features)
    state = _initial_layer(spec, OUTPUT, output, "")
    for shape in hidden:
        state |= _initial_layer(spec, HIDDEN, shape, "hidden_")
    optimizer = OPTIMIZERS[spec.optimizer]
    slots = {(slot, name): optimizer.slot_shape(slot, v.shape) for slot in optimizer.slots for name, v in state.items()}
    zeros = {f"{slot}_{name}": np.zeros(shape, np.float32) for (slot, name), shape in slots.items()}
    if spec.ema_momentum:
        zeros |= {averages.EMA + name: np.zeros_like(value) for name, value in state.items()}
    numbers = {name: np.full((1, 1, 1), start, np.float32) for name, start in optimizer.numbers.items()}
    return {**state, **zeros, **numbers, "steps": np.zeros((1, 1, 1), np.float32)}


def _initial_layer(spec: TrialSpec, layer: str, shape: tuple[int, int], prefix: str) -> State:
    weights = np.asarray(head_initializer(spec, layer)(shape, dtype="float32"))[:, None, :]
    return {f"{prefix}weights": weights, f"{prefix}bias": np.zeros((1, 1, shape[1]), np.float32)}


def join(states: Sequence[State]) -> State:
    """Join several states to one; they must be of the same optimizer and at the same step. Where one has moving
    averages, the weights of the others stand for theirs."""
    names = dict.fromkeys(name for state in states for name in state)
    own = {name: [state.get(name, state.get(name.removeprefix(averages.EMA))) for state in states] for name in names}
    return {name: np.concatenate([np.asarray(value) for value in values], axis=1) for name, values in own.items()}


def on_host(state: State) -> dict[str, NDArray[np.float32]]:
    """Return it as numpy arrays; wait for the steps that are under way."""
    return {name: np.asarray(value) for name, value in state.items()}


def take(state: Mapping[str, NDArray[np.float32]], head: int) -> dict[str, NDArray[np.float32]]:
    """Take the state of one head out of a state on the host."""
    return {name: value[:, head : head + 1] for name, value in state.items()}


def weights(state: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Return kernels and biases of a state of one head, in the order of `galaxytl.networks.backbones.build_head`."""
    return [state[name][0, 0] if "bias" in name else state[name][:, 0] for name in TRAINED if name in state]


def settings(specs: Sequence[TrialSpec], labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return what differs between heads, (1, H, 1) each, and "class_weights" (1, H, C), of all labels to train on.

    What no head has (Nesterov's momentum, clipping, another loss, moving averages) is left out, and then nothing is
    computed for it."""
    used = [name for name in ("nesterov", *CLIPPING, "ema_momentum") if any(getattr(spec, name) for spec in specs)]
    names = ("learning_rate", "momentum", "weight_decay", *used)
    scalars = {n: np.array([getattr(spec, n) for spec in specs], np.float32).reshape(1, -1, 1) for n in names}
    weights = np.stack([class_weights(spec, labels) for spec in specs])
    return {**scalars, **head_dropout.settings(specs), **losses.settings(specs), "class_weights": weights[None]}


def chunks(examples: Examples, rows: NDArray[np.int64], batch_size: int) -> Iterator[Chunk]:
    """Give all `rows` in order, in batches of `batch_size`; the next chunk is read while one is being computed."""
    width = int(np.prod(examples.inputs.shape[1:]))
    of_votes = 0 if examples.votes is None else 4 * examples.votes.shape[1]
    fit = CHUNK_BYTES // (batch_size * (width * examples.inputs.dtype.itemsize + of_votes))
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
    return Chunk(features.reshape(shape), labels, sizes, int(np.count_nonzero(sizes)), _votes(examples, rows, labels))


def _votes(examples: Examples, rows: NDArray[np.int64], labels: NDArray[np.int32]) -> NDArray[np.float32] | None:
    """Return those of a chunk with these labels (S, B)."""
    if examples.votes is None:
        return None
    votes = np.zeros((labels.size, examples.votes.shape[1]), np.float32)
    votes[: len(rows)] = examples.votes[rows]
    return votes.reshape(*labels.shape, -1)


def train_steps(
    optimizer: str,
    scalars: Mapping[str, NDArray[Any]],
    state: State,
    chunk: Chunk,
    rates: NDArray[np.float32] = NO_RATES,
) -> tuple[State, dict[str, Any]]:
    """Make one optimizer step a batch, for every head. Return the new state and, over the examples of the chunk and
    before each step, the "loss" and "correct" sums (H,) as Keras's training logs have them.

    rates: (S or more, H), the learning rates of the chunk's steps; empty where all are those of `scalars`."""
    xla = device.on_gpu() or scalars["learning_rate"].size >= XLA_FROM_HEADS
    compiled = _compiled(optimizer, head_dropout.is_used(scalars), xla)
    own = {**scalars, **_rates_of_steps(rates, len(chunk.sizes))}
    return compiled(chunk.features, _targets(chunk), chunk.sizes, np.int32(chunk.num_steps), own, state)


def _rates_of_steps(rates: NDArray[np.float32], most: int) -> dict[str, NDArray[np.float32]]:
    """Return as "rates" those of the first `most` steps, (most, 1, H, 1), with zeros for steps that there are not;
    nothing where there are none."""
    if not len(rates):
        return {}
    padded = np.zeros((most, 1, rates.shape[1], 1), np.float32)
    padded[: len(rates), 0, :, 0] = rates[:most]
    return {"rates": padded}


def _at_rate(scalars: Mapping[str, Any], step: Any) -> Mapping[str, Any]:
    """Return the settings of a step: with its own learning rates, where each step has."""
    return {**scalars, "learning_rate": scalars["rates"][step]} if "rates" in scalars else scalars


def _targets(chunk: Chunk) -> dict[str, NDArray[Any]]:
    """Return (S, B) "labels" and, where they are the targets, (S, B, C) "votes"."""
    return {"labels": chunk.labels} | ({} if chunk.votes is None else {"votes": chunk.votes})


@functools.cache
def _compiled(optimizer: str, drops: bool, xla: bool) -> Any:
    def run(features: Any, targets: Any, sizes: Any, num_steps: Any, scalars: Any, state: State) -> Any:
        traces[f"train_steps {optimizer}"] += 1

        def body(step: Any, carry: Any) -> Any:
            old, totals = carry
            shape = (targets["labels"].shape[1], old["hidden_weights"].shape[2]) if drops else ()
            factors = head_dropout.factors(scalars, old["steps"], *shape) if drops else 1.0
            batch = _Batch(features[step], _at(step, targets), sizes[step])
            gradients, sums = _gradients(old, batch, scalars, factors)
            gradients, now = clipped(ops, gradients, scalars), _at_rate(scalars, step)
            new = OPTIMIZERS[optimizer].rule(ops, _decayed(old, gradients, now), gradients, now)
            new = averages.follow(old, new, scalars["ema_momentum"]) if "ema_momentum" in scalars else new
            return {**new, "steps": old["steps"] + 1}, {name: totals[name] + sums[name] for name in totals}

        zero = ops.zeros((state["bias"].shape[1],), "float32")
        return ops.fori_loop(0, num_steps, body, (state, {"loss": zero, "correct": zero}))

    return device.compiled(run, xla=xla)


def _at(step: Any, targets: dict[str, Any]) -> dict[str, Any]:
    return {name: values[step] for name, values in targets.items()}


def _decayed(state: State, gradients: State, scalars: Any) -> State:
    """Decay the weights, decoupled from the gradients as in Loshchilov & Hutter (2019)."""
    factor = scalars["weight_decay"] * scalars["learning_rate"]
    return {**state, **{name: state[name] - state[name] * factor for name in gradients}}


@dataclass(frozen=True)
class _Batch:
    """On the device: features (B, D), "labels" (B,), -1 where there is no example, and "votes" (B, C) where they are
    the targets, and how many examples there are."""

    features: Any
    targets: dict[str, Any]
    size: Any


def _product(features: Any, weights: Any) -> Any:
    """Multiply (B, D) and (D, H, M), as one matrix product: (B, H, M)."""
    num_features, num_heads, width = weights.shape
    flat = ops.reshape(weights, (num_features, num_heads * width))
    return ops.reshape(ops.matmul(ops.cast(features, "float32"), flat), (-1, num_heads, width))


def _outer(features: Any, errors: Any) -> Any:
    """Multiply (B, D) and (B, H, M) to (D, H, M), summed over the examples: the gradient of `_product`'s weights."""
    _, num_heads, width = errors.shape
    flat = ops.reshape(errors, (-1, num_heads * width))
    product = ops.matmul(ops.transpose(ops.cast(features, "float32")), flat)
    return ops.reshape(product, (-1, num_heads, width))


def _hidden(state: State, features: Any) -> Any:
    """Return the hidden units (B, H, U), before dropout; None where there are none."""
    if "hidden_weights" not in state:
        return None
    return ops.relu(_product(features, state["hidden_weights"]) + state["hidden_bias"])


def _logits(state: State, features: Any, hidden: Any) -> Any:
    """Return (B, H, C), from the features (B, D) or, where there are any, the hidden units (B, H, U)."""
    if hidden is None:
        return _product(features, state["weights"]) + state["bias"]
    return ops.einsum("bhu,uhc->bhc", hidden, state["weights"]) + state["bias"]


def _cross_entropies(logits: Any, targets: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return log-probabilities (B, H, C), one-hot labels or votes (B, 1, C), and the heads' cross-entropies (B, H). The
    last two are zeros where the label is -1."""
    log_probabilities, votes = ops.log_softmax(logits), targets.get("votes")
    wanted = ops.expand_dims(ops.one_hot(targets["labels"], logits.shape[-1]) if votes is None else votes, 1)
    counted = log_probabilities if votes is None else log_probabilities * wanted
    chosen = ops.where(wanted > 0, counted, 0.0)  # not a product: 0 * -inf would be NaN
    return log_probabilities, wanted, -ops.sum(chosen, axis=2)


def _right(logits: Any, labels: Any) -> Any:
    """Count how many answers of each head are right: (H,)."""
    right = ops.equal(ops.argmax(logits, axis=-1), ops.cast(ops.expand_dims(labels, 1), "int32"))
    return ops.sum(ops.cast(right, "float32"), axis=0)


def _gradients(
    state: State, batch: _Batch, scalars: Mapping[str, Any], factors: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return those of the mean loss of the batch, for each trained array; and the sums of losses and of right answers,
    (H,).

    Of the scalars, "class_weights" (1, H, C) multiply the losses, and SETTINGS of `galaxytl.networks.recipe.losses` say
    which they are; `factors` (B, H, U) multiply the hidden units (dropout).
    """
    hidden = _hidden(state, batch.features)
    passed = None if hidden is None else hidden * factors
    logits = _logits(state, batch.features, passed)
    log_probabilities, wanted, loss = _cross_entropies(logits, batch.targets)
    counted = wanted * scalars["class_weights"]  # (B, H, C): what each example counts, at its class; votes count 1
    weights = ops.sum(counted, axis=2, keepdims=True)
    errors = (ops.exp(log_probabilities) * weights - counted) / batch.size  # (B, H, C)
    if "focal_gamma" in scalars:
        other, derivatives = losses.of_heads(log_probabilities, wanted, scalars)
        loss = losses.instead(scalars, other[:, :, None], loss[:, :, None])[:, :, 0]
        errors = losses.instead(scalars, derivatives * weights / batch.size, errors)
    sums = {"loss": ops.sum(loss * weights[:, :, 0], axis=0), "correct": _right(logits, batch.targets["labels"])}
    bias = ops.sum(errors, axis=0, keepdims=True)
    if hidden is None:
        return {"weights": _outer(batch.features, errors), "bias": bias}, sums
    found = {"weights": ops.einsum("bhu,bhc->uhc", passed, errors), "bias": bias}
    behind = ops.einsum("bhc,uhc->bhu", errors, state["weights"]) * factors * ops.cast(hidden > 0, "float32")
    found["hidden_weights"] = _outer(batch.features, behind)
    return {**found, "hidden_bias": ops.sum(behind, axis=0, keepdims=True)}, sums


def spread(logits: Any) -> Any:
    """Return the standard deviation over the images of logits (B, C), or (B, H, C), mean over the classes."""
    return ops.mean(ops.std(ops.cast(logits, "float32"), axis=0), axis=-1)


def probe(state: State, features: NDArray[Any], targets: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return, of one batch, features (B, D) and targets as in `_Batch`, the heads' "loss", "logit_spread", L2 norms
    of the loss's gradient "gradient_norm_output" and, where units are hidden, "gradient_norm_hidden" and the
    "dead_share_hidden" of units that are 0 for every example: (H,) each. Without dropout and class weights."""
    return _compiled_probe()(features, dict(targets), _trained(state))


@functools.cache
def _compiled_probe() -> Any:
    def run(features: Any, targets: Any, state: State) -> Any:
        traces["probe"] += 1
        batch = _Batch(features, targets, ops.cast(features.shape[0], "float32"))
        gradients, sums = _gradients(state, batch, {"class_weights": 1.0}, 1.0)
        hidden = _hidden(state, features)
        found = {"loss": sums["loss"] / batch.size, "logit_spread": spread(_logits(state, features, hidden))}
        found["gradient_norm_output"] = _norm(gradients["weights"], gradients["bias"])
        if hidden is not None:
            found["gradient_norm_hidden"] = _norm(gradients["hidden_weights"], gradients["hidden_bias"])
            found["dead_share_hidden"] = ops.mean(ops.cast(ops.max(hidden, axis=0) <= 0, "float32"), axis=1)
        return found

    return device.compiled(run, xla=False)


def _norm(*gradients: Any) -> Any:
    """Return (H,), of (..., H, ...) along axis 1."""
    return ops.sqrt(sum(ops.sum(ops.square(gradient), axis=(0, 2)) for gradient in gradients))


def score(state: State, chunk: Chunk) -> dict[str, Any]:
    """Return, over the examples of a chunk, the heads' "loss" and "correct" sums (H,), and how often each class is
    "predicted" (H, C). Without dropout and class weights."""
    return _compiled_score()(chunk.features, _targets(chunk), np.int32(chunk.num_steps), _trained(state))


def _trained(state: State) -> State:
    """Return the state without the optimizer's part."""
    return {name: state[name] for name in TRAINED if name in state}


@functools.cache
def _compiled_score() -> Any:
    def run(features: Any, targets: Any, num_steps: Any, state: State) -> Any:
        traces["score"] += 1

        def body(step: Any, totals: Any) -> Any:
            logits = _logits(state, features[step], _hidden(state, features[step]))
            own = _at(step, targets)
            sums = {
                "loss": ops.sum(_cross_entropies(logits, own)[2], axis=0),
                "correct": _right(logits, own["labels"]),
                "predicted": _predicted(logits, own["labels"]),
            }
            return {name: totals[name] + sums[name] for name in totals}

        num_heads = state["bias"].shape[1]
        zeros = {"loss": (num_heads,), "correct": (num_heads,), "predicted": state["bias"].shape[1:]}
        return ops.fori_loop(0, num_steps, body, {name: ops.zeros(shape, "float32") for name, shape in zeros.items()})

    return device.compiled(run, xla=device.on_gpu())


def _predicted(logits: Any, labels: Any) -> Any:
    """Count how many examples each head takes for each class: (H, C)."""
    predicted = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1])
    return ops.sum(ops.where(ops.expand_dims(labels >= 0, (1, 2)), predicted, 0.0), axis=0)


def logits(
    states: Sequence[State], examples: Examples, rows: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32]:
    """Return the logits (H, len(rows), C) of heads with these states; of the same optimizer, at whatever step."""
    if not states or not len(rows):
        return np.empty((len(states), len(rows), states[0]["bias"].shape[2] if states else 0), np.float32)
    state = _trained(join(states))
    parts = []
    for chunk in chunks(examples, rows, batch_size):
        for features, size in zip(chunk.features[: chunk.num_steps], chunk.sizes, strict=False):
            parts.append(np.asarray(_compiled_logits()(features, state))[: int(size)])
    return np.concatenate(parts).transpose(1, 0, 2)


@functools.cache
def _compiled_logits() -> Any:
    def run(features: Any, state: State) -> Any:
        traces["logits"] += 1
        return _logits(state, features, _hidden(state, features))

    return device.compiled(run, xla=False)
