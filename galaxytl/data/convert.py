"""Copies of a dataset in another container: HDF5 as Galaxy10 has it, Parquet as Hugging Face has it, anywhere.

    convert("Galaxy10_DECals.h5", "s3://bucket/galaxy10/")        # a folder: shards and a manifest
    convert("s3://bucket/galaxy10/", "galaxy10.h5")

One pass: the images are read along the source's chunks, encoded by all cores and written as they come, so memory does
not grow with the dataset. A copy has its source's fingerprint, and simulated galaxies say so in every container.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from galaxytl.data import sky
from galaxytl.data.dataset import Opened, note_fingerprint, note_path, open_dataset, open_source
from galaxytl.data.files.arrays.hdf5 import HDF5Writer
from galaxytl.data.files.containers import Rows, Writer, class_counts
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.data.files.manifest import NAME, Manifest, SourceFile
from galaxytl.data.files.parquet import ParquetWriter
from galaxytl.data.files.targets import Staging, is_taken, staged
from galaxytl.data.findings import harmful_text, how_read
from galaxytl.data.scan import Progress
from galaxytl.data.splits import split_indices
from galaxytl.system.cache import cache_dir
from galaxytl.system.locations import DataError, Location, StoredFile, locate
from galaxytl.system.prefetch import ahead
from galaxytl.system.process import usable_cpus
from galaxytl.trial import TrialSpec
from galaxytl.trial.reading import AS_FOUND, Reading

Container = Literal["folder", "parquet", "hdf5"]
MOST_SOURCES: Final = 1000
"""Files whose names and checksums a manifest has: others are pictures, which the fingerprint is of."""
SUFFIXES: dict[str, Container] = {".parquet": "parquet", ".h5": "hdf5", ".hdf5": "hdf5"}


@dataclass(frozen=True)
class ConvertOptions:
    compression: Literal["gzip", "none"] = "gzip"
    """Of images in HDF5. PNG, in Parquet, is always compressed."""
    stratified: bool = False
    """Make the split column class by class."""
    images_per_shard: int = 512
    """62 MB of Galaxy10's images a file of a Parquet folder."""
    cache: Path | None = None
    """Folder for temporary files and notes; the node's cache if None."""
    reading: Reading = AS_FOUND
    """How the source is to be read."""


@dataclass(frozen=True)
class Converted:
    """What now lies at `uri`."""

    uri: str
    name: str
    fingerprint: str
    num_images: int
    split: str
    """How the split column was made; empty for HDF5, which has none."""
    already_there: bool = False
    """Nothing was written, because the same galaxies were there."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the source was read."""


def convert(
    source_uri: str, to: str, options: ConvertOptions | None = None, on_progress: Progress | None = None
) -> Converted:
    """Write the dataset at `source_uri` to `to`: a `.h5` or `.parquet` file, or else a folder of Parquet files.

    Does nothing if the same galaxies are already there. Raises DataError when the source cannot be used, when `to`
    holds anything else, and when it cannot be written; then nothing is left under its name.
    """
    options = options or ConvertOptions()
    cache = options.cache or cache_dir()
    container, target = parse_target(to)
    opened = open_source(source_uri, cache, on_progress, options.reading)
    if is_taken(target):
        return _already_there(source_uri, to, cache, options.reading, on_progress)
    split, split_rule = split_column(opened.source.labels, options.stratified)
    rows = Rows(opened.name, opened.source.classes, opened.source.columns, split)
    with staged(target, cache, container == "folder") as staging:
        job = Job(opened, rows, split_rule, options, on_progress)
        fingerprint = job.write_folder(staging) if container == "folder" else job.write_file(staging.path, container)
    if container != "folder":
        note_fingerprint(note_path([target.stored()], cache), fingerprint)
    said = "" if container == "hdf5" else split_rule
    return Converted(to, opened.name, fingerprint, len(rows.labels), said, notes=reading_notes(opened))


def reading_notes(opened: Opened) -> tuple[str, ...]:
    """Return what was found about the source's classes, and its harmful damage, which a copy no longer shows."""
    classes = opened.source.classes
    unnamed = "" if classes.known else "it says no class names, so the copy says none"
    findings = opened.source.findings
    return tuple(filter(None, (classes.note, unnamed, harmful_text(findings), *how_read(findings))))


def parse_target(to: str) -> tuple[Container, Location]:
    """Return what `--to` asks for, and where."""
    if to.startswith("simulated") and "/" not in to and not to.endswith(tuple(SUFFIXES)):
        raise DataError(
            f"--to must not start with 'simulated', which names galaxies to be made; got '{to}'. Try ./{to}"
        )
    target = locate(to)
    suffix = os.path.splitext(target.path)[1].lower()
    return "folder" if to.endswith("/") else SUFFIXES.get(suffix, "folder"), target


