"""Is a batch file fit for this site's SLURM? On the login node, without a job, and without a place in the queue.

    findings = check_slurm(Path("cluster-slurm.sbatch"))

What the file asks for is compared with what the partitions have, because SLURM itself answers "Requested node
configuration is not available"; then SLURM is asked whether it would take the job (`sbatch --test-only`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from galaxytl.system.files import network_file_system
from sweep.doctor.checks import Finding, Status

Found = Iterator[tuple[str, Status, str]]

COMMANDS: Final = ("sbatch", "srun", "sinfo", "squeue", "scontrol")
TABLE: Final = "%R|%P|%D|%c|%m|%G|%l|%a"
"""Of sinfo: partition, the same with a star if it is the default, nodes, CPUs, megabytes, GPUs, longest time, whether
it is up."""
SECONDS: Final = 60
"""For an answer of SLURM's: its controller may be busy."""
MEBIBYTE: Final = 2**20
UNITS: Final = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
"""Megabytes, by the letter after sbatch's --mem."""


@dataclass(frozen=True)
class Partition:
    """Nodes that are alike, of one partition."""

    name: str
    is_default: bool
    nodes: int
    cpus: int
    megabytes: int
    gpus: int
    """A node's."""
    minutes: float
    is_up: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.gpus} GPUs, {self.cpus} CPUs, {self.megabytes / 1024:.0f} GiB a node)"


@dataclass(frozen=True)
class Request:
    """What a batch file asks for, of each node."""

    partition: str
    """"": the default."""
    nodes: int
    cpus: int
    gpus: int
    megabytes: float
    minutes: float | None
    """None: as long as the partition gives by itself."""
    options: Mapping[str, str]
    """All, by name."""


def check_slurm(file: Path) -> list[Finding]:
    """Return findings about the commands, the file, what it asks for, and the folders."""
    return [Finding("SLURM", check, status, message) for check, status, message in _findings(file)]


def _findings(file: Path) -> Found:
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        advice = "ask on the site's login node, perhaps after module load slurm"
        yield "commands", "FAIL", f"SLURM's {', '.join(missing)} must be there, and is not: {advice}"
        return
    if not file.is_file():
        yield "file", "FAIL", f"{file} must be there: --slurm takes a file like cluster-slurm.sbatch"
        return
    request = request_of(file.read_text(errors="replace"))
    table = _ask("sinfo", "--noheader", f"--format={TABLE}")
    if table.returncode:
        yield "SLURM", "FAIL", f"it must answer sinfo; it said: {_last(table)}"
        return
    problems = list(check_request(request, partitions_of(table.stdout)))
    yield from problems
    if not any(status == "FAIL" for _, status, _ in problems):
        yield check_test(_ask("sbatch", "--test-only", str(file)))
    yield from check_ends(request.options)
    yield from check_folders()


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"nothing within {SECONDS} s")


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return re.sub(r"^(sbatch|sinfo|squeue): (error: )?", "", lines[-1]) if lines else "nothing"


# What the file asks for


def request_of(text: str) -> Request:
    """Return what the #SBATCH lines say, in their long form or with -p, -N, -c, -t and -A."""
    short = {"p": "partition", "N": "nodes", "c": "cpus-per-task", "t": "time", "A": "account"}
    options: dict[str, str] = {}
    for line in re.findall(r"^#SBATCH\s+(\S.*)$", text, re.MULTILINE):
        name, _, value = line.split(" #")[0].strip().replace("=", " ", 1).partition(" ")
        name = name.lstrip("-")
        options[short.get(name, name)] = value.strip()
    gpus = options.get("gpus-per-node") or options.get("gres", "").removeprefix("gpu:")
    return Request(
        partition=os.environ.get("SBATCH_PARTITION") or options.get("partition", ""),
        nodes=_number(options.get("nodes", "1")) or 1,
        cpus=_number(options.get("cpus-per-task", "1")) or 1,
        gpus=_number(gpus.rpartition(":")[2]) if gpus else 0,
        megabytes=_megabytes(options.get("mem", "0")),
        minutes=minutes_of(options["time"]) if options.get("time") else None,
        options=options,
    )


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _megabytes(text: str) -> float:
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text.strip().upper())
    return int(found[1]) * UNITS[found[2] or "M"] if found else 0.0


def minutes_of(text: str) -> float:
    """Return a time of SLURM's: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].

    >>> minutes_of("90"), minutes_of("04:00:00"), minutes_of("1-12"), minutes_of("infinite")
    (90.0, 240.0, 2160.0, inf)
    """
    if not re.fullmatch(r"[\d:-]+", text):
        return float("inf")
    days, dash, rest = text.rpartition("-")
    parts = [float(part or 0) for part in rest.split(":")]
    units = (60.0, 1.0, 1 / 60) if dash or len(parts) == 3 else (1.0, 1 / 60)
    return float(days or 0) * 1440 + sum(part * unit for part, unit in zip(parts, units, strict=False))


