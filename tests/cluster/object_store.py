"""A real S3 API in a process of its own, which can be away: it is stopped, and connections to it hang.

with object_store() as store:
    store.go_away(60)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.galaxies import make_bucket
from tests.sweep.sweeps import wait_for


@dataclass
class ObjectStore:
    url: str
    bucket: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> Mapping[str, str]:
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

    def go_away(self, seconds: float) -> str:
        """It answers nobody for so long, then as before."""
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.process.pid, signal.SIGCONT)
        return f"the storage did not answer for {seconds:g} s"


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), "the S3 server", 60)
        url = f"http://127.0.0.1:{port}"
        yield ObjectStore(url, make_bucket(url, "sweeps"), process)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
