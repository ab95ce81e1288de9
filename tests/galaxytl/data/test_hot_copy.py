from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import hot_copy, open_dataset
from tests.galaxies import make_images, write_hdf5


def test_hot_copy_is_resized_once_and_read_only(galaxies_file: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(galaxies_file), cache=tmp_path)
    copy = dataset.resized(64)
    assert copy.images.shape == (40, 64, 64, 3)
    assert np.array_equal(copy.images[7], hot_copy.Size(64).of(make_images()[7]))
    file = next(tmp_path.glob("images/*/images.npy"))
    before = file.stat().st_mtime_ns
    assert np.array_equal(dataset.resized(64).images, copy.images)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="read-only"):
        copy.images[0] = 0


def test_resize_keeps_brightness_and_position() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128] = 200
    small = hot_copy.Size(64).of(image)
    assert np.array_equal(small[:31], np.full((31, 64, 3), 200))
    assert not small[33:].any()


def test_read_only_source(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5", images=make_images(seed=4))
    path.chmod(0o444)
    assert open_dataset(str(path), cache=tmp_path / "cache").resized(32).images.shape == (40, 32, 32, 3)
