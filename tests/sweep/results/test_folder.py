"""A sweep's results at a storage: what the driver does when it comes and goes, and a real sweep on a real S3 API."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from galaxytl.data import DataError
from galaxytl.results import rows as results_module
from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.results.rows import FILE_NAME, append_results, read_results
from galaxytl.results.search.asked_file import read_asked
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import RowWriter, fetch_results, read_rows
from galaxytl.system.command import UsageError
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.command_line import parse
from sweep.results import folder as kept_module
from sweep.results import lease as lease_module
from sweep.results.folder import lead, read_only
from sweep.results.lease import LeaseError, in_folder, in_storage
from sweep.run import main
from tests.galaxies import make_bucket, s3_server
from tests.sweep.drivers import plant
from tests.sweep.sweeps import ROOT, is_lost, quick, start, sweep, wait_for

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(3)]


def result(seed: int) -> TrialResult:
    return TrialResult(spec=SPECS[seed], status=COMPLETE)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that machines share, looked at often."""
    monkeypatch.setattr(kept_module, "PUSH_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.2)
    return tmp_path / "shared"


def test_without_a_storage_there_is_the_folder_alone(out: Path, tmp_path: Path) -> None:
    with lead(out, "", print) as kept:
        kept.append(result(0))
        checkpoint = checkpoint_path(out, SPECS[0])
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(b"weights")
        kept.hand_on_checkpoint(SPECS[0], SPECS[1])
        assert checkpoint_path(out, SPECS[1]).read_bytes() == b"weights"
        kept.drop_checkpoint(SPECS[1])
    assert [path.name for path in sorted(out.rglob("*"))] == ["checkpoints", "lease.json", "trials.jsonl"]


def test_checkpoints_at_the_storage_are_handed_on_and_dropped(out: Path, shared: Path) -> None:
    storage = Storage(str(shared))
    storage.put(f"checkpoints/{SPECS[0].trial_id}.npz", b"weights")
    with lead(out, str(shared), print) as kept:
        kept.hand_on_checkpoint(SPECS[0], SPECS[1])
        kept.hand_on_checkpoint(SPECS[2], SPECS[1])  # of which there is none
        assert storage.get(f"checkpoints/{SPECS[1].trial_id}.npz") == b"weights"
        kept.drop_checkpoint(SPECS[0])
        kept.drop_checkpoint(SPECS[2])
    assert storage.names("checkpoints") == [f"checkpoints/{SPECS[1].trial_id}.npz"]


def test_no_checkpoint_goes_before_its_row_is_stored(out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial ends while the rows before it are being stored: its own row will be with the next."""
    storage, name = Storage(str(shared)), f"checkpoints/{SPECS[1].trial_id}.npz"
    storage.put(name, b"weights")
    put, deleted = RowWriter._put, list[int]()
    delete = Storage.delete

    def put_slowly(self: RowWriter, name: str, content: bytes) -> None:
        put(self, name, content)
        if len(read_results(out).results) == 1:
            kept.append(result(1))
            kept.drop_checkpoint(SPECS[1])

    def delete_noted(self: Storage, gone: str) -> None:
        deleted.extend([len(read_rows(storage))] if gone == name else [])
        delete(self, gone)

    monkeypatch.setattr(RowWriter, "_put", put_slowly)
    monkeypatch.setattr(Storage, "delete", delete_noted)
    with lead(out, str(shared), print) as kept:
        kept.append(result(0))
        wait_for(lambda: len(read_results(out).results) == 2, "both rows", timeout=60)
    assert deleted == [2]
    assert storage.get(name) is None


def test_the_storage_gets_no_row_of_a_driver_that_lost_it(out: Path, shared: Path) -> None:
    record, taken = in_storage(Storage(str(shared))), {"owner": "another", "host": "elsewhere", "pid": 7}

    def lead_until_lost() -> None:
        with lead(out, str(shared), print) as kept:
            kept.append(result(0))
            wait_for(lambda: read_rows(Storage(str(shared))), "the row", timeout=60)
            # Again and again: a beat may be under way.
            wait_for(lambda: plant(record, taken) or is_lost(kept.stop_if_lost), "it to notice", timeout=60)
            append_results(out, result(1))  # of which the storage is not to hear
            with pytest.raises(LeaseError, match="process 7 on elsewhere has taken "):
                kept.append(result(2))

    with pytest.raises(LeaseError, match="process 7 on elsewhere has taken "):  # at its end too
        lead_until_lost()
    assert len(read_rows(Storage(str(shared)))) == 1
    assert len(read_results(out).results) == 2
    assert record.read() == taken


def test_a_row_that_waits_for_its_file_while_another_takes_over_is_not_written(
    out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a driver that is suspended between its look at the lease and the file."""
    lock, taken = results_module.lock, {"owner": "another", "pid": 7}

    def lock_late(*given: Any) -> None:
        monkeypatch.undo()
        plant(in_folder(out), taken)
        lock(*given)

    with lead(out, "", print) as kept:
        kept.append(result(0))
        monkeypatch.setattr(results_module, "lock", lock_late)
        with pytest.raises(LeaseError, match=r"process 7 on \(unknown\) has taken "):
            kept.append(result(1))
    assert [row.trial_id for row in read_results(out).results] == [SPECS[0].trial_id]


def test_who_takes_over_waits_for_a_row_that_is_being_written(
    out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_results(out, result(0))
    monkeypatch.setattr(results_module, "LOCK_SECONDS", 0.2)
    with (out / FILE_NAME).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="a suspended driver"), lead(out, "", print):
            pytest.fail("it did not wait")
    with lead(out, "", print) as kept:
        assert len(kept.rows().results) == 1


class Away:
    """A storage whose writing fails while `is_away`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        for name in ("put", "create", "replace"):
            monkeypatch.setattr(Storage, name, self._if_there(getattr(Storage, name)))

    def _if_there(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def write_if_there(*given: Any) -> Any:
            if self.is_away:
                raise DataError("s3://bucket cannot be written: the server must answer")
            return write(*given)

        return write_if_there


def test_a_sweep_outlives_its_storages_absence(out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away, said = Away(monkeypatch), list[str]()
    with lead(out, str(shared), said.append) as kept:
        away.is_away = True
        kept.append(result(0))
        wait_for(lambda: said, "a word of it", timeout=60)
        kept.append(result(1))
        away.is_away = False
        wait_for(lambda: len(said) == 2, "a word of its return", timeout=60)
        assert len(read_rows(Storage(str(shared)))) == 2
    assert said[0].startswith("note: the storage does not answer; trials go on, and their rows wait in ")
    assert said[1].endswith("answers again; it has all rows")
    assert len(said) == 2


@pytest.mark.parametrize("lost", ["rows", "piece", "storage"])
def test_rows_that_vanish_at_the_storage_are_stored_again(out: Path, shared: Path, lost: str) -> None:
    said: list[str] = []
    append_results(out, result(0))
    with lead(out, str(shared), said.append) as kept:
        wait_for(lambda: len(read_rows(Storage(str(shared)))) == 1, "the first row", 60)
        kept.append(result(1))
        wait_for(lambda: len(read_rows(Storage(str(shared)))) == 2, "both", 60)
        if lost == "piece":
            (shared / "rows/g000001-000001.jsonl").unlink()
        else:
            shutil.rmtree(shared / "rows" if lost == "rows" else shared)
        kept.append(result(2))
    assert len(read_rows(Storage(str(shared)))) == 3
    assert said == [f"note: rows had vanished at {shared} while the sweep runs; they were stored again"]


def test_a_storage_that_may_no_more_be_looked_at_is_away(
    out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or has a link in it: neither ends the beats of its lease, nor the pushing of rows."""
    said: list[str] = []

    def refuse(path: Path) -> bool:
        if path.is_relative_to(shared):
            raise PermissionError(13, "Permission denied", str(path))
        return False

    with lead(out, str(shared), said.append) as kept:
        with monkeypatch.context() as closed:
            closed.setattr(Path, "is_symlink", refuse)
            kept.append(result(0))
            wait_for(lambda: len(said) == 1, "a word of it", 60)
        wait_for(lambda: len(said) == 2, "its return", 60)
        (shared / "rows").rename(shared / "away")
        (shared / "rows").symlink_to("away")
        kept.append(result(1))
        wait_for(lambda: len(said) == 3, "a word of the link", 60)
        (shared / "rows").unlink()
        (shared / "away").rename(shared / "rows")
    assert "Permission denied" in said[0]
    assert "rows is a link. Remove it" in said[2]
    assert len(read_rows(Storage(str(shared)))) == 2


def test_what_is_finished_when_a_user_stops_the_sweep_is_stored(out: Path, shared: Path) -> None:
    def stop() -> None:
        with lead(out, str(shared), print) as kept:
            kept.append(result(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert len(read_rows(Storage(str(shared)))) == 1


def test_rows_that_could_not_be_stored_are_by_the_next_run(
    out: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, said = Away(monkeypatch), list[str]()
    monkeypatch.setattr(kept_module, "PATIENCE", 0.2)

    def run() -> None:
        with lead(out, str(shared), said.append) as kept:
            away.is_away = True
            kept.append(result(0))
            wait_for(lambda: said, "a word of it", timeout=60)

    with pytest.raises(StorageError, match=r"lacks the last rows: .*trials\.jsonl; the same command stores them"):
        run()
    assert said[1:] == [f"note: the last rows wait for the storage; Ctrl-C leaves them in {out}"]
    away.is_away = False
    assert read_rows(Storage(str(shared))) == []
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.02)  # its lease at the storage did not end
    with lead(out, str(shared), print):
        pass
    assert len(read_rows(Storage(str(shared)))) == 1


def test_what_a_search_asked_for_is_stored_before_the_rows_and_comes_back_to_another_machine(
    out: Path, shared: Path, tmp_path: Path
) -> None:
    first, second = ({"params": {}, "distributions": {}, "trial_id": name} for name in ("one", "two"))
    with lead(out, str(shared), print) as kept:
        assert kept.asked().suggestions == ()
        kept.append_asked([{"asked": 1, "search": {}}, first])
        kept.append(result(0))
        (out / "search.json").write_text("{}")
    assert [name.partition("/")[0] for name in Storage(str(shared)).names("")].count("asked") == 1
    other = tmp_path / "other"
    other.mkdir()
    with lead(other, str(shared), print) as kept:
        asked = kept.asked()
        assert ([one.trial_id for one in asked.suggestions], asked.search) == (["one"], {})
        kept.append_asked([second])
        assert (other / "search.json").read_text() == "{}"
    fetch_results(Storage(str(shared)), tmp_path / "fetched")
    assert [one.trial_id for one in read_asked(tmp_path / "fetched").suggestions] == ["one", "two"]


def test_a_second_driver_at_the_storage_is_refused_and_one_that_looks_is_not(
    out: Path, shared: Path, tmp_path: Path
) -> None:
    """From another folder, as on another machine; this process lives, so its beats are waited for."""
    other = tmp_path / "other"
    other.mkdir()
    with lead(out, str(shared), print) as kept:
        kept.append(result(0))
        refused = pytest.raises(LeaseError, match=r"may write to the results at a storage; .*shared is led by process")
        with refused, lead(other, str(shared), print):
            pytest.fail("there were two drivers")
        wait_for(lambda: read_rows(Storage(str(shared))), "the row", timeout=60)
        for folder in (other, out):  # the latter has the stored row too: it is one row
            with read_only(folder, str(shared)) as seen:
                assert (len(seen.rows().results), seen.rows().problems) == (1, ())
        assert not (other / "trials.jsonl").exists()


def test_nothing_is_taken_where_a_takeover_cannot_succeed(
    out: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage is away, or led by another, or the user does not wait."""
    suspended = {"owner": "suspended", "host": "elsewhere", "pid": 7, "generation": 5}
    plant(in_folder(out), suspended)

    def refused(error: type[BaseException], message: str, uri: str) -> None:
        with pytest.raises(error, match=message), lead(out, uri, print):
            pytest.fail("it was taken")
        assert in_folder(out).read() == suspended

    (tmp_path / "file").write_text("")
    refused(StorageError, "can be written to", str(tmp_path / "file" / "below"))
    (tmp_path / "other").mkdir()
    with lead(tmp_path / "other", str(shared), print):
        refused(LeaseError, "results at a storage", str(shared))
    monkeypatch.setattr(lease_module.time, "sleep", Mock(side_effect=KeyboardInterrupt))
    refused(KeyboardInterrupt, "^$", "")


# The option


@pytest.mark.parametrize(
    ("arguments", "place", "study"),
    [
        (["--storage", "s3://bucket/sweeps/"], "s3://bucket/sweeps/paper", None),
        (["--storage", "s3://bucket", "--out", "/tmp/mine"], "s3://bucket/mine", None),
        (["--storage", "s3://b/s?region=eu-west-1"], "s3://b/s/paper?region=eu-west-1", None),
        (["--storage", "/nfs/sweeps"], "/nfs/sweeps/paper", None),
        ([], "", None),
        (["--search", "optuna", "--storage", "gs://b", "--storage", "journal:///j"], "gs://b/search", "journal:///j"),
        (["--search", "optuna", "--storage", "sqlite:///study.db"], "", "sqlite:///study.db"),
        (["--search", "optuna", "--storage", "s3://b"], "s3://b/search", ""),
    ],
)
def test_storages_are_told_apart_by_their_scheme(arguments: list[str], place: str, study: str | None) -> None:
    options = parse(arguments, "")
    assert (options.place, options.search and options.search.storage) == (place, study)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sqlite:///study.db"], "--storage must be a place for results, like s3://bucket/sweeps/"),
        (["s4://bucket"], "got 's4://bucket'"),
        (["study.db", "--search", "optuna"], "like sqlite:///study.db; got 'study.db'"),
        (["s3://a", "--storage", "s3://b"], "takes one place for results, and one study"),
    ],
)
def test_other_storages_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(["--storage", *arguments], "")


# A real sweep


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield make_bucket(url, "sweeps-of-mine")


DRIVER = """
import os, signal, sys, time
from pathlib import Path
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.results import folder, lease
out, uri, stop = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
folder.PUSH_SECONDS, lease.BEAT_SECONDS, look = 0.1, 0.2, lease.Lease.confirm

def rows():
    path = out / "trials.jsonl"
    return path.read_bytes() if path.exists() else b""

def look_and_be_suspended(lease):
    is_stopped = lease._place.may_be_away and stop.exists()
    while is_stopped and b"}" not in rows():
        time.sleep(0.01)
    look(lease)
    if is_stopped:
        stop.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.5)  # another thread may be the one that takes the signal: this one must not be at its PUT by then

lease.Lease.confirm = look_and_be_suspended
try:
    with folder.lead(out, uri, print) as leading:
        leading.append(TrialResult(spec=TrialSpec(dataset="simulated", dataset_fingerprint="0f3a"), status=COMPLETE))
        while True:
            leading.stop_if_lost()
            time.sleep(0.05)
except lease.LeaseError as error:
    sys.exit(str(error))
"""


def test_a_row_of_a_driver_that_was_suspended_before_its_put_is_refused(
    bucket: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked at the lease, and another takes over before it goes on: a process, and a real S3 API."""
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.05)
    (tmp_path / "first").mkdir()
    (tmp_path / "stop").touch()
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "first"), f"{bucket}/paper", str(tmp_path / "stop")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as first:
        try:
            wait_for(lambda: Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it", 60)
            with lead(out, f"{bucket}/paper", print) as kept:
                os.kill(first.pid, signal.SIGCONT)
                said = first.communicate(timeout=60)[1]
                assert read_rows(Storage(f"{bucket}/paper")) == []
                kept.append(result(1))
        finally:
            first.kill()
    assert f"process {os.getpid()} on {os.uname().nodename} has taken {bucket}/paper over" in said
    assert "Traceback" not in said
    assert len(read_rows(Storage(f"{bucket}/paper"))) == 1
    assert len(read_results(tmp_path / "first").results) == 1  # what it had finished is kept


@pytest.mark.rest
@pytest.mark.alone
def test_a_sweep_goes_on_on_another_machine_from_what_the_storage_has(
    bucket: str, galaxies_file: Path, tmp_path: Path
) -> None:
    """The driver's machine is lost with its disk: a head's trials are finished, a network's under way. The secret
    key in the storage's address comes out nowhere. A killed driver, and workers that write to S3, are processes.
    """
    out, log = tmp_path / "mine", tmp_path / "log"
    settings = (*quick(25), "--set", "backbone=MobileNet", "--set", "weights=random", "--set", "unfrozen_blocks=0,all")
    place = bucket.replace("s3://", "s3://testing:geheim@")
    arguments = ("--data", galaxies_file, "--out", out, "--storage", place, *settings)
    storage = Storage(f"{bucket}/mine")
    process = start(log, *arguments)
    wait_for(lambda: re.search(r"all layers trained: epoch [3-9]/25:", log.read_text()), "three epochs", 300)
    wait_for(lambda: read_rows(storage), "the head's row at the storage")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    epochs = int(re.findall(r"all layers trained: epoch (\d+)/25:", log.read_text())[-1])
    shutil.rmtree(out)

    second = sweep(*arguments)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Trials    2: 1 finished, 0 failed, 1 to run" in second.stdout
    trained = [int(n) for n in re.findall(r"all layers trained: epoch (\d+)/25:", second.stdout)]
    assert trained[0] >= epochs - 1 >= 2
    assert [row.status for row in read_results(out).results] == [COMPLETE] * 2
    assert storage.names("checkpoints") == []
    assert len(storage.names("probabilities")) == 2

    analysis = [sys.executable, "-m", "analysis.run", f"{place}/mine", "--out", f"{place}/report"]
    report = subprocess.run(analysis, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stderr
    pages = {name: Storage(bucket).get(name) or b"" for name in Storage(bucket).names("report")}
    assert "report/index.html" in pages

    assert "Kept at   s3://***:***@" in second.stdout
    assert "geheim" not in log.read_text() + second.stdout + second.stderr + report.stdout + report.stderr
    kept = {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert [name for name, content in (pages | kept).items() if b"geheim" in content] == []


def test_a_bucket_that_is_not_there_is_refused_before_anything_starts(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--storage", f"{bucket}-of-others", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert re.search(r"error: --storage must be a place that can be written to: .* the bucket must exist", said)
