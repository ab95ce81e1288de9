"""The epochs of heads that train together: their histories, checkpoints and ends; and the rows that `train` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning import heads
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.certificate import cross_entropy
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_heads import Head, fit_heads
from galaxytl.learning.fit_network import fit
from galaxytl.networks import warm
from galaxytl.networks.recipe.compiled import compile_model
from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.trial import COMPLETE, FAILED, TrialSpec
from tests.galaxytl import toy
from tests.galaxytl.learning.test_heads import with_votes
from tests.galaxytl.trials import Stopped, curves, fails_after, run, run_all, tiny_spec, watching

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, batch_size=8, num_epochs=4)
SPECS = [BASE.replace(learning_rate=rate, seed=seed) for seed, rate in enumerate((1e-3, 1e-2, 1e-1))]
SILENT = Watcher()


def make_examples() -> Examples:
    """44 examples to train on, 12 to watch; the labels can be learned."""
    rng = np.random.default_rng(0)
    labels = np.arange(56) % 10
    inputs = rng.normal(size=(56, 2, 3, 4)).astype(np.float32) + rng.normal(size=(10, 2, 3, 4))[labels]
    return Examples(inputs.astype(np.float32), labels, np.arange(44), np.arange(44, 56), np.arange(44, 56))


def skewed_examples() -> Examples:
    """Four of ten examples are of class 0."""
    examples, rows = make_examples(), np.arange(56)
    return Examples(examples.inputs, np.where(rows % 3, examples.labels, 0), rows[:44], rows[44:], rows[44:])


def fit_alone(spec: TrialSpec, out: Path) -> Head:
    return fit_heads([spec], make_examples(), out / spec.trial_id, SILENT)[0]


def assert_equal(found: Head, wanted: Head) -> None:
    assert [epoch["epoch"] for epoch in found.history] == [epoch["epoch"] for epoch in wanted.history]
    assert curves(found.history) == pytest.approx(curves(wanted.history), abs=1e-5)
    assert found.state["weights"] == pytest.approx(wanted.state["weights"], abs=1e-5)


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"class_weighting": "balanced", "learning_rate": 1e-2},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 1e-2},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.1, "learning_rate": 2e-3},
    "votes": {"targets": "votes", "learning_rate": 1e-2},
    "schedule": {"schedule": "cosine", "warmup_epochs": 1.5, "weight_decay": 0.1, "learning_rate": 1e-2},
    "another loss": {
        **{"optimizer": "nadam", "weight_decay": 0.1, "learning_rate": 1e-2, "class_weighting": "balanced"},
        **{"global_clipnorm": 0.5, "label_smoothing": 0.2, "focal_gamma": 1.0},
    },
    "smoothed votes": {
        **{"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.1, "clipvalue": 0.05},
        **{"targets": "votes", "label_smoothing": 0.1},
    },
}


@pytest.mark.parametrize(
    "optimizer",
    [
        *("adam", "sgd", "votes", "schedule", "another loss"),
        *(pytest.param(name, marks=pytest.mark.rest) for name in ("rmsprop", "smoothed votes")),
    ],
)
def test_a_network_of_one_layer_has_the_history_of_a_head(optimizer: str, tmp_path: Path) -> None:
    """`galaxytl.learning.fit_network`, which is Keras's training, and `galaxytl.learning.fit_heads` mean the same by
    each of their words."""
    examples, spec = skewed_examples(), BASE.replace(**OPTIMIZERS[optimizer])
    examples = with_votes(examples) if spec.targets == "votes" else examples
    (head,) = fit_heads([spec], examples, tmp_path / "head", SILENT)
    model = one_layer(spec)
    history = fit(model, spec, examples, tmp_path / "network.npz", SILENT)
    assert [set(epoch) for epoch in history] == [set(epoch) for epoch in head.history]
    assert curves(history) == pytest.approx(curves(head.history), abs=1e-5)
    assert head.history[-1]["accuracy"] > head.history[0]["accuracy"]
    assert np.asarray(model.weights[0].value) == pytest.approx(head.state["weights"][:, 0], abs=1e-5)
    logits = heads.logits([head.state], examples, examples.watched, 8)[0]
    assert history[-1]["val_loss"] == pytest.approx(cross_entropy(logits, examples.targets(examples.watched)), abs=1e-5)


@pytest.mark.parametrize("optimizer", ["nadam", pytest.param("adafactor", marks=pytest.mark.rest)])
def test_a_killed_head_and_network_go_on_with_all_that_their_optimizer_keeps(optimizer: str, tmp_path: Path) -> None:
    """Nadam's product, Adafactor's factors."""
    spec, examples = BASE.replace(optimizer=optimizer, learning_rate=1e-2), make_examples()
    with pytest.raises(Stopped):
        fit_heads([spec], examples, tmp_path, fails_after(2, Stopped()))
    with pytest.raises(Stopped):
        fit(one_layer(spec), spec, examples, tmp_path / "network.npz", fails_after(2, Stopped()))
    wanted, (head,) = fit_alone(spec, tmp_path / "alone"), fit_heads([spec], examples, tmp_path, SILENT)
    model = one_layer(spec)
    fit(model, spec, examples, tmp_path / "network.npz", SILENT)
    for name, value in head.state.items():
        assert np.array_equal(value, wanted.state[name]), name
    assert np.asarray(model.weights[0].value) == pytest.approx(wanted.state["weights"][:, 0], abs=1e-5)


def one_layer(spec: TrialSpec) -> Any:
    """A compiled network that starts as the spec's head."""
    model = keras.Sequential([keras.Input((2, 3, 4)), keras.layers.Flatten(), keras.layers.Dense(10)])
    start = heads.initial_state(spec, 24)
    model.set_weights([start["weights"][:, 0], start["bias"][0, 0]])
    compile_model(model, spec)
    return model


