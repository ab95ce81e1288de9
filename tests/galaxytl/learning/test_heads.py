"""Heads that train together give what each gives alone, and what Keras itself gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from galaxytl.learning import head_dropout, heads
from galaxytl.learning.examples import Examples, class_weights, epoch_order
from galaxytl.networks import device
from galaxytl.networks.backbones import build_head
from galaxytl.trial import TrialSpec, seed_for
from galaxytl.trial.optimizers import CLIPPING, OPTIMIZERS

NUM_FEATURES, NUM_EXAMPLES, BATCH = 24, 44, 8  # five whole batches and a ragged one of four
NUM_EPOCHS = 12  # 72 steps
TOLERANCE = 1e-5

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, batch_size=BATCH, num_epochs=NUM_EPOCHS)
GROUPS = {
    "sgd": [
        BASE.replace(optimizer="sgd", learning_rate=0.1, momentum=0.9),
        BASE.replace(optimizer="sgd", learning_rate=0.03, momentum=0.5, weight_decay=0.1, seed=2),
        BASE.replace(optimizer="sgd", learning_rate=0.01, seed=1),
    ],
    "adam": [
        BASE.replace(learning_rate=1e-2),
        BASE.replace(learning_rate=1e-3, weight_decay=0.2, seed=2),
        BASE.replace(learning_rate=3e-2, seed=3),
    ],
    "rmsprop": [
        BASE.replace(optimizer="rmsprop", learning_rate=1e-2, momentum=0.5, seed=1),
        BASE.replace(optimizer="rmsprop", learning_rate=1e-3, momentum=0.9, weight_decay=0.2, seed=2),
        BASE.replace(optimizer="rmsprop", learning_rate=3e-3, seed=3),
    ],
    "adamw": [
        BASE.replace(optimizer="adamw", learning_rate=1e-2, weight_decay=0.01),
        BASE.replace(optimizer="adamw", learning_rate=1e-3, weight_decay=0.2, seed=2, focal_gamma=2.0),
        BASE.replace(optimizer="adamw", learning_rate=3e-3, weight_decay=0.1, seed=3),
    ],
    "nadam": [
        BASE.replace(optimizer="nadam", learning_rate=1e-2, clipvalue=0.01),
        BASE.replace(optimizer="nadam", learning_rate=1e-3, weight_decay=0.2, seed=2, label_smoothing=0.2),
        BASE.replace(optimizer="nadam", learning_rate=3e-3, seed=3, focal_gamma=0.5),
    ],
    "lion": [
        BASE.replace(optimizer="lion", learning_rate=1e-3),
        BASE.replace(optimizer="lion", learning_rate=1e-4, weight_decay=0.2, seed=2),
        BASE.replace(optimizer="lion", learning_rate=3e-4, seed=3, global_clipnorm=0.1),
    ],
    "adafactor": [
        BASE.replace(optimizer="adafactor", learning_rate=1e-2),
        BASE.replace(optimizer="adafactor", learning_rate=1e-1, weight_decay=0.2, seed=2, clipnorm=0.05),
        BASE.replace(optimizer="adafactor", learning_rate=3e-2, seed=3),
    ],
}
SETTINGS = {  # of heads that share a pass: Keras has each alone
    "plain": {},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "clipnorm": {"clipnorm": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.1, "momentum": 0.5},
    "clipvalue": {"clipvalue": 0.01},
    "smoothing": {"label_smoothing": 0.3},
    "focal": {"focal_gamma": 2.0},
    "both": {"focal_gamma": 0.5, "label_smoothing": 0.1, "global_clipnorm": 0.2, "momentum": 0.9, "nesterov": True},
}
NUM_UNITS = 6
HIDDEN_GROUPS = {  # slower: where units switch on and off, rounding errors grow
    optimizer: [spec.replace(head_units=NUM_UNITS, learning_rate=spec.learning_rate / 3) for spec in specs]
    for optimizer, specs in GROUPS.items()
}
RATES = (0.5, 0.2, 0.0)
DROPOUT_GROUPS = {
    optimizer: [spec.replace(head_dropout=rate) for spec, rate in zip(specs, RATES, strict=True)]
    for optimizer, specs in HIDDEN_GROUPS.items()
}
LAYERS = ("hidden_weights", "hidden_bias", "weights", "bias")  # in Keras's order


def make_examples(dtype: str = "float32") -> Examples:
    """Of class 9 there are 15, of the others 3 or 4."""
    rng = np.random.default_rng(0)
    rows = np.arange(NUM_EXAMPLES)
    inputs = rng.normal(size=(NUM_EXAMPLES, 2, 3, 4)).astype(dtype)
    return Examples(inputs, np.minimum(rows % 14, 9), rows, rows[:9], rows[:9])


def with_votes(examples: Examples) -> Examples:
    """The same, led by their labels: of each image eight classes have some of the votes, and two none."""
    votes = np.random.default_rng(1).dirichlet(np.ones(10), len(examples.labels))
    votes[np.arange(len(votes)), examples.labels] += 1
    votes[:, 3:5] *= examples.labels[:, None] == [3, 4]
    return replace(examples, votes=(votes / votes.sum(axis=1, keepdims=True)).astype(np.float32))


def settings(specs: Sequence[TrialSpec]) -> dict[str, np.ndarray]:
    return heads.settings(specs, make_examples().labels)


def fused(specs: Sequence[TrialSpec], num_epochs: int = NUM_EPOCHS, examples: Examples | None = None) -> heads.State:
    """The state of heads that trained together."""
    examples = examples or make_examples()
    state = heads.join([heads.initial_state(spec, NUM_FEATURES) for spec in specs])
    for number in range(1, num_epochs + 1):
        order = epoch_order(specs[0], number, examples.train)
        for chunk in heads.chunks(examples, order, specs[0].batch_size):
            state, _ = heads.train_steps(specs[0].optimizer, settings(specs), state, chunk)
    return {name: np.asarray(value) for name, value in state.items()}


def keras_optimizer(spec: TrialSpec) -> Any:
    kinds = keras.optimizers
    kind = {"adam": kinds.Adam, "adamw": kinds.AdamW, "nadam": kinds.Nadam, "lion": kinds.Lion, "sgd": kinds.SGD}
    kind |= {"rmsprop": kinds.RMSprop, "adafactor": kinds.Adafactor}
    momentum = {"momentum": spec.momentum} if spec.optimizer in ("sgd", "rmsprop") else {}
    momentum |= {"nesterov": spec.nesterov} if spec.optimizer == "sgd" else {}
    clips = {name: getattr(spec, name) or None for name in ("clipnorm", "global_clipnorm", "clipvalue")}
    return kind[spec.optimizer](spec.learning_rate, weight_decay=spec.weight_decay or None, **momentum, **clips)


def keras_loss(spec: TrialSpec) -> Any:
    """Of one-hot labels, or votes."""
    gamma, smoothing = spec.focal_gamma, spec.label_smoothing
    if not gamma:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    return keras.losses.CategoricalFocalCrossentropy(1.0, gamma, from_logits=True, label_smoothing=smoothing)


def layers_of(state: heads.State, head: int) -> list[np.ndarray]:
    """Kernels and biases of one head, as Keras has them."""
    return [state[n][:, head] if n.endswith("weights") else state[n][0, head] for n in LAYERS if n in state]


def trained_by_keras(
    spec: TrialSpec, num_epochs: int = NUM_EPOCHS, examples: Examples | None = None
) -> list[np.ndarray]:
    """Kernels and biases after Keras trained the same layers on the same batches, with class weights of its own."""
    examples = examples or make_examples()
    hidden = [keras.layers.Dense(spec.head_units, "relu")] if spec.head_units else []
    model = keras.Sequential([keras.Input((NUM_FEATURES,)), *hidden, keras.layers.Dense(10)])
    model.set_weights(layers_of(heads.initial_state(spec, NUM_FEATURES), 0))
    targets = np.eye(10, dtype=np.float32)[examples.labels] if examples.votes is None else examples.votes
    model.compile(keras_optimizer(spec), keras_loss(spec), jit_compile=device.use_xla())
    weights = compute_class_weight("balanced", classes=np.arange(10), y=examples.labels)
    weighting = dict(enumerate(weights.tolist())) if spec.class_weighting == "balanced" else None
    inputs = examples.inputs.reshape(NUM_EXAMPLES, NUM_FEATURES)
    for number in range(1, num_epochs + 1):
        order = epoch_order(spec, number, examples.train)
        for i in range(0, NUM_EXAMPLES, BATCH):
            rows = order[i : i + BATCH]
            model.train_on_batch(inputs[rows], targets[rows], class_weight=weighting)
    return [np.asarray(variable.value) for variable in model.weights]


def distance(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest difference of a weight."""
    return float(max(np.abs(mine - its).max() for mine, its in zip(found, wanted, strict=True)))


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ("linear", "sgd"),
        ("hidden", "adam"),
        ("linear", "rmsprop"),
        *(
            pytest.param(*case, marks=pytest.mark.rest)
            for case in zip(("hidden", "linear", "hidden"), ("sgd", "adam", "rmsprop"), strict=True)
        ),
    ],
)
def test_fused_heads_are_what_keras_trains(kind: str, optimizer: str) -> None:
    """With class weights too, beside heads without, which they do not touch. Keras compiles a network here: the update
    rules are Keras's, so nothing else is their truth."""
    first, plain, last = (HIDDEN_GROUPS if kind == "hidden" else GROUPS)[optimizer]
    balanced = plain.replace(class_weighting="balanced")
    wanted, otherwise = (balanced, plain) if optimizer != "sgd" else (plain, balanced)
    state, other = fused([first, wanted, last]), fused([first, otherwise, last])
    assert state["steps"].min() == state["steps"].max() == 72
    by_keras = trained_by_keras(wanted)
    start = layers_of(heads.initial_state(wanted, NUM_FEATURES), 0)
    assert all(np.abs(its - mine).max() > 10 * TOLERANCE for its, mine in zip(by_keras, start, strict=True))
    assert distance(layers_of(state, 1), by_keras) < TOLERANCE
    assert distance(layers_of(other, 1), by_keras) > 100 * TOLERANCE
    for number in (0, 2):
        assert distance(layers_of(other, number), layers_of(state, number)) < TOLERANCE


