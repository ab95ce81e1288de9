"""Sweeps whose machines and whose storage fail: work is really interrupted, and nothing is lost or done twice.

Killed workers and drivers of a sweep on this machine: `tests.sweep.test_run`. `make chaos` hits as often as the project
promises to stand, and at random.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from galaxytl.results.rows import read_results
from galaxytl.results.storage import Storage
from galaxytl.results.stored_rows import read_rows
from tests.cluster.hosts import why_not
from tests.cluster.lab import FAKETIME, lab
from tests.cluster.local import Sweep
from tests.cluster.object_store import object_store

pytestmark = [pytest.mark.rest, pytest.mark.alone]


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


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.skipif(not FAKETIME.exists(), reason="no wrong clock: apt-get install libfaketime")
@pytest.mark.timeout(1500)
def test_machines_die_are_cut_off_and_have_wrong_clocks() -> None:
    """One sweep on a head and two workers that share no results but by S3. One of them, an hour ahead, is cut off until
    it counts as dead, and comes back, while the raylet of the other is killed; then the head dies with the driver on
    it, and the same command goes on."""
    with lab(["worker2"]) as cluster, ThreadPoolExecutor(1) as pool:
        one, two = cluster.workers
        sweep = cluster.sweep("sweep", {"head_epochs": 400, "epochs": 90, "networks": 2}, stored=True)
        sweep.hold_back(0.5)
        sweep.start()
        for host in (one, two):
            sweep.wait_for_epochs(3, host=host.name)
        killed = pool.submit(lambda: (cluster.kill_raylet(one), cluster.start_worker(one)))
        print(cluster.cut_off(two, 20), cluster.start_worker(two), *killed.result())
        sweep.wait_for_interruption(1)
        for host in (one, two):
            sweep.wait_for_epochs(3, host=host.name)
        print(cluster.kill_head())
        sweep.let_go()
        assert sweep.finish() == 0, sweep.said()
        check(sweep, resumed=4)
        assert {row.environment["host"] for row in read_results(sweep.out).results} <= {one.name, two.name}


def test_storage_away_while_trials_run_and_a_driver_dies(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not answer for 20 s, longer than a request waits; later the driver is killed. On a Ray of its own, for
    whose workers the storage is where the driver's is."""
    pytest.importorskip("moto.server")
    with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        sizes = {"head_epochs": 60, "epochs": 30, "networks": 1}
        sweep = Sweep(tmp_path / "sweep", galaxies_file, ("--storage", f"{store.bucket}/results"), sizes=sizes)
        try:
            sweep.hold_back(0.3)
            sweep.start()
            sweep.wait_for_epochs(6)
            print(store.go_away(20))
            sweep.wait_for_epochs(12)  # it has all checkpoints again
            print(sweep.kill_driver())
            sweep.let_go()
            assert sweep.finish() == 0, sweep.said()
        finally:
            sweep.end()
        check(sweep, resumed=1)
        rows = [json.loads(line)["trial_id"] for line in read_rows(Storage(f"{store.bucket}/results/out"))]
        assert sorted(rows) == sorted(row.trial_id for row in read_results(sweep.out).results)
