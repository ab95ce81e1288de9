"""What can go wrong while a sweep runs, a function each: it does it, and says what it did.

    print(flip_bytes(one_of(cache, "images/*/images.npy"), random.Random(0)))

Those of a whole host are methods of `tests.cluster.lab.Lab`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

BEFORE = ".ray-before"


def end_all(processes: Iterable[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue  # ended meanwhile


# Files


def flip_bytes(path: Path, rng: random.Random, number: int = 8) -> str:
    """Change bytes in the second half of a file, as a bad disk does: size and time stay."""
    status = path.stat()
    with path.open("rb+") as file:
        for place in sorted(rng.randrange(status.st_size // 2, status.st_size) for _ in range(number)):
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 0xFF]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return f"flipped {number} bytes of {_short(path)}"


def truncate(path: Path, rng: random.Random | None = None) -> str:
    """Cut a file in half, as a disk does that is full or was switched off."""
    os.truncate(path, path.stat().st_size // 2)
    return f"cut {_short(path)} in half"


def remember_tune_state(out: Path) -> None:
    """As it is now, for `damage_tune_state` to bring back."""
    shutil.rmtree(out / BEFORE, ignore_errors=True)
    shutil.copytree(out / "ray", out / BEFORE)


def damage_tune_state(out: Path, how: str) -> str:
    """Truncate all files of Tune's own folder, remove it, or have it as it was before."""
    folder = out / "ray"
    if how == "truncated":
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        for path in files:
            truncate(path)
        return f"cut {len(files)} files of Tune's in half"
    shutil.rmtree(folder, ignore_errors=True)
    if how == "older":
        shutil.copytree(out / BEFORE, folder)
    return f"Tune's folder is {how}"


def one_of(folder: Path, pattern: str) -> Path:
    """The first file there; raises AssertionError when there is none."""
    found = sorted(folder.glob(pattern))
    assert found, f"nothing in {folder} is called {pattern}"
    return found[0]


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, at a folder that is made. Raises OSError where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise OSError(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> str:
    """Take all that is left of the disk that `folder` lies on, perhaps once more; `free` gives it back."""
    with (folder / ".filler").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return f"filled the disk of {_short(folder)}"


def free(folder: Path) -> str:
    (folder / ".filler").unlink()
    return f"made room on the disk of {_short(folder)}"


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])