@pytest.mark.parametrize(
    ("kind", "optimizer"), [("linear", "adam"), pytest.param("hidden", "sgd", marks=pytest.mark.rest)]
)
def test_towards_votes_too_fused_heads_are_what_keras_trains_in_200_steps(kind: str, optimizer: str) -> None:
    """One-hot votes are labels."""
    specs, examples = (HIDDEN_GROUPS if kind == "hidden" else GROUPS)[optimizer], make_examples()
    state = fused(specs, 34, with_votes(examples))
    assert state["steps"].min() == 204
    assert distance(layers_of(state, 1), trained_by_keras(specs[1], 34, with_votes(examples))) < TOLERANCE
    as_votes = replace(examples, votes=np.eye(10, dtype=np.float32)[examples.labels])
    of_labels, of_votes = fused(specs, 2, examples), fused(specs, 2, as_votes)
    assert of_votes["weights"] == pytest.approx(of_labels["weights"], abs=TOLERANCE)
    assert np.abs(fused(specs, 2, with_votes(examples))["weights"] - of_labels["weights"]).max() > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ("linear", "nadam"),
        ("hidden", "adafactor"),
        *(pytest.param(*case, marks=pytest.mark.rest) for case in (("hidden", "adamw"), ("linear", "lion"))),
    ],
)
def test_fused_heads_of_any_optimizer_are_what_keras_trains_in_200_steps(kind: str, optimizer: str) -> None:
    """Each beside others with settings, clipping and losses of their own."""
    specs = (HIDDEN_GROUPS if kind == "hidden" else GROUPS)[optimizer]
    state = fused(specs, 34)
    assert state["steps"].min() == 204
    assert distance(layers_of(state, 1), trained_by_keras(specs[1], 34)) < TOLERANCE
    assert distance(layers_of(state, 1), layers_of(heads.initial_state(specs[1], NUM_FEATURES), 0)) > 100 * TOLERANCE


