"""Small pictures of the images that trials were scored on, which a sweep writes beside its rows.

    shown = read_thumbnails(folder)
    shown.labels[17], shown.pictures([17])      # 3, {17: (96, 96, 3) uint8}

`<results folder>/thumbnails.parquet`: row (int64, of the dataset), label (int64), png (bytes). It may lack images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FILE_NAME: Final = "thumbnails.parquet"


class ThumbnailsError(ValueError):
    """The thumbnails are not there, or cannot be read; the message says which."""


@dataclass(frozen=True)
class Thumbnails:
    """`labels`: row of the dataset -> class. The pictures stay in the file until they are asked for."""

    path: Path
    labels: dict[int, int]

    def pictures(self, rows: list[int]) -> dict[int, NDArray[np.uint8]]:
        """row -> (height, width, 3). Raises ThumbnailsError."""
        import pyarrow.parquet as pq
        from PIL import Image, UnidentifiedImageError

        try:
            table = pq.read_table(self.path, columns=["row", "png"], partitioning=None, filters=[("row", "in", rows)])
            pngs = dict(zip(table.column("row").to_pylist(), table.column("png").to_pylist(), strict=True))
            return {row: np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for row, png in pngs.items()}
        except (OSError, KeyError, ValueError, TypeError, UnidentifiedImageError) as error:
            raise _unreadable(self.path, error) from error


def read_thumbnails(folder: Path) -> Thumbnails:
    """Of the results folder. Raises ThumbnailsError."""
    import pyarrow.parquet as pq  # only a figure of images needs it

    path = folder / FILE_NAME
    if not path.is_file():
        raise ThumbnailsError(f"{folder} holds no {FILE_NAME}")
    try:
        table: Any = pq.read_table(path, columns=["row", "label"], partitioning=None)
        rows, labels = (table.column(name).to_pylist() for name in ("row", "label"))
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    return Thumbnails(path, dict(zip(rows, labels, strict=True)))


def _unreadable(path: Path, error: Exception) -> ThumbnailsError:
    reason = (str(error).splitlines() or ["no message"])[0]
    return ThumbnailsError(f"{path} cannot be read: {reason}")
