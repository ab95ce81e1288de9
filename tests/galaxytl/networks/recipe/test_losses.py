"""Other training losses: Keras's formulas, and derivatives by hand that are those of automatic differentiation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from galaxytl.networks import device
from galaxytl.networks.recipe.compiled import compile_model
from galaxytl.networks.recipe.losses import TrainingLoss, instead, is_cross_entropy, of_heads, settings
from galaxytl.trial import TrialSpec

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, num_classes=5)
CASES = [(0.0, 2.0), (0.0, 0.5), (0.3, 0.0), (0.1, 1.0), (0.2, 3.0)]
"""Of smoothing and gamma."""
SPECS = [BASE.replace(label_smoothing=smoothing, focal_gamma=gamma) for smoothing, gamma in CASES]


def make_logits() -> np.ndarray:
    """(B, H, C); of the last three examples one class is all but sure, or sure to the last bit of a float32."""
    logits = np.random.default_rng(0).normal(size=(8, len(CASES), 5)).astype(np.float32)
    logits[5:, :, 2] += np.array([9.0, 14.0, 60.0], np.float32)[:, None]
    return logits


def make_targets() -> dict[str, np.ndarray]:
    """(B, C) each: one-hot labels, of which the last two are the sure class, and votes."""
    votes = np.random.default_rng(1).dirichlet(np.ones(5), 8).astype(np.float32)
    return {"labels": np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0, 2, 2]], "votes": votes}


@pytest.mark.parametrize("kind", ["labels", "votes"])
def test_losses_are_keras_own_where_keras_does_not_clip_them(kind: str) -> None:
    logits, targets = make_logits()[:6], make_targets()[kind][:6]
    losses = np.asarray(of_heads(ops.log_softmax(logits), targets[:, None], settings(SPECS))[0])
    for head, (smoothing, gamma) in enumerate(CASES):
        wanted = keras.losses.categorical_focal_crossentropy(
            *(targets, logits[:, head], 1.0, gamma), from_logits=True, label_smoothing=smoothing
        )
        assert losses[:, head] == pytest.approx(np.asarray(wanted), rel=1e-4)
        of_network = TrainingLoss(smoothing, gamma)
        assert float(of_network(targets, logits[:, head])) == pytest.approx(float(np.mean(wanted)), rel=1e-4)
    if kind == "labels":
        labels = targets.argmax(axis=1)
        assert float(of_network(labels, logits[:, head])) == pytest.approx(float(np.mean(wanted)), rel=1e-4)


@pytest.mark.parametrize("kind", ["labels", "votes"])
def test_the_derivatives_are_those_of_automatic_differentiation(kind: str) -> None:
    """Also where a class is sure, so that 1 - p has no digits left: they are finite."""
    logits, targets, scalars = make_logits(), make_targets()[kind], settings(SPECS)
    by_hand = np.asarray(of_heads(ops.log_softmax(logits), targets[:, None], scalars)[1])

    def total(values: list) -> tuple:
        return ops.sum(of_heads(ops.log_softmax(values[0]), targets[:, None], scalars)[0]), 0

    _, (found,) = device.value_and_gradients(total, [ops.convert_to_tensor(logits)])
    assert np.isfinite(by_hand).all()
    assert by_hand == pytest.approx(np.asarray(found), abs=2e-6)

    def of_network(values: list) -> tuple:
        return sum(len(logits) * TrainingLoss(*case)(targets, values[0][:, i]) for i, case in enumerate(CASES)), 0

    _, (found,) = device.value_and_gradients(of_network, [ops.convert_to_tensor(logits)])
    assert by_hand == pytest.approx(np.asarray(found), abs=2e-6)


def test_the_image_that_a_network_is_most_wrong_about_has_a_gradient() -> None:
    """With Keras's own focal loss it has none, as if it were right."""
    logits, wanted = np.array([[[0.0, 0, 30, 0, 0]]], np.float32), np.eye(5, dtype=np.float32)[[[0]]]
    derivatives = of_heads(ops.log_softmax(logits), wanted, settings([BASE.replace(focal_gamma=2.0)]))[1]
    assert np.asarray(derivatives)[0, 0] == pytest.approx([-1, 0, 1, 0, 0], abs=1e-5)

    def by_keras(values: list) -> tuple:
        loss = keras.losses.categorical_focal_crossentropy(wanted[0], values[0], 1.0, 2.0, from_logits=True)
        return ops.sum(loss), 0

    _, (found,) = device.value_and_gradients(by_keras, [ops.convert_to_tensor(logits[0])])
    assert np.asarray(found)[0] == pytest.approx([0] * 5, abs=1e-5)


def test_plain_heads_have_no_settings_and_keep_what_is_theirs() -> None:
    assert settings([BASE, BASE]) == {}
    scalars = settings([BASE, SPECS[0]])
    chosen = instead(scalars, np.ones((1, 2, 1), np.float32), np.zeros((1, 2, 1), np.float32))
    assert np.asarray(chosen).ravel().tolist() == [0, 1]
    assert [is_cross_entropy(spec) for spec in (BASE, *SPECS)] == [True] + [False] * len(SPECS)


@pytest.mark.parametrize("change", [{"label_smoothing": 0.1}, {"focal_gamma": 2.0}, {}])
def test_only_networks_with_another_loss_have_the_cross_entropy_beside_it(change: dict[str, float]) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    compile_model(model, BASE.replace(**change))
    inputs, labels = np.ones((4, 3), np.float32), np.array([0, 1, 2, 2])
    found = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    plain = float(np.mean(keras.losses.sparse_categorical_crossentropy(labels, model(inputs), from_logits=True)))
    assert found.get("cross_entropy", found["loss"]) == pytest.approx(plain, rel=1e-5)
    assert ("cross_entropy" in found) == bool(change) == (found["loss"] != pytest.approx(plain, rel=1e-5))
