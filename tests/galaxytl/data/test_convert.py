from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.data import DataError, open_dataset
from galaxytl.data.__main__ import main
from galaxytl.data.convert import ConvertOptions, convert
from galaxytl.data.files.arrays import chunks
from galaxytl.data.galaxy10 import CLASS_NAMES
from tests.galaxies import LABELS, draw_quickly, encode, killed_conversions, left_in, make_images, read_all, write_hdf5

SKY = {name: np.linspace(low, low + 1, 40) for low, name in enumerate(("ra", "dec", "redshift", "pxscale"))}
SMALL = ConvertOptions(images_per_shard=16)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 galaxies with names and positions, one of these unknown."""
    sky = SKY | {"ra": np.r_[np.nan, SKY["ra"][1:]]}
    return write_hdf5(tmp_path_factory.mktemp("source") / "source.h5", class_names=list(CLASS_NAMES), **sky)


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder of three Parquet files."""
    place = tmp_path_factory.mktemp("converted") / "galaxy10"
    convert(str(source), str(place), SMALL)
    return place


numbers = st.floats(0, 360) | st.just(math.nan)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 9), numbers, numbers, numbers, numbers), min_size=2, max_size=6).filter(
        lambda rows: len({label for label, *_ in rows}) > 1
    ),
    st.lists(st.sampled_from(["copy", "copy.parquet", "copy.h5"]), min_size=2, max_size=4),
    st.integers(1, 4),
)
def test_any_galaxies_stay_the_same_whatever_they_are_converted_to(
    rows: list[Any], names: list[str], images_per_shard: int
) -> None:
    images, (labels, *columns) = make_images()[: len(rows)], zip(*rows, strict=True)
    sky = dict(zip(SKY, map(np.array, columns), strict=True))
    with tempfile.TemporaryDirectory() as place:
        cache, start = Path(place, "cache"), write_hdf5(Path(place, "g.h5"), images=images, ans=np.array(labels), **sky)
        wanted = open_dataset(str(start), cache)
        for number, name in enumerate(names):
            target = Path(place, str(number), name)
            converted = convert(str(start), str(target), ConvertOptions(images_per_shard=images_per_shard, cache=cache))
            copy = open_dataset(str(target), cache=Path(place, "other"))
            assert (converted.fingerprint, converted.name) == (wanted.fingerprint, wanted.name)
            assert (copy.fingerprint, copy.name) == (wanted.fingerprint, wanted.name)
            assert np.array_equal(np.concatenate(list(copy.source.batches())), images)
            assert copy.labels.tolist() == list(labels)
            for column, values in sky.items():
                np.testing.assert_array_equal(copy.columns[column], values)
            start = target


def test_the_command_converts_and_says_what_it_wrote(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "copy.h5"
    assert main(["convert", str(source), "--to", str(target)]) == 0
    assert "copy.h5: written, 40 images of galaxy10_layout_40_images" in capsys.readouterr().out
    assert main(["convert", str(source), "--to", str(target)]) == 0
    assert "already there" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "nowhere.h5"), "--to", str(target)]) == 2
    assert "nowhere.h5" in capsys.readouterr().err


def test_datasets_reads_a_folder_as_one_split(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.utils.tqdm, "monitor_interval", 0)  # no thread that watches its progress bars
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
    table = pytest.importorskip("pandas").read_parquet(folder / "data")
    assert list(table.columns) == ["image", "label", "ra", "dec", "redshift", "pxscale", "split"]
    assert table["split"].value_counts().to_dict() == {"train": 28, "test": 12}
    assert set(table.loc[table["split"] == "test", "label"]) == set(range(10))
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


def test_images_of_several_sizes_stay_so_in_parquet_and_are_refused_in_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [np.full((8 + row, 10, 3), row, np.uint8) for row in range(4)]
    for row, image in enumerate(images):
        place = tmp_path / "mine" / "ab"[row % 2] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(image))
    monkeypatch.setattr("galaxytl.data.convert.MOST_SOURCES", 3)
    wanted = convert(str(tmp_path / "mine"), str(tmp_path / "copy"))
    copy = open_dataset(str(tmp_path / "copy"))
    assert (copy.fingerprint, copy.class_names) == (wanted.fingerprint, ("a", "b"))
    assert sorted(image.shape[0] for batch in copy.source.batches() for image in batch) == [8, 9, 10, 11]
    (source,) = json.loads((tmp_path / "copy" / "manifest.json").read_text())["source"]
    assert (source["name"], source["sha256"]) == ("4 files", "")
    with pytest.raises(DataError, match=r"must have one shape; the first has 8x10x3, another 10x10x3.*--to FOLDER/"):
        convert(str(tmp_path / "mine"), str(tmp_path / "copy.h5"))


def test_manifest_saves_the_pass_over_the_images(folder: Path, tmp_path: Path) -> None:
    for place, is_read in ((folder, False), (folder / "data", True)):
        heard: list[str] = []
        open_dataset(str(place), cache=tmp_path, on_progress=lambda what, done, total, heard=heard: heard.append(what))
        assert bool(heard) == is_read


