from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.data.convert import convert
from galaxytl.data.files.folders import read_folders
from galaxytl.data.files.pictures import png
from galaxytl.system.locations import Location, locate
from galaxytl.trial.reading import AS_FOUND, Reading


def image(number: int) -> np.ndarray:
    return np.full((8 + number % 3, 12, 3), number, np.uint8)


def write(folder: Path, names: Sequence[str]) -> Location:
    """Write pictures, of which each has another colour, or empty folders (name/)."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(png(image(number)))
    return locate(str(folder))


def test_a_folder_a_class(tmp_path: Path) -> None:
    names = [
        "b/2.png",
        "b/10.PNG",
        "a/x.png",
        "a/Thumbs.db",
        ".DS_Store",
        "__MACOSX/a/._x.png",
        "a/note.txt",
        "c/",
    ]
    location = write(tmp_path, names)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    source = read_folders(location, tmp_path, AS_FOUND)
    assert source.columns["id"].tolist() == ["a/x.png", "b/10.PNG", "b/2.png"]
    assert source.classes.names == ("a", "b")
    assert source.labels.tolist() == [0, 1, 1]
    assert [int(found[0, 0, 0]) for batch in source.batches() for found in batch] == [2, 1, 0]
    assert "split" not in source.columns
    hidden, others, empty = source.findings
    assert (hidden.count, others.count, empty.count) == (3, 1, 1)
    assert others.message.endswith("1 .txt, such as 'a/note.txt'")
    assert empty.message.endswith(": c")


def test_the_same_pixels_and_labels_have_the_same_fingerprint_in_parquet(tmp_path: Path) -> None:
    write(tmp_path / "mine", [f"{name}/{number}.png" for number in range(4) for name in ("a", "b", "c")])
    dataset = open_dataset(str(tmp_path / "mine"))
    copy = convert(str(tmp_path / "mine"), str(tmp_path / "copy"))
    assert copy.fingerprint == dataset.fingerprint == open_dataset(str(tmp_path / "copy")).fingerprint
    assert dataset.class_names == ("a", "b", "c")
    assert open_dataset(str(tmp_path / "mine")).note is not None
    assert dataset.resized(8).images.shape == (12, 8, 8, 3)


def test_an_official_split(tmp_path: Path) -> None:
    location = write(tmp_path, ["train/b/1.png", "Val/a/2.png", "test/a/3.png", "train/a/4.png", "test/c/"])
    source = read_folders(location, tmp_path, AS_FOUND)
    assert source.columns["split"].tolist() == ["validation", "test", "train", "train"]
    assert source.labels.tolist() == [0, 0, 0, 1]
    assert source.findings[0].message.endswith("test/c")


def test_names_of_digits_are_sorted_as_numbers_and_names_given_order_the_classes(tmp_path: Path) -> None:
    location = write(tmp_path, ["10/1.png", "9/2.png", "2/3.png"])
    assert read_folders(location, tmp_path, AS_FOUND).classes.names == ("2", "9", "10")
    given = Reading(class_names=("9", "10", "none", "2"))
    source = read_folders(location, tmp_path, given)
    assert (source.classes.names, source.labels.tolist()) == (given.class_names, [1, 3, 0])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["__MACOSX/a/1.png"], "must hold pictures; it has none"),
        (["1.png", "2.png"], "2 of 2 do not, the first is 1.png. Put them into a folder a class"),
        (["a/1.png", "b/1.png", "2.png"], "1 of 3 do not, the first is 2.png. Move"),
        (["g/a/1.png", "g/b/2.png"], "2 of 2 do not, the first is g/a/1.png. .* name that folder, g"),
        (["a/1.png", "b/c/d/2.png"], "1 of 2 do not, the first is b/c/d/2.png"),
        (["train/1.png", "test/2.png"], "2 of 2 do not, the first is test/2.png"),
        (["train/a/1.png", "train/b/1.png", "test/2.png"], "1 of 3 do not, the first is test/2.png"),
        (["train/a/1.png", "train/b/1.png", "c/2.png"], "1 of 3 do not, the first is c/2.png"),
        (["a/1.png", "a/2.png", "b/"], "at least two classes; all 2 pictures lie in folders that are called a"),
        (["a/1.png", "A/2.png"], "must differ by more than capitals; got 'A' and 'a'"),
    ],
)
def test_pictures_of_no_class(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folders(write(tmp_path, names), tmp_path, AS_FOUND)


def test_columns_that_a_folder_does_not_have(tmp_path: Path) -> None:
    location = write(tmp_path, ["a/1.png", "b/2.png"])
    assert read_folders(location, tmp_path, Reading(group_by="id")).labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="column id, the path of each picture; got 'survey'"):
        read_folders(location, tmp_path, Reading(columns=("survey",)))