def with_settings(**shared: Any) -> list[TrialSpec]:
    """One head of each of SETTINGS, from the same start."""
    sgd = BASE.replace(optimizer="sgd", learning_rate=0.03, **shared)
    return [sgd.replace(**own) for own in SETTINGS.values()]


@functools.cache
def state_with_settings() -> heads.State:
    return fused(with_settings(class_weighting="balanced"), 34)


@pytest.mark.parametrize(
    "name",
    [
        *("nesterov", "global_clipnorm", "both"),
        *(pytest.param(name, marks=pytest.mark.rest) for name in ("clipnorm", "clipvalue", "smoothing", "focal")),
    ],
)
def test_heads_that_differ_in_clipping_and_loss_share_a_pass(name: str) -> None:
    """With balanced weights, for 204 steps: each is what Keras trains, and without its setting would be another."""
    number = list(SETTINGS).index(name)
    by_keras = trained_by_keras(with_settings(class_weighting="balanced")[number], 34)
    assert distance(layers_of(state_with_settings(), number), by_keras) < TOLERANCE
    assert distance(layers_of(state_with_settings(), 0), by_keras) > 100 * TOLERANCE


def test_votes_are_smoothed_and_focussed_on_as_keras_does_it() -> None:
    specs, examples = with_settings(), with_votes(make_examples())
    number = list(SETTINGS).index("both")
    state = fused(specs, 34, examples)
    assert distance(layers_of(state, number), trained_by_keras(specs[number], 34, examples)) < TOLERANCE


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_plain_head_has_its_own_bits_beside_clipped_ones_and_other_losses(optimizer: str) -> None:
    """Without XLA, which JAX always has, and which rounds by what it puts together."""
    exact = keras.backend.backend() == "tensorflow"
    plain = BASE.replace(optimizer=optimizer, learning_rate=0.03, seed=7)
    own = {"clipnorm": 0.1, "label_smoothing": 0.3}, {"global_clipnorm": 0.1, "focal_gamma": 2.0}
    alone = fused([plain.replace(seed=8), plain, plain.replace(seed=9)], 5)
    beside = fused([plain.replace(seed=8, **own[0]), plain, plain.replace(seed=9, **own[1])], 5)
    for name, value in heads.take(beside, 1).items():
        assert np.abs(value - heads.take(alone, 1)[name]).max() <= (0 if exact else 1e-6), name
    assert not np.array_equal(beside["weights"][:, 0], alone["weights"][:, 0])


