"""Blocks against published counts, hand-made graphs, and the networks that they are cut from.

Graphs are built here, and none is trained: where one may be cut, only Keras's own record of it says."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from galaxytl.networks import blocks
from galaxytl.networks.backbones import build_backbone
from galaxytl.networks.blocks import Block, Structure, between, cut_tensor, find_blocks, structures
from galaxytl.networks.families import BACKBONES
from galaxytl.trial import SpecError, TrialSpec
from tests.galaxytl import toy


def layers() -> Any:
    """keras.layers: Keras starts when a test needs it, not when the tests are collected."""
    return importlib.import_module("keras.layers")


def model_of(graph: Callable[[Any], Any], shape: tuple[int | None, ...] = (8, 8, 4)) -> Any:
    """A model from images of `shape` to what `graph` makes of them."""
    keras = importlib.import_module("keras")
    image = keras.Input(shape)
    return keras.Model(image, graph(image))


def last_layers(graph: Callable[[Any], Any]) -> list[str]:
    return [block.last_layer for block in find_blocks(model_of(graph))]


def conv(name: str, filters: int = 4, size: int = 1) -> Any:
    return layers().Conv2D(filters, size, padding="same", name=name)


# Graphs made by hand


def test_a_residual_unit_ends_after_the_activation_of_its_sum() -> None:
    def graph(x: Any) -> Any:
        x = conv("stem")(x)
        for i in "ab":
            y = layers().Add(name=f"{i}_add")([x, conv(f"{i}_2")(conv(f"{i}_1")(x))])
            x = layers().ReLU(name=f"{i}_out")(layers().BatchNormalization(name=f"{i}_bn")(y))
        return x

    assert last_layers(graph) == ["a_out", "b_out"]  # the stem has no end of its own, and joins the first unit


def test_a_gate_ends_no_block_and_a_pointwise_convolution_after_it_does() -> None:
    def graph(x: Any) -> Any:
        x = layers().DepthwiseConv2D(3, padding="same", name="depthwise")(conv("expand")(x))
        gate = conv("excite")(layers().GlobalAveragePooling2D(keepdims=True)(x))
        x = layers().Multiply(name="gated")([x, gate])
        return conv("end", size=3)(conv("project")(x))

    assert last_layers(graph) == ["project", "end"]


def test_a_cut_comes_before_a_padding_and_after_a_pooling() -> None:
    def graph(x: Any) -> Any:
        x = layers().MaxPooling2D(name="pool")(layers().ReLU(name="relu")(conv("a")(x)))
        x = layers().ZeroPadding2D(name="pad")(x)
        return layers().ZeroPadding2D(name="last_pad")(conv("b")(x))

    assert last_layers(graph) == ["pool", "last_pad"]


def test_normalisation_before_the_next_kernel_belongs_to_the_block_before() -> None:
    def graph(x: Any) -> Any:
        x = layers().Concatenate(name="concat")([x, conv("a")(x)])
        x = layers().ReLU(name="relu")(layers().BatchNormalization(name="bn")(x))
        return conv("b")(x)

    assert last_layers(graph) == ["relu", "b"]


def test_costs_of_known_layers() -> None:
    def graph(x: Any) -> Any:  # (8, 8, 4)
        x = layers().Conv2D(6, 3, strides=2, groups=2, padding="same", use_bias=False)(x)  # (4, 4, 6)
        x = layers().MaxPooling2D()(x)  # (2, 2, 6)
        x = layers().DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)  # (2, 2, 12)
        x = layers().Dense(5)(x)
        return layers().SeparableConv2D(7, 3, padding="same")(x)

    assert [
        (block.output_shape, block.multiply_adds, block.num_parameters) for block in find_blocks(model_of(graph))
    ] == [
        ((2, 2, 6), 3 * 3 * 2 * 6 * 16, 3 * 3 * 2 * 6),
        ((2, 2, 5), (3 * 3 * 12 + 12 * 5) * 4, 3 * 3 * 12 + 12 + 12 * 5 + 5),
        ((2, 2, 7), (3 * 3 * 5 + 5 * 7) * 4, 3 * 3 * 5 + 5 * 7 + 7),
    ]


def test_a_layer_called_twice_has_its_weights_once_and_its_cost_twice() -> None:
    def graph(x: Any) -> Any:
        shared = conv("shared")
        return shared(layers().MaxPooling2D()(shared(x)))

    first, second = find_blocks(model_of(graph))
    assert (first.multiply_adds, second.multiply_adds) == (4 * 4 * 64, 4 * 4 * 16)
    assert (first.num_parameters, second.num_parameters) == (4 * 4 + 4, 0)


def test_a_model_as_a_layer_counts_what_is_in_it() -> None:
    keras = importlib.import_module("keras")

    def graph(x: Any) -> Any:
        inner = keras.Sequential([conv("inner"), layers().BatchNormalization()], name="outer")
        return conv("end")(layers().MaxPooling2D(name="pool")(inner(x)))

    model = model_of(graph)
    assert [(block.last_layer, block.multiply_adds) for block in find_blocks(model)] == [("pool", 1024), ("end", 256)]
    assert sum(block.num_parameters for block in find_blocks(model)) == model.count_params()


def test_without_a_kernel_there_is_one_block() -> None:
    (block,) = find_blocks(model_of(layers().MaxPooling2D(name="pool")))
    assert block == Block("pool", (4, 4, 4), 0, 0)


def test_what_has_no_blocks_is_refused() -> None:
    keras = importlib.import_module("keras")
    images = [keras.Input((8, 8, 4)), keras.Input((8, 8, 4))]
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        find_blocks(keras.Model(images, layers().Add()(images)))
    with pytest.raises(ValueError, match="fixed image size"):
        find_blocks(model_of(conv("any_size"), (None, None, 3)))


def test_cuts_that_are_not_there_are_refused() -> None:
    model = model_of(lambda x: conv("b")(layers().MaxPooling2D()(conv("a")(x))))
    assert cut_tensor(model, 2) is model.inputs[0]
    assert cut_tensor(model, 0) is model.outputs[0]
    for cut in (-1, 3):
        with pytest.raises(ValueError, match=r"between 0 \(the output\) and 2 \(the input\)"):
            cut_tensor(model, cut)
    with pytest.raises(ValueError, match="must be greater than last_cut"):
        between(model, 1, 1)


def test_structure_counts_from_the_output() -> None:
    structure = Structure("VGG16", 64, (Block("a", (32, 32, 8), 100, 1), Block("b", (16, 16, 9), 10, 2)))
    assert [structure.shape_at(cut) for cut in range(3)] == [(16, 16, 9), (32, 32, 8), (64, 64, 3)]
    costs = [structure.multiply_adds(*cuts) for cuts in ((2, 0), (2, 1), (1, 0), (1, 1))]
    assert costs == [110, 100, 10, 0]
    with pytest.raises(ValueError, match="at least last_cut"):
        structure.multiply_adds(0, 1)
    with pytest.raises(ValueError, match="a cut must be"):
        structure.shape_at(3)


# Networks of keras.applications

NETWORKS = {  # name: image size, blocks, published multiply-adds less the classifier's (features x 1000)
    "VGG16": (224, 5, 15.47e9 - 0.1236e9),  # torchvision's VGG16_Weights; its classifier has three Dense layers
    "VGG19": (224, 5, 19.632e9 - 0.1236e9),  # torchvision's VGG19_Weights; the same classifier
    "MobileNet": (224, 13, 569e6 - 1e6),  # Howard et al. 2017, Table 4
    "ResNet50": (224, 17, 3.8e9 - 2e6),  # He et al. 2015, Table 1
    "DenseNet121": (224, 62, 2.834e9 - 1e6),  # torchvision's DenseNet121_Weights
    "EfficientNetB0": (224, 17, 0.39e9 - 1.3e6),  # Tan and Le 2019, Table 2
    "MobileNetV2": (224, 18, 300e6 - 1.3e6),  # Sandler et al. 2018, Table 4
    "InceptionV3": (299, 13, 5.713e9 - 2e6),  # torchvision's Inception_V3_Weights
    "Xception": (299, 14, None),  # its paper has no count
    "ConvNeXtTiny": (224, 18, 4.456e9 - 0.8e6),  # torchvision's ConvNeXt_Tiny_Weights
    "NASNetMobile": (224, 1, 564e6 - 1e6),  # Zoph et al. 2018, Table 2. Each cell sees the two before it: no cuts
}


QUICK = ("VGG16", "MobileNet")
"""The others are in `make test-all` only."""


def ask(cache: Path) -> None:
    """Find, for a cache folder, the structures of QUICK, and one that Keras refuses."""
    wanted = [("VGG16", 16), *((name, NETWORKS[name][0]) for name in QUICK)]
    with pytest.raises(SpecError, match=r"accepts for VGG16; got 16: Input size must be at least 32x32"):
        structures(wanted, cache)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with them; this process, which has Keras, is asked."""
    cache = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_ask_keras", toy.ask_here)
        ask(cache)
    return cache


