"""Sweeps as a user starts them: real processes, real Ray."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sweep.results.lease import LeaseError
from sweep.scheduling import fork_server
from sweep.scheduling.ray_files import own_token
from tests.cluster import faults

ROOT = Path(__file__).parents[2]


def quick(num_epochs: int) -> tuple[str, ...]:
    return ("--set", "image_size=32", "--set", "batch_size=8", "--set", f"num_epochs={num_epochs}")


QUICK = quick(2)

FROZEN = ("--set", "backbone=VGG16", "--set", "weights=random", "--set", "unfrozen_blocks=0")

JOINED = ("--address", "auto", "--profile", "laptop", "--gpus-per-trial", "0")
"""For a driver that `joining` an address has set up. Without the others it would connect once more to count GPUs."""


START = """
from sweep.scheduling import fork_server
from sweep.scheduling.ray_private import workers_started_by
import ray.scripts.scripts
with workers_started_by(fork_server.__file__):
    ray.scripts.scripts.main()
"""
"""The command `ray`."""


@contextlib.contextmanager
def ray_head(folder: Path) -> Iterator[str]:
    """A Ray of two CPUs, started by hand in a folder of a short name; its address. At the end its own processes end.

    It wants the token of the home in which it starts. Its workers have the environment that it has, and are forked as
    those of a sweep on one machine are: that saves each the import of the framework.
    """
    with fork_server.fork_server(folder, ROOT, folder / "log") as variables:
        yield from _head_at(folder, variables)


def _head_at(folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    own_token(Path.home() / ".ray")
    options = ["--head", "--block", "--port", "0", "--num-cpus", 2, "--no-monitor", "--include-dashboard", "false"]
    options += ["--object-store-memory", 200 * 2**20, "--disable-usage-stats"]
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []  # else it would outlive killed tests
    start = [*tied, sys.executable, "-c", START, "start", *options]
    environment = {**os.environ, **variables, "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
    for place in (folder / "1", folder / "2", folder / "3"):  # where others run, Ray may give up after 30 s
        start += ["--temp-dir", place, "--ray-client-server-port", free_port()]  # nobody asks there; else it is 10001
        with (folder / "log").open("ab") as log:
            head = subprocess.Popen(list(map(str, start)), stdout=log, stderr=log, env=environment, process_group=0)
        address = place / "ray_current_cluster"
        wait_for(lambda: (address.exists() and address.read_text()) or head.poll() is not None, "Ray")  # noqa: B023
        if head.poll() is None:
            break
    try:
        assert head.poll() is None, (folder / "log").read_text()
        yield address.read_text().strip()
    finally:
        started = below(head.pid)
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(60)
        faults.end_all([head.pid, *started])
        head.wait()


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def joining(address: str) -> Mapping[str, str]:
    """The environment of a driver with the options JOINED, for a Ray at this address; "": as it is."""
    return {**os.environ, **({"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"} if address else {})}


def command(*arguments: object, ray: str = "") -> list[str]:
    return [sys.executable, "-m", "sweep.run", *map(str, (*(JOINED if ray else ()), *arguments))]


def sweep(*arguments: object, ray: str = "", timeout: float = 550) -> subprocess.CompletedProcess[str]:
    """A sweep, from its start to its end, on the Ray at an address, or on one of its own."""
    started = command(*arguments, ray=ray)
    return subprocess.run(
        started, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, env=joining(ray)
    )


def start(log: Path, *arguments: object, ray: str = "") -> subprocess.Popen[bytes]:
    """A sweep in a process group of its own, as a shell starts it; its output goes to `log`."""
    started = command(*arguments, ray=ray)
    with log.open("wb") as file:
        return subprocess.Popen(
            started, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0, env=joining(ray)
        )


def wait_for(condition: Callable[[], object], what: str, timeout: float = 400) -> None:
    stop = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > stop:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(0.1)


def is_lost(check: Callable[[], object]) -> bool:
    """Whether `check`, of a lease or of what is kept under one, says that another driver leads."""
    try:
        check()
    except LeaseError:
        return True
    return False


def suspend_between_writes(driver: int, folder: Path) -> None:
    """Of what lies in `folder`: a lease, rows, studies. Who is suspended in the midst of one keeps its lock, and
    whoever comes waits for that."""
    while True:
        os.kill(driver, signal.SIGSTOP)
        while Path(f"/proc/{driver}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        if is_unlocked(folder):
            return
        os.kill(driver, signal.SIGCONT)
        time.sleep(0.05)


def is_unlocked(folder: Path) -> bool:
    if list(folder.glob("*.lock")) + list(folder.glob(".lease.json.*")):  # of a journal, and a lease
        return False
    try:
        for path in folder.glob("*.jsonl"):
            with path.open("rb") as rows:
                fcntl.flock(rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in folder.glob("study*"):
            if path.read_bytes()[:6] == b"SQLite":
                with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as study:
                    study.execute("BEGIN IMMEDIATE")
    except (BlockingIOError, sqlite3.OperationalError):
        return False
    return True


def ray_workers(driver: int) -> list[int]:
    """Processes below `driver` that run a Tune trial."""
    return [process for process, name in below(driver).items() if b"ImplicitFunc" in name]


def below(driver: int) -> dict[int, bytes]:
    """The command lines of all processes that `driver` started, and that these started."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        parents[int(folder.name)] = int(fields[1])

    def is_below(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == driver:
                return True
        return False

    return {process: name for process, name in names.items() if is_below(process)}
