"""A folder that somebody else has filled reads and writes nothing outside itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from galaxytl.results.checkpoints import checkpoint_path, save_checkpoint
from galaxytl.results.rows import FILE_NAME, append_results
from galaxytl.results.search.study_file import check_schema
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import fetch_results
from galaxytl.system.inside import NAMES_ANOTHER, OutsideError, check_links, inside
from galaxytl.trial import FAILED, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
ROW = TrialResult(spec=SPEC, status=FAILED, message="no memory")
OUTSIDE = ("", "/etc/passwd", "../x", "errors/../../x", "a//b", "./x", "a/.", "..", "a\nb", "a\x00", "a\u202eb", "a/")


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """What nobody must write to."""
    path = tmp_path / "authorized_keys"
    path.write_text("mine\n")
    (tmp_path / "home").mkdir()
    yield path
    assert path.read_text() == "mine\n"
    assert list((tmp_path / "home").iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_lead_nowhere_else(folder: Path, name: str) -> None:
    with pytest.raises(OutsideError, match="must have a name below it") as caught:
        inside(folder, name)
    assert str(caught.value).isprintable()


def test_links_on_the_way_are_refused_but_the_folder_may_be_one(folder: Path, private: Path) -> None:
    (folder / "errors").symlink_to(private.parent / "home")
    (folder / "lease.json").symlink_to(private)
    for name in ("errors/0f3a.txt", "lease.json"):
        with pytest.raises(OutsideError, match="is a link"):
            inside(folder, name)
    disk = private.parent / "disk"
    disk.symlink_to(folder)
    assert inside(disk, "probabilities/0f3a.parquet") == disk / "probabilities/0f3a.parquet"


NAMES = (FILE_NAME, "lease.json", "sweep.log", "study.db", "study.db-wal", "search.json", "thumbnails.parquet")
IN_FOLDERS = ("checkpoints/a.npz", "probabilities/a.parquet", "errors/a.txt", "rows/1.jsonl", "ray/20260101-000000")


@pytest.mark.parametrize(
    "name", [*NAMES, *IN_FOLDERS, "checkpoints", "probabilities", "errors", "ray", ".lease.json.x"]
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_with_a_link_that_leads_out_is_refused(folder: Path, private: Path, name: str, is_there: bool) -> None:
    check_links(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(private if is_there else private.parent / "new")
    with pytest.raises(OutsideError, match=r"is a link\. Remove it"):
        check_links(folder)


def test_links_that_stay_inside_are_optuna_s_locks(folder: Path) -> None:
    (folder / "study.log").touch()
    (folder / "study.log.lock").symlink_to(folder / "study.log")
    check_links(folder)
    check_links(folder / "nothing")


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / FILE_NAME)
    with pytest.raises(OutsideError, match="is neither"):
        check_links(folder)
    with pytest.raises(OSError, match=r"none|No such device"):
        append_results(folder, ROW)


def test_rows_are_not_appended_through_a_link_that_came_since(folder: Path, private: Path) -> None:
    (folder / FILE_NAME).symlink_to(private)
    with pytest.raises(OutsideError, match="is a link"):
        append_results(folder, ROW)


def test_a_checkpoint_is_not_written_through_a_link(folder: Path, private: Path) -> None:
    path = checkpoint_path(folder, SPEC)
    path.parent.mkdir()
    path.symlink_to(private)
    path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}").symlink_to(private)
    save_checkpoint(path, {"kernel": np.zeros(3)}, [])
    assert not path.is_symlink()


@pytest.mark.parametrize("name", OUTSIDE[1:])
def test_a_storage_s_names_stay_below_it(folder: Path, name: str) -> None:
    with pytest.raises(StorageError, match="must lie in it"):
        Storage(str(folder)).put(name, b"")
    with pytest.raises(StorageError, match="must lie in it"):
        Storage("s3://bucket/sweeps?region=eu-west-1").get(name)


def test_a_shared_folder_with_links_is_no_storage(folder: Path, private: Path) -> None:
    storage = Storage(str(folder))
    storage.check()
    (folder / "rows").symlink_to(private.parent / "home")
    with pytest.raises(StorageError, match="is a link"):
        storage.check()
    with pytest.raises(StorageError, match="is a link"):
        storage.put("rows/000001.jsonl", b"{}")


@pytest.mark.parametrize("name", ["../escaped", "errors/../../escaped"])
def test_what_is_fetched_lands_in_its_folder(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object's name may have any letters."""
    storage = Storage(str(folder))
    (folder / "search.json").write_text("{}")
    monkeypatch.setattr(storage, "names", lambda below: [] if below else ["search.json", name])
    monkeypatch.setattr(storage, "get", lambda _: b"content")
    with pytest.raises(OutsideError):
        fetch_results(storage, tmp_path / "copies" / "copy")
    assert not (tmp_path / "copies" / "escaped").exists()


# Studies


def test_a_study_computes_nothing(folder: Path) -> None:
    for number, made in enumerate(
        (
            "CREATE VIEW studies AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT x FROM n",
            "CREATE TRIGGER t AFTER INSERT ON plain BEGIN DELETE FROM plain; END",
            "CREATE VIRTUAL TABLE t USING fts5(x)",
        )
    ):
        with sqlite3.connect(folder / f"{number}.db") as connection:
            connection.execute("CREATE TABLE plain (x)")
            check_schema(connection)
            connection.execute(made)
            with pytest.raises(ValueError, match=r"holds tables; got the (view|trigger|virtual)"):
                check_schema(connection)
        connection.close()


def test_a_study_s_values_take_no_memory(tmp_path: Path) -> None:
    """8 kB of a file, and a gigabyte of a value."""
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute("CREATE TABLE trials (x, y GENERATED ALWAYS AS (zeroblob(500000000)) VIRTUAL)")
        connection.execute("INSERT INTO trials (x) VALUES (1)")
        check_schema(connection)
        with pytest.raises(sqlite3.DatabaseError, match="too big"):
            connection.execute("SELECT y FROM trials").fetchall()


def test_a_journal_that_names_another_file_is_refused(folder: Path) -> None:
    """SQLite, which opens the database, removes that file."""
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        connection.execute("CREATE TABLE plain (x)")
    thesis = folder.parent / "thesis.tex"
    thesis.write_text("mine")
    write_journal(folder / "study.db-journal", thesis)
    with pytest.raises(OutsideError, match=r"names no further file.*Remove it"):
        check_links(folder)

    with contextlib.closing(sqlite3.connect(folder / "study.db")) as connection:
        connection.execute("SELECT * FROM plain").fetchall()
    assert not thesis.exists()  # the danger is real
    check_links(folder)


def write_journal(path: Path, names: Path) -> None:
    """A rollback journal of an empty transaction, with the name of a super-journal."""
    name = str(names).encode()
    head = NAMES_ANOTHER + struct.pack(">IIIII", 0, 0, 2, 512, 4096)
    record = struct.pack(">I", 2**30 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + NAMES_ANOTHER
    path.write_bytes(head.ljust(512, b"\0") + record)
