"""One file over HTTP: resumed where it was cut, hashed while it streams, given its name only when it is whole.

    download(RemoteFile("https://.../Galaxy10_DECals.h5", sha256="19ae..."), Path("Galaxy10_DECals.h5"), reporter)

What has arrived lies in `NAME.part`; a later call hashes it and asks for the rest. requests does the HTTP (redirects,
proxies, TLS, time-outs). pooch, the usual choice for a file with a known hash, starts over after a cut;
huggingface_hub resumes, but only from its own hub.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import hashlib
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from filelock import FileLock, Timeout
from rich.filesize import decimal

from galaxytl.data.progress import Reporter
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import FULL
from galaxytl.system.locations import DataError

CHUNK = 1 << 16  # bytes received, hashed and written at a time; what a cut connection may lose
PROBE_SECONDS = 10.0
"""How long a server may take to answer before it counts as out of reach."""
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may be other in a minute


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch, with what is known of its content: SHA-256 in lower-case hexadecimal digits, size in bytes."""

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long a failing server is asked again; all times in seconds."""

    attempts: int = 8
    """Failures in a row; one that brought new bytes starts the count again."""
    first_attempts: int = 3
    """Failures in a row before any answer."""
    first_contact: float = 10.0
    """Without any answer for this long, no attempt is begun: a host may have several addresses, each timed alone."""
    first_wait: float = 1.0
    """Doubled after every failure."""
    longest_wait: float = 60.0
    longest_requested_wait: float = 300.0
    """A server that asks for more (Retry-After) is not waited for."""
    connect_timeout: float = 5.0
    read_timeout: float = 30.0


PATIENT = Patience()


def download(remote: RemoteFile, target: Path, reporter: Reporter, patience: Patience = PATIENT) -> bool:
    """Fetch `remote` to `target`, or the part of it that is not here yet; False if `target` was there and is right.

    Raises DataError when it cannot be had, is not what it must be, or does not fit on the disk.
    """
    if target.exists():
        _check_existing(remote, target, reporter)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(target, reporter):
        if target.exists():  # another process fetched it while we waited
            _check_existing(remote, target, reporter)
            return False
        transfer = _Transfer(remote, target, reporter, patience)
        transfer.take_up()
        transfer.receive()
        transfer.finish()
    return True


def get_json(url: str, reporter: Reporter, patience: Patience = PATIENT) -> tuple[Any, str | None]:
    """Return the JSON value at `url`, and the address of the next page if the server names one; raises DataError."""
    retries = Retries(url, reporter, patience)
    while True:
        try:
            with _get(url, {}, patience) as response:
                retries.reached = True
                check_status(response)
                following = response.links.get("next", {}).get("url")
                check_encrypted(url, following or url)
                return response.json(), following
        except requests.JSONDecodeError as error:
            raise DataError(f"{url} must answer with JSON; got {response.text[:60]!r}") from error
        except (requests.RequestException, TryAgain) as trouble:
            retries.wait_after(trouble, progressed=False)


def is_reachable(url: str) -> bool:
    """Return whether the server of an address answers, whatever it answers, within PROBE_SECONDS. A process asks each
    server once: where there is no network, a sweep of many networks waits for none of them but the first."""
    parts = urlsplit(url)
    return _answers(f"{parts.scheme}://{parts.netloc}/")


@functools.cache
def _answers(server: str) -> bool:
    """Ask in a thread of its own: each of a server's addresses, and of the machine's name servers, may be silent for as
    long as it is allowed to, one after the other."""
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        try:
            requests.head(server, timeout=PROBE_SECONDS).close()
            found.put(True)
        except requests.RequestException:
            found.put(False)

    threading.Thread(target=ask, name=f"asking {server}", daemon=True).start()
    try:
        return found.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return False


class UnreachableError(DataError):
    """The server does not give the file: no answer, or no success. A browser may have more luck."""


class TryAgain(Exception):
    """A failure that may pass; `wait` is the server's own request, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Retries:
    """Waits between attempts, longer each time, and gives up with a message that says what to do."""

    def __init__(self, url: str, reporter: Reporter, patience: Patience) -> None:
        self._url, self._reporter, self._patience = url, reporter, patience
        self._failures = 0
        self._started = time.monotonic()
        self.reached = False

    def wait_after(self, trouble: Exception, progressed: bool) -> None:
        """Sleep before the next attempt; raises DataError when there have been enough."""
        if isinstance(trouble, ValueError):  # requests's own errors for malformed addresses are ValueErrors too
            raise DataError(f"the address must be a whole http:// or https:// one; got '{self._url}'") from trouble
        self._failures = 1 if progressed else self._failures + 1
        allowed = self._patience.attempts if self.reached else self._patience.first_attempts
        silent = not self.reached and time.monotonic() - self._started > self._patience.first_contact
        if silent or self._failures >= allowed:
            raise UnreachableError(self._last_words(trouble)) from trouble
        wait = min(self._patience.first_wait * 2 ** (self._failures - 1), self._patience.longest_wait)
        if isinstance(trouble, TryAgain) and trouble.wait is not None:
            wait = trouble.wait
        if wait > self._patience.longest_requested_wait:
            advice = "What has arrived is kept; run the command again after that."
            raise UnreachableError(f"{self._url} asks to be left alone for {wait:.0f} s ({trouble}). {advice}")
        self._reporter.say(f"{_reason(trouble)}; trying again in {wait:.0f} s ({self._failures} of {allowed - 1})")
        time.sleep(wait)

    def _last_words(self, trouble: Exception) -> str:
        if not self.reached:
            advice = "Check the network, and https_proxy where there is a proxy."
            return f"{self._url} cannot be reached: {_reason(trouble)}. {advice}"
        advice = "What has arrived is kept; run the command again later."
        return f"{self._url} failed {self._failures} times in a row: {_reason(trouble)}. {advice}"


