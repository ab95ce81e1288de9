"""A backbone of three blocks and 1,616 weights: it compiles in a tenth of the time that a real one takes, and has what
they have: BatchNorm, a branch, a depthwise kernel, a bias, two kernels of one shape, and ReLU as a layer and as an
activation.

Tests ask for it by the fixture `toy_backbone`, which adds it to the table of networks, under NAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from galaxytl.networks.families import BACKBONES, Backbone
from galaxytl.trial import TrialSpec

NAME = "ToyNet"
NUM_BLOCKS, NUM_FEATURES = 3, 4 * 4 * 8  # of images of 32 px
MULTIPLY_ADDS = 32**2 * 9 * 3 * 8 + 16**2 * (9 * 8 + 8 * 8) + 8**2 * 2 * 9 * 8 * 8
SPEC = TrialSpec(
    dataset="simulated",
    dataset_fingerprint="0" * 64,
    backbone=NAME,
    weights="random",
    weights_requested="random",
    preprocessing="backbone",
    image_size=32,
    batch_size=8,
)
BACKBONE = Backbone(NAME, "", 1616, "toy_net.h5", "https://example.org/toy_net.h5", library=__name__)


def ToyNet(include_top: bool, input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """What constructors of keras.applications give: (B, S, S, 3) -> (B, S / 8, S / 8, 8)."""
    import keras
    from keras import layers

    def conv(name: str, size: int = 3, **settings: Any) -> Any:
        return layers.Conv2D(8, size, padding="same", name=name, **settings)

    assert not include_top
    image = keras.Input(input_shape)
    x = layers.BatchNormalization(name="block1_bn")(conv("block1_conv", use_bias=False)(image))
    x = layers.MaxPooling2D(name="block1_pool")(layers.ReLU(6.0, name="block1_relu")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="block2_depthwise")(x)
    y = layers.BatchNormalization(name="block2_bn")(conv("block2_pointwise", 1, use_bias=False)(y))
    x = layers.Activation("relu", name="block2_out")(layers.Add(name="block2_add")([x, y]))
    x = layers.MaxPooling2D(name="block2_pool")(x)
    x = conv("block3_conv1", activation="relu")(x)
    x = layers.BatchNormalization(name="block3_bn")(conv("block3_conv2", activation="relu")(x))
    model = keras.Model(image, layers.MaxPooling2D(name="block3_pool")(x), name="toy_net")
    if weights:
        model.load_weights(weights)
    return model


def preprocess_input(pixels: Any) -> Any:
    return pixels / 127.5 - 1.0


def register(patch: pytest.MonkeyPatch) -> None:
    """Add it to the table of networks."""
    patch.setitem(BACKBONES, NAME, BACKBONE)


def ask_here(wanted: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """In place of `galaxytl.networks.blocks._ask_keras`: build networks in this process, where the toy one is known and
    Keras is there; another takes five seconds to begin."""
    from galaxytl.networks import blocks

    return [blocks.row_of(name, size) for name, size in wanted]
