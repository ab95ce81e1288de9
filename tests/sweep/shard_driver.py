"""A driver as `python -m sweep.run` starts it, whose trials are not trained: each gets its row at once, but that after
the first row the driver waits until the file exists that $SHARD_DRIVER_GO names.

    python -m tests.sweep.shard_driver --shard 1/3 --out results/toy ...
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from galaxytl.results.models import store_model
from galaxytl.trial import COMPLETE, TrialResult
from sweep import scheduling
from sweep.results import lease
from sweep.run import main

BEAT_SECONDS = 2.0
GO = "SHARD_DRIVER_GO"


def run_trials(work: Any, workplace: Any, where: Any, reporter: Any) -> None:
    for spec in (spec for group in work.groups for spec in group.specs):
        store_model(workplace.out, spec, {})
        score = {"accuracy": 0.5 + spec.split_seed / 100 + spec.learning_rate, "loss": 1.0}
        epoch = {"epoch": 1, "val_accuracy": score["accuracy"], "val_loss": 1.0, "seconds": 0.1}
        reporter.finished(
            TrialResult(spec=spec, status=COMPLETE, metrics=score, history=(epoch,), curves_on="validation")
        )
        while not Path(os.environ.get(GO, "/")).exists():
            reporter.epochs({})  # where a driver stops that has lost its folder
            time.sleep(0.05)


def without_ray() -> SimpleNamespace:
    """What stands for `sweep.scheduling.tune`."""
    return SimpleNamespace(
        Reporter=lambda phases, epochs, finished, note, nodes: SimpleNamespace(
            epochs=lambda latest: epochs(latest) if latest else None, finished=finished
        ),
        Work=lambda groups, at_once: SimpleNamespace(groups=groups),
        run_trials=run_trials,
    )


if __name__ == "__main__":
    sys.modules["sweep.scheduling.tune"] = scheduling.tune = without_ray()  # type: ignore[assignment, attr-defined]
    lease.BEAT_SECONDS = BEAT_SECONDS
    sys.exit(main())
