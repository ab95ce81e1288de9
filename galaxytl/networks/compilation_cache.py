"""Where JAX keeps what it has compiled, from one process to the next: a folder of the node's cache.

    folder = own_folder()       # None where there can be none: each process compiles for itself then

What lies there is machine code, which JAX runs as it is: so the folder is this user's alone, and one for each kind of
CPU and number of CPUs, where a home folder is shared by several machines. Compiled or read, a network computes the
same digits. JAX lets one process at a time read or write there, and warns where it cannot; no trial fails of it.
Known of JAX 0.10.2 and 0.12.0.1 (`jax/_src/lru_cache.py`, `compiler.py`): the names of its files, and the above.

TensorFlow has no such cache on a CPU: what it does before a network's first step, tracing it in Python and optimizing
its graph, is of one process.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Final

from filelock import FileLock

from galaxytl.system import cache, process
from galaxytl.system.command import UsageError

LARGEST_BYTES: Final = 300_000_000
"""Of what is kept; the least recently used goes first. A step of ResNet50's last two blocks takes 106 kB on a CPU. JAX
looks at every file whenever it writes one, so that there should be no more than some thousands."""
SHORTEST_SECONDS: Final = 0.1
"""Of compiling what is kept. ResNet50's random weights alone are drawn by 21 functions of 0.1 to 2 s."""
SETTINGS: Final = {
    "jax_compilation_cache_max_size": LARGEST_BYTES,
    "jax_persistent_cache_min_compile_time_secs": SHORTEST_SECONDS,
    "jax_persistent_cache_enable_xla_caches": "none",  # XLA's own, on GPUs, have no limit
}
LOCK, CONTENT, LAST_USE = ".lockfile", "-cache", "-atime"
LOCK_SECONDS: Final = 10
CPU: Final = ("model name", "flags", "CPU implementer", "CPU part", "Features")
"""Lines of Linux's /proc/cpuinfo that say what code a CPU runs."""


def own_folder() -> Path | None:
    """Return the folder of this user and of CPUs like this machine's; None where it cannot be made or used."""
    try:
        folder = cache.built_once(cache.cache_dir() / "compiled" / _name(), lambda made: None)
        folder.chmod(0o700)
        _remove_halves(folder)
    except (OSError, NotImplementedError, UsageError):  # filelock's, where a file system has no locks
        return None
    return folder


def _name() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    kind = [line for line in lines if line.startswith(CPU)]
    text = "\n".join([str(os.geteuid()), platform.machine(), str(process.usable_cpus()), *kind])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _remove_halves(folder: Path) -> None:
    """Remove what a process left that died as it wrote, or found the disk full. JAX writes a file, and then another
    that says when it was used. A half stays for ever otherwise; without the other, JAX 0.10 keeps nothing more."""
    with FileLock(folder / LOCK, timeout=LOCK_SECONDS):
        for content in folder.glob(f"*{CONTENT}"):
            if not content.with_name(content.name.removesuffix(CONTENT) + LAST_USE).exists():
                content.unlink(missing_ok=True)
