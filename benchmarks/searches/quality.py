"""Parts `table` and `quality` of bench_search.py: a table of real trials, and searches compared on it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
"""What one more head adds to a pass (`Cluster.further_head`): 12 heads in one matrix product cost 4.1 passes of one on
25,088 features and more, where it saves least; on narrower features it costs nearly nothing."""
NUM_POINTS: Final = 64
"""Of a curve."""


# The table


def grid(small: bool) -> dict[str, Any]:
    """Return a sweep's grid file: 1,152 frozen heads, whose features are computed four times in all."""
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


def train_table(folder: Path, data: str, weights_dir: Path | None, contents: Mapping[str, Any]) -> None:
    """Write the grid's file, of these contents, and run it as any sweep; what is in the folder already is not trained
    again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(dict(contents), sort_keys=False))
    command = [sys.executable, "-m", "sweep.run", "--grid", path, "--profile", "laptop", "--data", data]
    command += ["--out", folder] + (["--weights-dir", weights_dir] if weights_dir else [])
    done = subprocess.run([str(part) for part in command], check=False)
    if done.returncode not in (0, 1):  # 1: some rates were too high, and their trials diverged
        raise SystemExit(done.returncode)
    print(read_table(folder).describe(), flush=True)


def made_up_table(num_epochs: int = 9) -> Table:
    """Return 64 curves for smoke tests: they rise to an optimum at Adam and 1e-3, at speeds that say nothing of it."""
    base = TrialSpec(dataset="simulated", dataset_fingerprint="0", validation_fraction=0.1, num_epochs=num_epochs)
    rows, epochs = [], np.arange(1, num_epochs + 1)
    rates = enumerate(np.geomspace(1e-5, 1e-1, 16).tolist())
    for (i, rate), optimizer, backbone in itertools.product(rates, ("adam", "rmsprop"), ("MobileNet", "VGG16")):
        spec = base.replace(optimizer=optimizer, learning_rate=rate, backbone=backbone)
        end = 0.8 - 0.05 * abs(np.log10(rate) + 3) - 0.1 * (optimizer != "adam") - 0.02 * (backbone == "VGG16")
        rows.append(make_row(spec, (end * (1 - np.exp(-epochs / (1.5 + i % 3)))).tolist()))
    return make_table(rows)


def make_row(spec: TrialSpec, accuracies: Sequence[float], **changes: Any) -> TrialResult:
    """Return the row of a trial with these validation accuracies."""
    history = tuple({"epoch": i, "val_accuracy": a, "val_loss": 1 - a} for i, a in enumerate(accuracies, start=1))
    return TrialResult(spec=spec, history=history, **{"status": COMPLETE, "curves_on": "validation", **changes})


# The searches


def make_method(name: str, table: Table, seed: int, until_epochs: int) -> Method:
    """Return a search by its name in LABELS."""
    if name.startswith("tune"):
        from searches.tune_method import TuneAsha  # imports ray: three seconds

        from sweep.search.stopping import ETA

        our_rungs = {"grace_period": max(1, table.num_epochs // ETA**2), "reduction_factor": ETA}
        return TuneAsha(table, seed, **(our_rungs if name == "tune-rungs" else {}))
    from searches import methods

    if name == regret.OURS:
        return methods.Ours(table, seed, until_epochs)
    return methods.plain_optuna(table, seed) if name == "optuna" else methods.random_search(table, seed)


LABELS: Final = {
    regret.OURS: "ours",
    "tune": "Ray's OptunaSearch + ASHA",
    "tune-rungs": "Ray's, with our rungs",
    "optuna": "Optuna's TPE + pruner",
    regret.TO_BEAT: "random",
}
"""Method -> what to call it in figures."""


@dataclass(frozen=True)
class Trial:
    """One search to simulate."""

    method: str
    seed: int
    cluster: Cluster
    until_epochs: int


_table: Table | None = None


def _set_table(table: Table) -> None:
    global _table  # noqa: PLW0603 (once a process, instead of sending it with each search)
    _table = table


def _search(trial: Trial) -> list[Step]:
    assert _table is not None
    method = make_method(trial.method, _table, trial.seed, trial.until_epochs)
    return simulate(method, trial.cluster, trial.until_epochs)


def search_all(table: Table, trials: Sequence[Trial]) -> list[list[Step]]:
    """Search one after the other in as many processes as there are cores; none of them knows of another."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=_set_table, initargs=(table,)) as pool:
        return list(pool.map(_search, trials))


def curves(table: Table, searches: Mapping[str, Sequence[Sequence[Step]]], by: str, budgets: Sequence[float]) -> Any:
    """Return method -> (seeds, budgets) regrets; before the first choice the mean over the table, a blind guess."""
    blind = float(np.nanmean(table.regret))

    def of(steps: Sequence[Step]) -> NDArray[np.float64]:
        chosen = [step for step in steps if step.chosen is not None]
        own = [float(table.regret[step.chosen]) for step in chosen]
        return regret.at_budgets([getattr(step, by) for step in chosen], own, budgets, blind)

    return {name: np.array([of(steps) for steps in of_seeds]) for name, of_seeds in searches.items()}


@dataclass(frozen=True)
class Sizes:
    """How much is simulated."""

    num_seeds: int
    num_workers: int
    trainings: tuple[int, ...]
    """Budgets, in epochs of so many whole trials."""


def compare_searches(table: Table, sizes: Sizes, out: Path) -> bool:
    """Print the comparison, write its curves and their picture; return whether the requirements are met."""
    print(table.describe(), flush=True)
    cluster = Cluster(sizes.num_workers, FURTHER_HEAD)
    until = sizes.trainings[-1] * table.num_epochs
    trials = [Trial(name, seed, cluster, until) for name in LABELS for seed in range(sizes.num_seeds)]
    steps = iter(search_all(table, trials))
    searches = {name: [next(steps) for _ in range(sizes.num_seeds)] for name in LABELS}
    numbers: dict[str, Any] = {"table": table.describe(), "sizes": vars(sizes), "further_head": FURTHER_HEAD}
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
        numbers[by] = {"budgets": points, "regret": {name: array.round(6).tolist() for name, array in drawn.items()}}
    (out / "search_quality.json").write_text(json.dumps(numbers, indent=1))
    spec = table.rows[0].spec
    footer = f"{len(table.rows):,} trials, {spec.dataset}; {sizes.num_seeds} seeds: mean and 95 % interval"
    regret_figure.draw(panels, footer, out / "search_quality.png")
    print(f"\nCurves: {out / 'search_quality.json'}, {out / 'search_quality.png'}")
    return holds
