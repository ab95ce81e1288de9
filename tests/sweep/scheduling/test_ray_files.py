"""No other user of the machine reads Ray's token, or reaches a local cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.scheduling import fork_server, ray_files
from sweep.scheduling.ray_files import RayFilesError, check_token, own_folder, own_token, short_place
from tests.sweep.sweeps import ROOT

STRANGER = 65534
is_root = pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="a second user takes root")


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def succeeds_for_a_stranger(*command: object) -> bool:
    tried = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *map(str, command)]
    return not subprocess.run(tried, capture_output=True, check=False).returncode


def test_a_new_token_is_its_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    for value in (0o000, 0o022, 0o077):
        folder = tmp_path / f"{value:o}" / ".ray"
        folder.parent.mkdir()
        with umask(value):
            assert own_token(folder) == ""
        assert (mode(folder) & 0o077, mode(folder / "auth_token")) == (0, 0o600)
        assert len(bytes.fromhex((folder / "auth_token").read_text())) == 32  # as Ray's own
        assert os.listdir(folder) == ["auth_token"]


def test_sweeps_that_start_together_have_one_token(tmp_path: Path) -> None:
    def token_seen(_: int) -> str:
        own_token(tmp_path / ".ray")
        return (tmp_path / ".ray" / "auth_token").read_text()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(token_seen, range(50)))) == 1


def test_a_token_that_others_can_read_is_closed_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "auth_token").write_text("secret")
    for too_open in (0o644, 0o640, 0o604, 0o666):
        tmp_path.chmod(0o755)
        (tmp_path / "auth_token").chmod(too_open)
        said = own_token(tmp_path, make=False)
        assert f"auth_token could be read by other users (mode {too_open:04o})" in said
        assert "secret" not in said
        assert (mode(tmp_path), mode(tmp_path / "auth_token")) == (0o700, 0o600)
    assert own_token(tmp_path) == ""
    assert (tmp_path / "auth_token").read_text() == "secret"


def test_a_token_that_may_be_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    (tmp_path / "auth_token").symlink_to(tmp_path / "other")
    with pytest.raises(RayFilesError, match=r"must be a file; it is a link to .*other: move it away"):
        own_token(tmp_path)
    (tmp_path / "auth_token").unlink()
    (tmp_path / "auth_token").mkdir()
    with pytest.raises(RayFilesError, match="must be a file; it is something else"):
        own_token(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RayFilesError, match="must lie in a folder of your own"):
        own_token(tmp_path / "file" / ".ray")


@is_root
def test_a_token_or_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    own_token(tmp_path / ".ray")
    os.chown(tmp_path / ".ray" / "auth_token", STRANGER, STRANGER)
    with pytest.raises(RayFilesError, match=rf"auth_token must be your own .*it is user {STRANGER}'s"):
        own_token(tmp_path / ".ray")
    os.chown(tmp_path / ".ray", STRANGER, STRANGER)
    with pytest.raises(RayFilesError, match=rf"\.ray must be your own .*it is user {STRANGER}'s"):
        own_token(tmp_path / ".ray")


def test_where_ray_reads_no_token_of_the_home_folder_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_token(starts_ray=False) == ""  # a cluster elsewhere, which asks for none
    for name, value in (("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/x"), ("RAY_AUTH_MODE", "disabled")):
        monkeypatch.setenv(name, value)
        assert ("any user of this machine runs programs as you" in check_token(starts_ray=True)) == (value[0] == "d")
        assert not (tmp_path / ".ray").exists()
        monkeypatch.delenv(name)
    assert check_token(starts_ray=True) == ""
    assert (tmp_path / ".ray" / "auth_token").is_file()


@is_root
def test_a_second_user_reads_neither_the_token_nor_the_folder_of_a_cluster(tmp_path: Path) -> None:
    with own_folder() as folder:
        os.mkdir(folder)
        os.chmod(folder, 0o777)  # as Ray does
        home = Path(folder) / "home"
        home.mkdir(mode=0o755)
        own_token(home / ".ray")
        assert succeeds_for_a_stranger("ls", Path(folder).parents[1])
        assert not succeeds_for_a_stranger("ls", folder)
        assert not succeeds_for_a_stranger("ls", Path(folder).parent)
        os.chmod(Path(folder).parent, 0o755)
        assert succeeds_for_a_stranger("ls", home)
        assert not succeeds_for_a_stranger("ls", home / ".ray")
        (home / ".ray").chmod(0o755)
        assert not succeeds_for_a_stranger("cat", home / ".ray" / "auth_token")


# Folders of clusters


def test_folders_of_clusters_are_private_short_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/tmp", "/var/tmp"):
        monkeypatch.setenv("RAY_TMPDIR", place)
        with own_folder() as first, own_folder() as second:
            assert first != second
            assert {mode(Path(folder).parent) for folder in (first, second)} == {0o700}
            assert Path(first).parents[1] == Path(place)
            sockets = "/session_2026-01-02_03-04-05_678901_2345678/sockets/plasma_store"
            assert len(first + sockets) - len(place) + ray_files.MAX_TEMPORARY <= 104
        assert not Path(first).parent.exists()


def test_what_killed_drivers_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_files, "MAX_TEMPORARY", 200)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name, own_mode in (("raydead", 0o700), ("ray", 0o777), ("other", 0o700)):
        (tmp_path / name / "r").mkdir(parents=True)
        (tmp_path / name).chmod(own_mode)
    (tmp_path / "raydead" / fork_server.SOCKET_FILE).touch()
    (tmp_path / "rayfull" / "r").mkdir(parents=True)
    (tmp_path / "rayfull").chmod(0o700)
    (tmp_path / "rayfull" / "mine").touch()
    (tmp_path / "raylink").symlink_to(tmp_path / "raydead")
    with own_folder() as folder:
        os.mkdir(folder)
        assert {"raydead"} <= set(os.listdir(tmp_path))  # younger than an hour
        ray_files.remove_left(str(tmp_path), older_than=-1)
        alive = Path(folder).parent.name
        assert set(os.listdir(tmp_path)) == {"ray", "other", "rayfull", "raylink", alive}


def test_rays_folder_is_short_enough_for_its_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("t" * 90)
    long.mkdir()
    for chosen, folder in (("/var/tmp", "/var/tmp"), (str(long), "/tmp"), ("/nowhere", "/tmp")):
        monkeypatch.setenv("RAY_TMPDIR", chosen)
        assert short_place() == folder
    monkeypatch.setattr(ray_files.os, "access", lambda *_: False)
    with pytest.raises(RayFilesError, match=r"at most 26 bytes, .*; got /nowhere\. Set RAY_TMPDIR"):
        short_place()


def test_rays_folder_is_not_where_others_could_put_their_own_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_files, "MAX_TEMPORARY", 200)
    place = tmp_path / "scratch" / "mine"
    place.mkdir(parents=True)
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    for of_parent, own, is_taken in ((0o755, 0o755, True), (0o1777, 0o1777, True), (0o777, 0o755, False)):
        place.parent.chmod(of_parent)
        place.chmod(own)
        assert (short_place() == str(place)) == is_taken
    place.parent.chmod(0o755)
    place.chmod(0o777)
    assert short_place() == "/tmp"


def test_a_place_that_cannot_be_listed_will_do(tmp_path: Path) -> None:
    ray_files.remove_left(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


# A cluster

LOOK = """
import sys
from pathlib import Path
from sweep.scheduling.cluster import cluster
import psutil  # Ray's own
with cluster(None, Path(sys.argv[1]), print):
    us = [psutil.Process(), *psutil.Process().children(recursive=True)]
    bound = [one.laddr.ip for us_one in us for one in us_one.net_connections("inet") if one.status == "LISTEN"]
    print(*sorted({ip.removeprefix("::ffff:") for ip in bound}), len(bound) >= 5)
"""


@pytest.mark.rest
@pytest.mark.alone
def test_a_local_cluster_listens_to_this_machine_only_and_leaves_nothing(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o644)
    before = set(os.listdir("/tmp"))
    own = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp"}
    look = [sys.executable, "-c", LOOK, str(tmp_path / "log")]
    said = subprocess.run(look, env={**os.environ, **own}, capture_output=True, text=True, check=True).stdout
    *notes, bound = said.splitlines()
    assert bound == "127.0.0.1 True"
    assert ["could be read by other users" in note for note in notes] == [True]
    assert mode(token) == 0o600
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("ray")]
