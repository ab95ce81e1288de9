"""Parts `table` and `quality` of bench_search.py: a table of real trials, and searches compared on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from searches import regret, regret_figure
from searches.table import Table, make_table, read_table
from searches.workers import Cluster, Method, Step, simulate

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.trial.optimizers import OPTIMIZERS

FURTHER_HEAD: Final = 0.3
"""Of a pass of heads (simulation.Cluster): 12 heads in one matrix product cost 4.1 passes of one (2.9 times cheaper) on
25,088 features and more, where it saves least; on narrower features a further head costs nearly nothing."""
NUM_POINTS: Final = 64
"""Of a curve."""


# The table


def grid(small: bool) -> dict[str, Any]:
    """A sweep's grid file: 1,152 frozen heads, whose features are computed four times in all."""
    rates = {name: OPTIMIZERS[name].learning_rates for name in ("adam", "rmsprop", "sgd")}
    per_optimizer = 2 if small else 8
    optimizers = [
        {"optimizer": optimizer, "learning_rate": float(f"{rate:.3g}"), "momentum": 0.9 * (optimizer == "sgd")}
        for optimizer, ends in rates.items()
        for rate in np.geomspace(*ends, per_optimizer).tolist()
    ]
    return {
        "name": "search-table",
        "purpose": "what would a search have found?",
        "fixed": {
            **{"image_size": 32 if small else 64, "max_images": 0, "stratified": True, "validation_fraction": 0.1},
            **{"scored_on": "validation", "unfrozen_blocks": 0, "batch_size": 64, "num_epochs": 4 if small else 20},
        },
        "scientific": {
            "backbone": ["MobileNet"] if small else ["MobileNet", "VGG16"],
            "preprocessing": ["divide_by_255", "backbone"],
            "optimizer": optimizers,
        },
        "nuisance": {
            "weight_decay": [0.0, 1e-3] if small else [0.0, 1e-4, 1e-2],
            "head_units": [0] if small else [0, 16],
            "class_weighting": ["none", "balanced"],
        },
    }


def train_table(folder: Path, data: str, weights_dir: Path | None, small: bool) -> None:
    """Write the grid's file and run it as any sweep; what is in the folder already is not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(grid(small), sort_keys=False))
    command = [sys.executable, "-m", "sweep.run", "--grid", path, "--profile", "laptop", "--data", data]
    command += ["--out", folder] + (["--weights-dir", weights_dir] if weights_dir else [])
    done = subprocess.run([str(part) for part in command], check=False)
    if done.returncode not in (0, 1):  # 1: some rates were too high, and their trials diverged
        raise SystemExit(done.returncode)
    print(read_table(folder).describe(), flush=True)


def made_up_table(num_epochs: int = 9) -> Table:
    """For smoke tests: 64 curves that rise to an optimum at Adam and 1e-3, at speeds that do not tell how far."""
    base = TrialSpec(dataset="simulated", dataset_fingerprint="0", validation_fraction=0.1, num_epochs=num_epochs)
    rows = []
    for i, rate in enumerate(np.geomspace(1e-5, 1e-1, 16).tolist()):
        for optimizer in ("adam", "rmsprop"):
            for backbone in ("MobileNet", "VGG16"):
                spec = base.replace(optimizer=optimizer, learning_rate=rate, backbone=backbone)
                end = 0.8 - 0.05 * abs(np.log10(rate) + 3) - 0.1 * (optimizer != "adam") - 0.02 * (backbone == "VGG16")
                epochs = np.arange(1, num_epochs + 1)
                accuracy = end * (1 - np.exp(-epochs / (1.5 + i % 3)))
                rows.append(make_row(spec, accuracy.tolist()))
    return make_table(rows)


def make_row(spec: TrialSpec, accuracies: Sequence[float], **changes: Any) -> TrialResult:
    history = tuple({"epoch": i, "val_accuracy": a, "val_loss": 1 - a} for i, a in enumerate(accuracies, start=1))
    return TrialResult(spec=spec, history=history, **{"status": COMPLETE, "curves_on": "validation", **changes})


# The searches


def _ours(table: Table, seed: int, until_epochs: int) -> Method:
    from searches.methods import Ours

    return Ours(table, seed, until_epochs)


def _tune(table: Table, seed: int, until_epochs: int) -> Method:
    from searches.tune_method import TuneAsha  # imports ray: three seconds

    return TuneAsha(table, seed)


def _tune_rungs(table: Table, seed: int, until_epochs: int) -> Method:
    from searches.tune_method import TuneAsha

    from sweep.search.stopping import ETA

    return TuneAsha(table, seed, grace_period=max(1, table.num_epochs // ETA**2), reduction_factor=ETA)


def _optuna(table: Table, seed: int, until_epochs: int) -> Method:
    from searches.methods import plain_optuna

    return plain_optuna(table, seed)


def _random(table: Table, seed: int, until_epochs: int) -> Method:
    from searches.methods import random_search

    return random_search(table, seed)


METHODS: Final[Mapping[str, Callable[[Table, int, int], Method]]] = {
    regret.OURS: _ours,
    "tune": _tune,
    "tune-rungs": _tune_rungs,
    "optuna": _optuna,
    regret.TO_BEAT: _random,
}
LABELS: Final = {
    regret.OURS: "ours",
    "tune": "Ray's OptunaSearch + ASHA",
    "tune-rungs": "Ray's, with our rungs",
    "optuna": "Optuna's TPE + pruner",
    regret.TO_BEAT: "random",
}


@dataclass(frozen=True)
class Trial:
    """One search to simulate."""

    method: str
    seed: int
    cluster: Cluster
    until_epochs: int


_table: Table | None = None


def _keep(table: Table) -> None:
    global _table  # noqa: PLW0603 (once a process, instead of sending it with each search)
    _table = table


def _search(trial: Trial) -> list[Step]:
    assert _table is not None
    return simulate(METHODS[trial.method](_table, trial.seed, trial.until_epochs), trial.cluster, trial.until_epochs)


def search_all(table: Table, trials: Sequence[Trial]) -> list[list[Step]]:
    """One after the other in as many processes as there are cores; none of them knows of another."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=_keep, initargs=(table,)) as pool:
        return list(pool.map(_search, trials))


