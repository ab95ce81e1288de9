"""What becomes of rows whose file, or folder, vanishes while their sweep runs: all known rows stay, and it is said."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from galaxytl.results.rows import FILE_NAME, append_results, read_results
from galaxytl.results.storage import Storage
from galaxytl.results.stored_rows import read_rows
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.results import folder as kept_module
from sweep.results import lease as lease_module
from sweep.results import rows_file
from sweep.results.folder import ResultsFolder, lead
from sweep.results.lease import LeaseError, in_folder
from sweep.results.rows_file import GoneError
from tests.sweep.sweeps import wait_for

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(6)]
FOREIGN = b'{"of": "another"}\n' * 40


def result(seed: int) -> TrialResult:
    return TrialResult(spec=SPECS[seed], status=COMPLETE)


def seeds(folder: Path) -> list[int]:
    """Of the rows in the file; each line is one."""
    rows = read_results(folder)
    assert (rows.problems, len(rows.results)) == ((), len((folder / FILE_NAME).read_bytes().splitlines()))
    return [row.spec.seed for row in rows.results]


@pytest.fixture(autouse=True)
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks when a row comes, in these tests, unless one says otherwise."""
    monkeypatch.setattr(rows_file, "LOOK_SECONDS", 600)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(out: Path, said: list[str]) -> Iterator[ResultsFolder]:
    """With a row of an earlier run, and one of its own."""
    append_results(out, result(0))
    with lead(out, "", said.append) as kept:
        kept.append(result(1))
        yield kept


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30)


def drop_the_first(path: Path) -> None:
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def overwrite(path: Path) -> None:
    path.write_bytes(FOREIGN)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(FOREIGN)
    os.replace(path.with_name("new"), path)


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"seed":1', b'"seed":7'))


def make_folder(path: Path) -> None:
    path.unlink()
    (path / "mine").mkdir(parents=True)


def link(path: Path) -> None:
    """To the rows themselves."""
    os.symlink(path.rename(path.with_name("elsewhere")), path)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def merge(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"", 1))


WAYS: list[tuple[Callable[[Path], None], str, bool]] = [
    (delete, "was deleted while the sweep runs: its 2 rows were written again", False),
    (empty, "was cut while the sweep runs, 2 of its rows were missing: its 2 rows were written again", False),
    (cut, "was cut while the sweep runs, 1 of its rows were missing: its 2 rows were written again", False),
    (drop_the_first, "was cut while the sweep runs, 1 of its rows were missing", False),
    (overwrite, "was replaced while the sweep runs: its 2 rows were written again; what had replaced it is now", True),
    (replace, "was replaced while the sweep runs: its 2 rows were written again; what had replaced it is now", True),
    (edit, "was replaced while the sweep runs", True),
    (make_folder, "was replaced while the sweep runs", True),
    (merge, "was replaced while the sweep runs", True),
    (link, "what had replaced it was a link, which was removed", False),
    (make_pipe, "what had replaced it was no file, and was removed", False),
]


@pytest.mark.parametrize(("vanish", "message", "is_foreign"), WAYS)
def test_rows_are_written_again_and_what_replaced_them_stays(
    kept: ResultsFolder, said: list[str], vanish: Callable[[Path], None], message: str, is_foreign: bool
) -> None:
    vanish(kept.out / FILE_NAME)
    before = (kept.out / FILE_NAME).read_bytes() if (kept.out / FILE_NAME).is_file() else b""
    kept.append(result(2))
    assert seeds(kept.out) == [0, 1, 2]
    assert message in "".join(said)
    beside = list(kept.out.glob(f"{FILE_NAME}.replaced-*"))
    assert len(beside) == is_foreign
    for path in beside:
        assert str(path) in said[0]
        assert (path / "mine").is_dir() or path.read_bytes() == before
    kept.append(result(3))
    assert (seeds(kept.out), len(said)) == ([0, 1, 2, 3], 1)


def test_rows_that_are_there_in_any_form_are_nothing_to_speak_of(kept: ResultsFolder, said: list[str]) -> None:
    path = kept.out / FILE_NAME
    os.utime(path)
    kept.append(result(2))
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)
    kept.append(result(3))
    assert (seeds(kept.out), said) == ([0, 1, 2, 3], [])


def test_lines_that_another_has_appended_stay(kept: ResultsFolder, said: list[str]) -> None:
    append_results(kept.out, result(5))
    kept.append(result(2))
    assert seeds(kept.out) == [0, 1, 5, 2]
    assert said == [f"note: {kept.out / FILE_NAME} has 1 lines that this sweep did not write; they stay"]
    delete(kept.out / FILE_NAME)
    assert [row.spec.seed for row in kept.rows().results] == [0, 1, 5, 2]


