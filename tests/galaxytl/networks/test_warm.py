"""What a trial with unfrozen blocks trains, and that neither stored activations nor a network kept warm change it.

Networks are compiled here, most of them of three blocks: what Keras trains, only Keras can show."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.data import open_dataset, split_indices
from galaxytl.learning.augmentation import images as epoch_images
from galaxytl.learning.augmentation import seen as seen_images
from galaxytl.networks import warm
from galaxytl.networks.backbones import build_backbone, build_head
from galaxytl.networks.recipe.compiled import TopShare, compile_model
from galaxytl.trial import COMPLETE, FAILED, TrialSpec
from tests.galaxytl import toy
from tests.galaxytl.trials import curves, run, tiny_spec

pytestmark = pytest.mark.usefixtures("toy_backbone")

BASE = toy.SPEC.replace(optimizer="sgd", learning_rate=0.5, momentum=0.9)
STATISTICS = ("moving_mean", "moving_variance")


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """ "layer/weight" -> its value, of a backbone."""
    return {
        f"{layer.name}/{weight.name}": np.array(np.asarray(weight.value))
        for layer in model.layers
        for weight in layer.weights
    }


@pytest.mark.parametrize(("depth", "mode"), [(1, "inference"), (2, "train"), ("all", "train")])
def test_the_last_blocks_are_trained_and_no_others(depth: Any, mode: Any) -> None:
    """BatchNorm's averages follow the batches as the spec says, and in frozen blocks never."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    spec = BASE.replace(unfrozen_blocks=depth, unfrozen_batchnorm=mode)
    model, network = warm.trainable(spec, None, lambda: None)
    before = weights_of(network.model)
    model.train_on_batch(pixels, np.arange(8))
    after = weights_of(network.model)
    unfrozen = ("block3_", "block2_", "block1_")[: toy.NUM_BLOCKS if depth == "all" else depth]
    expected = {name for name in before if name.startswith(unfrozen)}
    trained = {name for name in expected if name.split("/")[1] not in STATISTICS}
    assert {name.split("/")[1] for name in expected - trained} == set(STATISTICS)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == (expected if mode == "train" else trained)
    assert len(model.trainable_weights) == len(trained) + 2  # and the head's
    assert len(model.optimizer.variables) == 2 + len(trained) + 2  # iterations, learning rate, a momentum each
    warm.backbone(spec, lambda: None)  # for the next trial
    assert all(np.array_equal(before[name], value) for name, value in weights_of(network.model).items())


@pytest.mark.parametrize("backbone", [toy.NAME, pytest.param("MobileNet", marks=pytest.mark.rest)])
def test_random_weights_are_drawn_like_kerass_and_follow_the_seed_alone(backbone: str) -> None:
    spec = BASE.replace(backbone=backbone)
    first = [np.array(np.asarray(v.value)) for v in warm.backbone(spec, lambda: None).model.weights]
    other = [np.array(np.asarray(v.value)) for v in warm.backbone(spec.replace(seed=1), lambda: None).model.weights]
    warm.forget()
    again = warm.backbone(spec.replace(learning_rate=0.1), lambda: None).model
    by_keras = build_backbone(spec, None)
    for mine, changed, same, its in zip(first, other, again.weights, by_keras.weights, strict=True):
        assert np.array_equal(mine, np.asarray(same.value))
        theirs = np.asarray(its.value)
        if len(mine.shape) == 1:
            assert np.array_equal(mine, theirs)  # constants
            continue
        assert not np.array_equal(mine, changed)
        error = max(0.02, 4 / np.sqrt(mine.size))
        assert mine.std() == pytest.approx(theirs.std(), rel=error)
        assert abs(mine.mean()) < 6 * theirs.std() / np.sqrt(mine.size)
        assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=error)
    kernels = [value for value in first if len(value.shape) > 1]
    assert not any(np.array_equal(one, another) for one, another in itertools.combinations(kernels, 2))