@pytest.mark.rest
def test_another_process_says_the_same(asked: Path, tmp_path: Path) -> None:
    ask(tmp_path)
    wanted = [(name, NETWORKS[name][0]) for name in QUICK]
    assert structures(wanted, tmp_path) == structures(wanted, asked)


def check_structure(name: str, cache: Path) -> None:
    size, num_blocks, published = NETWORKS[name]
    structure = structures([(name, size)], cache)[name, size]
    assert len(structure.blocks) == num_blocks
    if published:
        assert structure.multiply_adds(num_blocks, 0) == pytest.approx(published, rel=0.02)
    assert sum(block.num_parameters for block in structure.blocks) == BACKBONES[name].num_parameters


@pytest.mark.parametrize("name", QUICK)
def test_blocks_and_published_costs(name: str, asked: Path) -> None:
    check_structure(name, asked)


@pytest.mark.rest
def test_blocks_and_published_costs_of_other_networks(asked: Path) -> None:
    others = [name for name in NETWORKS if name not in QUICK]
    structures([(name, NETWORKS[name][0]) for name in others], asked)  # one process for all
    for name in others:
        check_structure(name, asked)


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        (toy.NAME, (0, 1, 2, 3)),
        *(
            pytest.param(*case, marks=pytest.mark.rest)
            for case in (
                ("ResNet50", (0, 3, 12, 17)),
                ("EfficientNetB0", (0, 1, 8, 17)),
                ("ConvNeXtTiny", (0, 9, 17, 18)),
            )
        ),
    ],
)
@pytest.mark.usefixtures("toy_backbone")
def test_pieces_one_after_the_other_are_the_network(name: str, cuts: tuple[int, ...]) -> None:
    spec = TrialSpec(dataset="none", dataset_fingerprint="", backbone=name, image_size=32)
    model = build_backbone(spec, None)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    whole, found = np.asarray(model(images, training=False)), find_blocks(model)
    assert len(found) == cuts[-1]
    tensor, weights, pieces = images, 0, list[Block]()
    for last, first in reversed(list(itertools.pairwise(cuts))):
        piece = between(model, first, last)
        tensor, weights = np.asarray(piece(tensor, training=False)), weights + piece.count_params()
        if name in (toy.NAME, "ResNet50"):  # a pad or a scale at an edge may count to another block
            pieces += find_blocks(piece)
            assert tuple(pieces) == found[: len(pieces)]
    scale = np.abs(whole).max()
    assert scale > 0
    assert np.abs(tensor - whole).max() <= 1e-5 * scale
    assert weights == model.count_params()
    assert find_blocks(model) == found


