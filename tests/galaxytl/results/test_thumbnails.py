"""Pictures of the test images beside the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.results import thumbnails
from galaxytl.results.thumbnails import FILE_NAME, ThumbnailsError, read_thumbnails, write_thumbnails

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
LABELS = np.arange(30) % 10


def test_pictures_are_the_images_of_their_rows_and_what_is_there_stays(tmp_path: Path) -> None:
    for images in (IMAGES, 255 - IMAGES):
        write_thumbnails(tmp_path, images, LABELS, np.array([3, 4, 29]))
        shown = read_thumbnails(tmp_path)
        assert shown.labels == {3: 3, 4: 4, 29: 9}
        pictures = shown.pictures([29, 3, 7])
        assert pictures.keys() == {3, 29}
        assert all(np.array_equal(picture, IMAGES[row]) for row, picture in pictures.items())
        assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_there_are_not_too_many_nor_too_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MOST", 4)
    monkeypatch.setattr(thumbnails, "SIDE", 8)
    write_thumbnails(tmp_path, IMAGES, LABELS, np.arange(10, 30))

    shown = read_thumbnails(tmp_path)
    assert list(shown.labels) == [10, 16, 22, 29]
    assert {picture.shape for picture in shown.pictures(list(shown.labels)).values()} == {(8, 8, 3)}


def test_a_garbled_file_and_a_picture_that_is_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(ThumbnailsError, match=r"holds no thumbnails\.parquet"):
        read_thumbnails(tmp_path)
    path = tmp_path / FILE_NAME
    for content in (b"", b"no Parquet"):
        path.write_bytes(content)
        with pytest.raises(ThumbnailsError, match=r"thumbnails\.parquet cannot be read"):
            read_thumbnails(tmp_path)
    pq.write_table(pa.table({"row": [1], "label": [2], "png": [b"no PNG"]}), path)
    with pytest.raises(ThumbnailsError, match="cannot be read"):
        read_thumbnails(tmp_path).pictures([1])
