from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import cache, open_dataset
from tests.galaxies import make_images

KILOBYTE = 1000


def build_bytes(folder: Path, size: int = 100 * KILOBYTE) -> None:
    (folder / "data").write_bytes(b"x" * size)


def build_elsewhere(folder: Path, *, hold: bool) -> subprocess.Popen[bytes]:
    """Another process that builds the entry `folder`, and, if `hold`, uses it until it is killed."""
    code = f"""
import pathlib, time
from galaxytl.data import cache
cache.built_once(pathlib.Path({str(folder)!r}), lambda f: (f / "data").write_bytes(b"x" * {100 * KILOBYTE}))
print("built", flush=True)
time.sleep({600 if hold else 0})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    if not hold:
        process.wait()
    return process


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        cache.built_once(tmp_path / "images" / "a", build)
    assert not [path for path in (tmp_path / "images").iterdir() if path.suffix != ".lock"]


def test_who_asks_at_the_same_time_builds_once(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        time.sleep(0.2)
        built.append(folder)
        build_bytes(folder)

    ask = (tmp_path / "images" / "a", build)
    threads = [threading.Thread(target=cache.built_once, args=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert (tmp_path / "images" / "a" / "data").stat().st_size == 100 * KILOBYTE


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    assert cache.cache_dir() == tmp_path
    monkeypatch.delenv("GALAXYTL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache.cache_dir() == Path("/var/cache/me/galaxytl")


@pytest.mark.parametrize("text", ["0", "-3", "much", "nan"])
def test_bad_limit_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", text)
    with pytest.raises(ValueError, match=f"GALAXYTL_CACHE_GB must be a positive number of gigabytes; got '{text}'"):
        cache.limit_bytes()


def test_least_recently_used_entries_go_first_and_held_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "0.0005")  # room for four of them
    folders = {name: tmp_path / "images" / name for name in "abcd"}
    holder = build_elsewhere(folders["a"], hold=True)
    try:
        for number, name in enumerate("bcd"):
            build_elsewhere(folders[name], hold=False)
            os.utime(folders[name] / cache.USED, (1000 + number, 1000 + number))
        os.utime(folders["a"] / cache.USED, (1, 1))
        os.utime(folders["b"] / cache.USED)  # used again just now
        cache.built_once(tmp_path / "features" / "e", build_bytes, size=200 * KILOBYTE)
        assert sorted(entry.name for entry in cache.entries(tmp_path)) == ["a", "b", "e"]
        assert not list(tmp_path.glob("*/.*.building-*"))
    finally:
        holder.kill()
        holder.wait()
    removed = cache.make_room(tmp_path, 400 * KILOBYTE)
    assert folders["a"] in removed  # its user has ended


def test_a_removed_entry_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images" / "a"
    build_elsewhere(folder, hold=False)
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "0.000001")
    assert cache.make_room(tmp_path, 0) == [folder]
    assert not folder.exists()
    assert (cache.built_once(folder, build_bytes) / "data").exists()


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.6])
def test_a_builder_killed_at_any_moment_leaves_a_cache_that_works(
    galaxies_file: Path, tmp_path: Path, delay: float
) -> None:
    code = f"""
import shutil
from galaxytl.data import open_dataset
from pathlib import Path
dataset = open_dataset({str(galaxies_file)!r}, Path({str(tmp_path)!r}))
print("opened", flush=True)
while True:
    dataset.resized(96)
    (entry,) = Path({str(tmp_path)!r}).glob("images/[!.]*")
    entry.rename(Path({str(tmp_path)!r}) / "removed")  # at once, as the cache removes
    shutil.rmtree(Path({str(tmp_path)!r}) / "removed")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    dataset = open_dataset(str(galaxies_file), tmp_path)
    whole = open_dataset(str(galaxies_file), tmp_path / "other").resized(96).images
    assert np.array_equal(dataset.resized(96).images, whole)
    assert not list(tmp_path.glob("images/.*.building-*"))


def test_where_the_disk_is_full_the_images_are_kept_in_memory(galaxies_file: Path, small_disk: Path) -> None:
    dataset = open_dataset(str(galaxies_file), small_disk)
    assert np.array_equal(dataset.resized(256).images, make_images())
    assert not list(small_disk.glob("images/[!.]*"))
    assert not list(small_disk.glob("images/.*.building-*"))
    assert dataset.resized(32).images.shape == (40, 32, 32, 3)


def test_what_is_written_is_for_whom_the_umask_lets_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    cache.write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


def test_where_no_folder_can_be_made_the_images_are_kept_in_memory(galaxies_file: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", small_disk], check=True)
    (small_disk / "last").touch()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "images").mkdir()
    assert open_dataset(str(galaxies_file), small_disk).resized(32).images.shape == (40, 32, 32, 3)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "seal"])
def test_a_damaged_entry_is_made_anew(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by a process that uses it, and holds its lock."""
    folder = cache.built_once(tmp_path / "images" / "a", build_bytes)
    before = (folder / "data").stat()
    if damage == "flipped":
        with (folder / "data").open("rb+") as file:
            file.write(b"y")
        os.utime(folder / "data", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    elif damage == "truncated":
        os.truncate(folder / "data", 10)
    else:
        (folder / ".crc32").write_text('{"data": ')
    cache.built_once(folder, build_bytes)
    assert (folder / "data").read_bytes() == b"x" * 100 * KILOBYTE
    assert capsys.readouterr().out == f"{folder} is damaged: it is made anew\n"
    with pytest.raises(BlockingIOError):  # this process holds what is there now
        fcntl.flock(os.open(folder / cache.USED, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    cache.release()


def test_bytes_that_a_disk_flipped_are_seen_by_the_next_process(tmp_path: Path) -> None:
    """Size and time of the file stay, so a process that has looked does not look again."""
    folder = tmp_path / "images" / "a"
    build_elsewhere(folder, hold=False)
    before = (folder / "data").stat()
    with (folder / "data").open("rb+") as file:
        file.write(b"y")
    os.utime(folder / "data", ns=(before.st_atime_ns, before.st_mtime_ns))
    cache.built_once(folder, build_bytes)
    assert (folder / "data").read_bytes() == b"x" * 100 * KILOBYTE
    cache.release()
