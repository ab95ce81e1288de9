"""Networks of a user's own, and KerasHub's by name: which are taken, what they are known by, what they start from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import blocks, warm
from galaxytl.networks.backbones import backbone_named
from galaxytl.networks.weights import WeightsError
from galaxytl.training import train
from galaxytl.trial import SpecError, TrialSpec

MODULE = """
import keras
import numpy as np

def build(image_size, sizes=(3, 3), last="relu", start=0.1):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, sizes[0], padding="same", activation="relu")(image))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, sizes[1], strides=2, activation=last)(x))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    if start:
        model.set_weights([np.full(w.shape, start, "float32") for w in model.weights])
    return model

def preprocess_input(pixels):
    return pixels / 51.0

def drawn(image_size):
    return build(image_size, start=0)

def wider(image_size):
    return build(image_size, sizes=(3, 5))

def linear(image_size):
    return build(image_size, last="linear")

def row(image_size):
    return keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Conv2D(2, 3, strides=16)])

def raises(image_size):
    return image_size / 0

def no_model(image_size):
    return {}

def other_size(image_size):
    return build(16)

def sequence(image_size):
    image = keras.Input((image_size, image_size, 3))
    return keras.Model(image, keras.layers.Reshape((-1, 3))(image))

class Mine(keras.Model):
    def call(self, images):
        return images

def subclassed(image_size):
    return Mine()

class Scaled(keras.Model):
    def __init__(self, size):
        image = keras.Input((size, size, 3))
        super().__init__(image, keras.layers.GlobalAveragePooling2D()(image))

    def call(self, images):
        return 100 * super().call(images)

def scaled(image_size):
    return Scaled(image_size)

def script(image_size):
    raise SystemExit(2)
"""


@pytest.fixture(autouse=True)
def my_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_networks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    importlib.invalidate_caches()
    yield "my_networks"
    sys.modules.pop("my_networks", None)


def structure(name: str, size: int = 32) -> blocks.Structure:
    row = blocks.row_of(name, size)
    assert "refused" not in row, row
    return unnamed(blocks.Structure(**{**row, "blocks": tuple(blocks.Block(**block) for block in row["blocks"])}))


def unnamed(found: blocks.Structure) -> blocks.Structure:
    """Return it without the names of layers, which Keras numbers by what else a process has built."""
    return replace(found, blocks=tuple(replace(block, last_layer="") for block in found.blocks))


def test_a_network_is_cut_where_its_graph_allows_and_known_by_what_it_computes() -> None:
    found = structure("my_networks:build")
    assert [block.output_shape for block in found.blocks] == [(16, 16, 4), (4,)]
    assert len(structure("my_networks:row").blocks) == 1
    assert found == structure("my_networks:build"), "layers that are numbered otherwise are the same"
    assert structure("my_networks:drawn").fingerprint == ""
    assert structure("my_networks:drawn").drawn == found.drawn != ""
    names = ("build", "wider", "linear")
    assert len({structure(f"my_networks:{name}").drawn for name in names}) == 3
    assert len({structure(f"my_networks:{name}").fingerprint for name in names}) == 3


@pytest.mark.rest
def test_another_process_builds_it_anew_each_time(tmp_path: Path) -> None:
    """A user's file may have changed: no structure is kept."""
    (found,) = blocks.structures([("my_networks:build", 32)], tmp_path / "cache").values()
    assert unnamed(found) == structure("my_networks:build")
    assert not list(tmp_path.glob("cache/**/*.json"))
    with pytest.raises(SpecError, match=r"that can be built at 32 px; my_networks:raises raised ZeroDivisionError"):
        blocks.structures([("my_networks:raises", 32)], tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:timm", r"No module named 'hf'. A preset's URI is written hf://timm"),
        ("no_such_module:build", "importing no_such_module raised ModuleNotFoundError: No module named"),
        ("my_networks:biuld", "it has no function 'biuld'"),
        ("my_networks:raises", r"raised ZeroDivisionError: division by zero \(my_networks.py, line 30\)"),
        ("my_networks:script", r"raised SystemExit: 2"),
        ("my_networks:scaled", "without a call method of its own, which its graph does not show; Scaled has one"),
        ("my_networks:no_model", "must return a keras.Model; got dict"),
        ("my_networks:other_size", r"must take images \(B, 32, 32, 3\); its inputs are \[\(None, 16, 16, 3\)\]"),
        ("my_networks:sequence", r"must give features \(B, D\), or maps .*; its outputs are \[\(None, 1024, 3\)\]"),
        ("my_networks:subclassed", "must return a functional model, .*; Mine has none"),
    ],
)
def test_what_is_no_backbone_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbone_named(name).build(32, None)


