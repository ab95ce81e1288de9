"""One driver a results folder, and a study: whoever else comes is refused while it lives.

Most of it under a clock of the test's own (`tests.sweep.drivers`). What starts a process shows what that cannot: that
a real one's signals, pid and namespaces mean to the lease what they should.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.results.storage import Storage
from galaxytl.system import locations
from galaxytl.system.locations import without_secrets
from sweep.results import lease as lease_module
from sweep.results.lease import FILE_NAME, Lease, LeaseError, Place, in_folder, in_storage, is_dead, process_table
from tests.sweep.drivers import World, plant
from tests.sweep.sweeps import ROOT, suspend_between_writes, wait_for

pytestmark = pytest.mark.usefixtures("databases_closed")

OTHER = {"owner": "other", "host": "elsewhere", "processes": "others", "pid": 7, "beat": 3}


def held(place: Place) -> dict[str, Any]:
    return dict(place.read() or {})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# Under a clock of the test's own


EVENTS = {
    "suspend": ("is_running", False),
    "wake": ("is_running", True),
    "kill": ("is_alive", False),
    "end": ("ends", True),
}
CALM, WILD = ("here", "elsewhere", "kill", "end"), ("here", "elsewhere", *EVENTS, "suspend", "wake")
"""What happens: a driver comes on one of two hosts, or something to one that is there."""


def events(kinds: Sequence[str]) -> st.SearchStrategy[list[tuple[str, int, float]]]:
    """Each with the number of a driver, and the seconds until the next."""
    seconds = st.sampled_from((0, 0.25, 1, 6, 17, 40))
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 3), seconds), max_size=12)


def run(world: World, seconds: float) -> None:
    for _ in range(int(seconds / 0.25)):
        world.run(0.25)
        assert sum(driver.leads for driver in world.drivers) <= 1


@given(events(CALM) | events(WILD), st.sampled_from((0.4, 30)), st.integers(0, 1000))
@settings(max_examples=50)
def test_whatever_happens_to_drivers_one_leads(
    tmp_path_factory: pytest.TempPathFactory, happens: list[tuple[str, int, float]], row_seconds: float, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("led")
    with World(in_folder(folder), seed, row_seconds) as world:
        world.come()
        for what, number, seconds in [*happens, *(("wake", number, 0) for number in range(13)), ("", 0, 30)]:
            if what in EVENTS:
                setattr(world.drivers[number % len(world.drivers)], *EVENTS[what])
            elif what:
                world.come(what)
            if what == "wake":  # who writes looks after a fifth of a beat, others with the next beat
                world.run(1.5 if row_seconds < 1 else 6.5)
            run(world, seconds)
        if not any(driver.leads for driver in world.drivers):
            world.come()
            run(world, 20)
        (leader,) = [driver for driver in world.drivers if driver.leads]
        assert held(in_folder(folder))["pid"] == leader.pid
        assert [path.name for path in folder.iterdir()] == [FILE_NAME]
        if "suspend" not in [what for what, *_ in happens]:
            assert not any("has taken" in driver.said for driver in world.drivers)


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_second_driver_is_refused_while_the_first_lives(out: Path, host: str) -> None:
    with World(in_folder(out)) as world:
        first = world.come(host)
        world.run(7)
        second = world.come()
        world.run(16)
        assert (first.leads, second.rows) == (True, [])
    assert second.notes == [f"note: {out} was led by process 1 on {host}: watching for 15 s whether it lives"]
    assert second.said == (
        f"one driver at a time may write to a results folder; {out} is led by process 1 on {host}. "
        "Wait for it, stop it, or choose another --out"
    )


FOLDER, STORAGE = in_folder, lambda folder: in_storage(Storage(str(folder)))


@pytest.mark.parametrize(
    ("fate", "host", "make", "seconds"),
    [
        ("kill", "here", FOLDER, 0),  # whether a process of this host lives can be seen
        ("end", "elsewhere", FOLDER, 0),
        ("kill", "elsewhere", FOLDER, 15),
        ("suspend", "here", FOLDER, 15),
        ("suspend", "elsewhere", STORAGE, 60),
    ],
)
def test_how_long_it_is_watched_whether_a_driver_lives(
    out: Path, fate: str, host: str, make: Callable[[Path], Place], seconds: float
) -> None:
    with World(make(out)) as world:
        first = world.come(host)
        world.run(16)
        assert held(make(out))["beat"] == 3
        setattr(first, *EVENTS[fate])
        world.run(1)
        came, second = world.now, world.come()
        world.run(80)
        assert second.leads
        assert came + seconds <= (second.led_from or 0) < came + seconds * 1.3 + 1
        assert bool(second.notes) == bool(seconds)
        rows = len(first.rows)
        first.is_running = True
        world.run(6)
        assert held(make(out))["pid"] == second.pid
        if fate == "suspend":
            assert f"process 2 on here has taken {out} over, as this one was suspended or cut off for lo" in first.said
    assert len(first.rows) == rows or make is STORAGE


def test_a_last_beat_of_a_driver_that_was_taken_for_dead_changes_nothing(out: Path) -> None:
    """It was suspended between its look at the lease and its beat."""
    place = in_folder(out)
    plant(place, OTHER)
    with World(place) as world:
        driver = world.come()
        world.run(17)
        assert driver.leads
        plant(place, {**OTHER, "beat": 4})
        world.run(6)
        assert driver.leads
        assert held(place)["pid"] == driver.pid
        plant(place, {**OTHER, "owner": "a third"})
        world.run(6)
        assert "process 7 on elsewhere has taken" in driver.said
    assert held(place)["owner"] == "a third"


@pytest.mark.parametrize("make", [FOLDER, STORAGE])
@pytest.mark.parametrize("seed", range(10))
def test_of_drivers_that_come_at_once_one_leads_however_long_their_writes_take(
    out: Path, make: Callable[[Path], Place], seed: int
) -> None:
    with World(make(out), seed) as world:
        world.slowest = 3.0
        drivers = [world.come(host) for host in ("here", "here", "elsewhere")]
        run(world, 60)
        assert [driver.leads for driver in drivers].count(True) == 1
        assert sum(driver.led_from is not None for driver in drivers) == 1
        assert held(make(out))["generation"] == 1


def test_a_driver_that_ends_while_it_is_watched_is_followed_at_once(out: Path) -> None:
    with World(in_folder(out)) as world:
        first = world.come("elsewhere")
        world.run(7)
        second = world.come()
        world.run(2)
        first.ends = True
        world.run(2)
        assert second.leads


@pytest.mark.parametrize("make", [FOLDER, STORAGE])
@pytest.mark.parametrize("text", ["", "[1]", "{}"])
def test_a_damaged_lease_is_watched_like_any_other(out: Path, make: Callable[[Path], Place], text: str) -> None:
    (out / FILE_NAME).write_text(text)
    with World(make(out)) as world:
        driver = world.come()
        world.run(80)
        assert driver.leads
    assert "was led by process (unknown) on (unknown): watching" in driver.notes[0]


def test_a_driver_whose_storage_failed_for_a_while_still_leads(out: Path) -> None:
    with World(in_folder(out)) as world:
        driver = world.come()
        world.run(7)
        out.rename(out.with_name("away"))
        out.write_text("not a folder")
        world.run(20)
        assert driver.rows[-10:] == [-1] * 10  # whether it leads cannot be said: no row now
        out.unlink()
        out.with_name("away").rename(out)
        world.run(20)
        assert driver.leads
        assert driver.rows[-10] > 27
        assert held(in_folder(out))["beat"] == 9


# Under the machine's clock, in threads


def test_a_lease_beats_and_ends(out: Path) -> None:
    """Another driver reads it where it is kept."""
    place, other = in_folder(out), in_folder(out)
    assert other.read() is None
    with Lease(place, beat_seconds=0.02) as lease:
        wait_for(lambda: held(other)["beat"] >= 3, "three beats")
        assert "ended" not in held(other)
        lease.check()
    assert held(other)["ended"] is True
    with Lease(other, pytest.fail, beat_seconds=60):  # one that has ended is not waited for
        assert "ended" not in held(place)
    assert (place.rule, place.what, place.option) == ("may write to a results folder", str(out), "--out")


def test_a_driver_goes_on_while_a_storage_is_away_and_confirms_before_it_stores(out: Path) -> None:
    place = in_storage(Storage(str(out)))
    longest = 3 * (locations.CONNECT_SECONDS + locations.REQUEST_SECONDS)  # in which a beat may be under way
    assert place.beats_of_the_dead * lease_module.BEAT_SECONDS > longest
    with Lease(place, beat_seconds=60) as lease:
        lease.confirm()
        plant(place, OTHER)
        lease.check()  # looks at nothing: the storage may be away
        with pytest.raises(LeaseError, match=rf"at a storage; process 7 on elsewhere has taken {out} over"):
            lease.confirm()
    assert held(place) == OTHER
    assert place.option == "--out NAME"


def test_a_lease_is_given_back_where_nothing_was_written_under_it(out: Path) -> None:
    """The one before may live; but not for a driver that has written, or has come to its end."""
    place = in_folder(out)

    def fail(writes: bool) -> None:
        with Lease(place, beat_seconds=0.01) as lease:
            if writes:
                lease.check()
            raise KeyboardInterrupt

    for writes, owner, generation in ((False, "other", 2), (True, None, 3)):
        plant(place, {**OTHER, "generation": 0} if not writes else held(place))
        with pytest.raises(KeyboardInterrupt):
            fail(writes)
        assert held(place).get("ended", False) is writes
        assert held(place)["generation"] == generation
        assert owner in (None, held(place)["owner"])


def test_a_lease_that_may_have_been_taken_is_given_back(out: Path) -> None:
    """Its write was done, and the answer lost; or the disk was full, and nothing was done."""
    place = in_folder(out)
    for is_done, generation in ((True, 2), (False, 0)):

        def change(expected: Any, values: Any, is_done: bool = is_done) -> bool:
            if values["owner"] == "other" or is_done:
                place.replace(expected, values)
            if values["owner"] == "other":
                return True
            raise OSError(errno.ENOSPC, "the disk is full")

        plant(place, {**OTHER, "generation": 0})
        with pytest.raises(OSError, match="full"), Lease(replace(place, replace=change), beat_seconds=0.01):
            pytest.fail("it was not taken")
        assert held(place) == {**OTHER, "generation": generation}


def test_what_is_in_lease_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep/run.py", "--storage", "postgresql://user:secret@host/db", "--out", "a b"])
    with Lease(in_folder(tmp_path)):
        values = json.loads((tmp_path / FILE_NAME).read_text())
    assert set(values) == {"owner", "host", "processes", "pid", "command", "generation", "beat"}
    assert (values["host"], values["pid"]) == (os.uname().nodename, os.getpid())
    assert values["command"] == "sweep/run.py --storage postgresql://user:***@host/db --out 'a b'"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_passwords_are_not_kept() -> None:
    for secret in ("mysql://me:geheim@host/db", "'postgresql://host/db?user=me&password=geheim&x=1'"):
        assert without_secrets(f"run --storage {secret} --trials 3") == f"run --storage {secret} --trials 3".replace(
            "geheim", "***"
        )
    assert without_secrets("run --data s3://b/a@b --address host:6379") == "run --data s3://b/a@b --address host:6379"


# Real processes


def test_a_process_of_this_host_is_dead_when_it_has_gone() -> None:
    process = subprocess.Popen(["sleep", "600"])
    there = {"pid": process.pid, "processes": process_table()}
    try:
        assert not is_dead(there)
        assert is_dead({**there, "ended": True})
    finally:
        process.kill()
        process.wait()
    assert is_dead(there)
    assert not is_dead({**there, "processes": "of another host, or container"})
    assert not is_dead({**there, "pid": 1})  # somebody else's lives too


ANOTHER_HOST = ("unshare", "--uts", "--pid", "--fork", "--kill-child")


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*ANOTHER_HOST, "true"], check=False).returncode > 0,
    reason="no namespaces may be made here",
)
def test_processes_of_a_container_are_not_taken_for_ours() -> None:
    """As its first process has the pid 1; here 1 lives, and is none of ours."""
    program = "import os; from sweep.results.lease import process_table; print(os.getpid(), process_table())"
    command = [*ANOTHER_HOST, sys.executable, "-c", program]
    pid, there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(maxsplit=1)
    assert pid == "1"
    assert there.strip() != process_table()


HOLDER = """
import sys, time
from pathlib import Path
from sweep.results.lease import Lease, LeaseError, in_folder
try:
    with Lease(in_folder(Path(sys.argv[1])), beat_seconds=0.1) as lease:
        print("held", flush=True)
        while True:
            time.sleep(0.01)
            lease.check()
