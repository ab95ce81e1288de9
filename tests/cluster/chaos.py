"""Hit sweeps with faults for as long as you like: `make chaos MINUTES=30 SEED=1`.

    python -m tests.cluster.chaos --minutes 30 --seed 1 --kills 20

First the driver of one sweep on this machine is killed so many times, at random moments; in some of its lives the
disk of its results is full for seconds, and between them the cache and Tune's state are damaged. Then, on three hosts,
faults of all kinds hit one sweep after the other, at random, until the time is over. Each fault is a line; at the end
stands what survived. Exit status: 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from galaxytl.system.command import BAD_INPUT
from tests.cluster import faults
from tests.cluster.hosts import Host, why_not
from tests.cluster.lab import FAKETIME, NOTHING, Lab, lab
from tests.cluster.local import Sweep
from tests.cluster.witness import Account
from tests.galaxies import write_hdf5

SMALL = {"head_epochs": 300, "epochs": 30, "networks": 2}
LONG = {"head_epochs": 4000, "epochs": 120, "networks": 3}
DISK_MEGABYTES = 256
"""Of the results' disk, or a worker's: several times what lies there."""
CATCH_UP_SECONDS = 10
"""After a disk was full, or a storage away, until all checkpoints are there again: of a process that was killed now,
more would be repeated."""
CACHE = ".cache/galaxytl"
"""Below a host's home."""
FINISH_SECONDS = 900


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of random faults on hosts (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when (default: 1)")
    parser.add_argument("--kills", type=int, default=20, help="of the driver, before that (default: 20)")
    options = parser.parse_args()
    rng, survived = random.Random(options.seed), list[Account]()
    say(f"seed {options.seed}")
    if options.minutes and (reason := why_not()):
        say(f"no faults on hosts: {reason}")
        options.minutes = 0
    with tempfile.TemporaryDirectory(prefix="galaxytl-chaos-", dir="/var/tmp") as place:
        os.environ |= {"GALAXYTL_CACHE_DIR": f"{place}/cache", "HOME": place, "RAY_worker_niceness": "0"}
        if options.kills:
            survived.append(kill_the_driver(Path(place), options.kills, rng))
    if options.minutes:
        skewed = ["worker2"] if FAKETIME.exists() else []
        with lab(skewed) as cluster:
            survived += Chaos(cluster, rng).run(options.minutes * 60)
    for line in sum(survived, Account()).lines():
        print(line)
    return 1 if any(seen.violations for seen in survived) else 0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def kill_the_driver(place: Path, kills: int, rng: random.Random) -> Account:
    """Every other time in the midst of an epoch, every fourth after its disk was full, else at any moment from its
    start on."""
    sweep = Sweep(place / "killed", write_hdf5(place / "galaxies.h5"), sizes=LONG)
    try:
        with contextlib.ExitStack() as mounted:
            try:
                sweep.disk = mounted.enter_context(faults.small_disk(place / "disk", DISK_MEGABYTES))
            except OSError as error:
                say(f"no full disk: {error}")
            number = 0
            while number < kills:
                sweep.start()
                if number % 2:
                    with contextlib.suppress(AssertionError):  # it ended: what it says is told below
                        sweep.wait_for_epochs(rng.randint(1, 10))
                if sweep.disk and number % 4 == 3:
                    say(fill_for_a_while(sweep.disk, rng))
                time.sleep(rng.uniform(0.0, 2.0 if number % 2 else 20.0))
                assert sweep.process
                if (status := sweep.process.poll()) == BAD_INPUT:
                    say(f"it stopped: {sweep.said().splitlines()[-1]}")
                    continue
                if status is not None:
                    say("the sweep came to its end")
                    break
                seen = sweep.seen()
                number += 1
                say(f"{sweep.kill_driver()} ({number} of {kills}; {seen.rows} rows, {seen.resumed} resumed)")
                damage_what_is_left(sweep, place / "cache", rng)
            return concluded(sweep)
    finally:
        sweep.end()


def fill_for_a_while(disk: Path, rng: random.Random) -> str:
    seconds = rng.uniform(2, 10)
    said = faults.fill(disk)
    time.sleep(seconds)
    faults.free(disk)
    time.sleep(CATCH_UP_SECONDS)
    return f"{said} for {seconds:.0f} s"


def damage_what_is_left(sweep: Sweep, cache: Path, rng: random.Random) -> None:
    damages: list[Callable[[], str]] = [
        lambda: faults.damage_tune_state(sweep.out, rng.choice(["truncated", "missing"])),
        lambda: faults.flip_bytes(rng.choice(sorted(cache.glob("images/*/images.npy"))), rng),
        lambda: faults.truncate(rng.choice(sorted(cache.glob("features/*/activations.npy")))),
    ]
    with contextlib.suppress(IndexError):  # there is none yet
        say(rng.choice(damages)())


def concluded(sweep: Sweep) -> Account:
    """What became of the sweep, after it was left to come to its end: as it runs, or started once more."""
    if sweep.process is None or sweep.process.poll():  # it was killed
        sweep.start()
    assert sweep.process
    status = sweep.process.wait(FINISH_SECONDS)
    seen = sweep.seen()
    if seen.rows != sweep.num_trials or status not in (0, 1):
        seen.violations.append(f"{seen.rows} of {sweep.num_trials} trials have a row, exit status {status}")
        say(sweep.said())
    if "Traceback" in sweep.log.read_text():
        seen.violations.append(f"{sweep.log} shows a traceback")
    say(f"{sweep.place.name}: {'; '.join(seen.lines())}")
    return seen


class Chaos:
    """Random faults on a cluster."""

    def __init__(self, cluster: Lab, rng: random.Random) -> None:
        self.cluster, self.rng = cluster, rng
        for worker in cluster.workers:
            worker.mount_disk(cluster.network.home / CACHE, DISK_MEGABYTES)
        self.done: Counter[str] = Counter()
        self.sweeps: list[Sweep] = []
        self.faults: dict[Callable[[], str], float] = {
            self.kill_worker: 3,
            self.kill_raylet: 2,
            self.cut_off_briefly: 2,
            self.cut_off: 1,
            self.preempt: 2,
            self.kill_driver: 3,
            self.kill_head: 1,
            self.damage_cache: 2,
            self.fill_disk: 1,
            self.cut_storage_off: 1,
        }
        """And how often each, relative to the others."""

    def run(self, seconds: float) -> list[Account]:
        stop = time.monotonic() + seconds
        survived = []
        while time.monotonic() < stop:
            sweep = self._next_sweep()
            while time.monotonic() < stop and not sweep.has_ended():
                with contextlib.suppress(AssertionError):  # it ended, or all that trains is busy starting
                    sweep.wait_for_epochs(self.rng.randint(1, 15), timeout=90)
                time.sleep(self.rng.uniform(0, 3))
                if not sweep.has_ended():
                    self._hit(self._next_fault())
            survived.append(concluded(sweep))
        say("; ".join(f"{fault.__name__} {self.done[fault.__name__]}" for fault in self.faults))
        return survived

    def _next_fault(self) -> Callable[[], str]:
        """Every other time one that has hit nothing yet, so that each is drawn at least once."""
        new = [fault for fault in self.faults if not self.done[fault.__name__]]
        among = new if new and self.rng.random() < 0.5 else list(self.faults)
        return self.rng.choices(among, [self.faults[fault] for fault in among])[0]

    def _hit(self, fault: Callable[[], str]) -> None:
        try:
            said = fault()
            say(said)
            self.done[fault.__name__] += not said.startswith(NOTHING)
        except (
            AssertionError,
            subprocess.TimeoutExpired,
        ) as error:  # Ray's commands fail where the last fault still works
            say(f"{fault.__name__} could not be done: {str(error).strip().splitlines()[-1][:200]}")
            self.cluster.start()
            if self.sweep.has_ended():
                self.sweep.start()

    def _next_sweep(self) -> Sweep:
        """Those of even number meet at the S3 server, the others on the shared folder."""
        number = len(self.sweeps) + 1
        self.sweeps.append(self.cluster.sweep(f"sweep{number}", SMALL, stored=number % 2 == 0))
        self.sweeps[-1].start()
        return self.sweeps[-1]

    @property
    def sweep(self) -> Sweep:
        return self.sweeps[-1]

    def _worker(self) -> Host:
        return self.rng.choice(self.cluster.workers)

    def kill_worker(self) -> str:
        host = self._worker()
        ended = host.run("pkill -KILL -f '^ray::ImplicitFunc'")
        return f"killed what trains on {host.name}" if ended.returncode == 0 else f"{NOTHING} trains on {host.name}"

    def kill_raylet(self) -> str:
        host = self._worker()
        said = self.cluster.kill_raylet(host)
        time.sleep(self.rng.uniform(0, 10))
        return f"{said}; {self.cluster.start_worker(host)}"

    def cut_off_briefly(self) -> str:
        return self.cluster.cut_off(self._worker(), self.rng.uniform(1, 5))

    def cut_off(self) -> str:
        host = self._worker()
        said = self.cluster.cut_off(host, self.rng.uniform(20, 40))
        return f"{said}; {self.cluster.start_worker(host)}"

    def preempt(self) -> str:
        host = self._worker()
        return f"{self.cluster.preempt(host, self.rng.randint(2, 10))}; {self.cluster.start_worker(host)}"

    def kill_driver(self) -> str:
        said = self.cluster.kill_driver(self.sweep)
        if self.rng.random() < 0.5:
            said += f"; {faults.damage_tune_state(self.sweep.out, self.rng.choice(['truncated', 'missing']))}"
        self.sweep.start()
        return f"{said}; started it again"

    def kill_head(self) -> str:
        said = self.cluster.kill_head()
        self.sweep.start()
        return f"{said}; started the driver again"

    def cut_storage_off(self) -> str:
        if len(self.sweeps) % 2:
            return f"{NOTHING} of this sweep is at the storage"
        said = self.cluster.cut_storage_off(self.rng.uniform(10, 60))
        time.sleep(CATCH_UP_SECONDS)
        return said

    def damage_cache(self) -> str:
        """While it may be in use: whoever reads a cut file then dies of it."""
        host = self._worker()
        found = sorted(self._cache_of(host).glob("*/*/*s.npy"))
        if not found:
            return f"{NOTHING} is cached on {host.name}"
        return f"{host.name}: {faults.flip_bytes(self.rng.choice(found), self.rng)}"

    def fill_disk(self) -> str:
        """A worker's own, on which images, activations and, of a sweep with a storage, checkpoints lie."""
        host = self._worker()
        return f"{host.name}: {fill_for_a_while(self._cache_of(host), self.rng)}"

    def _cache_of(self, host: Host) -> Path:
        """As the host sees it, with what is mounted there."""
        seen = Path("/proc") / str(host.first) / "root"
        return seen / self.cluster.network.home.relative_to("/") / CACHE


if __name__ == "__main__":
    sys.exit(main())
