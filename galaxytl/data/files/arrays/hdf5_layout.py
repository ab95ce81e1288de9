"""How an HDF5 dataset is stored, where that decides whether its numbers can be trusted, and what reading them takes.

    images = opened(file, "images", where)   # raises DataError for what lies in other files, and filters without bound
    never_written(images)                    # rows whose chunks nobody wrote: they would read as black images
    values(file["ans"], "ans", where)        # all numbers of a small dataset, in memory that its shape foretells

What lies in other files (external links, virtual datasets, external storage) is refused, and never opened: HDF5 reads
zeros where such a file is missing, finds it in a place that depends on the working folder and on environment variables,
does not tell when it has changed, and whoever made the file would choose which of the reader's files becomes part of a
copy. HDF5 itself decompresses a chunk to whatever size it has: each is measured before, against the size that the
file declares.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.findings import SHOWN
from galaxytl.system.locations import DataError, Location

GZIP, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
"""The filters that are read, by The HDF Group's registered numbers."""
COMPRESSORS: Final = (GZIP, LZF)
FILTERS: Final = {
    4: "szip",
    5: "nbit",
    6: "scale-offset",
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "Blosc2",
}
"""Names of others."""
BUILT_IN: Final = (4, 5, 6)
"""Those of them that need no plugin."""
LARGEST_CHUNK = 128 * 2**20
"""Bytes of a chunk, decompressed, that is held in memory."""
CHECK_SUMS = 256
"""Bytes that may stand beside those of a chunk: check sums, and a little that did not compress."""
LZF_RATIO = 88
"""Bytes that LZF makes of one at most: three stand for up to 264."""
LZF_LONG, LZF_LONGEST = 224, 264
"""The byte that three begin with that stand for many is this or more; two others stand for 8 at most."""
MOST_LINKS = 40
"""Soft links that are followed for one name, as many as Linux follows."""
LARGEST_TEXT = 16 * 2**20
"""Bytes of names and texts that are read of one attribute or dataset."""


def opened(file: Any, name: str, where: object) -> Any:
    """Return the dataset (or group) `name` of an open h5py file, whose content lies in this file and can be read in
    bounds.

    Raises DataError otherwise, KeyError where it is not there. No other file is looked at.
    """
    item = _reached(file, name, where)
    if not hasattr(item, "chunks"):
        return item
    if others := _other_files(item):
        raise _lies_elsewhere(name, others, where)
    numbers = filters_of(item)
    if unknown := [number for number in numbers if number not in (GZIP, SHUFFLE, FLETCHER32, LZF)]:
        imports = "import h5py" if unknown[0] in BUILT_IN else "import h5py, hdf5plugin"
        raise DataError(
            f"{where}: '{name}' must be plain, or compressed by gzip or LZF; it has the filter {unknown[0]} "
            f"({FILTERS.get(unknown[0], 'of no name known here')}), which says itself how much memory it takes. "
            f"Where you know the file to be sound, rewrite it: {_rewriting(imports)}"
        )
    if sum(number in COMPRESSORS for number in numbers) > 1:
        raise DataError(f"{where}: '{name}' must be compressed once; it is several times. {_rewriting('import h5py')}")
    return item


def _reached(file: Any, name: str, where: object) -> Any:
    """Follow the links of a name one by one: HDF5 alone would open the files that some of them lead to."""
    import h5py

    item, left, followed = file, deque(part for part in name.split("/") if part), 0
    while left:
        if not isinstance(item, h5py.Group):
            raise KeyError(f"'{name}' leads through what is no group")
        part = left.popleft()
        link = _link(item, part)
        if isinstance(link, h5py.SoftLink):
            followed += 1
            if followed > MOST_LINKS:
                raise DataError(f"{where}: '{name}' must lead somewhere; it leads round in a circle of links")
            item = file if link.path.startswith("/") else item
            left.extendleft(reversed([step for step in link.path.split("/") if step not in ("", ".")]))
        elif isinstance(link, h5py.HardLink):
            item = item[part]
        else:
            raise _lies_elsewhere(name, [str(getattr(link, "filename", "a place of its own kind"))], where)
    return item


