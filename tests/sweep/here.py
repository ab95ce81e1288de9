"""Sweeps whose groups are trained in this process, on a network of 1,616 weights: only Ray is left out."""

from __future__ import annotations

import pytest

from galaxytl.learning.job import Workplace
from galaxytl.networks import blocks
from galaxytl.training import train
from sweep.scheduling.resources import Where
from sweep.scheduling.tune import Reporter, Work
from tests.galaxytl import toy

QUICK = (
    *("--profile", "laptop", "--no-diagnostics", "--set", f"backbone={toy.NAME}", "--set", "num_epochs=1"),
    *("--set", "weights=random", "--set", "preprocessing=backbone"),
)


def train_here(work: Work, workplace: Workplace, where: Where, reporter: Reporter) -> None:
    for group in work.groups:
        assert group is not None
        for result in train(group, workplace):
            reporter.finished(result)


def sweep_here(patch: pytest.MonkeyPatch) -> None:
    toy.register(patch)
    patch.setattr(blocks, "_ask_keras", toy.ask_here)
    patch.setattr("sweep.scheduling.tune.run_trials", train_here)
    patch.setattr("sweep.prepare.begin_ray", lambda *_: None)  # else Ray starts while the sweep is planned