def curves(table: Table, searches: Mapping[str, Sequence[Sequence[Step]]], by: str, budgets: Sequence[float]) -> Any:
    """Method -> (seeds, budgets) regrets. Before the first choice: the mean over the table, a blind guess."""
    blind = float(np.nanmean(table.regret))

    def of(steps: Sequence[Step]) -> NDArray[np.float64]:
        chosen = [step for step in steps if step.chosen is not None]
        own = [float(table.regret[step.chosen]) for step in chosen]
        return regret.at_budgets([getattr(step, by) for step in chosen], own, budgets, blind)

    return {name: np.array([of(steps) for steps in of_seeds]) for name, of_seeds in searches.items()}


@dataclass(frozen=True)
class Sizes:
    num_seeds: int
    num_workers: int
    trainings: tuple[int, ...]
    """Budgets, in epochs of so many whole trials."""


def compare_searches(table: Table, sizes: Sizes, out: Path) -> bool:
    """Print the comparison, write its curves and their picture; whether the requirements are met."""
    print(table.describe(), flush=True)
    cluster = Cluster(sizes.num_workers, FURTHER_HEAD)
    until = sizes.trainings[-1] * table.num_epochs
    trials = [Trial(name, seed, cluster, until) for name in METHODS for seed in range(sizes.num_seeds)]
    found = iter(search_all(table, trials))
    searches = {name: [next(found) for _ in range(sizes.num_seeds)] for name in METHODS}
    kept: dict[str, Any] = {"table": table.describe(), "sizes": vars(sizes), "further_head": FURTHER_HEAD}
    panels, holds = [], True
    workers = f"{sizes.num_workers} workers"
    for by, share, unit in (("epochs", 1, "epochs trained in all"), ("time", sizes.num_workers, f"time, {workers}")):
        budgets = [n * table.num_epochs / share for n in sizes.trainings]
        comparison = regret.compare(curves(table, searches, by, budgets), budgets)
        print(f"\n{regret.describe(comparison, unit)}", flush=True)
        holds &= comparison.holds
        points = np.linspace(0, budgets[-1], NUM_POINTS + 1)[1:].tolist()
        drawn = curves(table, searches, by, points)
        panels.append(regret_figure.Panel(f"by {by}", unit, points, drawn, LABELS))
        kept[by] = {"budgets": points, "regret": {name: array.round(6).tolist() for name, array in drawn.items()}}
    (out / "search_quality.json").write_text(json.dumps(kept, indent=1))
    spec = table.rows[0].spec
    footer = f"{len(table.rows):,} trials, {spec.dataset}; {sizes.num_seeds} seeds: mean and 95 % interval"
    regret_figure.draw(panels, footer, out / "search_quality.png")
    print(f"\nCurves: {out / 'search_quality.json'}, {out / 'search_quality.png'}")
    return holds
