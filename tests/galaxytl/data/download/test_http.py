from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
import requests

from galaxytl.data import DataError
from galaxytl.data.download import http as downloads
from galaxytl.data.download.http import (
    Patience,
    RemoteFile,
    UnreachableError,
    download,
    is_reachable,
    one_at_a_time,
)
from tests.clock import Clock
from tests.fileserver import CONTENT, HASTY, SHA256, FileServer, Listener, Step, files, serve, wait_for


def remote(server: FileServer, sha256: str | None = SHA256, size: int | None = None) -> RemoteFile:
    return RemoteFile(f"{server.url}/file.h5", sha256, size)


def test_fetch_writes_the_file_and_counts_to_its_end(tmp_path: Path) -> None:
    listener = Listener()
    with serve() as server:
        assert download(remote(server), tmp_path / "new" / "file.h5", listener)
    assert (tmp_path / "new" / "file.h5").read_bytes() == CONTENT
    assert files(tmp_path / "new") == ["file.h5"]
    assert [(r.range, r.encoding) for r in server.requests] == [(None, "identity")]
    assert listener.done[-1] == listener.total == len(CONTENT)
    assert listener.done == sorted(listener.done)


def test_a_cut_connection_is_resumed(tmp_path: Path) -> None:
    with serve(Step(cut=2_000_000), Step(cut=500_000)) as server:
        download(remote(server), tmp_path / "file.h5", Listener(), HASTY)
    assert (tmp_path / "file.h5").read_bytes() == CONTENT
    first, second, third = server.requests
    starts = [int(request.range[6:-1]) for request in (second, third) if request.range]
    assert first.range is None
    assert 1_900_000 < starts[0] <= 2_000_000 < starts[1]
    assert third.sent == len(CONTENT) - starts[1] < 1_000_000


def test_a_later_call_resumes_what_an_earlier_one_left(tmp_path: Path) -> None:
    (tmp_path / "file.h5.part").write_bytes(CONTENT[:1_234_567])
    with serve() as server:
        download(remote(server), tmp_path / "file.h5", Listener())
    assert (tmp_path / "file.h5").read_bytes() == CONTENT
    assert [(r.range, r.sent) for r in server.requests] == [("bytes=1234567-", len(CONTENT) - 1_234_567)]


def test_a_part_that_is_whole_needs_no_request(tmp_path: Path) -> None:
    (tmp_path / "file.h5.part").write_bytes(CONTENT)
    with serve() as server:
        assert download(remote(server), tmp_path / "file.h5", Listener())
    assert (server.requests, files(tmp_path)) == ([], ["file.h5"])


def test_a_part_that_is_too_long_is_thrown_away(tmp_path: Path) -> None:
    for size in (len(CONTENT), None):  # None: only the server knows, and says so by 416
        (tmp_path / "file.h5.part").write_bytes(CONTENT + b"more")
        with serve() as server:
            download(remote(server, size=size), tmp_path / "file.h5", Listener(), HASTY)
        assert (tmp_path / "file.h5").read_bytes() == CONTENT
        (tmp_path / "file.h5").unlink()


def test_a_server_without_ranges_is_asked_for_all_of_it(tmp_path: Path) -> None:
    listener = Listener()
    with serve(Step(cut=1_000_000), Step(ranges=False, length=False)) as server:
        download(remote(server, size=len(CONTENT)), tmp_path / "file.h5", listener, HASTY)
    assert (tmp_path / "file.h5").read_bytes() == CONTENT
    assert server.requests[1].sent == len(CONTENT)
    assert "the server cannot resume; starting over" in listener.said


@pytest.mark.parametrize(
    ("step", "reason"),
    [(Step(cut=1_000_000, ranges=False), ""), (Step(status=503), ": the server answered 503 Service Unavailable")],
)
def test_a_server_that_goes_on_failing_is_given_up(tmp_path: Path, step: Step, reason: str) -> None:
    with (
        serve(*[step] * 20) as server,
        pytest.raises(DataError, match=rf"failed 4 times in a row{reason}.*What has arrived is kept"),
    ):
        download(remote(server), tmp_path / "file.h5", Listener(), HASTY)
    assert len(server.requests) == 4


