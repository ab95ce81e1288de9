"""A table of paths is a dataset, in whatever format it is written, or it is said what it lacks."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from galaxytl.data import DataError, open_dataset
from galaxytl.data.dataset import open_files
from galaxytl.data.files import catalogue
from galaxytl.data.files.listed import ListedSource
from galaxytl.data.files.pictures import png
from galaxytl.system.locations import locate
from galaxytl.trial.reading import AS_FOUND, Reading
from tests.galaxies import write_parquet

LABELS = np.array([1, 0, 2, 1, 0, 2])
KINDS = ("elliptical", "merger", "spiral")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
ROWS = [f"pictures/{n}.png,{KINDS[label]}" for n, label in enumerate(LABELS)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(IMAGES):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(png(image))
    return tmp_path


def opened(file: Path, content: bytes | str | None = None, reading: Reading = AS_FOUND) -> ListedSource:
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    source = open_files(str(file), file.parent, reading)
    assert isinstance(source, ListedSource)
    return source


def lines(*rows: str, header: str = "path,label") -> str:
    return "\n".join((header, *rows)) + "\n"


def table(folder: Path) -> pa.Table:
    paths = [f"pictures/{n}.png" for n in range(6)]
    return pa.table({"path": paths, "label": [KINDS[label] for label in LABELS], "ra": np.arange(6.0)})


WRITERS: dict[str, Callable[[Path, pa.Table], Any]] = {
    "c.csv": lambda file, table: table.to_pandas().to_csv(file, index=False),
    "c.tsv": lambda file, table: table.to_pandas().to_csv(file, sep="\t"),
    "c.csv.gz": lambda file, table: table.to_pandas().to_csv(file),
    "c.tab": lambda file, table: table.to_pandas().to_csv(file, sep=";", encoding="utf-8-sig", lineterminator="\r\n"),
    "c.jsonl": lambda file, table: table.to_pandas().to_json(file, orient="records", lines=True),
    "c.parquet": lambda file, table: pq.write_table(table, file),
    "c.fits": lambda file, table: Table.from_pandas(table.to_pandas()).write(file),
    "parquet/c.csv": lambda file, table: pq.write_table(table, file),  # what it is, and not its name
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_the_same_dataset(folder: Path, name: str) -> None:
    if "/" in name:
        shutil.move(folder / "pictures", folder / "parquet" / "pictures")
    WRITERS[name](folder / name, table(folder))
    same = write_parquet(folder / "inside", IMAGES, LABELS, shards=1)
    found, inside = open_dataset(str(folder / name)), open_dataset(str(same), reading=Reading(class_names=KINDS))
    assert found.fingerprint == inside.fingerprint
    assert (found.labels.tolist(), found.class_names) == (LABELS.tolist(), KINDS)
    assert found.columns["ra"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found.columns["id"].tolist() == [f"pictures/{n}.png" for n in range(6)]
    assert found.notes == ("its classes are elliptical, merger, spiral",)


def test_zoobots_catalogue_works_as_it_stands(folder: Path) -> None:
    rows = [f"{n},12376487206937559{n:02d},{folder}/pictures/{n}.png,{n}.png,{label}" for n, label in enumerate(LABELS)]
    source = opened(folder / "z.csv", lines(*rows, header=",id_str,file_loc,filename,label"))
    assert source.columns["id"][5] == "1237648720693755905"
    assert source.classes.note == "images by the column file_loc, id by the column id_str"
    np.testing.assert_array_equal(np.concatenate(list(source.batches())), IMAGES)


def test_votes_and_further_columns(folder: Path) -> None:
    rows = [f"pictures/{n}.png,{n},{6 - n},night {n % 2}" for n in range(6)]
    reading = Reading("where", ("smooth_votes", "disk_votes"), columns=("night",), group_by="smooth_votes")
    source = opened(folder / "c.csv", lines(*rows, header="where,smooth_votes,disk_votes,Night"), reading)
    assert source.classes.names == ("smooth", "disk")
    assert source.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert source.columns["night"].tolist()[:2] == ["night 0", "night 1"]
    assert source.columns["smooth_votes"].tolist() == [0, 1, 2, 3, 4, 5]
    assert source.classes.note == "its classes are smooth, disk"


def test_text_in_quotes_and_columns_that_are_not_read(folder: Path) -> None:
    (folder / "a\nb.png").write_bytes(png(IMAGES[0]))
    content = 'path,label,notes\n"a\nb.png","""x"", y",\xff\npictures/1.png,z,\n'.encode("latin1")
    source = opened(folder / "c.csv", content)
    assert source.classes.names == ('"x", y', "z")
    assert [len(batch) for batch in source.batches()] == [2]


def test_paths_may_lead_anywhere_and_be_named_twice(folder: Path) -> None:
    (folder / "lists").mkdir()
    rows = ["../pictures/0.png,a", f"{folder}/pictures/1.png,b", f"file://{folder}/pictures/2.png,b"]
    source = opened(folder / "lists" / "c.csv", lines(*rows, rows[0], "../pictures/3.png,a", rows[0]))
    (finding,) = source.findings
    assert (finding.message, finding.rows) == ("2 images of a file that an earlier row names", (3, 5))
    assert sum(map(len, source.batches())) == 6