@pytest.mark.parametrize(
    ("backbone", "depth", "cuts"),
    [
        (toy.NAME, 1, [(1,)]),
        pytest.param("MobileNet", 2, [(5, 4)], marks=pytest.mark.rest),
    ],
)
def test_stored_activations_change_no_history_and_less_is_computed(
    backbone: str,
    depth: int,
    cuts: list[tuple[int, ...]],
    galaxies_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = tiny_spec(galaxies_file).replace(backbone=backbone, unfrozen_blocks=depth, learning_rate=1e-4, batch_size=4)
    from_images = run(spec, galaxies_file, tmp_path / "images", stored=())
    assert from_images.status == COMPLETE, from_images.message
    structure = warm.backbone(spec, lambda: None).structure
    head = np.prod(structure.shape_at(0)) * 10
    for stored in ((), *cuts):
        monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache" / str(stored)))
        result = run(spec, galaxies_file, tmp_path / str(stored), stored) if stored else from_images
        assert result.status == COMPLETE, result.message
        assert curves(result.history) == pytest.approx(curves(from_images.history), rel=1e-4, abs=1e-4)
        assert result.metrics["loss"] == pytest.approx(from_images.metrics["loss"], rel=1e-3)
        assert result.num_parameters == from_images.num_parameters
        start = stored[-1] if stored else len(structure.blocks)
        frozen, trained = structure.multiply_adds(start, depth), structure.multiply_adds(depth, 0) + head
        counts = {"train": 2 * (28 * (frozen + 3 * trained) + 12 * (frozen + trained))}  # two epochs
        counts["evaluate"] = 12 * (frozen + trained)
        if stored:
            counts["features"] = 40 * structure.multiply_adds(len(structure.blocks), start)
        assert result.multiply_adds == pytest.approx(counts)
    other = run(spec.replace(shuffle_seed=1), galaxies_file, tmp_path, stored)
    assert curves(other.history) != pytest.approx(curves(from_images.history), rel=1e-4, abs=1e-4)


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


@pytest.mark.parametrize("depth", [0, 1])
def test_training_sees_the_turned_images_of_its_epoch_and_nothing_else_is_turned(
    depth: int, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(galaxies_file).replace(unfrozen_blocks=depth, learning_rate=1e-4, augmentation=True)
    seen: dict[int, SeenImages] = {}

    def augmented(images: np.ndarray, of: TrialSpec, number: int) -> SeenImages:
        assert of == spec
        return seen.setdefault(number, SeenImages(images))

    assert seen_images.augmented is epoch_images.augmented
    monkeypatch.setattr(seen_images, "augmented", augmented)
    unturned = run(spec, galaxies_file, tmp_path / "unturned", stored=())
    assert unturned.status == COMPLETE, unturned.message
    splits = split_indices(open_dataset(str(galaxies_file)).labels, spec)
    assert {number: images.rows for number, images in seen.items()} == {n: set(splits.train.tolist()) for n in (1, 2)}
    if depth == 0:
        plain = run(spec.replace(augmentation=False), galaxies_file, tmp_path / "plain", stored=(0,))
        assert curves(unturned.history) == pytest.approx(curves(plain.history), rel=1e-4, abs=1e-5)
        refused = run(spec, galaxies_file, tmp_path, stored=(0,))
        assert refused.status == FAILED
        assert "stored must be (); got (0,)" in refused.message


def a_head(spec: TrialSpec, *before: Any) -> Any:
    """A compiled network of a head, and layers before it, on features (2, 2, 3)."""
    start = features = keras.Input((2, 2, 3))
    for layer in before:
        features = layer(features)
    model = keras.Model(start, build_head(spec, (2, 2, 3))(features))
    compile_model(model, spec)
    return model


def test_every_dropout_starts_with_random_numbers_of_its_own_and_of_the_spec() -> None:
    """Also where a network has more of them than its head's."""
    spec = BASE.replace(unfrozen_blocks=1, head_units=4, head_dropout=0.5)
    model = a_head(spec, keras.layers.Dropout(0.1))

    def counters(of: TrialSpec) -> list[list[int]]:
        warm._reset(model, of, {})
        known = {id(weight) for weight in model.weights}
        return [np.asarray(v.value).tolist() for v in model.variables if id(v) not in known]

    first = counters(spec)
    assert len(first) == 2
    assert first[0][0] != first[1][0]
    assert [drawn for _, drawn in first] == [0, 0]
    model.fit(np.ones((8, 2, 2, 3), np.float32), np.arange(8), batch_size=4, verbose=0)
    assert counters(spec) == first
    assert all(mine != its for mine, its in zip(first, counters(spec.replace(seed=1)), strict=True))


def test_the_top_share_is_that_of_all_batches_together() -> None:
    metric = TopShare(10)
    for predicted in ([3, 3, 1, 9], [9, 9, 3]):
        metric.update_state(np.zeros(len(predicted), np.int32), np.eye(10, dtype=np.float32)[predicted])
    assert float(metric.result()) == pytest.approx(3 / 7)
    metric.reset_state()
    metric.update_state(np.zeros(2, np.int32), np.eye(10, dtype=np.float32)[[5, 5]])
    assert float(metric.result()) == 1.0


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")  # Keras's way to save weights
def test_weights_of_a_file_are_there_again_after_training(tmp_path: Path) -> None:
    path = tmp_path / "toy.weights.h5"
    original = build_backbone(BASE, None)
    original.save_weights(path)
    spec = BASE.replace(
        weights="imagenet", weights_requested="imagenet", weights_fingerprint="a" * 64, unfrozen_blocks=2
    )
    model, network = warm.trainable(spec, None, lambda: path)
    model.train_on_batch(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8))
    wanted = weights_of(original)
    assert not all(np.array_equal(weights_of(network.model)[name], value) for name, value in wanted.items())
    again = warm.backbone(spec.replace(seed=3), lambda: path)
    assert again is network
    for name, value in wanted.items():
        assert np.array_equal(weights_of(again.model)[name], value), name
