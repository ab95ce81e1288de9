"""Results at a URI: a real S3 API that comes and goes, and folders that machines share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import pytest

from galaxytl import mirror as mirrors
from galaxytl import storage as storages
from galaxytl.checkpoints import checkpoint_path, num_epochs, save_checkpoint
from galaxytl.data import DataError
from galaxytl.mirror import Mirror
from galaxytl.results import FILE_NAME, append_results, read_results
from galaxytl.row_segments import MANY, RowWriter, read_rows
from galaxytl.storage import Storage, StorageError, persistently, waiting_for
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.galaxies import make_bucket, s3_server

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(5)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield url


@pytest.fixture(params=["s3", "folder"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a place where nothing is yet."""
    if request.param == "folder":
        return str(tmp_path / "shared" / "paper")
    bucket = f"sweeps-{time.monotonic_ns()}"
    return f"{make_bucket(request.getfixturevalue('server'), bucket)}/paper"


def result(seed: int, status: str = COMPLETE) -> TrialResult:
    return TrialResult(spec=SPECS[seed], status=status)


def folder(path: Path, *results: TrialResult) -> Path:
    path.mkdir(exist_ok=True)
    for row in results:
        append_results(path, row)
    return path


def seeds(path: Path) -> list[int]:
    rows = read_results(path)
    assert rows.problems == ()
    return [row.spec.seed for row in rows.results]


def test_files_come_back_as_they_were_and_missing_ones_are_none(uri: str, tmp_path: Path) -> None:
    storage = Storage(uri)
    storage.check()
    assert storage.names("") == []
    storage.put("a/b.npz", b"1")
    storage.put("a/b.npz", b"22")
    storage.put("rows/1.jsonl", b"3")
    assert storage.names("a") == ["a/b.npz"]
    assert storage.names("") == ["a/b.npz", "rows/1.jsonl"]
    assert storage.copy("a/b.npz", "c.npz")
    assert not storage.copy("none", "c.npz")
    assert storage.get_file("c.npz", tmp_path / "deep" / "c.npz")
    assert (tmp_path / "deep" / "c.npz").read_bytes() == b"22"
    assert not storage.get_file("none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    storage.delete("c.npz")
    storage.delete("c.npz")
    assert storage.get("c.npz") is None


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3://no-such-bucket-here/paper", "the bucket must exist"),
        ("s3:///paper", "must be s3://bucket/path"),
        ("s3://bucket/paper?colour=red", "options are"),
        ("s5://bucket/paper", "must be a path"),
    ],
)
def test_a_place_that_cannot_be_is_refused(server: str, place: str, reason: str) -> None:
    with pytest.raises(StorageError, match=f"--storage must be a place.*{reason}"):
        Storage(place).check()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--storage must be a place that can be written to"):
        Storage(str(tmp_path / "file" / "paper")).check()


# Rows


def test_rows_of_one_machine_are_those_of_the_next(uri: str, tmp_path: Path) -> None:
    first = folder(tmp_path / "first", result(0))
    writer = RowWriter(Storage(uri), first)
    assert writer.push()
    assert not writer.push()
    append_results(first, result(1))
    append_results(first, result(2, FAILED))
    assert writer.push()
    second = folder(tmp_path / "second")
    later = RowWriter(Storage(uri), second)
    assert seeds(second) == [0, 1, 2]
    append_results(second, result(2))
    later.push()
    RowWriter(Storage(uri), folder(tmp_path / "third"))
    assert read_results(tmp_path / "third").by_id()[SPECS[2].trial_id].status == COMPLETE
    assert len(read_rows(Storage(uri))) == 4


