from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.galaxytl import toy

CLASS_NAMES = ("Round", "Edge-on", "Merging", "Other one")
TEMPERATURE = 1.7
SPEC = toy.SPEC.replace(num_classes=len(CLASS_NAMES))


def describe(path: Path, **changed: Any) -> Path:
    """Add the description of `galaxytl.networks.exported` to a file of Keras's."""
    values = {"format": 1, "trial_id": SPEC.trial_id, "spec": SPEC.to_dict(), "class_names": CLASS_NAMES}
    values |= {"temperature": TEMPERATURE, "metrics": {}, "num_images": {}, "environment": {}}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("galaxytl.json", json.dumps(values | changed))
    return path


def write(model: Any, path: Path) -> None:
    """Save a model; Keras 3.15 asks NumPy for copies in a way that NumPy warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file as `sweep.export` writes it, of the toy backbone, whose classes depend on the image."""
    import keras
    from keras import layers, ops

    side = SPEC.image_size
    keras.utils.set_random_seed(3)
    toy_net = toy.ToyNet(False, (side, side, 3), None)
    backbone = keras.Model(toy_net.input, toy_net.output, name="backbone")
    head = keras.Sequential([keras.Input((4, 4, 8)), layers.Flatten(), layers.Dense(len(CLASS_NAMES))], name="head")
    pixels = keras.Input((side, side, 3), dtype="uint8", name="pixels")
    logits = head(backbone(toy.preprocess_input(ops.cast(pixels, "float32"))))
    head.layers[-1].set_weights([8 * weights for weights in head.layers[-1].get_weights()])
    network = keras.Model(pixels, layers.Softmax(dtype="float32")(logits), name="network")
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    square = ops.cast(ops.round(layers.Resizing(side, side, antialias=True)(image)), "uint8")
    path = tmp_path_factory.mktemp("model") / "galaxy.keras"
    write(keras.Model(image, network(square)), path)
    return describe(path)


def network_of(model: Path) -> Any:
    """Load what classifies squares, by Keras alone."""
    import keras

    return keras.models.load_model(model, compile=False).get_layer("network")


def colours(number: int, side: int = 40) -> np.ndarray:
    """Return different images (number, side, side, 3)."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (number, 4, 4, 3), np.uint8)
    return coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