class _Transfer:
    """The `.part` file of one target: it grows, and the hash of its content with it."""

    def __init__(self, remote: RemoteFile, target: Path, reporter: Reporter, patience: Patience) -> None:
        self._remote, self._target, self._reporter, self._patience = remote, target, reporter, patience
        self._part = target.with_name(f"{target.name}.part")
        self._size = 0
        self._hash = hashlib.sha256()

    def take_up(self) -> None:
        """Hash what an earlier call left."""
        if not self._part.exists():
            return
        self._hash = _hash_file(self._part, f"checking {self._part.name}", self._reporter)
        self._size = self._part.stat().st_size
        if self._remote.size is not None and self._size > self._remote.size:
            self._start_over(f"{self._part.name} is longer than the file")
        elif self._size:
            self._reporter.say(f"{self._part} holds {decimal(self._size)}; going on from there")

    def receive(self) -> None:
        """Append to the part until it is whole, over as many connections as that takes."""
        retries = Retries(self._remote.url, self._reporter, self._patience)
        self._check_space(self._remote.size)
        while not self._is_whole():
            before = self._size
            try:
                with self._request() as response:
                    retries.reached = True
                    self._append(response)
                    return
            except (requests.RequestException, TryAgain) as trouble:
                retries.wait_after(trouble, progressed=self._size > before)

    def finish(self) -> None:
        """Give the part its name, if it is what it must be; remove it otherwise."""
        wrong = ""
        if self._remote.size is not None and self._size != self._remote.size:
            wrong = f"must have {self._remote.size:,} bytes; got {self._size:,}"
        elif self._remote.sha256 is not None and self._hash.hexdigest() != self._remote.sha256:
            wrong = f"must have the SHA-256 {self._remote.sha256}; got {self._hash.hexdigest()}"
        if wrong:
            self._part.unlink(missing_ok=True)
            raise DataError(f"{self._remote.url} {wrong}. What was received is removed; run the command again.")
        self._part.touch()  # an empty file has no part yet
        with self._part.open("rb") as file:
            os.fsync(file.fileno())
        self._part.replace(self._target)

    def _is_whole(self) -> bool:
        if self._remote.sha256 is not None and self._size:
            return self._hash.hexdigest() == self._remote.sha256
        return self._remote.size is not None and self._size == self._remote.size

    def _request(self) -> requests.Response:
        return _get(self._remote.url, {"Range": f"bytes={self._size}-"} if self._size else {}, self._patience)

    def _append(self, response: requests.Response) -> None:
        """Write the answer's bytes behind what is here; raises TryAgain when the server has more."""
        if response.status_code == 416:  # nothing from there on: the part is whole, or of another file
            if _total(response) == self._size:
                return
            self._start_over("the server has no bytes behind what is here")
            raise TryAgain("nothing came")
        check_status(response)
        total = _total(response)
        self._check_total(total)  # first: a hotel's login page must not cost what is here
        self._check_place(response)
        self._check_space(total)
        wanted = total if total is not None else self._remote.size
        with open(self._part, "ab", buffering=0, opener=_no_link) as part:
            for chunk in response.iter_content(CHUNK):
                self._write(part, chunk)
                self._reporter.update(f"fetching {self._target.name}", self._size, wanted or 0)
                if wanted is not None and self._size > wanted:
                    return  # an endless answer; finish() says what is wrong
        if wanted is not None and self._size < wanted:
            raise TryAgain(f"the connection ended after {self._size:,} of {wanted:,} bytes")

    def _check_place(self, response: requests.Response) -> None:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        first = int(start[1]) if response.status_code == 206 and start else 0
        if first != self._size:
            self._start_over("the server cannot resume")
        if first and not self._size:
            raise TryAgain(f"the server answered from byte {first:,} on, and not from the beginning")

    def _check_total(self, total: int | None) -> None:
        if None not in (total, self._remote.size) and total != self._remote.size:
            rule = f"{self._remote.url} must have {self._remote.size:,} bytes; the server announces {total:,}"
            raise DataError(f"{rule}. It is another file, or a page in its place.")

    def _check_space(self, total: int | None) -> None:
        folder = self._target.parent
        free, wanted = shutil.disk_usage(folder).free, (total or 0) - self._size
        if wanted > free:
            need = f"fetching {self._target.name} needs {decimal(wanted)} of free disk space in {folder.resolve()}"
            raise DataError(f"{need}; it has {decimal(free)}. Free some, or choose another place with --out.")

    def _write(self, part: FileIO, chunk: bytes) -> None:
        try:
            left = memoryview(chunk)
            while left:
                left = left[part.write(left) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            kept = f"{decimal(self._size)} are kept in {self._part}"
            raise DataError(f"the disk is full: {kept}. Free some space and run the command again.") from error
        self._hash.update(chunk)
        self._size += len(chunk)

    def _start_over(self, reason: str) -> None:
        self._reporter.say(f"{reason}; starting over")
        self._part.unlink(missing_ok=True)
        self._size, self._hash = 0, hashlib.sha256()


def _no_link(path: str, flags: int) -> int:
    """Open a file that is no link: one that lay there would have what is fetched written elsewhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def check_status(response: requests.Response) -> None:
    """Raise TryAgain for what may pass, DataError for every other answer that is no success."""
    status = f"{response.status_code} {response.reason}"
    if response.status_code in RETRIED:
        raise TryAgain(f"the server answered {status}", _requested_wait(response))
    if response.status_code not in (200, 206):
        raise UnreachableError(f"{response.url} must be there for anyone to read; the server answered {status}.")


def check_encrypted(url: str, target: str) -> None:
    """Raise UnreachableError where an https:// address leads to another that is not: who sits between could send
    anything."""
    whole = urljoin(url, target)
    if urlsplit(url).scheme == "https" and urlsplit(whole).scheme != "https":
        raise UnreachableError(f"what begins with https:// must stay so; {url} leads to {without_secrets(whole)}.")


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target: str | None = super().get_redirect_target(resp)
        if target:
            check_encrypted(resp.url, target)
        return target


def _get(url: str, headers: dict[str, str], patience: Patience) -> requests.Response:
    # "identity": ranges and sizes are those of the file, not of a compressed transfer
    headers = {"Accept-Encoding": "identity", **headers}
    with _Session() as session:
        return session.get(url, headers=headers, stream=True, timeout=(patience.connect_timeout, patience.read_timeout))


def _total(response: requests.Response) -> int | None:
    """Return the whole file's size in bytes, if the answer tells."""
    span = re.match(r"bytes .*/(\d+)$", response.headers.get("Content-Range", ""))
    if span:
        return int(span[1])
    length = response.headers.get("Content-Length", "")
    plain = response.status_code == 200 and response.headers.get("Content-Encoding", "identity") == "identity"
    return int(length) if plain and length.isdecimal() else None


def _requested_wait(response: requests.Response) -> float | None:
    """Return seconds, from a Retry-After that is a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError):
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _reason(trouble: Exception) -> str:
    """Return the innermost cause: requests and urllib3 wrap the words that tell something four times."""
    if isinstance(trouble, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    cause: BaseException = trouble
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    words = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    return f"{words} (through a proxy)" if isinstance(trouble, requests.exceptions.ProxyError) else words


def _check_existing(remote: RemoteFile, target: Path, reporter: Reporter) -> None:
    rule, found = f"{remote.size or 0:,} bytes", f"{target.stat().st_size:,}"
    right = remote.size in (None, target.stat().st_size)
    if right and remote.sha256 is not None:
        digest = _hash_file(target, f"checking {target.name}", reporter).hexdigest()
        rule, found, right = f"the SHA-256 {remote.sha256}", digest, digest == remote.sha256
    if not right:
        advice = "Remove it, or choose another place with --out."
        raise DataError(f"{target} is already there and must have {rule}; it has {found}. {advice}")


def _hash_file(path: Path, what: str, reporter: Reporter) -> Any:
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            reporter.update(what, done, size)
    return digest


@contextlib.contextmanager
def one_at_a_time(target: Path, reporter: Reporter) -> Iterator[None]:
    """Hold the lock beside a target that is being fetched, and remove it in the end.

    That is the last thing done while it is held: who waits for a lock file that has gone begins anew with another one
    (filelock looks at its count of links), so that there are never two that hold it.
    """
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.say(f"another process is fetching {target}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()
