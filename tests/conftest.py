"""Every test has a cache, a home and a Keras folder of its own, and no test reaches the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.galaxies import write_hdf5


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALAXYTL_CACHE_DIR", str(folder / "cache"))
        patch.setenv("KERAS_HOME", str(folder / "keras"))
        patch.setenv("HOME", str(folder))
        patch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: downloads fail at once
        patch.delenv("GALAXYTL_WEIGHTS_DIR", raising=False)
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        yield


@pytest.fixture(scope="session")
def galaxies_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in Galaxy10's HDF5 layout, 4 a class."""
    return write_hdf5(tmp_path_factory.mktemp("data") / "galaxies.h5")
