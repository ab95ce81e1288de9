"""The command line with which a sweep goes on, as a person types it; `sys.argv` begins with a file's path."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from galaxytl.system.credentials import without_secrets


def typed_command() -> str:
    """Return the command line of this process as it is typed again, without secrets; "" where none was."""
    return command_text([Path(sys.argv[0]).as_posix(), *sys.argv[1:]] if sys.argv and sys.argv[0] else [])


def command_text(words: Sequence[str]) -> str:
    """Return a command line that starts `sweep.run` as one would type it; "" of another program, as a notebook.

    >>> command_text(["/home/me/sweep/run.py", "--grid", "my grid.yaml"]), command_text(["ipykernel_launcher.py"])
    ("python -m sweep.run --grid 'my grid.yaml'", '')
    """
    if not words:
        return ""
    program = Path(words[0])
    if program.parts[-2:] == ("sweep", "run.py"):
        return without_secrets(shlex.join(["python", "-m", "sweep.run", *words[1:]]))
    if program.name == "galaxytl":
        return without_secrets(shlex.join([program.name, *words[1:]]))
    return ""
