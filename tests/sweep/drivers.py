"""Drivers that take turns under a clock of the test's own: the real lease and real files, without any waiting."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import greenlet
import pytest

from sweep.results import lease as lease_module
from sweep.results.lease import Lease, LeaseError, Place, Values

STEP_SECONDS = 0.4
"""Between two looks of a driver whether it is known to have lost its lease."""
SLOWEST_SECONDS = 0.04
"""What reading or writing a lease takes, at most, before it happens, and again after it."""


@dataclass
class Driver:
    """A process that leads if it may, and writes rows. The test has it end, sleep or die by setting the first three."""

    pid: int
    host: str
    ends: bool = False
    is_running: bool = True
    is_alive: bool = True
    led_from: float | None = None
    rows: list[float] = field(default_factory=list)
    """When each was written; -1 where that could not be done as the lease could not be read."""
    notes: list[str] = field(default_factory=list)
    said: str = ""
    """Why it writes no more."""
    steps: int = 0
    """So often has it waited."""
    stops_at: int = -1
    """The step in which it is suspended."""

    @property
    def leads(self) -> bool:
        return self.led_from is not None and self.is_alive and self.is_running and not self.said


class Task(greenlet.greenlet):
    """A thread of a driver, which runs until it waits for something."""

    def __init__(self, world: World, driver: Driver, target: Callable[[], object]) -> None:
        super().__init__(target, world.test)
        self.world, self.driver, self.wakes = world, driver, world.now

    def is_due(self, until: float) -> bool:
        return not self.dead and self.driver.is_alive and self.driver.is_running and self.wakes <= until

    def join(self) -> None:
        while not self.dead:
            self.world.sleep(0.05)


class Event:
    """As in `threading`, for one thread that waits."""

    def __init__(self, world: World) -> None:
        self._world, self._is_set, self._waiting = world, False, list[Task]()

    def wait(self, seconds: float) -> bool:
        self._waiting = [self._world.current]
        if not self._is_set:
            self._world.sleep(seconds)
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for task in self._waiting:
            task.wakes = self._world.now


def plant(place: Place, values: Values) -> None:
    """Have this lease there, whoever leads."""
    while not place.replace(place.read(), values):
        pass


class World:
    """One thread runs at a time, until it waits for something; meanwhile the clock stands still."""

    slowest = SLOWEST_SECONDS

    def __init__(self, place: Place, seed: int = 0, row_seconds: float = STEP_SECONDS) -> None:
        self.now, self.drivers = 0.0, list[Driver]()
        self._place, self._row_seconds, self.random = place, row_seconds, random.Random(seed)
        self.tasks, self.test, self.patch = list[Task](), greenlet.getcurrent(), pytest.MonkeyPatch()
        self._is_over = False

    def __enter__(self) -> World:
        def kill(pid: int, _: int) -> None:
            if pid not in {driver.pid for driver in self.drivers if driver.is_alive}:
                raise ProcessLookupError

        fakes = {
            "time": SimpleNamespace(sleep=self.sleep),
            "os": SimpleNamespace(getpid=lambda: self.current.driver.pid, kill=kill),
            "socket": SimpleNamespace(gethostname=lambda: self.current.driver.host),
            "threading": SimpleNamespace(Event=lambda: Event(self), Thread=self.thread),
            "process_table": lambda: self.current.driver.host,
        }
        for name, fake in fakes.items():
            self.patch.setattr(lease_module, name, fake)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        for task in self.tasks:
            task.throw()
        self.patch.undo()

    @property
    def current(self) -> Task:
        return greenlet.getcurrent()

    def come(self, host: str = "here") -> Driver:
        """Start a driver."""
        self.drivers.append(driver := Driver(len(self.drivers) + 1, host))
        self.tasks.append(Task(self, driver, lambda: self._lead(driver)))
        return driver

    def thread(self, target: Callable[[], object], daemon: bool) -> SimpleNamespace:
        """As `threading.Thread`, of the driver that makes it."""
        task = Task(self, self.current.driver, target)
        return SimpleNamespace(start=lambda: self.tasks.append(task), join=task.join)

    def run(self, seconds: float) -> None:
        """Have everything happen that is due within so many seconds."""
        until = self.now + seconds
        while due := [task for task in self.tasks if task.is_due(until)]:
            task = min(due, key=lambda task: task.wakes)
            self.now = max(self.now, task.wakes)
            task.switch()
        self.now = until

    def sleep(self, seconds: float) -> None:
        """Of the thread that runs: the others' turn."""
        if self._is_over:
            raise greenlet.GreenletExit
        driver, self.current.wakes = self.current.driver, self.now + seconds
        driver.steps += 1
        if driver.steps == driver.stops_at:
            driver.is_running = False
        self.test.switch()

    def _lead(self, driver: Driver) -> None:
        read, change = self._slowly(self._place.read), self._slowly(self._place.replace)
        slow = replace(self._place, read=read, replace=change)
        try:
            with Lease(slow, driver.notes.append) as lease:
                driver.led_from = next_row = self.now
                while not driver.ends:
                    lease.stop_if_lost()
                    if self.now >= next_row:
                        next_row = self.now + self._row_seconds
                        driver.rows.append(self._row(lease))
                    self.sleep(STEP_SECONDS)
            driver.said = "through"
        except LeaseError as error:
            driver.said = str(error)

    def _row(self, lease: Lease) -> float:
        try:
            lease.check()
        except OSError:
            return -1
        return self.now

    def _slowly(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*given: Any) -> Any:
            self.sleep(self.random.uniform(0, self.slowest))
            answer = action(*given)
            self.sleep(self.random.uniform(0, self.slowest))
            return answer

        return act
