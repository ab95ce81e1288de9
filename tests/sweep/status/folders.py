"""Results folders as drivers leave them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from galaxytl.results.rows import append_results
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.results.lease import FILE_NAME as LEASE
from sweep.results.lease import process_table
from sweep.results.progress_file import Progress, RunningTrial, write_progress

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", num_epochs=20, validation_fraction=0.1)


def spec(seed: int, **fields: Any) -> TrialSpec:
    return SPEC.replace(seed=seed, **fields)


def row(trial: TrialSpec, accuracy: float = 0.5, status: Any = COMPLETE, message: str = "") -> TrialResult:
    scored = {"accuracy": accuracy, "loss": 1.0} if status == COMPLETE else {}
    return TrialResult(
        spec=trial,
        status=status,
        message=message,
        metrics=scored,
        history=({"epoch": 1, "val_accuracy": accuracy, "val_loss": 1.0},),
        curves_on="validation" if trial.validation_fraction else "test",
    )


def running(trial: TrialSpec, **values: Any) -> RunningTrial:
    told: dict[str, Any] = {"phase": "training", "epoch": 3, "node": "node-a", "seconds": 65.0}
    return RunningTrial(trial.trial_id, f"VGG16, seed {trial.seed}", **{**told, "num_epochs": 20, **values})


def progress(**values: Any) -> Progress:
    """Of this process, unless `values` say otherwise: 10 trials, of which 3 have ended."""
    said: dict[str, Any] = {
        **{"kind": "grid", "name": "lr", "command": "python -m sweep.run --grid lr", "folder": "/home/me"},
        **{"host": "here", "processes": process_table(), "pid": os.getpid(), "started": "2026-11-30T12:00:00+00:00"},
        **{"seconds": 100.0, "end": "", "total": 10, "asked": 10, "scored_on": "", "others": {}, "again": 0},
        **{"planned": 10, "finished": 3, "share": 0.35, "begun": 20.0, "estimate": (100.0, 200.0, 400.0)},
    }
    return Progress(**{**said, **values})


def lease(folder: Path, **values: Any) -> None:
    """Leave the lease of this process, which lives, or of another."""
    own = {"owner": "0f", "host": "here", "processes": process_table(), "pid": os.getpid(), "beat": 3}
    command = "/home/me/sweep/run.py --grid lr --out results/lr"
    (folder / LEASE).write_text(json.dumps({**own, "command": command, **values}))


def sweep(folder: Path, *rows: TrialResult, **values: Any) -> Path:
    """A sweep that runs in this process."""
    folder.mkdir(exist_ok=True)
    append_results(folder, *(rows or (row(spec(0)), row(spec(1), 0.7), row(spec(2), status="FAILED", message="no"))))
    lease(folder)
    write_progress(folder, progress(**values))
    return folder
