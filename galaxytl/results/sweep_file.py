"""`sweep.json`, which a sweep writes into its results folder: where its data and weights are, for commands that go on
from its rows. And `shard.json`, of each part of a grid that is trained by a driver of its own, beside others.

    write_sweep_file(folder, SweepFile(data="/data/galaxies.h5"))
    read_sweep_file(folder)               # None where there is none, as of earlier versions
    write_shard(folder, Shard(ShardNumber(3, 16), "paper", grid=trial_ids, trials=own_ids))
    read_shards(folder)                   # those that have begun
    unfinished_text(shards, trial_ids)    # "shards not finished: 3/16 (12 trials left); not begun: 4/16"

A shard's driver has a folder in the results folder, shard-3-of-16: its rows, lease, progress and log lie there, so that
no two drivers write to one file. What is called after a trial (checkpoints, weights, probabilities) lies where it
always does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.system.inside import no_link
from galaxytl.system.strict_json import LARGEST, read_json
from galaxytl.trial.reading import AS_FOUND, Reading

FILE_NAME: Final = "sweep.json"
SHARD_FILE: Final = "shard.json"
FORMAT: Final = 1
SHARD_FOLDER: Final = re.compile(r"shard-([1-9][0-9]{0,4})-of-([1-9][0-9]{0,4})")
MOST_NAMED: Final = 20
"""Shards that a sentence names one by one."""


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


@dataclass(frozen=True, order=True)
class ShardNumber:
    """Which part of how many, from 1."""

    of: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def folder(self, out: Path) -> Path:
        """Return where its driver's own files are, of the results folder `out`."""
        return out / f"shard-{self.number}-of-{self.of}"


@dataclass(frozen=True)
class Shard:
    """Of the command that led the shard last."""

    which: ShardNumber
    name: str
    """Of the grid."""
    grid: tuple[str, ...]
    """Ids of all trials of the grid, whose part this is."""
    trials: tuple[str, ...]
    """Ids of those that it has taken on."""

    def left(self, ended: Container[str]) -> list[str]:
        """Return its trials that are none of those that have a row."""
        return [trial_id for trial_id in self.trials if trial_id not in ended]


def shard_folders(out: Path) -> list[Path]:
    """Return the folders of shards in a results folder, by how many there were to be, then by number."""
    folders = (path for path in out.glob("shard-*-of-*") if path.is_dir())
    numbered = [(number, path) for path in folders if (number := shard_number(path))]
    return [path for _, path in sorted(numbered)]


def shard_number(folder: Path) -> ShardNumber | None:
    """Return whose folder it is; None of no shard's."""
    match = SHARD_FOLDER.fullmatch(folder.name)
    return ShardNumber(int(match[2]), int(match[1])) if match else None


def write_shard(out: Path, shard: Shard) -> None:
    """Write shard.json into the shard's folder. Raises OSError."""
    values = {"format": FORMAT, "grid_name": shard.name, "grid": shard.grid, "trials": shard.trials}
    content = json.dumps(values, separators=(",", ":")).encode()
    write_atomically(shard.which.folder(out) / SHARD_FILE, content)


def read_shards(out: Path) -> list[Shard]:
    """Return the shards of a results folder that have begun, the last that began last; without those whose file cannot
    be read."""
    found: list[tuple[float, ShardNumber, Shard]] = []
    grids: dict[tuple[str, ...], tuple[str, ...]] = {}  # one in memory, of many shards' equal ones
    for folder in shard_folders(out):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            modified = (folder / SHARD_FILE).stat().st_mtime
            shard = _read_shard(folder)
            shard = replace(shard, grid=grids.setdefault(shard.grid, shard.grid))
            found.append((modified, shard.which, shard))
    return [shard for _, _, shard in sorted(found, key=lambda one: one[:2])]


def _read_shard(folder: Path) -> Shard:
    with open(folder / SHARD_FILE, "rb", opener=no_link) as file:
        values = read_json(file.read(LARGEST + 1))
    which = shard_number(folder)
    if which is None or not isinstance(values, Mapping) or values.get("format") != FORMAT:
        raise ValueError(f"{folder} is none of a shard of this version")
    ids = (tuple(map(str, values[name])) for name in ("grid", "trials"))
    return Shard(which, visible(str(values["grid_name"])), *ids)


def unfinished_text(shards: Sequence[Shard], ended: Container[str]) -> str:
    """Return which shards have trials without a row, and which have not begun of those that are still needed; "" where
    none lacks any. shards: in the order in which they began; ended: ids of trials that have a row."""
    left = {shard.which: number for shard in shards if (number := len(shard.left(ended)))}
    texts = [f"{which} ({_trials(number)} left)" for which, number in sorted(left.items())]
    parts = [f"not finished: {_listed(texts)}"] if texts else []
    taken = {trial_id for shard in shards for trial_id in shard.left(ended)}
    if shards and (missing := [i for i in shards[-1].grid if i not in ended and i not in taken]):
        of, begun = shards[-1].which.of, {shard.which for shard in shards}
        others = [str(which) for number in range(1, of + 1) if (which := ShardNumber(of, number)) not in begun]
        what = f"not begun: {_listed(others)}" if others else f"of no shard of {of}"
        parts.append(f"{what} ({_trials(len(missing))} left)")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _trials(number: int) -> str:
    return f"{number:,} trial{'' if number == 1 else 's'}"
