from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
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
from galaxytl.data.convert import Converted, ConvertOptions, convert
from galaxytl.data.dataset import open_source
from galaxytl.data.galaxy10 import CLASS_NAMES
from galaxytl.data.prefetch import ahead
from tests.galaxies import LABELS, SLOWLY, make_images, write_hdf5, write_parquet

SKY = {name: np.linspace(low, low + 1, 40) for low, name in enumerate(("ra", "dec", "redshift", "pxscale"))}
SMALL = ConvertOptions(images_per_shard=16)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 galaxies with positions, one of them unknown."""
    return write_hdf5(tmp_path_factory.mktemp("source") / "source.h5", **(SKY | {"ra": np.r_[np.nan, SKY["ra"][1:]]}))


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder of three Parquet files."""
    place = tmp_path_factory.mktemp("converted") / "galaxy10"
    convert(str(source), str(place), SMALL)
    return place


def read_all(path: Path) -> np.ndarray:
    """Every image, without the hot copy."""
    return np.concatenate(list(open_source(str(path), cache_dir()).source.batches()))


def left_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


@pytest.mark.parametrize("name", ["copy", "copy.parquet", "copy.h5"])
def test_a_copy_is_the_same_dataset(source: Path, folder: Path, tmp_path: Path, name: str) -> None:
    wanted = open_dataset(str(source))
    for start in (source, folder):
        target = tmp_path / start.stem / name
        converted = convert(str(start), str(target), SMALL)
        copy = open_dataset(str(target), cache=tmp_path / "cache")
        assert (converted.fingerprint, converted.name) == (wanted.fingerprint, wanted.name)
        assert (copy.fingerprint, copy.name) == (wanted.fingerprint, wanted.name)
        assert np.array_equal(read_all(target), make_images())
        assert np.array_equal(copy.labels, LABELS)
        for column, values in wanted.columns.items():
            np.testing.assert_array_equal(copy.columns[column], values)


def test_datasets_reads_a_folder_as_one_split(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    by_files = {"data_files": str(folder / "data" / "*.parquet"), "split": "train"}
    found = datasets.load_dataset("parquet", **by_files, cache_dir=str(tmp_path / "a"))
    by_folder = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "b"))
    assert [(name, part.num_rows) for name, part in by_folder.items()] == [("galaxy10", 40)]
    assert isinstance(found.features["image"], datasets.Image)
    assert found.features["label"].names == list(CLASS_NAMES)
    assert np.array_equal(np.stack([np.asarray(row["image"]) for row in found]), make_images())
    assert found["label"][:] == LABELS.tolist()
    assert found.filter(lambda row: row["split"] == "test").num_rows == 12


def test_pandas_and_pyarrow_read_a_folder(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(folder / "data")
    assert list(table.columns) == ["image", "label", "ra", "dec", "redshift", "pxscale", "split"]
    assert table["split"].value_counts().to_dict() == {"train": 28, "test": 12}
    assert set(table.loc[table["split"] == "test", "label"]) == set(range(10))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(table["image"][7]["bytes"]))), make_images()[7])
    groups = pq.ParquetFile(folder / "data" / "galaxy10-00000-of-00003.parquet").metadata
    assert (groups.num_rows, groups.num_row_groups) == (16, 1)


def test_code_for_astronn_reads_a_file(folder: Path, tmp_path: Path) -> None:
    convert(str(folder), str(tmp_path / "Galaxy10_DECals.h5"))
    with h5py.File(tmp_path / "Galaxy10_DECals.h5", "r") as file:  # as astroNN.datasets.load_galaxy10 does it
        x, y = np.array(file["images"]), np.array(file["ans"])
        assert (file["images"].chunks, file["images"].compression) == ((1, 256, 256, 3), "gzip")
        np.testing.assert_array_equal(file["dec"][:], SKY["dec"])
    assert np.array_equal(x, make_images())
    assert y.dtype == np.uint8
    assert np.array_equal(y, LABELS)


def test_hdf5_without_compression(folder: Path, tmp_path: Path) -> None:
    convert(str(folder), str(tmp_path / "plain.h5"), ConvertOptions(compression="none"))
    with h5py.File(tmp_path / "plain.h5", "r") as file:
        assert file["images"].compression is None
        assert np.array_equal(file["images"][:], make_images())


