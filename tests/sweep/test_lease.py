"""One driver a results folder, and a study: whoever else comes is refused while it lives."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from galaxytl.data import locations
from galaxytl.data.locations import without_secrets
from galaxytl.storage import Storage
from sweep import lease as lease_module
from sweep.lease import FILE_NAME, Lease, LeaseError, Place, in_folder, in_storage
from sweep.search import Search
from sweep.search_study import lease_of, open_study
from tests.galaxies import make_bucket, s3_server
from tests.sweep.searches import make_problem, run_sequentially
from tests.sweep.sweeps import ROOT, is_lost, suspend_between_writes, wait_for

pytestmark = pytest.mark.usefixtures("databases_closed")


HOLDER = """
import sys, time
from pathlib import Path
from sweep.lease import Lease, LeaseError, in_folder
place = sys.argv[1]
if "://" in place:
    from sweep.search_study import lease_of, open_study
    record = lease_of(open_study(place, "toy", ["maximize"], {}))
else:
    record = in_folder(Path(place))
try:
    with Lease(record, beat_seconds=0.1) as lease:
        print("held", flush=True)
        while True:
            time.sleep(0.01)
            lease.check()
except LeaseError as error:
    sys.exit(str(error))
"""
"""A program that holds the lease of a folder or study, as a driver does, until another has taken over."""


def kept_at(place: str) -> Place:
    return lease_of(open_study(place, "toy", ["maximize"], {})) if "://" in place else in_folder(Path(place))


def folder_of(place: str) -> Path:
    return Path("/" + place.partition("://")[2].lstrip("/")).parent if "://" in place else Path(place)


def held(place: str) -> dict[str, Any]:
    return dict(kept_at(place).read() or {})


@pytest.fixture(params=["", "sqlite://", "journal://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A results folder, or the URL of a study."""
    (tmp_path / "out").mkdir()
    return f"{request.param}/{tmp_path}/study" if request.param else str(tmp_path / "out")


@contextlib.contextmanager
def held_by_another_process(place: str, *before: str) -> Iterator[subprocess.Popen[str]]:
    """`before`: of the command line, as what gives the process a host of its own."""
    command = [*before, sys.executable, "-c", HOLDER, place]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_driver_is_refused_while_the_first_lives(place: str) -> None:
    notes: list[str] = []
    with held_by_another_process(place) as process:
        with pytest.raises(LeaseError) as caught, Lease(kept_at(place), notes.append, beat_seconds=0.5):
            pytest.fail("there were two drivers")
        assert process.poll() is None
    rule, what, option = "may write to a results folder", place, "--out"
    if "://" in place:
        rule, what, option = "may lead a study", "'toy'", "--study"
    leader = f"process {process.pid} on {os.uname().nodename}"
    assert str(caught.value) == (
        f"one driver at a time {rule}; {what} is led by {leader}. Wait for it, stop it, or choose another {option}"
    )
    assert notes == [f"note: {what} was led by {leader}: watching for 1.5 s whether it lives"]


def test_a_driver_that_was_killed_is_taken_over_at_once(place: str) -> None:
    with held_by_another_process(place) as process:
        suspend_between_writes(process.pid, folder_of(place))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with Lease(kept_at(place), pytest.fail, beat_seconds=60):  # whether a process of this host lives can be seen
            assert held(place)["pid"] == os.getpid()


def test_a_suspended_driver_is_taken_over_and_stops_when_it_wakes(place: str) -> None:
    with held_by_another_process(place) as process:
        suspend_between_writes(process.pid, folder_of(place))
        with Lease(kept_at(place), beat_seconds=0.3) as lease:
            assert held(place)["pid"] == os.getpid()
            os.kill(process.pid, signal.SIGCONT)
            said = process.communicate(timeout=120)[1]
            lease.check()
            assert held(place)["pid"] == os.getpid()
    assert process.returncode == 1
    assert f"process {os.getpid()} on {os.uname().nodename} has taken " in said
    assert "as this one was suspended or cut off for long. It stops here; what it had finished is kept" in said
    assert "Traceback" not in said


