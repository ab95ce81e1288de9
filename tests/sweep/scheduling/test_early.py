"""Ray that starts while a sweep is planned: which thread starts and ends it, and what an error waits for."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep import prepare
from sweep.scheduling import cluster, tune
from sweep.scheduling.early import early
from sweep.scheduling.resources import Available, ClusterError, Resources, Where

WHERE = Where(None, None, None, Path("sweep.log"))
HERE = Available((Resources(2, 0),))
GROWN = Available((Resources(2, 0), Resources(4, 1)))
BEGIN_RAY = prepare.begin_ray
"""Itself: `tests/sweep/conftest.py` has tests do without."""


class SlowRay:
    """A cluster that is up when `goes_on` is set; what happened to it, and in which thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.goes_on, self.error = Event(), error
        self.events: list[str] = []
        self.threads: set[threading.Thread] = set()
        monkeypatch.setattr(cluster, "cluster", self._cluster)
        monkeypatch.setattr(cluster, "available_now", lambda: GROWN)

    @contextlib.contextmanager
    def _cluster(self, address: str | None, log: Path, note: object) -> Iterator[Available]:
        self._happens(f"starts at {address}" if address else "starts")
        self.goes_on.wait()
        if self.error:
            raise self.error
        self._happens("is up")
        try:
            yield HERE
        finally:
            self._happens("ends")

    def _happens(self, what: str) -> None:
        self.events.append(what)
        self.threads.add(threading.current_thread())


def test_one_thread_starts_ray_and_ends_it_after_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux kills Ray's processes with the thread that made them."""
    ray = SlowRay(monkeypatch)
    with early(WHERE) as where:
        assert where.early
        assert not where.early.is_free
        where.early.begin()
        where.early.begin()
        assert where.early.is_free
        ray.goes_on.set()
        with where.early.cluster(lambda _: None) as available:
            assert available == GROWN, "nodes may come while the sweep is planned"
            assert ray.events == ["starts", "is up"]
        assert ray.events == ["starts", "is up", "ends"]
        assert not where.early.is_free, "a next round starts another"
    assert len(ray.threads) == 1
    assert threading.main_thread() not in ray.threads


def test_what_is_never_begun_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)
    with early(WHERE):
        pass
    assert ray.events == []


def test_one_connection_serves_plan_and_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)
    ray.goes_on.set()
    with early(replace(WHERE, address="head:6379")) as where:
        BEGIN_RAY(where, num_rows=3, num_trials=3)
        assert ray.events == [], "nothing is left to run"
        BEGIN_RAY(where, num_rows=2, num_trials=3)
        assert prepare.find_nodes(where) == HERE
        assert where.early
        with where.early.cluster(lambda _: None) as available:
            assert available == GROWN
        assert prepare.find_nodes(where) == HERE, "a search plans in a next round too"
    assert ray.events == ["starts at head:6379", "is up", "ends"]


@pytest.mark.parametrize("error", [ValueError("no image can be read"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_error_of_the_plan_ends_the_start_that_is_under_way(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = SlowRay(monkeypatch)

    def plan() -> None:
        with early(WHERE) as where:
            assert where.early
            where.early.begin()
            threading.Timer(0.1, ray.goes_on.set).start()
            raise error

    with pytest.raises(type(error)):
        plan()
    assert ray.events == ["starts", "is up", "ends"]


def test_a_start_that_fails_says_so_where_ray_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch, error=ClusterError("no Ray cluster could be used"))
    ray.goes_on.set()
    with early(WHERE) as where:
        assert where.early
        where.early.begin()
        with pytest.raises(ClusterError, match="could be used"), where.early.cluster(lambda _: None):
            pass


def train(group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    yield from (TrialResult(spec=spec, status=COMPLETE) for spec in group.specs)


@pytest.mark.rest
@pytest.mark.alone
def test_trials_run_on_the_ray_that_was_begun(tmp_path: Path) -> None:
    """In worker processes that live as long as the thread that started Ray; none is left (the fixture looks)."""
    results: list[TrialResult] = []
    groups = [Group((TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed),)) for seed in range(2)]
    reporter = tune.Reporter(lambda _: None, lambda _: None, lambda *ended: results.extend(ended), lambda _: None)
    with early(replace(WHERE, log=tmp_path / "sweep.log")) as where:
        BEGIN_RAY(where, num_rows=0, num_trials=2)
        tune.run_trials(tune.Work(iter(groups), 2), Workplace("simulated", tmp_path), where, reporter, train)
        assert where.early
        assert not where.early.is_free
    assert [result.status for result in results] == [COMPLETE, COMPLETE]
    log = where.log.read_text()
    assert re.search(r"^Seconds: plan [\d.]+ s, Ray [\d.]+ s, .*, shutdown [\d.]+ s$", log, re.MULTILINE), log


STORY = """
import sys, time
from pathlib import Path
from galaxytl.system.command import run_command
from sweep.scheduling.early import early
from sweep.scheduling.resources import Where

def story():
    with early(Where(None, None, None, Path(sys.argv[1]))) as where:
        where.early.begin()
        if sys.argv[2] == "waits":
            where.early._is_up.wait()
        print("planning", flush=True)
        time.sleep(600)

sys.exit(run_command(story))
"""


@pytest.mark.rest
@pytest.mark.alone
@pytest.mark.parametrize("ray", ["starts", "waits"])
def test_a_signal_while_the_sweep_is_planned_leaves_no_process(ray: str, tmp_path: Path) -> None:
    """The fixture that looks for processes after each test sees Ray's. With Ray's own handler of SIGTERM in place of
    Python's, the driver would end by the signal itself, and leave Ray's files."""
    command = [sys.executable, "-c", STORY, str(tmp_path / "sweep.log"), ray]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == "planning\n"
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=120) == 128 + signal.SIGTERM