def test_missing_files_are_counted_before_any_is_read(folder: Path) -> None:
    (folder / "c.csv").write_text(lines("pictures/0.png,a", "no.png,a", "neither.png,b"))
    with pytest.raises(DataError, match=r"2 of 3 are not, the first is .*/no\.png"):
        open_dataset(str(folder / "c.csv"))


def test_files_of_another_machine_are_listed_rather_than_looked_at_one_by_one(folder: Path) -> None:
    afar = replace(locate(str(folder / "c.csv")), is_local=False)
    (folder / "c.csv").write_text(lines(*ROWS))
    found = catalogue.read_catalogue(afar, folder, AS_FOUND)
    assert found.states is not None
    assert [file.size for file in found.files][:6] == [(folder / f"pictures/{n}.png").stat().st_size for n in range(6)]
    (folder / "c.csv").write_text(lines(*ROWS, "no.png,spiral"))
    with pytest.raises(DataError, match=r"1 of 7 are not, the first is .*/no\.png"):
        list(catalogue.read_catalogue(afar, folder, AS_FOUND).files)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("parts", [("",), ("train", "valid")])
def test_hugging_faces_imagefolder(folder: Path, form: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        place = shutil.copytree(folder / "pictures", folder / "set" / part, dirs_exist_ok=True)
        rows = [{"file_name": f"{n}.png", "label": int(label)} for n, label in enumerate(LABELS)]
        text = lines(*(f"{row['file_name']},{row['label']}" for row in rows), header="file_name,label")
        text = text if form == "csv" else "\n".join(map(json.dumps, rows))
        (place / f"metadata.{form}").write_text(text)
    source = opened(folder / "set")
    assert source.labels.tolist() == LABELS.tolist() * len(parts)
    assert sum(map(len, source.batches())) == 6 * len(parts)
    if len(parts) == 2:
        assert source.columns["split"].tolist() == ["train"] * 6 + ["validation"] * 6
    assert len(source.files) == 7 * len(parts)


@pytest.mark.parametrize("name", ["../pictures/0.png", "/etc/hostname", "link.png"])
def test_a_folders_own_catalogue_stays_in_it(folder: Path, name: str) -> None:
    (folder / "set").mkdir()
    if name == "link.png":
        os.symlink(folder / "pictures" / "0.png", folder / "set" / name)
    (folder / "set" / "metadata.csv").write_text(lines(f"{name},a", "b.png,b"))
    with pytest.raises(DataError, match=r"must name files in it; got|must lie in its folder; it is a link"):
        opened(folder / "set")


def test_a_folder_of_parquet_catalogues(folder: Path) -> None:
    for number, part in enumerate(("a", "b")):
        pq.write_table(table(folder).slice(3 * number, 3), folder / f"{part}.parquet")
    assert opened(folder).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"cannot be read as CSV: Empty CSV file"),
        ("path,label\n", "must have a row for each image; it has none"),
        ("path,label\na.png,x,y\n", r"cannot be read as CSV: CSV parse error: Row #2: Expected 2 columns, got 3"),
        ("a.png,0\nb.png,1\n", r"has the images; none .* --image-column; it has a\.png, 0"),
        ("path,kind\na.png,0\n", r"has the labels; none .* --label-column; it has path, kind"),
        ("file,img,label\na,b,0\n", r"it may be any of file, img\. Name it with --image-column"),
        ("path,label,label\na,0,1\n", "2 are called label"),
        ("path,label\na.png,0\n,1\n", "1 of 2 have none, the first is row 1 "),
        ("path,label,ra\na.png,0,\nb.png,1,x\n", r"Row #3: .*conversion error to double: invalid value 'x'"),
        ("path,label\na.png,mü\n".encode("latin1"), r"must be text in UTF-8; .*iconv"),
        ("pfäd,label\na.png,0\n".encode("latin1"), r"must be text in UTF-8; .*iconv"),
        ("path,label\na.png,0\n".encode("utf-16"), r"must be text in UTF-8; .*begins with"),
        (bytes(range(200)), r"must be text in UTF-8; .*begins with"),
        (gzip.compress(b"path,label\n" + b"a.png,0\n" * 9999)[:-20], r"cannot be read as CSV: .*Truncated"),
    ],
)
def test_what_is_no_catalogue_is_refused(folder: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(folder / "c.csv", content)


def test_bad_json_parquet_and_fits(folder: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as JSON lines: JSON parse error: .* row 1"):
        opened(folder / "c.jsonl", '{"path": "a", "label": 1}\n{"path": 3}')
    fits.ImageHDU(np.ones((8, 8))).writeto(folder / "c.fits")
    with pytest.raises(DataError, match="must be of a kind that can be read"):
        opened(folder / "c.fits")
    pq.write_table(pa.table({"path": [1, 2], "name": ["a", "b"], "label": [0, 1]}), folder / "c.parquet")
    with pytest.raises(DataError, match="must hold the paths of their files; got type int64"):
        opened(folder / "c.parquet")


def test_rows_are_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_ROWS", 3)
    with pytest.raises(DataError, match="at most 3 rows"):
        opened(folder / "c.csv", lines(*ROWS))