def test_balanced_is_scikit_learns_rule_and_a_missing_class_counts_nothing() -> None:
    labels = make_examples().labels
    balanced = BASE.replace(class_weighting="balanced")
    assert class_weights(balanced, labels) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(10), y=labels), rel=1e-6
    )
    few = labels[labels != 3]
    wanted = compute_class_weight("balanced", classes=np.unique(few), y=few)
    assert class_weights(balanced, few) == pytest.approx(np.insert(wanted, 3, 0.0), rel=1e-6)
    assert class_weights(BASE, labels).tolist() == [1.0] * 10


def test_each_epoch_has_an_order_of_its_own_that_follows_the_shuffle_seed_alone() -> None:
    rows = np.arange(5, 45)
    first = epoch_order(BASE, 1, rows)
    assert sorted(first) == rows.tolist()
    assert np.array_equal(first, epoch_order(BASE.replace(seed=7, learning_rate=0.5), 1, rows))
    for other in (epoch_order(BASE, 2, rows), epoch_order(BASE.replace(shuffle_seed=1), 1, rows)):
        assert np.mean(other == first) < 0.3


def test_a_weighted_loss_is_divided_by_the_number_of_examples() -> None:
    """As Keras's logs have it; what is right is counted without weights, and so is what is watched."""
    specs, examples = [BASE.replace(class_weighting="balanced", learning_rate=1e-6), BASE], make_examples()
    state = heads.join([heads.initial_state(spec, NUM_FEATURES) for spec in specs])
    rows = np.arange(NUM_EXAMPLES)
    (chunk,) = heads.chunks(examples, rows, NUM_EXAMPLES)
    scores = heads.score(state, chunk)
    _, sums = heads.train_steps("adam", settings(specs), state, chunk)
    logits = np.einsum("nd,dc->nc", examples.inputs.reshape(NUM_EXAMPLES, -1), state["weights"][:, 0])
    losses = np.log(np.exp(logits).sum(-1)) - logits[rows, examples.labels]
    weights = compute_class_weight("balanced", classes=np.arange(10), y=examples.labels)[examples.labels]
    assert np.asarray(sums["loss"]) == pytest.approx([(weights * losses).sum(), losses.sum()], rel=1e-5)
    assert np.asarray(scores["loss"]) == pytest.approx([losses.sum()] * 2, rel=1e-5)
    assert np.array_equal(sums["correct"], scores["correct"])


