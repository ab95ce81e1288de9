"""What a machine says of itself: versions, GPUs, disk, dataset, weights, clock and ports. No judgement, and no Ray.

    facts = gather(Questions(data="s3://bucket/galaxy10/"))      # of this machine; a Ray worker calls the same function

A node may hold another version of the project, or none. So this module, and those that it imports at its beginning, go
to it by value (`sweep.doctor.nodes`); what else it needs it imports where it asks, with the failure as an answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from galaxytl.networks.gpu_memory import driver_gpus
from sweep.scheduling.versions import versions

COUNT_GPUS = """import keras
print(sum("gpu" in name.lower() or "cuda" in name.lower() for name in keras.distribution.list_devices()))"""
FRAMEWORK_SECONDS = 120


@dataclass(frozen=True)
class Questions:
    """What to look at, as it is named on every node."""

    data: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """How it is read: the fields of `galaxytl.trial.reading.Reading`, which a node may lack."""
    weights_dir: str = ""
    backbones: Sequence[str] = ()
    places: Sequence[str] = ()
    """Results folders or URIs, into which the driver has written `mark`."""
    mark: str = ""
    """Name and content of that file; empty: nobody has."""


@dataclass(frozen=True)
class DataFacts:
    num_images: int = 0
    identity: str = ""
    """Hash of the labels and the sizes of the files: equal galaxies in the same container have the same."""
    fingerprint: str = ""
    """Of the images, where it is known without reading them."""
    error: str = ""


@dataclass(frozen=True)
class Facts:
    host: str
    python: str
    versions: Mapping[str, str]
    """By package; "" where it is not installed."""
    gpus: int
    """That NVIDIA's driver lists."""
    framework_gpus: int | None
    """That Keras's backend sees; None where there is no GPU, and so nothing to ask."""
    cache: str
    cache_free: int
    """Bytes."""
    cache_limit: int
    cache_error: str
    data: DataFacts | None
    weights: Mapping[str, str]
    """By backbone: the fingerprint, "" where there is no file, "error: ..." where it cannot be used."""
    places: Mapping[str, str]
    """By place: "" where the node saw the mark and could write beside it, else what went wrong."""
    auth_mode: str
    """$RAY_AUTH_MODE."""
    token_file: str
    token_mode: int | None
    """Permissions of the token's file; None where there is none."""
    listening: Mapping[int, Sequence[str]]
    """By TCP port: the addresses it is bound to."""
    cache_note: str = ""
    """What is wrong with where the cache lies, though it can be used."""
    online: bool | None = None
    """Whether the server of the weights answers; None where no weights file is missing that should be there."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def facts_from_dict(values: Mapping[str, Any]) -> Facts:
    """Return the inverse of `Facts.to_dict`."""
    data = values["data"]
    return Facts(**{**values, "data": DataFacts(**data) if data else None})


def gather(questions: Questions) -> Facts:
    """Return this machine's answers; what cannot be found out is an answer too."""
    gpus = driver_gpus()
    cache, free, limit, cache_error = cache_room()
    token = Path(
        os.path.expanduser(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token")
    )  # ~ as it is without home
    weights = {name: weights_of(name, questions.weights_dir) for name in questions.backbones}
    missing = [name for name, found in weights.items() if not found]
    return Facts(
        host=socket.gethostname(),
        python=platform.python_version(),
        versions=versions(),
        gpus=gpus,
        framework_gpus=framework_gpus() if gpus else None,
        cache=cache,
        cache_free=free,
        cache_limit=limit,
        cache_error=cache_error,
        data=look_at_data(questions.data, questions.reading) if questions.data else None,
        weights=weights,
        places={place: visit(place, questions.mark) for place in questions.places},
        auth_mode=os.environ.get("RAY_AUTH_MODE", ""),
        token_file=str(token),
        token_mode=token.stat().st_mode & 0o777 if token.is_file() else None,
        listening=listening_ports(),
        cache_note=cache_note(),
        online=can_fetch(missing[0]) if missing and questions.weights_dir else None,
    )


def framework_gpus() -> int:
    """Return GPUs that Keras's backend sees, all of them whatever Ray hides from its workers; -1 when it cannot be
    asked.

    In a process of its own: what once was shown the GPUs keeps memory on them.
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", COUNT_GPUS]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FRAMEWORK_SECONDS, check=True, env=environment
        )
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return -1


def cache_room() -> tuple[str, int, int, str]:
    """Return the cache's folder, the free bytes of its disk, its limit in bytes, and what is wrong with it."""
    try:
        from galaxytl.system import cache

        folder = cache.cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder), shutil.disk_usage(folder).free, cache.limit_bytes(), ""
    except (ImportError, OSError, ValueError) as error:
        return "", 0, 0, str(error)