except LeaseError as error:
    sys.exit(str(error))
"""


def test_a_suspended_driver_is_taken_over_and_stops_when_it_wakes(out: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            suspend_between_writes(process.pid, out)
            with Lease(in_folder(out), beat_seconds=0.3) as lease:
                os.kill(process.pid, signal.SIGCONT)
                said = process.communicate(timeout=120)[1]
                lease.check()
                assert held(in_folder(out))["pid"] == os.getpid()
        finally:
            process.kill()
    assert process.returncode == 1
    assert f"process {os.getpid()} on {os.uname().nodename} has taken " in said
    assert "Traceback" not in said


# A lease that somebody else has written


STRANGE_PIDS = (-1, 0, -(2**31), 2**31, 10**400, True, 1.5, "7", "\x1b[31m", None, [1], {"pid": 1})


@pytest.mark.parametrize("pid", STRANGE_PIDS)
def test_no_signal_goes_to_what_is_no_process(pid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """os.kill takes -1 for every process of the user."""
    asked: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: asked.append(arguments))
    assert not is_dead({"owner": "other", "processes": process_table(), "pid": pid})
    assert asked == []


STRANGE = (
    '{"pid": 1, "host": "\\u001b[31m\\u202e%s"}' % ("x" * 10**4),
    "[" * 100_000,
    "7",
    "null",
    '"\\ud800"',
    "\xff",
    "{}",
)


@pytest.mark.parametrize("content", STRANGE)
def test_a_strange_lease_is_watched_and_shown(out: Path, content: str) -> None:
    (out / FILE_NAME).write_bytes(content.encode("latin-1"))
    said: list[str] = []
    with Lease(in_folder(out), said.append, beat_seconds=0.02):
        pass
    assert all(line.isprintable() and len(line) < 400 + len(str(out)) for line in said)


@pytest.mark.parametrize("number", [-5, True, 1e3, "7", None, [], 10**12, 10**13, 10**4000])
@pytest.mark.parametrize("make", [FOLDER, STORAGE])
def test_a_strange_generation_is_none(out: Path, make: Callable[[Path], Place], number: Any) -> None:
    place = make(out)
    plant(place, {**OTHER, "ended": True, "generation": number})
    with Lease(place, beat_seconds=0.02) as lease:
        assert lease.generation in (1, int(True) + 1, 10**12 + 1)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "message"), [(os.mkfifo, "is none"), (Path.mkdir, "is none"), (make_link, "is a link")]
)
def test_a_lease_that_is_no_file_is_not_waited_for(out: Path, make: Callable[[Path], object], message: str) -> None:
    make(out / FILE_NAME)
    with pytest.raises(OSError, match=rf"{FILE_NAME} {message}\. Remove it"), Lease(in_folder(out), beat_seconds=0.02):
        pytest.fail("it was taken")


def test_an_empty_file_of_rows_that_was_there_stays(out: Path) -> None:
    """Somebody may have opened it, to write to it."""
    with (out / "trials.jsonl").open("ab") as file:
        with Lease(in_folder(out), beat_seconds=0.02):
            pass
        file.write(b"row")
    assert (out / "trials.jsonl").read_bytes() == b"row"
