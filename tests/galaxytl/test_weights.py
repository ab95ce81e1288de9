from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxytl.backbones import BACKBONES, Backbone
from galaxytl.weights import WeightsError, WeightsNotFoundError, find_weights, fingerprint_of
from tests.galaxies import real_weights

SMALL = Backbone("Small", "small", 12, "small.h5", "https://example.org/small.h5")


def write(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, tensor in tensors.items():
            file.create_dataset(name, data=tensor)
    return path


def test_fingerprint_is_of_the_tensors_not_of_the_layout(tmp_path: Path) -> None:
    kernel, bias = np.arange(10, dtype=np.float32), np.zeros(2, np.float32)
    first = write(tmp_path / "a.h5", {"conv/conv/kernel": kernel, "conv/conv/bias": bias})
    second = write(tmp_path / "b.h5", {"layers/0/vars/0": bias, "layers/0/vars/1": kernel})
    other = write(tmp_path / "c.h5", {"conv/conv/kernel": kernel + 1, "conv/conv/bias": bias})
    assert fingerprint_of(first, SMALL) == fingerprint_of(second, SMALL)
    assert fingerprint_of(first, SMALL) != fingerprint_of(other, SMALL)


def test_weights_of_another_backbone(tmp_path: Path) -> None:
    path = write(tmp_path / "small.h5", {"kernel": np.zeros(13, np.float32)})
    with pytest.raises(WeightsError, match="12 weights of Small without its top; it holds 13, so it is another"):
        fingerprint_of(path, SMALL)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_truncated_weights(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "small.h5", {"kernel": np.zeros(12, np.float32)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match="cannot be read as HDF5, perhaps truncated"):
        fingerprint_of(path, SMALL)


def test_missing_weights_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights("ResNet50", tmp_path)
    message = str(caught.value)
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in message
    assert str(tmp_path) in message
    assert BACKBONES["ResNet50"].weights_url in message


def test_folder_of_the_environment_is_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYTL_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / BACKBONES["VGG16"].weights_file).write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be read as HDF5") as caught:
        find_weights("VGG16")
    assert not isinstance(caught.value, WeightsNotFoundError)


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])
def test_real_weights_are_whole(name: str) -> None:
    weights = find_weights(name, real_weights())
    assert weights.path.name == BACKBONES[name].weights_file
    assert len(weights.fingerprint) == 64