def test_a_folder_that_was_not_stored_is_and_an_old_one_takes_nothing_back(uri: str, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", result(0, FAILED))
    RowWriter(Storage(uri), old).push()
    new = folder(tmp_path / "new", result(1))
    writer = RowWriter(Storage(uri), new)
    append_results(new, result(0))
    writer.push()
    append_results(old, result(3))  # as by a driver that lost its storage
    RowWriter(Storage(uri), old).push()
    assert seeds(old) == [1, 0, 3]
    assert {row.status for row in read_results(old).results} == {COMPLETE}
    RowWriter(Storage(uri), folder(tmp_path / "next"))
    assert (tmp_path / "next" / FILE_NAME).read_bytes() == (old / FILE_NAME).read_bytes()


@pytest.mark.parametrize(
    ("own", "stored", "left"),
    [
        (COMPLETE, COMPLETE, [COMPLETE]),
        (FAILED, COMPLETE, [COMPLETE]),
        (FAILED, FAILED, [FAILED]),
        (COMPLETE, FAILED, [FAILED, COMPLETE]),
    ],
)
def test_a_trial_that_another_machine_finished_too_has_one_row(
    own: str, stored: str, left: list[str], uri: str, tmp_path: Path
) -> None:
    """The one died before its row was stored."""
    RowWriter(Storage(uri), folder(tmp_path / "other", replace(result(0, stored), message="there"))).push()
    out = folder(tmp_path / "out", replace(result(0, own), message="here"), result(1))
    RowWriter(Storage(uri), out).push()
    rows = [json.loads(line) for line in read_rows(Storage(uri))]
    assert [row["status"] for row in rows] == [*left, COMPLETE]
    assert rows[0]["message"] == "there"
    assert (out / FILE_NAME).read_bytes().splitlines() == read_rows(Storage(uri))


def test_a_row_that_is_half_written_is_not_stored(uri: str, tmp_path: Path) -> None:
    out = folder(tmp_path / "out", result(0))
    writer = RowWriter(Storage(uri), out)
    with (out / FILE_NAME).open("a") as file:
        file.write('{"format": 1, "spec"')
    writer.push()
    assert len(read_rows(Storage(uri))) == 1
    append_results(out, result(1))  # closes the half line
    writer.push()
    assert [row.spec.seed for row in read_results(out).results] == [0, 1]


def test_many_pieces_become_one(uri: str, tmp_path: Path) -> None:
    out = folder(tmp_path / "out")
    writer = RowWriter(Storage(uri), out)
    for number in range(MANY + 1):
        append_results(out, TrialResult(spec=SPECS[0].replace(seed=number), status=COMPLETE))
        writer.push()
    before = read_rows(Storage(uri))
    assert len(Storage(uri).names("rows")) == MANY + 1
    RowWriter(Storage(uri), folder(tmp_path / "next"))
    assert len(Storage(uri).names("rows")) == 1
    assert read_rows(Storage(uri)) == before
    assert seeds(tmp_path / "next") == list(range(MANY + 1))


def test_pieces_that_are_joined_while_they_are_read_are_read_again(uri: str, tmp_path: Path) -> None:
    class JoinedAsListed(Storage):
        listed = 0

        def names(self, folder: str) -> list[str]:
            names = super().names(folder)
            self.listed += 1
            if self.listed == 1:
                RowWriter(Storage(uri), tmp_path / "next")
            return names

    out = folder(tmp_path / "out")
    folder(tmp_path / "next")
    writer = RowWriter(Storage(uri), out)
    for number in range(MANY + 1):
        append_results(out, TrialResult(spec=SPECS[0].replace(seed=number), status=COMPLETE))
        writer.push()
    storage = JoinedAsListed(uri)
    assert len(read_rows(storage)) == MANY + 1
    assert storage.listed == 2


# A worker's files


def wait_until(stored: Storage, name: str, content: bytes | None) -> None:
    ends = time.monotonic() + 120
    while stored.get(name) != content:
        assert time.monotonic() < ends, name
        time.sleep(0.05)


def written(mirror: Mirror, seed: int, content: bytes) -> Path:
    path = checkpoint_path(mirror.out, SPECS[seed])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_checkpoints_follow_and_another_machine_goes_on_from_them(uri: str, tmp_path: Path) -> None:
    storage = Storage(uri)
    first, second = (Mirror(storage, tmp_path / name) for name in ("first", "second"))
    name = written(first, 0, b"epoch 1").relative_to(first.out).as_posix()
    first.follow()
    assert storage.get(name) == b"epoch 1"
    written(first, 0, b"epoch 2 ")
    first.follow()
    assert storage.get(name) == b"epoch 2 "
    second.fetch(SPECS[:2])
    assert checkpoint_path(second.out, SPECS[0]).read_bytes() == b"epoch 2 "
    assert not checkpoint_path(second.out, SPECS[1]).exists()
    written(second, 0, b"epoch 3  ")
    second.push()
    first.fetch(SPECS[:1])  # it had an older one
    assert checkpoint_path(first.out, SPECS[0]).read_bytes() == b"epoch 3  "
    first.forget(SPECS)
    assert list(first.out.glob("checkpoints/*")) == []
    assert storage.get(name) == b"epoch 3  "


def test_what_is_being_written_does_not_follow(uri: str, tmp_path: Path) -> None:
    mirror = Mirror(Storage(uri), tmp_path / "node")
    for name in ("checkpoints/.0f3a.npz.77", "checkpoints/note.txt", "ray/x.json", "errors/0f3a.txt"):
        (mirror.out / name).parent.mkdir(exist_ok=True)
        (mirror.out / name).write_text("x")
    mirror.push()
    assert Storage(uri).names("") == ["errors/0f3a.txt"]


def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    base = tmp_path / "mirrors"
    for name in (f"{os.getpid()}-a", "4194399-b", "other"):  # no process has the second number
        (base / name).mkdir(parents=True)
    own = mirrors._own_folder(base)
    assert {path.name for path in base.iterdir()} == {f"{os.getpid()}-a", "other", own.name}


# A storage that is away


@contextlib.contextmanager
def folder_away(path: Path) -> Iterator[None]:
    """In place of a shared folder there is a file: nothing below it can be reached."""
    path.rename(path.with_name("moved"))
    path.write_text("")
    try:
        yield
    finally:
        path.unlink()
        path.with_name("moved").rename(path)


def test_a_worker_waits_for_a_storage_and_gives_up_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(mirrors, "PATIENCE", 0.3)
    mirror, said = Mirror(Storage(str(shared)), tmp_path / "node"), list[str]()

    def say(error: DataError) -> None:
        said.append(waiting_for("storage", error))

    with folder_away(shared):
        name = written(mirror, 0, b"epoch 1").relative_to(mirror.out).as_posix()
        with pytest.raises(StorageError, match=r"did not answer for 0 seconds: .*shared"):
            mirror.push(say)
    assert re.match(r"waiting for the storage, .*shared", said[0])
    assert len(said[0]) <= 200
    mirror.push()
    assert Storage(str(shared)).get(name) == b"epoch 1"


def test_training_waits_for_a_storage_that_is_away_for_a_moment(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mirror, storage = Mirror(Storage(str(shared)), tmp_path / "node"), Storage(str(shared))
    name = written(mirror, 0, b"epoch 1").relative_to(mirror.out).as_posix()
    with ThreadPoolExecutor(1) as thread:
        with folder_away(shared):
            followed = thread.submit(mirror.follow)
            assert not wait([followed], timeout=1).done
        followed.result(timeout=120)
    assert storage.get(name) == b"epoch 1"


def test_training_goes_on_when_a_storage_stays_away_and_its_newest_checkpoint_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mirror, storage = Mirror(Storage(str(shared)), tmp_path / "node"), Storage(str(shared))
    with folder_away(shared):
        monkeypatch.setattr(mirrors, "WAIT_SECONDS", 0.3)
        written(mirror, 0, b"epoch 1")
        mirror.follow()
        monkeypatch.setattr(mirrors, "WAIT_SECONDS", 600)  # it waits once only
        name = written(mirror, 0, b"epoch 2 ").relative_to(mirror.out).as_posix()
        mirror.follow()
    wait_until(storage, name, b"epoch 2 ")
    written(mirror, 0, b"epoch 3  ")
    mirror.follow()
    assert storage.get(name) == b"epoch 3  "


def test_a_machine_that_was_cut_off_puts_no_old_checkpoint_over_that_of_who_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cable(Storage):
        is_cut = False

        def put_file(self, name: str, path: Path) -> None:
            if self.is_cut:
                raise DataError("no way to the storage")
            super().put_file(name, path)

    def train(mirror: Mirror, epochs: int) -> None:
        history = [{"epoch": float(number)} for number in range(1, epochs + 1)]
        save_checkpoint(checkpoint_path(mirror.out, SPECS[0]), {}, history)
        mirror.follow()

    def stored() -> int:
        return num_epochs(Storage(shared).get(f"checkpoints/{SPECS[0].trial_id}.npz") or b"")

    monkeypatch.setattr(mirrors, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(mirrors, "LOOK_SECONDS", 0.05)
    shared = str(tmp_path / "shared")
    cable = Cable(shared)
    first, second = Mirror(cable, tmp_path / "one"), Mirror(Storage(shared), tmp_path / "two")
    train(first, 3)
    cable.is_cut = True
    train(first, 4)
    second.fetch(SPECS[:1])
    train(second, 9)
    cable.is_cut = False
    first.push()
    assert stored() == 9
    train(first, 5)  # until it hears that it has lost the trial
    first.push()
    assert stored() == 9
    first.fetch(SPECS[:1])  # it is given the trial again
    train(first, 10)
    first.push()
    assert stored() == 10


def test_an_action_is_tried_again_after_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], []
    monkeypatch.setattr(storages.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(storages.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def action() -> str:
        if now[0] < 60:
            raise DataError("away")
        return "back"

    assert persistently(action, 600, told.append) == "back"
    assert 60 <= now[0] < 60 + 1.5 * storages.LONGEST_PAUSE
    assert 7 <= len(told) <= 16
    now[0] = 0.0
    with pytest.raises(StorageError, match="did not answer for 30 seconds: away"):
        persistently(action, 30)
