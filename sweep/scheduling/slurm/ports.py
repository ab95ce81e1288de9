"""Ports of a Ray in a SLURM job: two jobs on a node draw different ones, by their numbers. Standard library only.

free(41)                        # [28400, 28800, ...]
options(28400, is_head=True)    # ["--node-manager-port=28400", ...]
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

FIRST: Final = 12_000
LAST: Final = 32_000
"""Between them Ray's ports lie: above those of most services, below what Linux gives to whoever asks for any (32768 to
60999)."""
NUM_PORTS: Final = 400
"""Of a job on each node: those that have a name, and one for each process of Ray's that works or drives, which can be
more than there are CPUs."""
TURNS: Final = 10
"""Places to look at, of which one is free."""
NAMED: Final = (
    "--node-manager-port",
    "--object-manager-port",
    "--metrics-export-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
)
OF_HEAD: Final = ("--port", "--ray-client-server-port", "--dashboard-port")
OF_HEADS_METRICS: Final = ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")
"""Variables that Ray reads; there are no options."""
NUM_NAMED: Final = len(NAMED) + len(OF_HEAD) + len(OF_HEADS_METRICS)


def first_port(number: int) -> int:
    """Return where the ports of a job of this number begin: fifty jobs in a row have different ones."""
    return FIRST + number % ((LAST - FIRST) // NUM_PORTS) * NUM_PORTS


def free(number: int) -> list[int]:
    """Return where ports begin that nobody uses on this machine: the job's own, if they are free, then the next."""
    return [first for turn in range(TURNS) if _are_free(first := first_port(number + turn))]


def _are_free(first: int) -> bool:
    try:
        with contextlib.ExitStack() as bound:
            for port in range(first, first + NUM_PORTS):
                taken = bound.enter_context(socket.socket())
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a Ray that has ended just now
                taken.bind(("", port))
    except OSError:
        return False
    return True


def options(first: int, is_head: bool) -> list[str]:
    """Return those of `ray start` by which it uses no ports but these."""
    names = [*NAMED, *(OF_HEAD if is_head else ())]
    named = [f"{name}={first + number}" for number, name in enumerate(names)]
    return [*named, f"--min-worker-port={first + NUM_NAMED}", f"--max-worker-port={first + NUM_PORTS - 1}"]


def variables(first: int) -> dict[str, str]:
    """Return environment variables by which the head uses no ports but these."""
    start = first + len(NAMED) + len(OF_HEAD)
    return {name: str(start + number) for number, name in enumerate(OF_HEADS_METRICS)}


def address_of(host: str, first: int) -> str:
    """Return HOST:PORT of the head."""
    return f"{host}:{first + len(NAMED)}"
