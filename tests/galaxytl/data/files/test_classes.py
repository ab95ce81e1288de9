"""What a file says of its classes decides what its numbers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galaxytl.data import DataError, open_dataset
from galaxytl.data.convert import convert
from galaxytl.data.files.classes import Classes, of_labels
from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES
from tests.galaxies import LABELS, make_images, write_hdf5, write_parquet

TEN = np.arange(10)
ASTRONN = (
    *("Disturbed Galaxies", "Merging Galaxies", "Round Smooth Galaxies", "In-between Round Smooth Galaxies"),
    *("Cigar Shaped Smooth Galaxies", "Barred Spiral Galaxies", "Unbarred Tight Spiral Galaxies"),
    *("Unbarred Loose Spiral Galaxies", "Edge-on Galaxies without Bulge", "Edge-on Galaxies with Bulge"),
)
OWN = ("cat", "dog", "Merging")


@given(st.permutations(range(10)), st.booleans())
def test_galaxy10s_names_in_any_order_are_numbered_as_galaxy10s(order: list[int], astronn: bool) -> None:
    names = [(ASTRONN if astronn else CLASS_NAMES)[number].upper() for number in order]
    found = of_labels(TEN, names, "g.h5")
    assert found.labels.tolist() == order
    assert (found.known, found.names, found.own) == (CLASS_NAMES, CLASS_NAMES, ())
    assert bool(found.note) == (order != sorted(order))


def test_other_names_never_become_galaxy10s() -> None:
    found = of_labels(np.array([0, 1, 2]), OWN, "g.h5")
    assert (found.labels.tolist(), found.known, found.own) == ([0, 1, 2], OWN, OWN)
    assert found.names == OWN
    assert "its classes are cat, dog, Merging" in found.note
    twice = ("Cigar Round Smooth", "Cigar Shaped Smooth")  # spellings of one class name two of the file's own
    assert of_labels(np.array([0, 1]), twice, "g.h5").own == twice


@pytest.mark.parametrize(
    "votes",
    [
        np.eye(2),
        np.eye(3, dtype="f4"),
        *(np.array([row, [0, 1]], "f4") for row in ([0, 1], [1, 1], [np.nan, 1], [1.5, -0.5])),
    ],
)
def test_votes_are_fractions_that_the_labels_lead(votes: np.ndarray) -> None:
    tied = np.array([[0.7, 0.3], [0.5, 0.5]], "f4")
    assert Classes(np.arange(2), OWN[:2], votes=tied).votes is tied
    with pytest.raises(DataError, match="votes must be fractions of 2 classes that add up to 1"):
        Classes(np.arange(2), OWN[:2], votes=votes)


@pytest.mark.parametrize("names", [(), [str(n) for n in TEN], [f"class_{n}" for n in TEN]])
def test_names_that_say_nothing_are_assumed_only_where_all_ten_classes_may_be_there(names: list[str]) -> None:
    found = of_labels(TEN, names, "", assumed=True)
    assert (found.known, found.names) == ((), CLASS_NAMES)
    assert of_labels(TEN, names, "").names == tuple(f"class {number}" for number in TEN)
    assert of_labels(TEN[:4], names, "", assumed=True).names == ("class 0", "class 1", "class 2", "class 3")
    published = np.repeat(TEN, CLASS_COUNTS)
    assert of_labels(published, names, "").known == CLASS_NAMES


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b", "a"), "class names must differ and not be empty; got 'a'"),
        (("a", "", "c"), "must differ and not be empty"),
        (("a", "b"), "every label must have a name; it names 2 and has label 2"),
        (tuple(map(str, range(1, 1002))), "at most 1,000 classes; it names 1,001"),
    ],
)
def test_names_that_contradict_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        of_labels(np.array([0, 1, 2]), names, "g.h5")


TURNED = tuple(reversed(CLASS_NAMES))


def enumeration(names: tuple[str, ...]) -> np.ndarray:
    kind = h5py.enum_dtype({name: number for number, name in enumerate(names)}, basetype="u1")
    return LABELS.astype(kind)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("attribute", [name.encode() for name in TURNED]),
        ("attribute", json.dumps(TURNED)),
        ("attribute", json.dumps({name: number for number, name in enumerate(TURNED)})),
        ("attribute", ", ".join(TURNED)),
        ("attribute of ans", list(TURNED)),
        ("dataset", list(TURNED)),
        ("dataset", [TURNED[label] for label in LABELS]),
        ("enumeration", None),
    ],
)
def test_wherever_an_hdf5_file_says_its_names_they_are_heard(tmp_path: Path, place: str, value: Any) -> None:
    path = write_hdf5(tmp_path / "g.h5", **({"ans": enumeration(TURNED)} if place == "enumeration" else {}))
    with h5py.File(path, "r+") as file:
        if place == "dataset":
            file["class_names"] = value
        elif place != "enumeration":
            (file["ans"] if "ans" in place else file).attrs["Class Names"] = value
    dataset = open_dataset(str(path))
    assert dataset.labels.tolist() == (9 - LABELS).tolist()
    assert dataset.class_names == CLASS_NAMES
    assert "another order" in dataset.notes[0]


def test_places_that_disagree_are_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "g.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["classes"], file["names"] = list(CLASS_NAMES), list(TURNED)
    with pytest.raises(DataError, match="class names must be the same everywhere"):
        open_dataset(str(path))


def named_parquet(folder: Path, names: tuple[str, ...]) -> Path:
    for path in write_parquet(folder, make_images(), LABELS % len(names)).iterdir():
        label = {"names": list(names), "_type": "ClassLabel"}
        metadata = {"huggingface": json.dumps({"info": {"features": {"label": label}}})}
        pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    return folder


def test_own_classes_stay_own_in_every_container(tmp_path: Path) -> None:
    dataset = open_dataset(str(named_parquet(tmp_path / "own", OWN)))
    assert (dataset.name, dataset.class_names[:3]) == ("own_classes_40_images", OWN)
    for target in ("copy.h5", "folder"):
        assert convert(str(tmp_path / "own"), str(tmp_path / target)).fingerprint == dataset.fingerprint
        copy = open_dataset(str(tmp_path / target))
        assert (copy.name, copy.class_names, copy.fingerprint) == (
            dataset.name,
            dataset.class_names,
            dataset.fingerprint,
        )
    other = open_dataset(str(named_parquet(tmp_path / "other", ("a", "b", "c"))))
    assert other.fingerprint != dataset.fingerprint


def test_a_copy_names_only_classes_that_were_read_or_checked(tmp_path: Path) -> None:
    for source, known in ((write_hdf5(tmp_path / "g.h5"), False), (named_parquet(tmp_path / "n", TURNED), True)):
        done = convert(str(source), str(tmp_path / f"{known}.parquet"))
        metadata = pa.parquet.read_schema(tmp_path / f"{known}.parquet").metadata
        label = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]
        assert label.get("names", ()) == (list(CLASS_NAMES) if known else ())
        assert ("it says no class names, so the copy says none" in done.notes) is not known
