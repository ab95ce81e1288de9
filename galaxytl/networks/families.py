"""The backbone families: modules, weights files, sizes, numbers of weights. Here the networks of `keras.applications`.

Names, files and URLs are those in Keras 3.15.1, keras/src/applications/*.py: `weights_file` is what Keras calls its own
copy, in the version without the classifier (`include_top=False`) and, of MobileNet and MobileNetV2, that of 224 pixels.
`num_parameters` is `count_params()` of what Keras builds there. `min_image_size` is the `min_size` that the constructor
hands to `obtain_input_shape` (MobileNetV3 compares by itself). Constructors are called with `include_top`,
`input_shape` and `weights` alone, so that everything else is Keras's default, the variant that was published.

Every network takes a path as `weights`. NASNet needs a fixed image size besides: without one Keras 3.15.1 builds other
layers, and its own file does not fit them (https://github.com/keras-team/keras/issues/18365).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final

_STORE: Final = "https://storage.googleapis.com/tensorflow/keras-applications"
_TF: Final = "weights_tf_dim_ordering_tf_kernels"


FEATURES: Final = "features"
"""The name of given features in place of a network; with a name of their own, "features:zoobot"."""


def is_features(name: str) -> bool:
    """Return whether a trial's backbone are given features."""
    return name == FEATURES or name.startswith(f"{FEATURES}:")


@dataclass(frozen=True)
class Backbone:
    """A network without its ImageNet classifier."""

    name: str
    module: str
    """Part of `library` that has `preprocess_input`; "": itself."""
    num_parameters: int
    """Weights in all, BatchNorm statistics included; a weights file must hold as many."""
    weights_file: str
    weights_url: str
    min_image_size: int = 32
    """The smallest side, in pixels, that the constructor accepts."""
    scales_pixels: bool = False
    """Its first layers rescale pixels 0..255, and `preprocess_input` changes nothing: only preprocessing="backbone"
    feeds it what it was trained on. "divide_by_255" has them scaled twice: all images become nearly the same."""
    library: str = "keras.applications"
    """Python module whose function `name` builds the network."""

    def build(self, image_size: int, weights: str | None) -> Any:
        """Return a functional keras.Model (B, S, S, 3) -> (B, h, w, channels). weights: a file's path; None: random.

        Raises ValueError where the network cannot be of this size."""
        constructor = getattr(importlib.import_module(self.library), self.name)
        return constructor(include_top=False, input_shape=(image_size, image_size, 3), weights=weights)

    def preprocess_input(self, pixels: Any) -> Any:
        """Return pixels 0..255 as the network was trained on them."""
        library = importlib.import_module(self.library)
        return (getattr(library, self.module) if self.module else library).preprocess_input(pixels)


