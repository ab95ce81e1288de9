"""Networks that are no row of the table: a function of the user's own, and KerasHub's by their names.

    backbone = own_backbone("my_module:build")          # build(image_size) -> keras.Model
    backbone = own_backbone("kerashub:resnet_50_imagenet")     # or a folder; hf://..., kaggle://...

A module is looked for where Python looks, and then in the working folder of the command (`look_into`). What it may have
beside `build` is `preprocess_input`, from pixels 0..255 to what the network is fed; without it, they are fed as they
are. Tested with KerasHub 0.32.0, an optional package, by its public names.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from galaxytl.networks.families import Backbone, is_features

FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
HUB: Final = "kerashub:"
SCHEMES: Final = ("hf://", "kaggle://")
"""Of presets that KerasHub fetches from elsewhere."""
CLASS_TOKENS: Final = ("DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone", "ViTBackbone")
"""KerasHub's backbones whose first token stands for the image: what its ViTImageClassifier and DeiTImageClassifier take
(`pooling="token"`), and DINOv2's authors (Oquab et al. 2023); of other tokens the mean is taken."""
UNNAMED: Final = ("name", "dtype", "build_config")
"""Of a layer's config, what says nothing of what it computes: layers are numbered by what else a process built."""


def own_backbone(name: str) -> Backbone | None:
    """Return what a name of a trial's backbone names, if it is none of the table."""
    if name.startswith((HUB, *SCHEMES)):
        return HubBackbone(name, "", 0, "", "", min_image_size=1)
    if FUNCTION.fullmatch(name) and not is_features(name):
        return ModuleBackbone(name, "", 0, "", "", min_image_size=1)
    return None


def scheme_hint(name: str) -> str:
    """Return what to write in place of a name that begins as those of SCHEMES do, and goes on otherwise; else ""."""
    meant, _, rest = name.partition(":")
    if f"{meant.lower()}://" not in SCHEMES:
        return ""
    return f". A preset's URI is written {meant.lower()}://{rest.lstrip('/') or 'OWNER/NAME'}"


def look_into(folder: Path | None) -> None:
    """Have modules looked for in a folder too, after all others: a user's own sweep.py must not come before ours."""
    if folder and str(folder) not in sys.path:
        sys.path.append(str(folder))


class ModuleBackbone(Backbone):
    """A function `build(image_size) -> keras.Model` of a module."""

    def build(self, image_size: int, weights: str | None) -> Any:
        """Return what the function builds, checked. Raises ValueError, which says where in the user's file."""
        module, _, function = self.name.partition(":")
        build = getattr(self._module(), function, None)
        if not callable(build):
            raise ValueError(f"backbone must name a function of {module}; it has no function '{function}'")
        return _checked(_called(functools.partial(build, image_size), self.name), self.name, image_size)

    def preprocess_input(self, pixels: Any) -> Any:
        own = getattr(self._module(), "preprocess_input", None)
        return own(pixels) if own else pixels

    def _module(self) -> Any:
        look_into(Path.cwd())
        module = self.name.partition(":")[0]
        try:
            return _called(functools.partial(importlib.import_module, module), f"importing {module}")
        except ValueError as error:
            raise ValueError(f"{error}{scheme_hint(self.name)}") from error


class HubBackbone(Backbone):
    """A backbone of KerasHub: a preset's name, folder or URI."""

    @property
    def preset(self) -> str:
        return self.name.removeprefix(HUB)

    def build(self, image_size: int, weights: str | None) -> Any:
        """Return the preset's network for images of this size, with its weights. Raises ValueError."""
        import keras

        hub = _hub(self.name)
        shape = {"image_shape": (image_size, image_size, 3)}
        found = _called(functools.partial(hub.models.Backbone.from_preset, self.preset, **shape), self.name)
        output = found.output
        if not isinstance(output, keras.KerasTensor) or len(found.inputs) != 1:
            raise ValueError(f"{self.name} must go from one image to one array; it is a {type(found).__name__}")
        if len(output.shape) == 3:
            is_token = type(found).__name__ in CLASS_TOKENS
            output = output[:, 0] if is_token else keras.layers.GlobalAveragePooling1D(name="mean_token")(output)
        return _checked(keras.Model(found.inputs, output), self.name, image_size)

    def preprocess_input(self, pixels: Any) -> Any:
        """Scale as the preset's image converter does; by 1/255 where it has none."""
        scale, offset = _scaling(self.name, self.preset)
        return pixels * np.asarray(scale, np.float32) + np.asarray(offset, np.float32)


