"""Writes on a condition, at a real S3 API and in folders; behind a proxy, at servers that lose answers or know none."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from galaxytl.data import DataError
from galaxytl.results import conditions, storage, stored_rows
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import RowWriter, Sealed, read_rows
from galaxytl.system.locations import locate
from tests.galaxies import make_bucket

numbers = itertools.count()


@pytest.fixture
def bucket(server: str) -> str:
    return make_bucket(server, f"conditions-{next(numbers)}")


@pytest.fixture(params=["s3", "folder"])
def uri(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/ä b~c" if request.param == "s3" else str(tmp_path / "shared")


class Proxy(socketserver.ThreadingTCPServer):
    """Hands each connection's one request on, and the answer back, but for conditional writes."""

    def __init__(self, server: str, fate: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.to, self.fate, self.lost = server.rpartition(":")[2], fate, 0
        self.daemon_threads = True


class Handler(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        lines = list(iter(self.rfile.readline, b"\r\n"))
        if not lines:
            return
        named = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        if b"expect" in named:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        is_chunked = named.get(b"transfer-encoding") == b"chunked"
        body = b"".join(self.chunks()) if is_chunked else self.rfile.read(int(named.get(b"content-length", 0)))
        is_conditional = b"if-none-match" in named or b"if-match" in named
        if is_conditional and self.server.fate == "refuses":
            self.wfile.write(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if self.server.fate.startswith("ignores"):
            ignored = rb"if-match:" if self.server.fate == "ignores If-Match" else rb"if-(none-)?match:"
            lines = [line for line in lines if not re.match(ignored, line, re.I)]
        head = [line for line in lines if not line.lower().startswith((b"connection:", b"expect:"))]
        with socket.create_connection(("127.0.0.1", int(self.server.to))) as upstream:
            upstream.sendall(b"".join(head) + b"Connection: close\r\n\r\n" + body)
            answer = b"".join(iter(lambda: upstream.recv(65536), b""))
        if is_conditional and self.server.fate == "loses" and answer.startswith(b"HTTP/1.1 200"):
            self.server.lost += 1
            return
        self.wfile.write(answer)

    def chunks(self) -> Iterator[bytes]:
        """As they are sent, with what comes after the last."""
        while size := int((line := self.rfile.readline()).partition(b";")[0], 16):
            yield line + self.rfile.read(size + 2)
        yield line + b"".join(iter(self.rfile.readline, b"\r\n")) + b"\r\n"


@contextlib.contextmanager
def through_proxy(server: str, uri: str, fate: str) -> Iterator[tuple[Storage, Proxy]]:
    """The storage behind a server that `loses` its answers to conditional writes, `ignores` or `refuses` conditions."""
    with Proxy(server, fate) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield Storage(f"{uri}?endpoint_override=127.0.0.1:{proxy.server_address[1]}&scheme=http"), proxy
        finally:
            proxy.shutdown()


def test_a_file_is_made_once_and_replaced_as_it_was(uri: str) -> None:
    store = Storage(uri)
    store.check()
    assert (store.unconditional, store.names("")) == ("", [])
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    assert store.create("a/b", b"1")  # as one whose answer was lost
    assert not store.replace("a/b", lambda there: there == b"2", b"3")
    assert store.replace("a/b", lambda there: there == b"1", b"3")
    assert not store.replace("none", lambda there: there is not None, b"3")
    assert store.replace("none", lambda there: there is None, b"4")
    assert (store.get("a/b"), store.get("none"), store.names("")) == (b"3", b"4", ["a/b", "none"])


def test_what_was_replaced_meanwhile_is_not_replaced(uri: str) -> None:
    """Between the look at it and the write."""
    store, other = Storage(uri), Storage(uri)
    store.put("lease", b"1")

    def is_expected(there: bytes | None) -> bool:
        if "://" in uri:  # a folder's is locked meanwhile
            assert other.replace("lease", lambda there: there == b"1", b"2")
        return there == b"1"

    assert store.replace("lease", is_expected, b"3") == ("://" not in uri)


def test_of_many_that_come_at_once_one_is_the_first(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    store.put("there", b"")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: store.create("new", b"%d" % n), range(8)))
        replaced = list(threads.map(lambda n: store.replace("there", lambda t: t == b"", b"%d" % n), range(8)))
    assert (sum(made), sum(replaced)) == (1, 1)
    assert store.get("new") == b"%d" % made.index(True)
    assert store.get("there") == b"%d" % replaced.index(True)


def test_a_write_whose_answer_was_lost_is_found_to_be_ones_own(server: str, bucket: str) -> None:
    with through_proxy(server, bucket, "loses") as (store, proxy):
        assert store.unconditional == ""
        assert store.create("a", b"1")
        assert store.replace("a", lambda there: there == b"1", b"2")
        assert not store.create("a", b"3")
        assert proxy.lost == 4  # of these two, and two of the probe


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("ignores", "wrote a file a second time"),
        ("ignores If-Match", "just where that is as it was"),
        ("refuses", "501"),
    ],
)
def test_where_there_are_no_conditions_a_write_settles(
    server: str, bucket: str, tmp_path: Path, fate: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SETTLE_SECONDS", 0.05)
    with through_proxy(server, bucket, fate) as (store, _):
        store.check()
        assert reason in store.unconditional
        assert store.replace("lease", lambda there: there is None, b"1")
        assert not store.replace("lease", lambda there: there is None, b"2")
        (tmp_path / "trials.jsonl").write_text('{"row": 1}\n')
        writer = RowWriter(store, tmp_path, 2)
        assert writer.push(lines(tmp_path))
        assert read_rows(store) == [b'{"row": 1}']
        (name,) = store.names("rows")
        assert re.fullmatch(r"rows/g000002-000001-[0-9a-f]{8}\.jsonl", name)


def test_a_storage_that_settles_waits_for_longer_than_its_write_took(tmp_path: Path, monkeypatch: Any) -> None:
    """Another, whose write comes later by as much as ours took, is seen."""
    monkeypatch.setattr(os, "link", refuse)
    slow = Storage(str(tmp_path))
    assert "makes no links" in slow.unconditional
    put, pauses = Storage.put, list[float]()

    def put_late(self: Storage, name: str, content: bytes) -> None:
        monkeypatch.setattr(storage.time, "monotonic", lambda: 7.0)
        put(self, name, content)

    def settle(seconds: float) -> None:
        pauses.append(seconds)
        put(slow, "lease", b"the other's")

    monkeypatch.setattr(Storage, "put", put_late)
    monkeypatch.setattr(storage.time, "monotonic", lambda: 4.0)
    monkeypatch.setattr(storage.time, "sleep", settle)
    assert not slow.replace("lease", lambda there: there is None, b"1")
    assert pauses == [6.0]


def refuse(*_: object) -> None:
    raise OSError(errno.EPERM, "no links here")


def test_a_storage_that_is_away_is_no_storage_without_conditions(bucket: str, monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    store = Storage(f"{bucket}?endpoint_override=127.0.0.1:{port}&scheme=http")
    with pytest.raises(DataError, match="the server must answer"):
        _ = store.unconditional
    with pytest.raises(StorageError, match="the server must answer"):
        store.check()


CREDENTIALS = "[default]\naws_access_key_id = of-file\naws_secret_access_key = x\n[mine]\naws_access_key_id = of-mine\n"


@pytest.mark.parametrize(
    ("environment", "uri", "key"),
    [
        ({}, "s3://bucket/a", "of-file"),
        ({"AWS_PROFILE": "mine"}, "s3://bucket/a", "of-mine"),
        ({"AWS_ACCESS_KEY_ID": "of-env", "AWS_SECRET_ACCESS_KEY": "x"}, "s3://bucket/a", "of-env"),
        ({"AWS_SHARED_CREDENTIALS_FILE": "/none"}, "s3://bucket/a", None),
        ({}, "s3://of-uri:secret@bucket/a", "of-uri"),
        ({}, "s3://bucket/a?anonymous=true", None),
    ],
)
def test_credentials_are_found_where_pyarrow_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], uri: str, key: str | None
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(CREDENTIALS + "aws_secret_access_key = y\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given = conditions._credentials(locate(uri).settings)
    provider = given.get("credential_provider", lambda: given)
    assert provider().get("access_key_id") == key
    assert bool(given.get("skip_signature")) == (key is None)
    store: Any = conditions.STORES["s3"](locate(uri))
    assert (store.config["bucket"], store.config["region"]) == ("bucket", "eu-west-1")


def test_google_is_reached_with_what_the_uri_says() -> None:
    store: Any = conditions.STORES["gs"](locate("gs://anonymous@bucket/a?endpoint_override=localhost:1&scheme=http"))
    assert store.config["bucket"] == "bucket"
    assert (store.config["base_url"], store.config["skip_signature"]) == ("http://localhost:1", "true")


# The rows of a driver that was taken over


def test_a_driver_that_was_taken_over_finds_the_seal_and_old_pieces_come_first(uri: str, tmp_path: Path) -> None:
    store = Storage(uri)
    store.put("rows/000007-8c1f03a2.jsonl", b'{"row": 0}\n')
    first = folder(tmp_path / "first")
    writer = RowWriter(store, first, 3)
    append(first, 1)
    assert writer.push(lines(first))
    append(first, 2)
    second = folder(tmp_path / "second")
    later = RowWriter(store, second, 4)
    append(second, 3)
    assert later.push(lines(second))
    for _ in range(2):
        with pytest.raises(Sealed, match=r"g000003-000002\.jsonl is another's"):
            writer.push(lines(first))
    assert read_rows(store) == [b'{"row": %d}' % row for row in (0, 1, 3)]
    RowWriter(store, first, 5)
    assert (first / "trials.jsonl").read_bytes().count(b"\n") == 4  # what it had finished is kept


def test_no_generation_before_is_left_open(tmp_path: Path) -> None:
    """Of a driver that was suspended before its first piece, and of one that came before that one had closed it."""
    store = Storage(str(tmp_path / "shared"))
    out = folder(tmp_path / "out")
    drivers = [RowWriter(store, out, generation) for generation in (1, 2)]
    for name in store.names("rows"):
        store.delete(name)  # as if the second had not come to closing the first
    RowWriter(store, folder(tmp_path / "third"), 3)
    append(out, 1)
    for driver in drivers:
        with pytest.raises(Sealed):
            driver.push(lines(out))
    assert read_rows(store) == []


@pytest.mark.parametrize("of", ["lease", "piece", "joined piece"])
def test_a_number_of_a_strangers_leaves_no_driver_unsealed(tmp_path: Path, monkeypatch: Any, of: str) -> None:
    """And makes no millions of seals."""
    monkeypatch.setattr(stored_rows, "MOST_UNWRITTEN", 3)
    store, huge = Storage(str(tmp_path / "shared")), 10**12
    out = folder(tmp_path / "out")
    before = RowWriter(store, out, 2)
    if of != "lease":
        store.put(f"rows/g{huge - 1}-00000{int(of == 'piece')}.jsonl", b'{"row": 7}\n')
    late = RowWriter(store, out, huge)
    for generation in range(huge + 1, huge + 9):
        RowWriter(store, folder(tmp_path / str(generation)), generation)
    assert len(store.names("rows")) < 20
    append(out, 1)
    for driver in (late, before):
        if of != "joined piece":  # then nothing before it is read
            with pytest.raises(Sealed):
                driver.push(lines(out))


def test_a_piece_that_comes_while_its_generation_is_closed_is_read(tmp_path: Path) -> None:
    first, second, left = folder(tmp_path / "first"), folder(tmp_path / "second"), [2]

    class Late(Storage):
        """The driver before writes one more piece after the first look at what is there."""

        def create(self, name: str, content: bytes) -> bool:
            if left:
                append(first, left.pop())
                assert writer.push(lines(first))
            return super().create(name, content)

    writer = RowWriter(Storage(str(tmp_path / "shared")), first, 1)
    append(first, 1)
    writer.push(lines(first))
    RowWriter(Late(str(tmp_path / "shared")), second, 2)
    assert (second / "trials.jsonl").read_text() == '{"row": 1}\n{"row": 2}\n'


def test_a_piece_of_which_nothing_was_heard_is_pushed_again_as_it_was(tmp_path: Path) -> None:
    """Though there are more rows by then."""
    out, lost = folder(tmp_path / "out"), [True]

    class Lossy(Storage):
        def create(self, name: str, content: bytes) -> bool:
            made = super().create(name, content)
            if lost.pop():
                raise DataError("the answer was lost")
            return made

    writer = RowWriter(Lossy(str(tmp_path / "shared")), out, 1)
    append(out, 1)
    with pytest.raises(DataError):
        writer.push(lines(out))
    append(out, 2)
    lost.extend([False, False])
    assert writer.push(lines(out))
    assert read_rows(Storage(str(tmp_path / "shared"))) == [b'{"row": 1}', b'{"row": 2}']


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def lines(path: Path) -> list[bytes]:
    return (path / "trials.jsonl").read_bytes().splitlines()


def append(path: Path, row: int) -> None:
    with (path / "trials.jsonl").open("a") as file:
        file.write(f'{{"row": {row}}}\n')
