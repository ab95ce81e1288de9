"""What imports what, read from the source files, wherever in a file an import stands.

    python -m tests.architecture            the folders: their rooms, levels, arrows, and what is wrong
    python -m tests.architecture --table    what each room imports of its neighbours, too

A *room* of a folder is a file or folder directly in it. There is an *arrow* from one room to another where any file of
the first imports any file of the second: at run time, in a function, or for types only. A folder is in order where its
arrows form no circle. Then its rooms have *levels*: a room of level 0 imports no neighbour, one of level 1 only such.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("galaxytl", "sweep", "analysis")
Imports = Mapping[str, frozenset[str]]
"""The modules that each module imports, by their dotted names."""


def source_files(root: Path = ROOT) -> dict[str, str]:
    """Return the source of each file of the product by its path, as "sweep/run.py"."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {file.relative_to(root).as_posix(): file.read_text() for file in files}


def module_of(path: str) -> str:
    """Return what a file is imported as.

    >>> module_of("galaxytl/system/cache.py"), module_of("sweep/grids/__init__.py")
    ('galaxytl.system.cache', 'sweep.grids')
    """
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@cache
def imported_names(source: str) -> frozenset[str]:
    """Return what a file imports, as full dotted names: `from a import b` is "a.b", whether b is a module or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise ValueError(f"line {node.lineno}: a relative import; write the module's full name")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def imports_of(sources: Mapping[str, str]) -> Imports:
    """Return which of these modules import which others of them."""
    modules = {module_of(path): source for path, source in sources.items()}

    def module(name: str) -> str | None:
        return name if name in modules else parent if (parent := name.rpartition(".")[0]) in modules else None

    named = {importer: map(module, imported_names(source)) for importer, source in modules.items()}
    return {importer: frozenset(m for m in found if m and m != importer) for importer, found in named.items()}


def circle_in(arrows: Imports) -> list[str]:
    """Return rooms or files that import each other, from the first round to it again; empty where none do."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


@dataclass(frozen=True)
class Folder:
    """The rooms of one folder and the arrows between them."""

    name: str
    """As it is imported: "galaxytl.data"; "" for the three packages side by side."""
    arrows: Imports
    """The neighbours that each room imports, by the names of the rooms."""

    @cached_property
    def circle(self) -> list[str]:
        """Rooms that import each other, from the first round to it again; empty where none do."""
        return circle_in(self.arrows)

    @cached_property
    def levels(self) -> list[list[str]]:
        """The rooms by level, the lowest first; empty where they form a circle."""
        if self.circle:
            return []
        sorter = TopologicalSorter(self.arrows)
        sorter.prepare()
        levels = []
        while sorter.is_active():
            levels.append(sorted(sorter.get_ready()))
            sorter.done(*levels[-1])
        return levels

    def __str__(self) -> str:
        num_arrows = sum(map(len, self.arrows.values()))
        shape = f"CIRCLE {' -> '.join(self.circle)}" if self.circle else f"{len(self.levels)} levels"
        return f"{self.name or 'packages'}: {len(self.arrows)} rooms, {num_arrows} arrows, {shape}"


def folders_of(imports: Imports) -> list[Folder]:
    """Return every folder that holds modules, the packages' own neighbourhood first."""
    parts = [module.split(".") for module in imports]
    names = {".".join(part[:depth]) for part in parts for depth in range(len(part))}
    return [_folder(name, imports) for name in sorted(names)]


def _folder(name: str, imports: Imports) -> Folder:
    start = f"{name}." if name else ""
    arrows: dict[str, set[str]] = {}
    for importer, imported in imports.items():
        if importer.startswith(start):
            room, *neighbours = (m[len(start) :].split(".")[0] for m in (importer, *imported) if m.startswith(start))
            arrows.setdefault(room, set()).update(set(neighbours) - {room})
    return Folder(name, {room: frozenset(neighbours) for room, neighbours in arrows.items()})


def main() -> None:
    """Print the house, and exit with 1 where a folder has a circle."""
    parser = argparse.ArgumentParser(prog="python -m tests.architecture", description="What imports what.")
    parser.add_argument("--table", action="store_true", help="each room, and the neighbours that it imports")
    shows_rooms = parser.parse_args().table
    folders = folders_of(imports_of(source_files()))
    for folder in folders:
        print(folder)
        for level in reversed(folder.levels if shows_rooms else []):
            for room in level:
                print(f"    {room:22} {' '.join(sorted(folder.arrows[room]))}".rstrip())
    sys.exit(int(any(folder.circle for folder in folders)))


if __name__ == "__main__":
    main()