@st.composite
def groups_of_heads(draw: st.DrawFn) -> list[TrialSpec]:
    """Two, three or five heads that train in one pass. All have the same kinds of settings, so that one function is
    compiled for each of them alone."""
    optimizer = draw(st.sampled_from(sorted(GROUPS)))
    units = draw(st.sampled_from([0, NUM_UNITS]))
    clipping, is_focal = draw(st.sampled_from(["", *CLIPPING])), draw(st.booleans())
    shared = {"optimizer": optimizer, "head_units": units, "batch_size": draw(st.sampled_from([3, 20]))}

    def head(seed: int) -> TrialSpec:
        own: dict[str, Any] = {
            "learning_rate": 10 ** draw(st.floats(-5, -2)),
            "weight_decay": draw(st.sampled_from([0.0, 0.3])),
        }
        own["momentum"] = draw(st.sampled_from([0.0, 0.9])) if OPTIMIZERS[optimizer].has_momentum else 0.0
        own["weight_decay"] = own["weight_decay"] or 0.1 * OPTIMIZERS[optimizer].wants_weight_decay
        own |= {clipping: draw(st.sampled_from([0.02, 0.1]))} if clipping else {}
        own |= {"label_smoothing": draw(st.sampled_from([0.0, 0.2])), "focal_gamma": 0.5} if is_focal else {}
        own["head_dropout"] = draw(st.sampled_from([0.2, 0.5])) if units else 0.0
        weighting = draw(st.sampled_from(["none", "balanced"]))
        return BASE.replace(**shared, **own, class_weighting=weighting, seed=seed)

    return [head(draw(st.integers(0, 3))) for _ in range(draw(st.sampled_from([2, 3, 5])))]


@pytest.mark.rest
@hypothesis.settings(max_examples=20)
@hypothesis.given(groups_of_heads(), st.sampled_from([2, 100]), st.booleans())
def test_whatever_heads_share_a_pass_each_ends_as_alone(
    specs: list[TrialSpec], steps_in_a_chunk: int, votes: bool
) -> None:
    """In whatever chunks the features are read; without XLA, which takes longer to compile."""
    examples = with_votes(make_examples()) if votes else make_examples()
    specs = [spec.replace(class_weighting="none") for spec in specs] if votes else specs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "XLA_FROM_HEADS", 6)
        patch.setattr(heads, "CHUNK_BYTES", steps_in_a_chunk * specs[0].batch_size * NUM_FEATURES * 4)
        state = fused(specs, 2, examples)
    for number, spec in enumerate(specs):
        alone = fused([spec], 2, examples)
        for name, value in heads.take(state, number).items():
            assert value == pytest.approx(alone[name], abs=TOLERANCE), name


def test_dropout_changes_what_is_learned() -> None:
    """Or the test above would show nothing."""
    with_dropout, without = fused(DROPOUT_GROUPS["adam"], 5), fused(HIDDEN_GROUPS["adam"], 5)
    for number, rate in enumerate(RATES):
        changed = distance(layers_of(with_dropout, number), layers_of(without, number))
        assert (changed > 10 * TOLERANCE) == (rate > 0)


def factors(specs: Sequence[TrialSpec], step: int, num_examples: int = 50, num_units: int = 40) -> np.ndarray:
    """(B, H, U)"""
    steps = np.full((1, len(specs), 1), step, np.float32)
    return np.asarray(head_dropout.factors(settings(specs), steps, num_examples, num_units))


def hashed(key: int, number: int) -> int:
    """MurmurHash3's finalizer of both, in Python's own whole numbers."""

    def finalized(bits: int) -> int:
        bits = (bits ^ bits >> 16) * 0x85EBCA6B % 2**32
        bits = (bits ^ bits >> 13) * 0xC2B2AE35 % 2**32
        return bits ^ bits >> 16

    return finalized(key ^ finalized(number + 1))


