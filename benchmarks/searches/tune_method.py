"""Ray Tune's own Optuna search and ASHA as searches/workers.py asks for them, without a Ray cluster.

`OptunaSearch` and `ASHAScheduler` are called as Tune's controller does (ray/tune/execution/tune_controller.py, 2.60): a
result goes to the scheduler first, and to the searcher where that lets the trial go on. A trial that is stopped, or has
come to max_t, is told complete with its last value, however early that was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

import optuna
from searches.table import Table
from searches.workers import Run, Status

from sweep.scheduling import cluster  # noqa: F401 (before ray: it sets what ray reads at its import)

from ray.tune.schedulers import ASHAScheduler, TrialScheduler  # isort: skip
from ray.tune.search.optuna import OptunaSearch  # isort: skip

METRIC = "val_accuracy"


class TuneAsha:
    """Both with their defaults but for what they must be told: metric, mode, seed, and max_t, the epochs of a trial."""

    def __init__(self, table: Table, seed: int, **settings: Any) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._table = table
        self._searcher = OptunaSearch(space=table.space, metric=METRIC, mode="max", seed=seed)
        self._scheduler = ASHAScheduler(metric=METRIC, mode="max", max_t=table.num_epochs, **settings)
        self._trials: dict[str, SimpleNamespace] = {}
        self._best: tuple[float, int] | None = None

    def job(self) -> Sequence[Run]:
        name = str(len(self._trials))
        config = self._table.nearest(self._searcher.suggest(name) or {})
        self._trials[name] = SimpleNamespace(trial_id=name, last_result={})
        self._scheduler.on_trial_add(None, self._trials[name])
        return (self._table.run(name, config),)

    def epoch(self, number: int, runs: Sequence[Run]) -> Collection[str]:
        stopped = set()
        for run in runs:
            trial = self._trials[run.name]
            trial.last_result = {"training_iteration": number, METRIC: run.values[number - 1]}
            if self._scheduler.on_trial_result(None, trial, trial.last_result) == TrialScheduler.STOP:
                stopped.add(run.name)
            else:
                self._searcher.on_trial_result(run.name, trial.last_result)
        return stopped

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        trial = self._trials[run.name]
        if status == "FAILED":
            self._scheduler.on_trial_error(None, trial)
            self._searcher.on_trial_complete(run.name, error=True)
            return
        self._scheduler.on_trial_complete(None, trial, trial.last_result)
        self._searcher.on_trial_complete(run.name, trial.last_result)
        if self._best is None or trial.last_result[METRIC] > self._best[0]:
            self._best = trial.last_result[METRIC], run.config

    def chosen(self) -> int | None:
        """As `ResultGrid.get_best_result`: by the last value of each trial, stopped ones too; of equals the first."""
        return self._best[1] if self._best else None
