from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from galaxytl.networks.classifier import Classifier, heat_maps


@pytest.fixture(scope="module")
def network() -> Any:
    """Of two classes, which are as red, and as blue, as the image is: a network whose heat is known."""
    import keras
    from keras import layers, ops

    pixels = keras.Input((8, 8, 3), dtype="uint8")
    inner = keras.Input((8, 8, 3))
    backbone = keras.Model(inner, layers.AveragePooling2D(2)(inner), name="backbone")
    dense = layers.Dense(2, use_bias=False)
    head = keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), dense], name="head")
    logits = head(backbone(ops.cast(pixels, "float32") / 255.0))
    dense.set_weights([np.array([[4.0, 0.0], [0.0, 0.0], [0.0, 4.0]], np.float32)])
    return keras.Model(pixels, layers.Softmax()(logits), name="network")


@pytest.fixture
def images() -> np.ndarray:
    """Three, red on their left half and blue on their right."""
    found = np.zeros((3, 8, 8, 3), np.uint8)
    found[:, :, :4, 0], found[:, :, 4:, 2] = 255, 255
    return found


def test_heat_is_where_the_class_is(network: Any, images: np.ndarray) -> None:
    heat = heat_maps(network, images, np.array([0, 1, 0]))
    assert heat.shape == (3, 4, 4)
    assert heat[0] == pytest.approx(np.repeat([[1, 1, 0, 0]], 4, axis=0))
    assert heat[1] == pytest.approx(heat[0][:, ::-1])
    dark = heat_maps(network, np.zeros((1, 8, 8, 3), np.uint8), np.array([0]))
    assert dark.max() == 0


def test_a_smaller_batch_has_the_same_probabilities(network: Any, images: np.ndarray) -> None:
    import keras

    images[1, :, :, 0] = 255
    keras.utils.clear_session()  # as in a process that loaded the network: new operations have its operations' names
    classifier = Classifier(network, 2, embeddings=True)
    parts = [classifier.outputs(classifier.start(part), len(part)) for part in (images[:2], images[2:])]
    found = np.concatenate([part["probabilities"] for part in parts])
    assert found == pytest.approx(network.predict(images, verbose=0), abs=1e-6)
    assert parts[0]["embeddings"] == pytest.approx(np.array([[0.5, 0, 0.5], [1, 0, 0.5]]))