def test_a_row_that_goes_between_two_runs_is_nothing_to_notice(out: Path, said: list[str]) -> None:
    for _ in range(2):
        with lead(out, "", said.append) as kept:
            kept.append(result(0), result(1))
            assert seeds(out) == [0, 1]
        empty(out / FILE_NAME)
    assert said == []


def test_it_is_noticed_without_a_row(out: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_file, "LOOK_SECONDS", 0.02)
    with lead(out, "", said.append) as kept:
        kept.append(result(0))
        delete(out / FILE_NAME)
        wait_for(lambda: said, "a word of it", 60)
        assert seeds(out) == [0]
        out.rename(out.with_name("away"))
        with pytest.raises(GoneError, match=r"was moved to .*/away, with its 1 rows\. .*with --out .*/away the same"):
            wait_for(kept.stop_if_lost, "it to be noticed", 60)
    assert "was moved to" in said[1]
    assert seeds(out.with_name("away")) == [0]
    assert not out.exists()


def test_no_row_is_written_to_a_folder_that_was_moved(kept: ResultsFolder) -> None:
    kept.out.rename(kept.out.with_name("away"))
    with pytest.raises(GoneError, match="was moved"):
        kept.append(result(2))
    kept.out.mkdir()  # as workers make it anew
    with pytest.raises(GoneError, match="was moved"):
        kept.append(result(3))
    assert seeds(kept.out.with_name("away")) == [0, 1]


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_the_rows_of_a_deleted_folder_are_written_again(kept: ResultsFolder, is_made_anew: bool) -> None:
    shutil.rmtree(kept.out)
    if is_made_anew:
        (kept.out / "checkpoints").mkdir(parents=True)
    with pytest.raises(GoneError, match=r"was deleted; its 2 rows were written again, to .*The sweep stops here"):
        kept.append(result(2))
    assert seeds(kept.out) == [0, 1, 2]


def test_the_rows_of_another_sweep_that_is_there_instead_stay(kept: ResultsFolder) -> None:
    shutil.rmtree(kept.out)
    kept.out.mkdir()
    append_results(kept.out, result(5))
    with pytest.raises(GoneError, match="its 2 rows could not be written again"):
        kept.rows()
    assert seeds(kept.out) == [5]


def test_who_has_lost_its_lease_writes_nothing_again(kept: ResultsFolder) -> None:
    place = in_folder(kept.out)
    assert place.replace(place.read(), {"owner": "another", "host": "elsewhere", "pid": 7, "generation": 9})
    overwrite(kept.out / FILE_NAME)
    with pytest.raises(LeaseError, match="process 7 on elsewhere has taken "):
        kept.rows()
    assert (kept.out / FILE_NAME).read_bytes() == FOREIGN


def test_it_is_said_that_rows_cannot_be_written_again_yet(
    out: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; and what had replaced them is still known when they can."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rows_file, "LOOK_SECONDS", 0.01)
    with lead(out, "", said.append) as kept:
        kept.append(result(0))
        with monkeypatch.context() as full:
            full.setattr(rows_file, "write_atomically", fail)
            overwrite(out / FILE_NAME)
            wait_for(lambda: said, "a word of it", 60)
            time.sleep(0.1)
        kept.append(result(1))
    assert len(said) == 2
    assert "trials.jsonl cannot be looked after just now; trials go on. [Errno 28] No space left" in said[0]
    assert "its 1 rows were written again; what had replaced it is now" in said[1]
    assert seeds(out) == [0, 1]


@pytest.mark.parametrize("vanish", [delete, cut, overwrite, None])
def test_the_storage_has_each_row_whatever_becomes_of_the_file(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vanish: Callable[[Path], None] | None
) -> None:
    """None: the whole folder goes."""
    monkeypatch.setattr(kept_module, "PUSH_SECONDS", 0.02)
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.2)
    storage = Storage(str(tmp_path / "shared"))

    def run() -> None:
        with lead(out, str(storage), lambda _: None) as kept:
            kept.append(result(0), result(1))
            wait_for(lambda: len(read_rows(storage)) == 2, "both rows", 60)
            vanish(out / FILE_NAME) if vanish else shutil.rmtree(out)
            kept.append(result(2))

    if vanish:
        run()
    else:
        with pytest.raises(GoneError, match="was deleted"):
            run()
    assert len(read_rows(storage)) == 3
    assert seeds(out) == [0, 1, 2]
