"""The one door to galaxies: `open_dataset(uri)`.

dataset = open_dataset("simulated:1000")          # or Galaxy10_DECals.h5, a folder of Parquet files, s3://bucket/path
dataset.labels, dataset.fingerprint, dataset.name
images = dataset.resized(64).images               # (N, 64, 64, 3) uint8, memory-mapped
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import galaxy10_sdss, hot_copy
from galaxytl.data.files.arrays.hdf5 import HDF5Source
from galaxytl.data.files.arrays.npz import NpzSource
from galaxytl.data.files.catalogue import is_catalogue, read_catalogue
from galaxytl.data.files.classes import Classes, counts_of
from galaxytl.data.files.containers import SKY_COLUMNS, ArraySource, Columns, FileSource, Source
from galaxytl.data.files.contents import Reader, is_hdf5, is_npz, is_parquet, is_tar, look_at
from galaxytl.data.files.fingerprint import ContentChangedError, check_content, check_fingerprint
from galaxytl.data.files.folders import is_cutouts, is_pictures, read_cutouts, read_folders
from galaxytl.data.files.parquet import ParquetSource
from galaxytl.data.files.tars import TarSource
from galaxytl.data.findings import how_read
from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES, NUM_CLASSES
from galaxytl.data.scan import Progress, Scan, read_images, remember, remembered, scan_path
from galaxytl.data.simulation.stored import simulated_folder
from galaxytl.system.cache import cache_dir, read_own, taking_turns
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import names_text
from galaxytl.system.locations import DataError, Location, StoredFile, explained, locate
from galaxytl.system.strict_json import read_json
from galaxytl.trial.reading import AS_FOUND, Reading

READERS: Final[list[Reader]] = [
    Reader("a catalogue of paths: CSV, JSON lines, Parquet or FITS table", is_catalogue, read_catalogue),
    Reader("Parquet", is_parquet, ParquetSource),
    Reader("HDF5", is_hdf5, HDF5Source),
    Reader("NumPy's .npz", is_npz, NpzSource),
    Reader("folder a class", is_pictures, read_folders),
    Reader("folder a class of FITS", is_cutouts, read_cutouts),
    Reader("tar", is_tar, TarSource),
]
"""What reads a file or folder: the first of them that knows it. docs/extending.md says how to add one."""

DEFAULT_SIMULATED = 1000

NOTE_FORMAT = 3  # of the state that a noted fingerprint is named by; raised when the same files are read otherwise
MANY_FILES = 10_000  # that are looked at before it is said
SETTLED_NANOSECONDS = 5 * 10**9
"""Times of an object store have seconds, and its clock may be off by as much again."""


@dataclass(frozen=True)
class Dataset:
    """Galaxies with labels. `fingerprint` is of the content, so the same in every container."""

    uri: str
    """For people: without a password."""
    name: str
    fingerprint: str
    source: Source
    cache: Path
    note: Path | None = None
    """Where the fingerprint is remembered."""
    scan: Scan | None = field(default=None, repr=False, compare=False)
    """What its images told, where opening it read them."""

    def __post_init__(self) -> None:
        check_fingerprint(self.fingerprint, self.uri)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64, from 0."""
        return self.source.labels

    @property
    def columns(self) -> Columns:
        """ra and dec (degrees), redshift, pxscale (arcseconds a pixel); (N,) each, NaN where unknown. Beside them
        what the dataset has of id, split, and the columns that were asked for."""
        return self.source.columns

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes, in the order of their numbers."""
        return self.source.classes.names

    @property
    def kind(self) -> str:
        """What its images are, for people."""
        if self.name.startswith("simulated"):
            return "simulated galaxies, not real ones"
        if self.name.startswith("galaxy10"):
            return "galaxies"
        return f"images of {len(self.class_names):,} classes ({names_text(self.class_names)})"

    @property
    def facts(self) -> dict[str, Any]:
        """What a trial's spec says of the dataset that it is trained on."""
        targets = "classes" if self.source.classes.votes is None else "votes"
        named = {"dataset": self.name, "dataset_fingerprint": self.fingerprint}
        return {**named, "num_classes": len(self.class_names), "targets": targets}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it was read."""
        return tuple(note for note in (self.source.classes.note, *how_read(self.source.findings)) if note)

    def __len__(self) -> int:
        return len(self.labels)

    def resized(
        self, image_size: int, on_progress: Progress | None = None, fit: Literal["resize", "crop"] = "resize"
    ) -> hot_copy.HotCopy:
        """Return the node-local copy at `image_size` pixels, made now if it is not there; fit: see `hot_copy.Size`.

        Raises ContentChangedError when the images or labels are no longer those of the fingerprint.
        """
        size = hot_copy.Size(image_size, fit)
        with self.forgetting():
            return hot_copy.hot_copy(self.source, self.fingerprint, size, self.cache, on_progress)

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget the remembered fingerprint where what is read in this block is something else, so that the next
        command reads anew."""
        try:
            yield
        except ContentChangedError as error:
            if self.note:
                with contextlib.suppress(OSError):  # another user's
                    self.note.unlink()
            elif getattr(self.source, "declared_fingerprint", None):
                raise DataError(
                    f"{self.uri} must have the content that its manifest.json tells; its files were changed ({error}). "
                    "Convert the data again, or remove manifest.json"
                ) from error
            raise