def test_what_a_step_leaves_out_is_a_hash_of_seed_step_place_and_unit() -> None:
    """The same numbers on TensorFlow and on JAX: those of this test."""
    specs = [BASE.replace(head_units=4, head_dropout=0.4, seed=seed) for seed in range(6)]
    assert max(seed_for(spec, "dropout") for spec in specs) >= 2**31  # negative, as an int32
    for step in (0, 7, 100_000):
        found = factors(specs, step, num_examples=5, num_units=4)
        for number, spec in enumerate(specs):
            for place in range(5):
                for unit in range(4):
                    bits = hashed(hashed(hashed(seed_for(spec, "dropout"), step), place), unit)
                    wanted = 1 / 0.6 if (bits >> 8) / 2**24 >= 0.4 else 0.0
                    assert found[place, number, unit] == pytest.approx(wanted, rel=1e-6)


def test_the_share_that_is_left_out_is_the_rate_and_the_mean_stays() -> None:
    rates = (0.0, 0.1, 0.5, 0.95)
    specs = [BASE.replace(head_units=4, head_dropout=rate) for rate in rates]
    found = np.stack([factors(specs, step) for step in range(10)])  # (steps, B, H, U): 20,000 numbers of each head
    for number, rate in enumerate(rates):
        head = found[:, :, number]
        assert head[head > 0] == pytest.approx(1 / (1 - rate), rel=1e-5)
        for axes in ((0, 1, 2), (0, 1), (0, 2), (1, 2)):  # no unit, place in a batch or step is favoured
            shares = np.mean(head == 0, axis=axes)
            error = 5 * np.sqrt(rate * (1 - rate) * shares.size / head.size)
            assert shares == pytest.approx(rate, abs=error)


def test_nothing_is_left_out_of_a_score() -> None:
    specs = [BASE.replace(head_units=NUM_UNITS), BASE.replace(head_units=NUM_UNITS, head_dropout=0.9)]
    state = heads.join([heads.initial_state(spec, NUM_FEATURES) for spec in specs])
    (chunk,) = heads.chunks(make_examples(), np.arange(NUM_EXAMPLES), NUM_EXAMPLES)
    scored = np.asarray(heads.score(state, chunk)["loss"])
    trained = np.asarray(heads.train_steps("adam", settings(specs), state, chunk)[1]["loss"])
    assert scored[0] == pytest.approx(scored[1], rel=1e-6)
    assert trained[0] == pytest.approx(scored[0], rel=1e-6)
    assert trained[1] != pytest.approx(scored[1], rel=1e-3)


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


@pytest.mark.parametrize("specs", [GROUPS["sgd"], DROPOUT_GROUPS["rmsprop"]], ids=["linear sgd", "dropout rmsprop"])
def test_a_head_that_becomes_nan_leaves_the_others_as_they_are(specs: list[TrialSpec]) -> None:
    tame = fused(specs, num_epochs=5)
    wild = fused([specs[0], specs[1].replace(learning_rate=1e38), *specs[2:]], num_epochs=5)
    assert np.isnan(wild["weights"][:, 1]).any()
    for number in {*range(len(specs))} - {1}:
        for name, value in heads.take(wild, number).items():
            assert np.array_equal(value, heads.take(tame, number)[name]), name


