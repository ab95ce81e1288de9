from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from rich.console import Console

from galaxytl.classify.images import Images, batches, open_images, pixels_of
from galaxytl.data import DataError
from galaxytl.data.files import listed
from galaxytl.data.files.pictures import png
from galaxytl.data.hot_copy import Size
from galaxytl.data.progress import TerminalProgress
from galaxytl.system.locations import Location, reaching
from galaxytl.trial.reading import ImagesAlone
from tests.galaxies import draw_quickly
from tests.galaxytl.classify.conftest import colours

SIZE = Size(32)
IMAGES = colours(7)


def opened(place: Path, **asked: object) -> Images:
    return open_images(str(place), ImagesAlone(**asked), place.parent / "cache", TerminalProgress(Console(stderr=True)))  # type: ignore[arg-type]


def write_folder(folder: Path, names: tuple[str, ...] = ("0.png", "1.PNG", "a/2.png", "a/b/3.png", "b/4.png")) -> Path:
    for name, image in zip(names, IMAGES, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(image))
    return folder


def write_catalogue(folder: Path) -> Path:
    write_folder(folder)
    lines = ["path,objid,ra,dec", "0.png,17,1.5,-2", "gone.png,18,2.5,-3", "a/2.png,19,3.5,-4"]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def write_hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["images"] = IMAGES
    return path


def write_npz(path: Path) -> Path:
    np.savez(path, images=IMAGES)
    return path


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"image": [{"bytes": png(image), "path": None} for image in IMAGES]}), path)
    return path


def write_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, image in enumerate(IMAGES):
            member = tarfile.TarInfo(f"{number}.png")
            content = png(image)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def read(images: Images, number: int = 3, start: int = 0) -> dict[int, np.ndarray]:
    """Return row -> pixels of all that can be read."""
    found = {}
    with contextlib.closing(batches(images, SIZE, number, (start, len(images)))) as parts:
        stop = start
        for batch in parts:
            assert batch.first == stop
            stop = batch.stop
            found |= dict(zip(batch.rows.tolist(), batch.pixels, strict=True))
    assert stop == len(images)
    return found


@pytest.mark.parametrize(
    ("name", "write"),
    [("f.h5", write_hdf5), ("f.npz", write_npz), ("f.parquet", write_parquet), ("f.tar", write_tar)],
)
def test_containers_without_labels_give_what_training_would_see(tmp_path: Path, name: str, write: object) -> None:
    images = opened(write(tmp_path / name))  # type: ignore[operator]
    assert len(images) == len(IMAGES)
    found = read(images)
    assert all((found[row] == SIZE.of(IMAGES[row])).all() for row in range(len(IMAGES)))
    assert sorted(read(images, start=5)) == [5, 6]
    assert (pixels_of(images, SIZE, [4, 1])[1] == found[1]).all()


def test_a_folder_needs_no_classes(tmp_path: Path) -> None:
    images = opened(write_folder(tmp_path / "f"))
    assert images.columns["file"].to_pylist() == ["0.png", "1.PNG", "a/2.png", "a/b/3.png", "b/4.png"]
    assert list(images.columns) == ["file"]
    found = read(images)
    assert all((found[row] == SIZE.of(IMAGES[row])).all() for row in range(5))


def test_a_catalogue_without_labels_says_what_is_known_and_misses_one_file(tmp_path: Path) -> None:
    images = opened(write_catalogue(tmp_path / "f"))
    assert list(images.columns) == ["file", "id", "ra", "dec"]
    assert images.columns["id"].to_pylist() == ["17", "18", "19"]
    found = read(images)
    assert sorted(found) == [0, 2]
    assert (found[2] == SIZE.of(IMAGES[2])).all()
    with contextlib.closing(batches(images, SIZE, 8, (0, len(images)))) as parts:
        (batch,) = parts
    assert "gone.png does not exist" in batch.unreadable[1]


