"""The same images and labels in HDF5, npz and Parquet are one dataset, whatever its columns are called and hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.data import DataError, galaxy10, open_dataset
from galaxytl.data.convert import ConvertOptions, convert
from galaxytl.data.files import tables
from galaxytl.data.files.pictures import png
from galaxytl.data.galaxy10_sdss import CLASS_NAMES
from galaxytl.trial.reading import Reading
from tests.galaxies import LABELS, make_images, read_all, write_hdf5, write_parquet

NUMBERS = np.arange(6) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), np.uint8)
GREY = np.repeat(IMAGES[..., :1], 3, axis=-1)
TEXTS = np.array(["spiral", "elliptical", "none"])[NUMBERS]
SHARES = np.array([[0.5, 0.25, 0.25], [0, 1, 0], [0.25, 0.25, 0.5]], np.float32)[NUMBERS]
BESIDE = {
    "id": np.array([f"J{number}" for number in range(6)]),
    "ra": np.arange(6.0),
    "split": np.array(["train", "test"] * 3),
    "survey": np.array(["A", "B", "", "A", "A", "B"]),
    "night": np.arange(6) + 0.5,
}
ASKED = Reading(columns=("survey", "night"))


def write(path: Path, columns: dict[str, Any]) -> str:
    """Write arrays to a file of the kind that its name ends with; in Parquet images are PNG."""
    if path.suffix == ".npz":
        np.savez_compressed(path, **columns)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file[name] = values.astype(object) if values.dtype.kind == "U" else values
    else:
        cells = {n: [png(i) for i in v] if v.dtype == np.uint8 else v.tolist() for n, v in columns.items()}
        pq.write_table(pa.table(cells), path)
    return str(path)


def told(path: str, reading: Reading = ASKED) -> tuple[Any, ...]:
    """Return all that one dataset must have in common."""
    found = open_dataset(path, reading=reading)
    votes = found.source.classes.votes
    columns = {name: values.tolist() for name, values in found.columns.items() if name in BESIDE}
    shares = None if votes is None else votes.tolist()
    return found.fingerprint, found.name, found.class_names, found.labels.tolist(), shares, columns


@pytest.mark.parametrize("labels", [NUMBERS, TEXTS, SHARES, NUMBERS + 1, NUMBERS == 1, SHARES[:, :2]])
def test_one_dataset_in_every_container_and_in_every_copy(tmp_path: Path, labels: np.ndarray) -> None:
    is_votes = labels.ndim == 2
    asked = Reading(label_columns=tuple("abc"[: labels.shape[1]]), columns=ASKED.columns) if is_votes else ASKED
    apart = dict(zip("abc", labels.T, strict=False)) if is_votes else {"y": labels}
    paths = [write(tmp_path / f"g.{end}", {"x": IMAGES, **apart, **BESIDE}) for end in ("h5", "npz", "parquet")]
    wanted = told(paths[0], asked)
    assert wanted[5] == {name: values.tolist() for name, values in BESIDE.items()}
    for path in paths[1:]:
        assert told(path, asked) == wanted
    start = paths[1]
    for number, name in enumerate(("folder", "copy.h5", "copy.parquet", "again", "last.h5")):
        how = asked if not number else Reading()
        target = str(tmp_path / name)
        assert convert(start, target, ConvertOptions(reading=how)).fingerprint == wanted[0]
        assert told(target, Reading()) == wanted
        assert np.array_equal(read_all(tmp_path / name), IMAGES)
        start = target


@pytest.mark.parametrize("end", ["h5", "npz"])
@pytest.mark.parametrize(
    ("images", "wanted", "note"),
    [
        (np.moveaxis(IMAGES, -1, 1), IMAGES, "the bands are taken as red, green, blue, and put last"),
        (IMAGES[..., 0], GREY, "three equal ones"),
        (IMAGES[..., :1], GREY, "three equal ones"),
        (IMAGES[:, np.newaxis, :, :, 0], GREY, "three equal ones"),
    ],
)
def test_axes_of_images(tmp_path: Path, end: str, images: np.ndarray, wanted: np.ndarray, note: str) -> None:
    path = write(tmp_path / f"g.{end}", {"images": np.ascontiguousarray(images), "labels": NUMBERS})
    assert note in open_dataset(path).notes[0]
    assert np.array_equal(read_all(Path(path)), wanted)


@pytest.mark.parametrize("end", ["h5", "npz"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"images": IMAGES[..., [0, 1]]}, r"one or three bands .* got 12 x 10 x 2\. Choose three bands"),
        ({"images": IMAGES.reshape(6, -1)}, "which column has the images; none was recognised"),
        ({"images": IMAGES.astype(np.float32)}, r"type uint8; got 12 x 10 x 3 of type float32.*numpy\.clip"),
        ({"images": IMAGES.astype(np.uint16)}, "of type uint16"),
        ({"x": IMAGES, "data": IMAGES}, r"it may be any of .*Name it with --image-column; it has .*\(6, 12, 10, 3\)"),
        ({"images": IMAGES, "y": NUMBERS, "label": NUMBERS}, "which column has the labels; it may be any of"),
        ({"images": IMAGES, "label": NUMBERS, "night": NUMBERS[:4]}, "night"),
        ({"images": IMAGES[:0], "label": NUMBERS[:0]}, "at least one image"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(
    tmp_path: Path, end: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(write(tmp_path / f"g.{end}", columns), reading=Reading(columns=("night",)))


@pytest.mark.parametrize("end", ["h5", "npz"])
def test_labels_in_a_matrix(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / f"g.{end}", {"images": IMAGES, "labels": SHARES})
    assert told(path, Reading())[2:5] == (
        ("class 0", "class 1", "class 2"),
        SHARES.argmax(axis=1).tolist(),
        SHARES.tolist(),
    )
    assert told(path, Reading(class_names=("a", "b", "c")))[2] == ("a", "b", "c")
    with pytest.raises(DataError, match="votes must be for 2 classes; got 3"):
        told(path, Reading(class_names=("a", "b")))
    path = write(tmp_path / f"one_hot.{end}", {"images": IMAGES, "labels": np.eye(3)[NUMBERS]})
    assert told(path, Reading())[3:5] == (NUMBERS.tolist(), None)


def test_the_users_names_win_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "g.npz", {"images": IMAGES, "labels": NUMBERS, "class_names": np.array(["a", "b", "c"])})
    assert open_dataset(path).class_names == ("a", "b", "c")
    found = open_dataset(path, reading=Reading(class_names=("x", "y", "z")))
    assert found.class_names == ("x", "y", "z")
    assert "names other classes than the file, which says a, b, c" in found.notes[0]


def test_galaxy10_sdss_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.galaxy10_sdss, "NUM_IMAGES", 20)
    path = write(tmp_path / "Galaxy10.h5", {"images": np.zeros((20, 69, 69, 3), np.uint8), "ans": np.arange(20) % 10})
    convert(path, str(tmp_path / "copy"))
    for found in (open_dataset(path), open_dataset(str(tmp_path / "copy"))):
        assert (found.name, found.class_names) == ("galaxy10_sdss", CLASS_NAMES)


def test_a_damaged_npz_and_one_of_objects(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "g.npz", {"images": IMAGES, "labels": NUMBERS}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"g\.npz cannot be read as \.npz"):
        open_dataset(str(path))
    path.write_bytes(whole[:300] + bytes(20) + whole[320:])
    with pytest.raises(DataError, match=r"g\.npz cannot be read as \.npz"):
        open_dataset(str(path))
    np.savez(path, images=IMAGES, labels=TEXTS.astype(object))
    with pytest.raises(DataError, match=r"Objects are not read, as they may be programs: save labels\.astype\(str\)"):
        open_dataset(str(path))


def test_a_column_whose_name_a_copy_needs(tmp_path: Path) -> None:
    path = write(tmp_path / "g.npz", {"images": IMAGES, "labels": NUMBERS, "votes": NUMBERS})
    for name in ("copy", "copy.h5"):
        with pytest.raises(DataError, match="something else under the name votes"):
            convert(path, str(tmp_path / name), ConvertOptions(reading=Reading(columns=("votes",))))


def test_options_that_say_what_is_usual_change_nothing(tmp_path: Path) -> None:
    hdf5, parquet = write_hdf5(tmp_path / "g.h5"), write_parquet(tmp_path / "g", make_images(), LABELS)
    wanted = (open_dataset(str(hdf5)).fingerprint, "galaxy10_layout_40_images", galaxy10.CLASS_NAMES)
    for path, asked in ((hdf5, Reading("images", ("ans",))), (parquet, Reading("image", ("label",)))):
        found = open_dataset(str(path), reading=asked)
        assert (found.fingerprint, found.name, found.class_names) == wanted
        assert not found.notes
