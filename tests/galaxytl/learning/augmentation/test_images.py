"""Turned images are the same galaxies, seen otherwise: in each epoch anew, and whoever reads them."""

from __future__ import annotations

import numpy as np
import pytest

from galaxytl.learning.augmentation.images import augmented
from galaxytl.learning.augmentation.symmetries import NUM_WAYS, turn
from galaxytl.trial import TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, augmentation=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (400, 4, 4, 3)).astype(np.uint8)
ROWS = np.arange(400)


def ways(spec: TrialSpec, number: int) -> np.ndarray:
    """How each image was turned, found from the pixels."""
    seen = augmented(IMAGES, spec, number)[ROWS]
    equal = [(turn(IMAGES, way) == seen).all(axis=(1, 2, 3)) for way in range(NUM_WAYS)]
    assert np.array_equal(np.sum(equal, axis=0), np.ones(400))  # exactly one of the eight
    return np.argmax(equal, axis=0)


def test_the_eight_ways_are_the_symmetries_of_the_square() -> None:
    """Each moves pixels as a map of corners to corners does that keeps neighbours neighbours; no two are alike."""
    corners = np.array([[[[1], [2]], [[4], [3]]]], np.uint8)
    found = {tuple(turn(corners, way)[0, :, :, 0][[0, 0, 1, 1], [0, 1, 1, 0]].tolist()) for way in range(NUM_WAYS)}
    clockwise = [tuple(np.roll([1, 2, 3, 4], k).tolist()) for k in range(4)]
    assert found == {*clockwise, *(order[::-1] for order in clockwise)}
    assert np.array_equal(turn(IMAGES, 0), IMAGES)


def test_colours_stay_together() -> None:
    colours = IMAGES.astype(np.int64) @ [1, 256, 65536]
    for way in range(NUM_WAYS):
        again = turn(IMAGES, way).astype(np.int64) @ [1, 256, 65536]
        assert np.array_equal(np.sort(again.reshape(400, 16)), np.sort(colours.reshape(400, 16)))


def test_all_ways_are_taken_about_equally_often() -> None:
    counts = np.bincount(ways(SPEC, 1), minlength=NUM_WAYS)
    assert counts.min() > 25  # 50 expected, 7 the standard deviation
    assert counts.max() < 85


def test_an_epoch_turns_anew_and_each_turns_alike_for_equal_shuffle_seeds() -> None:
    first = ways(SPEC, 1)
    assert np.array_equal(first, ways(SPEC.replace(seed=5, learning_rate=0.1, batch_size=7), 1))
    for other in (ways(SPEC, 2), ways(SPEC.replace(shuffle_seed=1), 1)):
        assert np.mean(first == other) < 0.2  # an eighth by chance


def test_a_row_is_turned_alike_in_whatever_batch_it_is_read() -> None:
    images = augmented(IMAGES, SPEC, 3)
    whole, order = images[ROWS], np.random.default_rng(1).permutation(400)
    assert np.array_equal(images[order], whole[order])
    assert np.array_equal(np.concatenate([images[order[i : i + 7]] for i in range(0, 400, 7)]), whole[order])
    assert np.array_equal(images[np.array([5, 5])], whole[[5, 5]])
    assert (images.shape, images.dtype) == (IMAGES.shape, np.uint8)
    assert images[np.empty(0, np.int64)].shape == (0, 4, 4, 3)


GREY = np.random.default_rng(1).integers(0, 256, (6, 24, 24, 3)).astype(np.uint8)
RICH = SPEC.replace(shift=0.2, zoom=0.3, brightness=0.1)


def test_what_is_done_to_a_row_depends_on_nothing_but_it_the_epoch_and_the_shuffle_seed() -> None:
    images = augmented(GREY, RICH, 3)
    whole, order = images[np.arange(6)], np.array([4, 0, 5, 2, 1, 3])
    assert (whole.shape, whole.dtype) == (GREY.shape, np.uint8)
    assert np.array_equal(np.concatenate([images[order[i : i + 4]] for i in (0, 4)]), whole[order])
    other = RICH.replace(seed=5, batch_size=7, backbone="VGG16")
    assert np.array_equal(augmented(GREY, other, 3)[order], whole[order])
    for changed in (augmented(GREY, RICH, 4), augmented(GREY, RICH.replace(shuffle_seed=1), 3)):
        assert not np.array_equal(changed[order], whole[order])
    turned = augmented(GREY, SPEC, 3).changes.ways
    assert np.array_equal(images.changes.ways, turned)  # whatever else is done


@pytest.mark.parametrize("field", ["shift", "zoom", "brightness"])
def test_each_change_is_that_of_keras_s_own_layer(field: str) -> None:
    """With this spec's own numbers in place of the layer's. What is interpolated Keras leaves between whole numbers."""
    from keras import layers

    spec = SPEC.replace(augmentation=False, **{field: 0.3})
    seen = augmented(GREY, spec, 1)
    changes, pixels = seen.changes, GREY.astype(np.float32)
    if changes.shifts is not None:
        own = {"translations": changes.shifts[:, ::-1] * 24}
        found = layers.RandomTranslation(0.3, 0.3).transform_images(pixels, own)
    elif changes.zooms is not None:
        own = {"height_zoom": changes.zooms[:, None], "width_zoom": changes.zooms[:, None]}
        found = layers.RandomZoom(0.3).transform_images(pixels, own)
    else:
        assert changes.brightness is not None
        own = {"rgb_delta": changes.brightness[:, None, None, None]}
        found = layers.RandomBrightness(0.3).transform_images(pixels, own)
    assert np.abs(np.asarray(found) - seen[np.arange(6)]).max() <= 0.51
    assert np.abs(GREY.astype(int) - seen[np.arange(6)]).max() > 10


def test_changes_stay_within_what_the_spec_allows() -> None:
    changes = augmented(IMAGES, RICH, 1).changes
    assert changes.zooms is not None
    assert changes.shifts is not None
    assert changes.brightness is not None
    assert (changes.zooms.min() > 0.69, changes.zooms.max() < 1.31) == (True, True)
    assert np.abs(changes.shifts).max() <= 0.2
    assert 20 < np.abs(changes.brightness).max() <= 25.5
    plain = augmented(np.full((400, 4, 4, 3), 250, np.uint8), SPEC.replace(augmentation=False, brightness=0.1), 1)
    seen = plain[ROWS]
    assert (seen.min() >= 224, seen.max()) == (True, 255)  # no value runs over
