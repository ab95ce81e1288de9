"""Tar files as WebDataset has them: mine-000000.tar with 0001.jpg and 0001.cls (or .json with "label", or .txt).

Nothing is unpacked to a disk: a first pass reads the labels and notes where the pictures lie, a second the pictures.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tarfile
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import columns, containers, pictures
from galaxytl.data.files.classes import unknown_classes
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.prefetch import ahead, in_order
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json
from galaxytl.trial.reading import Reading

LABELS: Final = (".cls", ".json", ".txt")
"""The first of them that a key has says its class."""
MOST_LABEL: Final = 2**16  # bytes


@dataclass
class Sample:
    """What a key of a tar file has."""

    file: StoredFile
    key: str
    at: int = 0
    size: int = 0
    """Bytes of the picture, from `at` on in the file; 0: there is none."""
    labels: dict[str, bytes] = field(default_factory=dict)

    def label(self) -> str:
        """Return what its label says. Raises DataError."""
        kind = next((kind for kind in LABELS if kind in self.labels), "")
        if not kind or not self.size:
            rule = "every key must have one picture and a .cls, .json or .txt"
            raise DataError(f"{self.file.location}: {rule}; {self.key} has no {'picture' if kind else 'label'}")
        content = self.labels.pop(kind)
        try:
            return str(read_json(content)["label"] if kind == ".json" else content.decode()).strip()
        except (ValueError, KeyError, TypeError) as error:
            rule = f'a label must be text, or JSON with "label"; that of {self.key} is not'
            raise DataError(f"{self.file.location}: {rule}: {error}") from error

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3) that these bytes are. Raises DataError."""
        with containers.about(f"{self.file.location}, {self.key}"):
            return pictures.decode(content)


class TarSource:
    """Pictures and labels of tar files in the order of their names; see `FileSource`."""

    findings, declared_name, declared_fingerprint = (), None, None

    def __init__(self, location: Location, _scratch: Path, reading: Reading) -> None:
        import pyarrow as pa

        self.files = location.files(".tar") if location.kind() == "folder" else [location.stored()]
        samples = (sample for file in self.files for sample in _samples(file))
        self._samples = [sample for sample in samples if sample.size or reading.wants_labels]
        if not self._samples:
            raise DataError(f"{location} must hold pictures{' with labels' * reading.wants_labels}; it has none")
        if reading.wants_labels:
            labels = pa.chunked_array([[sample.label() for sample in self._samples]])
            self.classes = columns.labels_of(labels, reading.class_names, location)
        else:
            self.classes = unknown_classes(len(self._samples))
        self.labels = self.classes.labels
        ids = columns.texts(pa.chunked_array([[sample.key for sample in self._samples]]), location)
        self.columns = {**containers.unknown_columns(len(ids)), containers.ID_COLUMN: ids}

    def batches(self) -> containers.Batches:
        with contextlib.closing(ahead(containers.of_bounded_size(self._images()))) as batches:
            yield from batches

    def cells(self, start: int) -> Iterator[containers.Cell]:
        return (functools.partial(sample.decode, content) for sample, content in self._contents(start))

    def _images(self) -> Generator[NDArray[np.uint8], None, None]:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            yield from in_order(pool, lambda item: item[0].decode(item[1]), self._contents(), usable_cpus)

    def _contents(self, start: int = 0) -> Iterator[tuple[Sample, bytes]]:
        for file, samples in itertools.groupby(self._samples[start:], lambda sample: sample.file):
            with file.location.open() as stream:
                for sample in samples:
                    stream.seek(sample.at)
                    yield sample, stream.read(sample.size)


def _samples(file: StoredFile) -> Iterable[Sample]:
    """Return what each key of a tar file has, in its order. Raises DataError."""
    samples: dict[str, Sample] = {}
    opening = containers.as_data_error(file, "tar")
    with opening, file.location.open() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # or it would keep them all
            folder, slash, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            kind = "." + ending.rpartition(".")[2].lower()
            if stem and kind in (*pictures.ENDINGS, *LABELS):
                key = f"{folder}{slash}{stem}"
                _take(samples.setdefault(key, Sample(file, key)), member, kind, tar)
        stream.seek(tar.offset)
        if stream.read(512).strip(b"\0") or not tar.offset < file.size:  # tarfile takes a damaged header for the end
            raise DataError(f"{file.location} must be a whole tar file; it is damaged or cut at byte {tar.offset:,}")
    return samples.values()


def _take(sample: Sample, member: tarfile.TarInfo, kind: str, tar: tarfile.TarFile) -> None:
    is_label, where = kind in LABELS, f"{sample.file.location}, {member.name}"
    most = MOST_LABEL if is_label else pictures.MOST_BYTES
    if not member.isreg() or member.issparse():
        raise DataError(f"{where} must be a plain file, as links lead elsewhere; write the tar with --dereference")
    if not 0 < member.size <= most or (sample.size and not is_label) or kind in sample.labels:
        raise DataError(f"{where} must be the only of its key, with 1 to {most:,} bytes; it has {member.size:,}")
    if not is_label:
        sample.at, sample.size = member.offset_data, member.size
    elif content := tar.extractfile(member):
        sample.labels[kind] = content.read()