@functools.lru_cache(maxsize=4)
def _scaling(name: str, preset: str) -> tuple[Any, Any]:
    try:
        converter = _hub(name).layers.ImageConverter.from_preset(preset)
    except ValueError:  # a backbone that was saved without one
        return 1 / 255, 0.0
    return (1.0 if converter.scale is None else converter.scale), (
        0.0 if converter.offset is None else converter.offset
    )


def _hub(name: str) -> Any:
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise ValueError(
            f"backbone={name} wants KerasHub: pip install 'galaxytl[kerashub]', on each node; got {error}"
        ) from error


def _called(make: Callable[[], Any], what: str) -> Any:
    """Return what somebody else's function gives. Raises ValueError with its error, and where that was."""
    try:
        return make()
    except (Exception, SystemExit) as error:  # whatever it raises: a script that is imported may end by itself
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        text = " ".join(str(error).split())[:500] or "no message"
        raise ValueError(f"{what} raised {type(error).__name__}: {text}{where}") from error


def _is_users(file: str) -> bool:
    return file != __file__ and not any(
        part in file for part in ("importlib", "site-packages", f"{os.sep}galaxytl{os.sep}")
    )


def _checked(model: Any, name: str, image_size: int) -> Any:
    """Return a functional model of one image and one array. Raises ValueError for anything else."""
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"{name} must return a keras.Model; got {type(model).__name__}")
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs)
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ValueError(
            f"{name} must return a functional model, keras.Model(inputs, outputs), whose graph can be seen; "
            f"{type(model).__name__} has none"
        )
    if type(model).call is not type(keras.Model(model.inputs, model.outputs)).call:
        raise ValueError(
            f"{name} must return a functional model without a call method of its own, which its graph does not show; "
            f"{type(model).__name__} has one"
        )
    images, arrays = ([tuple(tensor.shape) for tensor in tensors] for tensors in (model.inputs, model.outputs))
    if images != [(None, image_size, image_size, 3)]:
        raise ValueError(f"{name} must take images (B, {image_size}, {image_size}, 3); its inputs are {images}")
    if len(arrays) != 1 or len(arrays[0]) not in (2, 4) or None in arrays[0][1:]:
        raise ValueError(f"{name} must give features (B, D), or maps (B, h, w, channels); its outputs are {arrays}")
    return model


# What such a network is: two processes, and two versions of a user's file, must not take one for the other.


def architecture_of(calls: list[Any]) -> str:
    """Return the SHA-256 of what the layers of a network are, in the order of its graph, whatever they are called."""
    facts = [
        [type(call.operation).__name__, _config(call.operation), [list(t.shape) for t in call.output_tensors]]
        for call in calls
    ]
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()


def _config(operation: Any) -> Any:
    try:
        return _unnamed(operation.get_config())
    except (NotImplementedError, AttributeError, TypeError, ValueError):  # a layer of the user's own may have none
        return None


def _unnamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unnamed(part) for key, part in value.items() if key not in UNNAMED}
    if isinstance(value, list | tuple):
        return [_unnamed(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else type(value).__name__


def weights_of(model: Any, architecture: str) -> str:
    """Return the SHA-256 of a network and the weights that it has."""
    digest = hashlib.sha256(architecture.encode())
    for variable in model.weights:
        value = np.asarray(variable.value)
        digest.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


# How weights are drawn.


def leaves(model: Any) -> Iterator[Any]:
    """Give the layers of a model, and of models that are layers in it."""
    import keras

    for layer in model.layers:
        inner = getattr(layer, "inference_of", layer)  # of one of `galaxytl.networks.warm.Inference`
        yield from leaves(inner) if isinstance(inner, keras.Model) else [inner]


def initializers(model: Any) -> list[Any]:
    """Return that of each weight of a model, in their order; None where its layer has none by its name."""
    owners = {id(variable): layer for layer in leaves(model) for variable in layer.weights}
    return [initializer(owners.get(id(variable)), variable.name) for variable in model.weights]


def initializer(layer: Any, name: str) -> Any:
    """Return that of a layer's kernel; Keras's depthwise convolutions call theirs "kernel" too."""
    found = getattr(layer, f"{name.removesuffix('_kernel') if name != 'kernel' else name}_initializer", None)
    return found or getattr(layer, "depthwise_initializer", None)
