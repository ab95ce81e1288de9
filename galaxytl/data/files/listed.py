"""A dataset of one file a picture: a folder a class, a catalogue of paths, a folder of FITS cutouts.

    source = ListedSource(folder, names, classes, columns)                  # names relative to `folder`, or whole
    source = ListedSource(folder, names, classes, columns, decode=cutout)   # of files that Pillow does not read

Of a million files their names are held, as Arrow text (60 MB), and nothing else: a place, a size or a time is made when
it is asked for. Files are looked at and read by threads, of which a slow disk or server keeps many waiting.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import containers, pictures
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.containers import Batches, Columns
from galaxytl.data.findings import Finding
from galaxytl.system.credentials import without_secrets
from galaxytl.system.locations import DataError, Location, StoredFile, explained, locate, reaching
from galaxytl.system.prefetch import ahead, in_order
from galaxytl.system.process import usable_cpus

URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
THREADS_AFAR: Final = 32
"""That wait for a server, or for the disk of one, at a time."""
LOOKED_AT: Final = 500
"""Files whose sizes and times one thread asks for at a time."""

Decode = Callable[[bytes], NDArray[np.uint8]]
"""Gives pixels (H, W, 3) uint8 of a file's content; raises DataError, whose message has yet to say which file."""


@dataclass(frozen=True)
class ListedSource:
    """Images of which each is a file; see `FileSource`."""

    root: Location
    """What the names are relative to."""
    names: Any
    """(N,) paths below the root, paths from / on, or URIs: an Arrow array of text, or a sequence of str."""
    classes: Classes
    columns: Columns
    decode: Decode = pictures.decode
    findings: tuple[Finding, ...] = ()
    beside: Sequence[StoredFile] = ()
    """Further files that say which image is of which class: a catalogue."""
    states: NDArray[np.int64] | None = None
    """(N, 2) bytes and times (nanoseconds since 1970) of the files, where a listing told them."""
    declared_name: str | None = None
    declared_fingerprint: str | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.classes.labels

    @property
    def files(self) -> Sequence[StoredFile]:
        return ListedFiles(self.root, self.names, self.beside, self.states)

    def batches(self) -> Batches:
        with contextlib.closing(ahead(containers.of_bounded_size(self._images()))) as batches:
            yield from batches

    def cells(self, start: int) -> Iterator[containers.Cell]:
        return (functools.partial(self._image, name) for name in self.names[start:])

    @property
    def threads(self) -> int:
        """So many read at a time: of a slow disk or server many wait."""
        return usable_cpus() if place_of(self.root, _text(self.names[0])).is_local else THREADS_AFAR

    def _images(self) -> Generator[NDArray[np.uint8], None, None]:
        """Yield the images in order; so many are read ahead as fit into memory if they are as large as the largest."""
        threads, largest = self.threads, 1

        def most() -> int:
            return min(2 * threads, containers.BATCH_BYTES // largest)

        with (
            ThreadPoolExecutor(threads) as pool,  # Pillow decodes without Python's lock
            contextlib.closing(in_order(pool, self._image, self.names, most)) as images,
        ):
            for image in images:
                largest = max(largest, image.nbytes)
                yield image

    def _image(self, name: Any) -> NDArray[np.uint8]:
        place = place_of(self.root, _text(name))
        content = content_of(place)
        with containers.about(place):
            return self.decode(content)


class ListedFiles(Sequence[StoredFile]):
    """The files of a list with their sizes and times, which are looked up whenever it is gone through."""

    def __init__(
        self, root: Location, names: Any, beside: Sequence[StoredFile] = (), states: NDArray[np.int64] | None = None
    ) -> None:
        self._root, self._names, self._beside, self._known = root, names, beside, states

    def __len__(self) -> int:
        return len(self._names) + len(self._beside)

    def __getitem__(self, index: Any) -> Any:
        rest = index - len(self._names)
        return self._beside[rest] if rest >= 0 else place_of(self._root, _text(self._names[index])).stored()

    def __iter__(self) -> Iterator[StoredFile]:
        """Yield all in order. Raises DataError at the end where files are not there, with how many."""
        if self._known is not None:
            for name, (size, modified) in zip(self._names, self._known.tolist(), strict=True):
                yield StoredFile(place_of(self._root, _text(name)), size, modified if modified >= 0 else None)
            yield from self._beside
            return
        missing, first = 0, ""
        parts = (self._names[start : start + LOOKED_AT] for start in range(0, len(self._names), LOOKED_AT))
        with (
            ThreadPoolExecutor(THREADS_AFAR) as pool,
            contextlib.closing(in_order(pool, self._states, parts, lambda: THREADS_AFAR)) as states,
        ):
            for state in (state for part in states for state in part):
                if isinstance(state, StoredFile):
                    yield state
                else:
                    missing, first = missing + 1, first or str(state)
        if missing:
            rule = "every picture must be a file that is there"
            found = f"{missing:,} of {len(self._names):,} are not, the first is {first}"
            raise DataError(f"{rule}; {found}. Fetch them, or leave their rows out")
        yield from self._beside

    def _states(self, names: Any) -> list[StoredFile | Location]:
        """Return each file with its size and time; of one that is not there its place alone."""
        return [_state(place_of(self._root, _text(name))) for name in names]


def _text(name: Any) -> str:
    return name if isinstance(name, str) else name.as_py()


def place_of(root: Location, name: str) -> Location:
    """Return the file of this name: at a URI or a path from / on, else below the root. Raises DataError for a URI of a
    scheme that is not known."""
    if URI.match(name):
        return _at(name)
    if name.startswith("/"):
        return replace(root, uri=name, path=name) if root.is_local else locate(name)
    return root.child(name)


def _at(uri: str) -> Location:
    parts = urlsplit(uri)
    query = f"?{parts.query}" if parts.query else ""
    place = _server(f"{parts.scheme}://{parts.netloc}/{query}").child(unquote(parts.path).lstrip("/"))
    return replace(place, uri=without_secrets(uri))


_server = functools.lru_cache(64)(locate)
"""A connection is made once, not a file."""


def _state(place: Location) -> StoredFile | Location:
    if not place.is_local:
        found = place.stored()
        return found if found.modified is not None or found.size else place
    try:
        state = os.stat(place.path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that holds a NUL
        return place
    except OSError as error:
        raise explained(place, error) from error
    if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
        return place
    identity = (state.st_dev, state.st_ino, state.st_ctime_ns)
    return StoredFile(place, state.st_size, state.st_mtime_ns, identity)


def content_of(place: Location) -> bytes:
    """Return the bytes of a picture's file. Raises DataError where it is too large, or cannot be read."""
    with reaching(place), place.filesystem.open_input_file(place.path) as file:
        if (size := file.size()) > pictures.MOST_BYTES:
            raise DataError(f"{place}: a picture must have at most {pictures.MOST_BYTES:,} bytes; it has {size:,}")
        return bytes(file.read(size))
