"""Thumbnails that strangers wrote: other types, formats and sizes, and damaged bytes."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests import bombs
from tests.fuzz.damage import damage_bytes

FORMATS: Final = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "EPS", "PDF", "BMP", "PPM", "TGA", "ICO", "PCX", "SGI")
MODES: Final = ("RGB", "L", "P", "RGBA", "1", "I;16", "LA")


def write(folder: Path, rng: random.Random) -> Path:
    """A results folder with a file of thumbnails."""
    folder.mkdir()
    count = rng.choice([0, 1, 5, 5, 600])
    few = [_picture(rng) for _ in range(min(count, 5))]
    columns: dict[str, Any] = {
        "row": list(range(count)),
        "label": [number % 10 for number in range(count)],
        "png": pa.array([few[number % len(few)] for number in range(count)], pa.binary()),
    }
    if rng.random() < 0.3:
        columns[rng.choice(["row", "label", "png"])] = rng.choice(_odd(count))
    if rng.random() < 0.1:
        columns.pop(rng.choice(["row", "label", "png"]))
    how = rng.choice([{}, {"compression": "zstd"}, {"use_dictionary": False}, {"compression": "gzip"}])
    path = folder / "thumbnails.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rng.choice([1, 100, 1000]), **how)
    for _ in range(rng.choice([0, 0, 1, 2])):
        damage_bytes(path, rng)
    return folder


def _odd(count: int) -> list[Any]:
    return [
        *([None] * count, ["x"] * count, [1.5] * count, [[1]] * count, [2**62] * count, [b"\x89PNG"] * count),
        pa.array([{"bytes": b""}] * count),
        pa.array(["a"] * count).dictionary_encode(),
    ]


def _picture(rng: random.Random) -> bytes | None:
    if rng.random() < 0.05:
        return rng.choice([None, b"", bombs.EPS, bombs.large_png(), bombs.tiff_of_tags(), bombs.large_webp()])
    side, file = rng.choice([1, 8, *[96] * 20, 1500]), io.BytesIO()
    picture = Image.effect_noise((side, side), 50).convert("RGB").convert(rng.choice(MODES))
    try:
        picture.save(file, rng.choice(["PNG"] * 100 + [*FORMATS]))
    except (OSError, ValueError, KeyError):  # a mode that the format does not have
        return None
    data = bytearray(file.getvalue())
    if rng.random() < 0.1:
        at = rng.randrange(len(data))
        data[at : at + rng.choice([1, 4, 40])] = rng.randbytes(rng.choice([0, 1, 4]))
    return bytes(data)