def test_wrong_checksum_names_both_and_keeps_nothing(tmp_path: Path) -> None:
    with serve() as server, pytest.raises(DataError, match=f"must have the SHA-256 {'0' * 64}; got {SHA256}"):
        download(remote(server, sha256="0" * 64), tmp_path / "file.h5", Listener())
    assert files(tmp_path) == []


def test_a_damaged_part_costs_one_more_run(tmp_path: Path) -> None:
    (tmp_path / "file.h5.part").write_bytes(b"\0" * 1_000_000)
    with serve() as server:
        with pytest.raises(DataError, match="What was received is removed; run the command again"):
            download(remote(server), tmp_path / "file.h5", Listener())
        assert download(remote(server), tmp_path / "file.h5", Listener())
    assert (tmp_path / "file.h5").read_bytes() == CONTENT


def test_wrong_size_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    listener = Listener()
    with serve() as server, pytest.raises(DataError, match="must have 2,735 bytes; the server announces 3,000,000"):
        download(remote(server, size=2735), tmp_path / "file.h5", listener)
    assert listener.done == []
    assert files(tmp_path) == []


def test_a_page_in_the_files_place_does_not_cost_what_is_here(tmp_path: Path) -> None:
    (tmp_path / "file.h5.part").write_bytes(CONTENT[:1_000_000])
    with (
        FileServer({"/file.h5": b"<html>Please log in</html>"}, [Step(ranges=False)]) as server,
        pytest.raises(DataError, match=r"the server announces 26\. It is another file, or a page in its place"),
    ):
        download(remote(server, size=len(CONTENT)), tmp_path / "file.h5", Listener())
    assert (tmp_path / "file.h5.part").stat().st_size == 1_000_000


def test_a_server_that_sends_too_much_without_a_size(tmp_path: Path) -> None:
    with serve(Step(length=False)) as server, pytest.raises(DataError, match=r"2,735 bytes; got 65,536"):
        download(remote(server, size=2735), tmp_path / "file.h5", Listener())
    assert files(tmp_path) == []


def test_a_server_gets_the_time_that_it_asks_for_and_more_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(downloads, "time", clock)
    with serve(Step(status=503, headers={"Retry-After": "7"}), *(Step(status=s) for s in (500, 503, 429))) as server:
        download(remote(server), tmp_path / "file.h5", Listener(), Patience(first_wait=2, longest_wait=6))
    assert (tmp_path / "file.h5").read_bytes() == CONTENT
    assert clock.pauses == [7, 4, 6, 6]


