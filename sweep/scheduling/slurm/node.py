"""One node of a SLURM job: says what it is, is told its ports, and runs Ray until its standard input ends.

    srun --nodes=1 --ntasks=1 python -m sweep.scheduling.slurm.node          # `sweep.scheduling.slurm.job` does

Each word is a line of JSON. Out: what the node is. In: the head's address ("" for the head itself) and the first port.
Out: the address, when Ray runs. Then it waits. What Ray may use here is what SLURM granted, never what the machine has.
"""

from __future__ import annotations

import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from galaxytl.system.command import UsageError
from sweep.scheduling.ray_files import own_folder
from sweep.scheduling.slurm import ports

OBJECT_STORE: Final = 200 * 2**20
"""Bytes: arrays travel through files, not Ray. By itself Ray would take a third of the machine's memory."""
ATTEMPTS: Final = 4
"""Ray (2.60) gives up after 30 s where a node is busy, or its files come over a busy network; it has no setting for
that."""
END_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Granted:
    """What SLURM lets the job use of this node."""

    cpus: int
    gpus: int
    megabytes: int
    """0: SLURM does not say, as where it hands out whole nodes."""

    def __str__(self) -> str:
        memory = f", {self.megabytes / 1024:.0f} GiB" if self.megabytes else ""
        return f"{self.cpus} CPUs, {self.gpus} GPUs{memory}"


def granted(environment: Mapping[str, str]) -> Granted:
    """Return what SLURM's variables say. Raises UsageError where they say nothing.

    Source: the list of environment variables in SLURM's manual of srun."""
    cpus = environment.get("SLURM_CPUS_ON_NODE", "")
    if not cpus.isdecimal():
        raise UsageError(f"SLURM must say how many CPUs it gives (SLURM_CPUS_ON_NODE); got '{cpus}'")
    listed = environment.get("CUDA_VISIBLE_DEVICES", "").replace("NoDevFiles", "")  # as SLURM before 19 says: none
    devices = [name for name in listed.split(",") if name.strip()]
    gpus = environment.get("SLURM_GPUS_ON_NODE", "")
    by_cpu = int(environment.get("SLURM_MEM_PER_CPU") or 0) * int(cpus)
    memory = int(environment.get("SLURM_MEM_PER_NODE") or 0) or by_cpu
    return Granted(int(cpus), int(gpus) if gpus.isdecimal() else len(devices), memory)


def start_options(share: Granted, name: str, told: Mapping[str, Any], folder: str) -> list[str]:
    """Return the options of `ray start` on this node."""
    head = str(told["address"])
    options = ports.options(int(told["base"]), is_head=not head)
    options += [f"--num-cpus={share.cpus}", f"--num-gpus={share.gpus}", f"--node-name={name}"]
    options += [f"--object-store-memory={OBJECT_STORE}", f"--temp-dir={folder}", "--block", "--disable-usage-stats"]
    if share.megabytes:
        options.append(f"--memory={share.megabytes * 2**20 - OBJECT_STORE}")
    if head:
        return [f"--address={head}", *options]
    closed = ["--include-dashboard=false", "--dashboard-host=127.0.0.1"]
    return ["--head", *closed, '--system-config={"enable_metrics_collection": false}', *options]


def address_for(name: str) -> str:
    """Return the address under which the site knows this node; "" where that is its loopback, as some files say."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)]
    except OSError:
        return ""
    return next((address for address in found if not address.startswith("127.")), "")


def main() -> int:
    signal.signal(signal.SIGTERM, _end_program)  # from SLURM, where it ends the job
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    try:
        share = granted(os.environ)
        facts = {"node": name, "python": platform.python_version(), "time": time.time(), "granted": str(share)}
        _word(**facts, free=ports.free(int(os.environ["SLURM_JOB_ID"])))
        if not (told := sys.stdin.readline()):
            return 0
        with own_folder() as folder:
            return _run_ray(share, name, json.loads(told), Path(folder))
    except UsageError as error:
        _word(problem=str(error))
        return 2


def _end_program(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # it comes to each process of a step, and perhaps again
    sys.exit(128 + number)


def _word(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _run_ray(share: Granted, name: str, told: Mapping[str, Any], folder: Path) -> int:
    options = start_options(share, name, told, str(folder))
    if address := address_for(name):
        options.append(f"--node-ip-address={address}")
    environment = {**os.environ, **({} if told["address"] else ports.variables(int(told["base"])))}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    log, started = folder / "start.log", folder / "ray_current_cluster"
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with log.open("wb") as said:
            ray = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0
            )
        try:
            if _waits(ray, started):
                return 0
        finally:
            _end(ray)
        if started.exists():
            break  # it ran
    _word(problem=f"Ray ended; it said: {last_words(log.read_text(errors='replace'))}")
    return 1


def _waits(ray: subprocess.Popen[bytes], started: Path) -> bool:
    """Say when Ray runs, and wait until standard input ends; return whether it did, or Ray before."""
    while ray.poll() is None and not started.exists():
        if _input_ended(0.2):
            return True
    if ray.poll() is None:
        _word(address=started.read_text().strip())
    while ray.poll() is None:
        if _input_ended(1.0):
            return True
    return False


def last_words(log: str) -> str:
    """Return of Ray's output the last error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return (errors or lines or ["nothing"])[-1][:600]


def _input_ended(seconds: float) -> bool:
    """Return whether nobody will tell this program anything more, after waiting so long at most."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def _end(ray: subprocess.Popen[bytes]) -> None:
    """End this node's Ray alone: `ray stop` would end every Ray that the user has on the machine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if ray.poll() is None:
            ray.send_signal(number)
            try:
                ray.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                continue


if __name__ == "__main__":
    sys.exit(main())