def test_a_name_that_is_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="or MODULE:FUNCTION of your own, or kerashub:PRESET; got 'VGG61'"):
        backbone_named("VGG61")


SPEC = TrialSpec(
    dataset="simulated",
    dataset_fingerprint="0" * 64,
    backbone="my_networks:build",
    weights="given",
    weights_requested="given",
    image_size=32,
    preprocessing="backbone",
)


def test_it_starts_from_what_it_comes_with_or_from_weights_that_follow_the_seed() -> None:
    built = structure(SPEC.backbone)
    given = SPEC.replace(weights_fingerprint=built.fingerprint)
    network = warm.backbone(given, lambda: None)
    assert all(np.all(np.asarray(v) == np.float32(0.1)) for v in network.model.weights)
    seen = network.forward(len(built.blocks), 0)(np.full((1, 32, 32, 3), 51, np.uint8))
    assert np.asarray(seen).shape == (1, 4)

    drawn = SPEC.replace(weights="random", weights_requested="random", weights_fingerprint=built.drawn)
    first = [np.array(v) for v in warm.backbone(drawn, lambda: None).model.weights]
    assert [float(w[0]) for w in first if w.ndim == 1] == [0, 0, 1, 0, 0, 1]  # biases, gamma, beta, mean, variance
    warm.backbone(drawn.replace(seed=1), lambda: None)
    again = [np.array(v) for v in warm.backbone(drawn, lambda: None).model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    warm.forget()
    afresh = [np.array(v) for v in warm.backbone(drawn, lambda: None).model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(first, afresh, strict=True))
    with pytest.raises(WeightsError, match="must build the network 000000000000 that the sweep saw; it builds"):
        warm.backbone(SPEC.replace(weights_fingerprint="0" * 64), lambda: None)
    warm.forget()


def test_it_is_trained_frozen_and_unfrozen_alike_on_every_node(galaxies_file: Path, tmp_path: Path) -> None:
    from galaxytl.data import open_dataset

    dataset, built = open_dataset(str(galaxies_file)), structure(SPEC.backbone)
    spec = SPEC.replace(**dataset.facts, num_epochs=1, stratified=True, weights_fingerprint=built.fingerprint)
    total = sum(block.num_parameters for block in built.blocks) + 5 * 10
    for depth, stored in ((0, (0,)), (1, (1,)), ("all", ())):
        group = Group((spec.replace(unfrozen_blocks=depth),), stored)
        (row,) = train(group, Workplace(str(galaxies_file), tmp_path / "out", modules=tmp_path))
        assert row.status == "COMPLETE", row.message
        assert row.num_parameters["total"] == total


def test_kerashub_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for name in ("kerashub:resnet_50_imagenet", "hf://timm/resnet18.a1_in1k"):
        with pytest.raises(ValueError, match=r"wants KerasHub: pip install 'galaxytl\[kerashub\]', on each node"):
            backbone_named(name).build(32, None)


def test_a_local_preset_of_kerashub_is_a_backbone(tmp_path: Path) -> None:
    hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed: pip install 'galaxytl[kerashub]'")
    blocks_of = {"stackwise_num_filters": [64, 64], "stackwise_num_blocks": [1, 1], "stackwise_num_strides": [1, 2]}
    stem = {"input_conv_filters": [64], "input_conv_kernel_sizes": [3], "block_type": "basic_block"}
    hub.models.ResNetBackbone(**stem, **blocks_of, image_shape=(32, 32, 3)).save_to_preset(str(tmp_path / "resnet"))
    found = structure(f"kerashub:{tmp_path}/resnet")
    assert len(found.blocks) > 1
    assert found.fingerprint
    assert found.shape_at(0)[2] == 64
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "intermediate_dim": 16, "patch_size": 8}
    small: dict[str, Any] = {"image_shape": (32, 32, 3), "position_embedding_shape": (32, 32, 3)}
    token = hub.models.DINOV2Backbone(**sizes, **small)
    token.save_to_preset(str(tmp_path / "dino"))
    model = backbone_named(f"kerashub:{tmp_path}/dino").build(32, None)
    image = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(model(image), np.asarray(token(image))[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="kerashub:no_such_preset raised"):
        backbone_named("kerashub:no_such_preset").build(32, None)