def test_heads_with_fewer_epochs_end_earlier_and_the_others_go_on(tmp_path: Path) -> None:
    specs = [spec.replace(num_epochs=epochs) for spec, epochs in zip(SPECS, (2, 4, 1), strict=True)]
    for head in fit_heads(specs, make_examples(), tmp_path, SILENT):
        assert_equal(head, fit_alone(head.spec, tmp_path))
        assert len(head.history) == head.spec.num_epochs


def test_a_head_that_goes_on_joins_the_others_when_they_have_caught_up(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit_heads(SPECS[:1], make_examples(), tmp_path, fails_after(2, Stopped()))
    told: list[tuple[set[str], int]] = []
    listener = watching(epoch=lambda latest: told.append((set(latest), int(next(iter(latest.values()))["epoch"]))))
    group = fit_heads(SPECS, make_examples(), tmp_path, listener)
    first, *others = (spec.trial_id for spec in SPECS)
    assert told == [({*others}, 1), ({*others}, 2), ({first, *others}, 3), ({first, *others}, 4)]
    for head in group:
        assert_equal(head, fit_alone(head.spec, tmp_path))


def test_a_killed_group_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit_heads(SPECS, make_examples(), tmp_path, fails_after(3, Stopped()))
    epochs: list[float] = []
    listener = watching(epoch=lambda latest: epochs.extend(epoch["epoch"] for epoch in latest.values()))
    group = fit_heads(SPECS, make_examples(), tmp_path, listener)
    ended = fit_heads(SPECS, make_examples(), tmp_path, fails_after(1, Stopped()))
    for head in (*group, *ended):
        assert_equal(head, fit_alone(head.spec, tmp_path))
    assert epochs == [4, 4, 4]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a checkpoint"])
def test_a_damaged_checkpoint_costs_its_head_time_and_the_others_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Stopped):
        fit_heads(SPECS, make_examples(), tmp_path, fails_after(2, Stopped()))
    checkpoint_path(tmp_path, SPECS[1]).write_bytes(content)
    for head in fit_heads(SPECS, make_examples(), tmp_path, SILENT):
        assert_equal(head, fit_alone(head.spec, tmp_path))


def test_another_trials_checkpoint_is_not_taken(tmp_path: Path) -> None:
    """Of another optimizer, under this trial's name: it lacks arrays."""
    other = BASE.replace(optimizer="sgd", learning_rate=0.1)
    fit_heads([other], make_examples(), tmp_path, SILENT)
    checkpoint_path(tmp_path, other).rename(checkpoint_path(tmp_path, SPECS[0]))
    assert_equal(fit_heads(SPECS[:1], make_examples(), tmp_path, SILENT)[0], fit_alone(SPECS[0], tmp_path / "alone"))


def test_a_head_that_diverges_says_so_and_the_others_end_as_alone(tmp_path: Path) -> None:
    specs = [spec.replace(optimizer="sgd") for spec in SPECS]
    specs[1] = specs[1].replace(learning_rate=1e38)
    told: list[set[str]] = []
    listener = watching(epoch=lambda latest: told.append(set(latest)))
    first, wild, third = fit_heads(specs, make_examples(), tmp_path, listener)
    assert wild.diverged.startswith("the loss became ")
    assert wild.diverged.endswith("in epoch 1/4")
    assert wild.history == []
    assert told == [{specs[0].trial_id, specs[2].trial_id}] * 4
    assert not checkpoint_path(tmp_path, specs[1]).exists()
    for head in (first, third):
        assert not head.diverged
        assert_equal(head, fit_alone(head.spec, tmp_path))


