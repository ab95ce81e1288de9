"""Small files that would take gigabytes, or never end, if what they say were believed."""

from __future__ import annotations

import functools
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from galaxytl.data.files.pictures import png
from tests.galaxies import LABELS, make_images

IMAGE: Final = (1, 256, 256, 3)
PIECE: Final = 64 * 2**20
LONG: Final = 2**20 + 12345


@functools.cache
def inflating(size: int) -> bytes:
    """Return a zlib stream of so many zeros at least, without its end."""
    stream = zlib.compressobj(9)
    first = stream.compress(bytes(PIECE)) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(bytes(PIECE)) + stream.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // PIECE)


# HDF5: each changes a file with 40 images, or writes its own


def gzip_images(file: h5py.File) -> None:
    dataset = _chunked(file, "images", (40, 256, 256, 3), IMAGE)
    _one_of_forty(dataset, inflating(2**28))


def gzip_images_with_checksums(file: h5py.File) -> None:
    """HDF5's own pipeline decompresses these."""
    dataset = _chunked(file, "images", (40, 256, 256, 3), IMAGE, fletcher32=True)
    _one_of_forty(dataset, inflating(2**30) + bytes(4))


def gzip_labels(file: h5py.File) -> None:
    _chunked(file, "ans", (40,), (10**6,), maxshape=(None,)).id.write_direct_chunk((0,), inflating(2**30))


def gzip_positions(file: h5py.File) -> None:
    positions = _chunked(file, "ra", (40,), (10**6,), np.float64, maxshape=(None,))
    positions.id.write_direct_chunk((0,), inflating(2**30))


def labels_never_written(file: h5py.File) -> None:
    del file["ans"]
    file.create_dataset("ans", (4 * 10**9,), np.uint8)


def images_never_written(file: h5py.File) -> None:
    del file["ans"], file["images"]
    file.create_dataset("ans", (10**9,), np.uint8)
    file.create_dataset("images", (10**9, 256, 256, 3), np.uint8)


def crumbs(file: h5py.File) -> None:
    del file["ans"], file["images"]
    file["ans"] = np.zeros(9000, np.uint8)
    file.create_dataset("images", (9000, 256, 256, 3), np.uint8, chunks=(1, 1, 1, 1))


def chunks_beyond_the_images(file: h5py.File) -> None:
    dataset = _chunked(file, "images", (40, 256, 256, 3), (1, 18_000, 18_000, 3), maxshape=(None,) * 4)
    _one_of_forty(dataset, inflating(2**30))


def long_name(file: h5py.File) -> None:
    file.create_dataset("class_names", (10,), "S400000000")


def names_again_and_again(file: h5py.File) -> None:
    """40 entries that name one text of 30 MB."""
    names = file.create_dataset("class_names", (40,), h5py.string_dtype(), chunks=(40,))
    names[0] = "x" * 30_000_000
    file.flush()
    _, stored = names.id.read_direct_chunk((0,))
    names.id.write_direct_chunk((0,), bytes(stored[:16]) * 40)


def numbered_names(file: h5py.File) -> None:
    file.attrs["class_names"] = json.dumps({"1000000000": "cat"})


def nested_names(file: h5py.File) -> None:
    file.attrs["class_names"] = "[" * 60_000


def lzf_labels(file: h5py.File) -> None:
    """LZF that repeats: three bytes for 264."""
    dataset = _chunked(file, "ans", (40,), (9 * 10**6,), compression="lzf", maxshape=(None,))
    dataset.id.write_direct_chunk((0,), b"\x00\x00" + b"\xe0\xff\x00" * (3 * 10**6))


def _one_of_forty(dataset: h5py.Dataset, content: bytes) -> None:
    for row in range(40):
        dataset.id.write_direct_chunk((row, 0, 0, 0), content if not row else zlib.compress(bytes(256 * 256 * 3)))


def _chunked(file: h5py.File, name: str, shape: Any, chunks: Any, kind: Any = np.uint8, **how: Any) -> h5py.Dataset:
    if name in file:
        del file[name]
    return file.create_dataset(name, shape, kind, chunks=chunks, **{"compression": "gzip", **how})


HDF5: Final[tuple[Callable[[h5py.File], None], ...]] = (
    *(gzip_images, gzip_images_with_checksums, gzip_labels, gzip_positions, labels_never_written),
    *(images_never_written, crumbs, chunks_beyond_the_images, long_name, names_again_and_again),
    *(numbered_names, nested_names, lzf_labels),
)


def hdf5_files(folder: Path) -> Iterator[Path]:
    for change in HDF5:
        path = folder / f"{change.__name__}.h5"
        with h5py.File(path, "w") as file:
            file["images"], file["ans"] = make_images(), LABELS.astype(np.uint8)
            change(file)
        yield path


# Parquet

