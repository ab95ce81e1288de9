"""Resizing inside a network gives what Pillow gave before the training, to the last bit."""

from __future__ import annotations

import functools
from typing import Any, Literal

import keras
import numpy as np
import pytest

from galaxytl.data.hot_copy import Size
from galaxytl.networks.resizing import resized

SIDE = 32


@functools.cache
def model(fit: Literal["resize", "crop"]) -> Any:
    image = keras.Input((None, None, 3), dtype="uint8")
    return keras.Model(image, resized(image, SIDE, fit))


@pytest.mark.parametrize("fit", ["resize", "crop"])
@pytest.mark.parametrize("shape", [(32, 32), (31, 33), (69, 69), (256, 256), (100, 41), (17, 300), (2, 5), (1, 1)])
def test_it_is_pillows_to_the_last_bit(fit: Literal["resize", "crop"], shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    images[1] = (images[1] > 127) * 255  # the sharpest there are
    expected = np.stack([Size(SIDE, fit).of(image) for image in images])
    assert np.array_equal(np.asarray(model(fit)(images)), expected)


@pytest.mark.parametrize("length", [4000, 9000])
def test_far_larger_images_are_off_by_one_at_most_and_rarely(length: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, length, 100, 3), dtype=np.uint8)
    differences = np.abs(np.asarray(model("resize")(images)) - Size(SIDE).of(images[0]))
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.01
