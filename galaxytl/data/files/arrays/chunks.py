"""Reading the images of an HDF5 file along its chunks: none is read or decompressed twice, whatever their shape.

    for images in slabs(file["images"], lambda: open(path, "rb"), scratch): ...

h5py's automatic chunks of Galaxy10 are (139, 16, 32, 1): 384 of them hold 139 images, and reading one image
decompresses them all. A slab is a row of chunks, so each is decompressed once: 128 passes of 27 MB, not 17,736.
gzip chunks are fetched as they are and decompressed by threads: through HDF5 itself one thread would do it all.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.arrays.hdf5_layout import (
    GZIP,
    SHUFFLE,
    filters_of,
    inflated,
    is_compressed,
    measure,
    stored_chunk,
)
from galaxytl.system.files import FULL
from galaxytl.system.locations import DataError
from galaxytl.system.process import usable_cpus

Offset = tuple[int, ...]
Images = NDArray[np.uint8]

IMAGES_AT_A_TIME = 64
"""12.6 MB: rows of a slab where the file has no chunks, or smaller ones."""
SLAB_BYTES = 128 * 2**20
"""A longer row of chunks goes through a file. A slab may exist four times: the caller's, the next one, and the chunks
of it compressed and decompressed. So all stays below 600 MB."""
PIECE = 64 * 2**10  # compressed bytes taken at a time of a chunk too large for memory: at most 64 MiB decompressed


def slabs(dataset: Any, open_raw: Callable[[], BinaryIO], scratch: Path) -> Iterator[Images]:
    """Yield all images of an h5py dataset (N, ...) uint8, in order, (n, ...) at a time.

    open_raw: opens the file for plain reading, needed for chunks above 128 MiB. scratch: a folder for a temporary
    file, used where a row of chunks is larger than that. Raises OSError, ValueError or zlib.error on a damaged file.
    """
    if not dataset.chunks:
        number = max(1, min(IMAGES_AT_A_TIME, SLAB_BYTES // math.prod(dataset.shape[1:])))
        for start in range(0, len(dataset), number):
            yield dataset[start : start + number]
        return
    chunks = Chunks(dataset)
    rows = dataset.chunks[0]
    if rows * chunks.padded_bytes > SLAB_BYTES:
        yield from _through_scratch(chunks, open_raw, scratch)
        return
    step = rows * max(1, min(IMAGES_AT_A_TIME // rows, SLAB_BYTES // (rows * chunks.padded_bytes)))
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(dataset), step):
            yield chunks.slab(start, start + step, pool)


class Chunks:
    """The chunks of an h5py dataset, each by the offset of its first element: image, row, column, channel, or less."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.shape: Offset = dataset.chunks
        self.image_bytes = math.prod(dataset.shape[1:])
        self.chunk_bytes = math.prod(self.shape)
        grid = [-(-length // chunk) for length, chunk in zip(dataset.shape, self.shape, strict=True)]
        self.padded_bytes = math.prod(count * length for count, length in zip(grid[1:], self.shape[1:], strict=True))
        """Of an image, with what chunks hold beyond its edges."""
        filters = filters_of(dataset)
        self._gzip_bit = 1 << filters.index(GZIP) if GZIP in filters else 0
        all_there = dataset.id.get_num_chunks() == math.prod(grid)  # one that was never written has no bytes
        # Shuffling the bytes of one-byte numbers changes nothing.
        self.is_plain = dataset.dtype == np.uint8 and all_there and set(filters) <= {GZIP, SHUFFLE}
        self._is_measured = self.is_plain or not is_compressed(dataset)

    def offsets(self, start: int, stop: int) -> list[Offset]:
        """Return the offsets of the chunks that hold images from `start`, where a row of chunks begins, to `stop`."""
        ends = (min(stop, len(self.dataset)), *self.dataset.shape[1:])
        starts = (start, *(0 for _ in ends[1:]))
        ranges = (range(b, e, c) for b, e, c in zip(starts, ends, self.shape, strict=True))
        return list(itertools.product(*ranges))

    def slab(self, start: int, stop: int, pool: ThreadPoolExecutor) -> Images:
        """Return images from `start` to `stop`, both where a row of chunks begins."""
        if not self.is_plain:
            for offset in () if self._is_measured else self.offsets(start, stop):
                measure(self.dataset, offset)
            return self.dataset[start:stop]
        slab = np.empty((min(stop, len(self.dataset)) - start, *self.dataset.shape[1:]), np.uint8)

        def place(offset: Offset) -> None:
            _put(slab, (offset[0] - start, *offset[1:]), self.decoded(offset))

        for _ in pool.map(place, self.offsets(start, stop)):
            pass
        return slab

    def decoded(self, offset: Offset) -> Images:
        """Return one chunk in its full shape, also where it reaches beyond the dataset."""
        if not self.is_plain:
            if not self._is_measured:
                measure(self.dataset, offset)
            whole = np.zeros(self.shape, np.uint8)
            ends = zip(offset, self.shape, strict=True)
            found = self.dataset[tuple(slice(begin, begin + length) for begin, length in ends)]
            whole[tuple(slice(0, length) for length in found.shape)] = found
            return whole
        found = stored_chunk(self.dataset, offset, 2 * self.chunk_bytes + PIECE)
        if found is None:
            raise ValueError(f"the chunk at {offset} must be there")
        mask, stored = found
        is_zipped = self._gzip_bit and not mask & self._gzip_bit
        content = inflated(stored, self.chunk_bytes) if is_zipped else stored
        return np.frombuffer(content, np.uint8).reshape(self.shape)

    def pieces(self, offset: Offset, raw: BinaryIO) -> Iterator[bytes | memoryview]:
        """Yield the bytes of one chunk, decompressed, in order; in small pieces if they do not fit into memory."""
        if self.chunk_bytes <= SLAB_BYTES:
            yield self.decoded(offset).data.cast("B")
            return
        self._must_be_streamable()
        info = self.dataset.id.get_chunk_info_by_coord(offset)
        unzip = zlib.decompressobj() if self._gzip_bit and not info.filter_mask & self._gzip_bit else None
        raw.seek(info.byte_offset)
        left = self.chunk_bytes
        for at in range(0, info.size, PIECE):
            stored = raw.read(min(PIECE, info.size - at))
            piece = unzip.decompress(stored) if unzip else stored
            left -= len(piece)
            if left < 0:  # not to fill a disk with
                raise ValueError(
                    f"the chunk at {offset} holds more than the {self.chunk_bytes:,} bytes that it declares"
                )
            yield piece

    def _must_be_streamable(self) -> None:
        if not self.is_plain or self.dataset.file.userblock_size:
            rule = (
                f"chunks of images above {SLAB_BYTES // 2**20} MiB must be plain or gzip, in a file without user block"
            )
            found = f"{self.dataset.file.filename} has chunks of {self.chunk_bytes / 2**20:,.0f} MiB"
            raise DataError(f"{rule}; {found}. Rewrite it: h5repack -l images:CHUNK=1x256x256x3 OLD NEW")


def _put(slab: Images, at: Offset, block: Images) -> None:
    """Write what of `block` lies within `slab`, its first element at `at`."""
    ends = zip(at, block.shape, slab.shape, strict=True)
    region = tuple(slice(begin, min(begin + length, end)) for begin, length, end in ends)
    slab[region] = block[tuple(slice(0, part.stop - part.start) for part in region)]


def _through_scratch(chunks: Chunks, open_raw: Callable[[], BinaryIO], scratch: Path) -> Iterator[Images]:
    """Yield slabs of a file whose chunks span too many images: each chunk is decoded once, into a file."""
    rows = chunks.shape[0]
    scratch.mkdir(parents=True, exist_ok=True)
    with open_raw() as raw:
        for start in range(0, len(chunks.dataset), rows):
            with tempfile.TemporaryFile(dir=scratch) as file:  # has no name: a killed process leaves nothing
                offsets = chunks.offsets(start, start + rows)
                for number, offset in enumerate(offsets):
                    _spill(file, scratch, chunks.pieces(offset, raw))
                    if file.tell() != (number + 1) * chunks.chunk_bytes:
                        raise ValueError(f"the chunk at {offset} does not have {chunks.chunk_bytes:,} bytes")
                yield from _gathered(chunks, file.fileno(), offsets)


def _spill(file: Any, scratch: Path, pieces: Iterator[bytes | memoryview]) -> None:
    try:
        for piece in pieces:
            file.write(piece)
        file.flush()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(
            f"chunks that span many images need room for a decompressed copy of them in {scratch}, which is full. "
            "Free some, or set GALAXYTL_CACHE_DIR to a folder with room"
        ) from error


def _gathered(chunks: Chunks, descriptor: int, offsets: list[Offset]) -> Iterator[Images]:
    """Yield images of one row of chunks, which lie in a file one chunk after the other."""
    rows, shape = chunks.shape[0], chunks.dataset.shape
    start = offsets[0][0]
    end = min(start + rows, shape[0])
    row_bytes = chunks.chunk_bytes // rows
    step = max(1, SLAB_BYTES // 2 // max(chunks.image_bytes, row_bytes))
    for first in range(start, end, step):
        count = min(step, end - first)
        slab = np.empty((count, *shape[1:]), np.uint8)
        for number, offset in enumerate(offsets):
            at = number * chunks.chunk_bytes + (first - start) * row_bytes
            block = np.frombuffer(os.pread(descriptor, count * row_bytes, at), np.uint8)
            _put(slab, (0, *offset[1:]), block.reshape(count, *chunks.shape[1:]))
        yield slab