PICTURE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet_files(folder: Path) -> Iterator[Path]:
    good, long = png(make_images(1)[0]), bytes(160_000_000)
    for name, rows, cell, how in (
        ("one_long_picture", 1, bytes(400_000_000), {"use_dictionary": False}),
        ("a_long_picture_again_and_again", 40, long, {}),
        ("rows_without_end", 5_000_000, None, {}),
        ("tags_again_and_again", 40, tiff_of_tags(), {}),
        ("exif_again_and_again", 40, _with_exif(good), {}),
        ("a_large_picture", 40, large_png(), {}),
        ("a_large_animation", 40, large_webp(), {}),
    ):
        path = folder / f"{name}.parquet"
        cells = pa.nulls(rows, PICTURE) if cell is None else _repeated({"bytes": cell, "path": None}, rows)
        label = pa.array(np.zeros(rows, np.int8))
        pq.write_table(pa.table({"image": cells, "label": label}), path, compression="zstd", store_schema=False, **how)
        yield path


def _repeated(value: dict[str, Any], rows: int) -> pa.Array:
    """Return a long value many times, once in memory: rows of a dictionary are written as such."""
    first = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value["bytes"]], pa.binary()))
    return pa.StructArray.from_arrays([first, pa.nulls(rows, pa.string())], ["bytes", "path"])


def tiff_of_tags() -> bytes:
    """Return 16,000 tags that each name the same 800 kB."""
    tags, size = 16_000, 800_000
    place = 8 + 2 + 12 * tags + 4
    entries = b"".join(struct.pack("<HHII", 2000 + number, 7, size, place) for number in range(tags))
    return b"II*\x00" + struct.pack("<IH", 8, tags) + entries + bytes(4) + bytes(size)


def _with_exif(picture: bytes) -> bytes:
    return picture[:33] + _png_chunk(b"eXIf", tiff_of_tags()) + picture[33:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def large_png(side: int = 40_000) -> bytes:
    """Return one in black and white, which Pillow makes 8 and 24 bits of."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", inflating(side * (side // 8 + 1))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*part) for part in parts)


def large_webp(side: int = 16_000) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "WEBP", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])
    data = bytearray(file.getvalue())
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


EPS: Final = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\nshowpage\n%%EOF\n"


def thumbnails(folder: Path, picture: bytes) -> Path:
    """Write a results folder with one thumbnail."""
    folder.mkdir()
    table = pa.table({"row": [0], "label": [1], "png": pa.array([picture], pa.binary())})
    pq.write_table(table, folder / "thumbnails.parquet")
    return folder


# Checkpoints and weights


def checkpoints(folder: Path) -> Iterator[Path]:
    np.savez_compressed(folder / "compressed.npz", history=np.zeros(600 * 2**20, np.uint8))
    yield folder / "compressed.npz"
    content = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(folder / "claimed.npz", "w") as archive:
        archive.writestr("history.npy", content.getvalue())
    yield folder / "claimed.npz"


def weights_files(folder: Path) -> Iterator[Path]:
    for name, change in (("circle", _circle), ("large", _large), ("named", _named)):
        path = folder / name / "mobilenet_1_0_224_tf_no_top.h5"
        path.parent.mkdir()
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"conv"]
            file.create_group("conv").attrs["weight_names"] = [b"kernel"]
            change(file)
        {"circle": _forget_links, "named": _name_again}.get(name, lambda _: None)(path)
        yield path


def _circle(file: h5py.File) -> None:
    file["conv/round"] = file["conv"]
    file["conv/kernel"] = np.zeros(3, np.float32)


def _forget_links(path: Path) -> None:
    """Write that every object has one link: HDF5's visit then does not notice that it has been there."""
    data = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        places = [h5py.h5o.get_info(file[name].id).addr for name in ("/", "conv")]
    for place in places:  # an object header of version 1: version, 0, messages (2 bytes), links (4 bytes)
        data[place + 4 : place + 8] = (1).to_bytes(4, "little")
    path.write_bytes(data)


def _large(file: h5py.File) -> None:
    file.create_dataset("conv/kernel", (10**6, 10**6), np.float32)


def _named(file: h5py.File) -> None:
    """4000 names, the first of which has 1 MB; `_name_again` has all be the first."""
    file["conv/kernel"] = np.zeros(3, np.float32)
    file.attrs["layer_names"] = ["x" * LONG, *["y"] * 3999]


def _name_again(path: Path) -> None:
    data = bytearray(path.read_bytes())
    places = (match.start() for match in re.finditer(re.escape(struct.pack("<I", LONG)), data))
    at = next(at for at in places if data[at + 16 : at + 20] == struct.pack("<I", 1))
    data[at : at + 16 * 4000] = bytes(data[at : at + 16]) * 4000
    path.write_bytes(data)
