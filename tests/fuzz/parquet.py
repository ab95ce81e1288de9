"""Folders of Parquet files of 40 galaxies with mutations."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from galaxytl.data.files.pictures import png
from galaxytl.data.galaxy10 import CLASS_NAMES
from tests.fuzz.damage import damage_bytes
from tests.galaxies import LABELS, make_images

Table = dict[str, Any]
SHARDS: Final = 3


def write(folder: Path, rng: random.Random, mutations: int) -> Path:
    """A folder in Hugging Face's layout with so many mutations."""
    folder.mkdir()
    table: Table = {"image": [png(image) for image in make_images()], "label": LABELS.tolist()}
    inside = [rng.choice(INSIDE) for _ in range(mutations) if rng.random() < 0.6]
    for change in inside:
        with contextlib.suppress(
            KeyError, TypeError, ValueError, IndexError, AttributeError
        ):  # what an earlier one left does not suit
            change(table, rng)
    names = table.pop("names", None)
    for number in range(SHARDS):
        part = slice(number * len(LABELS) // SHARDS, (number + 1) * len(LABELS) // SHARDS)
        _write_shard(folder / f"train-{number:05d}-of-{SHARDS:05d}.parquet", table, part, names)
    for _ in range(mutations - len(inside)):
        rng.choice(OUTSIDE)(folder, rng)
    return folder


def _write_shard(path: Path, table: Table, part: slice, names: list[str] | None) -> None:
    cells = [{"bytes": cell, "path": None} for cell in table["image"][part]]
    columns = {name: values[part] for name, values in table.items() if name != "image"}
    arrow = pa.table({"image": pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})), **columns})
    if names is not None:
        label = {"names": names, "_type": "ClassLabel"}
        arrow = arrow.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"label": label}}})})
    pq.write_table(arrow, path)


def encode_one(table: Table, rng: random.Random) -> None:
    """One picture in another encoding; some of them lose nothing."""
    row = rng.randrange(len(LABELS))
    picture = Image.fromarray(make_images()[row])
    kind = rng.choice(["PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP"])
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(1, 9)
    extra = rng.choice([{}, {"exif": exif}, {"icc_profile": b"profile"}])
    modes = {"PNG": ["RGB", "P", "L", "RGBA"], "TIFF": ["RGB", "LAB", "F", "CMYK"]}
    file = io.BytesIO()
    picture.convert(rng.choice(modes.get(kind, ["RGB"]))).save(file, kind, **({} if kind in ("GIF", "BMP") else extra))
    table["image"][row] = file.getvalue()


def damage_one(table: Table, rng: random.Random) -> None:
    row = rng.randrange(len(LABELS))
    data = bytearray(table["image"][row])
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    table["image"][row] = rng.choice([bytes(data), bytes(data[: len(data) // 2]), b"", None])


def resize_one(table: Table, rng: random.Random) -> None:
    size = rng.choice([(1, 1), (256, 255), (424, 424), (20_000, 1)])
    table["image"][rng.randrange(len(LABELS))] = png(np.zeros((size[1], size[0], 3), np.uint8))


def relabel(table: Table, rng: random.Random) -> None:
    kinds: list[list[Any]] = [
        [rng.randrange(-1, 11) for _ in LABELS],
        [None, *LABELS.tolist()[1:]],
        [str(label) for label in LABELS],
        [float(label) for label in LABELS],
    ]
    table["label"] = rng.choice(kinds)


def name_classes(table: Table, rng: random.Random) -> None:
    names = list(CLASS_NAMES)
    rng.shuffle(names)
    if rng.random() < 0.4:
        names[rng.randrange(10)] = rng.choice(["cat", "", names[0]])
    table["names"] = rng.choice([names, names[:5], list(CLASS_NAMES)])


def positions(table: Table, rng: random.Random) -> None:
    choices: list[list[Any]] = [[0.0] * 40, [None] * 40, ["here"] * 40, list(range(40))]
    table[rng.choice(["ra", "dec", "split"])] = rng.choice(choices)


INSIDE: Final[tuple[Callable[[Table, random.Random], None], ...]] = (
    *(encode_one, encode_one, damage_one, resize_one, relabel, name_classes, positions),
)


def _any(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in folder.iterdir() if path.is_file()) or [folder / "none"])


def damage_shard(folder: Path, rng: random.Random) -> None:
    if (path := _any(folder, rng)).is_file() and path.stat().st_size:
        damage_bytes(path, rng)


def lose_shard(folder: Path, rng: random.Random) -> None:
    _any(folder, rng).unlink(missing_ok=True)


def rename_shard(folder: Path, rng: random.Random) -> None:
    path = _any(folder, rng)
    if path.is_file():
        path.rename(path.with_name(rng.choice([f"{path.name}.part", f".{path.name}", path.name.upper(), "x.parquet"])))


def link_shard(folder: Path, rng: random.Random) -> None:
    path = _any(folder, rng)
    if path.is_file():
        inside, outside = folder / f"{path.name}.blob", folder.with_name(f"{folder.name}-{path.name}.blob")
        target = path.rename(rng.choice([inside, outside]))
        path.symlink_to(target if rng.random() < 0.5 else folder / "gone")


def add_manifest(folder: Path, rng: random.Random) -> None:
    text = rng.choice(["{}", "{", "[]", json.dumps({"format": 1}), json.dumps({"format": 1, "shards": 3})])
    (folder / rng.choice(["manifest.json", "unfinished.json"])).write_text(text)


OUTSIDE: Final[tuple[Callable[[Path, random.Random], None], ...]] = (
    *(damage_shard, damage_shard, lose_shard, rename_shard, link_shard, add_manifest),
)
