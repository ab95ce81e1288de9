"""Workers of a local cluster are forked from a process that has imported the framework while Ray starts.

    with fork_server(folder, code, log) as variables:  # the driver: the server ends with the block
        os.environ |= variables
        ray.init(...)  # which starts this file, as a program, for each worker

A worker would import the framework itself, five seconds of a core each. In place of that this program asks the server
for a fork, which becomes the worker, and lives as long as that. Where no server answers, it becomes what Ray would have
started. The server computes nothing and looks for no device: how many threads a worker has is known with its first
group. Standard library only until the framework is imported, as each worker begins with this file.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

SOCKET: Final = "GALAXYTL_FORK_SERVER"
"""The variable with the path of the server's socket."""
SOCKET_FILE: Final = "fork"
"""Its name."""
SECONDS: Final = 40.0
"""In which the server must answer; it imports meanwhile. Ray waits for a worker for 60."""
OF_RAYS_SETUP: Final = "--serialized-runtime-env-context="
"""How the argument begins that tells Ray's `setup_worker.py` which environment a worker is to have, as JSON."""
SERVE: Final = "--serve"
FRAMEWORK: Final = "galaxytl.networks.device"
"""Has `load`."""
AT_WORK: Final = ("galaxytl.training", "galaxytl.learning.groups", "galaxytl.learning.network_run", "pandas")
"""What a worker imports with its first group, and with that all that they import. Nothing of Ray's: it reads the
environment of the process at its import."""


@dataclass(frozen=True)
class Request:
    """What a worker is started with."""

    arguments: tuple[str, ...]
    """The program's path first."""
    environment: dict[str, str]
    folder: str


@contextlib.contextmanager
def fork_server(folder: Path, code: Path, log: Path) -> Iterator[Mapping[str, str]]:
    """Start the server, with a socket in `folder`; gives the variables by which workers find it. There are none where
    forks of such a process are not known to be safe: on other systems than Linux.

    code: the folder with `galaxytl`. log: told why there is no server, where it fails; workers do without it then.
    """
    if sys.platform != "linux":
        yield {}
        return
    path = folder / SOCKET_FILE
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, __file__, SERVE, str(listener.fileno()), str(code), str(log)],
            stdin=subprocess.PIPE,  # its end says that the driver has ended
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # of what TensorFlow's C++ parts write while it is imported
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the driver
        )
    try:
        yield {SOCKET: str(path)}
    finally:
        server.kill()
        server.communicate()


def serve(listener: socket.socket, code: Path, log: Path) -> Request | None:
    """Import the framework, then fork a worker for each that asks. Returns in each of these, with what it is to be; and
    None in the server, when its driver has ended, or it cannot import."""
    paths = sys.path[1:]  # without the folder of this file
    sys.path[:] = [str(code), *paths]
    try:
        importlib.import_module(FRAMEWORK).load()
        for name in AT_WORK:
            importlib.import_module(name)
    except Exception:
        with log.open("a") as file:
            traceback.print_exc(file=file)
        return None
    sys.path[:] = ["", *paths]
    gc.collect()
    gc.freeze()  # or the first collection of each worker would write to, and so copy, all of this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leaves no zombies
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        connection, _ = listener.accept()
        try:
            request, files = _received(connection)
        except (OSError, ValueError):  # it has gone
            connection.close()
            continue
        if not os.fork():
            listener.close()
            _become(request, files, connection)
            return request
        for number in files:
            os.close(number)
        connection.close()


def _received(connection: socket.socket) -> tuple[Request, list[int]]:
    """Return what the other side wants, and its three standard files. Raises OSError and ValueError where it has gone,
    as when it did not wait."""
    connection.settimeout(5)
    connection.sendall(b"?")
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as sent:
        values = json.loads(sent.readline())
    return Request(tuple(values["arguments"]), values["environment"], values["folder"]), files


def _become(request: Request, files: Sequence[int], connection: socket.socket) -> None:
    """Make this fork what `request` says, but for its program."""
    os.setpgrp()  # Ray ends what is left of a worker by its group
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.argv = list(request.arguments)
    sys.path[0] = str(Path(sys.argv[0]).parent)
    _live_as_long(os.dup(connection.fileno()))
    connection.sendall(b"!")


def _live_as_long(other: int) -> None:
    """End this process when the one at the other end of this socket does: Ray knows no other until the worker tells it
    of itself. And that one waits for the end of this."""
    fcntl.fcntl(other, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(other, fcntl.F_SETFL, fcntl.fcntl(other, fcntl.F_GETFL) | os.O_ASYNC)  # then comes SIGIO, which ends it
    if select.select([other], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)  # it has ended already


def request_of(words: Sequence[str], environment: Mapping[str, str]) -> Request | None:
    """Return what Ray starts a worker with; None where it wants more than a fork, and variables of its own."""
    context: dict[str, Any] = {}
    arguments = []
    for word in words:
        if word.startswith(OF_RAYS_SETUP):
            context = json.loads(word.removeprefix(OF_RAYS_SETUP) or "{}")
        elif word != "--language=PYTHON":
            arguments.append(word)
    added = context.pop("env_vars", {})
    usual = context.pop("py_executable", sys.executable) == sys.executable and not any(context.values())
    if not usual or "$" in "".join(added.values()) or not arguments[0].endswith(".py"):
        return None
    return Request(tuple(arguments), {**environment, **added}, os.getcwd())


def forked(request: Request, path: str) -> bool:
    """Have the server at `path` fork a worker, and wait until that ends. False: there is none, and no other will come
    of it, as a fork ends with this connection."""
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(SECONDS)
        try:
            server.connect(path)
            server.recv(1)  # it has imported all
            socket.send_fds(server, [b"!"], [0, 1, 2])
            server.sendall(json.dumps(asdict(request)).encode() + b"\n")
            if not server.recv(1):
                return False
        except OSError:
            return False
        server.settimeout(None)
        server.recv(1)
    return True


def main(words: Sequence[str]) -> None:
    """Serve, or become a worker."""
    if words[0] == SERVE:
        request = serve(socket.socket(fileno=int(words[1])), Path(words[2]), Path(words[3]))
        if request:
            runpy.run_path(request.arguments[0], run_name="__main__")
        return
    path, raylet = os.environ.pop(SOCKET, ""), os.getppid()
    request = request_of(words, os.environ)
    if request and path and forked(request, path):
        return
    if os.getppid() != raylet:  # it has ended, as its driver has, and the server with that: nobody wants this worker
        return
    worker = next(Path(word) for word in words if word.endswith("default_worker.py"))
    os.execv(sys.executable, [sys.executable, str(worker.with_name("setup_worker.py")), *words])


if __name__ == "__main__":
    main(sys.argv[1:])