# The rows that `train` gives, of heads on the features of a toy backbone


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize("units", [0, 8])
def test_rows_of_heads_share_what_their_group_took(
    units: int, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    spec = tiny_spec(galaxies_file).replace(head_units=units)
    specs = [spec.replace(learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2)]
    results = run_all(specs, galaxies_file, tmp_path)
    assert [result.spec for result in results] == specs
    assert {(result.status, result.num_fused) for result in results} == {(COMPLETE, 3)}
    total = {name: sum(result.multiply_adds[name] for result in results) for name in results[0].multiply_adds}
    layers = [(toy.NUM_FEATURES, units), (units, 10)] if units else [(toy.NUM_FEATURES, 10)]
    head = sum(a * b for a, b in layers)
    assert {result.num_parameters["trainable"] for result in results} == {sum((a + 1) * b for a, b in layers)}
    assert total == pytest.approx(
        {
            "features": 40 * toy.MULTIPLY_ADDS,
            "train": 3 * 2 * head * (3 * 28 + 12),  # heads, epochs; a trained step counts as three passes
            "evaluate": 3 * head * 12,
        }
    )
    seconds = {name: sum(result.timings[name] for result in results) for name in results[0].timings}
    assert set(seconds) == {"data", "build", "features", "train", "evaluate", "total"}
    assert sum(seconds.values()) - seconds["total"] <= seconds["total"] + 0.001  # nothing is counted twice


@pytest.mark.usefixtures("toy_backbone")
def test_a_diverging_head_is_a_failed_row_and_the_others_are_complete(galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file).replace(optimizer="sgd", learning_rate=1e-3)
    specs = [spec, spec.replace(learning_rate=1e38), spec.replace(learning_rate=1e-4)]
    results = run_all(specs, galaxies_file, tmp_path / "fused")
    assert [result.status for result in results] == [COMPLETE, FAILED, COMPLETE]
    assert results[1].message.startswith("diverged: the loss became ")
    assert results[1].history == ()
    assert {result.num_fused for result in results} == {3}
    alone = run(specs[2], galaxies_file, tmp_path / "alone")
    assert curves(results[2].history) == pytest.approx(curves(alone.history), rel=1e-5)
    assert results[2].metrics == pytest.approx(alone.metrics, rel=1e-5)
    assert results[2].confusion == alone.confusion


@pytest.mark.usefixtures("toy_backbone")
def test_a_last_step_that_is_too_long_is_no_score(galaxies_file: Path, tmp_path: Path) -> None:
    """The loss of the only step is finite: it is taken before the weights move."""
    spec = tiny_spec(galaxies_file).replace(optimizer="rmsprop", learning_rate=2e38, batch_size=64, num_epochs=1)
    result = run(spec, galaxies_file, tmp_path)
    assert (result.status, result.metrics) == (FAILED, {})
    assert result.message == "diverged: the logits are not finite after the last epoch"


@pytest.mark.usefixtures("toy_backbone")
def test_an_exception_in_one_head_fails_its_row_alone(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [tiny_spec(galaxies_file).replace(seed=0, learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2, 1e-1)]
    right = heads.initial_state

    def initial_state(spec: TrialSpec, num_features: int) -> Any:
        if spec == specs[2]:
            raise RuntimeError("no head for this one")
        return right(spec, num_features)

    monkeypatch.setattr(heads, "initial_state", initial_state)
    forgotten: list[str] = []
    monkeypatch.setattr(warm, "forget", lambda: forgotten.append("what may be short of memory, or wrong"))
    results = run_all(specs, galaxies_file, tmp_path)
    assert [result.spec for result in results] == specs
    assert [result.status for result in results] == [COMPLETE, COMPLETE, FAILED, COMPLETE]
    assert [result.num_fused for result in results] == [2, 2, 1, 1]
    assert len(forgotten) == 3  # after four heads, two, and one
    assert "no head for this one" in results[2].message
    assert "no head for this one" in (tmp_path / "errors" / f"{specs[2].trial_id}.txt").read_text()


@pytest.mark.usefixtures("toy_backbone")
def test_more_heads_than_memory_holds_are_trained_in_halves(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [tiny_spec(galaxies_file).replace(learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2)]
    right = heads.join

    def join(states: Any) -> Any:
        if len(states) > 2:
            raise MemoryError
        return right(states)

    monkeypatch.setattr(heads, "join", join)
    results = run_all(specs, galaxies_file, tmp_path)
    assert [(result.status, result.num_fused) for result in results] == [(COMPLETE, 1), (COMPLETE, 2), (COMPLETE, 2)]
