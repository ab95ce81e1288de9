"""A sweep on all nodes of a SLURM job: the program that cluster-slurm.sbatch becomes, on the first of them.

    python -m sweep.scheduling.slurm.job --grid paper --data Galaxy10_DECals.h5     # any of sweep.run's options

By `srun` it starts one small program a node (`sweep.scheduling.slurm.node`), which says what that node is, is told the
ports, and runs Ray there until its standard input ends: so no Ray outlives this process, whatever ends it. When all
nodes are in, the sweep runs as a process of its own. SIGUSR1, which SLURM sends ahead of the time limit, and SIGTERM
end the sweep as Ctrl-C does and put the job back into the queue; then the same command goes on.
Exit status: the sweep's; 2 where the nodes are not fit, or one does not come.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Any, Final

from galaxytl.system.command import Ended, UsageError, run_command
from sweep.scheduling.ray_files import check_token
from sweep.scheduling.slurm.ports import FIRST, NUM_PORTS

NODE: Final = "sweep.scheduling.slurm.node"
SWEEP: Final = ("-m", "sweep.run")
"""What runs when all nodes are in; a test puts a witness in its place."""
LOOK_SECONDS: Final = 180.0
"""For a node's first word: it starts a Python from a file system that the whole site may be reading."""
RAY_SECONDS: Final = 300.0
"""For Ray on a node: 10 s on a quiet one, minutes where the project's files are read over a busy network."""
END_SECONDS: Final = 20.0
"""For a node to end its Ray: less than the 30 s that SLURM leaves after SIGTERM (KillWait)."""
HEAD_SECONDS: Final = 2.0
"""How often to look whether the head still runs: the sweep itself waits a minute for one that has ended."""
MAX_SKEW: Final = 60.0
"""Seconds between two clocks, from which on they are refused, by the doctor too. S3 refuses requests that are 15
minutes off; by a minute, times in logs mislead."""
AGAIN: Final = "sbatch cluster-slurm.sbatch"


@dataclass(frozen=True)
class Job:
    """What SLURM says of the job that this process is in."""

    number: str
    nodes: tuple[str, ...]
    starts: int
    """How often it was put back into the queue before."""


@dataclass
class Node:
    """A node, and what it has said that nobody has read yet: dictionaries, and None when it has ended."""

    name: str
    step: subprocess.Popen[str]
    said: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    lines: list[str] = field(default_factory=list)
    """What it printed beside."""

    def tell(self, **what: object) -> None:
        with contextlib.suppress(OSError):  # it has ended: its answer will say so
            self._input.write(json.dumps(what) + "\n")
            self._input.flush()

    def answer(self, until: float, missing: str) -> dict[str, Any]:
        """Return its next word. Raises UsageError where it ends before, or says nothing until then."""
        try:
            word = self.said.get(timeout=max(0.1, until - time.monotonic()))
        except queue.Empty:
            word = None
        if word is None:
            why = f"it said: {' / '.join(self.lines[-3:])}" if self.lines else "it said nothing"
            raise UsageError(f"{missing}; {why}. Without that node: {AGAIN_WITHOUT.format(self.name)}")
        if problem := word.get("problem"):
            raise UsageError(f"{self.name}: {problem}")
        return word

    def close(self) -> None:
        """Have it end its Ray."""
        with contextlib.suppress(OSError):
            self._input.close()

    @property
    def _input(self) -> IO[str]:
        assert self.step.stdin
        return self.step.stdin


AGAIN_WITHOUT: Final = "sbatch --exclude={} cluster-slurm.sbatch ..., and tell your site"


def main(argv: Sequence[str] | None = None) -> int:
    options = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGUSR1, _end)
    return run_command(lambda: run(options))


def _end(number: int, _frame: FrameType | None) -> None:
    """Raise Ended, once: a second one must not cut the ending short."""
    signal.signal(number, signal.SIG_IGN)
    raise Ended(signal.Signals(number).name)