@pytest.mark.parametrize("steps_in_a_chunk", [0.5, 1, 4])
def test_chunks_have_every_example_once(steps_in_a_chunk: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_BYTES", int(steps_in_a_chunk * BATCH * NUM_FEATURES * 4))
    most = max(1, int(steps_in_a_chunk))
    chunks = list(heads.chunks(make_examples(), np.arange(NUM_EXAMPLES), BATCH))
    assert {chunk.features.shape for chunk in chunks} == {(most, BATCH, NUM_FEATURES)}
    assert sum(chunk.num_steps for chunk in chunks) == 6
    assert sum(chunk.sizes.sum() for chunk in chunks) == NUM_EXAMPLES
    labels = np.concatenate([chunk.labels[: chunk.num_steps].ravel() for chunk in chunks])
    assert labels[labels >= 0].tolist() == make_examples().labels.tolist()


def wanted_logits(state: heads.State, inputs: np.ndarray) -> np.ndarray:
    """(H, n, C)"""
    if "hidden_weights" in state:
        hidden = np.einsum("nd,dhu->nhu", inputs, state["hidden_weights"]) + state["hidden_bias"]
        found = np.einsum("nhu,uhc->hnc", np.maximum(hidden, 0), state["weights"])
    else:
        found = np.einsum("nd,dhc->hnc", inputs, state["weights"])
    return found + state["bias"].transpose(1, 0, 2)


@pytest.mark.parametrize("specs", [GROUPS["sgd"], DROPOUT_GROUPS["sgd"]], ids=["linear", "dropout"])
def test_scores_are_those_of_the_logits(specs: list[TrialSpec]) -> None:
    examples, rows = make_examples(), np.arange(3, 14)
    state = fused(specs, num_epochs=3)
    alone = [heads.take(state, number) for number in range(len(specs))]
    logits = heads.logits(alone, examples, rows, BATCH)
    wanted = wanted_logits(state, examples.inputs.reshape(NUM_EXAMPLES, -1)[rows].astype(np.float64))
    assert logits == pytest.approx(wanted, abs=1e-5)
    assert heads.logits([], examples, rows, BATCH).shape[:2] == (0, 11)
    sums = [heads.score(state, chunk) for chunk in heads.chunks(examples, rows, BATCH)]
    labels = examples.labels[rows]
    right = wanted[:, np.arange(len(rows)), labels]
    assert sum(np.asarray(s["loss"]) for s in sums) == pytest.approx(
        (np.log(np.exp(wanted).sum(-1)) - right).sum(-1), rel=1e-5
    )
    assert np.array_equal(sum(np.asarray(s["correct"]) for s in sums), (wanted.argmax(-1) == labels).sum(-1))
    counts = [np.bincount(predicted, minlength=10) for predicted in wanted.argmax(-1)]
    assert np.array_equal(sum(np.asarray(s["predicted"]) for s in sums), counts)


@pytest.mark.parametrize("units", [0, NUM_UNITS])
def test_a_head_starts_as_the_networks_head_does(units: int) -> None:
    """A trial with unfrozen_blocks=0 and one with 1 start from the same head."""
    spec = BASE.replace(head_units=units)
    for seed in (0, 7):
        seeded = spec.replace(seed=seed, head_dropout=0.5 if units else 0.0)
        state = heads.initial_state(seeded, NUM_FEATURES)
        theirs = build_head(seeded, (2, 3, 4)).weights
        for mine, its in zip(layers_of(state, 0), theirs, strict=True):
            assert np.array_equal(mine, np.asarray(its.value))
    assert not np.array_equal(state["weights"], heads.initial_state(spec, NUM_FEATURES)["weights"])


def test_the_kernels_of_a_head_are_drawn_apart() -> None:
    """Of one seed, the longer would begin with the shorter, but for its scale."""
    state = heads.initial_state(BASE.replace(head_units=10), 10)
    hidden, output = state["hidden_weights"].ravel(), state["weights"].ravel()
    assert abs(np.corrcoef(hidden, output)[0, 1]) < 0.5
    linear = heads.initial_state(BASE, 10)["weights"].ravel()
    assert np.array_equal(output, linear)  # what a head of this shape always started with


def test_half_precision_features_are_computed_with_in_float32() -> None:
    halves = make_examples("bfloat16")
    exact = Examples(halves.inputs.astype(np.float32), halves.labels, halves.train, halves.watched, halves.scored)
    specs = GROUPS["adam"]
    from_halves, from_exact = fused(specs, 5, halves), fused(specs, 5, exact)
    assert from_halves["weights"] == pytest.approx(from_exact["weights"], abs=1e-6)


def test_epochs_and_chunks_of_one_shape_are_traced_once_and_xla_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "CHUNK_BYTES", 4 * BATCH * NUM_FEATURES * 4)
    specs = [BASE.replace(optimizer="rmsprop", seed=seed) for seed in range(4)]  # a number that no other test has
    before = heads.traces["train_steps rmsprop"]
    state = fused(specs, num_epochs=1)
    assert heads.traces["train_steps rmsprop"] == before + 1
    fused([spec.replace(learning_rate=0.5, momentum=0.1) for spec in specs], num_epochs=3)
    assert heads.traces["train_steps rmsprop"] == before + 1
    pair = fused(specs[:2], num_epochs=1)  # two heads are another shape, and too few for XLA
    assert heads.traces["train_steps rmsprop"] == before + 2
    assert len(specs) >= heads.XLA_FROM_HEADS > 2
    for name, value in pair.items():
        assert state[name][:, :2] == pytest.approx(value, abs=TOLERANCE), name
