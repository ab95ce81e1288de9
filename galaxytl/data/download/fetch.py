"""Galaxy10 DECaLS from where it is published: the HDF5 file of Zenodo, or the Parquet files of Hugging Face.

    fetch_hdf5(ZENODO, Path("Galaxy10_DECals.h5"), reporter)
    fetch_parquet(Path("galaxy10_decals"), reporter)

The HDF5 file has a published SHA-256. For the Parquet files none is published: they are compared with the SHA-256 that
the hub itself lists for each of them, and their labels with the published number of images of each class.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from galaxytl.data.download.http import PATIENT, Patience, RemoteFile, UnreachableError, download, get_json
from galaxytl.data.files.classes import counts_of
from galaxytl.data.galaxy10 import CLASS_COUNTS, FILE_SHA256, FILE_URL, HUB_DATASET
from galaxytl.data.progress import Reporter
from galaxytl.system.locations import DataError

ZENODO = RemoteFile(FILE_URL, FILE_SHA256)
MOST_PAGES = 100
"""Of the hub's listing, whose first has all."""


def fetch_hdf5(remote: RemoteFile, target: Path, reporter: Reporter, patience: Patience = PATIENT) -> None:
    """Fetch one file with a known SHA-256 and say what was done; raises DataError."""
    with _naming_the_way_by_hand(remote.url):
        fetched = download(remote, target, reporter, patience)
    done = "fetched" if fetched else "already there"
    reporter.say(f"{target}: {done}, {decimal(target.stat().st_size)}, SHA-256 {remote.sha256} verified")


def fetch_parquet(folder: Path, reporter: Reporter, patience: Patience = PATIENT) -> None:
    """Fetch the Hugging Face copy into `folder` and compare it with what is known of the dataset; raises DataError."""
    with _naming_the_way_by_hand(f"https://huggingface.co/datasets/{HUB_DATASET}"):
        shards = hub_shards(reporter, patience)
    _check_space(shards, folder)
    for number, (name, remote) in enumerate(shards.items(), start=1):
        with _naming_the_way_by_hand(remote.url):
            fetched = download(remote, folder / name, reporter, patience)
        verified = "the hub's SHA-256" if remote.sha256 else "its size only: the hub lists no SHA-256"
        done = "fetched" if fetched else "already there"
        reporter.say(f"{folder / name} ({number} of {len(shards)}): {done}, checked against {verified}")
    check_class_counts(sorted(folder.rglob("*.parquet")))
    reporter.say(f"{folder}: not verified against a published checksum (there is none); class counts as published")


def hub_shards(reporter: Reporter, patience: Patience = PATIENT) -> dict[str, RemoteFile]:
    """Return file name -> file, of the dataset's Parquet files on the hub ($HF_ENDPOINT, else
    https://huggingface.co)."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    entries = _hub_entries(f"{hub}/api/datasets/{HUB_DATASET}/tree/main?recursive=true", reporter, patience)
    found = [entry for entry in entries if entry["path"].endswith(".parquet")]
    if not found:
        raise DataError(
            f"{hub}/datasets/{HUB_DATASET} must hold Parquet files; it lists {len(entries)} files, none such"
        )
    address = f"{hub}/datasets/{HUB_DATASET}/resolve/main"
    return {
        Path(entry["path"]).name: RemoteFile(
            f"{address}/{entry['path']}", entry.get("lfs", {}).get("oid"), entry.get("lfs", entry).get("size")
        )
        for entry in found
    }


def _hub_entries(page: str | None, reporter: Reporter, patience: Patience) -> list[dict[str, Any]]:
    """Return the entries of all pages of a listing."""
    entries: list[dict[str, Any]] = []
    for _ in range(MOST_PAGES):
        if not page:
            return entries
        answer, following = get_json(page, reporter, patience)
        if not isinstance(answer, list) or not all(map(_is_entry, answer)):
            raise DataError(f"{page} must list files, each with its path; it answers {str(answer)[:100]!r}")
        entries, page = entries + answer, following
    raise DataError(f"a listing of {HUB_DATASET} must end after {MOST_PAGES} pages; it goes on at {page}")


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("path"), str) and isinstance(entry.get("lfs", {}), dict)


@contextlib.contextmanager
def _naming_the_way_by_hand(url: str) -> Iterator[None]:
    try:
        yield
    except UnreachableError as error:
        by_hand = f"By hand: fetch {url} with a browser, then run python -m galaxytl.data check FILE-OR-FOLDER"
        raise DataError(f"{error} {by_hand}") from error


def check_class_counts(files: Sequence[Path]) -> None:
    """Raise DataError unless the labels of these Parquet files are as many of each class as published."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        labels = np.concatenate([pq.read_table(file, columns=["label"])["label"].to_numpy() for file in files])
        counts = counts_of(labels)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(
            f"the labels of {files[0].parent} cannot be read: {error}. Remove it and fetch it again."
        ) from error
    if counts != CLASS_COUNTS:
        published = ", ".join(map(str, CLASS_COUNTS))
        found = ", ".join(map(str, counts))
        raise DataError(f"{files[0].parent} must have {published} images of the classes 0 to 9; it has {found}")


def _check_space(shards: dict[str, RemoteFile], folder: Path) -> None:
    def missing(name: str, size: int) -> int:
        here = (folder / name, folder / f"{name}.part")
        return max(0, size - max(path.stat().st_size if path.exists() else 0 for path in here))

    folder.mkdir(parents=True, exist_ok=True)
    wanted = sum(missing(name, remote.size or 0) for name, remote in shards.items())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        need = f"fetching {HUB_DATASET} needs {decimal(wanted)} of free disk space in {folder.resolve()}"
        raise DataError(f"{need}; it has {decimal(free)}. Free some, or choose another place with --out.")
