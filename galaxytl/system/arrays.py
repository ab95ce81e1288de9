"""Arrays in files that others may have written: nothing is unpickled, and no more memory taken than the file has.

with opened_npz(path) as arrays: arrays["history"]      # raises what is in DAMAGED
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

DAMAGED: Final = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RecursionError, MemoryError, SyntaxError, OverflowError),
)
"""What reading a damaged file of arrays raises."""


@contextlib.contextmanager
def opened_npz(file: Path | BinaryIO) -> Iterator[Any]:
    """Open the arrays of a .npz that `numpy.savez` wrote, by name, read when they are asked for.

    Raises ValueError where one is compressed, or the parts are larger than the file: what is in it then is no measure
    of the memory that it takes.
    """
    with contextlib.ExitStack() as closing:
        opened = closing.enter_context(file.open("rb")) if isinstance(file, Path) else file
        size = opened.seek(0, 2)
        opened.seek(0)
        arrays = np.load(opened, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it must be a .npz archive of arrays")
        closing.enter_context(arrays)
        parts = arrays.zip.infolist() if arrays.zip else []
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("its arrays must not be compressed")
        if sum(part.file_size for part in parts) > size:
            raise ValueError("its arrays must lie in it, beside each other")
        yield arrays
