from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galaxytl.data import DataError, dataset, open_dataset
from galaxytl.data.dataset import note_fingerprint
from galaxytl.data.files.classes import of_labels
from galaxytl.data.files.containers import unknown_columns
from galaxytl.data.galaxy10 import CLASS_NAMES
from galaxytl.trial.reading import Reading
from tests.galaxies import LABELS, draw_quickly, make_images, real_sample, write_hdf5, write_parquet


def test_hdf5_and_parquet_of_the_same_galaxies_are_the_same_dataset(galaxies_file: Path, tmp_path: Path) -> None:
    hdf5 = open_dataset(str(galaxies_file))
    parquet = open_dataset(str(write_parquet(tmp_path / "parquet", make_images(), LABELS)))
    assert hdf5.fingerprint == parquet.fingerprint
    assert hdf5.name == parquet.name == "galaxy10_layout_40_images"
    assert np.array_equal(hdf5.resized(256).images, make_images())
    assert np.array_equal(parquet.labels, LABELS)


def test_fingerprint_follows_every_pixel_and_label(tmp_path: Path) -> None:
    images, labels = make_images(), LABELS.astype(np.uint8)
    images[39, 255, 255, 2] ^= 1
    labels[0] = 1
    changes: list[dict[str, Any]] = [{}, {"images": images}, {"ans": labels}]
    files = [write_hdf5(tmp_path / f"{number}.h5", **changed) for number, changed in enumerate(changes)]
    assert len({open_dataset(str(file)).fingerprint for file in files}) == 3


def test_fingerprint_does_not_depend_on_chunks_or_compression(galaxies_file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "zipped.h5", "w") as file:
        file.create_dataset("images", data=make_images(), chunks=(7, 64, 64, 1), compression="gzip")
        file.create_dataset("ans", data=LABELS)
    assert open_dataset(str(tmp_path / "zipped.h5")).fingerprint == open_dataset(str(galaxies_file)).fingerprint


