"""One driver a study: whoever else comes is refused while it lives."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweep import search_study
from sweep.search import Search
from sweep.search_study import Lease, StudyError, open_study
from tests.sweep.searches import make_problem, run_sequentially
from tests.sweep.sweeps import ROOT, wait_for

pytestmark = pytest.mark.usefixtures("databases_closed")


HOLDER = """
import sys, time
from sweep.search_study import Lease, open_study
study = open_study(sys.argv[1], "toy", ["maximize"], {})
with Lease(study, beat_seconds=0.1):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_by_another_process(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def led(url: str) -> optuna.Study:
    return open_study(url, "toy", ["maximize"], {})


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:///"])
def test_a_second_driver_is_refused_while_the_first_lives(kind: str, tmp_path: Path) -> None:
    url = f"{kind}{tmp_path}/study"
    with held_by_another_process(url) as process:
        with pytest.raises(StudyError) as caught, Lease(led(url), beat_seconds=0.5):
            pytest.fail("there were two drivers")
        assert str(caught.value) == (
            f"one driver at a time may lead a study; 'toy' is led by process {process.pid} on {os.uname().nodename}. "
            "Wait for it, stop it, or choose another --study"
        )


def test_a_driver_that_was_killed_is_taken_over_at_once(url: str) -> None:
    with held_by_another_process(url) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        started = time.monotonic()
        with Lease(led(url), beat_seconds=60):  # whether a process of this host lives can be seen
            assert time.monotonic() - started < 10
            assert led(url).user_attrs["driver"]["pid"] == os.getpid()


def test_a_driver_that_hangs_is_taken_over_when_its_beats_stop(url: str) -> None:
    with held_by_another_process(url) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with Lease(led(url), beat_seconds=0.3):
            assert led(url).user_attrs["driver"]["pid"] == os.getpid()


@pytest.mark.parametrize("beats", [True, False])
def test_a_driver_on_another_host_counts_while_it_beats(url: str, beats: bool) -> None:
    """Its process cannot be looked at from here; that its pid is alive here says nothing."""
    study, stop = led(url), threading.Event()
    study.set_user_attr("driver", {"id": "other", "host": "elsewhere", "pid": os.getpid(), "beats": 0})

    def beat() -> None:
        count = 0
        while beats and not stop.wait(0.05):
            count += 1
            led_there.set_user_attr("driver", {"id": "other", "host": "elsewhere", "pid": 1, "beats": count})

    led_there = led(url)
    other = threading.Thread(target=beat)
    other.start()
    try:
        if beats:
            with pytest.raises(StudyError, match="led by process 1 on elsewhere"), Lease(study, beat_seconds=0.3):
                pytest.fail("there were two drivers")
        else:
            started = time.monotonic()
            with Lease(study, beat_seconds=0.3):
                assert time.monotonic() - started > 3 * 0.3
    finally:
        stop.set()
        other.join()


def test_a_lease_beats_and_ends(url: str) -> None:
    study = led(url)
    with Lease(study, beat_seconds=0.02):
        wait_for(lambda: led(url).user_attrs["driver"]["beats"] >= 3, "three beats", 10)
        assert "ended" not in study.user_attrs["driver"]
    assert study.user_attrs["driver"]["ended"] is True
    with Lease(study, beat_seconds=60):  # one that has ended is not waited for
        pass


AT_ONCE = f"import pathlib, sys\nwhile not pathlib.Path(sys.argv[2]).exists(): pass\n{HOLDER}"


def test_of_three_that_come_at_once_one_leads(url: str, tmp_path: Path) -> None:
    led(url)
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    with contextlib.ExitStack() as ending:
        processes = []
        for log in logs:
            command = [sys.executable, "-c", AT_ONCE, url, str(tmp_path / "go")]
            with log.open("wb") as file:
                processes.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT))
            ending.callback(processes[-1].wait)
            ending.callback(processes[-1].kill)
        (tmp_path / "go").touch()
        wait_for(lambda: sum(process.poll() is not None for process in processes) == 2, "two to be refused", 60)
        (leader,) = [process for process in processes if process.poll() is None]
        assert led(url).user_attrs["driver"]["pid"] == leader.pid
    texts = sorted(log.read_text() for log in logs)
    assert [f"is led by process {leader.pid}" in text for text in texts] == [True, True, False]
    assert texts[2] == "held\n"


def test_beats_and_trials_from_two_threads_do_not_lock_each_other_out(url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(search_study, "BUSY_SECONDS", 5)
    study = led(url)
    with Lease(study, beat_seconds=0.001):
        specs = run_sequentially(Search(study, make_problem(num_trials=20)))
    assert len(specs) == 20
    assert study.user_attrs["driver"]["ended"] is True
