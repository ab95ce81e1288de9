"""Images are read once: one pass gives the fingerprint, the scan and the copies at the sizes that trials use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError, Dataset, dataset, hot_copy, open_dataset, sky
from galaxytl.data.check import check_dataset
from galaxytl.data.dataset import note_fingerprint
from galaxytl.data.files import pictures
from galaxytl.data.files.arrays.hdf5 import HDF5Source
from galaxytl.data.files.containers import Batches
from galaxytl.data.files.contents import Reader, is_hdf5
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.data.hot_copy import Size
from tests.galaxies import killed, make_images, write_hdf5

SIZES = [Size(64), Size(32, "crop")]
passes: list[object] = []
"""One for each time that the images of a `Counted` source were begun to be read."""


class Counted(HDF5Source):
    def batches(self) -> Batches:
        passes.append(self)
        return super().batches()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dataset, "READERS", [Reader("HDF5", is_hdf5, Counted)])
    passes.clear()
    yield
    passes.clear()


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("images/*") if path.is_dir())


def use(found: Dataset) -> None:
    """Do with a dataset what a sweep, its trials and `check` do."""
    sky.groups(found)
    assert check_dataset(found).sizes == {"256 x 256": 40}
    for size in SIZES:
        expected = [size.of(image) for image in make_images()]
        assert np.array_equal(found.resized(size.pixels, fit=size.fit).images, expected)


def test_one_pass_gives_all(galaxies_file: Path, tmp_path: Path, counted: None) -> None:
    first = open_dataset(str(galaxies_file), tmp_path, sizes=SIZES)
    use(first)
    assert len(passes) == 1
    again = open_dataset(str(galaxies_file), tmp_path, sizes=SIZES)
    assert (again.fingerprint, again.scan) == (first.fingerprint, None)
    assert np.array_equal(sky.groups(again), sky.groups(first))
    assert len(passes) == 1
    assert len(entries(tmp_path)) == 2


def test_a_fingerprint_that_is_known_is_proved_in_the_same_pass(
    galaxies_file: Path, tmp_path: Path, counted: None
) -> None:
    """As of a copy by `convert`, whose manifest tells it."""
    fingerprint = open_dataset(str(galaxies_file), tmp_path).fingerprint
    (scan,) = tmp_path.glob("scans/*.npz")
    scan.unlink()
    passes.clear()
    use(open_dataset(str(galaxies_file), tmp_path, sizes=SIZES))
    assert len(passes) == 1
    other = write_hdf5(tmp_path / "other.h5", images=make_images(seed=7))
    note = open_dataset(str(other), tmp_path).note
    note_fingerprint(note, fingerprint)
    scan.unlink()
    with pytest.raises(DataError, match="changed while it was in use"):
        open_dataset(str(other), tmp_path, sizes=[Size(48)])
    assert note is not None
    assert not note.exists()
    assert len(entries(tmp_path)) == 2


def test_a_copy_that_is_there_stays_and_others_are_made(galaxies_file: Path, tmp_path: Path, counted: None) -> None:
    found = open_dataset(str(galaxies_file), tmp_path, sizes=SIZES[:1])
    state = next(tmp_path.glob("images/*/images.npy")).stat()
    assert found.note
    found.note.unlink()
    use(open_dataset(str(galaxies_file), tmp_path, sizes=SIZES))
    assert len(passes) == 2
    (same,) = tmp_path.glob("images/*-64px-*/images.npy")
    assert (same.stat().st_ino, same.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)


def test_who_opens_it_at_the_same_time_waits_and_reads_nothing(
    galaxies_file: Path, tmp_path: Path, counted: None
) -> None:
    started = threading.Barrier(4)

    def opened(_: int) -> str:
        started.wait()
        return open_dataset(str(galaxies_file), tmp_path, sizes=SIZES).fingerprint

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(opened, range(4)))) == 1
    assert len(passes) == 1


def test_a_reader_killed_at_any_moment_leaves_a_cache_that_works(galaxies_file: Path, tmp_path: Path) -> None:
    """In processes that really die, in the middle, and before the copy or the note gets its name."""
    moments = ("20", "os.rename")
    work = f"open_dataset({str(galaxies_file)!r}, Path(to), moment, sizes=[Size(96)])"
    killed(f"from galaxytl.data.hot_copy import Size; {work}", [(at, tmp_path / at) for at in moments])
    expected = [Size(96).of(image) for image in make_images()]
    for moment in moments:
        cache = tmp_path / moment
        assert [name[:7] for name in entries(cache)] == [".draft-"]
        found = open_dataset(str(galaxies_file), cache, sizes=[Size(96)])
        assert np.array_equal(found.resized(96).images, expected)
        assert len(entries(cache)) == 1


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "galaxies.h5")
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(DataError, match="truncated"):
        open_dataset(str(path), tmp_path, sizes=SIZES)
    assert entries(tmp_path) == []


def test_where_the_disk_is_full_no_copy_is_made(galaxies_file: Path, small_disk: Path) -> None:
    found = open_dataset(str(galaxies_file), small_disk, sizes=[Size(256), *SIZES])
    assert not list(small_disk.glob("images/*256px*"))
    assert np.array_equal(found.resized(256).images, make_images())
    assert not list(small_disk.glob("images/.draft-*"))


def test_copies_that_the_cache_may_not_hold_are_not_made(
    galaxies_file: Path, tmp_path: Path, counted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "0.0005")
    found = open_dataset(str(galaxies_file), tmp_path, sizes=[Size(64), Size(32)])
    assert len(entries(tmp_path)) == 1
    assert found.resized(32).images.shape == (40, 32, 32, 3)
    assert len(passes) == 2
    assert hot_copy.missing([Size(32)], found.fingerprint, tmp_path) == []


@pytest.fixture
def pictures_folder(tmp_path: Path) -> Path:
    """150 pictures, more than are looked at ahead, of sides from 16 to 40 pixels, in two classes."""
    for number in range(150):
        place = tmp_path / "pictures" / "ab"[number % 2] / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shape = (16 + number % 24, 16 + number % 7, 3)
        place.write_bytes(pictures.png(np.random.default_rng(number).integers(0, 256, shape, np.uint8)))
    return tmp_path / "pictures"


def test_pictures_that_are_decoded_where_they_are_looked_at_are_those_of_a_plain_loop(
    pictures_folder: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    found = open_dataset(str(pictures_folder), tmp_path, lambda _, done, of: seen.append(done), sizes=SIZES)
    images = [pictures.decode(path.read_bytes()) for path in sorted(pictures_folder.rglob("*.png"))]
    plain = ContentHash()
    plain.add(images)
    assert found.fingerprint == plain.hexdigest(found.source.classes)
    assert found.scan is not None
    assert found.scan.sides is not None
    assert found.scan.sides.tolist() == [list(image.shape[:2]) for image in images]
    for size in SIZES:
        expected = [size.of(image) for image in images]
        assert np.array_equal(found.resized(size.pixels, fit=size.fit).images, expected)
    assert seen[-3:] == [64, 128, 150]


def test_the_first_picture_that_is_none_is_named_and_no_thread_stays(pictures_folder: Path, tmp_path: Path) -> None:
    threads = threading.active_count()
    for number in (100, 102):
        (pictures_folder / "a" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"/a/100\.png: a picture must be one of PNG"):
        open_dataset(str(pictures_folder), tmp_path, sizes=SIZES)
    assert threading.active_count() == threads
    assert entries(tmp_path) == []
