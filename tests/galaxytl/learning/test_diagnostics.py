"""What is recorded of the gradients is what the optimizer is given, and recording it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning import heads
from galaxytl.learning.diagnostics import MOST_IMAGES, NetworkProbe, of_heads, probe_rows
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_heads import fit_heads
from galaxytl.networks import warm
from galaxytl.networks.blocks import relu_tensors
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.galaxytl import toy
from tests.galaxytl.learning.test_fit_heads import BASE, make_examples
from tests.galaxytl.learning.test_heads import with_votes
from tests.galaxytl.trials import Stopped, curves, fails_after, run, tiny_spec, watching

SGD = BASE.replace(
    backbone=toy.NAME,
    weights="random",
    weights_requested="random",
    image_size=32,
    unfrozen_blocks=1,
    optimizer="sgd",
    learning_rate=0.5,
)


def images(count: int = 8) -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    rows = np.arange(count)
    return Examples(pixels, rows % 10, rows, rows, rows)


@pytest.mark.parametrize("targets", ["classes", "votes"])
def test_a_heads_record_is_what_its_formulas_give(targets: str) -> None:
    spec, examples = BASE.replace(batch_size=16), make_examples()
    examples = with_votes(examples) if targets == "votes" else examples
    states = [heads.initial_state(spec.replace(seed=seed), 24) for seed in (0, 1)]
    records = of_heads(examples, spec)(3, heads.join(states))
    rows = probe_rows(examples, 16)
    features, found = examples.inputs[rows].reshape(16, 24).astype(np.float64), examples.targets(rows)
    wanted = found if targets == "votes" else np.eye(10)[found]

    for state, record in zip(states, records, strict=True):
        logits = features @ state["weights"][:, 0] + state["bias"][0]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        errors = (shares - wanted) / 16
        norm = np.sqrt(np.square(features.T @ errors).sum() + np.square(errors.sum(axis=0)).sum())
        assert record["epoch"] == 3
        assert record["loss"] == pytest.approx(-(wanted * np.log(shares)).sum(axis=1).mean(), rel=1e-3)
        assert record["logit_spread"] == pytest.approx(logits.std(axis=0).mean(), rel=1e-3)
        assert record["gradient_norms"] == {"output": pytest.approx(norm, rel=1e-3)}
        assert record["dead_shares"] == {"features": 0.0}


def test_a_head_that_is_dead_is_seen() -> None:
    spec, examples = BASE.replace(head_units=4), make_examples()
    state = heads.initial_state(spec, 24)
    state["hidden_bias"][:, :, 1:] = -1000
    silent = replace(examples, inputs=examples.inputs * (np.arange(4) > 0))

    (record,) = of_heads(silent, spec)(0, state)

    assert record["dead_shares"] == {"features": 0.25, "hidden": 0.75}
    assert list(record["gradient_norms"]) == ["hidden", "output"]


def probe_of(spec: TrialSpec) -> tuple[Any, NetworkProbe]:
    model, network = warm.trainable(spec, None, lambda: None)
    count = len(network.structure.blocks)
    return model, NetworkProbe(model, network, count, warm.frozen_until(spec, count))


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize(
    "change",
    [{"head_units": 6, "targets": "votes"}, {"unfrozen_blocks": 2, "unfrozen_batchnorm": "inference"}],
    ids=["batchnorm, votes", "inference"],
)
def test_gradient_norms_are_those_of_the_optimizers_step(change: dict[str, Any]) -> None:
    """Plain SGD changes weights by its learning rate times the gradient."""
    spec, examples = SGD.replace(**change), images()
    examples = with_votes(examples) if spec.targets == "votes" else examples
    model, probe = probe_of(spec)
    before = [np.array(np.asarray(v.value)) for v in model.variables]

    (record,) = probe.observer(examples, spec)(0, model)

    assert all(np.array_equal(np.asarray(v.value), old) for v, old in zip(model.variables, before, strict=True))
    old = {v.path: np.array(np.asarray(v.value)) for v in model.trainable_variables}
    loss = model.train_on_batch(examples.inputs, examples.targets(examples.train))[0]
    squares: dict[str, float] = {}
    for variable in model.trainable_variables:
        layer = variable.path.split("/")[-2]
        gradient = (old[variable.path] - np.asarray(variable.value)) / spec.learning_rate
        squares[layer] = squares.get(layer, 0.0) + float(np.square(gradient, dtype=np.float64).sum())
    assert record["loss"] == pytest.approx(float(loss), rel=1e-3)
    assert list(record["gradient_norms"])[-1] == "output"
    for layer, norm in record["gradient_norms"].items():
        assert norm**2 == pytest.approx(squares[layer], rel=0.02, abs=1e-9), layer


@pytest.mark.usefixtures("toy_backbone")
def test_a_layer_that_is_dead_is_seen() -> None:
    examples = images()
    _, probe = probe_of(SGD)
    _, network = warm.trainable(SGD, None, lambda: None)
    bias = network.model.get_layer("block3_conv2").bias
    bias.assign(np.where(np.arange(8) < 6, -1e6, np.asarray(bias.value)))

    (record,) = probe.observer(examples, SGD)(0, None)

    assert record["dead_shares"]["block3_conv2"] >= 0.75 > record["dead_shares"]["block3_conv1"]
    assert list(record["dead_shares"]) == ["block3_conv1", "block3_conv2"]


@pytest.mark.usefixtures("toy_backbone")
def test_layers_with_a_relu_are_found_in_the_graph() -> None:
    model = warm.backbone(SGD, lambda: None).model
    found = ["block1_relu", "block2_out", "block3_conv1", "block3_conv2"]
    for cut, count in enumerate((0, 2, 3, 4)):
        assert list(relu_tensors(model, cut)) == found[4 - count :]
    start = keras.Input((4, 4, 3))
    layers = keras.layers.Conv2D(3, 1, activation="swish"), keras.layers.ReLU(negative_slope=0.1)
    assert relu_tensors(keras.Model(start, layers[1](layers[0](start))), 1) == {}


def test_it_looks_at_a_batch_of_the_images_to_train_on() -> None:
    examples = images(100)
    some = replace(examples, train=np.arange(50, 100))

    assert probe_rows(some, 3).tolist() == [50, 74, 99]
    assert len(probe_rows(examples, 1000)) == MOST_IMAGES
    assert probe_rows(replace(examples, train=np.array([7])), 8).tolist() == [7]


def test_heads_that_go_on_keep_their_records(tmp_path: Path) -> None:
    specs, examples = [BASE.replace(seed=seed, num_epochs=3) for seed in (0, 1)], make_examples()

    def listener(last: int) -> Any:
        return watching(epoch=fails_after(last, Stopped()).epoch, records=of_heads(examples, BASE))

    with pytest.raises(Stopped):
        fit_heads(specs, examples, tmp_path / "cut", listener(2))
    cut = fit_heads(specs, examples, tmp_path / "cut", listener(99))
    whole = fit_heads(specs, examples, tmp_path / "whole", listener(99))

    for one, other in zip(cut, whole, strict=True):
        found, wanted = ([r for e in head.history for r in e["diagnostics"]] for head in (one, other))
        assert [record["epoch"] for record in found] == [0, 1, 2, 3]
        assert [r["loss"] for r in found] == pytest.approx([r["loss"] for r in wanted], rel=1e-3)


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize("depth", [0, 1])
def test_recording_changes_nothing_and_is_told_to_nobody(depth: int, galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file).replace(unfrozen_blocks=depth, head_units=8, head_dropout=0.5)
    told: list[dict[str, Any]] = []
    plain = run(spec, galaxies_file, tmp_path / "plain")
    row = run(spec, galaxies_file, tmp_path / "recorded", watcher=watching(epoch=told.append), diagnostics=True)

    assert (plain.status, row.status) == (COMPLETE, COMPLETE), row.message
    assert curves(row.history) == pytest.approx(curves(plain.history), rel=1e-5, abs=1e-6)
    assert row.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-5)
    assert plain.diagnostics == ()
    assert [record["epoch"] for record in row.diagnostics] == [0, 1, 2]
    assert row.timings["diagnostics"] > 0
    assert TrialResult.from_dict(row.to_dict()) == row
    assert all(
        isinstance(value, float | int) for latest in told for epoch in latest.values() for value in epoch.values()
    )
