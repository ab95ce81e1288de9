"""Sweeps as a user starts them: real processes, real Ray."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sweep.lease import LeaseError

ROOT = Path(__file__).parents[2]

QUICK = ("--set", "image_size=32", "--set", "batch_size=8", "--set", "num_epochs=2")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sweep.run", *map(str, arguments)]


def sweep(*arguments: object, timeout: float = 550) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, env=os.environ
    )


def start(log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """A sweep in a process group of its own, as a shell starts it; its output goes to `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(command(*arguments), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0)


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