@dataclass(frozen=True)
class Opened:
    """A source of which no image was read yet."""

    source: Source
    name: str
    fingerprint: str | None
    """What is known of it without reading the images: from a manifest, or noted when they were read before."""
    note: Path | None = None
    """Where to remember its fingerprint; None where that is not possible or not needed."""
    files: Sequence[StoredFile] = ()


def open_dataset(
    uri: str,
    cache: Path | None = None,
    on_progress: Progress | None = None,
    reading: Reading = AS_FOUND,
    sizes: Iterable[hot_copy.Size] = (),
) -> Dataset:
    """Open `simulated[:N[:SEED]]`, or what one of READERS knows, at a path or URI.

    The images are read once to get their fingerprint, unless a manifest of `convert` gives it or a note in the cache.
    What `sky` and trials at `sizes` would read them for is made in the same pass: their scan, and hot copies.
    Raises DataError when it is missing, damaged, or of no kind that can be read.
    """
    cache = cache or cache_dir()
    opened = open_source(uri, cache, on_progress, reading)
    wanted = tuple(sizes)
    if _is_seen(opened, wanted, cache):
        return _dataset(uri, opened, cache)
    with taking_turns(opened.note or (scan_path(cache, opened.fingerprint) if opened.fingerprint else None)):
        opened = replace(opened, fingerprint=opened.fingerprint or _noted_fingerprint(opened.note))
        if _is_seen(opened, wanted, cache):  # another process has just read it
            return _dataset(uri, opened, cache)
        return _read(uri, opened, wanted, cache, on_progress)


def _is_seen(opened: Opened, sizes: Sequence[hot_copy.Size], cache: Path) -> bool:
    """Return whether no pass over the images is needed now: their fingerprint is known, and what trials at these sizes
    need is there, or lacks the copies alone, which who trains makes."""
    if opened.fingerprint is None:
        return False
    if not hot_copy.missing(sizes, opened.fingerprint, cache):
        return True
    return remembered(cache, opened.fingerprint, opened.source.classes) is not None


def _dataset(uri: str, opened: Opened, cache: Path) -> Dataset:
    assert opened.fingerprint is not None
    return Dataset(without_secrets(uri), opened.name, opened.fingerprint, opened.source, cache, opened.note)


def _read(
    uri: str, opened: Opened, sizes: Sequence[hot_copy.Size], cache: Path, on_progress: Progress | None
) -> Dataset:
    """Read the images once, for all that is made of them. Raises DataError when they are not those of a fingerprint
    that is known."""
    source = opened.source
    with hot_copy.drafts(len(source.labels), sizes, cache) as drafts:
        scan = read_images(source, [draft.copy for draft in drafts], on_progress)
        fingerprint = scan.fingerprint(source.classes)
        dataset = _dataset(uri, replace(opened, fingerprint=opened.fingerprint or fingerprint), cache)
        with dataset.forgetting():
            check_content(fingerprint, dataset.fingerprint, dataset.uri)
        for draft in drafts:
            draft.keep(cache, fingerprint, source.labels)
    remember(scan, cache, fingerprint)
    note_fingerprint(opened.note, fingerprint)
    return replace(dataset, scan=scan)


def open_source(uri: str, cache: Path, on_progress: Progress | None = None, reading: Reading = AS_FOUND) -> Opened:
    """Open what `uri` names without reading its images; raises DataError as `open_dataset` does."""
    if uri == "simulated" or uri.startswith("simulated:"):
        _check_unasked(uri, reading)
        return _open_simulated(uri, cache, on_progress)
    try:
        source = open_files(uri, cache / "scratch", reading)
        note = None if source.declared_fingerprint else note_path(source.files, cache, reading, on_progress)
        fingerprint = source.declared_fingerprint or _noted_fingerprint(note)
    except OSError as error:
        raise DataError(f"{without_secrets(uri)} cannot be read: {error}") from error
    return Opened(source, _name(source, source.declared_name), fingerprint, note, source.files)


def open_files(uri: str, scratch: Path, reading: Reading = AS_FOUND) -> FileSource:
    """Return the source that a path or URI names. scratch: a folder for temporary files.

    Raises DataError when nothing is there, or nothing that can be read.
    """
    location = locate(uri)
    if location.kind() == "nothing":
        _bucket_must_exist(location)
        raise DataError(f"--data must be 'simulated', or a file or folder with images; {location} does not exist")
    what = look_at(location)
    for reader in READERS:
        if reader.knows(what):
            source = reader.read(location, scratch, reading)
            _check_columns(source, location, reading)
            return source
    kinds = ", ".join(reader.name for reader in READERS)
    raise DataError(f"{location} must be of a kind that can be read ({kinds}); it is {what.description}")


