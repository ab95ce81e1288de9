"""Which trial belongs to which row of the paper's Table 1, and what a row's seeds give together.

    grid = fill_cells(trials)
    grid.cells[0].score("accuracy")        # Score(mean=0.142, std=None, n=1)

One average never mixes settings: the trials of the six cells may differ in the backbone, its weights and the seed,
and in nothing else. Anything else that differs is an AnalysisError that names it.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics.intervals import Interval
from analysis.trials.endings import mean_interval
from analysis.trials.load import AnalysisError, Trials, counts_text, differences, mixed
from analysis.trials.paper import TABLE_1, PaperCell
from analysis.trials.subject import Subject, subject_of
from galaxytl.trial import COMPLETE, FAILED, SPEC_FIELDS, TrialResult, TrialSpec

MISSING = "MISSING"

CELL_FIELDS = ("backbone", "weights", "weights_requested", "weights_fingerprint", "unfrozen_blocks")
"""Fields in which the six cells differ by design."""
SETTINGS = tuple(name for name in SPEC_FIELDS if name not in (*CELL_FIELDS, "seed"))
"""Fields that all trials of Table 1 must share."""


@dataclass(frozen=True)
class Score:
    """Mean over `n` seeds and their sample standard deviation (divided by n - 1); no deviation of one seed."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Score:
        finite = all(math.isfinite(value) for value in values)
        std = (statistics.stdev(values) if finite else math.nan) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "NaN"
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f}±{self.std:.3f}"


@dataclass(frozen=True)
class Cell:
    """One row of Table 1: what the paper prints, and our trials of it, ordered by seed."""

    paper: PaperCell
    results: tuple[TrialResult, ...] = ()

    @property
    def complete(self) -> tuple[TrialResult, ...]:
        return tuple(r for r in self.results if r.status == COMPLETE)

    @property
    def shown(self) -> tuple[TrialResult, ...]:
        """The complete trials, or all where none is."""
        return self.complete or self.results

    @property
    def status(self) -> str:
        """COMPLETE with one complete seed or more; else FAILED, PRUNED or MISSING."""
        found = {r.status for r in self.results}
        return next((s for s in (COMPLETE, FAILED) if s in found), next(iter(found), MISSING))

    @property
    def message(self) -> str:
        """Why seeds are not complete: the first seed's reason, on one line."""
        reasons = [" ".join(r.message.split()) or "no reason given" for r in self.results if r.status != COMPLETE]
        return reasons[0] if reasons else ""

    @property
    def short_reason(self) -> str:
        """Why there is no score, short enough for a figure's panel; tables and report have the whole message."""
        return "missing" if self.status == MISSING else textwrap.shorten(f"{self.status}: {self.message}", 80)

    def why_without(self, what: str) -> str:
        """Return why there is no figure of the cell, where its row lacks `what` if nothing else."""
        if self.status == COMPLETE:
            return f"its row holds no {what}"
        return "missing: no such trial" if self.status == MISSING else f"{self.status}: {self.message}"

    @property
    def seeds(self) -> str:
        """ "3", or "2 of 3" when a seed is not complete."""
        done, total = len(self.complete), len(self.results)
        return str(total) if done == total else f"{done} of {total}"

    @property
    def weights_label(self) -> str:
        return next((r.spec.weights_label for r in (*self.complete, *self.results)), "")

    @property
    def is_substituted(self) -> bool:
        return any(r.spec.is_substituted for r in self.shown)

    @property
    def title(self) -> str:
        """The paper's name of the row, starred where random weights stand in for ImageNet's."""
        return self.paper.title + ("*" if self.is_substituted else "")

    @property
    def interval(self) -> Interval | None:
        """Of the mean accuracy (`mean_interval`); None where it is not known."""
        return mean_interval(self.complete)

    def score(self, metric: str) -> Score | None:
        """Return the metric over the complete seeds; None without one."""
        values = [r.metrics.get(metric, math.nan) for r in self.complete]
        return Score.of(values) if values else None


