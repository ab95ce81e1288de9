from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError, Dataset, open_dataset, sky
from galaxytl.data.files.containers import ArraySource
from tests.galaxies import make_images, write_hdf5

ARCSEC = 1 / 3600
NOWHERE = {name: np.full(40, np.nan) for name in ("ra", "dec", "redshift", "pxscale")}


def linked(ra: list[float], dec: list[float]) -> list[list[int]]:
    return sorted(sorted(link) for link in sky.close_links(np.array(ra), np.array(dec)).tolist())


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (180.0, 33.0), (359.9999, -60.0), (0.0, 89.9)])
def test_two_arcseconds_on_the_sphere(ra: float, dec: float) -> None:
    for apart, links in ((1.99, [[0, 1]]), (2.01, [])):
        assert linked([ra, ra], [dec, dec + apart * ARCSEC]) == links
        eastward = apart * ARCSEC / np.cos(np.radians(dec))
        assert linked([ra, (ra + eastward) % 360], [dec, dec]) == links
    assert linked([0, 180], [90 - 0.9 * ARCSEC, 90 - 0.9 * ARCSEC]) == [[0, 1]]  # at the pole ra means nothing


def test_images_without_a_position_have_no_neighbours() -> None:
    assert linked([np.nan, np.nan, 10, 10, np.inf], [5, 5, np.nan, 91, 5]) == []
    assert sky.count_close_pairs(np.full(3, np.nan), np.full(3, np.nan)) == 0


def test_links_and_count_agree_with_every_pair_compared() -> None:
    rng = np.random.default_rng(1)
    centres = np.column_stack([rng.uniform(0, 360, 60), rng.uniform(-89, 89, 60)])
    ra, dec = (centres[rng.integers(0, 60, 300)] + rng.normal(0, 1.5 * ARCSEC, (300, 2))).T
    ra[:20], dec[:20] = ra[20:40], dec[20:40]  # exact repeats
    a, d = np.radians(ra), np.radians(dec)
    half = np.sin((d[:, None] - d) / 2) ** 2 + np.cos(d[:, None]) * np.cos(d) * np.sin((a[:, None] - a) / 2) ** 2
    near = 2 * np.degrees(np.arcsin(np.sqrt(half))) * 3600 < 2
    assert sky.count_close_pairs(ra, dec) == (near.sum() - 300) // 2 > 100
    group = np.arange(300)  # the lowest row that can be reached, by brute force
    for _ in range(300):
        group = np.where(near, group, 300).min(axis=1)
    assert np.array_equal(sky.united(np.arange(300), {"ra": ra, "dec": dec}), group)


def test_a_file_that_says_one_position_of_all() -> None:
    nowhere = np.zeros(17_736)
    assert len(sky.close_links(nowhere, nowhere)) == 17_735
    assert sky.count_close_pairs(nowhere, nowhere) == 17_736 * 17_735 // 2


def test_twins_of_twins_are_one_galaxy_and_a_pixel_apart_is_another(tmp_path: Path) -> None:
    images = make_images()
    images[[12, 13]] = images[3]
    images[13, 255, 255, 2] ^= 1
    ra, dec = np.arange(40.0), np.zeros(40)
    ra[30], ra[5] = ra[12] + ARCSEC, np.nan
    dataset = open_dataset(str(write_hdf5(tmp_path / "g.h5", images=images, ra=ra, dec=dec)), cache=tmp_path)
    expected = np.arange(40)
    expected[[12, 30]] = 3
    assert np.array_equal(sky.groups(dataset), expected)


class Unreadable(ArraySource):
    def batches(self) -> None:
        raise AssertionError("the images were read again")


def unreadable(dataset: Dataset) -> Dataset:
    empty = np.empty((0, 256, 256, 3), np.uint8)
    source = Unreadable(empty, dataset.source.classes, dataset.columns)
    return dataclasses.replace(dataset, source=source, scan=None)  # as in another process


def test_images_are_read_once_and_positions_every_time(galaxies_file: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(galaxies_file), cache=tmp_path)
    first = sky.groups(dataset)
    assert np.array_equal(sky.groups(unreadable(dataset)), first)
    moved = NOWHERE | {"ra": np.zeros(40), "dec": np.zeros(40)}
    elsewhere = dataclasses.replace(dataset, source=dataclasses.replace(unreadable(dataset).source, columns=moved))
    assert not sky.groups(elsewhere).any()
    next(tmp_path.glob("scans/*.npz")).unlink()
    with pytest.raises(AssertionError, match="read again"):
        sky.groups(unreadable(dataset))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00 half", None])
def test_a_damaged_cache_is_made_again(galaxies_file: Path, tmp_path: Path, damage: bytes | None) -> None:
    dataset = dataclasses.replace(open_dataset(str(galaxies_file), cache=tmp_path), scan=None)
    (file,) = tmp_path.glob("scans/*.npz")
    if damage is None:
        np.savez(file, digests=np.zeros((7, 32), np.uint8))
    else:
        file.write_bytes(damage)
    assert np.array_equal(sky.groups(dataset), np.arange(40))


def test_a_dataset_that_changed_is_refused(galaxies_file: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(galaxies_file), cache=tmp_path)
    next(tmp_path.glob("scans/*.npz")).unlink()
    other = ArraySource(make_images(seed=9), dataset.source.classes, dataset.columns)
    with pytest.raises(DataError, match=f"its content was {dataset.fingerprint[:12]}, now it is"):
        sky.groups(dataclasses.replace(dataset, source=other, scan=None))
    assert not list(tmp_path.glob("scans/*.npz"))


def test_black_and_single_colours_are_seen(tmp_path: Path) -> None:
    images = make_images()
    images[1], images[2], images[3] = 0, (10, 20, 30), 255
    images[4] = 0
    images[4, 100, 100, 1] = 1
    dataset = open_dataset(str(write_hdf5(tmp_path / "g.h5", images=images)), cache=tmp_path)
    scan = sky.scan_images(dataset)
    assert np.flatnonzero(scan.one_colour).tolist() == [1, 2, 3]
    assert np.flatnonzero(scan.black).tolist() == [1]
