"""Tiny trials, on 40 made-up galaxies at 32 px, and how they are trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from galaxytl.data import open_dataset
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.training import train
from galaxytl.trial import TrialResult, TrialSpec
from tests.galaxytl import toy

SCORES = ("loss", "accuracy", "val_loss", "val_accuracy", "val_top_share")


class Stopped(BaseException):
    """Stands for a process that dies: no handler of `Exception` sees it."""


@functools.cache
def tiny_spec(galaxies_file: Path) -> TrialSpec:
    """The frozen toy backbone with random weights: for tests that use the fixture `toy_backbone`."""
    dataset = open_dataset(str(galaxies_file))
    own = {"dataset": dataset.name, "dataset_fingerprint": dataset.fingerprint}
    return toy.SPEC.replace(**own, num_epochs=2, stratified=True)


def run(
    spec: TrialSpec,
    data: Path,
    out: Path,
    stored: tuple[int, ...] | None = None,
    watcher: Watcher | None = None,
    **group: Any,
) -> TrialResult:
    """Train one trial; without `stored` it reads what is stored right before the first block that is trained."""
    if stored is None:
        stored = () if spec.unfrozen_blocks == "all" else (int(spec.unfrozen_blocks),)
    return next(train(Group((spec,), stored, **group), Workplace(str(data), out), watcher))


def run_all(specs: Sequence[TrialSpec], data: Path, out: Path, watcher: Watcher | None = None) -> list[TrialResult]:
    """Train heads on stored activations."""
    return list(train(Group(tuple(specs), (0,)), Workplace(str(data), out), watcher))


def watching(**events: Callable[..., Any]) -> Watcher:
    """A watcher that hears these events."""
    watcher = Watcher()
    vars(watcher).update(events)
    return watcher


def fails_after(epoch: int, error: BaseException) -> Watcher:
    """Raises `error` where a trial has so many epochs."""

    def listen(latest: dict[str, dict[str, float]]) -> None:
        if any(one["epoch"] == epoch for one in latest.values()):
            raise error

    return watching(epoch=listen)


def curves(history: Sequence[dict[str, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(epochs, 5): loss, accuracy, val_loss, val_accuracy, val_top_share."""
    return np.array([[epoch[name] for name in SCORES] for epoch in history])