@dataclass(frozen=True)
class PaperGrid:
    """The six cells in the paper's order, and the trials that are in none of them."""

    cells: tuple[Cell, ...]
    outside: tuple[TrialResult, ...]
    problems: tuple[str, ...]
    """What could not be read, and what another row has superseded."""

    @property
    def results(self) -> tuple[TrialResult, ...]:
        return tuple(r for cell in self.cells for r in cell.results)

    @property
    def shown(self) -> tuple[TrialResult, ...]:
        """Of each cell the complete trials, or all where none is."""
        return tuple(r for cell in self.cells for r in cell.shown)

    @property
    def subject(self) -> Subject:
        return subject_of(self.results or self.outside)

    def cell(self, backbone: str, imagenet: str) -> Cell:
        return next(c for c in self.cells if (c.paper.backbone, c.paper.imagenet) == (backbone, imagenet))


def paper_cell(spec: TrialSpec) -> PaperCell | None:
    """Return the row of Table 1 that a spec belongs to. ON: ImageNet weights asked for, frozen. OFF: all trained from
    scratch.

    What was *asked for* decides: where random weights stand in for ImageNet weights, the row is still the ON row, and
    says so.
    """
    if spec.weights_requested == "imagenet":
        imagenet = "ON" if spec.trains_head_only else ""
    else:
        imagenet = "OFF" if spec.unfrozen_blocks == "all" else ""
    return next((cell for cell in TABLE_1 if (cell.backbone, cell.imagenet) == (spec.backbone, imagenet)), None)


def fill_cells(trials: Trials) -> PaperGrid:
    """Assign the trials of one dataset to the paper's cells.

    Raises AnalysisError when the trials of the cells differ in a setting, or one cell in its weights file.
    """
    members: dict[PaperCell, list[TrialResult]] = {cell: [] for cell in TABLE_1}
    outside: list[TrialResult] = []
    for result in trials.results:
        cell = paper_cell(result.spec)
        (members[cell] if cell else outside).append(result)
    _refuse_mixed_settings([r for results in members.values() for r in results])
    cells, problems = [], list(trials.problems)
    for paper, results in members.items():
        kept = _without_superseded(results)
        problems += [_superseded_line(r) for r in results if r not in kept]
        _refuse_mixed_weights(paper, kept)
        cells.append(Cell(paper, tuple(sorted(kept, key=lambda r: r.spec.seed))))
    return PaperGrid(tuple(cells), tuple(outside), tuple(problems))


def _refuse_mixed_settings(results: Sequence[TrialResult]) -> None:
    if values := mixed(results, SETTINGS):
        listing, choice = differences(values)
        if values.keys() == {"fold"}:
            raise AnalysisError(
                f"{_named(results)} is of one test part, and these trials are of {len(values['fold'])} folds: their"
                f" means are under Cross-validation. One fold: {choice}"
            )
        raise AnalysisError(
            f"{_named(results)} averages trials that differ in nothing but the seed; the trials of its cells differ in"
            f" {listing}. Choose with --where field=value, as in {choice}"
        )


def _named(results: Sequence[TrialResult]) -> str:
    name = subject_of(results).table
    return name[0].upper() + name[1:]


def _refuse_mixed_weights(paper: PaperCell, results: Sequence[TrialResult]) -> None:
    table = subject_of(results).table
    counts = Counter(r.spec.weights_fingerprint[:12] for r in results if r.spec.weights_fingerprint)
    if len(counts) > 1:
        raise AnalysisError(
            f"one cell of {table} holds one weights file; {paper.title} has weights_fingerprint {counts_text(counts)}."
            f" Choose with --where weights_fingerprint={next(iter(counts))}"
        )


def _lacks_weights(result: TrialResult) -> bool:
    """Return whether a trial failed because its ImageNet weights were not there: it asked for them and has no file's
    hash."""
    spec = result.spec
    return result.status != COMPLETE and spec.weights == "imagenet" and not spec.weights_fingerprint


def _without_superseded(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Drop what was made only because ImageNet weights could not be had, where a later trial had what it needed.

    Stand-ins with random weights go as soon as the cell has one trial with a weights file: the two are never averaged.
    A trial that failed for want of weights goes when its own seed is complete, so that a seed that was never run
    again still counts as failed.
    """
    had_weights = any(r.spec.weights_fingerprint for r in results)
    kept = [r for r in results if not (had_weights and r.spec.is_substituted)]
    done = {r.spec.seed for r in kept if r.status == COMPLETE}
    return [r for r in kept if not (_lacks_weights(r) and r.spec.seed in done)]


def _superseded_line(result: TrialResult) -> str:
    what = (
        "random weights stood in for ImageNet weights" if result.spec.is_substituted else "its weights were not found"
    )
    return f"trial {result.trial_id} ({result.status}) was left out: {what}, and a later trial of its cell had them"
