"""What goes wrong at each step of a driver that keeps a lease and rows: files that are late, an S3 that is worse.

    slow_files(folder, Mischief(seed, note, delay=0.3, stops=2))     # in the driver's process
    with faulty_s3(url, mischief) as proxied: ...                    # an URL of its own for one driver

A step has a name ("before replace lease.json", "after PUT rows"). Of a lease, one that was seen seldom is the likelier
to be hit, so that its taking, of which there are few, is hit as often as its beats.
"""

from __future__ import annotations

import builtins
import contextlib
import http.client
import http.server
import io
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("late", "503", "dropped before", "dropped after")
"""Of a request to S3; the last was done by the server, which the driver does not hear."""
WRITES_ROWS = "PUT rows"
"""A step of a driver at S3."""


@dataclass
class Mischief:
    """Of one driver. Its die is thrown in the order of its own steps."""

    seed: str
    note: Callable[[str, str], object]
    """Told of each fault, and where."""
    delay: float = 0.0
    """Seconds, at most, that a step is late."""
    often: float = 0.3
    """The share of steps that are late, or of requests that fail."""
    stops: int = 0
    """How often the driver is suspended where it writes rows, at most, and as often at other steps."""
    faults: tuple[str, ...] = FAULTS
    seen: Counter[str] = field(default_factory=Counter)
    stopped: Counter[bool] = field(default_factory=Counter)
    """How often: at steps of rows, and at others."""
    lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def late(self, step: str) -> float:
        """Seconds."""
        with self.lock:
            seconds = self.random.uniform(0, self.delay) if self.random.random() < self.often else 0.0
        if seconds:
            self.note("late", step)
        return seconds

    def stops_at(self, step: str) -> bool:
        is_of_rows = "rows" in step or "trials" in step
        with self.lock:
            self.seen[step] += 1
            hit = self.random.random() < _chance(step, self.seen[step]) and self.stopped[is_of_rows] < self.stops
            self.stopped[is_of_rows] += hit
        if hit:
            self.note("stop", step)
        return hit

    def fault(self, step: str) -> str:
        with self.lock:
            fault = self.random.choice(self.faults) if self.random.random() < self.often else ""
        if fault:
            self.note(fault, step)
        return fault


def _chance(step: str, seen: int) -> float:
    """Of a stop at a step that was seen so often: rows matter most, trials of writing not at all."""
    if ".writable" in step:
        return 0.0
    if WRITES_ROWS in step or "write trials" in step:
        return 0.3
    return 0.05 if "rows" in step or "trials" in step else 0.15 / seen


# Files, in the driver's own process


WRITING = (
    *("open", "write", "fsync", "fdatasync", "replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir"),
    *("truncate", "ftruncate", "utime", "scandir", "listdir", "stat"),
)
"""Functions of `os`; those that do not exist on a system are left out."""


def slow_files(folder: Path, mischief: Mischief) -> None:
    """From now on each step of this process in `folder` may be late, before it is done or before it returns, as on a
    slow NFS; and the process may suspend itself there."""
    inside = str(folder.resolve()) + "/"
    busy = threading.local()

    def wrap(place: Any, name: str) -> None:
        original = getattr(place, name)

        def act(*given: Any, **settings: Any) -> Any:
            path = None if getattr(busy, "is_in", False) else _path_of(given)
            if path is None or not path.startswith(inside):
                return original(*given, **settings)
            busy.is_in = True
            try:
                step = f"{name} {_kind(path)}"
                _at(f"before {step}", mischief)
                answer = original(*given, **settings)
                _at(f"after {step}", mischief)
                return answer
            finally:
                busy.is_in = False

        setattr(place, name, act)

    for name in WRITING:
        if hasattr(os, name):
            wrap(os, name)
    wrap(io, "open")
    builtins.open = io.open


def _at(step: str, mischief: Mischief) -> None:
    if mischief.stops_at(step):
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(mischief.late(step))


def _path_of(given: tuple[Any, ...]) -> str | None:
    """The file that a function of `os` is asked for: by its path, or as an open one."""
    if not given:
        return None
    try:
        return os.readlink(f"/proc/self/fd/{given[0]}") if isinstance(given[0], int) else os.path.abspath(given[0])
    except (OSError, TypeError):
        return None


def _kind(path: str) -> str:
    """Its name, without what is of one driver or piece alone."""
    return re.sub(r"[0-9a-f]{8,}|[0-9]+", "*", os.path.basename(path.rstrip("/").removesuffix(" (deleted)")))


# S3


OF_A_CONNECTION = ("content-length", "transfer-encoding", "connection", "expect")


class FaultyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, to: str, mischief: Mischief, suspend: Callable[[str], object]) -> None:
        """to: host and port of the server that answers."""
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.to, self.mischief, self.suspend = to, mischief, suspend

    def handle_error(self, *_: Any) -> None:
        """A driver that was killed takes no answer."""


class Forwarding(http.server.BaseHTTPRequestHandler):
    """Hands a request on, as far as the mischief lets it."""

    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        mischief, body = self.server.mischief, self.body()
        step = f"{self.command} {_object(self.path)}"
        fault = mischief.fault(step)
        if mischief.stops_at(f"before {step}"):
            self.server.suspend(step)
        if fault == "503":
            return self.answer(503, [], b"<Error><Code>SlowDown</Code><Message>wait</Message></Error>")
        if fault == "dropped before":
            return self.drop()
        if fault == "late":
            time.sleep(mischief.random.uniform(0, mischief.delay))
        status, headers, content = self.ask(body)
        if mischief.stops_at(f"after {step}"):
            self.server.suspend(step)
        if fault == "dropped after":
            return self.drop()
        return self.answer(status, headers, content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            """A trailer."""
        return b"".join(pieces)

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection(self.server.to, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in OF_A_CONNECTION}
        headers = {**kept, "Content-Length": str(len(body))}
        try:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        length = next((value for name, value in headers if name.lower() == "content-length"), len(content))
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in (*OF_A_CONNECTION, "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length if self.command == "HEAD" else len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def drop(self) -> None:
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def faulty_s3(url: str, mischief: Mischief, suspend: Callable[[str], object]) -> Iterator[str]:
    """An URL whose requests go to the S3 server at `url`, as far as they do.

    suspend: stops the driver that asks, at the step that it is told, and returns when it goes on: a request that was
    under way is as late."""
    with FaultyServer(urlsplit(url).netloc, mischief, suspend) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _object(path: str) -> str:
    """rows, lease.json, a listing: what a request is about."""
    parts = urlsplit(path)
    if "list-type" in parts.query or "prefix" in parts.query:
        return "listing"
    names = [name for name in parts.path.split("/") if name][2:]  # of a bucket and a folder
    return "rows" if names[:1] == ["rows"] else _kind(names[0]) if names else "folder"