def _link(group: Any, part: str) -> Any:
    try:
        link = group.get(part, getlink=True)
    except TypeError:  # of a kind that a program registers itself
        return None
    if link is None:
        raise KeyError(f"'{part}' is not there")
    return link


def _other_files(dataset: Any) -> list[str]:
    """Return files beside its own that the content of a dataset comes from."""
    if dataset.is_virtual:
        return sorted({part.file_name for part in dataset.virtual_sources()})
    return [part[0] for part in dataset.external or ()]


def _lies_elsewhere(name: str, files: list[str], where: object) -> DataError:
    return DataError(
        f"{where}: all that is read must lie in this file: '{name}' lies in {_in_words(files, where)}. With all "
        f"of these in place, where you know them to be yours, write one: {_rewriting('import h5py')}"
    )


def _rewriting(imports: str) -> str:
    copying = (
        "a, b = h5py.File('OLD.h5'), h5py.File('NEW.h5', 'w'); b.attrs.update(a.attrs); "
        "[b.create_dataset(n, data=a[n][()]) for n in a if isinstance(a[n], h5py.Dataset)]"
    )
    return f'python -c "{imports}; {copying}"'


def _in_words(files: list[str], where: object) -> str:
    def shown(name: str) -> str:
        is_there = name == "." or not isinstance(where, Location) or not where.is_local
        return name if is_there or (where.local.parent / name).exists() else f"{name} (not found)"  # type: ignore[attr-defined]

    rest = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(map(shown, files[:SHOWN])) + rest


