"""What a sweep is asked to do: the values that `sweep.command_line.parse` makes once of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxytl.results.sweep_file import ShardNumber
from galaxytl.trial.reading import Reading
from sweep.grids.axes import Grid
from sweep.progress.trackers.addresses import Address
from sweep.scheduling.resources import Where
from sweep.space import DEFAULT


@dataclass(frozen=True)
class SearchOptions:
    """A search's, each under the name of its option."""

    scheduler: str
    trials: int = 100
    storage: str = ""
    """URL of a database to which the study is exported; "" for none."""
    study: str = ""
    """Its name; "": that of the results folder."""
    sampler: str = "tpe"
    space: str = DEFAULT
    objective: tuple[str, ...] = ("val_accuracy",)
    """One or two."""
    warm_start: tuple[str, ...] = ()
    batch: int = 8
    stop_collapsed: int = 3
    search_seed: int = 0


@dataclass(frozen=True)
class Options:
    """A sweep's: of a grid, or of a search."""

    out: Path
    place: str
    """Where results are kept too; "" for nowhere."""
    where: Where
    sizes: Mapping[str, Grid]
    """The grid, by profile."""
    seeds: int
    settings: Mapping[str, Sequence[Any]]
    """Values of fields that override those of the grid, or pin those of a search."""
    data: str | None
    """None: simulated galaxies, as many as the profile wants."""
    reading: Reading
    """How it is to be read."""
    official_split: bool
    """Whether to keep the split that the dataset itself has."""
    profile: str | None
    """None: the one that fits data and machine."""
    weights_dir: Path | None
    accept_damaged: bool
    diagnostics: bool | None
    """None: as the grid says."""
    retry_failed: bool
    keep: str
    """Whose weights are kept: best, best:N, all or none; "": as this folder's last sweep had it, or the best."""
    yes: bool
    dry_run: bool
    search: SearchOptions | None
    features: Path | None = None
    """File of the features that stand for a network, which `settings` name."""
    trackers: tuple[Address, ...] = ()
    folds: int = 0
    """Of cross-validation; 0: none."""
    fetch: bool = False
    """Whether to fetch what the sweep would read, and run nothing."""
    words: tuple[str, ...] = field(default=(), compare=False)
    """The command line."""
    shard: ShardNumber | None = None
    """The part of the grid that is to be trained; None: all."""

    @property
    def home(self) -> Path:
        """Where the driver's own files are: its rows, its log. The results folder, or a shard's in it."""
        return self.shard.folder(self.out) if self.shard else self.out