def test_a_last_beat_of_a_driver_that_was_taken_for_dead_changes_nothing(place: str) -> None:
    """It was suspended between its look at the lease and its beat."""
    there = kept_at(place)
    there.write(values := {"owner": "other", "host": "elsewhere", "processes": "others", "pid": 7, "beat": 3})
    with Lease(kept_at(place), beat_seconds=0.1) as lease:
        there.write({**values, "beat": 4})
        wait_for(lambda: held(place)["pid"] == os.getpid(), "the lease to be its again")
        time.sleep(0.1)
        lease.check()
        third = {**values, "owner": "a third"}
        # Again and again: it may be between its look and its own beat, which then comes later.
        wait_for(lambda: there.write(third) or is_lost(lease.stop_if_lost), "it to notice that another leads")
    assert held(place)["owner"] == "a third"


@pytest.mark.parametrize("beats", [True, False])
def test_a_driver_on_another_host_counts_while_it_beats(place: str, beats: bool) -> None:
    """Its process cannot be looked at from here; that its pid is alive, or not, here says nothing."""
    there, stop = kept_at(place), threading.Event()
    values = {"owner": "other", "host": "elsewhere", "processes": "others", "pid": 2**22 + 1, "beat": 0}
    there.write(values)

    def beat() -> None:
        count = 0
        while beats and not stop.wait(0.05):
            count += 1
            there.write({**values, "beat": count})

    other = threading.Thread(target=beat)
    other.start()
    try:
        if beats:
            with (
                pytest.raises(LeaseError, match="led by process 4194305 on elsewhere"),
                Lease(kept_at(place), beat_seconds=0.3),
            ):
                pytest.fail("there were two drivers")
        else:
            started = time.monotonic()
            with Lease(kept_at(place), beat_seconds=0.3):
                assert time.monotonic() - started > 3 * 0.3
    finally:
        stop.set()
        other.join()


ANOTHER_HOST = (
    "unshare",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    'hostname elsewhere; exec "$@"',
    "sh",
)


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*ANOTHER_HOST, "true"], check=False).returncode > 0,
    reason="no namespaces may be made here",
)
def test_a_driver_among_other_processes_is_watched_though_its_pid_is_nobodys_here(tmp_path: Path) -> None:
    """As on another host, or in a container: its pid is 1 there. Here 1 lives, and is none of ours."""
    with held_by_another_process(str(tmp_path), *ANOTHER_HOST) as process:
        assert (held(str(tmp_path))["host"], held(str(tmp_path))["pid"]) == ("elsewhere", 1)
        with (
            pytest.raises(LeaseError, match="led by process 1 on elsewhere"),
            Lease(kept_at(str(tmp_path)), beat_seconds=0.5),
        ):
            pytest.fail("there were two drivers")
        process.kill()
        process.wait()
        started = time.monotonic()
        with Lease(kept_at(str(tmp_path)), beat_seconds=0.3):
            assert time.monotonic() - started > 3 * 0.3


def test_a_lease_beats_and_ends(place: str) -> None:
    with Lease(kept_at(place), beat_seconds=0.02) as lease:
        wait_for(lambda: held(place)["beat"] >= 3, "three beats")
        assert "ended" not in held(place)
        lease.check()
    assert held(place)["ended"] is True
    with Lease(kept_at(place), pytest.fail, beat_seconds=60):  # one that has ended is not waited for
        assert "ended" not in held(place)


def test_a_driver_that_ends_while_it_is_watched_is_followed_at_once(tmp_path: Path) -> None:
    with contextlib.ExitStack() as first:
        first.enter_context(Lease(in_folder(tmp_path), beat_seconds=60))
        threading.Timer(0.3, first.close).start()
        started = time.monotonic()
        with Lease(in_folder(tmp_path), beat_seconds=10):
            assert time.monotonic() - started < 15  # of 30 in which it would be watched


def test_at_a_storage_the_dead_are_watched_for_longer_than_a_beat_can_be_under_way(tmp_path: Path) -> None:
    longest = 3 * (locations.CONNECT_SECONDS + locations.REQUEST_SECONDS)
    place = in_storage(Storage(str(tmp_path)))
    assert place.beats_of_the_dead * lease_module.BEAT_SECONDS > longest
    place.write({"owner": "other", "host": "elsewhere", "processes": "others", "pid": 1, "beat": 7})
    started = time.monotonic()
    with Lease(place, beat_seconds=0.1):
        assert time.monotonic() - started > 0.1 * place.beats_of_the_dead