# Structures, from a process of their own


def test_structures_are_found_without_keras_and_then_read(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that asks is one in which nothing was imported yet."""
    wanted = [(name, 224) for name in QUICK]
    code = f"import sys; from galaxytl.networks.blocks import structures; structures({wanted}); print(*sys.modules)"
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(asked))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"keras", "tensorflow", "jax"}.isdisjoint(run.stdout.split())

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a structure that is stored must not be asked for again")

    monkeypatch.setattr(blocks, "subprocess", SimpleNamespace(run=refuse))
    stored = structures(wanted)
    assert list(stored) == wanted
    assert stored["MobileNet", 224].shape_at(1) == (7, 7, 1024)
    vgg16 = build_backbone(TrialSpec(dataset="none", dataset_fingerprint="", backbone="VGG16"), None)
    assert stored["VGG16", 224].blocks == find_blocks(vgg16)


def test_a_damaged_structure_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is a fake, whose answer is written down."""
    block = Block("end", (1, 1, 512), 5, 6)
    answer, asked = Structure("VGG16", 32, (block,)), list[list[str]]()

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command[-2:])
        return SimpleNamespace(returncode=0, stdout=json.dumps([dataclasses.asdict(answer)]))

    monkeypatch.setattr(blocks, "subprocess", SimpleNamespace(run=run))
    for _ in range(2):
        for _ in range(2):
            assert structures([("VGG16", 32)], tmp_path) == {("VGG16", 32): answer}
        (path,) = (tmp_path / "structures").glob("VGG16-32px-*.json")
        path.write_text(path.read_text()[:100])
    assert asked == [["VGG16", "32"]] * 2


def test_an_unknown_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Did you mean 'VGG16'"):
        structures([("VGG166", 32)], tmp_path)
