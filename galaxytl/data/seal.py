"""Whether an entry of the cache still is what was built: the CRC-32 of its files lies beside them.

    seal(folder)              # when the entry is complete
    is_intact(folder)         # False where a disk, a full one or a broken one, has changed a file since

A damaged hot copy would be trained on in silence. Each process looks once, and again at files that were touched since:
that reads what training reads anyway, and counts at 4 GB a second on one core.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from galaxytl.system.strict_json import read_json

SEAL = ".crc32"
BLOCK = 2**20

_intact: dict[Path, tuple[tuple[int, int, int], ...]] = {}
"""Entries that this process found intact, and the state of their files then."""


def seal(folder: Path) -> None:
    """Note what the files of `folder` hold; of a copy of another entry, anew."""
    files = [path for path in sorted(folder.iterdir()) if path.name != SEAL and path.stat().st_size]
    found = {path.name: _checksum(path) for path in files}
    (folder / SEAL).write_text(json.dumps(found))


def is_intact(folder: Path) -> bool:
    """Whether the files of `folder` are as they were sealed; True where there is no seal to tell.

    Raises PermissionError where this user may not read them."""
    try:
        sums = read_json((folder / SEAL).read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    if not isinstance(sums, dict):
        return False
    try:
        state = tuple((s.st_size, s.st_mtime_ns, s.st_ino) for s in ((folder / name).stat() for name in sums))
        if _intact.get(folder) != state:
            if any(_checksum(folder / name) != value for name, value in sums.items()):
                return False
            _intact[folder] = state
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value