def test_what_is_in_lease_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep/run.py", "--storage", "postgresql://user:secret@host/db", "--out", "a b"])
    with Lease(in_folder(tmp_path)):
        values = json.loads((tmp_path / FILE_NAME).read_text())
    assert set(values) == {"owner", "host", "processes", "pid", "command", "beat"}
    assert values["host"] == os.uname().nodename
    assert values["command"] == "sweep/run.py --storage postgresql://user:***@host/db --out 'a b'"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("run --storage mysql://me:p%40ss@host/db --trials 3", "run --storage mysql://me:***@host/db --trials 3"),
        (
            "run --storage 'postgresql://host/db?user=me&password=geheim&x=1'",
            "run --storage 'postgresql://host/db?user=me&password=***&x=1'",
        ),
        ("run --data s3://bucket/a@b --address host:6379", "run --data s3://bucket/a@b --address host:6379"),
    ],
)
def test_passwords_are_not_kept(command: str, kept: str) -> None:
    assert without_secrets(command) == kept


@pytest.mark.parametrize("text", ["", '{"owner": "oth', "[1]", "{}"])
def test_a_damaged_lease_is_watched_like_any_other(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    notes: list[str] = []
    with Lease(in_folder(tmp_path), notes.append, beat_seconds=0.1):
        assert held(str(tmp_path))["pid"] == os.getpid()
    assert "was led by process (unknown) on (unknown): watching" in notes[0]


def test_a_driver_whose_storage_failed_for_a_while_still_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "SETTLE_SECONDS", 0)
    out = tmp_path / "out"
    out.mkdir()
    with Lease(in_folder(out), beat_seconds=0.05) as lease:
        beat = held(str(out))["beat"]
        out.rename(tmp_path / "away")
        out.write_text("not a folder")
        time.sleep(0.3)
        with pytest.raises(NotADirectoryError):  # whether it leads cannot be said: no row now
            lease.check()
        lease.stop_if_lost()
        out.unlink()
        (tmp_path / "away").rename(out)
        lease.check()
        wait_for(lambda: held(str(out))["beat"] > beat + 1, "beats to go on")


def test_at_an_s3_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        uri = f"{make_bucket(url, 'led')}/paper"

        def lease(seconds: float) -> Lease:
            return Lease(in_storage(Storage(uri)), beat_seconds=seconds)

        with lease(0.1) as first:
            with (
                pytest.raises(LeaseError, match=f"{uri} is led by process {os.getpid()} on .* another --out NAME"),
                lease(2),
            ):
                pytest.fail("there were two drivers")
            first.check()
        with lease(60) as second:
            second.check()
            in_storage(Storage(uri)).write({"owner": "another", "host": "elsewhere", "pid": 7})
            second._looked_at = -float("inf")  # as after a beat
            second.check()  # looks at nothing: the storage may be away
            with pytest.raises(LeaseError, match=f"process 7 on elsewhere has taken {uri} over"):
                second.confirm()
        assert (in_storage(Storage(uri)).read() or {})["owner"] == "another"


AT_ONCE = "import pathlib, sys\nwhile not pathlib.Path(sys.argv[2]).exists(): pass\n"
AT_ONCE += HOLDER.replace("beat_seconds=0.1", "beat_seconds=1")  # a beat comes before one is taken for dead


@pytest.mark.parametrize("kind", ["", "sqlite:///"])
def test_of_three_that_come_at_once_one_leads(kind: str, tmp_path: Path) -> None:
    place = f"{kind}{tmp_path}/study" if kind else str(tmp_path)
    kept_at(place)
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    with contextlib.ExitStack() as ending:
        processes = []
        for log in logs:
            command = [sys.executable, "-c", AT_ONCE, place, str(tmp_path / "go")]
            with log.open("wb") as file:
                processes.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT))
            ending.callback(processes[-1].wait)
            ending.callback(processes[-1].kill)
        (tmp_path / "go").touch()
        wait_for(lambda: sum(process.poll() is not None for process in processes) == 2, "two to be refused")
        (leader,) = [process for process in processes if process.poll() is None]
        assert held(place)["pid"] == leader.pid
    for process, log in zip(processes, logs, strict=True):
        if process is not leader:  # refused, or, where it was slow between reading and writing, overtaken
            assert f"process {leader.pid} on" in log.read_text()
        assert "Traceback" not in log.read_text()


def test_beats_and_trials_from_two_threads_do_not_lock_each_other_out(url: str) -> None:
    study = open_study(url, "toy", ["maximize"], {})
    with Lease(lease_of(study), beat_seconds=0.001):
        specs = run_sequentially(Search(study, make_problem(num_trials=20)))
    assert len(specs) == 20
    assert study.user_attrs["driver"]["ended"] is True
