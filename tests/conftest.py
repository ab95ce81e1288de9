"""Every test has a cache, a home and a Keras folder of its own, and no test reaches the network."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import faults
from tests.galaxies import write_hdf5


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported: some import Keras, which reads its folder then."""
    home = tempfile.TemporaryDirectory(prefix="galaxytl-tests-")
    config.add_cleanup(home.cleanup)
    folder = Path(home.name)
    os.environ |= {
        "GALAXYTL_CACHE_DIR": str(folder / "cache"),
        "KERAS_HOME": str(folder / "keras"),
        "HOME": str(folder),
        "https_proxy": "http://127.0.0.1:9",  # nothing listens there: downloads fail at once
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    os.environ.pop("GALAXYTL_WEIGHTS_DIR", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it


@pytest.fixture(scope="session")
def galaxies_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in Galaxy10's HDF5 layout, 4 a class."""
    return write_hdf5(tmp_path_factory.mktemp("data") / "galaxies.h5")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    with contextlib.ExitStack() as mounted:
        try:
            disk = mounted.enter_context(faults.small_disk(tmp_path / "disk", 2))
        except OSError as error:
            pytest.skip(str(error))
        yield disk