def test_one_that_is_damaged_hides_no_other(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f")
    (folder / "1.PNG").write_bytes(b"")
    (folder / "a" / "2.png").write_bytes(png(IMAGES[0])[:99])
    (folder / "0.png").write_bytes(b"no picture")
    images = opened(folder)
    assert sorted(read(images)) == [3, 4]
    cells = [png(IMAGES[0]), b"damaged", png(IMAGES[2])]
    pq.write_table(pa.table({"image": [{"bytes": cell, "path": None} for cell in cells]}), tmp_path / "f.parquet")
    assert sorted(read(opened(tmp_path / "f.parquet"))) == [0, 2]


def test_one_picture(tmp_path: Path) -> None:
    write_folder(tmp_path / "f")
    images = opened(tmp_path / "f" / "0.png")
    assert (len(images), images.columns["file"].to_pylist()) == (1, ["0.png"])
    assert (read(images)[0] == SIZE.of(IMAGES[0])).all()
    with pytest.raises(DataError, match="--columns goes with images that have columns"):
        opened(tmp_path / "f" / "0.png", columns=("ra",))


def test_fits_cutouts_of_which_the_first_is_damaged(tmp_path: Path) -> None:
    sky = np.random.default_rng(0).normal(0, 0.1, (12, 12)).astype(np.float32)
    for name in ("b.fits", "c.fits"):
        fits.PrimaryHDU(sky).writeto(tmp_path / name)
    alone = read(opened(tmp_path / "b.fits"))
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  = no more")
    images = opened(tmp_path)
    assert any(note.startswith("FITS, one band as grey") for note in images.notes)
    found = read(images)
    assert sorted(found) == [1, 2]
    assert (found[1] == alone[0]).all()


def test_a_dataset_with_labels_keeps_them_to_itself(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["images"], file["ans"], file["ra"], file["dec"] = IMAGES, np.zeros(7, np.uint8), np.ones(7), np.ones(7)
    assert list(opened(tmp_path / "f.h5").columns) == ["ra", "dec"]


def test_simulated_galaxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch, tmp_path)
    reporter = TerminalProgress(Console(stderr=True))
    images = open_images("simulated:30", ImagesAlone(), tmp_path, reporter)
    assert sorted(read(images, 8)) == list(range(30))
    assert images.fingerprint != open_images("simulated:31", ImagesAlone(), tmp_path, reporter).fingerprint


def test_a_server_that_does_not_answer_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million files would be listed as damaged; those that are not there, or refused, are."""
    images = opened(write_folder(tmp_path / "f"))

    def read_as(error: OSError) -> None:
        def fails(place: Location) -> bytes:
            with reaching(place):
                raise error

        monkeypatch.setattr(listed, "content_of", fails)

    read_as(PermissionError(13, "not yours"))
    assert read(images) == {}
    read_as(OSError("AWS Error NETWORK_CONNECTION"))
    with pytest.raises(DataError, match="NETWORK_CONNECTION"):
        read(images)


def test_fingerprints_tell_images_apart_and_ways_of_reading_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f")
    before = opened(folder).fingerprint
    assert opened(folder).fingerprint == before
    assert opened(folder, fits_stretch=2.0).fingerprint != before
    (folder / "5.png").write_bytes(png(IMAGES[5]))
    assert opened(folder).fingerprint != before


def test_what_holds_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there must be images to classify; .*nothing does not exist"):
        opened(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must be of a kind that can be read"):
        opened(tmp_path / "empty")
    np.savez(tmp_path / "four.npz", images=np.zeros((3, 9, 9, 4), np.uint8))
    with pytest.raises(DataError, match="one or three bands"):
        opened(tmp_path / "four.npz")


def test_a_link_that_leads_nowhere_is_unreadable_and_ends_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    (folder / "gone.png").symlink_to(folder / "elsewhere.png")
    images = opened(folder)
    assert len(images) == 6
    assert list(read(images)) == [0, 1, 2, 3, 4]