def partitions_of(table: str) -> list[Partition]:
    """Return what sinfo prints by TABLE."""
    rows = [line.split("|") for line in table.splitlines() if line.count("|") == TABLE.count("|")]
    return [
        Partition(
            name=name,
            is_default=starred.endswith("*"),
            nodes=_number(nodes),
            cpus=_number(cpus),
            megabytes=_number(memory),
            gpus=sum(int(count) for count in re.findall(r"gpu:(?:[^:,()]+:)?(\d+)", gres)),
            minutes=minutes_of(longest),
            is_up=state == "up",
        )
        for name, starred, nodes, cpus, memory, gres, longest, state in rows
    ]


def check_request(request: Request, partitions: Sequence[Partition]) -> Found:
    """Yield what is wrong with a request, and where it could go; or where it goes."""
    names = list(dict.fromkeys(part.name for part in partitions))
    own = [p for p in partitions if (p.name == request.partition if request.partition else p.is_default)]
    if not own:
        wanted = f"must be one of {', '.join(names)}" if request.partition else "must be named: the site has no default"
        yield "partition", "FAIL", f"--partition {wanted}; got '{request.partition}'"
        return
    name = own[0].name
    fitting = [part for part in own if _holds(part, request)]
    if not fitting:
        others = [str(part) for part in partitions if part.is_up and part.name != name and _holds(part, request)]
        advice = f"such are in {', '.join(others)}" if others else "ask for less, in the file's #SBATCH lines"
        wanted = f"{request.gpus} GPUs, {request.cpus} CPUs and {request.megabytes / 1024:.0f} GiB"
        has = f"of each node {wanted} are asked for; there are {' or '.join(map(str, own))}"
        yield "nodes", "FAIL", f"{has}: {advice}"
        return
    problems = list(_check_limits(request, fitting))
    yield from problems
    if not request.gpus:
        yield "GPUs", "WARN", "the file asks for no GPU (--gpus-per-node): trials run on CPUs"
    if not problems:
        yield "partition", "OK", f"{fitting[0]}: {sum(part.nodes for part in fitting)} nodes"


def _check_limits(request: Request, fitting: Sequence[Partition]) -> Found:
    """Yield what a partition refuses whose nodes would do."""
    name, count = fitting[0].name, sum(part.nodes for part in fitting)
    if count < request.nodes:
        yield "nodes", "FAIL", f"--nodes must be {count} at most, as many as {name} has of such; got {request.nodes}"
    longest = max(part.minutes for part in fitting)
    if request.minutes is not None and request.minutes > longest:
        text = f"--time must be {longest:.0f} minutes at most in {name}; got {request.minutes:.0f}"
        yield "time", "FAIL", f"{text}, with which the job would wait for ever"
    if not any(part.is_up for part in fitting):
        yield "partition", "FAIL", f"{name} is closed (sinfo says down or drained): take another, or wait"


def _holds(part: Partition, request: Request) -> bool:
    return part.gpus >= request.gpus and part.cpus >= request.cpus and part.megabytes >= request.megabytes


def check_test(done: subprocess.CompletedProcess[str]) -> tuple[str, Status, str]:
    """Return a finding of what `sbatch --test-only` said."""
    said = _last(done)
    if not done.returncode and "to start at" in said:
        return "sbatch", "OK", f"SLURM takes it: {said}"
    advice = "try by hand: sbatch --test-only cluster-slurm.sbatch"
    if "account" in said.lower():
        advice = "name one of yours by --account: sacctmgr show associations user=$USER format=account,partition,qos"
    elif "qos" in said.lower():
        advice = "name one of yours by --qos: sacctmgr show associations user=$USER format=account,partition,qos"
    return "sbatch", "FAIL", f"SLURM must take the file; it said: {said}: {advice}"


def check_ends(options: Mapping[str, str]) -> Found:
    """Yield what of the file would lose work where the time is over, or where others take the nodes."""
    signal = options.get("signal", "")
    if not re.fullmatch(r"B:(SIG)?USR1@\d+", signal):
        text = "without --signal=B:USR1@180 the time limit ends the sweep, and nobody goes on"
        yield "time", "WARN", f"{text}; got '{signal}'"
    if "requeue" not in options:
        yield "requeue", "WARN", "without --requeue the job does not come back: type the same sbatch again"


# Folders


def check_folders() -> Found:
    """Yield whether the home and the working folder can be written, and whether other machines see this one's."""
    for what, folder in (("home", Path.home()), ("folder", Path.cwd())):
        if problem := write_problem(folder):
            text = f"{folder} must take another megabyte; it does not: {problem}"
            yield what, "FAIL", f"{text}. Make room there (quota -s, or what the site has, tells how much)"
        else:
            yield what, "OK", f"{folder} can be written"
    if not network_file_system(Path.cwd()):
        text = f"{Path.cwd()} lies on no network's file system that is known: do the nodes see it? srun ls {Path.cwd()}"
        yield "folder", "WARN", text


def write_problem(folder: Path) -> str:
    """Return why a megabyte more cannot be written there; "" where it can."""
    mark = folder / f".doctor-{os.getpid()}"
    try:
        with mark.open("xb") as file:
            file.write(os.urandom(MEBIBYTE))  # a file system that compresses would take zeros
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    finally:
        mark.unlink(missing_ok=True)
    return ""
