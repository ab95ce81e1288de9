"""Rows of trials that never ran, as trackers are told of them, and trackers that do not answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from galaxytl.results.rows import row_line
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.progress.trackers.runs import ChildRun, ParentRun, child_run

PASSWORD = "hush1hush2"


def make_result(seed: int, **fields: Any) -> TrialResult:
    """Return a trial of two epochs on simulated galaxies, the second of which ended with a loss that is NaN."""
    spec = TrialSpec(dataset="simulated:60", dataset_fingerprint="0f3a", backbone="VGG16", num_epochs=2, seed=seed)
    spec = spec.replace(**{"weights": "random", "learning_rate": 1e-4, **fields.pop("spec", {})})
    epochs = [{"epoch": n, "loss": 1 / n, "val_accuracy": n / 10, "val_loss": 2.0, "seconds": 2.0} for n in (1, 2)]
    epochs[1] |= {"val_loss": math.nan, "resumed": 1}
    values = {"status": COMPLETE, "metrics": {"accuracy": 0.2, "loss": 1.5}, "timings": {"total": 10.0}} | fields
    return TrialResult(spec=spec, history=tuple(epochs), started="2026-11-30T12:00:00+00:00", **values)


def make_failed(seed: int) -> TrialResult:
    return TrialResult(spec=make_result(seed).spec, status=FAILED, message="out of memory")


def make_child(result: TrialResult) -> ChildRun:
    return child_run(result, row_line(result))


def make_parent(folder: Path) -> ParentRun:
    return ParentRun("c0ffee" * 5 + "00", "lr", folder)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to it"
        time.sleep(0.02)