def test_a_wrong_fingerprint_in_a_manifest_is_noticed(folder: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(folder, tmp_path / "wrong") / "manifest.json"
    wrong.write_text(re.sub('"fingerprint": "....', '"fingerprint": "0000', wrong.read_text()))
    with pytest.raises(DataError, match="changed while it was in use"):
        open_dataset(str(wrong.parent)).resized(32)
    with pytest.raises(DataError, match="It changed or is damaged"):
        convert(str(wrong.parent), str(tmp_path / "copy.h5"))
    assert left_in(tmp_path) == ["wrong"]


def test_simulated_galaxies_stay_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_quickly(monkeypatch, tmp_path / "cache")
    wanted = open_dataset("simulated:30")
    for start, to in itertools.pairwise(("simulated:30", "sim", "sim.h5", "sim.parquet", "again.h5")):
        begin = start if ":" in start else str(tmp_path / start)
        assert convert(begin, str(tmp_path / to)).name == "simulated"
        copy = open_dataset(str(tmp_path / to))
        assert (copy.name, copy.fingerprint) == ("simulated", wanted.fingerprint)
    assert left_in(tmp_path / "sim" / "data") == ["simulated-00000-of-00001.parquet"]
    assert open_dataset(str(tmp_path / "sim" / "data")).name == "simulated"  # also without its manifest


@pytest.mark.rest  # 177 MB are compressed for it
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """900 images, 177 MB, in chunks across all of them; so small a limit that they go through a file."""
    with h5py.File(tmp_path / "g.h5", "w") as file:
        images = file.create_dataset(
            "images", (900, 256, 256, 3), np.uint8, chunks=(900, 32, 32, 1), compression="gzip"
        )
        images[:] = np.broadcast_to(make_images(10)[None], (90, 10, 256, 256, 3)).reshape(images.shape) // 64
        file["ans"] = np.arange(900) % 10
    code = (
        "import sys\n"
        "import pyarrow.parquet, pyarrow.fs, sklearn.model_selection\n"
        "from galaxytl.data import convert\n"
        "from galaxytl.data.files.arrays import chunks\n"
        "chunks.SLAB_BYTES = 20 * 2**20\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024\n"
        "before = peak(); convert.convert(sys.argv[1], sys.argv[2]); print(peak() - before)\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "g.h5", tmp_path / "copy"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert int(result.stdout) < 150
    assert len(open_dataset(str(tmp_path / "copy"))) == 900


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
    (tmp_path / "empty").mkdir()
    convert(str(source), str(tmp_path / "empty"))
    assert len(open_dataset(str(tmp_path / "empty"))) == 40


def test_a_class_that_cannot_be_split_leaves_the_column_empty(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[9::10] = [9, 0, 0, 0]
    path = write_hdf5(tmp_path / "g.h5", ans=labels.astype(np.uint8))
    assert convert(str(path), str(tmp_path / "g.parquet")).split.startswith("none: each class must have at least 2")
    assert pq.read_table(tmp_path / "g.parquet")["split"].null_count == 40


@pytest.fixture
def small_disk(small_disk: Path) -> Path:
    """The same of 5 MB."""
    subprocess.run(["mount", "-o", "remount,size=5m", small_disk], check=True)
    return small_disk


def test_disk_full(source: Path, small_disk: Path) -> None:
    """In a process of its own, which must also end well: HDF5 is known to fail when it closes a file on a full disk."""
    names = ("copy", "copy.parquet", "copy.h5")
    code = (
        "import sys\nfrom galaxytl.data import convert, DataError\n"
        "for to in sys.argv[2:]:\n"
        "    try: convert.convert(sys.argv[1], to)\n"
        "    except DataError as error: print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, source, *(small_disk / name for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        assert re.search(rf"there must be room for .*{name}; the disk of .*disk is full \(.* MB free\)", line)
    assert left_in(small_disk) == []


def test_no_room_for_the_way_through_a_file(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.create_dataset("images", data=make_images(), chunks=(40, 32, 32, 3), compression="gzip")
        file["ans"] = LABELS
    monkeypatch.setattr(chunks, "SLAB_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"need room for a decompressed copy of them in .*disk/scratch, which is full"):
        convert(str(tmp_path / "g.h5"), str(tmp_path / "copy"), ConvertOptions(cache=small_disk))
    assert left_in(tmp_path) == ["disk", "g.h5"]


def test_killed_at_any_moment_and_run_again(source: Path, tmp_path: Path) -> None:
    """In processes that really die: in the middle, before the copy gets its name, and after."""
    moments = (("20", "copy"), ("20", "copy.h5"), ("os.rename", "copy"), ("shutil.rmtree", "copy.h5"))
    places = [(at, tmp_path / at / name) for at, name in moments]
    killed_conversions(source, places)
    for at, target in places:
        assert any(".converting-" in left for left in left_in(target.parent))
        assert target.exists() == (at == "shutil.rmtree")
        found = convert(str(source), str(target), SMALL)
        assert found.already_there == (at == "shutil.rmtree")
        assert found.fingerprint == open_dataset(str(source)).fingerprint
        assert np.array_equal(read_all(target), make_images())
    assert left_in(tmp_path / "20") == ["copy", "copy.h5"]
    assert left_in(tmp_path / "os.rename") == ["copy"]


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
    assert len(list(tmp_path.glob(".copy.converting-*/content/data/*.parquet"))) == 2
    go_on.set()
    thread.join()
    assert "appeared meanwhile" in str(errors[0])
    assert left_in(tmp_path) == ["copy"]
    assert np.array_equal(read_all(tmp_path / "copy"), make_images())