def filters_of(dataset: Any) -> list[int]:
    """Return registered numbers of a dataset's filters, in the order in which they are applied."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


# What reading takes


def values(dataset: Any, name: str, where: object) -> Any:
    """Return all of a dataset from `opened`, whose type and shape the caller has looked at, in no more memory than they
    say.

    Raises DataError and ValueError where its chunks hold more than they declare, or are too large.
    """
    measure_all(dataset, name, where)
    return dataset[()]


def measure_all(dataset: Any, name: str, where: object) -> None:
    """Raise DataError or ValueError where reading a small dataset would take more memory than its shape says."""
    if not dataset.chunks:
        return
    if (chunk_bytes := declared_bytes(dataset)) > LARGEST_CHUNK:
        rule = f"chunks of '{name}' must have at most {LARGEST_CHUNK // 2**20} MiB"
        raise DataError(f"{where}: {rule}; they have {chunk_bytes / 2**20:,.0f}. {_rewriting('import h5py')}")
    if is_compressed(dataset):
        grid = (range(0, length, chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        for offset in itertools.product(*grid):
            measure(dataset, offset)


def is_compressed(dataset: Any) -> bool:
    return any(number in COMPRESSORS for number in filters_of(dataset))


def declared_bytes(dataset: Any) -> int:
    """Return the bytes of a chunk of `dataset`, decompressed."""
    return math.prod(dataset.chunks) * int(dataset.id.get_type().get_size())


def measure(dataset: Any, offset: tuple[int, ...]) -> None:
    """Raise ValueError where the chunk at `offset` would decompress to more than it declares."""
    declared = declared_bytes(dataset)
    most = declared + CHECK_SUMS
    stored = stored_chunk(dataset, offset, most + declared // 1000)
    if stored is None:
        return
    mask, content = stored
    used = [number for place, number in enumerate(filters_of(dataset)) if not mask >> place & 1]
    if GZIP in used:
        inflated(content, most)
    elif LZF in used and len(content) * LZF_RATIO > LARGEST_CHUNK:
        _check_lzf(content, most + LZF_RATIO * CHECK_SUMS)


def stored_chunk(dataset: Any, offset: tuple[int, ...], most: int) -> tuple[int, memoryview] | None:
    """Return the filters that were left out, as bits, and the bytes of a chunk as they lie in the file; None where it
    was never written. Raises ValueError where they are more than `most`.

    HDF5 tells the size of one chunk by going through all of them, 4 ms each in Galaxy10_DECals.h5; to read it, it looks
    it up.
    """
    try:
        with hdf5_lock():
            mask, content = dataset.id.read_direct_chunk(offset, out=np.empty(most, np.uint8))
    except ValueError as error:  # "out buffer is only 1 bytes, 2 bytes required"
        raise ValueError(f"the chunk at {offset} must take at most {most:,} bytes ({error})") from error
    except RuntimeError as error:
        if "not allocated" not in str(error):
            raise
        return None
    return mask, memoryview(content)


def hdf5_lock() -> Any:
    """Return the lock that h5py takes around calls into HDF5, which allows one thread at a time.

    h5py 3.14 does not take it in read_direct_chunk and write_direct_chunk: two threads there crash the process.
    """
    from h5py._objects import phil

    return phil


def inflated(content: bytes | memoryview, most: int) -> bytes:
    """Return what zlib compressed, of at most so many bytes; raises ValueError where it would be more."""
    stream = zlib.decompressobj()
    found = stream.decompress(content, most)
    if not stream.eof and stream.decompress(stream.unconsumed_tail, 1):
        raise ValueError(f"a chunk holds more than the {most:,} bytes that it declares")
    if not stream.eof:
        raise ValueError("a chunk is cut off")
    return found


def _check_lzf(stored: memoryview, most: int) -> None:
    """Raise ValueError where what LZF compressed would be more than so many bytes."""
    long = np.count_nonzero(np.frombuffer(stored, np.uint8) >= LZF_LONG)
    if 4 * len(stored) + LZF_LONGEST * long <= max(most, LARGEST_CHUNK):  # of most images: the rest takes its time
        return
    content, at, found = bytes(stored), 0, 0
    while at < len(content) and found <= most:
        control = content[at]
        if control < 32:  # as many bytes as they are, and one more
            found += control + 1
            at += control + 2
        elif control < LZF_LONG:  # repeated: 3 to 8 bytes
            found += (control >> 5) + 2
            at += 2
        else:
            found += 9 + (content[at + 1] if at + 1 < len(content) else 0)
            at += 3
    if found > most:
        raise ValueError(f"a chunk holds more than the {most:,} bytes that it declares")


def texts(holder: Any, most: int, most_bytes: int = LARGEST_TEXT) -> list[str]:
    """Return texts in an HDF5 attribute (h5py's AttrID) or dataset of at most `most` of them; [] of what holds none.

    Raises ValueError where they are more, or long. A text of variable length may be named many times, though it lies in
    the file once: of a dataset each is read alone.
    """
    kind, count = holder.dtype, math.prod(holder.shape or ())
    if holder.shape is None or not _is_text(kind):
        return []
    if (count * kind.itemsize > most_bytes) if kind.kind == "S" else (count > most):
        raise ValueError(f"there may be {most:,} texts, of {most_bytes // 2**20} MiB in all; got {count:,}")
    return [_decoded(value) for value in _each(holder, kind, most_bytes)]


def _is_text(kind: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(kind) is not None


def _each(holder: Any, kind: Any, most_bytes: int) -> Iterator[Any]:
    import h5py

    if not isinstance(holder, h5py.Dataset):
        found = np.empty(holder.shape, kind)
        holder.read(found, mtype=h5py.h5t.py_create(kind))
        yield from found.ravel().tolist()
        return
    measure_all(holder, holder.name, holder.file.filename)
    left = most_bytes
    for place in np.ndindex(holder.shape):
        value = holder[place]
        left -= len(value)
        if left < 0:
            raise ValueError(f"texts must have {most_bytes // 2**20} MiB in all; they have more")
        yield value


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def never_written(dataset: Any) -> NDArray[np.int64]:
    """Return rows (n,) of an h5py dataset (N, ...) of which some chunk was never written: they read as its fill
    value."""
    import h5py

    if not dataset.chunks:
        is_there = dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT or dataset.id.get_offset() is not None
        return np.arange(0 if is_there else len(dataset))
    grid = [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == math.prod(grid):
        return np.arange(0)
    written = np.zeros(grid[0], np.int64)

    def note(chunk: Any) -> None:
        written[chunk.chunk_offset[0] // dataset.chunks[0]] += 1

    dataset.id.chunk_iter(note)
    missing = np.flatnonzero(written < math.prod(grid[1:]))
    rows = itertools.chain.from_iterable(
        range(int(n) * dataset.chunks[0], min((int(n) + 1) * dataset.chunks[0], len(dataset))) for n in missing
    )
    return np.fromiter(rows, np.int64)
