"""A published weights file: fetched from a server on loopback, and held against its MD5 by Keras's own download."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from galaxytl.data import DataError
from galaxytl.networks.families import Backbone
from galaxytl.networks.published import fetch_published
from tests.fileserver import CONTENT, FileServer, Listener, Step

LIBRARY = """
import os
os.environ["KERAS_BACKEND"] = "numpy"  # which starts in less time
import keras

def Small(include_top, input_shape, weights):
    keras.utils.get_file("small.h5", "{url}", cache_subdir="models", file_hash="{md5}")
"""
"""Downloads as the networks of keras.applications do."""


def small(folder: Path, url: str, md5: str, name: str) -> Backbone:
    (folder / f"{name}.py").write_text(LIBRARY.format(url=url, md5=md5))
    return Backbone("Small", "", 12, "small.h5", url, library=name)


@pytest.mark.rest
def test_a_cut_download_goes_on_and_what_keras_does_not_know_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes with Keras: only its own download says what it does with a file that it finds."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    listener, weights = Listener(), tmp_path / "weights"
    with FileServer({"/small.h5": CONTENT}, [Step(cut=2_000_000)]) as server:
        known = small(tmp_path, f"{server.url}/small.h5", hashlib.md5(CONTENT).hexdigest(), "known_to_keras")
        path = fetch_published(known, weights, listener)
        assert (path, path.read_bytes()) == (weights / "small.h5", CONTENT)
        _, second = server.requests  # and Keras asked for nothing
        assert second.sent < len(CONTENT) / 2
        assert fetch_published(known, weights, listener) == path
        assert len(server.requests) == 2
        path.unlink()
        other = small(tmp_path, f"{server.url}/small.h5", hashlib.md5(b"").hexdigest(), "other_to_keras")
        with pytest.raises(DataError, match="must be the file that Keras knows, by its MD5; it refused what came: "):
            fetch_published(other, weights, listener)
    assert list(weights.iterdir()) == []
