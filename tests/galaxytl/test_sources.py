from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from galaxytl.data import DataError, chunks, open_dataset
from galaxytl.data.cache import cache_dir
from galaxytl.data.containers import png
from galaxytl.data.convert import ConvertOptions, convert
from galaxytl.data.dataset import open_source
from galaxytl.data.prefetch import ahead
from tests.galaxies import LABELS, left_in, make_images, read_all, write_parquet
from tests.sweep.sweeps import wait_for

SMALL = ConvertOptions(images_per_shard=16)


@pytest.fixture(scope="module")
def folder(galaxies_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 galaxies in three Parquet files and a manifest."""
    place = tmp_path_factory.mktemp("converted") / "galaxy10"
    convert(str(galaxies_file), str(place), SMALL)
    return place


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (7, 16, 32, 1), "compression": "gzip"},
        {"chunks": (13, 100, 200, 2), "compression": "gzip", "shuffle": True},
        {"chunks": (40, 8, 8, 1), "compression": "gzip"},
        {"chunks": (16, 128, 256, 3), "compression": "lzf"},
        {"chunks": (3, 256, 256, 3)},
        {"chunks": (5, 64, 64, 3), "compression": "gzip", "fletcher32": True},
        {"chunks": (64, 256, 256, 3), "compression": "gzip", "maxshape": (None, 256, 256, 3)},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("slab_bytes", [chunks.SLAB_BYTES, 5_000_000, 1_000_000])
def test_any_chunks_are_read_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any], slab_bytes: int
) -> None:
    """With little memory, rows of chunks go through a file, and single chunks are decompressed piece by piece."""
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.create_dataset("images", data=make_images(), **layout)
        file["ans"] = LABELS
    monkeypatch.setattr(chunks, "SLAB_BYTES", slab_bytes)
    read: list[chunks.Offset] = []
    decoded = chunks.Chunks.decoded
    monkeypatch.setattr(chunks.Chunks, "decoded", lambda self, at: (read.append(at), decoded(self, at))[1])
    too_large = int(np.prod(layout.get("chunks", 1))) > slab_bytes
    if too_large and ("fletcher32" in layout or layout["compression"] == "lzf"):
        with pytest.raises(DataError, match=r"must be plain or gzip.*Rewrite it: h5repack"):
            read_all(tmp_path / "g.h5")
        return
    assert np.array_equal(read_all(tmp_path / "g.h5"), make_images())
    assert len(read) == len(set(read))


def damaged(folder: Path, place: Path) -> Path:
    """A copy of a converted folder, to be damaged; the path of its second shard."""
    return shutil.copytree(folder, place) / "data" / "galaxy10-00001-of-00003.parquet"


def rewritten(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_truncated_shard(folder: Path, tmp_path: Path, share: float, with_manifest: bool) -> None:
    shard = damaged(folder, tmp_path / "bad")
    shard.write_bytes(shard.read_bytes()[: int(shard.stat().st_size * share)])
    if not with_manifest:
        (tmp_path / "bad" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.parquet (is empty|has .* instead|cannot be read as Parquet)"):
        open_dataset(str(tmp_path / "bad"))


def test_shards_unlike_the_manifest(folder: Path, tmp_path: Path) -> None:
    shard = damaged(folder, tmp_path / "bad")
    shutil.copy(shard, shard.with_name("extra.parquet"))
    with pytest.raises(DataError, match=r"found data/extra\.parquet"):
        open_dataset(str(tmp_path / "bad"))
    shard.with_name("extra.parquet").unlink()
    shard.unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.parquet is missing"):
        open_dataset(str(tmp_path / "bad"))


def test_rows_unlike_the_manifest(folder: Path, tmp_path: Path) -> None:
    manifest = damaged(folder, tmp_path / "bad").parent.parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 8', '"rows": 9'))
    with pytest.raises(DataError, match=r"00002-of-00003\.parquet must have 9 rows; it has 8"):
        open_dataset(str(tmp_path / "bad"))
    manifest.write_text(manifest.read_text().replace('"rows": 9', '"rows": 8').replace('"Merging": 4', '"Merging": 5'))
    with pytest.raises(DataError, match=r"the labels must be those that manifest\.json counts"):
        open_dataset(str(tmp_path / "bad"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "shards": 3}'])
def test_manifest_that_is_none(folder: Path, tmp_path: Path, text: str) -> None:
    (damaged(folder, tmp_path / "bad").parent.parent / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json must be "):
        open_dataset(str(tmp_path / "bad"))


def with_label(values: Any) -> Any:
    return lambda table: table.set_column(1, "label", pa.array(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("redshift"), "all files must have the same columns"),
        (lambda table: table.drop_columns("label"), "'label' is missing"),
        (with_label([1.5] * 16), "all files must have the same columns"),
        (with_label([-1] * 16), "got -1 at image 16"),
        (with_label([10] * 16), "got 10 at image 16"),
        (with_label([None, *[1] * 15]), "whole numbers from 0 to 9; got type float64"),
    ],
)
def test_bad_columns_in_one_shard(folder: Path, tmp_path: Path, change: Any, message: str) -> None:
    rewritten(damaged(folder, tmp_path / "bad"), change)
    (tmp_path / "bad" / "manifest.json").unlink()
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "bad"))


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


GOOD = png(make_images(1)[0])
RGB_16 = GOOD[:24] + b"\x10" + GOOD[25:]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (GOOD[:30_000], "the picture cannot be decoded"),
        (GOOD[:50_000] + bytes(100) + GOOD[50_100:], "the picture cannot be decoded"),
        (b"galaxy", "the picture cannot be decoded"),
        (b"", "image must be a struct with the encoded picture"),
        (encoded(np.zeros((69, 69, 3), np.uint8)), "got 69 x 69 x 3 of type uint8"),
        (encoded(np.zeros((256, 256), np.uint8)), "got 256 x 256 of type uint8"),
        (encoded(np.zeros((256, 256, 4), np.uint8)), "got 256 x 256 x 4 of type uint8"),
        (encoded(np.zeros((256, 256), np.uint16)), "of type uint16"),
        (RGB_16, "of type uint16"),
    ],
    ids=["cut", "zeroed", "text", "empty", "small", "grey", "alpha", "grey 16 bits", "colour 16 bits"],
)
def test_a_bad_picture_is_named_and_nothing_is_written(tmp_path: Path, picture: bytes, message: str) -> None:
    write_parquet(tmp_path / "bad", make_images(), LABELS, shards=1)
    path = next((tmp_path / "bad").iterdir())
    cells = pq.read_table(path)["image"].to_pylist()
    cells[33]["bytes"] = picture
    rewritten(path, lambda table: table.set_column(0, "image", pa.array(cells)))
    for name in ("copy", "copy.h5"):
        with pytest.raises(DataError, match=rf"\.parquet, row 33: .*{message}"):
            convert(str(tmp_path / "bad"), str(tmp_path / name))
    assert left_in(tmp_path) == ["bad"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_damage_in_the_middle_of_an_hdf5_file(galaxies_file: Path, tmp_path: Path, share: float) -> None:
    convert(str(galaxies_file), str(tmp_path / "g.h5"))
    content = bytearray((tmp_path / "g.h5").read_bytes())
    at = int(len(content) * share)
    content[at : at + 5000] = bytes(5000)
    (tmp_path / "g.h5").write_bytes(content)
    with pytest.raises(DataError, match=r"g\.h5 cannot be read as HDF5"):
        convert(str(tmp_path / "g.h5"), str(tmp_path / "copy"))
    assert left_in(tmp_path) == ["g.h5"]


def test_no_images_at_all(folder: Path, tmp_path: Path) -> None:
    rewritten(shard := damaged(folder, tmp_path / "bad"), lambda table: table.slice(0, 0))
    with pytest.raises(DataError, match="must hold at least one image"):
        convert(str(shard), str(tmp_path / "copy"))


def test_ahead_is_one_ahead_and_closes() -> None:
    made: list[int] = []
    closed = threading.Event()

    def pieces() -> Iterator[int]:
        try:
            for number in range(10):
                made.append(number)
                yield number
        finally:
            closed.set()

    threads = threading.active_count()
    items = pieces()
    running = ahead(items)
    assert (next(running), next(running)) == (0, 1)
    wait_for(lambda: len(made) == 3, "the one ahead")
    time.sleep(0.05)
    assert made == [0, 1, 2]
    running.close()
    assert closed.is_set()
    assert threading.active_count() == threads
    assert list(ahead(iter(range(5)))) == list(range(5))


def test_errors_arrive_from_ahead() -> None:
    def pieces() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    running = ahead(pieces())
    assert next(running) == 1
    with pytest.raises(OSError, match="gone"):
        next(running)


def test_leaving_a_pass_early_leaves_no_thread(folder: Path, galaxies_file: Path) -> None:
    for path in (folder, galaxies_file):
        threads = threading.active_count()
        batches = open_source(str(path), cache_dir()).source.batches()
        next(batches)
        batches.close()
        assert threading.active_count() == threads
