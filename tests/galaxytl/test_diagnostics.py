"""What is recorded of the gradients is what the optimizer is given, and recording it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl import heads, networks
from galaxytl.blocks import relu_tensors
from galaxytl.diagnostics import MOST_IMAGES, NetworkProbe, of_heads, probe_rows
from galaxytl.fit import Examples
from galaxytl.fit_heads import fit_heads
from galaxytl.training import Group, Watcher, Workplace, train
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.galaxytl.test_fit_heads import BASE, SILENT, make_examples
from tests.galaxytl.trials import Stopped, curves, tiny_spec

SGD = {"optimizer": "sgd", "learning_rate": 0.5, "weights": "random", "weights_requested": "random", "image_size": 32}


@pytest.fixture
def fresh() -> Iterator[None]:
    networks.forget()
    yield
    networks.forget()


def images(count: int = 8) -> Examples:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    rows = np.arange(count)
    return Examples(pixels, rows % 10, rows, rows, rows)


def test_a_heads_record_is_what_its_formulas_give() -> None:
    spec, examples = BASE.replace(batch_size=16), make_examples()
    states = [heads.initial_state(spec.replace(seed=seed), 24) for seed in (0, 1)]
    records = of_heads(examples, spec)(3, heads.join(states))
    rows = probe_rows(examples, 16)
    features, labels = examples.inputs[rows].reshape(16, 24).astype(np.float64), examples.labels[rows]

    for state, record in zip(states, records, strict=True):
        logits = features @ state["weights"][:, 0] + state["bias"][0]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        errors = (shares - np.eye(10)[labels]) / 16
        norm = np.sqrt(np.square(features.T @ errors).sum() + np.square(errors.sum(axis=0)).sum())
        assert record["epoch"] == 3
        assert record["loss"] == pytest.approx(-np.log(shares[np.arange(16), labels]).mean(), rel=1e-3)
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
    model, network = networks.trained(spec, None, lambda: None)
    count = len(network.structure.blocks)
    return model, NetworkProbe(model, network, count, networks.frozen_until(spec, count))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "VGG16", "unfrozen_blocks": 2, "head_units": 6},
        {"backbone": "MobileNet", "unfrozen_blocks": 1},
        {"backbone": "MobileNet", "unfrozen_blocks": 1, "unfrozen_batchnorm": "inference"},
    ],
    ids=["vgg", "batchnorm", "inference"],
)
def test_gradient_norms_are_those_of_the_optimizers_step(change: dict[str, Any]) -> None:
    """Plain SGD changes weights by its learning rate times the gradient."""
    spec, examples = BASE.replace(**SGD, **change), images()
    model, probe = probe_of(spec)
    before = [np.array(np.asarray(v.value)) for v in model.variables]

    record = probe.observer(examples, spec)(0)

    assert all(np.array_equal(np.asarray(v.value), old) for v, old in zip(model.variables, before, strict=True))
    old = {v.path: np.array(np.asarray(v.value)) for v in model.trainable_variables}
    loss = model.train_on_batch(examples.inputs, examples.labels)[0]
    squares: dict[str, float] = {}
    for variable in model.trainable_variables:
        layer = variable.path.split("/")[-2]
        gradient = (old[variable.path] - np.asarray(variable.value)) / spec.learning_rate
        squares[layer] = squares.get(layer, 0.0) + float(np.square(gradient, dtype=np.float64).sum())
    assert record["loss"] == pytest.approx(float(loss), rel=1e-3)
    assert list(record["gradient_norms"])[-1] == "output"
    for layer, norm in record["gradient_norms"].items():
        assert norm**2 == pytest.approx(squares[layer], rel=0.02, abs=1e-9), layer


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_a_layer_that_is_dead_is_seen() -> None:
    spec, examples = BASE.replace(**SGD, backbone="VGG16", unfrozen_blocks=1), images()
    _, probe = probe_of(spec)
    _, network = networks.trained(spec, None, lambda: None)
    bias = network.model.get_layer("block5_conv3").bias
    bias.assign(np.where(np.arange(512) < 128, np.asarray(bias.value), -1e6))

    record = probe.observer(examples, spec)(0)

    assert record["dead_shares"]["block5_conv3"] >= 0.75 > record["dead_shares"]["block5_conv1"]
    assert list(record["dead_shares"]) == ["block5_conv1", "block5_conv2", "block5_conv3"]


@pytest.mark.parametrize(
    ("name", "cut", "expected"),
    [
        ("VGG16", 1, ["block5_conv1", "block5_conv2", "block5_conv3"]),
        ("MobileNet", 1, ["conv_dw_13_relu", "conv_pw_13_relu"]),
        ("ResNet50", 1, ["conv5_block3_1_relu", "conv5_block3_2_relu", "conv5_block3_out"]),
        ("EfficientNetB0", 1, []),  # swish
    ],
)
def test_layers_with_a_relu_are_found_in_the_graph(name: str, cut: int, expected: list[str]) -> None:
    model = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 3))

    assert list(relu_tensors(model, cut)) == expected
    assert relu_tensors(model, 0) == {}


def test_it_looks_at_a_batch_of_the_images_to_train_on() -> None:
    examples = images(100)
    some = replace(examples, train=np.arange(50, 100))

    assert probe_rows(some, 3).tolist() == [50, 74, 99]
    assert len(probe_rows(examples, 1000)) == MOST_IMAGES
    assert probe_rows(replace(examples, train=np.array([7])), 8).tolist() == [7]


def test_heads_that_go_on_keep_their_records(tmp_path: Path) -> None:
    specs, examples = [BASE.replace(seed=seed, num_epochs=3) for seed in (0, 1)], make_examples()

    def listener(last: int) -> Any:
        def listen(latest: dict[str, Any]) -> None:
            if any(epoch["epoch"] == last for epoch in latest.values()):
                raise Stopped

        return replace(SILENT, epoch=listen, observe=of_heads(examples, BASE))

    with pytest.raises(Stopped):
        fit_heads(specs, examples, tmp_path / "cut", listener(2))
    cut = fit_heads(specs, examples, tmp_path / "cut", listener(99))
    whole = fit_heads(specs, examples, tmp_path / "whole", listener(99))

    for one, other in zip(cut, whole, strict=True):
        found, wanted = ([r for e in head.history for r in e["diagnostics"]] for head in (one, other))
        assert [record["epoch"] for record in found] == [0, 1, 2, 3]
        assert [r["loss"] for r in found] == pytest.approx([r["loss"] for r in wanted], rel=1e-3)


def trained(spec: TrialSpec, data: Path, out: Path, **group: bool) -> tuple[TrialResult, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    stored = (0,) if spec.unfrozen_blocks == 0 else ()
    (row,) = train(Group((spec,), stored, **group), Workplace(str(data), out), Watcher(epoch=told.append))
    return row, told


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "change",
    [
        {"head_units": 8, "head_dropout": 0.5},
        {
            "backbone": "MobileNet",
            "preprocessing": "divide_by_255",
            "unfrozen_blocks": 1,
            "head_units": 8,
            "head_dropout": 0.5,
        },
    ],
    ids=["heads", "network"],
)
def test_recording_changes_nothing_and_is_told_to_nobody(
    change: dict[str, Any], galaxies_file: Path, tmp_path: Path
) -> None:
    spec = tiny_spec(galaxies_file).replace(**change)
    plain, _ = trained(spec, galaxies_file, tmp_path / "plain")
    row, told = trained(spec, galaxies_file, tmp_path / "recorded", diagnostics=True)

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
