"""What a trial with unfrozen blocks trains, and that neither stored activations nor a network kept warm change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl import groups, networks
from galaxytl.backbones import build_backbone, build_head
from galaxytl.blocks import find_blocks
from galaxytl.data import open_dataset, split_indices
from galaxytl.fit import TopShare, compile_model
from galaxytl.trial import COMPLETE, FAILED, TrialSpec
from tests.galaxytl.trials import curves, run, tiny_spec

BASE = TrialSpec(
    dataset="simulated",
    dataset_fingerprint="0" * 64,
    backbone="VGG16",
    weights="random",
    weights_requested="random",
    image_size=32,
    optimizer="sgd",
    learning_rate=0.5,
    batch_size=8,
)
MOBILENET = BASE.replace(backbone="MobileNet", unfrozen_blocks=2, momentum=0.9)
STATISTICS = ("moving_mean", "moving_variance")


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing is kept from the tests before."""
    networks.forget()
    yield
    networks.forget()


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """ "layer/weight" -> its value, of a backbone."""
    return {
        f"{layer.name}/{weight.name}": np.array(np.asarray(weight.value))
        for layer in model.layers
        for weight in layer.weights
    }


def normalise(network: networks.Network, pixels: np.ndarray) -> None:
    """Set BatchNorm's running averages to those of some images: random weights leave too little signal otherwise."""
    layers = [layer for layer in network.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [layer.momentum for layer in layers]
    for layer in layers:
        layer.trainable, layer.momentum = True, 0.0
    network.model(pixels.astype(np.float32) / 255, training=True)
    for layer, value in zip(layers, momentum, strict=True):
        layer.momentum = value


def changed_by_a_step(spec: TrialSpec) -> tuple[set[str], networks.Network]:
    """Weights of the backbone that a training step on images changed."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)
    normalise(networks.backbone(spec, lambda: None), pixels)
    model, network = networks.trained(spec, None, lambda: None)
    before = weights_of(network.model)
    model.train_on_batch(pixels[:8], np.arange(8))
    after = weights_of(network.model)
    return {name for name in before if not np.array_equal(before[name], after[name])}, network


def layers_of_last_blocks(network: networks.Network, count: int) -> set[str]:
    """Names of the layers after the layer that ends the last frozen block, in Keras's order of them."""
    blocks = network.structure.blocks
    names = [layer.name for layer in network.model.layers]
    start = 0 if count == len(blocks) else names.index(blocks[-1 - count].last_layer) + 1
    return set(names[start:])


def weights_in(network: networks.Network, layers: set[str]) -> set[str]:
    return {name for name in weights_of(network.model) if name.split("/")[0] in layers}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 3, "all"])
def test_the_last_blocks_are_trained_and_no_others(depth: int | str) -> None:
    changed, network = changed_by_a_step(BASE.replace(unfrozen_blocks=depth))
    count = len(network.structure.blocks) if depth == "all" else int(depth)
    expected = weights_in(network, layers_of_last_blocks(network, count))
    assert changed == expected
    assert {"block5_conv3/kernel", "block5_conv3/bias"} <= changed
    assert ("block1_conv1/kernel" in changed) == (depth == "all")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "inference"])
def test_batchnorm_of_unfrozen_blocks_does_what_the_spec_says_and_frozen_stays(mode: Any) -> None:
    changed, network = changed_by_a_step(MOBILENET.replace(unfrozen_batchnorm=mode))
    expected = weights_in(network, layers_of_last_blocks(network, 2))
    statistics = {name for name in expected if name.split("/")[1] in STATISTICS}
    assert statistics
    assert {name.split("/")[1] for name in expected} >= {"gamma", "beta"}
    assert changed == (expected if mode == "train" else expected - statistics)


@pytest.mark.slow
def test_what_is_frozen_is_what_keras_counts_as_not_trainable() -> None:
    for depth in (1, 2):
        model, network = networks.trained(MOBILENET.replace(unfrozen_blocks=depth), None, lambda: None)
        expected = weights_in(network, layers_of_last_blocks(network, depth))
        trained = {name for name in expected if name.split("/")[1] not in STATISTICS}
        assert len(model.trainable_weights) == len(trained) + 2  # and the head's
        assert len(model.optimizer.variables) == 2 + len(trained) + 2  # iterations, learning rate, a momentum each


