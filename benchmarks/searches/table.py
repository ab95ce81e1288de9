"""A table of trained trials to try searches on: each configuration's accuracy on the validation part, epoch by epoch.

    table = read_table(Path("results/search-table"))
    config = table.nearest(table.space(trial))          # what an optuna.Trial suggests, as a row
    table.run("name", config)                           # its curve (searches/workers.py)

Made of the rows of any sweep or search whose curves are on one validation part. Fields that differ between rows are the
axes; where the rows are a full grid each suggestion has its row, elsewhere it gets the nearest one. A learning rate is
suggested as the default space does it: continuous, logarithmic, and of each optimizer apart.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from searches.workers import Run

from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE, FAILED, SPEC_FIELDS, SPLIT_FIELDS, TrialResult

MAX_CHOICES: Final = 12
"""A number with more values than this is suggested as a number, not as one of a list."""
NOT_SEARCHED: Final = ("dataset", "weights_requested", "weights_fingerprint", "scored_on")


@dataclass(frozen=True)
class Axis:
    """A field that differs between rows."""

    field: str
    values: tuple[Any, ...]
    """Ascending."""
    is_number: bool

    @property
    def is_log(self) -> bool:
        """Whether equal ratios are equally far apart."""
        return self.field == "learning_rate"

    def place(self, value: Any) -> float:
        """Return the number of a choice, or where a number lies between the least (0) and the greatest (1)."""
        if not self.is_number:
            return float(self.values.index(value))
        low, high, at = (math.log(v) if self.is_log else float(v) for v in (self.values[0], self.values[-1], value))
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Table:
    """Trained trials, and the axes on which they lie."""

    rows: tuple[TrialResult, ...]
    """COMPLETE, or FAILED because they diverged."""
    axes: tuple[Axis, ...]
    num_epochs: int

    def space(self, trial: Any, facts: object = None) -> dict[str, Any]:
        """Return the fields of one suggestion; `facts` is what spaces of searches get, and not looked at."""
        fields: dict[str, Any] = {}
        for axis in self.axes:
            if axis.is_log:
                case = f"@{fields['optimizer']}" if "optimizer" in fields else ""
                low, high = self._rates[fields.get("optimizer")]
                fields[axis.field] = trial.suggest_float(f"{axis.field}{case}", low, high, log=True)
            elif axis.is_number:
                fields[axis.field] = trial.suggest_float(axis.field, axis.values[0], axis.values[-1])
            else:
                fields[axis.field] = trial.suggest_categorical(axis.field, axis.values)
        return fields

    @cached_property
    def _rates(self) -> dict[str | None, tuple[float, float]]:
        """Optimizer -> the least and the greatest learning rate; None: of all."""
        rates = defaultdict[str | None, set[float]](set)
        for row in self.rows:
            rates[row.spec.optimizer].add(row.spec.learning_rate)
            rates[None].add(row.spec.learning_rate)
        return {optimizer: (min(found), max(found)) for optimizer, found in rates.items()}

    def nearest(self, fields: Mapping[str, Any]) -> int:
        """Return the row that differs in the fewest choices; of those the one whose numbers are closest."""
        wanted = np.array([axis.place(fields[axis.field]) for axis in self.axes])
        is_number = np.array([axis.is_number for axis in self.axes])
        apart = np.abs(self._places - wanted)
        distance = np.where(is_number, apart, (apart > 0) * (1.0 + is_number.sum())).sum(axis=1)
        return int(np.argmin(distance))

    @cached_property
    def _places(self) -> NDArray[np.float64]:
        """(rows, axes)"""
        return np.array([[axis.place(getattr(r.spec, axis.field)) for axis in self.axes] for r in self.rows])

    def run(self, name: str, config: int) -> Run:
        """Return a row's curve, as a run of this name."""
        row = self.rows[config]
        return Run(name, config, tuple(e["val_accuracy"] for e in row.history), fails=row.status == FAILED)

    @cached_property
    def final(self) -> NDArray[np.float64]:
        """(rows,) accuracy after the last epoch; NaN of rows that diverged."""
        return np.array([r.history[-1]["val_accuracy"] if r.status == COMPLETE else math.nan for r in self.rows])

    @cached_property
    def regret(self) -> NDArray[np.float64]:
        """(rows,) how much worse than the table's best."""
        return np.nanmax(self.final) - self.final

    def describe(self) -> str:
        axes = ", ".join(f"{axis.field} ({len(axis.values)})" for axis in self.axes)
        spec, diverged = self.rows[0].spec, sum(row.status == FAILED for row in self.rows)
        validation = max(row.num_images.get("validation", 0) for row in self.rows)
        best, median = np.nanmax(self.final), np.nanmedian(self.final)
        near = int((self.regret <= 0.01).sum())
        return (
            f"{len(self.rows)} trials of {self.num_epochs} epochs, {spec.dataset}, {spec.image_size} px; axes: {axes}\n"
            f"accuracy on {validation} validation images: best {best:.3f}, median {median:.3f}; "
            f"{near} within 0.01 of the best, {diverged} diverged"
        )