def _check_columns(source: FileSource, location: Location, reading: Reading) -> None:
    if missing := [name for name in reading.extra_columns if name not in source.columns]:
        found = ", ".join(source.columns)
        raise DataError(
            f"--columns and --group-by must name columns of {location}; got '{missing[0]}', what is read is {found}"
        )


def _check_unasked(uri: str, reading: Reading) -> None:
    if reading != AS_FOUND:
        raise DataError(f"options that say how a dataset is to be read do not go with {uri}, which is made here")


def _bucket_must_exist(location: Location) -> None:
    bucket = location.path.split("/")[0]
    if location.scheme == "s3" and replace(location, uri=f"s3://{bucket}", path=bucket).kind() == "nothing":
        raise explained(location, OSError("NO_SUCH_BUCKET"))


def _open_simulated(uri: str, cache: Path, on_progress: Progress | None) -> Opened:
    num_images, seed = _parse_simulated(uri)
    progress = functools.partial(on_progress, "simulating galaxies") if on_progress else None
    folder = simulated_folder(num_images, seed, cache, progress)
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "labels", *SKY_COLUMNS)}
    classes = Classes(np.array(arrays["labels"]), CLASS_NAMES)
    source = ArraySource(arrays["images"], classes, {n: arrays[n] for n in SKY_COLUMNS})
    return Opened(source, "simulated", read_json((folder / "manifest.json").read_bytes())["fingerprint"])


def _parse_simulated(uri: str) -> tuple[int, int]:
    parts = uri.split(":")[1:]
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise DataError(f"a simulated dataset is simulated, simulated:IMAGES or simulated:IMAGES:SEED; got '{uri}'")
    num_images = int(parts[0]) if parts else DEFAULT_SIMULATED
    seed = int(parts[1]) if len(parts) > 1 else 0
    if not 3 * NUM_CLASSES <= num_images <= 1_000_000:
        raise DataError(f"a simulated dataset must have 30 to 1,000,000 images; got {num_images}")
    return num_images, seed


def note_fingerprint(note: Path | None, fingerprint: str) -> None:
    """Remember the fingerprint of files at their `note_path`."""
    if note:
        with contextlib.suppress(OSError):  # on a full disk: the images are read again next time
            write_atomically(note, fingerprint.encode())


def _noted_fingerprint(note: Path | None) -> str | None:
    with contextlib.suppress(OSError, UnicodeError):  # not there, damaged, or another user's: the images are read
        if note and re.fullmatch("[0-9a-f]{64}", text := read_own(note).decode()):
            return text
    return None


def note_path(
    files: Sequence[StoredFile], cache: Path, reading: Reading = AS_FOUND, on_progress: Progress | None = None
) -> Path | None:
    """Return where the fingerprint of these files is noted. The name is their very state: sizes, times, what decodes
    them, and how they are read.

    None where the state does not tell that the content stays the same: no time is known, or a file at another machine
    was written so lately that another write would have the same time.
    """
    if not files:
        return None
    versions = [NOTE_FORMAT, version("pillow"), version("astropy")]
    state = hashlib.sha256(json.dumps([*versions, dataclasses.astuple(reading)]).encode())
    for number, file in enumerate(files):
        if on_progress and number and number % MANY_FILES == 0:
            on_progress("looking at files", number, len(files))
        place = file.location
        if file.modified is None or (not place.is_local and time.time_ns() - file.modified < SETTLED_NANOSECONDS):
            return None
        folder, _, last = place.path.rpartition("/")
        name = f"{_real_folder(folder)}/{last}" if place.is_local else place.uri
        state.update(repr((name, file.size, file.modified, *file.identity)).encode())
    return cache / "fingerprints" / state.hexdigest()[:32]


_real_folder = functools.lru_cache(1024)(os.path.realpath)
"""Of a million files in one folder it is looked up once."""


def _name(source: Source, declared: str | None) -> str:
    """Name the dataset by its content, so that a trial's id does not depend on a file's name; simulated galaxies stay
    simulated."""
    if declared and declared.startswith("simulated"):
        return "simulated"
    if source.classes.own == galaxy10_sdss.CLASS_NAMES and len(source.labels) == galaxy10_sdss.NUM_IMAGES:
        return galaxy10_sdss.NAME
    if source.classes.own or not (source.classes.known or source.classes.assumed):
        return f"own_classes_{len(source.labels)}_images"
    if counts_of(source.labels) == CLASS_COUNTS:
        return "galaxy10_decals"
    return f"galaxy10_layout_{len(source.labels)}_images"