def split_column(labels: NDArray[np.int64], stratified: bool) -> tuple[list[str | None], str]:
    """Return the paper's split, seed 0, as "train" or "test" for each of `labels` (N,), and a sentence about it.

    Stratified on request, and where a class would be left out; None for all where even that cannot be done.
    """
    spec = TrialSpec(dataset="converted", dataset_fingerprint="")
    reason = ""
    for by_class in (True,) if stratified else (False, True):
        try:
            splits = split_indices(labels, spec.replace(stratified=by_class))
        except DataError as error:
            reason = str(error)
            continue
        column: list[str | None] = ["train"] * len(labels)
        for row in splits.test:
            column[row] = "test"
        return column, f"70 % train, 30 % test, split seed 0, {'class by class' if by_class else 'not stratified'}"
    return [None] * len(labels), f"none: {reason}"


def _already_there(source_uri: str, to: str, cache: Path, reading: Reading, on_progress: Progress | None) -> Converted:
    """Return what is at `to`, if it is the dataset at `source_uri`; raises DataError otherwise."""
    try:
        found = open_dataset(to, cache, on_progress)
    except DataError as error:
        raise DataError(
            f"--to must name a place where nothing is yet; {to} holds something else: {error}. "
            "Choose another place, or remove what is there"
        ) from error
    source = open_dataset(source_uri, cache, on_progress, reading)
    if (found.fingerprint, found.name) != (source.fingerprint, source.name):
        raise DataError(
            f"--to must name a place where nothing is yet, or the same galaxies; {to} holds {found.name} with the "
            f"content {found.fingerprint[:12]}, {source_uri} is {source.name} with {source.fingerprint[:12]}. "
            "Choose another place, or remove what is there"
        )
    sky.remembered_scan(found, on_progress)  # a manifest may claim what is not there
    return Converted(to, found.name, found.fingerprint, len(found), "", already_there=True)


@dataclass(frozen=True)
class Job:
    """One pass over a source, into a new copy."""

    opened: Opened
    rows: Rows
    split_rule: str
    options: ConvertOptions
    on_progress: Progress | None

    def write_file(self, path: Path, container: Container) -> str:
        """Write one file; gives the fingerprint of what was read."""
        if container == "hdf5":
            return self._copy_images(HDF5Writer(path, self.rows, self.options.compression == "gzip"))
        count = len(self.rows.labels)
        return self._copy_images(ParquetWriter(path.parent, [path.name], self.rows, count, lambda name: None))

    def write_folder(self, staging: Staging) -> str:
        """Write shards and their manifest; gives the fingerprint of what was read."""
        with ThreadPoolExecutor(1) as thread:  # the files' checksums meanwhile
            source = thread.submit(checksums, self.opened.files)
            names, size = self._shard_names(), self.options.images_per_shard
            writer = ParquetWriter(staging.path, names, self.rows, size, staging.file_done)
            fingerprint = self._copy_images(writer)
            manifest = Manifest(
                dataset_name=self.opened.name,
                fingerprint=fingerprint,
                num_images=len(self.rows.labels),
                class_counts=class_counts(self.rows.classes),
                split=self.split_rule,
                source=source.result(),
                shards=tuple(writer.shards),
            )
        (staging.path / NAME).write_bytes(manifest.to_json())
        return fingerprint

    def _shard_names(self) -> list[str]:
        """Return names in a form that `datasets` takes for one split; "train" would be wrong, the files hold both
        parts."""
        name = self.opened.name
        stem = next((known for known in ("simulated", "galaxy10") if name.startswith(known)), "images")
        total = -(-len(self.rows.labels) // self.options.images_per_shard)
        return [f"data/{stem}-{number:05d}-of-{total:05d}.parquet" for number in range(total)]

    def _copy_images(self, writer: Writer) -> str:
        """Read, encode and hash, and write: three stages at a time, a batch in each. Returns the fingerprint."""
        content, done, total = ContentHash(), 0, len(self.rows.labels)
        with writer, contextlib.closing(ahead(self._encoded(writer, content))) as batches:
            for cells in batches:
                writer.write(cells)
                done += len(cells)
                if self.on_progress:
                    self.on_progress("converting", done, total)
        fingerprint = content.hexdigest(self.rows.classes)
        if self.opened.fingerprint not in (None, fingerprint):
            if self.opened.note:
                with contextlib.suppress(OSError):  # another user's
                    self.opened.note.unlink()
            raise DataError(
                "the source must have the content that its manifest, or an earlier look at it, tells: "
                f"{self.opened.fingerprint:.12}; it has {fingerprint[:12]}. It changed or is damaged: run "
                "the command again to take it as it is, or fetch it again"
            )
        return fingerprint

    def _encoded(self, writer: Writer, content: ContentHash) -> Iterator[list[bytes]]:
        with ThreadPoolExecutor(usable_cpus()) as pool, contextlib.closing(self.opened.source.batches()) as batches:
            for batch in batches:
                cells = pool.map(writer.encode, batch)
                content.add(batch)
                yield list(cells)


def checksums(files: Sequence[StoredFile]) -> tuple[SourceFile, ...]:
    """Return SHA-256 of whole files; of more than MOST_SOURCES only how many they are, and their bytes in all."""
    if len(files) > MOST_SOURCES:
        return (SourceFile(f"{len(files):,} files", sum(file.size for file in files), ""),)
    found = []
    for file in files:
        with file.location.open() as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
        found.append(SourceFile(file.location.path.rpartition("/")[2], file.size, digest))
    return tuple(found)