_NETWORKS: Final = (  # name, module, number of parameters, weights file
    ("ConvNeXtTiny", "convnext", 27_820_128, "convnext_tiny_notop.h5"),
    ("ConvNeXtSmall", "convnext", 49_454_688, "convnext_small_notop.h5"),
    ("ConvNeXtBase", "convnext", 87_566_464, "convnext_base_notop.h5"),
    ("ConvNeXtLarge", "convnext", 196_230_336, "convnext_large_notop.h5"),
    ("ConvNeXtXLarge", "convnext", 348_147_968, "convnext_xlarge_notop.h5"),
    ("DenseNet121", "densenet", 7_037_504, f"densenet121_{_TF}_notop.h5"),
    ("DenseNet169", "densenet", 12_642_880, f"densenet169_{_TF}_notop.h5"),
    ("DenseNet201", "densenet", 18_321_984, f"densenet201_{_TF}_notop.h5"),
    ("EfficientNetB0", "efficientnet", 4_049_571, "efficientnetb0_notop.h5"),
    ("EfficientNetB1", "efficientnet", 6_575_239, "efficientnetb1_notop.h5"),
    ("EfficientNetB2", "efficientnet", 7_768_569, "efficientnetb2_notop.h5"),
    ("EfficientNetB3", "efficientnet", 10_783_535, "efficientnetb3_notop.h5"),
    ("EfficientNetB4", "efficientnet", 17_673_823, "efficientnetb4_notop.h5"),
    ("EfficientNetB5", "efficientnet", 28_513_527, "efficientnetb5_notop.h5"),
    ("EfficientNetB6", "efficientnet", 40_960_143, "efficientnetb6_notop.h5"),
    ("EfficientNetB7", "efficientnet", 64_097_687, "efficientnetb7_notop.h5"),
    ("EfficientNetV2B0", "efficientnet_v2", 5_919_312, "efficientnetv2-b0_notop.h5"),
    ("EfficientNetV2B1", "efficientnet_v2", 6_931_124, "efficientnetv2-b1_notop.h5"),
    ("EfficientNetV2B2", "efficientnet_v2", 8_769_374, "efficientnetv2-b2_notop.h5"),
    ("EfficientNetV2B3", "efficientnet_v2", 12_930_622, "efficientnetv2-b3_notop.h5"),
    ("EfficientNetV2S", "efficientnet_v2", 20_331_360, "efficientnetv2-s_notop.h5"),
    ("EfficientNetV2M", "efficientnet_v2", 53_150_388, "efficientnetv2-m_notop.h5"),
    ("EfficientNetV2L", "efficientnet_v2", 117_746_848, "efficientnetv2-l_notop.h5"),
    ("InceptionResNetV2", "inception_resnet_v2", 54_336_736, f"inception_resnet_v2_{_TF}_notop.h5"),
    ("InceptionV3", "inception_v3", 21_802_784, f"inception_v3_{_TF}_notop.h5"),
    ("MobileNet", "mobilenet", 3_228_864, "mobilenet_1_0_224_tf_no_top.h5"),
    ("MobileNetV2", "mobilenet_v2", 2_257_984, f"mobilenet_v2_{_TF}_1.0_224_no_top.h5"),
    ("MobileNetV3Small", "mobilenet_v3", 939_120, "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"),
    ("MobileNetV3Large", "mobilenet_v3", 2_996_352, "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"),
    ("NASNetMobile", "nasnet", 4_269_716, "nasnet_mobile_no_top.h5"),
    ("NASNetLarge", "nasnet", 84_916_818, "nasnet_large_no_top.h5"),
    ("ResNet50", "resnet", 23_587_712, f"resnet50_{_TF}_notop.h5"),
    ("ResNet101", "resnet", 42_658_176, f"resnet101_{_TF}_notop.h5"),
    ("ResNet152", "resnet", 58_370_944, f"resnet152_{_TF}_notop.h5"),
    ("ResNet50V2", "resnet_v2", 23_564_800, f"resnet50v2_{_TF}_notop.h5"),
    ("ResNet101V2", "resnet_v2", 42_626_560, f"resnet101v2_{_TF}_notop.h5"),
    ("ResNet152V2", "resnet_v2", 58_331_648, f"resnet152v2_{_TF}_notop.h5"),
    ("VGG16", "vgg16", 14_714_688, f"vgg16_{_TF}_notop.h5"),
    ("VGG19", "vgg19", 20_024_384, f"vgg19_{_TF}_notop.h5"),
    ("Xception", "xception", 20_861_480, f"xception_{_TF}_notop.h5"),
)
_PUBLISHED_AS: Final = {
    "nasnet_large_no_top.h5": "NASNet-large-no-top.h5",
    "nasnet_mobile_no_top.h5": "NASNet-mobile-no-top.h5",
}
"""Of the files whose name on the server is not that of Keras's copy: the name on the server."""
_FOLDERS: Final = {
    "efficientnet": "https://storage.googleapis.com/keras-applications",
    "resnet_v2": f"{_STORE}/resnet",
}
"""Of the modules whose files lie in a folder of another name."""
_SMALLEST: Final = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}
_SCALES_PIXELS: Final = {"convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3"}

BACKBONES: Final = {
    name: Backbone(
        name,
        module,
        num_parameters,
        file,
        f"{_FOLDERS.get(module, f'{_STORE}/{module}')}/{_PUBLISHED_AS.get(file, file)}",
        _SMALLEST.get(module, 32),
        module in _SCALES_PIXELS,
    )
    for name, module, num_parameters, file in _NETWORKS
}


def backbones_that_fit(image_size: int, max_parameters: int) -> list[str]:
    """Return the names of the networks that take square images of `image_size` pixels and have at most `max_parameters`
    weights.

    The smallest first; of equals by name. The classifier is not counted, which depends on the image size.
    """
    fitting = [
        backbone
        for backbone in BACKBONES.values()
        if backbone.min_image_size <= image_size and backbone.num_parameters <= max_parameters
    ]
    fitting.sort(key=lambda backbone: (backbone.num_parameters, backbone.name))
    return [backbone.name for backbone in fitting]
