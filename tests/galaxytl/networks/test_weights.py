from __future__ import annotations

import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxytl.networks.families import BACKBONES, Backbone
from galaxytl.networks.weights import (
    WeightsError,
    WeightsNotFoundError,
    check_fits,
    fetch_weights,
    find_weights,
    fingerprint_of,
)
from tests.fileserver import Listener
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


NAME = "Small"
SHAPES = (((2, 5),), ((2,), ()))
"""Of a layer with a kernel, and of one with a bias and a scalar: 13 numbers."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as Keras publishes them, in a folder of its own, and its network in the table."""
    monkeypatch.setitem(BACKBONES, NAME, Backbone(NAME, "small", 13, "small.h5", SMALL.weights_url))
    path = tmp_path / "small.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names0"] = [b"input", b"conv"]
        file.attrs["layer_names1"] = ["norm"]
        for layer, names in (("input", []), ("conv", ["conv/kernel"]), ("norm", ["norm/bias", "norm/count"])):
            file.create_group(layer).attrs["weight_names"] = names
        file["conv/conv/kernel"] = np.zeros((2, 5), np.float32)
        file["norm/norm/bias"] = np.zeros(2, np.float32)
        file["norm/norm/count"] = np.float32(0)
    return path


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        find_weights(NAME, path.parent, download=False)
    assert not isinstance(caught.value, WeightsNotFoundError)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_published_file_fits_its_network_and_no_other(published: Path) -> None:
    weights = find_weights(NAME, published.parent)
    assert weights.path == published
    check_fits(published, NAME, SHAPES)
    check_fits(published, NAME, ())
    with pytest.raises(WeightsError, match=r"layer 1 of 2 with weights has the shapes 5x2; there it has 2x5\. Get it"):
        check_fits(published, NAME, (((5, 2),), SHAPES[1]))
    with pytest.raises(WeightsError, match="layer 2 of 1 with weights has the shapes none; there it has 2, one number"):
        check_fits(published, NAME, SHAPES[:1])


def test_other_layouts_under_a_published_name_are_refused_with_the_way_out(published: Path) -> None:
    with h5py.File(published, "w") as file:
        file["layers/conv/vars/0"] = np.zeros(13, np.float32)
    message = refused(published)
    assert "it is in that of Keras 3's .weights.h5. Get it from https://example.org/small.h5, or load yours" in message
    write(published, {"kernel": np.zeros(13, np.float32)})
    assert "HDF5 with layer_names; it is in another." in refused(published)
    with zipfile.ZipFile(published, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "it is a .keras archive" in refused(published)


def test_weights_that_lie_elsewhere_or_are_no_numbers_are_refused(published: Path) -> None:
    whole = published.read_bytes()
    for link in (h5py.ExternalLink("other.h5", "kernel"), h5py.SoftLink("/norm/norm/bias")):
        published.write_bytes(whole)
        with h5py.File(published, "a") as file:
            del file["conv/conv/kernel"]
            file["conv/conv/kernel"] = link
        assert "conv/conv/kernel only says where they lie. Copy all into one file" in refused(published)
    published.write_bytes(whole)
    with h5py.File(published, "a") as file:
        file["norm/norm/bias"][1] = np.nan
    assert "must hold finite weights; norm/norm/bias has others" in refused(published)
    with h5py.File(published, "a") as file:
        del file["norm/norm/bias"]
    assert "must hold what it names" in refused(published)


def test_change_whose_time_is_put_back_is_seen(published: Path) -> None:
    before, state = find_weights(NAME, published.parent).fingerprint, published.stat()
    with h5py.File(published, "a") as file:
        file["norm/norm/bias"][0] = 1
    os.utime(published, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert find_weights(NAME, published.parent).fingerprint != before


def test_home_folder_in_the_environment_is_written_with_a_tilde(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(published.parent.parent))
    monkeypatch.setenv("GALAXYTL_WEIGHTS_DIR", f"~/{published.parent.name}")
    assert find_weights(NAME).path == published


def test_weights_that_lie_elsewhere_are_copied_to_where_they_are_wanted(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_WEIGHTS_DIR", str(published.parent))
    found = fetch_weights(NAME, tmp_path / "shared", Listener())
    assert found.path == tmp_path / "shared" / "small.h5"
    assert found.fingerprint == find_weights(NAME).fingerprint
    assert [path.name for path in found.path.parent.iterdir()] == ["small.h5"]
    published.unlink()
    assert fetch_weights(NAME, tmp_path / "shared", Listener()) == found


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])
def test_real_weights_are_whole(name: str) -> None:
    weights = find_weights(name, real_weights())
    assert weights.path.name == BACKBONES[name].weights_file
    assert len(weights.fingerprint) == 64
