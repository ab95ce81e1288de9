"""What can go wrong while a sweep runs, a function each: it does it, and says what it did.

    print(flip_bytes(cache / "images/1234/images.npy", random.Random(0)))

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


def damage_tune_state(out: Path, how: str) -> str:
    """Truncate all files of Tune's own folder, or remove it."""
    folder = out / "ray"
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    if how == "missing":
        shutil.rmtree(folder, ignore_errors=True)
        return "Tune's folder is missing"
    for path in files:
        truncate(path)
    return f"cut {len(files)} files of Tune's in half"


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
