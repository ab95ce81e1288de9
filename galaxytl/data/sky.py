"""Which images show the same galaxy: equal pixels, or positions closer than 2 arcseconds.

    groups = sky.groups(dataset)                     # (N,) int64: images of one galaxy have one number
    splits = split_indices(dataset.labels, spec, groups)

An image of which a twin was trained on tests memory, not generalisation. Distances are great-circle distances, so
neither the meridian at ra 0 nor the poles matter; an image without a position has no neighbours.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from galaxytl.data.dataset import Dataset, Progress
from galaxytl.data.files.fingerprint import ContentHash, check_content, image_digest
from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.cache import keep, opened_own

CLOSE_ARCSEC = 2.0
"""Images are 67 arcsec wide (256 pixels of 0.262): centred 2 arcsec apart, they show one scene."""

FORMAT = 2  # of the cached file; raised when older ones must not be read


@dataclass(frozen=True)
class Scan:
    """What one pass over the images tells of each."""

    digests: NDArray[np.uint8]
    """(N, 32): `image_digest` of each."""
    one_colour: NDArray[np.bool_]
    """(N,): every pixel equals the first."""
    black: NDArray[np.bool_]
    """(N,): every pixel is 0."""
    sides: NDArray[np.int32] | None = None
    """(N, 2) height and width in pixels; None where the scan was remembered, which keeps none."""


def scan_images(dataset: Dataset, on_progress: Progress | None = None) -> Scan:
    """Read every image once; raises DataError when they are no longer those of `dataset.fingerprint`."""
    count = len(dataset)
    sides = np.empty((count, 2), np.int32)
    scan = Scan(np.empty((count, 32), np.uint8), np.empty(count, np.bool_), np.empty(count, np.bool_), sides)
    done = 0
    for batch in dataset.source.batches():
        for row, image in enumerate(batch, start=done):
            sides[row] = image.shape[:2]
            scan.digests[row] = np.frombuffer(image_digest(image), np.uint8)
            scan.one_colour[row] = np.array_equal(image, np.broadcast_to(image[0, 0], image.shape))
            scan.black[row] = scan.one_colour[row] and not image[0, 0].any()
        done += len(batch)
        if on_progress:
            on_progress("comparing images", done, count)
    _check_unchanged(dataset, scan)
    return scan


def groups(dataset: Dataset, on_progress: Progress | None = None) -> NDArray[np.int64]:
    """Return (N,) int64: images of one galaxy have one number, the first of their rows.

    Twins of twins are of one galaxy. Needs one pass over the images, remembered in the cache by content fingerprint.
    """
    return united(twins(remembered_scan(dataset, on_progress).digests), dataset.columns)


def groups_fingerprint(groups: NDArray[np.int64]) -> str:
    """Return 64 hexadecimal digits: the SHA-256 of `groups` (N,)."""
    return hashlib.sha256(np.ascontiguousarray(groups, "<i8").tobytes()).hexdigest()


def twins(digests: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N,) int64 from the digests (N, 32): for each image the first row with the same pixels."""
    found = np.arange(len(digests))
    words = np.ascontiguousarray(digests).view("<u8")
    _, same, count = np.unique(words[:, 0], return_inverse=True, return_counts=True)
    rows = np.flatnonzero(count[same] > 1)  # few: comparing all 32 bytes takes ten times as long
    _, first, same = np.unique(words[rows], axis=0, return_index=True, return_inverse=True)
    found[rows] = rows[first[same.reshape(-1)]]
    return found


