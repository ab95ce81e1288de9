"""Results at a URI: a real S3 API, for what a folder that machines share could not show, and such folders."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from galaxytl.data import DataError
from galaxytl.results import mirror as mirrors
from galaxytl.results import storage as storages
from galaxytl.results import stored_rows
from galaxytl.results.checkpoints import checkpoint_path, num_epochs, save_checkpoint
from galaxytl.results.mirror import Mirror
from galaxytl.results.rows import FILE_NAME, append_results, read_results
from galaxytl.results.storage import Storage, StorageError, waiting_for, with_retries
from galaxytl.results.stored_rows import RowWriter, merge_lines, read_rows
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.clock import Clock
from tests.galaxies import make_bucket

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(6)]
buckets = itertools.count()


@pytest.fixture
def shared(tmp_path: Path) -> str:
    """A folder that is not there yet."""
    return str(tmp_path / "shared" / "paper")


@pytest.fixture(params=["s3", "folder"])
def uri(request: pytest.FixtureRequest, server: str, shared: str) -> str:
    """Of a place where nothing is yet."""
    return shared if request.param == "folder" else f"{make_bucket(server, f'sweeps-{next(buckets)}')}/paper"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What waits for a storage waits by it."""
    clock = Clock()
    monkeypatch.setattr(storages, "time", clock)
    return clock


def result(seed: int, status: str = COMPLETE) -> TrialResult:
    return TrialResult(spec=SPECS[seed], status=status)


def folder(path: Path, *results: TrialResult) -> Path:
    path.mkdir(exist_ok=True)
    for row in results:
        append_results(path, row)
    return path


def lines(path: Path) -> list[bytes]:
    """Those that are whole."""
    return (path / FILE_NAME).read_bytes().split(b"\n")[:-1]


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


@pytest.mark.usefixtures("server")
def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = {"s3://no-such-bucket-here/paper": "the bucket must exist", "s3:///paper": "must be s3://bucket/path"}
    for place, reason in (places | {str(tmp_path / "file" / "paper"): "that can be written to"}).items():
        with pytest.raises(StorageError, match=f"--storage must be a place.*{reason}"):
            Storage(place).check()


# Rows


def test_rows_of_one_machine_are_those_of_the_next(uri: str, tmp_path: Path) -> None:
    first = folder(tmp_path / "first", result(0))
    writer = RowWriter(Storage(uri), first)
    assert writer.push(lines(first))
    assert not writer.push(lines(first))
    append_results(first, result(1))
    append_results(first, result(2, FAILED))
    assert writer.push(lines(first))
    second = folder(tmp_path / "second")
    later = RowWriter(Storage(uri), second)
    assert seeds(second) == [0, 1, 2]
    append_results(second, result(2))
    later.push(lines(second))
    RowWriter(Storage(uri), folder(tmp_path / "third"))
    assert read_results(tmp_path / "third").by_id()[SPECS[2].trial_id].status == COMPLETE
    assert len(read_rows(Storage(uri))) == 4


