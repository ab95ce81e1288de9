"""manifest.json: what a folder of Parquet files must hold, written beside them by `convert`.

manifest = read_manifest(locate("s3://bucket/galaxy10/"))   # None where there is none
manifest.fingerprint, manifest.dataset_name
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from galaxytl.data.files.fingerprint import check_fingerprint
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.strict_json import read_json

FORMAT = 1  # raised when an older program would misread the folder
NAME = "manifest.json"
UNFINISHED = "unfinished.json"
"""Lies in a remote folder while it is being written, so that what a killed conversion left can be told from data."""
MOST_BYTES = 64 * 2**20
"""A shard takes some 120."""
AGAIN = "Run the same `python -m galaxytl.data convert` again, or copy the folder again"


@dataclass(frozen=True)
class Shard:
    name: str
    """Path below the folder."""
    rows: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class SourceFile:
    """A file that the shards were made from."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    dataset_name: str
    fingerprint: str
    """`galaxytl.data.files.fingerprint.ContentHash` of images and labels."""
    num_images: int
    class_counts: dict[str, int]
    split: str
    """How the split column was made."""
    source: tuple[SourceFile, ...]
    """Empty for simulated galaxies, which come from no file."""
    shards: tuple[Shard, ...]
    format: int = FORMAT

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), indent=1).encode()


def read_manifest(folder: Location) -> Manifest | None:
    """Read the manifest of `folder`; None where it has none.

    Raises DataError when it cannot be understood, or when the folder was left unfinished.
    """
    place = folder.child(NAME)
    if place.kind() == "file":
        folder.check_inside(NAME)
        if (size := place.stored().size) > MOST_BYTES:
            raise DataError(f"{place} must have at most {MOST_BYTES:,} bytes; it has {size:,}")
        return _parsed(place.read(), place)
    if folder.child(UNFINISHED).kind() == "file":
        raise DataError(f"{folder} must be complete; its conversion was cut off or is still running. {AGAIN}")
    return None


def _parsed(text: bytes, place: Location) -> Manifest:
    try:
        values: dict[str, Any] = read_json(text)
        found = values["format"]
        if found != FORMAT:
            raise DataError(f"{place} must be of format {FORMAT}; got {found!r}. Convert the data again")
        lists = {"source": SourceFile, "shards": Shard}
        values |= {name: tuple(kind(**item) for item in values[name]) for name, kind in lists.items()}
        manifest = Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{place} must be a manifest that `convert` wrote; it cannot be understood: {str(error)[:200]!r}"
        ) from error
    check_fingerprint(manifest.fingerprint, place)
    _check_types(manifest, place)
    return manifest


def _check_types(manifest: Manifest, place: Location) -> None:
    """Raise DataError for values of other types than `convert` writes."""
    texts = (manifest.dataset_name, manifest.split, *(shard.name for shard in manifest.shards))
    numbers = [value for shard in manifest.shards for value in (shard.rows, shard.size)]
    counts = manifest.class_counts.values() if isinstance(manifest.class_counts, dict) else (None,)
    right = all(isinstance(text, str) for text in texts) and all(type(n) is int for n in [*numbers, *counts])
    if not right:
        raise DataError(f"{place} must be a manifest that `convert` wrote; some of its values are of other types")


def check_shards(folder: Location, manifest: Manifest, stored: Sequence[StoredFile]) -> None:
    """Raise DataError unless the Parquet files of `folder` are those of its manifest, byte for byte in size."""
    sizes = {file.location.path.removeprefix(folder.path.rstrip("/") + "/"): file.size for file in stored}
    for shard in manifest.shards:
        if shard.name not in sizes:
            raise DataError(f"{folder} must hold all files of its {NAME}; {shard.name} is missing. {AGAIN}")
        if sizes[shard.name] != shard.size:
            found = f"{sizes[shard.name]:,} bytes instead of {shard.size:,}"
            raise DataError(f"{folder} must hold the files of its {NAME}; {shard.name} has {found}. {AGAIN}")
    if extra := sorted(set(sizes) - {shard.name for shard in manifest.shards}):
        raise DataError(f"{folder} must hold no Parquet files but those of its {NAME}; found {extra[0]}. Move it away")


def check_rows(folder: Location, manifest: Manifest, rows: Sequence[int]) -> None:
    """Raise DataError unless the files, in order of their names, have as many rows as the manifest says."""
    for shard, found in zip(sorted(manifest.shards, key=lambda shard: shard.name), rows, strict=True):
        if shard.rows != found:
            raise DataError(f"{folder}: {shard.name} must have {shard.rows} rows; it has {found}. {AGAIN}")
