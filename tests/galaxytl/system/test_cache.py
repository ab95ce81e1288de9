from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import open_dataset
from galaxytl.results import mirror
from galaxytl.system import cache
from galaxytl.system.files import write_atomically
from tests.galaxies import killed, make_images
from tests.sweep.sweeps import ROOT

KILOBYTE = 1000


def build_bytes(folder: Path, size: int = 100 * KILOBYTE) -> None:
    (folder / "data").write_bytes(b"x" * size)


def build(folder: Path) -> None:
    """Build an entry, which nobody holds then."""
    cache.built_once(folder, build_bytes)
    cache.release()


HOLDER = """
import pathlib, sys
from galaxytl.results import mirror
from galaxytl.system import cache
cache.built_once(pathlib.Path(sys.argv[1]), lambda folder: (folder / "data").write_bytes(b"x" * 100_000))
print("built", flush=True)
sys.stdin.read()
"""
"""A process that builds an entry and holds it until its input ends."""


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        cache.built_once(tmp_path / "images" / "a", fail)
    assert not [path for path in (tmp_path / "images").iterdir() if path.suffix != ".lock"]


def test_who_asks_at_the_same_time_builds_once(tmp_path: Path) -> None:
    built, started = [], threading.Barrier(5)

    def build_slowly(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)  # so that the others come to the lock meanwhile
        build_bytes(folder)

    def ask(_: int) -> None:
        started.wait()
        cache.built_once(tmp_path / "images" / "a", build_slowly)

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(ask, range(5)))
    assert len(built) == 1
    assert (tmp_path / "images" / "a" / "data").stat().st_size == 100 * KILOBYTE


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    monkeypatch.delenv("GALAXYTL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache.cache_dir() == Path("/var/cache/me/galaxytl")


@pytest.mark.parametrize("text", ["0", "much", "nan", "inf", "50GB"])
def test_bad_limit_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", text)
    with pytest.raises(ValueError, match=f"GALAXYTL_CACHE_GB must be a positive number of gigabytes; got '{text}'"):
        cache.limit_bytes()


def test_least_recently_used_entries_go_first_and_held_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "0.0005")  # room for four of them
    folders = {name: tmp_path / "images" / name for name in "abcd"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, folders["a"]], **pipes) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"built\n"
        for number, name in enumerate("bcd"):
            build(folders[name])
            os.utime(folders[name] / cache.USED, (1000 + number, 1000 + number))
        os.utime(folders["a"] / cache.USED, (1, 1))
        os.utime(folders["b"] / cache.USED)  # used again just now
        cache.built_once(tmp_path / "features" / "e", build_bytes, size=200 * KILOBYTE)
        assert sorted(entry.name for entry in cache.entries(tmp_path)) == ["a", "b", "e"]
        assert not list(tmp_path.glob("*/.*.building-*"))
    removed = cache.make_room(tmp_path, 400 * KILOBYTE)
    assert folders["a"] in removed  # its user has ended
    assert cache.entries(tmp_path) == [tmp_path / "features" / "e"]  # held by this process
    cache.release()


def test_a_removed_entry_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images" / "a"
    build(folder)
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "0.000001")
    assert cache.make_room(tmp_path, 0) == [folder]
    assert not folder.exists()
    assert (cache.built_once(folder, build_bytes) / "data").exists()


def test_a_builder_killed_at_any_moment_leaves_a_cache_that_works(galaxies_file: Path, tmp_path: Path) -> None:
    """In processes that really die, in the middle and before the entry gets its name."""
    dataset = open_dataset(str(galaxies_file), tmp_path)
    whole, moments = dataset.resized(96).images, ("20", "os.rename")
    opened = f"open_dataset({str(galaxies_file)!r}, Path(to).parent)"
    killed(
        f"dataclasses.replace({opened}, cache=Path(to)).resized(96, moment)", [(at, tmp_path / at) for at in moments]
    )
    for moment in moments:
        assert len(list((tmp_path / moment).glob("images/.*.building-*"))) == 1
        assert np.array_equal(dataclasses.replace(dataset, cache=tmp_path / moment).resized(96).images, whole)
        assert not list((tmp_path / moment).glob("images/.*.building-*"))


def test_where_the_disk_is_full_the_images_are_kept_in_memory(galaxies_file: Path, small_disk: Path) -> None:
    dataset = open_dataset(str(galaxies_file), small_disk)
    assert np.array_equal(dataset.resized(256).images, make_images())
    assert not list(small_disk.glob("images/[!.]*"))
    assert not list(small_disk.glob("images/.*.building-*"))
    assert dataset.resized(32).images.shape == (40, 32, 32, 3)
    for left in small_disk.iterdir():
        shutil.rmtree(left)
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", small_disk], check=True)
    (small_disk / "last").touch()  # now no folder can be made either
    with pytest.raises(OSError, match="No space"):
        (small_disk / "images").mkdir()
    assert dataset.resized(32).images.shape == (40, 32, 32, 3)


