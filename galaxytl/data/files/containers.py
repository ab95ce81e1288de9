"""Writers of galaxies: Parquet as Hugging Face's `datasets` has it, HDF5 as Galaxy10 has it.

    with writer:
        for images in source.batches():
            writer.write(list(pool.map(writer.encode, images)))

`encode` runs in threads, one image at a time: it is nearly all of the work, and zlib works without Python's lock.
"""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.classes import Classes
from galaxytl.data.files.hdf5_layout import hdf5_lock
from galaxytl.data.files.manifest import Shard
from galaxytl.data.files.sources import CLASSES_ATTRIBUTE, NAME_ATTRIBUTE, PARQUET_KEY, SKY_COLUMNS
from galaxytl.data.galaxy10 import IMAGE_SIDE

ROW_GROUP = 32  # images that a reader of one image must fetch: 4 MB
GZIP_LEVEL = 1
"""On Galaxy10's images level 1 gives 140 kB in 2.9 ms, level 4 gives 142 kB in 4.7 ms: the sky's noise does not
compress any further. The same holds inside PNG."""


@dataclass(frozen=True)
class Rows:
    """What stands beside the images, one value an image."""

    dataset_name: str
    classes: Classes
    columns: Mapping[str, NDArray[np.float64]]
    split: Sequence[str | None]
    """ "train" or "test"."""

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels


class Writer(Protocol):
    def encode(self, image: NDArray[np.uint8]) -> bytes: ...

    def write(self, cells: Sequence[bytes]) -> None:
        """Take the next images, encoded."""
        ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *exception: object) -> None: ...


def png(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 as a PNG file: RGB, 8 bits, not interlaced.

    Every row has PNG's filter 3, the difference to the mean of the left and the upper pixel. Pillow, which tries all
    filters on each row, takes 5.0 ms for a galaxy and gives 122 kB; this takes 2.6 ms and gives 120 kB.
    """
    height, width, channels = image.shape
    pixels = np.ascontiguousarray(image).reshape(height, -1)
    mean = np.zeros(pixels.shape, np.uint16)
    mean[:, channels:] += pixels[:, :-channels]
    mean[1:] += pixels[:-1]
    mean >>= 1
    filtered = np.full((height, 1 + pixels.shape[1]), 3, np.uint8)
    np.subtract(pixels, mean.astype(np.uint8), out=filtered[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, GZIP_LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_part(kind, content) for kind, content in parts)


def _png_part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def parquet_schema(dataset_name: str, class_names: Sequence[str]) -> Any:
    """Arrow schema; its `huggingface` metadata makes `datasets` decode images and name the classes, where these are
    known."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"image": picture, "label": pa.int64(), **dict.fromkeys(SKY_COLUMNS, pa.float64()), "split": pa.string()}
    label = {"names": list(class_names), "_type": "ClassLabel"} if class_names else {"dtype": "int64", "_type": "Value"}
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": label}
    features |= {name: {"dtype": "float64", "_type": "Value"} for name in SKY_COLUMNS}
    features["split"] = {"dtype": "string", "_type": "Value"}
    metadata = {
        b"huggingface": json.dumps({"info": {"features": features}}).encode(),
        PARQUET_KEY: json.dumps({NAME_ATTRIBUTE: dataset_name}).encode(),
    }
    return pa.schema(list(kinds.items()), metadata=metadata)


class ParquetWriter:
    """Writes `folder`/`names[0]`, ..., each with `rows_per_file` images, the last with the rest."""

    encode = staticmethod(png)

    def __init__(
        self, folder: Path, names: Sequence[str], rows: Rows, rows_per_file: int, on_file: Callable[[str], None]
    ) -> None:
        """on_file: called with the name of each file when it is complete."""
        self._folder, self._names, self._rows, self._rows_per_file = folder, names, rows, rows_per_file
        self._on_file = on_file
        self._schema = parquet_schema(rows.dataset_name, rows.classes.known)
        self._digits = len(str(len(rows.labels) - 1))
        self._pending: list[bytes] = []
        self._row = 0
        self._file: Any = None
        self.shards: list[Shard] = []

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
            self._close()
        elif self._file is not None:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self._file.close()

    def write(self, cells: Sequence[bytes]) -> None:
        for cell in cells:
            self._pending.append(cell)
            in_file = self._row % self._rows_per_file + len(self._pending)
            if len(self._pending) == ROW_GROUP or in_file == self._rows_per_file:
                self._flush()

    def _flush(self) -> None:
        """Write the pending images as a row group."""
        if not self._pending:
            return
        if self._file is None:
            self._open(self._folder / self._names[len(self.shards)])
        self._file.write_table(self._table(), row_group_size=ROW_GROUP)
        self._row += len(self._pending)
        self._pending = []
        if self._row % self._rows_per_file == 0:
            self._close()

    def _table(self) -> Any:
        import pyarrow as pa

        part = slice(self._row, self._row + len(self._pending))
        paths = (f"{row:0{self._digits}d}.png" for row in range(part.start, part.stop))
        columns: dict[str, Any] = {
            "image": [{"bytes": c, "path": path} for c, path in zip(self._pending, paths, strict=True)]
        }
        columns |= {"label": self._rows.labels[part], "split": list(self._rows.split[part])}
        columns |= {name: self._rows.columns[name][part] for name in SKY_COLUMNS}
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        return pa.table(arrays, schema=self._schema)

    def _open(self, path: Path) -> None:
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"compression": "none", "use_dictionary": False, "write_statistics": ["label"]}
        self._file = pq.ParquetWriter(path, self._schema, **settings)

    def _close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        name = self._names[len(self.shards)]
        rows = self._row - sum(shard.rows for shard in self.shards)
        self.shards.append(Shard(name, rows, (self._folder / name).stat().st_size))
        self._on_file(name)


class HDF5Writer:
    """Writes a file with Galaxy10's columns, one image a chunk, so that a reader of one image reads no other."""

    def __init__(self, path: Path, rows: Rows, is_zipped: bool) -> None:
        import h5py

        self._is_zipped = is_zipped
        self._row = 0
        self._file = h5py.File(path, "w", locking=False)
        self._file.attrs[NAME_ATTRIBUTE] = rows.dataset_name
        if rows.classes.known:
            self._file.attrs[CLASSES_ATTRIBUTE] = list(rows.classes.known)
        side = (IMAGE_SIDE, IMAGE_SIDE, 3)
        filters = {"compression": "gzip", "compression_opts": GZIP_LEVEL} if is_zipped else {}
        self._images = self._file.create_dataset(
            "images", (len(rows.labels), *side), np.uint8, chunks=(1, *side), **filters
        )
        self._file["ans"] = rows.labels.astype(np.uint8)
        for name in SKY_COLUMNS:
            self._file[name] = np.asarray(rows.columns[name], np.float64)

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        content = np.ascontiguousarray(image)
        return zlib.compress(content.data, GZIP_LEVEL) if self._is_zipped else content.tobytes()

    def write(self, cells: Sequence[bytes]) -> None:
        for cell in cells:
            with hdf5_lock():
                self._images.id.write_direct_chunk((self._row, 0, 0, 0), cell)
            self._row += 1

    def __enter__(self) -> HDF5Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._file.close()
            return
        with contextlib.suppress(OSError, RuntimeError):  # the first error is the one to tell
            self._file.close()
