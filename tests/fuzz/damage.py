"""Damage to the bytes of a file, whatever is in it."""

from __future__ import annotations

import os
import random
from pathlib import Path


def damage_bytes(path: Path, rng: random.Random) -> None:
    """Cut, flip, blank, repeat or replace some bytes; sometimes the file's time is put back."""
    state, data = path.stat(), bytearray(path.read_bytes())
    if not data:
        return
    at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 4000))
    if rng.random() < 0.25:  # where Parquet has its footer, and HDF5 its last objects
        at = max(0, len(data) - rng.randrange(1, 2000))
    kind = rng.choice(["cut", "flip", "flip", "blank", "repeat", "empty", "noise"])
    length = rng.choice([1, 4, 100, 5000])
    if kind == "cut":
        del data[at:]
    elif kind == "empty":
        data = bytearray(rng.choice([b"", b"galaxy", b"PAR1", b"\x89HDF\r\n\x1a\n"]))
    elif kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "blank":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        data[at : at + length] = rng.randbytes(len(data[at : at + length]))
    path.write_bytes(data)
    if rng.random() < 0.3:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