def test_changed_file_gets_a_new_fingerprint(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5")
    before = open_dataset(str(path)).fingerprint
    write_hdf5(path, images=make_images(seed=1))
    assert open_dataset(str(path)).fingerprint != before


def test_a_source_that_changes_during_a_sweep_is_noticed(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5", images=make_images(seed=2))
    dataset = open_dataset(str(path))
    write_hdf5(path, images=make_images(seed=3))
    with pytest.raises(DataError, match="changed while it was in use"):
        dataset.resized(48)


def test_a_file_changed_in_place_with_its_time_put_back_is_read_anew(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5")
    before, state = open_dataset(str(path)).fingerprint, path.stat()
    with h5py.File(path, "r+") as file:
        file["images"][0, 0, 0] ^= 1
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert open_dataset(str(path)).fingerprint != before


@pytest.mark.parametrize("change", [{"images": make_images(seed=3)}, {"ans": np.roll(LABELS, 3)}])
def test_a_note_that_is_not_true_goes_so_that_the_same_command_works(tmp_path: Path, change: dict[str, Any]) -> None:
    path, cache = write_hdf5(tmp_path / "galaxies.h5"), tmp_path / "cache"
    dataset = open_dataset(str(path), cache)
    if "ans" in change:
        dataset.resized(48)  # with the images of the old content, the labels alone could be new
    other = open_dataset(str(write_hdf5(tmp_path / "other.h5", **change)), cache)
    note_fingerprint(other.note, dataset.fingerprint)  # as where the change left no trace in the file's state
    with pytest.raises(DataError, match=r"changed while it was in use|not those that were seen"):
        open_dataset(str(tmp_path / "other.h5"), cache).resized(48)
    again = open_dataset(str(tmp_path / "other.h5"), cache)
    assert again.fingerprint == other.fingerprint
    assert len(again.resized(48).images) == 40


def test_simulated_is_a_dataset_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch, tmp_path)
    dataset = open_dataset("simulated:30")
    assert dataset.name == "simulated"
    assert dataset.resized(32).images.shape == (30, 32, 32, 3)
    assert np.isfinite(dataset.columns["redshift"]).all()
    assert open_dataset("simulated:30").fingerprint == dataset.fingerprint
    assert open_dataset("simulated:30:1").fingerprint != dataset.fingerprint


def test_real_galaxies_open() -> None:
    dataset = open_dataset(str(real_sample()))
    assert len(dataset) == 100
    assert np.bincount(dataset.labels).tolist() == [10] * 10
    assert dataset.resized(64).images.shape == (100, 64, 64, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": None}, "which column has the images; none was recognised"),
        ({"ans": None}, "which column has the labels; none was recognised"),
        (
            {"images": np.zeros((40, 69, 69, 5), np.uint8)},
            "one or three bands behind them (or before them); got 69 x 69 x 5",
        ),
        ({"images": np.zeros((40, 69, 1, 3), np.uint8)}, "8 to 16,384 pixels a side"),
        ({"images": np.zeros((40, 256, 256, 3), np.float32)}, "of type float32"),
        ({"images": np.zeros((0, 256, 256, 3), np.uint8)}, "at least one image"),
        ({"ans": np.full(40, 0.5)}, "labels must be whole numbers or texts; got 0.5"),
        ({"ans": np.full(40, 3)}, "at least two classes; all 40 have label 3"),
        ({"ans": -np.ones(40, np.int64)}, "got -1"),
        ({"ans": np.zeros(41, np.uint8)}, "column ans must have one value an image, 40; got shape (41,)"),
        ({"ra": np.zeros(3)}, "column ra must have one value an image"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = write_hdf5(tmp_path / "bad.h5", **changed)
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.98])
def test_truncated_hdf5(tmp_path: Path, share: float) -> None:
    path = write_hdf5(tmp_path / "cut.h5")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"cut\.h5 (is empty|cannot be read as HDF5)"):
        open_dataset(str(path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere.h5", "nowhere.h5 does not exist"),
        ("notes.txt", "must be of a kind that can be read .*; it is a file that begins with b'galaxies'"),
        (".", "must be of a kind that can be read .*; it is a folder with 1 .txt"),
        ("simulated:x", "simulated:IMAGES:SEED; got 'simulated:x'"),
        ("simulated:5", "30 to 1,000,000 images; got 5"),
    ],
)
def test_not_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("galaxies")
    with pytest.raises(DataError, match=message):
        open_dataset(uri)


def test_classes_are_called_as_published() -> None:
    """Labels 0 to 9 of Galaxy10 DECaLS, as astroNN's documentation lists them, without "Galaxies"."""
    assert (
        *("Disturbed", "Merging", "Round Smooth", "In-between Round Smooth", "Cigar Round Smooth", "Barred Spiral"),
        *("Unbarred Tight Spiral", "Unbarred Loose Spiral", "Edge-on without Bulge", "Edge-on with Bulge"),
    ) == CLASS_NAMES


def test_a_reader_is_a_function_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/extending.md says it."""
    page = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    recipe = page.partition("## A dataset's reader")[2].split("```python\n")[1].partition("```")[0]
    monkeypatch.setattr(dataset, "READERS", list(dataset.READERS))
    names = vars(dataset) | {"unknown_columns": unknown_columns, "of_labels": of_labels}
    exec(compile(recipe, "extending.md", "exec", flags=annotations.compiler_flag), names)
    np.save(tmp_path / "g.npy", make_images())

    found = open_dataset(str(tmp_path / "g.npy"), reading=Reading(class_names=("a", "b")))
    assert (len(found), found.class_names, found.name) == (40, ("a", "b"), "own_classes_40_images")
    assert np.array_equal(found.resized(256).images, make_images())


def test_a_file_that_the_user_has_open_is_read(galaxies_file: Path) -> None:
    """As in a notebook: with locks, which is h5py's default, HDF5 refuses to open it a second time without."""
    import h5py

    with h5py.File(galaxies_file, "r"):
        assert len(open_dataset(str(galaxies_file))) > 0
