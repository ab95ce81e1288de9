"""A small sweep that is started, interrupted and started again, while a witness notes what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import faults
from tests.cluster.witness import PAUSE, Account, account_of, events_of
from tests.sweep.sweeps import ROOT, below, joining, wait_for

GRID = """
name: faults
purpose: is anything lost, or done twice?
fixed: {{backbone: MobileNet, weights: random, image_size: 32, batch_size: 8, validation_fraction: 0.5}}
scientific:
  unfrozen_blocks:
  - {{unfrozen_blocks: 0, num_epochs: {head_epochs}}}
  - {{unfrozen_blocks: 1, num_epochs: {epochs}}}
nuisance: {{learning_rate: [{rates}]}}
"""
"""Heads, which one worker trains in one pass, and as many networks, one after the other, of longer epochs."""

Launch = Callable[[Sequence[str], Path], "subprocess.Popen[bytes]"]


def here(command: Sequence[str], log: Path, ray: str = "") -> subprocess.Popen[bytes]:
    """Start the driver on this machine; with the options JOINED, for a Ray at this address."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0, env=joining(ray)
        )


@dataclass
class Sweep:
    """In a folder of its own; `arguments` are those of every start."""

    place: Path
    data: Path
    arguments: Sequence[str] = ()
    launch: Launch = here
    sizes: Mapping[str, int] = field(default_factory=lambda: {"head_epochs": 300, "epochs": 30, "networks": 2})
    most_repeated: int = 1
    """Finished epochs that one interruption may have trained again."""
    disk: Path | None = None
    """Where the results go, if not into the place."""
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        rates = ", ".join(f"{1e-3 / 2**number:.3e}" for number in range(self.sizes["networks"]))
        self.place.mkdir(parents=True, exist_ok=True)
        sizes = {name: self.sizes[name] for name in ("head_epochs", "epochs")}
        (self.place / "faults.yaml").write_text(GRID.format(rates=rates, **sizes))

    @property
    def out(self) -> Path:
        return (self.disk or self.place) / "out"

    @property
    def log(self) -> Path:
        return self.place / "log"

    @property
    def witness(self) -> Path:
        return self.place / "witness.jsonl"

    @property
    def num_trials(self) -> int:
        return 2 * self.sizes["networks"]

    def options(self) -> list[object]:
        """Of `sweep.run`."""
        return ["--grid", self.place / "faults.yaml", "--data", self.data, "--out", self.out, *self.arguments]

    def start(self) -> subprocess.Popen[bytes]:
        options = map(str, [self.witness, *self.options()])
        self.process = self.launch([sys.executable, "-m", "tests.cluster.witness", *options], self.log)
        return self.process

    def finish(self, timeout: float = 300) -> int:
        """Start it and let it run to its end; the exit status."""
        return self.start().wait(timeout)

    def seen(self) -> Account:
        return account_of(self.witness, self.out, self.most_repeated)

    def hold_back(self, seconds: float) -> None:
        """Each epoch takes this much longer, until `let_go`."""
        (self.place / PAUSE).write_text(str(seconds))

    def let_go(self) -> None:
        (self.place / PAUSE).unlink()

    def num_noted(self, host: str = "") -> int:
        return sum(not host or event["by"].startswith(f"{host} ") for event in events_of(self.witness))

    def workers(self) -> list[int]:
        """Processes that trained, as their own hosts count, in the order of their last epochs."""
        last = {
            int(e["by"].split()[1]): number for number, e in enumerate(events_of(self.witness)) if e["what"] == "epoch"
        }
        return sorted(last, key=lambda process: last[process])

    def wait_for_epochs(self, number: int, timeout: float = 300, host: str = "") -> None:
        """Until so many more epochs have been finished: anywhere, or on this host."""
        before = self.num_noted(host)
        wait_for(lambda: self.num_noted(host) >= before + number or self.has_ended(), f"{number} epochs", timeout)
        assert not self.has_ended(), self.said()

    def wait_for_interruption(self, before: int) -> None:
        """Until a trial goes on elsewhere, beyond the `before` times that one has."""
        wait_for(lambda: self.seen().interruptions > before or self.has_ended(), "a trial to go on elsewhere")
        assert not self.has_ended(), self.said()

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def said(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def kill_driver(self) -> str:
        """SIGKILL to it alone: what it had started notices within seconds, but for two agents of Ray's, which stay."""
        assert self.process
        started = below(self.process.pid)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        faults.end_all(process for process, name in started.items() if b"Agent" in name)
        return f"killed the driver, process {self.process.pid}"

    def end(self) -> None:
        """Whatever of it still runs here."""
        if self.process and self.process.poll() is None:
            started = below(self.process.pid)
            self.kill_driver()
            faults.end_all(started)
