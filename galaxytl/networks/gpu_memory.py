"""The memory of the GPUs that this process was given: how much there is, who holds it, and waiting until it is free.

    wait_until_free(0.5, say=print)        # raises DeviceError when half of each GPU's memory does not become free

What NVIDIA's driver lists, by `nvidia-smi`, which comes with it. Other GPUs are not waited for.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WAIT_SECONDS: Final = 120.0
"""TensorFlow gives GPU memory back only when its process ends, which takes seconds; what is held longer is in use."""
NEEDED_SHARE: Final = 0.8
"""Of what a trial is given, this must be free: a screen, or the driver's own part, need not stop it."""
SMI_SECONDS: Final = 30


class DeviceError(RuntimeError):
    """What a process may compute on is not what it was given."""


@dataclass(frozen=True)
class GpuMemory:
    """Of one GPU; megabytes of 2**20 bytes."""

    index: str
    uuid: str
    total: int
    free: int
    holders: tuple[str, ...] = ()
    """The processes that hold some, as far as the driver lets them be seen."""


def read_memory() -> list[GpuMemory]:
    """Return all GPUs of this machine; none where NVIDIA's driver is not."""
    holders: dict[str, list[str]] = {}
    for uuid, pid, name, used in _ask("compute-apps", "gpu_uuid,pid,process_name,used_memory"):
        holders.setdefault(uuid, []).append(f"process {pid} ({name.rpartition('/')[2]}, {used} MiB)")
    return [
        GpuMemory(index, uuid, int(total), int(free), tuple(holders.get(uuid, ())))
        for index, uuid, total, free in _ask("gpu", "index,uuid,memory.total,memory.free")
        if total.isdecimal() and free.isdecimal()  # "[N/A]" where memory is shared with the CPU
    ]


def driver_gpus() -> int:
    """Count the GPUs that nvidia-smi lists; 0 without it."""
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def _ask(what: str, columns: str) -> list[list[str]]:
    """Return the rows of `nvidia-smi --query-...`; none where it is not, or does not answer."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", f"--query-{what}={columns}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in row] for row in csv.reader(listed.splitlines())]
    return [row for row in rows if len(row) == len(columns.split(","))]


def visible(gpus: Sequence[GpuMemory], environment: Mapping[str, str] = os.environ) -> list[GpuMemory]:
    """Return those that CUDA_VISIBLE_DEVICES names, by number or beginning of their UUID; all where it is not set."""
    names = environment.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return list(gpus)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    return [gpu for gpu in gpus if any(gpu.index == name or gpu.uuid.startswith(name) for name in wanted)]


def wait_until_free(
    share: float,
    say: Callable[[str], object],
    read: Callable[[], list[GpuMemory]] = read_memory,
    seconds: float = WAIT_SECONDS,
) -> None:
    """Return when of each GPU given to this process enough memory is free for `share` of it.

    To be called before this process takes any itself. Raises DeviceError after `seconds`, with who holds it.
    """
    until = time.monotonic() + seconds
    while full := [gpu for gpu in visible(read()) if gpu.free < NEEDED_SHARE * min(1.0, share) * gpu.total]:
        if time.monotonic() >= until:
            raise DeviceError(_still_full(full[0], share, seconds))
        say("waiting for the GPU's memory")
        time.sleep(min(1.0, seconds / 10))


def _still_full(gpu: GpuMemory, share: float, seconds: float) -> str:
    needed = int(NEEDED_SHARE * min(1.0, share) * gpu.total)
    holders = f"held by {', '.join(gpu.holders)}" if gpu.holders else "the driver does not say who holds the rest"
    return (
        f"GPU {gpu.index} of {socket.gethostname()} must have {needed:,} MiB free for a trial; after {seconds:g} s "
        f"it has {gpu.free:,} of {gpu.total:,}: {holders}. End what holds it, or share the GPU: --trials-per-gpu"
    )