def test_manifest_tells_content_and_source(source: Path, folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fingerprint"] == open_dataset(str(source)).fingerprint
    assert (manifest["format"], manifest["num_images"], manifest["class_counts"]["Merging"]) == (1, 40, 4)
    assert [shard["rows"] for shard in manifest["shards"]] == [16, 16, 8]
    checksum = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[0]
    assert manifest["source"] == [{"name": "source.h5", "size": source.stat().st_size, "sha256": checksum}]


def test_manifest_saves_the_pass_over_the_images(folder: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    open_dataset(str(folder), cache=tmp_path, on_progress=lambda what, done, total: heard.append(what))
    assert heard == []
    open_dataset(str(folder / "data"), cache=tmp_path, on_progress=lambda what, done, total: heard.append(what))
    assert heard


def test_a_wrong_fingerprint_in_a_manifest_is_noticed(folder: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(folder, tmp_path / "wrong") / "manifest.json"
    wrong.write_text(re.sub('"fingerprint": "....', '"fingerprint": "0000', wrong.read_text()))
    with pytest.raises(DataError, match="changed while it was in use"):
        open_dataset(str(wrong.parent)).resized(32)
    with pytest.raises(DataError, match="It changed or is damaged"):
        convert(str(wrong.parent), str(tmp_path / "copy.h5"))
    assert left_in(tmp_path) == ["wrong"]


def test_simulated_galaxies_stay_simulated(tmp_path: Path) -> None:
    wanted = open_dataset("simulated:30")
    for start, to in (
        ("simulated:30", "sim"),
        ("sim", "sim.h5"),
        ("sim.h5", "sim.parquet"),
        ("sim.parquet", "again.h5"),
    ):
        begin = start if ":" in start else str(tmp_path / start)
        assert convert(begin, str(tmp_path / to)).name == "simulated"
        copy = open_dataset(str(tmp_path / to))
        assert (copy.name, copy.fingerprint) == ("simulated", wanted.fingerprint)
    assert left_in(tmp_path / "sim" / "data") == ["simulated-00000-of-00001.parquet"]
    assert open_dataset(str(tmp_path / "sim" / "data")).name == "simulated"  # also without its manifest


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


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """900 images, 177 MB, in chunks across all of them; so small a limit that they go through a file."""
    with h5py.File(tmp_path / "g.h5", "w") as file:
        images = file.create_dataset(
            "images", (900, 256, 256, 3), np.uint8, chunks=(900, 32, 32, 1), compression="gzip"
        )
        images[:] = np.broadcast_to(make_images(10)[None], (90, 10, 256, 256, 3)).reshape(images.shape) // 64
        file["ans"] = np.arange(900) % 10
    code = (
        "import resource, sys\n"
        "from galaxytl.data import chunks, convert, sources\n"
        "chunks.SLAB_BYTES = 20 * 2**20\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "import pyarrow.parquet, pyarrow.fs, sklearn.model_selection; before = peak()\n"
        "convert.convert(sys.argv[1], sys.argv[2]); print(peak() - before)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "g.h5", tmp_path / "copy"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert int(result.stdout) < 150
    assert len(open_dataset(str(tmp_path / "copy"))) == 900


def test_png_is_what_pillow_reads() -> None:
    rng = np.random.default_rng(0)
    for shape in ((256, 256, 3), (1, 1, 3), (3, 7, 3)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        with Image.open(io.BytesIO(png(image))) as picture:
            assert picture.mode == "RGB"
            assert np.array_equal(np.asarray(picture), image)


def test_converting_again_does_nothing_and_other_galaxies_are_refused(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    other = write_hdf5(tmp_path / "other.h5", images=make_images(seed=8))
    for name in ("g", "g.h5", "g.parquet"):
        convert(str(source), str(tmp_path / name))
        before = (tmp_path / name).stat().st_mtime_ns
        assert convert(str(folder), str(tmp_path / name)).already_there
        with pytest.raises(
            DataError, match=r"or the same galaxies; .* holds galaxy10_layout_40_images with the content"
        ):
            convert(str(other), str(tmp_path / name))
        assert (tmp_path / name).stat().st_mtime_ns == before
    assert left_in(tmp_path) == ["g", "g.h5", "g.parquet", "other.h5"]


def test_what_is_not_ours_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("irreplaceable")
    (tmp_path / "notes.h5").write_text("notes")
    for name in ("mine", "notes.h5", "mine/thesis.tex"):
        with pytest.raises(DataError, match=rf"nothing is yet; .*{name} holds something else"):
            convert(str(source), str(tmp_path / name))
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "irreplaceable"
    with pytest.raises(DataError, match="must not start with 'simulated'"):
        convert(str(source), "simulated:30")


def test_an_empty_folder_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    convert(str(source), str(tmp_path / "empty"))
    assert len(open_dataset(str(tmp_path / "empty"))) == 40


def test_a_class_that_cannot_be_split_leaves_the_column_empty(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[9::10] = [9, 0, 0, 0]
    path = write_hdf5(tmp_path / "g.h5", ans=labels.astype(np.uint8))
    assert convert(str(path), str(tmp_path / "g.parquet")).split.startswith("none: each class must have at least 2")
    assert pq.read_table(tmp_path / "g.parquet")["split"].null_count == 40


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
def test_damage_in_the_middle_of_an_hdf5_file(source: Path, tmp_path: Path, share: float) -> None:
    convert(str(source), str(tmp_path / "g.h5"))
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no small disk: there is no mount command")
    if done.returncode:
        pytest.skip(f"no small disk: mounting is not permitted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("name", ["copy", "copy.parquet", "copy.h5"])
def test_disk_full(source: Path, small_disk: Path, name: str) -> None:
    """In a process of its own, which must also end well: HDF5 is known to fail when it closes a file on a full disk."""
    code = (
        "import sys\nfrom galaxytl.data import convert, DataError\n"
        "try: convert.convert(*sys.argv[1:])\n"
        "except DataError as error: print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, source, small_disk / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"there must be room for .*; the disk of .*disk is full \(.* MB free\)", done.stdout)
    assert left_in(small_disk) == []


def test_no_room_for_the_way_through_a_file(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.create_dataset("images", data=make_images(), chunks=(40, 32, 32, 3), compression="gzip")
        file["ans"] = LABELS
    monkeypatch.setattr(chunks, "SLAB_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"need room for a decompressed copy of them in .*disk/scratch, which is full"):
        convert(str(tmp_path / "g.h5"), str(tmp_path / "copy"), ConvertOptions(cache=small_disk))
    assert left_in(tmp_path) == ["disk", "g.h5"]


@pytest.mark.parametrize("name", ["copy", "copy.h5"])
def test_killed_at_any_moment_and_run_again(source: Path, tmp_path: Path, name: str) -> None:
    chance, in_the_middle = random.Random(name), 0
    target = tmp_path / name
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", SLOWLY, source, target], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        in_the_middle += any(".converting-" in left for left in left_in(tmp_path))
        if target.exists():
            assert np.array_equal(read_all(target), make_images())
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert in_the_middle
    found: Converted = convert(str(source), str(target), SMALL)
    assert found.fingerprint == open_dataset(str(source)).fingerprint
    assert np.array_equal(read_all(target), make_images())
    assert left_in(tmp_path) == [name]


def test_left_overs_of_a_living_conversion_stay(source: Path, tmp_path: Path) -> None:
    """Two at a time: one wins, the other is told, and neither removes what the other is writing."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(what: str, done: int, total: int) -> None:
        reached.set()
        go_on.wait(30)

    errors: list[DataError] = []

    def first() -> None:
        try:
            convert(str(source), str(tmp_path / "copy"), SMALL, wait)
        except DataError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert reached.wait(30)
    convert(str(source), str(tmp_path / "copy"), SMALL)
    go_on.set()
    thread.join()
    assert "appeared meanwhile" in str(errors[0])
    assert left_in(tmp_path) == ["copy"]
    assert np.array_equal(read_all(tmp_path / "copy"), make_images())


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
    running = ahead(pieces())
    assert (next(running), next(running)) == (0, 1)
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


def test_leaving_a_pass_early_leaves_no_thread(folder: Path, source: Path) -> None:
    for path in (folder, source):
        threads = threading.active_count()
        batches = open_source(str(path), cache_dir()).source.batches()
        next(batches)
        batches.close()
        assert threading.active_count() == threads
