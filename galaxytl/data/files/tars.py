"""Tar files as WebDataset has them: mine-000000.tar with 0001.jpg and 0001.cls (or .json with "label", or .txt).

Nothing is unpacked to a disk: a first pass reads the labels and notes where the pictures lie, a second the pictures.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files import containers, pictures
from galaxytl.data.files.columns import labels_of
from galaxytl.data.findings import Finding
from galaxytl.system.locations import DataError, Location, StoredFile
from galaxytl.system.prefetch import ahead, in_order
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json
from galaxytl.trial.reading import Reading

PICTURES: Final = ("jpg", "jpeg", "png", "webp", "tif", "tiff")
LABELS: Final = ("cls", "json", "txt")
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
        """Return what its label says, and forget it. Raises DataError."""
        kind = next((kind for kind in LABELS if kind in self.labels), "")
        if not kind or not self.size:
            rule = "every key must have one picture and a .cls, .json or .txt"
            raise DataError(f"{self.file.location}: {rule}; {self.key} has no {'picture' if kind else 'label'}")
        try:
            value = read_json(self.labels[kind])["label"] if kind == "json" else self.labels[kind].decode()
        except (ValueError, KeyError, TypeError) as error:
            rule = f'a label must be text, or JSON with "label"; that of {self.key} is not'
            raise DataError(f"{self.file.location}: {rule}: {error}") from error
        self.labels = {}
        return str(value).strip()

    def image(self) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3). Raises DataError."""
        with containers.about(f"{self.file.location}, {self.key}"), self.file.location.open() as stream:
            stream.seek(self.at)
            return pictures.decode(stream.read(self.size))


class TarSource:
    """Pictures and labels of tar files in the order of their names; see `FileSource`."""

    declared_name: str | None = None
    declared_fingerprint: str | None = None
    findings: tuple[Finding, ...] = ()

    def __init__(self, location: Location, _scratch: Path, reading: Reading) -> None:
        import pyarrow as pa

        self.files = location.files(".tar") if location.kind() == "folder" else [location.stored()]
        self._samples = [sample for file in self.files for sample in _samples(file)]
        if not self._samples:
            raise DataError(f"{location} must hold pictures ({', '.join(PICTURES)}) with labels; it has none")
        labels = pa.chunked_array([[sample.label() for sample in self._samples]])
        self.classes = labels_of(labels, reading.class_names, location)
        self.labels = self.classes.labels
        keys = np.array([sample.key for sample in self._samples], object)
        self.columns = {**containers.unknown_columns(len(keys)), containers.ID_COLUMN: keys}

    def batches(self) -> containers.Batches:
        with contextlib.closing(ahead(containers.of_bounded_size(self._images()))) as batches:
            yield from batches

    def _images(self) -> Generator[NDArray[np.uint8], None, None]:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            with contextlib.closing(in_order(pool, Sample.image, self._samples, lambda: 2 * usable_cpus())) as images:
                yield from images


def _samples(file: StoredFile) -> Iterable[Sample]:
    """Return what each key of a tar file has, in its order. Raises DataError."""
    samples: dict[str, Sample] = {}
    opening = containers.as_data_error(file, "tar")
    with opening, file.location.open() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # or it would keep them all
            folder, slash, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            kind = ending.rpartition(".")[2].lower()
            if stem and kind in (*PICTURES, *LABELS):
                key = f"{folder}{slash}{stem}"
                _take(samples.setdefault(key, Sample(file, key)), member, kind, tar)
    return samples.values()


def _take(sample: Sample, member: tarfile.TarInfo, kind: str, tar: tarfile.TarFile) -> None:
    where, most = f"{sample.file.location}, {member.name}", pictures.MOST_BYTES if kind in PICTURES else MOST_LABEL
    if not member.isreg() or member.issparse():
        raise DataError(f"{where} must be a plain file, as links lead elsewhere; write the tar with --dereference")
    if not 0 < member.size <= most or (kind in PICTURES and sample.size) or kind in sample.labels:
        raise DataError(f"{where} must be the only of its key, with 1 to {most:,} bytes; it has {member.size:,}")
    if kind in PICTURES:
        sample.at, sample.size = member.offset_data, member.size
    elif content := tar.extractfile(member):
        sample.labels[kind] = content.read()
