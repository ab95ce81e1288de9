"""`sweep.json`, which a sweep writes into its results folder: where its data and weights are, for commands that go on
from its rows.

    write_sweep_file(folder, SweepFile(data="/data/galaxies.h5"))
    read_sweep_file(folder)               # None where there is none, as of earlier versions
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.strict_json import LARGEST, read_json
from galaxytl.trial.reading import AS_FOUND, Reading

FILE_NAME: Final = "sweep.json"
FORMAT: Final = 1


@dataclass(frozen=True)
class SweepFile:
    """Of the command that led the folder last."""

    data: str
    """URI for `galaxytl.data.open_dataset`; a password in it reads ***."""
    weights_dir: str = ""
    """Folder of weights files that was named; "" for none."""
    reading: Reading = AS_FOUND
    keep: str = ""
    """What --keep said of weights."""
    storage: str = ""
    """Where the results are kept too; a password in it reads ***."""


def write_sweep_file(folder: Path, settings: SweepFile) -> None:
    """Write sweep.json beside the rows. Raises OSError."""
    values = {"format": FORMAT, **dataclasses.asdict(settings), "data": without_secrets(settings.data)}
    values["storage"] = without_secrets(settings.storage)
    write_atomically(folder / FILE_NAME, json.dumps(values, indent=1).encode())


def read_sweep_file(folder: Path) -> SweepFile | None:
    """Return the settings of the sweep whose rows lie in `folder`; None where they cannot be known: what hangs on them
    can be said on the command line."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            values = read_json(file.read(LARGEST + 1))  # it refuses more
        if not isinstance(values, Mapping) or values.get("format") != FORMAT:
            return None
        texts = (str(values.get(name, "")) for name in ("keep", "storage"))
        return SweepFile(str(values["data"]), str(values["weights_dir"]), _reading(values["reading"]), *texts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _reading(values: Mapping[str, Any]) -> Reading:
    fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
    return Reading(**fields)
