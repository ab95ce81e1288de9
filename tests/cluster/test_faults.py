"""Sweeps that are hit by faults, once or twice each: work is really interrupted, and nothing is lost or done twice.

`make chaos` hits as often as the project promises to stand, and at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.results import read_results
from tests.cluster import faults
from tests.cluster.local import Sweep

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
    """Killed twice. Then Tune's state is cut in half, the next time it is gone; bytes of the hot copy are flipped, the
    next time a stored activation is cut in half."""
    rng = random.Random(0)
    for tune, damage, pattern in (
        ("truncated", faults.flip_bytes, "images/*/images.npy"),
        ("missing", faults.truncate, "features/*/activations.npy"),
    ):
        sweep.start()
        sweep.wait_for_epochs(15)
        sweep.kill_driver()
        faults.damage_tune_state(sweep.out, tune)
        damage(faults.one_of(tmp_path / "cache", pattern), rng)
    assert sweep.finish() == 0, sweep.said()
    check(sweep, resumed=2)