def united(first_twin: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    """Return (N,) int64 groups from `twins` (N,) and the columns ra and dec (N,), degrees."""
    rows = np.arange(len(first_twin))
    links = np.concatenate([np.column_stack([rows, first_twin]), close_links(columns["ra"], columns["dec"])])
    graph = coo_array((np.ones(len(links), np.bool_), (links[:, 0], links[:, 1])), shape=(len(rows), len(rows)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]


def close_links(ra: NDArray[np.float64], dec: NDArray[np.float64], arcsec: float = CLOSE_ARCSEC) -> NDArray[np.int64]:
    """Return (P, 2) rows; follow them, and you reach every image from each that lies within `arcsec` of it.

    Not every pair: of images at exactly one position, each is linked to the first only, so that a file which says
    (0, 0) of all its images does not make 17,736^2 / 2 pairs.
    """
    rows, first, same, near = _near(ra, dec, arcsec)
    repeats = np.column_stack([rows, first[same]])
    return np.concatenate([repeats[repeats[:, 0] != repeats[:, 1]], first[near]])


def count_close_pairs(ra: NDArray[np.float64], dec: NDArray[np.float64], arcsec: float = CLOSE_ARCSEC) -> int:
    """Return the number of pairs of images within `arcsec` of each other; ra, dec (N,) in degrees."""
    _, _, same, near = _near(ra, dec, arcsec)
    images = np.bincount(same)
    return int(np.sum(images * (images - 1)) // 2 + np.sum(images[near[:, 0]] * images[near[:, 1]]))


def _near(ra: NDArray[np.float64], dec: NDArray[np.float64], arcsec: float) -> tuple[NDArray[np.int64], ...]:
    """Return rows (M,) with a position, the first row of each position (K,), which of them each row has (M,), and pairs
    of close ones (P, 2)."""
    rows = _placed(ra, dec)
    places, first, same = np.unique(ra[rows] + 1j * dec[rows], return_index=True, return_inverse=True)
    if not len(rows):
        return rows, rows, rows, np.empty((0, 2), np.int64)
    tree = cKDTree(_unit_vectors(places.real, places.imag))
    near = tree.query_pairs(_chord(arcsec), output_type="ndarray").astype(np.int64)
    return rows, rows[first], same, near


def _placed(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 3) vectors."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _chord(arcsec: float) -> float:
    """Return the straight distance between two unit vectors that are this far apart on the sphere."""
    return float(2 * np.sin(np.radians(arcsec / 3600) / 2))


def _check_unchanged(dataset: Dataset, scan: Scan) -> None:
    with dataset.forgetting():
        check_content(_fingerprint(scan, dataset), dataset.fingerprint, dataset.uri)


def _fingerprint(scan: Scan, dataset: Dataset) -> str:
    """Return that of the images of the scan with the labels of the dataset."""
    content = ContentHash()
    content.add_digest(scan.digests.tobytes())  # of one after another
    return content.hexdigest(dataset.source.classes)


def remembered_scan(dataset: Dataset, on_progress: Progress | None = None) -> Scan:
    """Return the scan of the dataset's images, read from the cache folder where they were scanned before.

    Owner: the node's cache folder. Key: content fingerprint. Lifetime: until removed by the user; 0.6 MB in full.
    Only what the pixels tell is kept: the fingerprint does not cover positions. Derivation: hashing all 17,736 images
    takes 6 s, and decoding them from PNG half a minute more; with the file, a trial waits some milliseconds.
    """
    path = dataset.cache / "scans" / f"{dataset.fingerprint}-v{FORMAT}.npz"
    if (known := _load(path, dataset)) is not None:
        return known
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # of another user's folder: then each reads them
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(path.with_suffix(".lock")))  # trials that start together read the images once
        known = _load(path, dataset)
        if known is None:
            known = scan_images(dataset, on_progress)
            content = io.BytesIO()
            np.savez(content, digests=known.digests, one_colour=known.one_colour, black=known.black)
            keep(path, content.getvalue())
    return known


def _load(path: Path, dataset: Dataset) -> Scan | None:
    """Load a scan; None where nothing is there, or something damaged: it is made again. Also where the labels are not
    those of the fingerprint, which a manifest or a note may claim: reading the images anew tells."""
    count = len(dataset)
    try:
        with opened_own(path) as file, opened_npz(file) as found:
            known = Scan(found["digests"], found["one_colour"], found["black"])
    except DAMAGED:
        return None
    shapes = (known.digests.shape, known.one_colour.shape, known.black.shape)
    right = shapes == ((count, 32), (count,), (count,)) and known.digests.dtype == np.uint8
    return known if right and _fingerprint(known, dataset) == dataset.fingerprint else None
