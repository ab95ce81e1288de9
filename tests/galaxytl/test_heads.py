"""Heads that train together give what each gives alone, and what Keras itself gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl import heads
from galaxytl.backbones import build_head
from galaxytl.fit import Examples, epoch_order
from galaxytl.trial import TrialSpec

NUM_FEATURES, NUM_EXAMPLES, BATCH = 24, 44, 8  # five whole batches and a ragged one of four
NUM_EPOCHS = 34  # 204 steps
TOLERANCE = 1e-5

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, batch_size=BATCH, num_epochs=NUM_EPOCHS)
GROUPS = {
    "sgd": [
        BASE.replace(optimizer="sgd", learning_rate=0.1, momentum=0.9),
        BASE.replace(optimizer="sgd", learning_rate=0.01, seed=1),
        BASE.replace(optimizer="sgd", learning_rate=0.03, momentum=0.5, weight_decay=0.1, seed=2),
        BASE.replace(optimizer="sgd", learning_rate=1e-3, seed=3),
    ],
    "adam": [
        BASE.replace(learning_rate=1e-3),
        BASE.replace(learning_rate=1e-2, seed=1),
        BASE.replace(learning_rate=1e-4, weight_decay=0.2, seed=2),
        BASE.replace(learning_rate=3e-2, seed=3),
    ],
    "rmsprop": [
        BASE.replace(optimizer="rmsprop", learning_rate=1e-3),
        BASE.replace(optimizer="rmsprop", learning_rate=1e-2, momentum=0.5, seed=1),
        BASE.replace(optimizer="rmsprop", learning_rate=1e-4, momentum=0.9, weight_decay=0.2, seed=2),
        BASE.replace(optimizer="rmsprop", learning_rate=3e-3, weight_decay=0.01, seed=3),
    ],
}


def make_examples(dtype: str = "float32") -> Examples:
    rng = np.random.default_rng(0)
    rows = np.arange(NUM_EXAMPLES)
    inputs = rng.normal(size=(NUM_EXAMPLES, 2, 3, 4)).astype(dtype)
    return Examples(inputs, rows % 10, rows, rows[:9], rows[:9])


def fused(specs: Sequence[TrialSpec], num_epochs: int = NUM_EPOCHS, examples: Examples | None = None) -> heads.State:
    """The state of heads that trained together."""
    examples = examples or make_examples()
    state = heads.join([heads.initial_state(spec, NUM_FEATURES) for spec in specs])
    for number in range(1, num_epochs + 1):
        order = epoch_order(specs[0], number, examples.train)
        for chunk in heads.chunks(examples, order, BATCH):
            state, _ = heads.train_steps(specs[0].optimizer, heads.settings(specs), state, chunk)
    return {name: np.asarray(value) for name, value in state.items()}


def keras_optimizer(spec: TrialSpec) -> Any:
    rate, decay = spec.learning_rate, spec.weight_decay or None
    if spec.optimizer == "adam":
        return keras.optimizers.Adam(rate, weight_decay=decay)
    if spec.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=spec.momentum, weight_decay=decay)
    return keras.optimizers.RMSprop(rate, momentum=spec.momentum, weight_decay=decay)


def trained_by_keras(spec: TrialSpec) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias after Keras trained a Dense layer on the same batches."""
    examples = make_examples()
    model = keras.Sequential([keras.Input((NUM_FEATURES,)), keras.layers.Dense(10)])
    start = heads.initial_state(spec, NUM_FEATURES)
    model.set_weights([start["weights"][:, 0], start["bias"][0, 0]])
    model.compile(keras_optimizer(spec), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = examples.inputs.reshape(NUM_EXAMPLES, NUM_FEATURES)
    for number in range(1, NUM_EPOCHS + 1):
        order = epoch_order(spec, number, examples.train)
        for i in range(0, NUM_EXAMPLES, BATCH):
            rows = order[i : i + BATCH]
            model.train_on_batch(inputs[rows], examples.labels[rows])
    return tuple(np.asarray(variable.value) for variable in model.weights)


def distance(state: heads.State, head: int, kernel: np.ndarray, bias: np.ndarray) -> float:
    """The largest difference of a weight of one head."""
    return max(np.abs(state["weights"][:, head] - kernel).max(), np.abs(state["bias"][0, head] - bias).max())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", list(GROUPS))
def test_fused_heads_are_what_keras_trains_alone(optimizer: str) -> None:
    specs = GROUPS[optimizer]
    state = fused(specs)
    assert state["steps"].min() == state["steps"].max() == 204
    for number, spec in enumerate(specs):
        kernel, bias = trained_by_keras(spec)
        start = heads.initial_state(spec, NUM_FEATURES)["weights"][:, 0]
        assert np.abs(kernel - start).max() > 10 * TOLERANCE  # it has learned something
        assert distance(state, number, kernel, bias) < TOLERANCE


@pytest.mark.parametrize("optimizer", list(GROUPS))
def test_fused_heads_are_what_this_code_trains_alone(optimizer: str) -> None:
    specs = GROUPS[optimizer]
    state = fused(specs)
    for number, spec in enumerate(specs):
        alone = fused([spec])
        for name, value in heads.take(state, number).items():
            assert value == pytest.approx(alone[name], abs=TOLERANCE), name


@pytest.fixture
def changed_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[dict], dict]], None]]:
    """Changes what a step does with its gradients; the functions that were compiled with it are forgotten."""
    right = heads._gradients

    def change(wrong: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        def gradients(*arguments: Any) -> Any:
            found, sums = right(*arguments)
            return wrong(found), sums

        monkeypatch.setattr(heads, "_gradients", gradients)
        heads._compiled.cache_clear()

    yield change
    heads._compiled.cache_clear()


def averaged_over_heads(gradients: dict[str, Any]) -> dict[str, Any]:
    return {name: gradient / gradient.shape[1] for name, gradient in gradients.items()}


def clipped_together(gradients: dict[str, Any]) -> dict[str, Any]:
    norm = keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(gradient)) for gradient in gradients.values()))
    return {name: gradient / keras.ops.maximum(norm, 1.0) for name, gradient in gradients.items()}


