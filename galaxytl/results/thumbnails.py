"""Small pictures of a trial's test images in the results folder, so that a report can show which ones it got wrong.

    write_thumbnails(out, images, labels, rows)       # does nothing where they are
    shown = read_thumbnails(out)
    shown.labels[17], shown.pictures([17])            # 3, {17: (96, 96, 3) uint8}

thumbnails.parquet has row (int64, of the dataset), label (int64) and png (bytes), of at most `MOST` images,
evenly spaced among the test part's: a report shows a few, and the folder stays small.
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

from galaxytl.system.files import write_atomically
from galaxytl.system.parquet_layout import SMALL_PAGE, UNREADABLE, check_layout, check_types, first_line, num_rows

FILE_NAME: Final = "thumbnails.parquet"
MOST = 500
"""Pictures that are written."""
MOST_READ: Final = 10_000
"""Pictures that are read of a file."""
SIDE = 96
"""Pixels, at most, that are written: an image that the network sees smaller is kept as the network sees it."""
LARGEST_SIDE: Final = 1024
"""Pixels, at most, that are read."""
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
        """Return row -> (height, width, 3). Raises ThumbnailsError."""
        wanted, found = set(rows), {}
        try:
            for row, png in _read(self.path, "png"):
                if row in wanted:
                    found[row] = _decoded(png)
        except UNREADABLE as error:
            raise _unreadable(self.path, error) from error
        return found


def write_thumbnails(
    out: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> Path | None:
    """Write out/thumbnails.parquet of some `rows` of images (N, S, S, 3) and labels (N,); None where it is there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = out / FILE_NAME
    if path.exists() or not len(rows):
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(np.int64))]
    pictures = [_png(images[row]) for row in chosen]
    table = pa.table({"row": chosen, "label": labels[chosen], "png": pa.array(pictures, pa.binary())})
    content = io.BytesIO()
    pq.write_table(table, content)
    write_atomically(path, content.getvalue())  # several workers may come to it at once: with the same pictures
    return path


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture, file = Image.fromarray(np.asarray(pixels)), io.BytesIO()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(file, "PNG")
    return file.getvalue()


def read_thumbnails(folder: Path) -> Thumbnails:
    """Read those of the results folder. Raises ThumbnailsError."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise ThumbnailsError(f"{folder} holds no {FILE_NAME}")
    try:
        return Thumbnails(path, dict(_read(path, "label")))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    """Yield row and value of one of the columns label and png; no more is held than some pictures. Raises ValueError
    where they are of other types, or more than a sweep writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # only a figure of images needs it
    import pyarrow.types as kinds

    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        if (count := num_rows(file)) > MOST_READ:
            raise ValueError(f"there may be {MOST_READ:,} pictures; got {count:,}")
        is_right = kinds.is_binary if column == "png" else kinds.is_integer
        check_types(file.schema_arrow, {"row": kinds.is_integer, column: is_right})
        largest = check_layout(file, raw, ["row", column], SMALL_PAGE)
        size = max(1, min(MOST_READ, HELD_BYTES // max(1, largest)))
        for batch in file.iter_batches(batch_size=size, columns=["row", column], use_threads=False):
            yield from zip(batch.column("row").to_pylist(), batch.column(column).to_pylist(), strict=True)


def _decoded(png: bytes) -> NDArray[np.uint8]:
    """Decode (height, width, 3). Only as PNG, and no larger than a sweep's: others are formats that Pillow starts
    programs for, or pictures that take a thousand times their file."""
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
    return ThumbnailsError(f"{path} cannot be read: {first_line(error)}")
