"""Which images show the same galaxy: equal pixels, or positions closer than 2 arcseconds.

    groups = sky.groups(dataset)                     # (N,) int64: images of one galaxy have one number
    splits = split_indices(dataset.labels, spec, groups)

An image of which a twin was trained on tests memory, not generalisation. Distances are great-circle distances, so
neither the meridian at ra 0 nor the poles matter; an image without a position has no neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.dataset import Dataset
from galaxytl.data.files.fingerprint import check_content
from galaxytl.data.scan import Progress, Scan, read_images, remember, remembered, scan_path
from galaxytl.system.cache import taking_turns

CLOSE_ARCSEC = 2.0
"""Images are 67 arcsec wide (256 pixels of 0.262): centred 2 arcsec apart, they show one scene."""


def scan_images(dataset: Dataset, on_progress: Progress | None = None) -> Scan:
    """Read every image once; raises DataError when they are no longer those of `dataset.fingerprint`."""
    scan = read_images(dataset.source, (), on_progress, "comparing images")
    with dataset.forgetting():
        check_content(scan.fingerprint(dataset.source.classes), dataset.fingerprint, dataset.uri)
    return scan


def groups(dataset: Dataset, on_progress: Progress | None = None) -> NDArray[np.int64]:
    """Return (N,) int64: images of one galaxy have one number, the first of their rows.

    Twins of twins are of one galaxy. Needs `remembered_scan`.
    """
    return united(twins(remembered_scan(dataset, on_progress).digests), dataset.columns)


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
    return connected(links, len(rows))


def connected(links: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (count,) int64: for each row the first of those that the links (P, 2), followed, connect with it."""
    from scipy.sparse import coo_array  # half a second, which a command that refuses its input need not wait for
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(links), np.bool_), (links[:, 0], links[:, 1])), shape=(count, count))
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
    from scipy.spatial import cKDTree  # as in `connected`

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


def remembered_scan(dataset: Dataset, on_progress: Progress | None = None) -> Scan:
    """Return the scan of the dataset's images: that of its opening, else from the cache folder, else made now."""
    if (known := dataset.scan or _remembered(dataset)) is not None:
        return known
    with taking_turns(scan_path(dataset.cache, dataset.fingerprint)):
        known = _remembered(dataset)
        if known is None:
            known = scan_images(dataset, on_progress)
            remember(known, dataset.cache, dataset.fingerprint)
    return known


def _remembered(dataset: Dataset) -> Scan | None:
    return remembered(dataset.cache, dataset.fingerprint, dataset.source.classes)
