"""The one door to galaxies: `open_dataset(uri)`.

dataset = open_dataset("simulated:1000")          # or Galaxy10_DECals.h5, or a folder of Parquet files
dataset.labels, dataset.fingerprint, dataset.name
images = dataset.resized(64).images               # (N, 64, 64, 3) uint8, memory-mapped
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import store
from galaxytl.data.cache import cache_dir, write_atomically
from galaxytl.data.fingerprint import ContentHash
from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES, NUM_CLASSES
from galaxytl.data.sources import SKY_COLUMNS, ArraySource, DataError, HDF5Source, ParquetSource, Source

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many images are done, and of how many."""

DEFAULT_SIMULATED = 1000


@dataclass(frozen=True)
class Dataset:
    """Galaxies with labels. `fingerprint` is of the content, so the same in every container."""

    uri: str
    name: str
    fingerprint: str
    source: Source
    cache: Path

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64, 0 to 9."""
        return self.source.labels

    @property
    def columns(self) -> Mapping[str, NDArray[np.float64]]:
        """ra and dec (degrees), redshift, pxscale (arcseconds a pixel); (N,) each, NaN where unknown."""
        return self.source.columns

    @property
    def class_names(self) -> tuple[str, ...]:
        return CLASS_NAMES

    def __len__(self) -> int:
        return len(self.labels)

    def resized(self, image_size: int, on_progress: Progress | None = None) -> store.HotCopy:
        """The node-local copy at `image_size` pixels, made now if it is not there."""
        return store.hot_copy(self.source, self.fingerprint, image_size, self.cache, on_progress)


def open_dataset(uri: str, cache: Path | None = None, on_progress: Progress | None = None) -> Dataset:
    """Open `simulated[:N[:SEED]]`, an HDF5 file in Galaxy10's layout, or a folder of Parquet files.

    Raises DataError when it is missing, damaged, or not in one of these layouts.
    """
    cache = cache or cache_dir()
    if uri == "simulated" or uri.startswith("simulated:"):
        return _open_simulated(uri, cache, on_progress)
    path = Path(uri).expanduser()
    if not path.exists():
        raise DataError(f"--data must be 'simulated', an HDF5 file or a folder of Parquet files; {uri} does not exist")
    source: Source
    try:
        is_parquet = path.is_dir() or path.suffix == ".parquet"
        source = ParquetSource(path) if is_parquet else HDF5Source(path)
        fingerprint = _known_fingerprint(path, source, cache, on_progress)
    except OSError as error:
        raise DataError(f"{uri} cannot be read: {error}") from error
    return Dataset(uri, _name(source), fingerprint, source, cache)


def _open_simulated(uri: str, cache: Path, on_progress: Progress | None) -> Dataset:
    from galaxytl.data.simulate import simulated_folder

    num_images, seed = _parse_simulated(uri)
    progress = functools.partial(on_progress, "simulating galaxies") if on_progress else None
    folder = simulated_folder(num_images, seed, cache, progress)
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "labels", *SKY_COLUMNS)}
    source = ArraySource(arrays["images"], np.array(arrays["labels"]), {n: arrays[n] for n in SKY_COLUMNS})
    fingerprint = json.loads((folder / "manifest.json").read_text())["fingerprint"]
    return Dataset(uri, "simulated", fingerprint, source, cache)


def _parse_simulated(uri: str) -> tuple[int, int]:
    parts = uri.split(":")[1:]
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise DataError(f"a simulated dataset is simulated, simulated:IMAGES or simulated:IMAGES:SEED; got '{uri}'")
    num_images = int(parts[0]) if parts else DEFAULT_SIMULATED
    seed = int(parts[1]) if len(parts) > 1 else 0
    if not 3 * NUM_CLASSES <= num_images <= 1_000_000:
        raise DataError(f"a simulated dataset must have 30 to 1,000,000 images; got {num_images}")
    return num_images, seed


def _known_fingerprint(path: Path, source: Source, cache: Path, on_progress: Progress | None) -> str:
    """The fingerprint noted for this very state of the files, or a pass over them all."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    state = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    note = cache / "fingerprints" / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]
    if note.exists() and len(text := note.read_text()) == 64:
        return text
    fingerprint = _content_fingerprint(source, on_progress)
    write_atomically(note, fingerprint.encode())
    return fingerprint


def _content_fingerprint(source: Source, on_progress: Progress | None) -> str:
    content = ContentHash()
    done = 0
    for batch in source.batches():
        content.add(batch)
        done += len(batch)
        if on_progress:
            on_progress("reading images", done, len(source.labels))
    return content.hexdigest(source.labels)


def _name(source: Source) -> str:
    """From the content, so that a trial's id does not depend on a file's name."""
    counts = np.bincount(source.labels, minlength=NUM_CLASSES)
    if tuple(counts) == CLASS_COUNTS:
        return "galaxy10_decals"
    return f"galaxy10_layout_{len(source.labels)}_images"
