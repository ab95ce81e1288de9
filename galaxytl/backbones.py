"""The networks: name -> constructor, preprocessing, published weights; and the paper's head.

    backbone, head = build_backbone(spec, weights_path), build_head(spec, shape)     # galaxytl.networks joins them

Keras is imported when a model is built, not before: the sweep's driver reads this table and never starts Keras.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.trial import SpecError, TrialSpec, did_you_mean, seed_for

_KERAS_STORE = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications`, without its ImageNet classifier."""

    name: str
    module: str
    """Of keras.applications: holds the constructor and `preprocess_input`."""
    num_parameters: int
    """Weights in all, BatchNorm statistics included; a weights file must hold as many."""
    weights_file: str
    weights_url: str


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "MobileNet",
            "mobilenet",
            3_228_864,
            "mobilenet_1_0_224_tf_no_top.h5",
            f"{_KERAS_STORE}/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        ),
        Backbone(
            "ResNet50",
            "resnet",
            23_587_712,
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_KERAS_STORE}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
        Backbone(
            "VGG16",
            "vgg16",
            14_714_688,
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            f"{_KERAS_STORE}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
    )
}


def backbone_named(name: str) -> Backbone:
    if name not in BACKBONES:
        hint = did_you_mean(name, BACKBONES)
        raise SpecError(f"backbone must be one of {', '.join(BACKBONES)}; got '{name}'.{hint}")
    return BACKBONES[name]


def build_backbone(spec: TrialSpec, weights_path: Path | None) -> Any:
    """A keras.Model from preprocessed images (B, S, S, 3) to feature maps (B, h, w, channels).

    Random weights follow seed_for(spec, "init"): Keras draws its initialisers' seeds from the generators that
    `set_random_seed` sets, and nothing else in this project draws from those.
    """
    import keras

    backbone = backbone_named(spec.backbone)
    keras.utils.set_random_seed(seed_for(spec, "init"))
    constructor = getattr(keras.applications, backbone.name)
    shape = (spec.image_size, spec.image_size, 3)
    return constructor(include_top=False, input_shape=shape, weights=str(weights_path) if weights_path else None)


def preprocess(pixels: Any, spec: TrialSpec) -> Any:
    """uint8 pixels (B, S, S, 3) to what the backbone is fed, float32: pixels / 255, or the backbone's own rule."""
    import keras

    pixels = keras.ops.cast(pixels, "float32")
    if spec.preprocessing == "divide_by_255":
        return pixels / 255.0
    module = getattr(keras.applications, backbone_named(spec.backbone).module)
    return module.preprocess_input(pixels)


def build_head(spec: TrialSpec, feature_shape: tuple[int, ...]) -> Any:
    """The paper's head on features of `feature_shape`: Flatten, Dense(10). Gives logits (B, 10).

    The paper's softmax sits in the loss: cross-entropy from logits is the same function without its overflow.
    """
    import keras

    dense = keras.layers.Dense(NUM_CLASSES, kernel_initializer=head_initializer(spec), dtype="float32")
    flatten = keras.layers.Flatten(dtype="float32")
    return keras.Sequential([keras.Input(feature_shape, dtype="float32"), flatten, dense], name="head")


def head_initializer(spec: TrialSpec) -> Any:
    """Keras's default for Dense kernels (Glorot & Bengio 2010, uniform), with the spec's seed."""
    import keras

    return keras.initializers.GlorotUniform(seed=seed_for(spec, "init"))
