"""`python -m sweep.run --search optuna ...` as it is, but for trials on a toy network that take a fraction of a second.

python -m tests.sweep.search_driver --search optuna --trials 30 --out FOLDER

What it asks, plans, schedules on real Ray, writes and tells is what a real search does; see test_search_ray.py. While
a file called "pause" lies in FOLDER, an epoch takes so many seconds as it says. `Toy` is the same without Ray and
processes: drivers that come to a folder one after the other.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial
from rich.console import Console

from galaxytl.data import Splits
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
from sweep import run
from sweep.command_line import parse
from sweep.options import Options, SearchOptions
from sweep.results import lease
from sweep.results.folder import ResultsFolder
from sweep.results.rows_file import RowsFile
from sweep.search import run as search_run
from sweep.search.run import SearchRun, begin
from sweep.search.setup import Setup, check_pinned
from sweep.search.stopping import make_rule
from tests.sweep.fakes import TOY
from tests.sweep.searches import BASE, FACTS, diverges, epoch_of, failed, make_problem, result_of

SPLITS = Splits(np.arange(600), np.arange(600, 700), np.arange(700, 1000))
EPOCH_SECONDS = 0.02
PAUSE = "pause"


class Thousand:
    """As much of a dataset as is asked for where nothing is trained."""

    kind = "simulated galaxies, not real ones"

    def __len__(self) -> int:
        return 1000


def set_up(options: Options, search: SearchOptions, console: Console) -> Setup:
    problem = make_problem(
        pinned=check_pinned(options.settings),
        rule=make_rule(search.scheduler, BASE.num_epochs),
        num_trials=search.trials,
        sampler="TPESampler",
        seed=search.search_seed,
        name=search.study,
    )
    return Setup(
        dataset=Thousand(),  # type: ignore[arg-type]
        uri="simulated:1000",
        profile="laptop",
        base=BASE,
        problem=problem,
        facts=FACTS,
        splits={BASE.split_key: SPLITS},
        structures={("Toy", 32): TOY},
        options=options,
        search=search,
        notes=(),
    )


class Toy:
    """A results folder of toy searches, without Ray and processes."""

    def __init__(self, out: Path, num_trials: int) -> None:
        out.mkdir()
        self.out, self.num_trials = out, num_trials

    def begin(self, *arguments: object) -> tuple[SearchRun, list[str]]:
        """The search of the next driver, as the command line makes it, and what it says of what it finds."""
        trials = [] if "--trials" in arguments else ["--trials", self.num_trials]
        options = parse(["--search", "optuna", *map(str, [*trials, "--out", self.out, *arguments])], "")
        assert options.search
        search = replace(options.search, study=options.search.study or self.out.name)
        self.run, lines = begin(set_up(options, search, Console(quiet=True)), self._kept())
        return self.run, lines

    def _kept(self) -> ResultsFolder:
        kept = ResultsFolder(self.out)
        kept.file = RowsFile(self.out, kept.check, print)
        with kept.file.changing():  # it takes over the rows that are there
            return kept

    @property
    def trials(self) -> list[FrozenTrial]:
        """Of the study of the latest driver."""
        return self.run.search.study.trials


def train(group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """Heads together, others one after the other, as `galaxytl.training.train`."""
    together = group.specs[0].trains_head_only
    for specs in [group.specs] if together else [(spec,) for spec in group.specs]:
        yield from _train_together(specs, workplace.out / PAUSE, watcher)


def _train_together(specs: Sequence[TrialSpec], pause: Path, watcher: Watcher) -> Iterator[TrialResult]:
    going = {spec.trial_id: spec for spec in specs}
    yield from [failed(going.pop(spec.trial_id)) for spec in specs if diverges(spec)]
    for number in range(1, BASE.num_epochs + 1):
        _take_time(pause)
        if going:
            watcher.epoch({trial_id: epoch_of(spec, number) for trial_id, spec in going.items()})
        for trial_id, reason in watcher.ends(dict.fromkeys(going, ())).items():
            yield result_of(going.pop(trial_id), PRUNED, number, message=reason)
    yield from [result_of(spec, COMPLETE) for spec in going.values()]


def _take_time(pause: Path) -> None:
    begun = time.monotonic()
    time.sleep(EPOCH_SECONDS)
    with contextlib.suppress(FileNotFoundError):
        while time.monotonic() - begun < float(pause.read_text()):
            time.sleep(EPOCH_SECONDS)


if __name__ == "__main__":
    from sweep.scheduling import tune  # ray takes seconds to import

    search_run.set_up = set_up
    lease.BEAT_SECONDS = 0.5
    tune.run_trials = functools.partial(tune.run_trials, train_group=train)
    sys.exit(run.main())
