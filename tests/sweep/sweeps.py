"""Sweeps as a user starts them: real processes, real Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

QUICK = ("--set", "image_size=32", "--set", "batch_size=8", "--set", "num_epochs=2")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sweep.run", *map(str, arguments)]


def sweep(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, env=os.environ
    )


def start(log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """A sweep in a process group of its own, as a shell starts it; its output goes to `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(command(*arguments), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, process_group=0)


def wait_for(condition: Callable[[], object], what: str, timeout: float = 120) -> None:
    stop = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > stop:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(0.1)


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