def test_what_is_written_is_for_whom_the_umask_lets_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flipped", "flipped by the disk", "truncated", "seal"])
def test_a_damaged_entry_is_rebuilt(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by a process that uses it, and holds its lock. Where size and time of the file stay, by the next process:
    one that has looked does not look again."""
    folder = cache.built_once(tmp_path / "images" / "a", build_bytes)
    before = (folder / "data").stat()
    if damage.startswith("flipped"):
        with (folder / "data").open("rb+") as file:
            file.write(b"y")
        by_disk = damage.endswith("disk")
        os.utime(folder / "data", ns=(before.st_atime_ns, before.st_mtime_ns + (not by_disk)))
        if by_disk:
            monkeypatch.setattr(cache, "_intact", {})
    elif damage == "truncated":
        os.truncate(folder / "data", 10)
    else:
        (folder / ".crc32").write_text('{"data": ')
    cache.built_once(folder, build_bytes)
    assert (folder / "data").read_bytes() == b"x" * 100 * KILOBYTE
    assert capsys.readouterr().out == f"{folder} is damaged: it is rebuilt\n"
    with pytest.raises(BlockingIOError):  # this process holds what is there now
        fcntl.flock(os.open(folder / cache.USED, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    cache.release()


# Two users of one cache


def as_another_user(code: str, *arguments: object) -> str:
    """What a process of a user without rights prints, in which `code` runs."""
    if os.geteuid():
        pytest.skip("to be two users, these tests must run as root")
    start = "import os, sys; from pathlib import Path; from galaxytl.system import cache\nos.setuid(12345)\n"
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder that both may write to, in one that both may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cache"
        folder.mkdir()
        for path in (folder.parent, folder):
            path.chmod(0o777)
        yield folder


USE = """
folder = Path(sys.argv[1])
try:
    cache.built_once(folder, lambda unfinished: (unfinished / "data").write_bytes(b"another"))
    print((folder / "data").read_bytes()[:7], cache.make_room(folder.parent.parent, 10**13))
except cache.CacheFull as error:
    print(error)
"""


def test_the_umask_says_who_may_read_an_entry_and_an_unreadable_one_is_done_without(shared: Path) -> None:
    readable, private, damaged = (shared / "images" / name for name in ("readable", "private", "damaged"))
    for folder in (readable, damaged):
        build(folder)
    before = os.umask(0o077)
    try:
        build(private)
    finally:
        os.umask(before)
    os.truncate(damaged / "data", 10)
    assert as_another_user(USE, readable) == "b'xxxxxxx' []\n"
    for folder in (private, damaged, shared / "images" / "new"):
        said = as_another_user(USE, folder)
        assert "for what is cached. Set GALAXYTL_CACHE_DIR to a folder that you may write to" in said
    assert as_another_user(USE, shared / "features" / "own") == "b'another' []\n"


PLANT = """
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
(folder / "data").write_bytes(b"planted")
(folder / cache.USED).touch()
cache.seal(folder)
"""


def test_an_entry_that_another_user_put_there_is_done_without(shared: Path) -> None:
    """Sealed and complete as it is: whether its images are true, nobody can tell."""
    shared.chmod(0o1777)
    planted = shared / "images" / "planted"
    as_another_user(PLANT, planted)
    with pytest.raises(cache.CacheFull, match="another user put it there, and whether it is true cannot be known"):
        cache.built_once(planted, build_bytes)
    assert (planted / "data").read_bytes() == b"planted"
    own = shared / "features" / "own"
    build(own)
    os.chown(own / "data", 12345, 12345)
    with pytest.raises(cache.CacheFull, match="data: another user put it there"):
        cache.built_once(own, build_bytes)
    os.chown(own / "data", 0, 0)
    cache.built_once(own, build_bytes)
    assert as_another_user(USE, own).startswith("b'xxxxxxx' ")  # root's is believed by all
    cache.release()


def test_small_files_that_another_user_put_there_are_done_without(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "speeds.json"
    for plant in ("path.write_text('{}')", "path.symlink_to('/etc/hostname')", "os.mkfifo(path)"):
        path.unlink(missing_ok=True)
        as_another_user(f"path = Path(sys.argv[1])\n{plant}", path)
        with pytest.raises(OSError, match=r"another user put it there|symbolic links|No such device"):
            cache.read_own(path)
    path.unlink()
    cache.keep(path, b"{}")
    assert cache.read_own(path) == b"{}"
    assert capsys.readouterr().out.count("is done without: another user put it there") == 1


def test_a_link_in_the_place_of_mirrors_removes_nothing(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders with numbers as names look like those of processes that have ended."""
    photos = shared.parent / "home" / "2024000-photos"
    photos.mkdir(parents=True)
    as_another_user("Path(sys.argv[1]).symlink_to(sys.argv[2])", shared / "mirrors", photos.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(shared.parent))
    assert shared.parent in mirror._own_folder(shared / "mirrors").parents
    assert photos.is_dir()
