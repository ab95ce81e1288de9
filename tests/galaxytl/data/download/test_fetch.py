from __future__ import annotations

import contextlib
import hashlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.data import DataError
from galaxytl.data.__main__ import main
from galaxytl.data.download import http
from galaxytl.data.download.fetch import fetch_hdf5, fetch_parquet
from galaxytl.data.download.http import RemoteFile
from galaxytl.data.galaxy10 import CLASS_COUNTS, HUB_DATASET
from tests.clock import Clock
from tests.fileserver import CONTENT, HASTY, SHA256, FileServer, Listener, Step, files, serve, wait_for


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_what_is_not_there_is_not_asked_for_twice(tmp_path: Path, status: int, words: str) -> None:
    with serve(Step(status=status)) as server, pytest.raises(DataError, match=f"{words}.* By hand: fetch http"):
        fetch_hdf5(RemoteFile(f"{server.url}/file.h5", SHA256), tmp_path / "file.h5", Listener(), HASTY)
    assert len(server.requests) == 1
    assert files(tmp_path) == []


def test_no_network(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(http, "time", clock)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file.h5"
        status = main(["fetch", "--url", url, "--sha256", SHA256, "--out", str(tmp_path / "file.h5")])
    said = capfd.readouterr().err
    assert status == 2
    assert clock.pauses == [1, 2]
    assert f"{url} cannot be reached: Connection refused. Check the network" in said
    assert f"By hand: fetch {url} with a browser, then run python -m galaxytl.data check" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://127.0.0.1/x"], "--url and --sha256 must be given together"),
        (["--sha256", SHA256], "--url and --sha256 must be given together"),
        (["--url", "galaxies.org/x", "--sha256", SHA256], "a whole http:// or https:// one; got 'galaxies.org/x'"),
    ],
)
def test_bad_options(tmp_path: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--out", str(tmp_path / "file.h5"), *arguments]) == 2
    assert message in capfd.readouterr().err


def test_bad_checksum_option(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--url", "http://127.0.0.1/x", "--sha256", "19AEF"]) == 2
    assert "must be 64 hexadecimal digits; got '19AEF'" in capfd.readouterr().err


def test_a_good_file_is_not_fetched_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.h5").write_bytes(CONTENT)
    with serve() as server:
        url = f"{server.url}/file.h5"
        assert main(["fetch", "--url", url, "--sha256", SHA256.upper(), "--out", str(tmp_path)]) == 0
    assert server.requests == []
    assert f"file.h5: already there, 3.0 MB, SHA-256 {SHA256} verified" in capfd.readouterr().err


@pytest.mark.parametrize(("blow", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_killed_process_is_resumed(tmp_path: Path, blow: signal.Signals, status: int) -> None:
    stall = threading.Event()
    with serve(Step(cut=1_500_000, stall=stall)) as server:
        command = [sys.executable, "-m", "galaxytl.data", "fetch", "--url", f"{server.url}/file.h5", "--sha256", SHA256]
        command += ["--out", str(tmp_path / "file.h5")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: size_of(tmp_path / "file.h5.part") > 1_400_000)
        process.send_signal(blow)
        _, said = process.communicate(timeout=20)
        stall.set()
        assert process.returncode == status
        assert ("the same command goes on from there" in said) == (blow == signal.SIGINT)
        assert files(tmp_path) == ["file.h5.part"]
        again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "holds 1.4 MB; going on from there" in again.stderr
    assert "Next: python -m galaxytl.data check" in again.stdout
    assert (tmp_path / "file.h5").read_bytes() == CONTENT
    assert server.requests[1].sent < 1_600_000


def size_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def hub(server: FileServer, counts: tuple[int, ...] = CLASS_COUNTS, oids: bool = True) -> None:
    """Put the dataset's listing, on two pages, and two shards of labels on the server."""
    labels = np.repeat(np.arange(10), counts)
    entries: list[dict[str, object]] = [{"type": "file", "path": "README.md", "size": 3, "oid": "0"}]
    for name, part in (("test", labels[::10]), ("train", np.delete(labels, np.s_[::10]))):
        buffer = io.BytesIO()
        pq.write_table(pa.table({"label": part}), buffer)
        path = f"data/{name}-00000-of-00001-cef8.parquet"
        server.files[f"/datasets/{HUB_DATASET}/resolve/main/{path}"] = buffer.getvalue()
        size = len(buffer.getvalue())
        entry = {"type": "file", "path": path, "size": size, "oid": "git"}
        if oids:
            entry["lfs"] = {"oid": hashlib.sha256(buffer.getvalue()).hexdigest(), "size": size, "pointerSize": 130}
        entries.append(entry)
    address = f"/api/datasets/{HUB_DATASET}/tree/main?recursive=true"
    server.files |= {address: json.dumps(entries[:2]).encode(), "/page2": json.dumps(entries[2:]).encode()}
    server.links = {address: "/page2"}


@pytest.mark.parametrize("oids", [True, False])
def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oids: bool) -> None:
    listener = Listener()
    with FileServer({}) as server:
        hub(server, oids=oids)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for said in ("fetched", "already there"):
            fetch_parquet(tmp_path, listener, HASTY)
            assert f"(2 of 2): {said}, checked against {'the hub' if oids else 'its size only'}" in listener.said[-2]
    assert files(tmp_path) == ["test-00000-of-00001-cef8.parquet", "train-00000-of-00001-cef8.parquet"]
    assert len(server.requests) == 6  # the listing's two pages twice, each shard once
    assert "not verified against a published checksum (there is none); class counts as published" in listener.said[-1]


def test_hugging_face_with_other_galaxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    with FileServer({}) as server:
        hub(server, counts=(1080, *CLASS_COUNTS[1:]))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DataError, match=r"must have 1081, 1853.* images of the classes 0 to 9; it has 1080, 1853"):
            fetch_parquet(tmp_path, listener, HASTY)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"[]", "must hold Parquet files; it lists 0 files"),
        (b"<html>", "must answer with JSON; got '<html>'"),
        (b'{"error": "busy"}', "must list files, each with its path; it answers .*busy"),
        (b'["a.parquet"]', "must list files"),
        (b'[{"path": 3}]', "must list files"),
    ],
)
def test_hugging_face_without_a_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, message: str
) -> None:
    with FileServer({f"/api/datasets/{HUB_DATASET}/tree/main?recursive=true": answer}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DataError, match=message):
            fetch_parquet(tmp_path, Listener(), HASTY)


def test_hugging_face_with_a_listing_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"/api/datasets/{HUB_DATASET}/tree/main?recursive=true"
    with FileServer({address: b"[]"}) as server:
        server.links = {address: address}
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DataError, match="must end after 100 pages; it goes on at http"):
            fetch_parquet(tmp_path, Listener(), HASTY)