def test_optimizer_has_the_specs_settings() -> None:
    spec = BASE.replace(unfrozen_blocks=1, momentum=0.7, weight_decay=0.01)
    model, _ = networks.trained(spec, None, lambda: None)
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.optimizer.momentum == 0.7
    assert model.optimizer.weight_decay == 0.01
    assert float(model.optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("backbone", ["MobileNet", "VGG16", "ResNet50"])
def test_random_weights_are_drawn_like_kerass_and_follow_the_seed_alone(backbone: str, fresh: None) -> None:
    spec = BASE.replace(backbone=backbone)
    first = [np.array(np.asarray(v.value)) for v in networks.backbone(spec, lambda: None).model.weights]
    other = [np.array(np.asarray(v.value)) for v in networks.backbone(spec.replace(seed=1), lambda: None).model.weights]
    networks.forget()
    again = networks.backbone(spec.replace(learning_rate=0.1), lambda: None).model
    by_keras = build_backbone(spec, None)
    for mine, changed, same, its in zip(first, other, again.weights, by_keras.weights, strict=True):
        assert np.array_equal(mine, np.asarray(same.value))
        theirs = np.asarray(its.value)
        if len(mine.shape) == 1:
            assert np.array_equal(mine, theirs)  # constants
            continue
        assert not np.array_equal(mine, changed)
        assert mine.std() == pytest.approx(theirs.std(), rel=0.15)
        assert abs(mine.mean()) < 6 * theirs.std() / np.sqrt(mine.size)
        assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=0.15)


def test_no_two_kernels_of_one_shape_are_equal(fresh: None) -> None:
    kernels = [np.asarray(v.value) for v in networks.backbone(BASE, lambda: None).model.weights if len(v.shape) > 1]
    for i, one in enumerate(kernels):
        assert not any(np.array_equal(one, other) for other in kernels[:i])


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras's way to save weights
def test_weights_of_a_file_are_there_again_after_training(tmp_path: Path, fresh: None) -> None:
    path = tmp_path / "mobilenet.weights.h5"
    original = build_backbone(MOBILENET, None)
    original.save_weights(path)
    spec = MOBILENET.replace(weights="imagenet", weights_requested="imagenet", weights_fingerprint="a" * 64)
    model, network = networks.trained(spec, None, lambda: path)
    model.train_on_batch(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8))
    assert not all(np.array_equal(weights_of(network.model)[k], v) for k, v in weights_of(original).items())
    again = networks.backbone(spec.replace(seed=3), lambda: path)
    assert again is network
    for name, value in weights_of(original).items():
        assert np.array_equal(weights_of(again.model)[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "depth"), [("VGG16", 1), ("MobileNet", 2)])