def read_table(folder: Path) -> Table:
    """Return the table of a results folder. Raises SystemExit, for people, where there is none."""
    rows = [row for row in read_results(folder).results if _is_usable(row)]
    if not rows:
        raise SystemExit(
            f"--table must be a results folder whose trials were watched on a validation part; {folder} has no such "
            "row. Make one: python benchmarks/bench_search.py table"
        )
    try:
        return make_table(rows)
    except ValueError as error:
        raise SystemExit(f"--table {folder}: {error}") from error


def _is_usable(row: TrialResult) -> bool:
    if row.status == FAILED:
        return bool(row.spec.validation_fraction) and row.message.startswith("diverged")
    return row.status == COMPLETE and row.curves_on == "validation" and len(row.history) == row.spec.num_epochs


def make_table(rows: Iterable[TrialResult]) -> Table:
    """Return the table of these rows.

    Raises ValueError where they were watched on different images, trained for different epochs, or are all alike.
    """
    rows = sorted(rows, key=lambda row: row.trial_id)
    for name in (*SPLIT_FIELDS, "num_epochs"):
        if len(found := {getattr(row.spec, name) for row in rows}) > 1:
            raise ValueError(f"all rows of a table have one {name}; got {', '.join(map(str, sorted(found)))}")
    axes = _axes(rows)
    if not axes:
        raise ValueError(f"a table needs rows that differ in some field; got {len(rows)} that do not")
    return Table(tuple(rows), tuple(axes), rows[0].spec.num_epochs)


def _axes(rows: Sequence[TrialResult]) -> list[Axis]:
    """Return the axes, the learning rate last, for its range depends on the optimizer. A field that another one
    determines is none."""
    differing = []
    for name in SPEC_FIELDS:
        values = {getattr(row.spec, name) for row in rows}
        if len(values) > 1 and name not in NOT_SEARCHED:
            is_number = name == "learning_rate" or (len(values) > MAX_CHOICES and not values & {"all"})
            differing.append(Axis(name, tuple(sorted(values, key=lambda v: (isinstance(v, str), v))), is_number))
    axes: list[Axis] = []
    for axis in differing:
        others = [o for o in differing if not o.is_number and o is not axis and not _determines(axis, o, rows)]
        if axis.is_number or not any(_determines(other, axis, rows) for other in [*axes, *others]):
            axes.append(axis)
    return sorted(axes, key=lambda axis: axis.is_log)


def _determines(one: Axis, other: Axis, rows: Sequence[TrialResult]) -> bool:
    pairs = {(getattr(row.spec, one.field), getattr(row.spec, other.field)) for row in rows}
    return not one.is_number and len(pairs) == len(one.values)
