"""Sweeps at an object store, under a clock of the test's own: the real `lead`, its leases and rows, without trials.

with Sweeps(seed=3, slowest=0.5, failing=0.1) as world:
    first = world.sweep(folder)
    world.run(60)
    world.store.rows()
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from galaxytl.data import DataError
from galaxytl.results import storage as storage_module
from galaxytl.results import stored_rows
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import read_rows
from galaxytl.system.command import UsageError
from galaxytl.system.locations import Location
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.results import folder as kept_module
from sweep.results.folder import lead
from sweep.results.lease import in_folder
from tests.sweep.drivers import SLOWEST_SECONDS, Driver, Event, Task, World

T, R = TypeVar("T"), TypeVar("R")
SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(4)]
FOLDER = "/sweeps"


class Store(Storage):
    """In memory; conditional as S3 is. A request takes a while on its way, its answer too, and either may be lost."""

    def __init__(self, world: World, slowest: float, failing: float) -> None:
        super().__init__(FOLDER)
        self.files = dict[str, bytes]()
        self._world, self._slowest, self.failing = world, slowest, failing

    @property
    def unconditional(self) -> str:
        return ""

    @property
    def _conditions(self) -> Any:
        return SimpleNamespace(create=self._create, replace=self._replace)

    def _create(self, location: Location, content: bytes) -> bool:
        return self._change(location.path.removeprefix(f"{FOLDER}/"), None, content)

    def _replace(self, location: Location, is_expected: Callable[[bytes | None], bool], content: bytes) -> bool:
        name = location.path.removeprefix(f"{FOLDER}/")
        there = self.get(name)
        return is_expected(there) and self._change(name, there, content)

    def _change(self, name: str, expected: bytes | None, content: bytes) -> bool:
        def change() -> bool:
            is_expected = self.files.get(name) == expected
            if is_expected:
                self.files[name] = content
            return is_expected

        return self._ask(change)

    def _ask(self, action: Callable[[], R]) -> R:
        self._travel()
        answer = action()
        self._travel()
        return answer

    def _travel(self) -> None:
        if isinstance(self._world.current, Task):
            self._world.sleep(self._world.random.uniform(0, self._slowest))
            if self._world.random.random() < self.failing:
                raise DataError("the connection was lost")

    def put(self, name: str, content: bytes) -> None:
        self._ask(lambda: self.files.update({name: content}))

    def get(self, name: str) -> bytes | None:
        return self._ask(lambda: self.files.get(name))

    def names(self, folder: str) -> list[str]:
        return self._ask(lambda: sorted(name for name in self.files if name.startswith(folder)))

    def delete(self, name: str) -> None:
        self._ask(lambda: self.files.pop(name, None))

    def seeds(self) -> list[int]:
        """Of the trials whose rows are here, once a row."""
        return [row.spec.seed for row in self._rows()]

    def writers(self) -> dict[int, int]:
        """The driver that has trained each, by seed."""
        return {row.spec.seed: int(row.message.split()[-1]) for row in self._rows()}

    def _rows(self) -> list[TrialResult]:
        return [TrialResult.from_dict(json.loads(line)) for line in read_rows(self)]


def one_after_another(action: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [action(item) for item in items]


class Sweeps(World):
    def __init__(self, place: Path, seed: int = 0, slowest: float = SLOWEST_SECONDS, failing: float = 0.0) -> None:
        super().__init__(in_folder(place), seed)
        self.store = Store(self, slowest, failing)

    def __enter__(self) -> Sweeps:
        super().__enter__()
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        self.patch.setattr(storage_module, "time", clock)
        self.patch.setattr(storage_module, "random", self.random)
        self.patch.setattr(stored_rows, "in_parallel", one_after_another)
        self.patch.setattr(stored_rows, "MANY", self.random.choice((2, 5, 64)))
        fakes = {"time": clock, "random": self.random, "Thread": self.thread, "Event": lambda: Event(self)}
        for name, fake in {**fakes, "Storage": lambda _: self.store}.items():
            self.patch.setattr(kept_module, name, fake)
        return self

    def sweep(self, out: Path, host: str = "here", fails: bool = False) -> Driver:
        """Start a sweep; one that fails does so when it has taken over, before it has a row."""
        out.mkdir(exist_ok=True)
        self.drivers.append(driver := Driver(len(self.drivers) + 1, host, ends=fails))
        self.tasks.append(Task(self, driver, lambda: self._sweep(driver, out)))
        return driver

    def _sweep(self, driver: Driver, out: Path) -> None:
        try:
            with lead(out, FOLDER, driver.notes.append) as kept:
                driver.led_from = self.now
                if driver.ends:
                    raise UsageError("it fails")
                while left := [spec for spec in SPECS if spec.trial_id not in kept.rows().by_id()]:
                    kept.stop_if_lost()
                    kept.append(TrialResult(spec=left[0], status=COMPLETE, message=f"by {driver.pid}"))
                    driver.rows.append(left[0].seed)
                    self.sleep(1.5)
            driver.said = "through"
        except (UsageError, StorageError, DataError) as error:
            driver.said = str(error)
