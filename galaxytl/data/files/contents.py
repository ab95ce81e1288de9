"""What lies at a place, told by what it is and not by the end of its name alone; and what reads it.

what = look_at(location)
what.head[:4] == b"PAR1", what.endings["jpg"]
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from galaxytl.data.files.containers import FileSource
from galaxytl.data.files.manifest import NAME, UNFINISHED
from galaxytl.system.locations import Location
from galaxytl.trial.reading import Reading

HEAD: Final = 1024
"""Bytes of a file that are looked at: HDF5 may begin behind a user block of 512."""
LOOKED_AT: Final = 10_000
"""Files of a folder that are looked at: what the first so many are, all are taken to be."""
HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
MAGIC: Final = {
    HDF5_MAGIC: "HDF5",
    b"PAR1": "Parquet",
    b"SIMPLE  =": "FITS",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"PK\x03\x04": "ZIP",
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"GIF8": "GIF",
}
"""What files begin with -> their kind."""


def kind_of(head: bytes) -> str:
    """Return what a file says of itself in its first HEAD bytes; "" where that is nothing known."""
    if head[257:262] == b"ustar":  # its first file, at byte 512, may be of any kind
        return "tar"
    if head[512:520] == HDF5_MAGIC:
        return "HDF5"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # two letters alone may begin a text
        return "BMP"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")


def described(head: bytes) -> str:
    """Return for people what a file is that begins so."""
    kind = kind_of(head)
    of_kind = f"a {kind} file" if kind else f"a file that begins with {head[:16]!r}"
    return of_kind if head else "an empty file"


@dataclass(frozen=True)
class Contents:
    """What a look at a file, or at the names in a folder, tells."""

    location: Location
    is_folder: bool
    head: bytes = b""
    """The first bytes of a file."""
    endings: Mapping[str, int] | None = None
    """In a folder: ends of names, in small letters and without the dot -> files, of the first LOOKED_AT."""

    @property
    def kind(self) -> str:
        """What a file says of itself; "" where that is nothing known."""
        return kind_of(self.head)

    @property
    def ending(self) -> str:
        """That of its name, in small letters and without the dot."""
        name = self.location.path.rpartition("/")[2]
        return name.rpartition(".")[2].lower() if "." in name else ""

    @property
    def description(self) -> str:
        """For people."""
        if not self.is_folder:
            return described(self.head)
        files = ", ".join(f"{count} .{end}" for end, count in sorted((self.endings or {}).items(), key=_by_count)[:5])
        return f"a folder with {files}" if files else "a folder without files"

    def has(self, *endings: str) -> bool:
        """Return whether a folder has files whose names end so."""
        return any((self.endings or {}).get(ending) for ending in endings)


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def look_at(location: Location) -> Contents:
    """Look at what lies there; raises DataError where it cannot be read."""
    if location.kind() == "folder":
        names = itertools.islice(location.names(), LOOKED_AT)
        endings = Counter(name.rpartition(".")[2].lower() if "." in name else "" for name in names)
        return Contents(location, True, endings=endings)
    with location.open() as file:
        return Contents(location, False, file.read(HEAD))


@dataclass(frozen=True)
class Reader:
    """What reads datasets of one kind."""

    name: str
    """For people."""
    knows: Callable[[Contents], bool]
    """Tells whether what lies there is of this kind."""
    read: Callable[[Location, Path, Reading], FileSource]
    """Makes the source, given a folder for temporary files."""


def is_parquet(what: Contents) -> bool:
    if what.is_folder:
        return what.has("parquet") or any(what.location.child(name).kind() == "file" for name in (NAME, UNFINISHED))
    return what.kind == "Parquet" or (not what.kind and what.ending == "parquet")


def is_hdf5(what: Contents) -> bool:
    is_named_so = not what.kind and what.ending in ("h5", "hdf5", "hdf")
    return not what.is_folder and (what.kind == "HDF5" or is_named_so)


def is_tar(what: Contents) -> bool:
    return what.has("tar") if what.is_folder else what.kind == "tar"


def is_npz(what: Contents) -> bool:
    """Return whether it is an archive whose first part is an array: a ZIP names it behind 30 bytes."""
    first = what.head[30 : 30 + int.from_bytes(what.head[26:28], "little")]
    return (what.kind == "ZIP" and first.endswith(b".npy")) or (not what.kind and what.ending == "npz")
