"""Drivers that contend for the same results, in folders and at a storage that fail them, and what their history shows.

    python -m tests.cluster.history --minutes 60 --seed 1        # make history MINUTES=60 SEED=1
    python -m tests.cluster.history --seed 17 --rounds 1         # that round again

Two or three processes want to lead. Files are late, as on a slow NFS; S3 is late, answers 503, or drops a connection
before or after it has stored; drivers are suspended at any step of a write until another leads, or killed. A round has
the seed that it prints: it decides what goes wrong at which step. Exit status: 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from galaxytl.results.rows import FILE_NAME
from galaxytl.results.storage import Storage
from galaxytl.results.stored_rows import read_rows
from tests.cluster import history_driver
from tests.cluster.checker import Operation, operations, violations
from tests.cluster.history_driver import Driver, note_in, specs
from tests.cluster.mischief import WRITES_ROWS, Mischief, faulty_s3
from tests.cluster.object_store import ObjectStore, object_store

TRIALS = 24
LATE = ((0.1, 0.3), (0.4, 0.1), (1.2, 0.05))
"""Seconds that a step in a folder, or a request, is late at most, and how often: the last are many beats."""
LONGEST_STOP_SECONDS = {"folder": 3.0, "storage": 20.0}
"""After which a driver goes on though no other has taken over: perhaps all wait for its lock."""
ALONE_SECONDS = 0.5
"""As that, where nobody is there who could take over, and where another waits to be taken over while it writes rows."""
STUCK_SECONDS = 240.0
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.cluster.history_driver"])


@dataclass
class Account:
    """What became of one round, or of many."""

    rounds: int = 0
    takeovers: int = 0
    rows: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __iadd__(self, other: Account) -> Account:
        self.rounds, self.takeovers = self.rounds + other.rounds, self.takeovers + other.takeovers
        self.rows += other.rows
        self.faults.update(other.faults)
        self.stops.update(other.stops)
        self.violations += other.violations
        return self

    def lines(self) -> list[str]:
        return [
            f"{self.rounds} rounds, {self.takeovers} takeovers, {self.rows} rows; {_counts(self.faults)}",
            f"suspended at: {_counts(self.stops)}",
            *(f"VIOLATION  {text}" for text in self.violations),
            f"{len(self.violations)} violations",
        ]


def _counts(of: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(of.items())) or "nothing"


@dataclass
class Contender:
    """A driver as the harness sees it."""

    driver: Driver
    process: Any
    stopped: float | None = None
    """Since when."""
    led: int = 0
    """Takeovers there were then."""
    step: str = ""
    """At which S3 was asked for what."""

    @property
    def is_stopped(self) -> bool:
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"
        return False

    def suspend(self, step: str) -> None:
        """Returns when it goes on."""
        self.step = step
        self.signal(signal.SIGSTOP)
        time.sleep(0.05)
        while self.is_stopped:
            time.sleep(0.02)
        self.step = ""

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


class Round:
    """One contest. `store` is None where the results lie in a folder alone."""

    def __init__(self, seed: int, place: Path, store: ObjectStore | None) -> None:
        self.seed, self.place, self.store = seed, place, store
        self.rng = random.Random(seed)
        self.history, self.faults = place / "history", place / "faults"
        self.kind = "storage" if store else "folder"
        self.uri = f"{store.bucket}/{place.name}" if store else ""
        self.contenders: list[Contender] = []

    def run(self) -> Account:
        with contextlib.ExitStack() as proxies:
            for number in range(self.rng.choice((2, 2, 3))):
                self._start(number, proxies)
            try:
                self._watch()
            finally:
                for contender in self.contenders:
                    contender.signal(signal.SIGCONT)
                    contender.signal(signal.SIGKILL)
                    contender.process.join()
        self._come_to_rest()
        return self._account()

    def _start(self, number: int, proxies: contextlib.ExitStack) -> None:
        """Drivers at a storage have folders of their own, as on machines of their own."""
        seed, out = f"{self.seed} {number}", self.place / (f"out{number}" if self.store else "out")
        stops, (delay, often) = self.rng.choice((1, 2, 3)), self.rng.choice(LATE)
        driver = Driver(number, seed, out, self.uri, self.history, self.faults, TRIALS, "", delay, often, stops)
        contender = Contender(driver, None)
        if self.store:
            mischief = Mischief(f"{seed} s3", self._note(number), delay, often, stops)
            url = faulty_s3(self.store.url, mischief, contender.suspend)
            driver = replace(driver, endpoint=proxies.enter_context(url), delay=0.0, stops=0)
        contender.driver, contender.process = driver, PROCESSES.Process(target=history_driver.main, args=(driver,))
        contender.process.start()
        self.contenders.append(contender)

    def _note(self, number: int) -> Any:
        return lambda fault, step: note_in(self.faults, driver=number, fault=fault, step=step)

    def _watch(self) -> None:
        """Until all have ended: whoever is suspended goes on when another leads."""
        begin, stuck = time.monotonic(), time.monotonic() + STUCK_SECONDS
        upsets = sorted(begin + self.rng.uniform(0, 8) for _ in range(self.rng.choice((0, 1, 2, 3))))
        while running := [c for c in self.contenders if c.process.is_alive()]:
            now = time.monotonic()
            if now > stuck:
                note_in(self.faults, driver=-1, fault="gave up", step="")
                return
            rivals = sum(not contender.is_stopped for contender in running)
            is_writing = any(contender.step == WRITES_ROWS for contender in running)
            for contender in running:
                waits = rivals and (contender.step == WRITES_ROWS or not is_writing)
                self._let_go_on(contender, now, LONGEST_STOP_SECONDS[self.kind] if waits else ALONE_SECONDS)
            if upsets and now > upsets[0]:
                del upsets[0]
                self._upset(self.rng.choice(running))
            time.sleep(0.02)

    def _let_go_on(self, contender: Contender, now: float, longest: float) -> None:
        if not contender.is_stopped:
            contender.stopped = None
        elif contender.stopped is None:
            contender.stopped, contender.led = now, len(self._takes())
        elif len(self._takes()) > contender.led or now - contender.stopped > longest:
            time.sleep(self.rng.uniform(0, 0.3))
            contender.signal(signal.SIGCONT)

    def _upset(self, contender: Contender) -> None:
        """Suspend a driver wherever it is, or kill it and start it again."""
        if self.rng.random() < 0.75:
            self._note(contender.driver.number)("stop", "anywhere")
            contender.signal(signal.SIGSTOP)
            return
        self._note(contender.driver.number)("killed", "anywhere")
        contender.signal(signal.SIGKILL)
        contender.process.join()
        contender.process = PROCESSES.Process(target=history_driver.main, args=(contender.driver,))
        contender.process.start()
        contender.stopped = None

    def _come_to_rest(self) -> None:
        """The same command once more from each folder, nothing going wrong: what waited for the storage is stored."""
        for driver in {contender.driver.out: contender.driver for contender in self.contenders}.values():
            calm = replace(driver, delay=0.0, stops=0, endpoint=self.store.url if self.store else "")
            process = PROCESSES.Process(target=history_driver.main, args=(calm,))
            process.start()
            process.join()

    def _told(self) -> list[Operation]:
        text = self.history.read_text() if self.history.exists() else ""
        return operations(text[: text.rfind("\n") + 1].splitlines())  # the last line may be under way

    def _takes(self) -> list[Operation]:
        place = self.uri or str(self.place / "out")
        return [o for o in self._told() if (o.what, o.outcome, o.where) == ("take", "ok", place)]

    def _account(self) -> Account:
        rows = {str(out): _lines(out) for out in {contender.driver.out for contender in self.contenders}}
        if self.store:
            with as_client(self.store):
                rows[self.uri] = read_rows(Storage(self.uri))
        broken = violations(self._told(), rows)
        hits = [json.loads(line) for line in self.faults.read_text().splitlines()] if self.faults.exists() else []
        stops = Counter(hit["step"] for hit in hits if hit["fault"] == "stop")
        whole = rows[self.uri or str(self.place / "out")]
        missing = {spec.trial_id for spec in specs(TRIALS)} - {json.loads(line)["trial_id"] for line in whole}
        broken += [f"after a calm run {len(missing)} trials have no row"] if missing else []
        broken += ["a driver came to no end"] if any(hit["fault"] == "gave up" for hit in hits) else []
        kinds = Counter(hit["fault"] for hit in hits)
        return Account(1, len(self._takes()), len(whole), kinds, stops, [f"seed {self.seed}: {b}" for b in broken])


def _lines(folder: Path) -> list[bytes]:
    path = folder / FILE_NAME
    return [line for line in path.read_bytes().split(b"\n") if line] if path.exists() else []


@contextlib.contextmanager
def as_client(store: ObjectStore) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {**store.environment, "AWS_REGION": "us-east-1"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def contests(seed: int, rounds: int, until: float, keep: Path | None = None) -> Iterator[tuple[int, Account]]:
    """Round by round, with its seed: those of even seeds meet at an S3 server, the others in a folder."""
    with tempfile.TemporaryDirectory(prefix="galaxytl-history-") as folder, object_store() as store:
        for number in range(seed, seed + rounds):
            if number > seed and time.monotonic() > until:
                return
            place = (keep or Path(folder)) / f"round{number}"
            place.mkdir(parents=True)
            yield number, Round(number, place, None if number % 2 else store).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="(default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next have those that follow")
    parser.add_argument("--rounds", type=int, default=10**6, help="at most")
    parser.add_argument("--keep", type=Path, help="a folder for what each round leaves, its history among it")
    options = parser.parse_args()
    total = Account()
    for seed, seen in contests(options.seed, options.rounds, time.monotonic() + options.minutes * 60, options.keep):
        total += seen
        kind = "folder" if seed % 2 else "storage"
        say = f"{time.strftime('%H:%M:%S')}  seed {seed}, {kind}: {seen.takeovers} takeovers, {seen.rows} rows; "
        print(f"{say}{_counts(seen.faults)}; {len(seen.violations)} violations", flush=True)
        for text in seen.violations[:5]:
            print(f"          {text}", flush=True)
    print(*total.lines(), sep="\n")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