def cache_note() -> str:
    """Return what a sweep would say of where the cache lies; "" also where the node's version does not know."""
    try:
        from galaxytl.system.cache import network_note

        return network_note()
    except (ImportError, OSError, ValueError):
        return ""


def look_at_data(uri: str, reading: Mapping[str, Any]) -> DataFacts:
    """Return the dataset without its images. Simulated galaxies are drawn by each node itself: there is nothing to
    reach."""
    try:
        from galaxytl.data.dataset import open_source
        from galaxytl.system.cache import cache_dir
        from galaxytl.trial.reading import Reading

        opened = open_source(uri, cache_dir(), reading=Reading(**reading))
        content = hashlib.sha256(opened.source.labels.tobytes())
        content.update(json.dumps([file.size for file in opened.files]).encode())
        return DataFacts(len(opened.source.labels), content.hexdigest(), opened.fingerprint or "")
    except (ImportError, ValueError, OSError) as error:
        return DataFacts(error=str(error))


def weights_of(backbone: str, weights_dir: str) -> str:
    try:
        from galaxytl.networks.weights import WeightsError, WeightsNotFoundError, find_weights
    except ImportError as error:
        return f"error: {error}"
    try:
        return find_weights(backbone, Path(weights_dir) if weights_dir else None, download=False).fingerprint
    except WeightsNotFoundError:
        return ""
    except (WeightsError, OSError) as error:
        return f"error: {error}"


def can_fetch(backbone: str) -> bool | None:
    """Return whether the server of a network's weights answers; None where the node's version cannot ask."""
    try:
        from galaxytl.networks.backbones import backbone_named
        from galaxytl.networks.weights import is_online
    except ImportError:
        return None
    return is_online(backbone_named(backbone))


def visit(place: str, mark: str) -> str:
    """Read the driver's mark in `place` and write an own one beside it, named after this host; "" when both went well.

    Where there is no mark, only write, read and delete.
    """
    try:
        from galaxytl.system.locations import locate

        folder = locate(place)
        if folder.kind() == "nothing" and folder.is_local:  # of S3, asking says more than writing whether we may
            return "it does not exist here"
        if mark:
            read_back(folder.child(mark), mark)
        own = folder.child(own_mark(mark or "doctor"))
        write(own, mark)
        read_back(own, mark)
        if not mark:
            own.delete()
    except (ImportError, ValueError, OSError) as error:
        return str(error)
    return ""


def own_mark(mark: str) -> str:
    """Return the name of the file by which a node answers the driver's; hidden, so that nothing takes it for a
    result."""
    return f".{mark.lstrip('.')}-{socket.gethostname()}-{os.getpid()}"


def write(location: Any, text: str) -> None:
    import io

    location.write(io.BytesIO(text.encode()))


def read_back(location: Any, text: str) -> None:
    """Raise OSError when `location` holds something else than `text`."""
    found = location.read().decode(errors="replace")
    if found != text:
        raise OSError(f"{location} must hold what was written there; it holds {found[:40]!r}")


def listening_ports() -> dict[int, list[str]]:
    ports: dict[int, list[str]] = {}
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        if path.exists():
            for port, address in parse_listening(path.read_text()):
                ports.setdefault(port, []).append(address)
    return ports


def parse_listening(table: str) -> list[tuple[int, str]]:
    """Return ports and addresses of the sockets in state 0A, LISTEN, of Linux's /proc/net/tcp or tcp6.

    Addresses stand there in hexadecimal, four bytes at a time with the lowest first (proc_net_tcp in the kernel's
    documentation).
    """
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 3 and columns[3] == "0A":
            address, _, port = columns[1].partition(":")
            words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
            kind = socket.AF_INET if len(words) == 1 else socket.AF_INET6
            found.append((int(port, 16), socket.inet_ntop(kind, b"".join(words))))
    return found
