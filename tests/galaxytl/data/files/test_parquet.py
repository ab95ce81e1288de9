from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.data.convert import ConvertOptions, convert
from galaxytl.data.dataset import open_source
from galaxytl.data.files.pictures import png
from galaxytl.system.cache import cache_dir
from galaxytl.trial.reading import Reading
from tests.galaxies import LABELS, encode, left_in, make_images, write_parquet

SMALL = ConvertOptions(images_per_shard=16)


@pytest.fixture(scope="module")
def folder(galaxies_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 galaxies in three Parquet files and a manifest."""
    place = tmp_path_factory.mktemp("converted") / "galaxy10"
    convert(str(galaxies_file), str(place), SMALL)
    return place


@pytest.fixture
def bad(folder: Path, tmp_path: Path) -> Path:
    """A copy of the converted folder, to be damaged."""
    return shutil.copytree(folder, tmp_path / "bad")


def second(bad: Path) -> Path:
    return bad / "data" / "galaxy10-00001-of-00003.parquet"


def rewritten(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize(("share", "with_manifest"), [(0.0, False), (0.5, False), (0.99, False), (0.99, True)])
def test_truncated_shard(bad: Path, share: float, with_manifest: bool) -> None:
    second(bad).write_bytes(second(bad).read_bytes()[: int(second(bad).stat().st_size * share)])
    if not with_manifest:
        (bad / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.parquet (is empty|has .* instead|cannot be read as Parquet)"):
        open_dataset(str(bad))


def test_missing_shards_and_unfinished_files_are_found(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "g", make_images(), LABELS, shards=4)
    assert open_dataset(str(folder)).source.findings == ()
    (folder / "train-00002-of-00004.parquet").rename(folder / "train-00002-of-00004.parquet.part")
    missing, unfinished = open_dataset(str(folder)).source.findings
    assert missing.message == "1 of the 4 shards of 'train' are missing, the first is number 2"
    assert unfinished.message.endswith("left out, such as 'train-00002-of-00004.parquet.part'")
    assert missing.harmful
    assert unfinished.harmful
    (alone,) = open_dataset(str(folder / "train-00001-of-00004.parquet")).source.findings
    assert (alone.code, alone.harmful) == ("missing_shards", False)  # who names one file may want just that


def test_shards_unlike_the_manifest(bad: Path) -> None:
    shutil.copy(second(bad), bad / "data" / "extra.parquet")
    with pytest.raises(DataError, match=r"found data/extra\.parquet"):
        open_dataset(str(bad))
    (bad / "data" / "extra.parquet").unlink()
    second(bad).unlink()
    with pytest.raises(DataError, match=r"00001-of-00003\.parquet is missing"):
        open_dataset(str(bad))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"rows": 8', '"rows": 9', r"00002-of-00003\.parquet must have 9 rows; it has 8"),
        ('"rows": 8,\n   "size": ', '"rows": 8,\n   "size": 1', r"00002-of-00003\.parquet has .* bytes instead of 1"),
        ('"1": 4', '"1": 5', r"the labels must be those that manifest\.json counts"),
        ('"format": 1', '"format": 2', r"manifest\.json must be of format 1; got 2"),
        ('"shards": [', '"shards": 3, "more": [', r"manifest\.json must be a manifest"),
        ("{", "", r"manifest\.json must be a manifest"),
    ],
)
def test_a_manifest_of_something_else(bad: Path, before: str, after: str, message: str) -> None:
    manifest = bad / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, after, 1))
    with pytest.raises(DataError, match=message):
        open_dataset(str(bad))


def with_label(values: Any) -> Any:
    return lambda table: table.set_column(1, "label", pa.array(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("redshift"), "all files must have the same columns"),
        (lambda table: table.drop_columns("label"), "which column has the labels; none was recognised"),
        (with_label([1.5] * 16), "all files must have the same columns"),
        (with_label([-1] * 16), "got -1 in row 16"),
        (with_label([None, *[1] * 15]), "1 of 40 rows have none, the first is row 16"),
    ],
)
def test_bad_columns_in_one_shard(bad: Path, change: Any, message: str) -> None:
    rewritten(second(bad), change)
    (bad / "manifest.json").unlink()
    with pytest.raises(DataError, match=message):
        open_dataset(str(bad))


NUMBERS = [0, 1, 0, 1]
GOOD = png(make_images(1)[0])
RGB_16 = GOOD[:24] + b"\x10" + GOOD[25:]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (GOOD[:30_000], "the picture cannot be decoded"),
        (GOOD[:50_000] + bytes(100) + GOOD[50_100:], "the picture cannot be decoded"),
        (b"galaxy", "a picture must be one of"),
        (b"", "there must be the bytes of a picture"),
        (encode(np.zeros((7, 69, 3), np.uint8)), "8 to 16,384 pixels a side"),
        (encode(np.zeros((256, 256, 4), np.uint8)), "pictures must be opaque"),
        (encode(np.zeros((256, 256), np.uint16)), "of type uint16"),
        (RGB_16, "of type uint16"),
    ],
    ids=["cut", "zeroed", "text", "empty", "small", "alpha", "grey 16 bits", "colour 16 bits"],
)
def test_a_bad_picture_is_named_and_nothing_is_written(tmp_path: Path, picture: bytes, message: str) -> None:
    write_parquet(tmp_path / "bad", make_images(4), LABELS[:4], shards=1)
    path = next((tmp_path / "bad").iterdir())
    cells = pq.read_table(path)["image"].to_pylist()
    cells[2]["bytes"] = picture
    rewritten(path, lambda table: table.set_column(0, "image", pa.array(cells)))
    for name in ("copy", "copy.h5"):
        with pytest.raises(DataError, match=rf"\.parquet, row 2: .*{message}"):
            convert(str(tmp_path / "bad"), str(tmp_path / name))
    assert left_in(tmp_path) == ["bad"]


SMALL_IMAGES = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3), np.uint8)
PICTURES = [encode(image) for image in SMALL_IMAGES]
STRUCTS = [{"bytes": picture, "path": None} for picture in PICTURES]
AB = {"names": ["a", "b"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("columns", "features", "asked"),
    [
        ({"image": PICTURES, "label": ["a", "b", "a", "b"]}, {}, Reading()),
        ({"png": pa.array(PICTURES, pa.large_binary()), "label": [0, 1, 0, 1]}, {"label": AB}, Reading()),
        ({"image": STRUCTS, "fine": [0, 1, 0, 1], "label": [1] * 4}, {"fine": AB}, Reading(label_columns=("fine",))),
        ({"image": STRUCTS, "target": pa.array(["a", "b", "a", "b"]).dictionary_encode()}, {}, Reading()),
        ({"a": PICTURES, "b": PICTURES, "y": ["a", "b"] * 2}, {}, Reading("b")),
        (
            {"features": [{"image": cell, "label": row % 2} for row, cell in enumerate(STRUCTS)]},
            {"features": {"label": AB}},
            Reading(),
        ),
        (
            {"features": [{"image": cell, "kind": "ab"[row % 2]} for row, cell in enumerate(STRUCTS)]},
            {},
            Reading("features.image", ("features.kind",)),
        ),
    ],
)
def test_other_layouts_of_pictures(
    tmp_path: Path, columns: dict[str, Any], features: dict[str, Any], asked: Reading
) -> None:
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "g.parquet")
    found = open_dataset(str(tmp_path / "g.parquet"), reading=asked)
    assert (found.class_names, found.labels.tolist()) == (("a", "b"), [0, 1, 0, 1])
    for batch in found.source.batches():
        assert np.array_equal(np.stack(list(batch)), SMALL_IMAGES)


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"a": PICTURES, "b": PICTURES, "label": NUMBERS}, Reading(), "images; it may be any of a, b. Name it with"),
        ({"image": PICTURES, "p": ["a.png"] * 4, "label": NUMBERS}, Reading("p"), "must hold encoded pictures"),
        ({"image": PICTURES, "label": [[0.5, 0.5]] * 4}, Reading("", ("label",)), "numbers or texts; got list<"),
        ({"image": PICTURES, "label": ["a" * 3000, "b"] * 2}, Reading(), "texts of at most 2,000 bytes; one has 3,000"),
        (
            {"image": PICTURES, "label": NUMBERS},
            Reading(columns=("sky",)),
            "has no column 'sky'. Its columns are label",
        ),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, columns: dict[str, Any], asked: Reading, message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "g.parquet")
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "g.parquet"), reading=asked)


def test_names_of_shards_say_an_official_split_and_a_copy_keeps_it_beside_the_papers(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "g", make_images(), LABELS)
    assert "split" not in open_dataset(str(folder)).columns
    (folder / "train-00001-of-00002.parquet").rename(folder / "test-00000-of-00001.parquet")
    (folder / "train-00000-of-00002.parquet").rename(folder / "train-00000-of-00001.parquet")
    wanted = open_dataset(str(folder)).columns["split"].tolist()
    assert wanted == ["test"] * 20 + ["train"] * 20
    for name in ("copy", "copy.parquet", "copy.h5"):
        convert(str(folder), str(tmp_path / name))
        assert open_dataset(str(tmp_path / name)).columns["split"].tolist() == wanted
    assert pq.read_table(tmp_path / "copy.parquet")["split"].to_pylist() != wanted


def test_what_datasets_exports_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.utils.tqdm, "monitor_interval", 0)
    for row, picture in enumerate(PICTURES):
        place = tmp_path / "pictures" / "train" / "ab"[row % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row}.png").write_bytes(picture)
    made = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "pictures"), cache_dir=str(tmp_path / "cache"))
    made["train"].to_parquet(str(tmp_path / "paths.parquet"))
    with pytest.raises(DataError, match="give that folder itself as --data"):
        open_dataset(str(tmp_path / "paths.parquet"))
    embed = datasets.table.embed_table_storage  # as push_to_hub does
    made["train"].with_format("arrow").map(embed, batched=True).to_parquet(str(tmp_path / "g.parquet"))
    found = open_dataset(str(tmp_path / "g.parquet"))
    assert (found.class_names, found.labels.tolist()) == (("a", "b"), [0, 0, 1, 1])


def test_damage_in_the_middle_of_an_hdf5_file(galaxies_file: Path, tmp_path: Path) -> None:
    convert(str(galaxies_file), str(tmp_path / "g.h5"))
    whole = (tmp_path / "g.h5").read_bytes()
    for at in (len(whole) * 3 // 10, len(whole) * 9 // 10):
        (tmp_path / "g.h5").write_bytes(whole[:at] + bytes(5000) + whole[at + 5000 :])
        with pytest.raises(DataError, match=r"g\.h5 cannot be read as HDF5"):
            convert(str(tmp_path / "g.h5"), str(tmp_path / "copy"))
    assert left_in(tmp_path) == ["g.h5"]


def test_no_images_at_all(bad: Path, tmp_path: Path) -> None:
    rewritten(second(bad), lambda table: table.slice(0, 0))
    with pytest.raises(DataError, match="must hold at least one image"):
        convert(str(second(bad)), str(tmp_path / "copy"))


def test_leaving_a_pass_early_leaves_no_thread(folder: Path, galaxies_file: Path) -> None:
    for path in (folder, galaxies_file):
        threads = threading.active_count()
        batches = open_source(str(path), cache_dir()).source.batches()
        next(batches)
        batches.close()
        assert threading.active_count() == threads
