"""Pictures of the test images beside the rows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from galaxytl.results import thumbnails
from galaxytl.results.thumbnails import write_thumbnails

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
LABELS = np.arange(30) % 10


def test_pictures_are_the_images_of_their_rows(tmp_path: Path) -> None:
    path = write_thumbnails(tmp_path, IMAGES, LABELS, np.array([3, 4, 29]))

    assert path is not None
    table = pq.read_table(path).to_pydict()
    assert (table["row"], table["label"]) == ([3, 4, 29], [3, 4, 9])
    for row, png in zip(table["row"], table["png"], strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), IMAGES[row])


def test_there_are_not_too_many_nor_too_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MOST", 4)
    monkeypatch.setattr(thumbnails, "SIDE", 8)
    path = write_thumbnails(tmp_path, IMAGES, LABELS, np.arange(10, 30))

    assert path is not None
    table = pq.read_table(path).to_pydict()
    assert table["row"] == [10, 16, 22, 29]
    assert {Image.open(io.BytesIO(png)).size for png in table["png"]} == {(8, 8)}


def test_what_is_there_stays_and_nothing_is_left_behind(tmp_path: Path) -> None:
    write_thumbnails(tmp_path, IMAGES, LABELS, np.arange(5))
    before = (tmp_path / thumbnails.FILE_NAME).read_bytes()

    assert write_thumbnails(tmp_path, 255 - IMAGES, LABELS, np.arange(9)) is None
    assert (tmp_path / thumbnails.FILE_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [thumbnails.FILE_NAME]
