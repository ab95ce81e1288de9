"""Sweeps that are hit by faults, once or twice each: work is really interrupted, and nothing is lost or done twice.

`make chaos` hits as often as the project promises to stand, and at random.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.results import read_results
from galaxytl.row_segments import read_rows
from galaxytl.storage import Storage
from tests.cluster import faults
from tests.cluster.hosts import why_not
from tests.cluster.lab import FAKETIME, lab
from tests.cluster.local import Sweep
from tests.cluster.object_store import object_store

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """On this machine, with a cache of its own."""
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    sweep = Sweep(tmp_path / "sweep", galaxies_file)
    yield sweep
    sweep.end()


def check(sweep: Sweep, resumed: int) -> None:
    """Every spec has one row, nothing was done twice, and so often or more a trial went on above step 0."""
    seen = sweep.seen()
    print(*seen.lines(), sep="\n")
    assert seen.violations == []
    assert (seen.rows, seen.failed) == (sweep.num_trials, {})
    assert seen.resumed >= resumed
    rows = read_results(sweep.out).results
    assert sum(len(row.resumed_after) for row in rows) >= resumed
    assert "Traceback" not in sweep.log.read_text()


def test_driver_killed_and_what_it_left_damaged(sweep: Sweep, tmp_path: Path) -> None:
    """Killed three times. Tune's state is cut in half, then gone, then as it was long before; the hot copy and the
    stored activations get other bytes, or are cut in half."""
    rng = random.Random(0)
    sweep.hold_back(0.2)
    for tune, damage, pattern in (
        ("truncated", faults.flip_bytes, "images/*/images.npy"),
        ("missing", faults.truncate, "features/*/activations.npy"),
        ("older", faults.truncate, "images/*/images.npy"),
    ):
        sweep.start()
        sweep.wait_for_epochs(15)
        sweep.kill_driver()
        if tune == "truncated":
            faults.remember_tune_state(sweep.out)
        faults.damage_tune_state(sweep.out, tune)
        damage(faults.one_of(tmp_path / "cache", pattern), rng)
    sweep.let_go()
    assert sweep.finish() == 0, sweep.said()
    check(sweep, resumed=3)


@pytest.mark.cluster
@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.skipif(not FAKETIME.exists(), reason="no wrong clock: apt-get install libfaketime")
@pytest.mark.timeout(1800)
def test_machines_die_are_cut_off_preempted_and_have_wrong_clocks() -> None:
    """One sweep on a head and two workers that share no results but by S3, one of them an hour ahead: the raylet of the
    other is killed; the one is cut off until it counts as dead, and comes back; the other is told that it must go, and
    goes; the storage is cut off; the head dies with the driver on it, and the same command goes on."""
    with lab(["worker2"]) as cluster:
        one, two = cluster.workers
        sweep = cluster.sweep("sweep", {"head_epochs": 400, "epochs": 90, "networks": 2}, stored=True)
        sweep.hold_back(1)
        sweep.start()
        for fault, host, more in (
            (cluster.kill_raylet, one, ()),
            (cluster.cut_off, two, (20,)),
            (cluster.preempt, one, (3,)),
        ):
            sweep.wait_for_epochs(8, host=host.name)
            before = sweep.seen().interruptions
            print(fault(host, *more))
            print(cluster.start_worker(host))
            sweep.wait_for_interruption(before)
        sweep.wait_for_epochs(8)
        print(cluster.cut_storage_off(10))
        sweep.wait_for_epochs(30)  # it has all checkpoints again
        print(cluster.kill_head())
        sweep.let_go()
        assert sweep.finish() == 0, sweep.said()
        check(sweep, resumed=5)
        hosts = {row.environment["host"] for row in read_results(sweep.out).results}
        assert hosts <= {"worker1", "worker2"}


def test_full_results_folder_stops_the_sweep_and_the_same_command_goes_on(sweep: Sweep, small_disk: Path) -> None:
    """The disk fills while trials run. Checkpoints stay as they are and training goes on, until what it ends with does
    not fit: that is no failure of a trial's."""
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)  # a network's checkpoint takes 13 MB
    sweep.disk = small_disk
    sweep.start()
    sweep.wait_for_epochs(15)
    assert sweep.process
    until = time.monotonic() + 300
    while sweep.process.poll() is None and time.monotonic() < until:
        faults.fill(small_disk)  # a checkpoint that was half written leaves room
        time.sleep(0.2)
    assert sweep.process.poll() == 2
    assert "No space left on device" in sweep.said()
    assert "make room, and the same command goes on" in sweep.said()
    assert read_results(sweep.out).problems == ()
    print(faults.free(small_disk))
    assert sweep.finish() == 0, sweep.said()
    seen = sweep.seen()
    print(*seen.lines(), sep="\n")
    assert (seen.rows, seen.failed) == (sweep.num_trials, {})
    assert seen.resumed >= 1


def test_storage_away_while_trials_run_and_a_driver_dies(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not answer for 20 s; later the driver is killed."""
    pytest.importorskip("moto.server")
    with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        sweep.arguments = ("--storage", f"{store.bucket}/results")
        sweep.hold_back(1)
        sweep.start()
        sweep.wait_for_epochs(10)
        print(store.go_away(20))
        sweep.wait_for_epochs(30)  # it has all checkpoints again
        print(sweep.kill_driver())
        sweep.let_go()
        assert sweep.finish() == 0, sweep.said()
        check(sweep, resumed=1)
        rows = [json.loads(line)["trial_id"] for line in read_rows(Storage(f"{store.bucket}/results/out"))]
        assert sorted(rows) == sorted(row.trial_id for row in read_results(sweep.out).results)
