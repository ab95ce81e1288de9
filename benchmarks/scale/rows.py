"""Rows of trials that were never run, of the usual size; and a results folder that is full of them.

    python benchmarks/scale/rows.py 10000 FOLDER      # a grid of 10,000 trials, as if it had run to its end

FOLDER gets grid.yaml, and in `results` what `sweep.run` would leave; `arguments(FOLDER)` are those of the same command.
The rows are of the trials that `sweep.run` itself would schedule: only the scheduling is left out.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from galaxytl.results.rows import FILE_NAME
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", weights="random", weights_requested="random")
NUM_EPOCHS = 20


def main() -> None:
    write_finished(int(sys.argv[1]), Path(sys.argv[2]))


def made_up(spec: TrialSpec) -> TrialResult:
    """Return what a trial of twenty epochs leaves."""
    epoch = {"loss": 1.234567, "accuracy": 0.61234, "val_loss": 1.3456789, "val_accuracy": 0.58123, "seconds": 1.2345}
    return TrialResult(
        spec=spec,
        status=COMPLETE,
        history=tuple({"epoch": number + 1.0, **epoch, "val_top_share": 0.2345} for number in range(NUM_EPOCHS)),
        metrics=dict.fromkeys(("accuracy", "precision", "recall", "f1", "loss", "top_share"), 0.58123),
        confusion=tuple(tuple(range(10)) for _ in range(10)),
        class_names=tuple(f"class {number} of the galaxies" for number in range(10)),
        num_images={"train": 700, "validation": 0, "test": 300},
        num_parameters={"total": 3_000_000, "trainable": 10_000},
        timings=dict.fromkeys(("data", "build", "features", "train", "evaluate", "total"), 1.2345),
        multiply_adds=dict.fromkeys(("features", "train", "evaluate"), 1.2e9),
        environment={"device": "CPU", "host": "host", "python": "3.11", "keras": "3.15", "numpy": "2.3"},
        probabilities=f"probabilities/{spec.trial_id}.parquet",
        started="2030-01-01T00:00:00Z",
    )


def arguments(folder: Path) -> list[str]:
    """Return the arguments of `sweep.run` for what `write_finished` writes."""
    return ["--grid", str(folder / "grid.yaml"), "--data", "simulated:200", "--out", str(folder / "results")]


def write_finished(number: int, folder: Path) -> None:
    """Write a square grid of learning rates and seeds, `number` trials or a few fewer, all finished."""
    from sweep import run

    side = math.isqrt(number)
    rates = [float(f"{10 ** (-1 - 4 * i / side):.6g}") for i in range(side)]
    fixed = "fixed: {backbone: MobileNet, weights: random, image_size: 32, validation_fraction: 0.0}"
    axes = f"scientific: {{learning_rate: {rates}}}\nnuisance: {{seed: {list(range(number // side))}}}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.yaml").write_text(f"name: finished\n{fixed}\n{axes}\n")

    def finish(options: Any, workplace: Any, plan: Any, *others: Any) -> None:
        rows = [made_up(spec).to_dict() for group in plan.groups for spec in group.specs]
        (workplace.out / FILE_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))

    run.schedule_trials = finish
    raise SystemExit(run.main(arguments(folder)))


if __name__ == "__main__":
    main()