def run(options: Sequence[str]) -> int:
    """Run the sweep on the job's nodes; its exit status. Raises UsageError."""
    job = job_of(os.environ)
    restarts = f", start {job.starts + 1}" if job.starts else ""
    say(f"SLURM job {job.number}{restarts}: {', '.join(job.nodes)}")
    os.environ["RAY_AUTH_MODE"] = "token"
    if warning := check_token(starts_ray=True):
        say(f"note: {warning}")
    try:
        with nodes_of(job) as nodes:
            address = cluster_on(nodes)
            status = sweep_at(address, options, nodes[job.nodes[0]])
    except Ended as ended:
        end_of_time(job, str(ended), options)
        raise
    return status


def say(text: str) -> None:
    print(text, flush=True)


def job_of(environment: Mapping[str, str]) -> Job:
    """Return the job. Raises UsageError outside of one."""
    number, listed = environment.get("SLURM_JOB_ID"), environment.get("SLURM_JOB_NODELIST")
    if not number or not listed:
        raise UsageError(f"this runs on the first node of a SLURM job; got no SLURM_JOB_ID: {AGAIN} on the login node")
    names = _output("scontrol", "show", "hostnames", listed).split()
    return Job(number, tuple(names), int(environment.get("SLURM_RESTART_COUNT", 0)))


