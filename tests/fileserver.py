"""A real HTTP server on loopback that serves files from memory, with ranges, and misbehaves on request."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from galaxytl.data.download.http import Patience

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTY = Patience(attempts=4, first_wait=0.01, read_timeout=60)


@dataclass
class Step:
    """What one request meets; the default is a server that does its work."""

    status: int = 0
    """An error to answer with, instead of the file."""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    ranges: bool = True
    length: bool = True
    """Announce the size."""
    stall: threading.Event | None = None
    """Wait for it in the middle of the body, before the connection is closed or the rest is sent."""


@dataclass
class Request:
    path: str
    range: str | None
    encoding: str | None
    sent: int = 0


class _QuietHandler(BaseHTTPRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client was killed: what the test wants
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, *args: object) -> None:
        """Say nothing: the tests look at `requests`."""


class FileServer:
    """`files` by path, `steps` for the next requests, `requests` that were made."""

    def __init__(self, files: dict[str, bytes], steps: list[Step] | None = None) -> None:
        self.files, self.steps = files, steps or []
        self.links: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        """By path, beside those of every answer."""
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(_QuietHandler):
            def do_GET(self) -> None:
                request = Request(self.path, self.headers.get("Range"), self.headers.get("Accept-Encoding"))
                owner.requests.append(request)
                step = owner.steps.pop(0) if owner.steps else Step()
                content = owner.files.get(self.path)
                if step.status or content is None:
                    self.answer(step.status or 404, {"Content-Length": "0", **step.headers})
                else:
                    self.send(content, step, request)

            def do_HEAD(self) -> None:
                headers = {
                    "Content-Length": str(len(owner.files.get(self.path, b""))),
                    **owner.headers.get(self.path, {}),
                }
                self.answer(200 if self.path in owner.files else 404, headers)

            def send(self, content: bytes, step: Step, request: Request) -> None:
                asked = re.match(r"bytes=(\d+)-", request.range or "") if step.ranges else None
                start = int(asked[1]) if asked else 0
                if start and start >= len(content):
                    self.answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                    return
                headers = {**owner.headers.get(self.path, {}), **step.headers}
                if self.path in owner.links:
                    headers["Link"] = f'<{owner.url}{owner.links[self.path]}>; rel="next"'
                if asked:
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                if step.length:
                    headers.setdefault("Content-Length", str(len(content) - start))
                self.answer(206 if asked else 200, headers)
                self.send_body(content[start:], step, request)

            def send_body(self, body: bytes, step: Step, request: Request) -> None:
                first = body[: step.cut] if step.cut is not None else body
                request.sent = len(first)  # before: the client may have all, and look
                self.wfile.write(first)
                if step.stall:
                    self.wfile.flush()
                    step.stall.wait(30)

            def answer(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

        return Handler


def serve(*steps: Step) -> FileServer:
    """Return a server of CONTENT at /file.h5."""
    return FileServer({"/file.h5": CONTENT}, list(steps))


class Listener:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done: list[int] = []
        self.total = 0

    def update(self, what: str, done: int, total: int) -> None:
        if what.startswith("fetching"):
            self.done.append(done)
            self.total = total

    def say(self, text: str) -> None:
        self.said.append(text)


def files(folder: Path) -> list[str]:
    """Return the names of what lies in `folder`, locks apart."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)
