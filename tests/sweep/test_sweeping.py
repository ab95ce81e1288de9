"""What drivers that take turns leave at an object store, whenever one is suspended and whatever becomes of requests."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from galaxytl.results.rows import read_results
from tests.sweep.sweeping import SPECS, Sweeps

ALL = list(range(len(SPECS)))
STEPS = 120
"""More than a sweep has."""


def seeds(folder: Path) -> list[int]:
    return [row.spec.seed for row in read_results(folder).results]


def test_a_driver_may_be_suspended_at_any_step(tmp_path: Path) -> None:
    """Another driver comes, to the same folder or another, and the first wakes in the midst of that sweep, before,
    or after. The order of what they do hangs on the step, too."""
    taken_over = 0
    for step in range(1, STEPS):
        out = tmp_path / f"{step}"
        others = out if step % 2 else tmp_path / f"{step}-elsewhere"
        with Sweeps(out, seed=step) as world:
            first = world.sweep(out)
            first.stops_at = step
            world.run(30)
            second = world.sweep(others, "elsewhere")
            world.run(50 + 5 * step % 60)
            first.is_running = True
            world.run(200)
            assert sorted(world.store.seeds()) == ALL, step
            assert "through" in (first.said, second.said)
            (leader,) = [path for path, driver in ((out, first), (others, second)) if driver.said == "through"][-1:]
            assert sorted(seeds(leader)) == ALL
            if first.led_from is not None and second.led_from is not None and first.led_from < second.led_from:
                taken_over += first.said != "through"
                assert first.said == "through" or "has taken" in first.said
        if first.steps < step:
            break
    assert 10 < taken_over < step < STEPS - 1


def run_at_random(folder: Path, seed: int) -> Sweeps:
    """Drivers come, one or two at once, to one folder or another; some fail, each is suspended somewhere, a storage
    that is slow loses requests or their answers. In the end all is well and one more sweep comes."""
    draw = random.Random(seed)
    slow, failing = draw.choice((0.04, 0.5, 3.0)), draw.choice((0.0, 0.02, 0.1))
    with Sweeps(folder / "0", seed, slow, failing) as world:
        world.sweep(folder / "0").stops_at = draw.randint(12, 45)
        world.run(60)
        for _ in range(draw.randint(1, 4)):
            for _ in range(draw.randint(1, 2)):
                place, host = draw.choice("012"), draw.choice(("here", "elsewhere"))
                driver = world.sweep(folder / place, host, fails=draw.random() < 0.3)
                driver.stops_at = draw.choice((-1, draw.randint(20, 90)))
            world.run(draw.choice((0, 80, 100, 200)))
            for driver in world.drivers:
                driver.is_running |= draw.random() < 0.3
        for driver in world.drivers:
            driver.stops_at, driver.is_running = -1, True
        world.store.failing = 0.0
        world.run(400)
        world.last = world.sweep(folder / "last", "elsewhere")
        world.run(400)
    return world


@pytest.mark.parametrize("draws", [range(25), pytest.param(range(25, 400), marks=pytest.mark.rest)])
def test_whatever_happens_a_trial_has_one_row(tmp_path: Path, draws: range) -> None:
    for seed in draws:
        (tmp_path / f"{seed}").mkdir()
        world = run_at_random(tmp_path / f"{seed}", seed)
        said = {driver.pid: driver.said for driver in world.drivers}
        assert world.last.said == "through", (seed, said)
        assert sorted(world.store.seeds()) == ALL, (seed, said)
        assert seeds(tmp_path / f"{seed}" / "last") == world.store.seeds(), seed
        stored = world.store.writers()
        for driver in world.drivers:
            assert driver.said, seed
            if driver.said == "through":
                assert all(stored[row] == driver.pid for row in driver.rows), (seed, said)


@pytest.mark.parametrize("folders", ["same", "another"])
def test_a_takeover_that_fails_leaves_the_first_driver_in_the_lead(tmp_path: Path, folders: str) -> None:
    out = tmp_path / "0"
    others = out if folders == "same" else tmp_path / "1"
    with Sweeps(out) as world:
        first = world.sweep(out)
        world.run(2)
        first.is_running = False
        second = world.sweep(others, "elsewhere", fails=True)
        world.run(90)
        assert (second.led_from is not None, second.said) == (True, "it fails")
        assert [name for name in world.store.names("rows") if not world.store.files[name]]  # the first was shut out
        first.is_running = True
        world.run(60)
        assert first.said == "through"
        assert world.store.writers() == dict.fromkeys(ALL, first.pid)
        assert seeds(out) == world.store.seeds() == ALL