def _output(*command: str) -> str:
    """Return what a command of SLURM's prints. Raises UsageError where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise UsageError(f"SLURM must answer {shlex.join(command)}; it said: {said}") from error


# The nodes


@contextlib.contextmanager
def nodes_of(job: Job) -> Iterator[dict[str, Node]]:
    """Start the program on each node; at the end each has ended its Ray, and nothing but that."""
    nodes: dict[str, Node] = {}
    try:
        for name in job.nodes:
            nodes[name] = _start(name)
        yield nodes
    finally:
        for node in nodes.values():
            node.close()
        until = time.monotonic() + END_SECONDS
        for node in nodes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.step.wait(max(0.1, until - time.monotonic()))
            if node.step.poll() is None:
                node.step.kill()  # then SLURM ends what is left of the step
                node.step.wait()


def _start(name: str) -> Node:
    """Start a step on one node: all of the job's share of it, whatever SLURM would bind a task to by itself. A node
    that dies takes only its own step with it."""
    where = ["--nodes=1", "--ntasks=1", f"--nodelist={name}", "--no-kill", "--quiet", "--unbuffered", "--export=ALL"]
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")  # srun no longer looks at it since SLURM 22.05
    command = ["srun", *where, f"--cpus-per-task={cpus}" if cpus else "--cpu-bind=none"]
    step = subprocess.Popen(
        [*command, sys.executable, "-m", NODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    )
    node = Node(name, step)
    threading.Thread(target=_listen, args=(node,), daemon=True).start()
    return node


def _listen(node: Node) -> None:
    assert node.step.stdout
    for line in node.step.stdout:
        try:
            word = json.loads(line)
        except ValueError:
            word = line.strip()
        if isinstance(word, dict):
            node.said.put(word)
        if text := str(word.get("problem", "") if isinstance(word, dict) else word):
            node.lines.append(text)
            say(f"{node.name}: {text}")
    node.said.put(None)


def cluster_on(nodes: Mapping[str, Node]) -> str:
    """Start Ray on all nodes, the first of them its head; its address. Raises UsageError, which names the node that is
    not fit or does not come, and why."""
    began, until = time.time(), time.monotonic() + LOOK_SECONDS
    facts = {}
    for name, node in nodes.items():
        facts[name] = node.answer(until, f"{name} must start its Python within {LOOK_SECONDS:.0f} s; it did not")
    check_nodes(facts, began, time.time())
    base = common_ports(fact["free"] for fact in facts.values())
    said = ", ".join(f"{name} {facts[name]['granted']}" for name in nodes)
    say(f"SLURM gave: {said}; ports from {base}")
    head, *others = nodes.values()
    until = time.monotonic() + RAY_SECONDS
    late = "Ray must start on {} within {:.0f} s; it did not"
    head.tell(address="", base=base)
    address = str(head.answer(until, late.format(head.name, RAY_SECONDS))["address"])
    for node in others:
        node.tell(address=address, base=base)
    for node in others:
        node.answer(until, late.format(node.name, RAY_SECONDS))
    say(f"Ray runs on {len(nodes)} of {len(nodes)} nodes, at {address}")
    return address


def check_nodes(facts: Mapping[str, Mapping[str, Any]], began: float, ended: float) -> None:
    """Raise UsageError where a node has another Python than this one, or another time than between the two."""
    for name, fact in facts.items():
        ours, theirs = platform.python_version(), str(fact["python"])
        if theirs.rpartition(".")[0] != ours.rpartition(".")[0]:
            raise UsageError(
                f"all nodes must have the same Python; {name} has {theirs}, and the first node {ours}: make the "
                f"environment with one that all nodes have (a module, conda), or {AGAIN_WITHOUT.format(name)}"
            )
        off = max(0.0, float(fact["time"]) - ended, began - float(fact["time"]))
        if off >= MAX_SKEW:
            found = f"the clock of {name} is {off:.0f} s off"
            raise UsageError(f"all nodes must have the same time; {found}: {AGAIN_WITHOUT.format(name)}")


def common_ports(free: Iterable[Sequence[int]]) -> int:
    """Return the first ports that are free on all nodes; `free` has those of each, the job's own at first. Raises
    UsageError."""
    first, *others = free
    for port in first:
        if all(port in other for other in others):
            return port
    raise UsageError(
        f"Ray needs {NUM_PORTS} free ports in a row, from {FIRST} on; no node has them: sbatch --exclusive ..."
    )


# The sweep


def sweep_at(address: str, options: Sequence[str], head: Node) -> int:
    """Run the sweep; its exit status. Where this process is to end, or the head has ended, so does the sweep before."""
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONUNBUFFERED": "1"}
    sweep = subprocess.Popen([sys.executable, *SWEEP, *options], env=environment, process_group=0)
    try:
        while sweep.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                sweep.wait(HEAD_SECONDS)
            if sweep.poll() is None:
                check_head(head)
    except (KeyboardInterrupt, UsageError):  # Ended is one
        had_ended = sweep.poll() is not None
        if not had_ended:
            sweep.terminate()
            sweep.wait()
        if sweep.returncode and not (had_ended and sweep.returncode == 1):  # else it came to its end meanwhile
            raise
    return sweep.returncode if sweep.returncode >= 0 else 128 - sweep.returncode


def check_head(head: Node) -> None:
    """Raise Ended where SLURM has ended the head's step, as it does first where the job is preempted; UsageError where
    the head has ended otherwise."""
    status = head.step.poll()
    if status == 128 + signal.SIGTERM:
        raise Ended("SIGTERM")
    if status is not None:
        said = " / ".join(head.lines[-3:]) or "nothing"
        raise UsageError(f"Ray's head must run as long as the sweep does; {head.name}: {said}. The same sbatch goes on")


def end_of_time(job: Job, why: str, options: Sequence[str]) -> None:
    """Put the job back into the queue, unless SLURM is about to end it: cancelled jobs stay so, and preempted ones come
    back by themselves."""
    again = f"{AGAIN} {shlex.join(options)}".strip()
    if state_of(job.number) != "RUNNING":
        say(f"{why}: SLURM ends the job. Go on with: {again}")
        return
    say(f"{why}: the job goes back into the queue (scontrol requeue {job.number}); its next start goes on")
    done = subprocess.run(["scontrol", "requeue", job.number], capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"error: the job must be put back by hand; SLURM said: {done.stderr.strip()}. Go on with: {again}")


def state_of(job: str) -> str:
    """Return what SLURM says of the job, like RUNNING; COMPLETING, once it is about to end."""
    try:
        return _output("squeue", "--noheader", "--format=%T", f"--jobs={job}").strip() or "gone"
    except UsageError:
        return "gone"


if __name__ == "__main__":
    sys.exit(main())
