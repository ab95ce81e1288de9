"""Writes docs/licences.md: under which licences that is distributed which the locks pin. `make licences` runs it.

    python -m tests.licences

It goes by what each package says of itself where it is installed; what is not, on this system, stands in ELSEWHERE.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Final, cast

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "licences.md"
LOCKS: Final = ("requirements.lock", "requirements-gpu.lock")
COPYLEFT: Final = re.compile(r"\b[AL]?GPL|General Public|\bMPL|Mozilla|\bEPL|\bEUPL|\bCDDL", re.IGNORECASE)
PROPRIETARY: Final = re.compile("proprietary", re.IGNORECASE)
ELSEWHERE: Final = {
    "nvidia-": "LicenseRef-NVIDIA-Proprietary",
    "colorama": "BSD License",
    "httpx2-jsfetch": "BSD License",
    "pywin32": "PSF",
    "tzdata": "Apache-2.0",
}
"""By how names begin: packages of other systems, and of GPUs, as their pages at the package index say."""
HEAD: Final = """\
# Licences of what is installed

Written by `make licences`, from what each package says of itself; not by lawyers. `requirements.lock` is what
`make install` installs, tests included; `requirements-gpu.lock` is for GPUs. Wheels also hold libraries of others,
whose licences their `*.dist-info/licenses` list; the ones with copyleft that are known here are named below.

The project itself is under the MIT licence (`LICENSE`), which is compatible with the GPL: it may be passed on together
with GalSim's wheel, which holds FFTW, as a bundle under the GPL; NVIDIA's libraries, whose licence is not compatible,
have to stay out of it. Not the project's own are the 30 real galaxies in `docs/galaxies.png`: images of the DESI Legacy
Imaging Surveys, from Galaxy10 DECaLS (Leung and Bovy 2024, https://doi.org/10.5281/zenodo.10845026), under the licence
that is stated there.
"""
BUNDLED: Final = {
    "libfftw3": "FFTW, GPL-2.0-or-later",
    "libgfortran": "GCC's libgfortran, GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgomp": "GCC's libgomp, GPL-3.0-or-later WITH GCC-exception-3.1",
    "libquadmath": "GCC's libquadmath, LGPL-2.1-or-later",
    "WCSLIB_LICENSE": "WCSLIB, LGPL-3.0-or-later",
}
"""How a wheel's file begins -> the library that it shows, and its licence."""


def pinned(lock: str) -> dict[str, str]:
    """Return name -> version, or versions, of what a lock pins."""
    versions: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        versions[name] = f"{versions[name]} or {version}" if name in versions else version
    return versions


def licence_of(metadata: Message) -> str:
    """Return what a package's metadata say: an SPDX expression, else its classifiers, else a line of its own."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith("License :: ")]
    names = [text.rpartition(" :: ")[2] for text in classifiers if text.count(" :: ") > 1]
    own = (metadata.get("License") or "").strip().splitlines()
    return " or ".join(names) or (own[0][:80] if own else "not said")


def licence(name: str) -> str:
    try:
        return licence_of(cast(Message, importlib.metadata.metadata(name)))
    except importlib.metadata.PackageNotFoundError:
        texts = (text for begin, text in ELSEWHERE.items() if name.startswith(begin))
        return next(texts, "not installed here: see its page at the package index")


def bundled(name: str) -> set[str]:
    """Return libraries with copyleft that an installed package's wheel holds."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return {text for file in files for begin, text in BUNDLED.items() if file.name.startswith(begin)}


def page(packages: Mapping[str, tuple[str, str]]) -> str:
    """Return the page of packages: name -> version and licence."""
    marked = {"Copyleft": COPYLEFT, "Proprietary": PROPRIETARY}
    lines = [HEAD]
    for what, pattern in marked.items():
        names = [f"{name} ({text})" for name, (_, text) in packages.items() if pattern.search(text)]
        lines.append(f"**{what}**, in whole or in part: {', '.join(names) or 'none'}.\n")
    lines += [
        f"**Inside the wheel of {name}**: {'; '.join(sorted(bundled(name)))}.\n" for name in packages if bundled(name)
    ]
    lines += ["| package | version | licence |", "|---|---|---|"]
    lines += [f"| {name} | {version} | {text.replace('|', '/')} |" for name, (version, text) in packages.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    locked: dict[str, str] = {}
    for lock in reversed(LOCKS):
        locked |= pinned((ROOT / lock).read_text())
    PAGE.write_text(page({name: (locked[name], licence(name)) for name in sorted(locked)}))


if __name__ == "__main__":
    main()
