"""The table of networks against `keras.applications`, and what is built from a weights file."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galaxytl.networks.backbones import IMAGENET_DEVIATIONS, backbone_named, build_backbone
from galaxytl.networks.families import BACKBONES, Backbone, backbones_that_fit
from galaxytl.networks.weights import fingerprint_of
from galaxytl.trial import SpecError, TrialSpec

RENAMED = {"NASNetMobile": "NASNet-mobile-no-top.h5", "NASNetLarge": "NASNet-large-no-top.h5"}
GET_FILE = "keras.src.utils.file_utils.get_file"


def applications() -> Any:
    """keras.applications: Keras starts when a test needs it, not when the tests are collected."""
    return importlib.import_module("keras").applications


OLD_SAVER = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
"""Keras's own, for the layout of the published files, has not heard of NumPy 2."""


def published(model: Any, path: Path) -> Path:
    """Write the model's weights in the layout of the published files."""
    layout = importlib.import_module("keras.src.legacy.saving.legacy_h5_format")
    with h5py.File(path, "w") as file:
        layout.save_weights_to_hdf5_group(file, model)
    return path


# The table


def test_all_of_keras_applications_are_there() -> None:
    assert set(BACKBONES) == {name for name, item in vars(applications()).items() if inspect.isfunction(item)}


def test_the_table_says_what_keras_has() -> None:
    """Modules, constructors, smallest sizes, and which networks scale pixels, so that no preprocessing is left."""
    pixels = np.linspace(0, 255, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    for backbone in BACKBONES.values():
        constructor, module = getattr(applications(), backbone.name), getattr(applications(), backbone.module)
        assert {"include_top", "input_shape", "weights"} <= inspect.signature(constructor).parameters.keys()
        smallest, side = backbone.min_image_size, backbone.min_image_size - 1
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            constructor(include_top=False, input_shape=(side, side, 3), weights=None)
        assert np.array_equal(module.preprocess_input(pixels.copy()), pixels) == backbone.scales_pixels, backbone.name
        assert backbone.num_parameters > 0, backbone.name


def test_weights_files() -> None:
    assert len({backbone.weights_file for backbone in BACKBONES.values()}) == len(BACKBONES)
    for backbone in BACKBONES.values():
        assert backbone.weights_url.startswith("https://storage.googleapis.com/")
        assert backbone.weights_url.endswith("/" + RENAMED.get(backbone.name, backbone.weights_file))
        assert "top" in backbone.weights_file


def test_a_name_that_is_almost_right() -> None:
    with pytest.raises(SpecError, match=r"got 'EficientNetB0'\. Did you mean 'EfficientNetB0'\?"):
        backbone_named("EficientNetB0")


def test_backbones_that_fit() -> None:
    assert backbones_that_fit(31, 10**9) == []
    assert backbones_that_fit(32, 4_000_000) == ["MobileNetV3Small", "MobileNetV2", "MobileNetV3Large", "MobileNet"]
    assert set(backbones_that_fit(75, 10**9)) == set(BACKBONES)
    assert set(backbones_that_fit(75, 10**9)) - set(backbones_that_fit(74, 10**9)) == {
        "InceptionV3",
        "InceptionResNetV2",
    }
    assert set(backbones_that_fit(71, 10**9)) - set(backbones_that_fit(70, 10**9)) == {"Xception"}
    limit = BACKBONES["VGG16"].num_parameters
    assert backbones_that_fit(224, limit)[-1] == "VGG16"
    assert "VGG16" not in backbones_that_fit(224, limit - 1)
    sizes = [BACKBONES[name].num_parameters for name in backbones_that_fit(224, 10**9)]
    assert sizes == sorted(sizes)


# What Keras builds


@OLD_SAVER
@pytest.mark.rest
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_keras_asks_for_the_file_of_the_table_and_we_build_the_same_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are built, not trained: how many weights Keras gives one, and what it makes of a file, only it knows."""
    backbone, constructor = BACKBONES[name], getattr(applications(), name)
    model = constructor(include_top=False, input_shape=(32, 32, 3), weights=None)
    assert model.count_params() == backbone.num_parameters
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":  # EfficientNet's
            mean, deviations = np.array([0.485, 0.456, 0.406], np.float32), np.array(IMAGENET_DEVIATIONS, np.float32)
            layer.set_weights([mean, deviations, np.array(0)])
    path, asked = published(model, tmp_path / backbone.weights_file), list[tuple[str, str]]()
    assert len(fingerprint_of(path, backbone)) == 64

    def get_file(fname: str, origin: str, **_: Any) -> str:
        asked.append((fname, origin))
        return str(path)

    monkeypatch.setattr(GET_FILE, get_file)
    size = 224 if name == "MobileNetV2" else 32  # Keras warns of other sizes of it
    downloaded = constructor(include_top=False, input_shape=(size, size, 3), weights="imagenet")
    assert asked == [(backbone.weights_file, backbone.weights_url)]
    spec = TrialSpec(dataset="none", dataset_fingerprint="", backbone=name, image_size=size)
    built, as_it_lies = build_backbone(spec, path), build_backbone(spec, None)
    as_it_lies.load_weights(str(path))
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    wanted, ours, naive = (np.asarray(m(images, training=False)) for m in (downloaded, built, as_it_lies))
    scale = np.abs(wanted).max()
    assert scale > 0
    assert np.abs(ours - wanted).max() <= 1e-4 * scale
    assert (np.abs(naive - wanted).max() > 1e-2 * scale) == (name == "EfficientNetB0")
    assert len(built.weights) == len(downloaded.weights)


# The file of a whole model


def test_an_optimizers_state_beside_the_weights_does_not_count(tmp_path: Path) -> None:
    small = Backbone("Small", "small", 12, "small.h5", "https://example.org/small.h5")
    kernel = np.arange(12, dtype=np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["conv/conv/kernel:0"] = kernel
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["model_weights/conv/conv/kernel:0"] = kernel
        file["optimizer_weights/adam/momentum:0"] = kernel
    assert fingerprint_of(tmp_path / "model.h5", small) == fingerprint_of(tmp_path / "weights.h5", small)
