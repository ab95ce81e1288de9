from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import open_dataset, store
from tests.galaxies import make_images, write_hdf5


def test_hot_copy_is_resized_once_and_read_only(galaxies_file: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(galaxies_file), cache=tmp_path)
    copy = dataset.resized(64)
    assert copy.images.shape == (40, 64, 64, 3)
    assert np.array_equal(copy.images[7], store.resize(make_images()[7], 64))
    file = next(tmp_path.glob("images/*/images.npy"))
    before = file.stat().st_mtime_ns
    assert np.array_equal(dataset.resized(64).images, copy.images)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="read-only"):
        copy.images[0] = 0


def test_resize_keeps_brightness_and_position() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128] = 200
    small = store.resize(image, 64)
    assert np.array_equal(small[:31], np.full((31, 64, 3), 200))
    assert not small[33:].any()


def test_a_killed_build_is_not_used(galaxies_file: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(galaxies_file), cache=tmp_path)
    left = tmp_path / "images" / f".{dataset.fingerprint[:32]}-64px-v{store.FORMAT}.building-dead"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    assert dataset.resized(64).images.shape == (40, 64, 64, 3)
    assert not left.exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.built_once(tmp_path / "copy", build)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_who_asks_at_the_same_time_builds_once(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        time.sleep(0.2)
        built.append(folder)
        (folder / "data").write_text("x")

    threads = [threading.Thread(target=store.built_once, args=(tmp_path / "copy", build)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert (tmp_path / "copy" / "data").read_text() == "x"


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    assert store.cache_dir() == tmp_path
    monkeypatch.delenv("GALAXYTL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert store.cache_dir() == Path("/var/cache/me/galaxytl")


def test_read_only_source(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5", images=make_images(seed=4))
    path.chmod(0o444)
    assert open_dataset(str(path), cache=tmp_path / "cache").resized(32).images.shape == (40, 32, 32, 3)