def test_stored_activations_change_no_history(
    backbone: str, depth: int, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    spec = tiny_spec(galaxies_file).replace(
        backbone=backbone, preprocessing="divide_by_255", unfrozen_blocks=depth, learning_rate=1e-4, batch_size=4
    )
    from_images = run(spec, galaxies_file, tmp_path / "images", stored=())
    assert from_images.status == COMPLETE, from_images.message
    assert "features" not in from_images.multiply_adds
    for stored in ((depth,), (depth + 3, depth + 2)):
        result = run(spec, galaxies_file, tmp_path / str(stored), stored)
        assert result.status == COMPLETE, result.message
        assert curves(result.history) == pytest.approx(curves(from_images.history), rel=1e-4, abs=1e-4)
        assert result.metrics["loss"] == pytest.approx(from_images.metrics["loss"], rel=1e-3)
        assert result.num_parameters == from_images.num_parameters
        assert result.multiply_adds["train"] < from_images.multiply_adds["train"]
    other = run(spec.replace(shuffle_seed=1), galaxies_file, tmp_path)
    assert curves(other.history) != pytest.approx(curves(from_images.history), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_heads_on_live_activations_end_as_on_stored_ones(galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file)
    stored = run(spec, galaxies_file, tmp_path / "stored", (0,))
    for cuts in ((), (2,)):
        live = run(spec, galaxies_file, tmp_path / str(cuts), cuts)
        assert live.status == COMPLETE, live.message
        assert curves(live.history) == pytest.approx(curves(stored.history), rel=1e-4)
        assert live.multiply_adds["train"] > stored.multiply_adds["train"]


class SeenImages:
    """Images as they are, and the rows that were read of them."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.dtype, self.rows = images, images.shape, images.dtype, set[int]()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.rows |= set(rows.tolist())
        return self.images[rows]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [0, 1])
def test_training_sees_the_turned_images_of_its_epoch_and_nothing_else_is_turned(
    depth: int, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(galaxies_file).replace(unfrozen_blocks=depth, learning_rate=1e-4, augmentation=True)
    seen: dict[int, SeenImages] = {}

    def turned(images: np.ndarray, of: TrialSpec, number: int) -> SeenImages:
        assert of == spec
        return seen.setdefault(number, SeenImages(images))

    with monkeypatch.context() as patch:
        patch.setattr(groups, "turned", turned)
        unturned = run(spec, galaxies_file, tmp_path / "unturned", stored=())
    assert unturned.status == COMPLETE, unturned.message
    splits = split_indices(open_dataset(str(galaxies_file)).labels, spec)
    assert {number: images.rows for number, images in seen.items()} == {n: set(splits.train.tolist()) for n in (1, 2)}
    result = run(spec, galaxies_file, tmp_path / "turned", stored=())
    assert result.status == COMPLETE, result.message
    assert result.history[0]["loss"] != pytest.approx(unturned.history[0]["loss"], rel=1e-5)
    if depth == 0:
        plain = run(spec.replace(augmentation=False), galaxies_file, tmp_path / "plain", stored=(0,))
        assert curves(unturned.history) == pytest.approx(curves(plain.history), rel=1e-4, abs=1e-5)


def test_a_trial_with_augmentation_reads_nothing_stored(galaxies_file: Path, tmp_path: Path) -> None:
    result = run(tiny_spec(galaxies_file).replace(augmentation=True), galaxies_file, tmp_path, stored=(0,))
    assert result.status == FAILED
    assert "stored must be (); got (0,)" in result.message


def test_every_dropout_starts_with_random_numbers_of_its_own_and_of_the_spec() -> None:
    """Also where a network has more of them than its head's."""
    spec = BASE.replace(unfrozen_blocks=1, head_units=4, head_dropout=0.5)
    start = keras.Input((2, 2, 3))
    features = keras.layers.Dropout(0.1)(start)
    model = keras.Model(start, build_head(spec, features.shape[1:])(features))
    compile_model(model, spec)

    def counters(of: TrialSpec) -> list[list[int]]:
        networks._reset(model, of, {})
        known = {id(weight) for weight in model.weights}
        return [np.asarray(v.value).tolist() for v in model.variables if id(v) not in known]

    first = counters(spec)
    assert len(first) == 2
    assert first[0][0] != first[1][0]
    assert [drawn for _, drawn in first] == [0, 0]
    model.fit(np.ones((8, 2, 2, 3), np.float32), np.arange(8), batch_size=4, verbose=0)
    assert counters(spec) == first
    assert all(mine != its for mine, its in zip(first, counters(spec.replace(seed=1)), strict=True))


def test_the_head_starts_anew_in_every_layer() -> None:
    spec = BASE.replace(unfrozen_blocks=1, head_units=4)
    start = keras.Input((2, 2, 3))
    model = keras.Model(start, build_head(spec, (2, 2, 3))(start))
    compile_model(model, spec)
    wanted = [np.asarray(v.value) for v in build_head(spec, (2, 2, 3)).weights]
    for variable in model.weights:
        variable.assign(np.ones(variable.shape))
    networks._reset(model, spec, {})
    for variable, value in zip(model.weights, wanted, strict=True):
        assert np.array_equal(np.asarray(variable.value), value)


def test_the_top_share_is_that_of_all_batches_together() -> None:
    metric = TopShare()
    predicted = np.array([3, 3, 1, 9, 9, 9, 3])
    for batch in (predicted[:4], predicted[4:]):
        metric.update_state(np.zeros(len(batch), np.int32), np.eye(10, dtype=np.float32)[batch])
    assert float(metric.result()) == pytest.approx(3 / 7)
    metric.reset_state()
    metric.update_state(np.zeros(2, np.int32), np.eye(10, dtype=np.float32)[[5, 5]])
    assert float(metric.result()) == 1.0


def test_counted_multiply_adds_of_a_fine_tuned_trial(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of VGG16 at 32 px with its last block unfrozen, read one block earlier."""
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    spec = tiny_spec(galaxies_file).replace(unfrozen_blocks=1)
    counts = [block.multiply_adds for block in find_blocks(build_backbone(spec, None))]
    result = run(spec, galaxies_file, tmp_path, (2,))
    head, epochs = 512 * 10, 2
    step, forward = counts[-2] + 3 * (counts[-1] + head), counts[-2] + counts[-1] + head
    assert result.multiply_adds == pytest.approx(
        {"features": 40 * sum(counts[:-2]), "train": epochs * (28 * step + 12 * forward), "evaluate": 12 * forward}
    )
