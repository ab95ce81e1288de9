"""Searches as searches/workers.py asks for them: ours, plain Optuna, and random search. Ray Tune's is in
searches/tune_method.py.

    method = Ours(table, seed=0, until_epochs=960)

Each searches the same space with the samplers' and schedulers' own defaults.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from searches.table import Table
from searches.workers import Run, Status

from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep.options import SearchOptions
from sweep.search.ask_space import SpaceSampler
from sweep.search.stopping import make_rule
from sweep.search.study import find_sampler
from sweep.search.trials import Problem, Search
from sweep.space import Facts

OBJECTIVE = "val_accuracy"
BATCH = SearchOptions.batch


class Ours:
    """`sweep.search.trials.Search` as `sweep.search.run` drives it: trials asked for in batches, heads on the same
    features in one job, judged together at ASHA's rungs; rows come when a job is over."""

    def __init__(self, table: Table, seed: int, until_epochs: int, batch: int = BATCH) -> None:
        self._table, self._batch = table, batch
        self._config = {row.trial_id: i for i, row in enumerate(table.rows)}
        rule = make_rule("asha", table.num_epochs)
        problem = Problem(
            sampler_of_space=SpaceSampler(table.space, Facts(table.rows[0].spec.image_size, (), {})),
            build=self._build,
            objectives=(OBJECTIVE,),
            rule=rule,
            num_trials=until_epochs // min(rule.decides_at),  # more than the budget pays for
            sampler=find_sampler(SearchOptions.sampler),
            seed=seed,
        )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._search = Search(problem)
        self._rungs = rule.decides_at
        self._reasons: dict[str, str] = {}
        self._waiting: deque[Sequence[Run]] = deque()
        self._best: TrialResult | None = None

    def _build(self, fields: Mapping[str, Any]) -> TrialSpec:
        return self._table.rows[self._table.nearest(fields)].spec

    def job(self) -> Sequence[Run]:
        if not self._waiting:
            groups: dict[Hashable, list[Run]] = defaultdict(list)
            for spec in self._search.ask(self._batch):
                groups[spec.group_key].append(self._table.run(spec.trial_id, self._config[spec.trial_id]))
            self._waiting += sorted(groups.values(), key=len, reverse=True)  # as `sweep.planning.plan` orders them
        return self._waiting.popleft() if self._waiting else ()

    def epoch(self, number: int, runs: Sequence[Run]) -> Collection[str]:
        if number not in self._rungs:
            return ()
        self._reasons |= self._search.epochs(
            {run.name: {"epoch": number, OBJECTIVE: run.values[number - 1]} for run in runs}
        )
        return self._reasons.keys()

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        row = self._table.rows[run.config]
        known = {"COMPLETE": COMPLETE, "STOPPED": PRUNED, "FAILED": FAILED}[status]
        reason = self._reasons.get(run.name, row.message)
        result = dataclasses.replace(row, status=known, history=row.history[:num_epochs], message=reason)
        self._search.finished(result)
        if known == COMPLETE and (self._best is None or _rank(result) < _rank(self._best)):
            self._best = result

    def chosen(self) -> int | None:
        return self._config[self._best.trial_id] if self._best else None


def _rank(result: TrialResult) -> tuple[float, float, str]:
    """As `galaxytl.results.rows.ranked` orders, from the last epoch: rows of a table may be scored on the test
    part."""
    last = result.history[-1]
    return -last["val_accuracy"], last["val_loss"], result.trial_id


class PlainOptuna:
    """A study as Optuna's own examples use it: ask, report each epoch, prune where its pruner says so, tell."""

    def __init__(self, table: Table, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._table = table
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: dict[str, optuna.Trial] = {}

    def job(self) -> Sequence[Run]:
        trial = self._study.ask()
        config = self._table.nearest(self._table.space(trial))
        trial.set_user_attr("config", config)
        self._trials[str(trial.number)] = trial
        return (self._table.run(str(trial.number), config),)

    def epoch(self, number: int, runs: Sequence[Run]) -> Collection[str]:
        for run in runs:
            self._trials[run.name].report(run.values[number - 1], number)
        return {run.name for run in runs if self._trials[run.name].should_prune()}

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        trial = self._trials.pop(run.name)
        if status == "COMPLETE":
            self._study.tell(trial, run.values[-1])
        else:
            self._study.tell(trial, state=TrialState.PRUNED if status == "STOPPED" else TrialState.FAIL)

    def chosen(self) -> int | None:
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return self._study.best_trial.user_attrs["config"] if complete else None


def plain_optuna(table: Table, seed: int) -> PlainOptuna:
    return PlainOptuna(table, optuna.samplers.TPESampler(seed=seed), optuna.pruners.SuccessiveHalvingPruner())


def random_search(table: Table, seed: int) -> PlainOptuna:
    """Every trial to its end."""
    return PlainOptuna(table, optuna.samplers.RandomSampler(seed=seed), optuna.pruners.NopPruner())