def test_a_folder_that_was_not_stored_is_and_an_old_one_takes_nothing_back(shared: str, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", result(0, FAILED))
    RowWriter(Storage(shared), old).push(lines(old))
    new = folder(tmp_path / "new", result(1))
    writer = RowWriter(Storage(shared), new)
    append_results(new, result(0))
    writer.push(lines(new))
    append_results(old, result(3))  # as by a driver that lost its storage
    RowWriter(Storage(shared), old).push(lines(old))
    assert seeds(old) == [1, 0, 3]
    assert {row.status for row in read_results(old).results} == {COMPLETE}
    RowWriter(Storage(shared), folder(tmp_path / "next"))
    assert (tmp_path / "next" / FILE_NAME).read_bytes() == (old / FILE_NAME).read_bytes()


@pytest.mark.parametrize(
    ("own", "stored", "left"),
    [
        ("COMPLETE", "COMPLETE", "s"),
        ("FAILED", "COMPLETE", "s"),
        ("FAILED", "FAILED", "s"),
        ("COMPLETE", "FAILED", "so"),
    ],
)
def test_a_trial_that_another_machine_finished_too_has_one_row(own: str, stored: str, left: str) -> None:
    """The one died before its row was stored, and left half of the next."""
    there, here, other = (
        json.dumps(replace(result(seed, status), message=place).to_dict())
        for seed, status, place in ((0, stored, "there"), (0, own, "here"), (1, FAILED, "here"))
    )
    rows = {"s": there, "o": here}
    content = f'{rows["o"]}\n{other}\n\n{{"trial_id": "c", "sta'
    lines = [rows[row] for row in left] + [other]
    assert merge_lines([rows["s"].encode()], content.encode()).decode().splitlines() == lines
    assert merge_lines([line.encode() for line in lines], content.encode()).decode().splitlines() == lines


def test_a_row_that_lacks_its_line_end_or_has_lost_it_stays() -> None:
    """A driver was killed between the two, or somebody has edited the file."""
    one, other = (json.dumps(result(seed).to_dict()).encode() for seed in (0, 1))
    assert merge_lines([], one + b"\n" + other) == one + b"\n" + other + b"\n"
    assert merge_lines([one], one + other + b"\n") == one + b"\n" + one + other + b"\n"
    assert merge_lines([one], other[:-1]) == one + b"\n"


def test_a_row_that_is_half_written_is_not_stored(shared: str, tmp_path: Path) -> None:
    out = folder(tmp_path / "out", result(0))
    writer = RowWriter(Storage(shared), out)
    (out / FILE_NAME).write_bytes((out / FILE_NAME).read_bytes() + b'{"format": 1, "spec"')
    writer.push(lines(out))
    assert len(read_rows(Storage(shared))) == 1
    append_results(out, result(1))  # closes the half line
    writer.push(lines(out))
    assert [row.spec.seed for row in read_results(out).results] == [0, 1]


@pytest.fixture
def pieces(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage of one piece more than stay apart, a row in each."""
    monkeypatch.setattr(stored_rows, "MANY", len(SPECS) - 1)
    writer = RowWriter(Storage(uri), folder(tmp_path / "out"))
    for seed in range(len(SPECS)):
        append_results(tmp_path / "out", result(seed))
        writer.push(lines(tmp_path / "out"))
    return uri


def test_many_pieces_become_one(pieces: str, tmp_path: Path) -> None:
    storage = Storage(pieces)
    before = read_rows(storage)
    assert len(storage.names("rows")) == len(SPECS)
    RowWriter(storage, folder(tmp_path / "next"))
    seal, joined = storage.names("rows")
    assert (storage.get(seal), joined) == (b"", "rows/g000002-000000.jsonl")
    assert read_rows(storage) == before
    assert seeds(tmp_path / "next") == list(range(len(SPECS)))


def test_pieces_that_are_joined_while_they_are_read_are_read_again(pieces: str, tmp_path: Path) -> None:
    class JoinedAsListed(Storage):
        listed = 0

        def names(self, folder: str) -> list[str]:
            names = super().names(folder)
            self.listed += 1
            if self.listed == 1:
                RowWriter(Storage(pieces), tmp_path / "next")
            return names

    folder(tmp_path / "next")
    storage = JoinedAsListed(pieces)
    assert len(read_rows(storage)) == len(SPECS)
    assert storage.listed == 2


# A worker's files


@pytest.fixture(autouse=True)
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:
    """In place of a mirror's thread, which never ends."""
    thread = Mock()
    monkeypatch.setattr(mirrors, "Thread", thread)
    yield thread
    assert thread.return_value.start.call_count == thread.call_count
    assert all(call.kwargs["daemon"] for call in thread.call_args_list)


def look(thread: Mock) -> None:
    """What the thread of the newest mirror does every half second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirrors, "time", Mock(sleep=Mock(side_effect=[None, SystemExit])))
        with pytest.raises(SystemExit):
            thread.call_args.kwargs["target"]()


def write(mirror: Mirror, content: bytes) -> str:
    """Write the first trial's checkpoint; its name at the storage."""
    path = checkpoint_path(mirror.out, SPECS[0])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path.relative_to(mirror.out).as_posix()


def test_checkpoints_follow_and_another_machine_goes_on_from_them(uri: str, tmp_path: Path) -> None:
    storage = Storage(uri)
    first, second = (Mirror(storage, tmp_path / name) for name in ("first", "second"))
    name = write(first, b"epoch 1")
    first.follow()
    assert storage.get(name) == b"epoch 1"
    write(first, b"epoch 2 ")
    first.follow()
    assert storage.get(name) == b"epoch 2 "
    second.fetch(SPECS[:2])
    assert checkpoint_path(second.out, SPECS[0]).read_bytes() == b"epoch 2 "
    assert not checkpoint_path(second.out, SPECS[1]).exists()
    write(second, b"epoch 3  ")
    second.push()
    first.fetch(SPECS[:1])  # it had an older one
    assert checkpoint_path(first.out, SPECS[0]).read_bytes() == b"epoch 3  "
    for ending in ("parquet", "validation.parquet"):
        (first.out / "probabilities").mkdir(exist_ok=True)
        (first.out / f"probabilities/{SPECS[0].trial_id}.{ending}").write_bytes(b"told of")
    first.push()
    first.forget(SPECS)
    assert list(first.out.glob("*/*")) == []
    assert len(storage.names("probabilities")) == 2
    assert storage.get(name) == b"epoch 3  "


def test_what_is_being_written_does_not_follow(shared: str, tmp_path: Path) -> None:
    mirror = Mirror(Storage(shared), tmp_path / "node")
    for name in ("checkpoints/.0f3a.npz.77", "checkpoints/note.txt", "ray/x.json", "errors/0f3a.txt"):
        (mirror.out / name).parent.mkdir(exist_ok=True)
        (mirror.out / name).write_text("x")
    mirror.push()
    assert Storage(shared).names("") == ["errors/0f3a.txt"]


def test_what_a_killed_worker_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    base = tmp_path / "mirrors"
    for name in (f"{os.getpid()}-a", "4194399-b", "other"):  # no process has the second number
        (base / name).mkdir(parents=True)
    own = mirrors._own_folder(base)
    assert {path.name for path in base.iterdir()} == {f"{os.getpid()}-a", "other", own.name}


# A storage that is away


class Cable(Storage):
    """To a storage, which may be cut."""

    is_cut = True

    def put_file(self, name: str, path: Path) -> None:
        if self.is_cut:
            raise DataError("no way to the storage")
        super().put_file(name, path)


def test_a_worker_waits_for_a_storage_and_gives_up_with_a_reason(shared: str, tmp_path: Path, clock: Clock) -> None:
    Path(shared).parent.write_text("")  # a file in place of the folder: nothing below it can be reached
    mirror, said = Mirror(Storage(shared), tmp_path / "node"), list[str]()
    name = write(mirror, b"epoch 1")
    with pytest.raises(StorageError, match=r"did not answer for 600 seconds: .*shared"):
        mirror.push(lambda error: said.append(waiting_for("storage", error)))
    assert 600 <= clock.now <= 601
    assert re.match(r"waiting for the storage, .*shared", said[0])
    assert len(said[0]) <= 200
    Path(shared).parent.unlink()
    mirror.push()
    assert Storage(shared).get(name) == b"epoch 1"


def test_training_waits_for_a_storage_that_is_away_for_a_moment(shared: str, tmp_path: Path, clock: Clock) -> None:
    cable = Cable(shared)
    mirror = Mirror(cable, tmp_path / "node")
    name = write(mirror, b"epoch 1")
    mirror.follow(lambda error: setattr(cable, "is_cut", clock.now < 5))
    assert cable.get(name) == b"epoch 1"
    assert 5 <= clock.now < mirrors.WAIT_SECONDS


def test_training_goes_on_when_a_storage_stays_away_and_its_newest_checkpoint_follows(
    shared: str, tmp_path: Path, clock: Clock, thread: Mock
) -> None:
    cable = Cable(shared)
    mirror = Mirror(cable, tmp_path / "node")
    write(mirror, b"epoch 1")
    mirror.follow()
    waited = clock.now
    assert 40 < waited <= 70
    name = write(mirror, b"epoch 2 ")
    mirror.follow()
    assert clock.now == waited  # it waits once only
    look(thread)
    assert cable.get(name) is None
    cable.is_cut = False
    look(thread)
    assert cable.get(name) == b"epoch 2 "
    write(mirror, b"epoch 3  ")
    mirror.follow()
    assert cable.get(name) == b"epoch 3  "


def test_a_machine_that_was_cut_off_puts_no_old_checkpoint_over_that_of_who_went_on(
    shared: str, tmp_path: Path
) -> None:
    def train(mirror: Mirror, epochs: int) -> None:
        history = [{"epoch": float(number)} for number in range(1, epochs + 1)]
        save_checkpoint(checkpoint_path(mirror.out, SPECS[0]), {}, history)
        mirror.follow()

    def stored() -> int:
        return num_epochs(Storage(shared).get(f"checkpoints/{SPECS[0].trial_id}.npz") or b"")

    cable = Cable(shared)
    cable.is_cut = False
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
    cable.is_cut = True
    train(first, 11)
    cable.is_cut = False
    first.push()
    assert stored() == 11  # nobody else went on meanwhile


def test_an_action_is_tried_again_after_longer_pauses(clock: Clock) -> None:
    told: list[DataError] = []

    def action() -> str:
        if clock.now < 60:
            raise DataError("away")
        return "back"

    assert with_retries(action, 600, told.append) == "back"
    assert 60 <= clock.now < 60 + 1.5 * storages.LONGEST_PAUSE
    assert 7 <= len(told) == len(clock.pauses) <= 16
    clock.now = 0.0
    with pytest.raises(StorageError, match="did not answer for 30 seconds: away"):
        with_retries(action, 30)
    assert clock.now <= 30
