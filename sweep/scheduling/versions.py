"""Versions of what must be the same on all nodes: a trial's result may depend on them. Without Ray.

versions()                        # {"ray": "2.60.0", ..., "galaxytl": "0.1.0, code 1f0c2a9e"}
refusal("10.0.0.7", versions(), theirs)          # why that node must not train, or ""
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PACKAGES: Final = ("ray", "keras", "tensorflow", "numpy")
"""Whose versions must be the same on all nodes: a trial's result may depend on them."""
PROJECT: Final = ("galaxytl", "sweep")
SAME_PROJECT: Final = (
    "bring the same project to both and install its requirements.lock: ray up, or git pull && make install"
)


def versions() -> dict[str, str]:
    """Return those of what must be the same on all nodes, the project included."""
    return {**{name: version_of(name) for name in PACKAGES}, "galaxytl": project_version()}


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def project_version() -> str:
    """Return the version and a hash of the project's Python files, for a version is not raised with every change."""
    digest = hashlib.sha256()
    found = False
    for package in PROJECT:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes())
                found = True
    return f"{version_of('galaxytl') or 'not installed'}, code {digest.hexdigest()[:8]}" if found else ""


def differences(driver: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Return, of versions by package, a text for each in which a node differs from the driver."""
    return [
        f"{name} {theirs.get(name) or 'missing'} (driver: {version or 'missing'})"
        for name, version in driver.items()
        if theirs.get(name) != version
    ]


def refusal(where: str, driver: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return why a node with the versions `theirs` must not train for a driver; "" where it may."""
    found = "; ".join(differences(driver, theirs))
    return f"every node must have what the driver has; {where} has {found}: {SAME_PROJECT}" if found else ""
