"""The networks: name -> constructor, preprocessing, published weights; and the head.

    backbone, head = build_backbone(spec, weights_path), build_head(spec, shape)     # galaxytl.networks.warm joins them

Keras is imported when a model is built, not before: the sweep's driver reads this table and never starts Keras.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from galaxytl.networks.families import BACKBONES, Backbone, is_features
from galaxytl.networks.own import own_backbone, scheme_hint
from galaxytl.system.foreign_text import did_you_mean
from galaxytl.trial import SpecError, TrialSpec, seed_for

HIDDEN, OUTPUT = "hidden", "output"
"""Names of the head's dense layers."""
OTHERS = "MODULE:FUNCTION of your own, or kerashub:PRESET"
IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1]: `IMAGENET_STDDEV_RGB` of Keras's efficientnet.py."""


def backbone_named(name: str) -> Backbone:
    """Return what a trial's backbone is, by its name: a row of the table; a network of somebody else's
    (`galaxytl.networks.own`); or given features, which nothing builds. Raises SpecError."""
    if is_features(name):
        return Backbone(name, "", 0, "", "", min_image_size=1)
    if (own := own_backbone(name)) is not None:
        return own
    if name not in BACKBONES:
        hint = scheme_hint(name) or f".{did_you_mean(name, BACKBONES)}"
        raise SpecError(f"backbone must be one of {', '.join(BACKBONES)}, or {OTHERS}; got '{name}'{hint}")
    return BACKBONES[name]


def build_backbone(spec: TrialSpec, weights_path: Path | None) -> Any:
    """Build a keras.Model from preprocessed images (B, S, S, 3) to feature maps (B, h, w, channels).

    Random weights follow seed_for(spec, "init"): Keras draws its initialisers' seeds from the generators that
    `set_random_seed` sets, and nothing else in this project draws from those.
    """
    import keras

    backbone = backbone_named(spec.backbone)
    keras.utils.set_random_seed(seed_for(spec, "init"))
    model = backbone.build(spec.image_size, str(weights_path) if weights_path else None)
    if weights_path and backbone.module == "efficientnet":
        _divide_by_deviations(model)
    return model


def _divide_by_deviations(model: Any) -> None:
    """Have an EfficientNet with its published weights normalise images as it was trained to.

    The variances in its file are standard deviations (https://github.com/tensorflow/tensorflow/issues/49930). Keras
    makes up for it with one more Rescaling, by 1 / sqrt(deviation), but only for `weights="imagenet"`: not for the path
    of the same file (Keras 3.15.1, efficientnet.py). Variances times deviations are the same.
    """
    import keras

    normalization = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = normalization.get_weights()
    normalization.set_weights([mean, variance * np.asarray(IMAGENET_DEVIATIONS, variance.dtype), count])
    normalization.finalize_state()


def preprocess(pixels: Any, spec: TrialSpec) -> Any:
    """Turn uint8 pixels (B, S, S, 3) into what the backbone is fed, float32: pixels / 255, or by its own rule."""
    import keras

    pixels = keras.ops.cast(pixels, "float32")
    if spec.preprocessing == "divide_by_255":
        return pixels / 255.0
    return backbone_named(spec.backbone).preprocess_input(pixels)


def head_layers(spec: TrialSpec, num_features: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each dense layer of the head, the last of which gives the logits."""
    if spec.head_units:
        return [(num_features, spec.head_units), (spec.head_units, spec.num_classes)]
    return [(num_features, spec.num_classes)]


def build_head(spec: TrialSpec, feature_shape: tuple[int, ...]) -> Any:
    """Build the head on features of `feature_shape`, which gives logits (B, C), computed in float32.

    The paper's is Flatten, Dense(C). With `head_units` a hidden layer comes before it: Dense, ReLU, Dropout. The
    paper's softmax sits in the loss: cross-entropy from logits is the same function without its overflow.
    """
    import keras

    def dense(units: int, name: str, activation: str | None = None) -> Any:
        kernel = head_initializer(spec, name)
        return keras.layers.Dense(units, activation, kernel_initializer=kernel, name=name, dtype="float32")

    layers = [keras.Input(feature_shape, dtype="float32"), keras.layers.Flatten(dtype="float32")]
    if spec.head_units:
        layers.append(dense(spec.head_units, HIDDEN, "relu"))
    if spec.head_dropout:
        layers.append(keras.layers.Dropout(spec.head_dropout, seed=seed_for(spec, "dropout"), dtype="float32"))
    return keras.Sequential([*layers, dense(spec.num_classes, OUTPUT)], name="head")


def head_initializer(spec: TrialSpec, layer: str) -> Any:
    """Return Keras's default for Dense kernels (Glorot & Bengio 2010, uniform), seeded by the spec and the layer."""
    import keras

    seed = seed_for(spec, "init")
    if layer == HIDDEN:  # of one seed, both kernels would be made of the same random numbers
        seed = int.from_bytes(hashlib.sha256(f"hidden/{seed}".encode()).digest()[:4], "big")
    return keras.initializers.GlorotUniform(seed=seed)
