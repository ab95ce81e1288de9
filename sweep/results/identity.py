"""A sweep's identity: what tells it from all others, wherever its results folder lies.

It is a file in the folder and, with --storage, there too, so that drivers on other machines have the same. Who copies a
folder to begin another sweep with it deletes the file.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Final

from galaxytl.results.storage import LONGEST_PAUSE, Storage, with_retries
from galaxytl.system.files import write_atomically
from sweep.results.folder import as_storage_error

FILE_NAME: Final = "sweep_id"


def sweep_identity(out: Path, place: str) -> str:
    """Return 32 hexadecimal digits, made where there are none. place: the URI of --storage, or "". For the driver
    that leads alone. Raises StorageError and OSError."""
    path = out / FILE_NAME
    with as_storage_error():
        storage = Storage(place) if place else None
        stored = with_retries(lambda: storage.get(FILE_NAME), LONGEST_PAUSE) if storage else None
        own = path.read_bytes() if path.exists() else b""
        identity = next(filter(_is_identity, (stored or b"", own)), uuid.uuid4().hex.encode())
        if own != identity:
            write_atomically(path, identity)
        if storage and stored != identity:
            with_retries(lambda: storage.put(FILE_NAME, identity), LONGEST_PAUSE)
    return identity.decode()


def _is_identity(content: bytes) -> bool:
    return re.fullmatch(rb"[0-9a-f]{32}", content) is not None
