"""What training speaks with: the trials of a group, where they are trained, who is told, how long it took.

    Group((spec,), stored=(0,)), Workplace("simulated", Path("results/paper"))

Standard library only: plans are made of these values without the libraries that carry them out.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from galaxytl.learning.callbacks import Watcher
from galaxytl.trial import TrialSpec
from galaxytl.trial.reading import AS_FOUND, Reading


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


class Pruned(Exception):
    """The trial was ended before its last epoch; says why."""


@dataclass(frozen=True)
class Group:
    """Trials of one `group_key` that one worker trains: heads in one pass, others one after the other."""

    specs: tuple[TrialSpec, ...]
    stored: tuple[int, ...] = ()
    """Cuts (`galaxytl.networks.blocks`) whose activations are kept on disk, from input to output, so in descending
    order; the trials read the last. Empty: they read images."""
    stop_collapsed: int = 0
    """Epochs in a row after which a trial that names one class whatever the image (`galaxytl.results.collapse`) is
    PRUNED; 0: never."""
    diagnostics: bool = False
    """Record what the gradients do (`galaxytl.learning.diagnostics`) and, of heads, the optimum of their loss
    (`galaxytl.learning.certificate`). Changes nothing else of the results."""


class Neighbours:
    """Other nodes, which may hold activations that this one lacks; these hold none. `name` is of a folder of
    `galaxytl.learning.features`."""

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy activations into an empty folder; return False where they are for this node to compute."""
        return False

    def announce(self, name: str, folder: Path, seconds: float) -> None:
        """Hear what this node holds, and the seconds that computing it took, infinity where that is not known."""

    def give_up(self, name: str) -> None:
        """Hear what this node was to compute, and could not."""


ALONE: Final = Neighbours()


@dataclass(frozen=True)
class Workplace:
    """Where the data comes from and where the results go."""

    data: str
    """URI for open_dataset."""
    out: Path
    """Results folder: checkpoints/, probabilities/ and errors/ lie in it. Without `storage` all nodes share it."""
    weights_dir: Path | None = None
    num_threads: int | None = None
    """CPU threads that this process may use; None: all."""
    storage: str = ""
    """URI of the results folder's copy, where nodes meet that share no folder (`galaxytl.results.mirror`); "": none."""
    gpus: float | None = None
    """GPUs that this process was given, perhaps a share of one; None: it may use what it sees."""
    damage: str = ""
    """What is wrong with the dataset, where its user accepted it: the rows say so."""
    neighbours: Neighbours = ALONE
    reading: Reading = AS_FOUND
    """How the dataset is to be read."""
    most_models: int | None = 0
    """Trials whose weights stay in the results folder (`galaxytl.results.models`); None: all."""
    features: Path | None = None
    """File of the features that stand for a network (`galaxytl.networks.given`), for trials that name such."""
    modules: Path | None = None
    """Folder where a user's own modules lie: the working folder of the command."""


@dataclass
class Clock:
    """Seconds spent in each named part of a group, without parts inside it; and the multiply-adds executed there."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    multiply_adds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        started, inside = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - inside
            self.seconds[name] += time.perf_counter() - started - inside

    def count(self, name: str, multiply_adds: float) -> None:
        self.multiply_adds[name] += multiply_adds


@dataclass(frozen=True)
class Job:
    """A group, where it is trained, who is told; when it began, and the epochs of each trial so far."""

    group: Group
    workplace: Workplace
    watcher: Watcher
    started: str
    histories: dict[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
