"""A trained network as it classifies: probabilities, features of its backbone, and what in an image speaks for a class.

    classifier = Classifier(network, embeddings=True)
    probabilities = classifier.outputs(classifier.start(images), len(images))["probabilities"]
    heat = heat_maps(network, images, classes)

`network` is what `galaxytl.networks.exported.load_network` gives: images (B, S, S, 3) uint8 to probabilities (B, C), by
a layer "head" from feature maps (B, h, w, channels) to logits (B, C).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.networks import device


class Classifier:
    """A compiled network. The last batch may be a smaller one: it is filled up, as another shape compiles anew."""

    def __init__(self, network: Any, batch_size: int, *, embeddings: bool) -> None:
        self.batch_size = batch_size
        outputs = {"probabilities": network.output}
        if embeddings:
            # A layer, as it has a name: an operation's may be one that the network's file has already.
            mean = keras.layers.GlobalAveragePooling2D(dtype="float32", name="embeddings")
            outputs["embeddings"] = mean(network.get_layer("head").input)
        self._forward = device.compiled_forward(keras.Model(network.input, outputs))

    def start(self, images: NDArray[np.uint8]) -> Any:
        """Have images (n, S, S, 3), at most a batch of them, go through the network; `outputs` waits for the end."""
        if missing := self.batch_size - len(images):
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        return self._forward(np.ascontiguousarray(images))

    def outputs(self, under_way: Any, number: int) -> dict[str, NDArray[np.float32]]:
        """Return of the first `number` images their "probabilities" (n, C), and where asked their "embeddings"
        (n, channels), the mean over the feature map."""
        return {name: np.asarray(values, np.float32)[:number] for name, values in under_way.items()}


def heat_maps(network: Any, images: NDArray[np.uint8], classes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return for images (n, S, S, 3) where they have what speaks for the class (n,) each: (n, h, w) from 0 to 1, of the
    size of the backbone's last feature map. By Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): the channels' sum,
    each with the mean gradient of the class's logit as its weight, where that is positive."""
    head = network.get_layer("head")
    features = keras.Model(network.input, head.input)(images, training=False)
    chosen = ops.one_hot(classes, network.output.shape[-1], dtype="float32")

    def logits_of_classes(variables: Any) -> tuple[Any, Any]:
        logits = ops.cast(head(variables[0]), "float32")
        return ops.sum(logits * chosen), logits

    _, (gradients,) = device.value_and_gradients(logits_of_classes, [features])
    weights = np.asarray(ops.cast(gradients, "float32")).mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((weights * np.asarray(ops.cast(features, "float32"))).sum(axis=-1), 0)
    largest = heat.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(heat, largest, out=np.zeros_like(heat), where=largest > 0), np.float32)
