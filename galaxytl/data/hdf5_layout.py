"""How an HDF5 dataset is stored, where that decides whether its numbers can be trusted.

    check_readable(file, "images")           # raises DataError for links to other files, and filters that are missing
    never_written(file["images"])            # rows whose chunks nobody wrote: they would read as black images

What lies in other files (external links, virtual datasets, external storage) is refused: HDF5 reads zeros where such a
file is missing, finds it in a place that depends on the working folder and on environment variables, and does not tell
when it has changed.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.findings import SHOWN
from galaxytl.data.locations import DataError, Location

FILTERS: Final = {
    4: "szip",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "Blosc2",
}
"""Names of filters by The HDF Group's registered numbers."""


def check_readable(file: Any, name: str, where: Location) -> None:
    """Raises DataError unless the dataset `name` of an open h5py file lies in this file, and can be decompressed."""
    if others := _other_files(file, name):
        raise DataError(
            f"{where}: all that is read must lie in this file: '{name}' lies in {_in_words(others, where)}. With all "
            f"of these in place, write one: python -c \"import h5py; a, b = h5py.File('OLD.h5'), h5py.File('NEW.h5', "
            "'w'); [b.create_dataset(n, data=a[n][()]) for n in a]\""
        )
    for number in filters_of(file[name]):
        if not _is_available(number):
            raise DataError(
                f"{where}: '{name}' must be compressed by a filter that is installed; it has {number} "
                f"({FILTERS.get(number, 'of no name known here')}). Try pip install hdf5plugin, or rewrite the file "
                "where it can be read: h5repack -f GZIP=1 OLD NEW"
            )


def _other_files(file: Any, name: str) -> list[str]:
    """Files beside `file` that the content of a dataset comes from."""
    import h5py

    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return [str(link.filename)]
    dataset = file[name]
    if h5py.h5f.get_name(dataset.id) != h5py.h5f.get_name(file.id):  # by a soft link that leads through another
        return [str(dataset.file.filename)]
    if dataset.is_virtual:
        return sorted({part.file_name for part in dataset.virtual_sources()})
    return [part[0] for part in dataset.external or ()]


def _in_words(files: list[str], where: Location) -> str:
    def shown(name: str) -> str:
        is_there = name == "." or not where.is_local or (where.local.parent / name).exists()
        return name if is_there else f"{name} (not found)"

    rest = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(map(shown, files[:SHOWN])) + rest


def filters_of(dataset: Any) -> list[int]:
    """Registered numbers of a dataset's filters, in the order in which they are applied."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _is_available(number: int) -> bool:
    """Whether HDF5 can undo a filter, perhaps by the package hdf5plugin, which registers many when it is imported."""
    import h5py

    if h5py.h5z.filter_avail(number):
        return True
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")
    return bool(h5py.h5z.filter_avail(number))


def never_written(dataset: Any) -> NDArray[np.int64]:
    """Rows (n,) of an h5py dataset (N, ...) of which some chunk was never written: they read as its fill value."""
    import h5py

    if not dataset.chunks:
        is_there = dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT or dataset.id.get_offset() is not None
        return np.arange(0 if is_there else len(dataset))
    grid = [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == int(np.prod(grid)):
        return np.arange(0)
    written = np.zeros(grid, np.bool_)

    def note(chunk: Any) -> None:
        written[tuple(start // length for start, length in zip(chunk.chunk_offset, dataset.chunks, strict=True))] = True

    dataset.id.chunk_iter(note)
    missing = np.flatnonzero(~written.reshape(len(written), -1).all(axis=1))
    rows = itertools.chain.from_iterable(
        range(int(n) * dataset.chunks[0], min((int(n) + 1) * dataset.chunks[0], len(dataset))) for n in missing
    )
    return np.fromiter(rows, np.int64)
