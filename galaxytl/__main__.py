# PYTHON_ARGCOMPLETE_OK
"""The command `galaxytl`: each of the project's commands by its name.

    galaxytl sweep --grid paper             # python -m sweep.run --grid paper
    galaxytl --help                         # which there are

They are the entry points of the group `galaxytl.commands` that the project was installed with (pyproject.toml lists
them): this file knows neither sweep nor analysis, and a further package can bring a command of its own. A user's own
sweep.py or analysis/ in the working folder is not in the way, as Python does not look there.
"""

from __future__ import annotations

import ast
import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from galaxytl.system.command import COMMAND, COMPLETION, Parser, UsageError, run_command
from galaxytl.system.foreign_text import did_you_mean

GROUP: Final = "galaxytl.commands"


def main(argv: Sequence[str] | None = None) -> int:
    words = _words_to_complete() if COMPLETION in os.environ else sys.argv[1:] if argv is None else list(argv)
    commands = {entry.name: entry for entry in distribution("galaxytl").entry_points if entry.group == GROUP}
    if not words or words[0] not in commands:
        return run_command(lambda: explain(words, commands))
    entry = commands[words[0]]
    if foreign := foreign_package(entry.module):
        return run_command(lambda: refuse(foreign))
    sys.argv = [f"{COMMAND}{entry.name}", *words[1:]]
    if COMPLETION in os.environ:
        os.environ[COMPLETION] = "2"  # the command's name belongs to the program, as after python -m
    return int(entry.load()(words[1:]))


def explain(words: Sequence[str], commands: Mapping[str, EntryPoint]) -> int:
    """Print what --help prints, or complete a command's name. Raises UsageError for one that there is not."""
    lines = "\n".join(f"  {name:10} {summary(entry)}" for name, entry in sorted(commands.items()))
    text = f"Sweeps of transfer learning on galaxy images.\n\ncommands:\n{lines}"
    parser = Parser(prog=COMMAND.strip(), description=text, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(commands), metavar="COMMAND", help="COMMAND --help says more")
    if words and not words[0].startswith("-"):
        known = ", ".join(sorted(commands))
        raise UsageError(f"galaxytl takes a command, {known}; got '{words[0]}'.{did_you_mean(words[0], commands)}")
    parser.parse_args(words or ["--help"])
    return 0


def summary(entry: EntryPoint) -> str:
    """Return the first line of what the command's function, or its module, says of itself; nothing is imported for it,
    as that takes seconds."""
    found = find_spec(entry.module)
    if not found or not found.origin:
        return ""
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    texts = [*(ast.get_docstring(function) or "" for function in functions), ast.get_docstring(tree) or ""]
    return next(filter(None, texts), "").partition("\n")[0]


def foreign_package(module: str) -> str:
    """Return what is wrong where Python finds another package than the project's, one of a folder in PYTHONPATH."""
    package, own = module.partition(".")[0], Path(__file__).resolve().parents[1]
    found = find_spec(package)
    places = [*(found.submodule_search_locations or ()), found.origin or ""] if found else []
    if own / package in map(_resolved, places):
        return ""
    return (
        f"'{package}' must be the project's own, {own / package}; got {places[0] if places else 'none'}, which Python "
        "finds first: rename it, or take its folder out of PYTHONPATH"
    )


def refuse(problem: str) -> int:
    raise UsageError(problem)


def _resolved(place: str) -> Path:
    return Path(place).resolve()


def _words_to_complete() -> list[str]:
    """Return the words after `galaxytl` that are complete."""
    line = os.environ["COMP_LINE"].encode()[: int(os.environ["COMP_POINT"])].decode(errors="ignore")
    return line.split()[1 : None if line.endswith(" ") else -1]


if __name__ == "__main__":
    sys.exit(main())
