"""Small pictures of a trial's test images in the results folder, so that a report can show which ones it got wrong.

    write_thumbnails(out, images, labels, rows)       # does nothing where they are
    pq.read_table(out / "thumbnails.parquet")         # row of the dataset, label, png

Of at most `MOST` images, evenly spaced among the test part's: a report shows a few, and the folder stays small.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxytl.system.files import write_atomically

FILE_NAME = "thumbnails.parquet"
MOST = 500
SIDE = 96
"""Pixels, at most: an image that the network sees smaller is kept as the network sees it."""


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
    picture, file = Image.fromarray(np.asarray(pixels)), io.BytesIO()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(file, "PNG")
    return file.getvalue()