@pytest.mark.parametrize("wait", ["86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_asks_for_a_day_is_left_alone(tmp_path: Path, wait: str) -> None:
    with (
        serve(Step(status=503, headers={"Retry-After": wait})) as server,
        pytest.raises(DataError, match="asks to be left alone for"),
    ):
        download(remote(server), tmp_path / "file.h5", Listener(), HASTY)
    assert len(server.requests) == 1


def test_a_host_that_never_answers(tmp_path: Path) -> None:
    patience = Patience(connect_timeout=0.3, first_contact=0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # the queue is full: further attempts hang
            url = f"http://127.0.0.1:{full.getsockname()[1]}/file.h5"
            with pytest.raises(DataError, match=r"cannot be reached: .*timed out"):
                download(RemoteFile(url, SHA256), tmp_path / "file.h5", Listener(), patience)


def test_another_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file.h5").write_bytes(b"my thesis")
    for size, found in ((None, hashlib.sha256(b"my thesis").hexdigest()), (len(CONTENT), "it has 9")):
        with serve() as server, pytest.raises(DataError, match=f"already there and must have .*{found}. Remove it"):
            download(remote(server, size=size), tmp_path / "file.h5", Listener())
    assert (tmp_path / "file.h5").read_bytes() == b"my thesis"
    assert server.requests == []


def test_no_space_is_said_before_the_first_byte(small_disk: Path) -> None:
    for size in (len(CONTENT), None):
        with serve() as server, pytest.raises(DataError, match=r"needs 3.0 MB of free disk space in .*; it has 2.1 MB"):
            download(remote(server, size=size), small_disk / "file.h5", Listener())
        assert files(small_disk) == []
    assert [request.path for request in server.requests] == ["/file.h5"]


def test_a_disk_that_fills_up_keeps_what_came(small_disk: Path) -> None:
    with (
        serve(Step(length=False)) as server,
        pytest.raises(DataError, match=r"the disk is full: .* MB are kept in .*file.h5.part. Free some space"),
    ):
        download(remote(server), small_disk / "file.h5", Listener())
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    with serve() as server:
        assert download(remote(server), small_disk / "file.h5", Listener())
    assert (small_disk / "file.h5").read_bytes() == CONTENT
    assert server.requests[0].sent < 1_100_000


def test_two_at_once_fetch_it_once(tmp_path: Path) -> None:
    stall, listeners = threading.Event(), [Listener(), Listener()]
    fetched: list[bool] = []
    with serve(Step(stall=stall)) as server:

        def fetch(listener: Listener) -> None:
            fetched.append(download(remote(server), tmp_path / "file.h5", listener))

        threads = [threading.Thread(target=fetch, args=(listener,)) for listener in listeners]
        threads[0].start()
        wait_for(lambda: server.requests)
        threads[1].start()
        wait_for(lambda: listeners[1].said or not threads[1].is_alive())
        stall.set()
        for thread in threads:
            thread.join()
    assert sorted(fetched) == [False, True]
    assert len(server.requests) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.h5"]  # and no lock


def test_a_lock_that_goes_with_its_holder_is_never_held_by_two(tmp_path: Path) -> None:
    """Each removes the file that the others wait for."""
    inside, most, turns = 0, 0, 0

    def take_turns() -> None:
        nonlocal inside, most, turns
        for _ in range(5):
            with one_at_a_time(tmp_path / "file.h5", Listener()):
                inside += 1
                most = max(most, inside)
                turns += 1
                assert (tmp_path / ".file.h5.lock").exists()
                inside -= 1

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 20)
    assert list(tmp_path.iterdir()) == []


# From https to http


def redirect(address: str, target: str) -> requests.Response:
    answer = requests.Response()
    answer.url, answer.status_code = address, 302
    answer.headers["location"] = target
    return answer


def test_what_begins_encrypted_stays_so() -> None:
    session = downloads._Session()
    for target in ("http://a/b", "HTTP://a/b", "ftp://a/b", "file:///etc/passwd"):
        with pytest.raises(UnreachableError, match=r"must stay so; https://a/x leads to \S+\."):
            session.get_redirect_target(redirect("https://a/x", target))
    for target in ("https://b/c", "/c", "//b/c", "?d=http://e"):
        assert session.get_redirect_target(redirect("https://a/x", target)) == target
    assert session.get_redirect_target(redirect("http://a/x", "http://b/c")) == "http://b/c"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 127.0.0.1, which requests believes, with its key."""
    path = tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    if not shutil.which("openssl"):
        pytest.skip("a certificate takes openssl")
    key = tmp_path / "key.pem"
    subprocess.run([*make.split(), "-keyout", key, "-out", path], capture_output=True, check=True)
    path.write_text(path.read_text() + key.read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return path


def test_a_server_that_leads_from_https_to_http_is_not_followed(certificate: Path, tmp_path: Path) -> None:
    with serve() as plain, serve(Step(302, {"Location": f"{plain.url}/file.h5"})) as safe:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        safe._server.socket = context.wrap_socket(safe._server.socket, server_side=True)
        url = f"{safe.url.replace('http:', 'https:')}/file.h5"
        with pytest.raises(UnreachableError, match=r"must stay so; https://.* leads to http://"):
            download(RemoteFile(url, SHA256), tmp_path / "file.h5", Listener(), HASTY)
        assert (len(safe.requests), plain.requests) == (1, [])
        safe.files["/list"], safe.links["/list"] = b"[1]", "/more"  # whose next page the server names with http://
        with pytest.raises(UnreachableError, match="must stay so"):
            downloads.get_json(url.replace("/file.h5", "/list"), Listener(), HASTY)
        assert download(RemoteFile(url, SHA256), tmp_path / "file.h5", Listener(), HASTY)


def test_a_server_is_asked_once_and_one_that_says_nothing_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PROBE_SECONDS", 0.2)
    with serve() as server:
        address = f"{server.url}/no-such-file.h5"
        assert is_reachable(address)
    assert is_reachable(f"{server.url}/another.h5")  # though it is gone: it was not asked again
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/file.h5")
    assert not is_reachable("https://example.org/file.h5")  # by the tests' proxy, which refuses
