"""Manifests that strangers wrote, beside true galaxies: values of other types, paths, nested and endless ones."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any, Final

from galaxytl.data.convert import ConvertOptions, convert

SHARDS: Final = ConvertOptions(images_per_shard=16)


def write(folder: Path, rng: random.Random, clean: str, canary: Path) -> Path:
    """A converted copy of the galaxies at `clean`, of whose manifest up to two values are changed."""
    convert(clean, str(folder), SHARDS)
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    for _ in range(rng.randrange(3)):
        _change(manifest, rng, canary)
    text = json.dumps(manifest).encode()
    at = rng.randrange(len(text))
    odd = (b"", b"{", b"\xff", b"[" * 100_000, text[:at], text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :])
    place.write_bytes(rng.choice(odd) if rng.random() < 0.2 else text)
    if rng.random() < 0.1:
        place.unlink()
        place.symlink_to(canary / "file")
    return folder


def _change(manifest: dict[str, Any], rng: random.Random, canary: Path) -> None:
    lists = [manifest[name] for name in ("shards", "source") if isinstance(manifest.get(name), list)]
    holder: Any = rng.choice([manifest, manifest, manifest, *itertools.chain(*lists)])
    if not isinstance(holder, dict):
        return
    key = rng.choice([*holder, "split", "more"] if holder is manifest else [*holder])
    holder[key] = rng.choice(_odd(canary))
    if rng.random() < 0.1:
        holder.pop(key)


def _odd(canary: Path) -> list[Any]:
    return [
        *(None, True, -1, 0, 7.5, 10**400, float("nan"), "", "x", [], {}, [[]], {"a": 1}, "0" * 64, "f" * 63 + "\n"),
        *(f"{canary}/".ljust(64, "."), f"../../{canary.name}/".ljust(64, "/"), f"{canary}/file", "../manifest.json"),
        *("\x1b[2J", "a\nb", "é" * 64, "A" * 64, "x" * 100_000),
    ]
