from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galaxytl.data import DataError
from galaxytl.data.dataset import note_path
from galaxytl.data.files import containers
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.containers import unknown_columns
from galaxytl.data.files.listed import ListedFiles, ListedSource
from galaxytl.data.files.pictures import png
from galaxytl.system.locations import locate


def image(number: int, side: int = 16) -> np.ndarray:
    return np.full((side, side + number, 3), number, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(png(image(number)))
    return tmp_path


def source(folder: Path, names: Any, **settings: Any) -> ListedSource:
    labels = np.arange(len(names)) % 2
    return ListedSource(
        locate(str(folder)), names, Classes(labels, ("a", "b")), unknown_columns(len(names)), **settings
    )


def test_images_of_any_size_come_in_order_and_in_small_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["0.png", str(folder / "1.png"), (folder / "2.png").as_uri(), *(f"./{n}.png" for n in range(3, 9))]
    monkeypatch.setattr(containers, "BATCH", 4)
    for names in (places, pa.array(places), pa.chunked_array([places[:5], places[5:]])):
        batches = list(source(folder, names).batches())
        assert [len(batch) for batch in batches] == [4, 4, 1]
        images = [found for batch in batches for found in batch]
        assert all(np.array_equal(found, image(number)) for number, found in enumerate(images))
    monkeypatch.setattr(containers, "BATCH_BYTES", 2 * 16 * 24 * 3)
    assert max(len(batch) for batch in source(folder, places).batches()) == 2


def test_another_decoder_and_leaving_early(folder: Path) -> None:
    threads = threading.active_count()
    batches = source(folder, ["1.png", "2.png"], decode=lambda data: np.full((8, 8, 3), len(data), np.uint8)).batches()
    assert next(batches)[0].shape == (8, 8, 3)
    batches.close()
    assert threading.active_count() == threads


def test_a_bad_picture_is_named(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"/3\.png: "):
        list(source(folder, [f"{n}.png" for n in range(9)]).batches())


def test_files_are_noted_and_missing_ones_counted(folder: Path, tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(9)]
    files = source(folder, names, beside=[locate(str(folder / "8.png")).stored()]).files
    assert len(files) == 10
    assert [file.size for file in files] == [files[n].size for n in range(10)]
    before = note_path(files, tmp_path)
    (folder / "5.png").write_bytes(png(image(9)))
    assert before is not None
    assert note_path(files, tmp_path) != before
    lost = ["no.png", "0.png", "0.png/no.png", "a\0b.png", str(folder)]
    with pytest.raises(DataError, match=r"4 of 5 are not, the first is .*/no\.png"):
        note_path(ListedFiles(locate(str(folder)), pa.array(lost), ()), tmp_path)


def test_uris_of_a_scheme_that_is_not_known(folder: Path) -> None:
    with pytest.raises(DataError, match="file://, s3://, gs:// or hdfs://; got"):
        list(source(folder, ["https://host/a.png"]).files)
