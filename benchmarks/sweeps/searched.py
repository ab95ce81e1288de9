"""Workload `search` of bench_sweep.py: the settings of a grid searched with early stopping, and whether what a search
chooses is as good as the grid's best.

    python -m sweep.run ... --set NAME=A,B --search optuna --scheduler asha --space benchmarks.sweeps.searched:settings

A search has a validation part, of the images that the grid trains on, by which ASHA stops trials and by which it
chooses. What it chose is judged by the accuracy that the same trial has in the grid, of b2, which stops none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analysis.statistics.intervals import Share
from galaxytl.trial import TrialResult

TIMES: Final = 8
"""So many times as many trials as there are settings are asked for, at random: a setting that was tried costs nothing,
and each is among them with probability 0.9997 (1 - exp(-8))."""
REQUIRED: Final = 0.9
"""Of the searches, how many must choose within the interval."""

Place = tuple[str, int, float]
"""As in sweeps/compare.py."""


def settings(trial: object, facts: object) -> dict[str, Any]:
    """Suggest nothing: what --set gives several values of is all that a search varies."""
    return {}


def options(num_settings: int, seed: int) -> list[str]:
    """Return the options of a search among so many settings, in place of a grid's."""
    how = ["--search", "optuna", "--sampler", "random", "--scheduler", "asha", "--search-seed", str(seed)]
    number = ["--trials", str(TIMES * num_settings), "--batch", str(num_settings)]
    return [*how, *number, "--space", "benchmarks.sweeps.searched:settings"]


@dataclass(frozen=True)
class Choice:
    """What one search chose, and what it took."""

    place: Place
    accuracy: float
    """On the test part, of the search's own trial."""
    tried: int
    """Settings."""
    epochs: int
    """Of all of them."""


def choice_of(rows: Iterable[TrialResult]) -> Choice:
    """Return it from the search's rows. Raises ValueError where it has chosen none."""
    tried = [row for row in rows if row.spec.scored_on == "validation"]
    tested = [row for row in rows if row.spec.scored_on == "test" and row.metrics]
    if not tested:
        raise ValueError("a search must end with a trial that is scored on the test part; this one chose none")
    spec = tested[-1].spec
    place = (spec.backbone, int(spec.unfrozen_blocks), spec.learning_rate)
    return Choice(place, tested[-1].metrics["accuracy"], len(tried), sum(len(row.history) for row in tried))


def judge(choices: Sequence[Choice], grid: Mapping[Place, float], num_test: int) -> dict[str, Any]:
    """Return what the searches chose beside the `grid`, accuracies by place; and whether REQUIRED of them chose a trial
    within the 95 % interval of the grid's best."""
    best = max(grid, key=lambda place: grid[place])
    interval = Share(round(grid[best] * num_test), num_test).interval
    held = [grid.get(choice.place, 0.0) in interval for choice in choices]
    return {
        "best": best,
        "interval": str(interval),
        "choices": [[*choice.place, grid.get(choice.place, 0.0)] for choice in choices],
        "held": sum(held),
        "agrees": sum(held) >= REQUIRED * len(held),
        "tried": statistics.median(choice.tried for choice in choices),
        "epochs": statistics.median(choice.epochs for choice in choices),
        "accuracy": {"ours": statistics.fmean(choice.accuracy for choice in choices)},
    }
