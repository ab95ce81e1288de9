"""What a Ray worker does with a group of trials, and how driver and worker talk.

Epochs and rows go to the driver by Tune, phases and what is to stop over a board, a small Ray actor. The other side is
`sweep.schedule`.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from galaxytl.mirror import mirror_at
from galaxytl.training import Group, Watcher, Workplace
from galaxytl.trial import TrialResult, TrialSpec
from sweep import cluster  # noqa: F401 (before ray: it sets what ray reads at its import)

import ray  # isort: skip
from ray import tune  # isort: skip

REPORT_SECONDS = 0.5
"""A group reports to Tune at most this often: a report costs 20 ms or more, an epoch of heads may take less."""
TrainGroup = Callable[[Group, Workplace, Watcher], Iterator[TrialResult]]
"""Trains a group: `galaxytl.training.train`; benchmarks of the scheduling itself have another."""


def train_group(
    config: dict[str, Any], *, workplace: Workplace, board: Any, decides_at: frozenset[int], train: TrainGroup
) -> None:
    """Runs in a Ray worker: train the group, report its trials' epochs, and each result as one JSON row.

    A group that is started again, because its worker died, is without what it had reported (`unfinished_config`).
    """
    group = group_of(config)
    reports = Reports(board, decides_at, [spec.trial_id for spec in group.specs])
    if group.specs:
        watcher = Watcher(reports.phase, reports.epochs, reports.stopped)
        for result in _trained_and_kept(group, workplace, watcher, train):
            reports.row(result)
    reports.send()


def _trained_and_kept(group: Group, workplace: Workplace, watcher: Watcher, train: TrainGroup) -> Iterator[TrialResult]:
    """With a storage, train in a folder of this machine; what a row names is at the storage before the row is told."""
    if not workplace.storage:
        yield from train(group, workplace, watcher)
        return
    mirror = mirror_at(workplace.storage)
    mirror.fetch(group.specs)
    for result in train(group, replace(workplace, out=mirror.out), watcher):
        mirror.push()
        yield result
        mirror.forget([result.spec])


class Reports:
    """What a worker tells the driver, not more often than is of use: epochs and rows by Tune, phases on the board."""

    def __init__(self, board: Any, decides_at: frozenset[int], trial_ids: Sequence[str]) -> None:
        """trial_ids: of the group; of others' ends, of which there may be thousands, nothing is asked."""
        self._board, self._decides_at, self._trial_ids = board, decides_at, trial_ids
        self._stopped: Mapping[str, str] = self._ask_stopped() if decides_at else {}
        self._epochs: dict[str, dict[str, float]] = {}
        self._rows: dict[str, str] = {}
        self._sent, self._said, self._saying = time.monotonic(), 0.0, ""

    def _ask_stopped(self) -> Mapping[str, str]:
        return ray.get(self._board.stopped.remote(self._trial_ids))

    def phase(self, trial_ids: list[str], text: str) -> None:
        what = text.partition(",")[0]  # without the numbers that say how far it is
        if what != self._saying or time.monotonic() - self._said >= REPORT_SECONDS:
            self._said, self._saying = time.monotonic(), what
            self._board.say.remote(trial_ids, text)

    def epochs(self, latest: dict[str, dict[str, float]]) -> None:
        self._epochs.update(latest)
        if any(int(epoch["epoch"]) in self._decides_at for epoch in latest.values()):
            self.send()  # returns when the driver has decided
            self._stopped = self._ask_stopped()
        else:
            self._send_if_due()

    def stopped(self) -> Mapping[str, str]:
        """Trials that the driver has stopped, and why."""
        return self._stopped

    def row(self, result: TrialResult) -> None:
        self._rows[result.trial_id] = json.dumps(result.to_dict())
        self._send_if_due()

    def _send_if_due(self) -> None:
        if time.monotonic() - self._sent >= REPORT_SECONDS:
            self.send()

    def send(self) -> None:
        tune.report({"epochs": self._epochs, "rows": list(self._rows.values())})  # returns when the driver has it
        self._epochs, self._rows, self._sent = {}, {}, time.monotonic()


class Board:
    """Holds the latest phase of each trial, and which are stopped. Beside tune.report, whose rows stay on disk."""

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}
        self._stopped: dict[str, str] = {}

    def stop(self, reasons: dict[str, str]) -> None:
        self._stopped.update(reasons)

    def stopped(self, trial_ids: Sequence[str]) -> dict[str, str]:
        return {trial_id: self._stopped[trial_id] for trial_id in trial_ids if trial_id in self._stopped}

    def say(self, trial_ids: list[str], text: str) -> None:
        self._phases.update(dict.fromkeys(trial_ids, text))

    def read(self) -> dict[str, str]:
        phases, self._phases = self._phases, {}
        return phases


LABELS = ("backbone", "weights", "unfrozen_blocks", "optimizer", "learning_rate")
"""What Tune's own files say of a group, where its trials agree in it."""


def config_of(group: Group) -> dict[str, Any]:
    """A group as Tune's config: the whole of it as one JSON text, and what people look for beside it.

    One text, because Tune copies, flattens and writes a trial's config a dozen times.
    """
    specs = [spec.to_dict() for spec in group.specs]
    others = {"stop_collapsed": group.stop_collapsed, "diagnostics": group.diagnostics}
    labels = {name: spec[name] for spec in specs[:1] for name in LABELS if all(o[name] == spec[name] for o in specs)}
    text = json.dumps({"specs": specs, "stored": list(group.stored), **others})
    return {**labels, "trials": len(specs), "group": text}


def unfinished_config(config: Mapping[str, Any], finished: set[str]) -> dict[str, Any]:
    """The config of a group without its finished trials; perhaps none is left, and only its end was not reported."""
    group = group_of(config)
    return config_of(replace(group, specs=tuple(spec for spec in group.specs if spec.trial_id not in finished)))


def group_of(config: Mapping[str, Any]) -> Group:
    return _group_of(config["group"])


@functools.lru_cache(maxsize=256)  # the driver asks several times for each group that is under way
def _group_of(text: str) -> Group:
    values = json.loads(text)
    specs = tuple(TrialSpec.from_dict(spec) for spec in values["specs"])
    return Group(specs, tuple(values["stored"]), values["stop_collapsed"], values["diagnostics"])


def unfinished(groups: Sequence[Group], finished: set[str]) -> list[Group]:
    left = [replace(g, specs=tuple(spec for spec in g.specs if spec.trial_id not in finished)) for g in groups]
    return [group for group in left if group.specs]
