"""Small pictures of the images that trials were scored on, which a sweep writes beside its rows.

    shown = read_thumbnails(folder)
    shown.labels[17], shown.pictures([17])      # 3, {17: (96, 96, 3) uint8}

`<results folder>/thumbnails.parquet`: row (int64, of the dataset), label (int64), png (bytes). It may lack images.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, num_rows

FILE_NAME: Final = "thumbnails.parquet"
MOST_PICTURES: Final = 10_000
"""That are read; a sweep writes 500."""
LARGEST_SIDE: Final = 1024
"""Pixels; a sweep writes 96."""
HELD_BYTES: Final = 64 * 2**20
"""Of encoded pictures at a time."""


class ThumbnailsError(ValueError):
    """The thumbnails are not there, or cannot be read; the message says which."""


@dataclass(frozen=True)
class Thumbnails:
    """`labels`: row of the dataset -> class. The pictures stay in the file until they are asked for."""

    path: Path
    labels: dict[int, int]

    def pictures(self, rows: list[int]) -> dict[int, NDArray[np.uint8]]:
        """row -> (height, width, 3). Raises ThumbnailsError."""
        wanted, found = set(rows), {}
        try:
            for row, png in _read(self.path, "png"):
                if row in wanted:
                    found[row] = _decoded(png)
        except UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return found


def read_thumbnails(folder: Path) -> Thumbnails:
    """Of the results folder. Raises ThumbnailsError."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise ThumbnailsError(f"{folder} holds no {FILE_NAME}")
    try:
        return Thumbnails(path, dict(_read(path, "label")))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    """Row and value of one of the columns label and png; no more is held than some pictures. Raises ValueError where
    they are of other types, or more than a sweep writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # only a figure of images needs it
    import pyarrow.types as kinds

    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        if (count := num_rows(file)) > MOST_PICTURES:
            raise ValueError(f"there may be {MOST_PICTURES:,} pictures; got {count:,}")
        for name in ("row", column):
            is_right = kinds.is_binary if name == "png" else kinds.is_integer
            if not is_right(kind := file.schema_arrow.field(name).type):
                raise ValueError(f"column {name} must not be of type {str(kind)[:60]}")
        largest = check_layout(file, raw, ["row", column], SMALL_PAGE)
        size = max(1, min(MOST_PICTURES, HELD_BYTES // max(1, largest)))
        for batch in file.iter_batches(batch_size=size, columns=["row", column], use_threads=False):
            yield from zip(batch.column("row").to_pylist(), batch.column(column).to_pylist(), strict=True)


def _decoded(png: bytes) -> NDArray[np.uint8]:
    """(height, width, 3). Only as PNG, and no larger than a sweep's: others are formats that Pillow starts programs
    for, or pictures that take a thousand times their file."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            if max(picture.size) > LARGEST_SIDE:
                found = " x ".join(map(str, picture.size))
                raise ValueError(f"a picture must have at most {LARGEST_SIDE} pixels a side; got {found}")
            return np.asarray(picture.convert("RGB"))
    except (SyntaxError, struct.error, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"a picture cannot be decoded: {error}") from error


def _unreadable(path: Path, error: Exception) -> ThumbnailsError:
    reason = (str(error).splitlines() or ["no message"])[0]
    return ThumbnailsError(f"{path} cannot be read: {reason}")