@pytest.mark.parametrize("wrong", [averaged_over_heads, clipped_together])
def test_a_loss_that_heads_share_would_be_noticed(wrong: Callable[[dict], dict], changed_step: Any) -> None:
    """With sgd: Adam and RMSprop divide by the gradient's size, and hardly see a factor."""
    specs = GROUPS["sgd"]
    right = fused(specs)
    changed_step(wrong)
    assert np.abs(fused(specs)["weights"] - right["weights"]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_a_head_that_becomes_nan_leaves_the_others_as_they_are(optimizer: str) -> None:
    specs = GROUPS[optimizer]
    tame = fused(specs, num_epochs=5)
    wild = fused([specs[0], specs[1].replace(learning_rate=1e38), *specs[2:]], num_epochs=5)
    assert np.isnan(wild["weights"][:, 1]).any()
    for number in (0, 2, 3):
        for name, value in heads.take(wild, number).items():
            assert np.array_equal(value, heads.take(tame, number)[name]), name


@pytest.mark.parametrize("steps_in_a_chunk", [0.5, 1, 2, 4])
def test_chunks_change_no_result(steps_in_a_chunk: float, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = GROUPS["adam"]
    whole = fused(specs, num_epochs=3)
    monkeypatch.setattr(heads, "CHUNK_BYTES", int(steps_in_a_chunk * BATCH * NUM_FEATURES * 4))
    most = max(1, int(steps_in_a_chunk))
    chunks = list(heads.chunks(make_examples(), np.arange(NUM_EXAMPLES), BATCH))
    assert {chunk.features.shape for chunk in chunks} == {(most, BATCH, NUM_FEATURES)}
    assert sum(chunk.num_steps for chunk in chunks) == 6
    assert sum(chunk.sizes.sum() for chunk in chunks) == NUM_EXAMPLES
    for name, value in fused(specs, num_epochs=3).items():
        assert value == pytest.approx(whole[name], abs=1e-7), name


def test_scores_are_those_of_the_logits() -> None:
    specs, examples, rows = GROUPS["sgd"], make_examples(), np.arange(3, 14)
    state = fused(specs, num_epochs=3)
    alone = [heads.take(state, number) for number in range(len(specs))]
    logits = heads.logits(alone, examples, rows, BATCH)
    inputs = examples.inputs.reshape(NUM_EXAMPLES, -1)[rows].astype(np.float64)
    wanted = np.einsum("nd,dhc->hnc", inputs, state["weights"]) + state["bias"].transpose(1, 0, 2)
    assert logits == pytest.approx(wanted, abs=1e-5)
    sums = [heads.score(state, chunk) for chunk in heads.chunks(examples, rows, BATCH)]
    labels = examples.labels[rows]
    right = wanted[:, np.arange(len(rows)), labels]
    assert sum(np.asarray(s["loss"]) for s in sums) == pytest.approx(
        (np.log(np.exp(wanted).sum(-1)) - right).sum(-1), rel=1e-5
    )
    assert np.array_equal(sum(np.asarray(s["correct"]) for s in sums), (wanted.argmax(-1) == labels).sum(-1))


def test_no_heads_have_no_logits() -> None:
    assert heads.logits([], make_examples(), np.arange(5), BATCH).shape == (0, 5, 10)


def test_a_head_starts_as_the_networks_head_does() -> None:
    """A trial with unfrozen_blocks=0 and one with 1 start from the same head."""
    for seed in (0, 7):
        spec = BASE.replace(seed=seed)
        kernel, bias = build_head(spec, (2, 3, 4)).weights
        state = heads.initial_state(spec, NUM_FEATURES)
        assert np.array_equal(state["weights"][:, 0], np.asarray(kernel.value))
        assert np.array_equal(state["bias"][0, 0], np.asarray(bias.value))
    assert not np.array_equal(state["weights"], heads.initial_state(BASE, NUM_FEATURES)["weights"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_are_computed_with_in_float32(dtype: str) -> None:
    halves = make_examples(dtype)
    exact = Examples(halves.inputs.astype(np.float32), halves.labels, halves.train, halves.watched, halves.test)
    specs = GROUPS["adam"]
    from_halves, from_exact = fused(specs, 5, halves), fused(specs, 5, exact)
    assert from_halves["weights"] == pytest.approx(from_exact["weights"], abs=1e-6)


def test_epochs_and_chunks_of_one_shape_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_BYTES", 4 * BATCH * NUM_FEATURES * 4)
    specs = [spec.replace(seed=9) for spec in GROUPS["rmsprop"][:3]]  # three heads: a shape that no other test has
    before = heads.traces["train_steps rmsprop"]
    fused(specs, num_epochs=1)
    assert heads.traces["train_steps rmsprop"] == before + 1
    fused([spec.replace(learning_rate=0.5, momentum=0.1) for spec in specs], num_epochs=3)
    assert heads.traces["train_steps rmsprop"] == before + 1
    fused(specs[:2], num_epochs=1)  # two heads are another shape
    assert heads.traces["train_steps rmsprop"] == before + 2
