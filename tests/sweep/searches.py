"""Searches of a toy: a space, trials whose scores are a formula, and drivers that can stop anywhere."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from galaxytl.results.rows import read_results
from galaxytl.results.search.asked_file import asked_of, read_asked
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep.planning.costs import Costs
from sweep.search.ask_space import SpaceSampler
from sweep.search.stopping import Asha, make_rule
from sweep.search.trials import Problem, Search
from sweep.space import Facts, Suggests
from tests.sweep.fakes import SIZES, SLOW, TOY, toy_spec

BASE = toy_spec(scored_on="validation", weights="random", weights_requested="random")
FACTS = Facts(32, ("Toy",), {"Toy": 3})
COSTS = Costs({("Toy", 32): TOY}, {BASE.split_key: SIZES}, SLOW)
RUNGS = (1, 3, 9)
"""Of ASHA, for the 10 epochs of a toy trial."""
STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
"""Of Optuna, by the status of a row."""


def space(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Conditional, and large enough that nothing is suggested twice."""
    optimizer = trial.suggest_categorical("optimizer", ("adam", "sgd"))
    fields = {
        "unfrozen_blocks": trial.suggest_int("unfrozen_blocks", 0, 2),
        "optimizer": optimizer,
        "learning_rate": trial.suggest_float(f"learning_rate@{optimizer}", 1e-5, 1e-1, log=True),
    }
    return fields | ({"momentum": trial.suggest_float("momentum@sgd", 0.0, 0.9)} if optimizer == "sgd" else {})


def small_space(trial: Suggests, facts: Facts) -> dict[str, Any]:
    """Six trials in all."""
    return {
        "optimizer": trial.suggest_categorical("optimizer", ("adam", "sgd")),
        "unfrozen_blocks": trial.suggest_categorical("unfrozen_blocks", (0, 1, 2)),
    }


def build(fields: Mapping[str, Any]) -> TrialSpec:
    return BASE.replace(**fields)


def make_problem(**given: Any) -> Problem:
    """By default 15 trials at random, none stopped. `space` and `pinned` are of its SpaceSampler."""
    sampler_of_space = SpaceSampler(given.pop("space", space), FACTS, given.pop("pinned", {}))
    defaults: dict[str, Any] = {
        "sampler_of_space": sampler_of_space,
        "build": build,
        "objectives": ("val_accuracy",),
        "multiply_adds": COSTS.alone_multiply_adds,
        "rule": make_rule("none", BASE.num_epochs),
        "num_trials": 15,
        "sampler": "RandomSampler",
        "name": "toy",
    }
    return Problem(**(defaults | given))


class ToySearch(Search):
    """A search whose lines and rows are in memory, where the next driver finds them."""

    def __init__(self, problem: Problem, lines: list[Any] | None = None, rows: dict[str, TrialResult] | None = None):
        self.lines, self.rows = [] if lines is None else lines, {} if rows is None else rows
        super().__init__(problem, asked_of(self.lines), self.rows, self._append)

    def _append(self, lines: Iterable[Any]) -> None:
        self.lines += [json.loads(json.dumps(line)) for line in lines]

    def finished(self, result: TrialResult) -> None:
        self.rows.setdefault(result.trial_id, result)
        super().finished(result)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.trials


def make_search(**given: Any) -> ToySearch:
    return ToySearch(make_problem(**given))


def asha(**given: Any) -> ToySearch:
    return make_search(rule=Asha(BASE.num_epochs), **given)


def next_driver(search: ToySearch, **given: Any) -> ToySearch:
    """On the same lines and rows, as the driver has them that comes after."""
    return ToySearch(make_problem(**given), search.lines, search.rows)


def trial_of(search: ToySearch, spec: TrialSpec) -> FrozenTrial:
    (found,) = [t for t in search.trials if t.user_attrs.get("trial_id") == spec.trial_id]
    return found


def states(search: ToySearch) -> Counter[str]:
    return Counter(trial.state.name for trial in search.trials)


def accuracy(spec: TrialSpec, epoch: int) -> float:
    """Best with a learning rate of 1e-3 and deep; rises from epoch to epoch."""
    reached = 0.8 - 0.1 * abs(math.log10(spec.learning_rate) + 3) + 0.05 * int(spec.unfrozen_blocks) - spec.momentum / 9
    return reached * (1 - 0.5**epoch)


def diverges(spec: TrialSpec) -> bool:
    return spec.momentum > 0.6


def epoch_of(spec: TrialSpec, number: int) -> dict[str, float]:
    value = accuracy(spec, number)
    scores = {"loss": 2 - value, "accuracy": value, "val_loss": 2 - value, "val_accuracy": value}
    return {"epoch": number, **scores, "val_top_share": 0.2, "seconds": 0.01}


def result_of(spec: TrialSpec, status: str = COMPLETE, epochs: int | None = None, **given: Any) -> TrialResult:
    """As a worker gives it."""
    history = tuple(epoch_of(spec, number) for number in range(1, 1 + (epochs or spec.num_epochs)))
    values: dict[str, Any] = {"history": history, "num_images": {"train": 600, "validation": 100, "test": 300}}
    if status == COMPLETE:
        values["metrics"] = {"accuracy": history[-1]["val_accuracy"], "loss": history[-1]["val_loss"]}
    if status != FAILED:  # as galaxytl.training leaves it
        values |= {"curves_on": "validation", "num_parameters": {"total": 700, "trainable": 100}}
    return TrialResult(spec=spec, status=status, **(values | given))


def failed(spec: TrialSpec, message: str = "diverged: the loss became nan in epoch 1/10") -> TrialResult:
    return TrialResult(spec=spec, status=FAILED, message=message)


def train(search: Search, specs: Iterable[TrialSpec]) -> dict[str, TrialResult]:
    """Train specs together, epoch by epoch, and tell the search; their results by trial_id."""
    going, results = {spec.trial_id: spec for spec in specs}, {}
    for number in range(1, BASE.num_epochs + 1):
        stopped = search.epochs({trial_id: epoch_of(spec, number) for trial_id, spec in going.items()})
        results |= {i: result_of(going.pop(i), PRUNED, number, message=reason) for i, reason in stopped.items()}
    results |= {trial_id: result_of(spec) for trial_id, spec in going.items()}
    for result in results.values():
        search.finished(result)
    return results


def run_sequentially(search: Search, number: int = 10_000) -> list[TrialSpec]:
    """Ask for trials one by one, `number` of them at most, and train each."""
    asked: list[TrialSpec] = []
    while len(asked) < number and (specs := search.ask(1)):
        train(search, specs)
        asked += specs
    return asked


def toy_trials(out: Path) -> list[FrozenTrial]:
    """Of the study that a search would make of a results folder."""
    rows = {row.trial_id: row for row in read_results(out).results if row.spec.scored_on == "validation"}
    return Search(make_problem(rule=Asha(BASE.num_epochs)), read_asked(out), rows).study.trials
