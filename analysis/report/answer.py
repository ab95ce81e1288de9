"""The first screen of a report: what was asked, the answer, what else could explain it, and what would settle it.

    answer = answer_of(found, commands)            # of a folder that has no trial for the VGG question
    answer.rows                                    # (("Asked", ("Which ...",)), ("Answer", (...)), ...)

The VGG question has its own in `analysis.collapse.answer`. Every sentence stands alone: the page, report.md and the
terminal show the same.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.report.summary import accuracy_interval, best_row, best_trial
from analysis.search.choice import Search
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.load import count_of_trials
from analysis.trials.table1_cells import Cell, PaperGrid
from galaxytl.trial import TrialResult


@dataclass(frozen=True)
class Command:
    what: str
    line: str


@dataclass(frozen=True)
class Answer:
    """Sentences; a line "label: text" has its label set off."""

    asked: tuple[str, ...]
    answer: tuple[str, ...]
    also: tuple[str, ...] = ()
    """What else could explain it."""
    settle: tuple[str, ...] = ()
    """What would settle it."""
    commands: tuple[Command, ...] = field(default=())
    """That would."""

    is_open: bool = False
    """Whether there were no trials to ask: then the report has a question of its own as well."""

    def joined(self, other: Answer) -> Answer:
        """Both, this one first."""
        return Answer(
            (*self.asked, *other.asked),
            (*self.answer, *(text for text in other.answer if text not in self.answer)),
            (*self.also, *other.also),
            (*self.settle, *other.settle),
            (*self.commands, *other.commands),
        )

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each part with its heading; parts that have nothing to say are left out."""
        named = (
            ("Asked", self.asked),
            ("Answer", self.answer),
            ("What else could explain it", self.also),
            ("What would settle it", self.settle),
        )
        return tuple((heading, sentences) for heading, sentences in named if sentences)


def verdict_parts(sentence: str) -> tuple[str, str, str]:
    """Return of whom, the verdict and the rest of a sentence that begins with a verdict; of any other, all is rest.

    >>> verdict_parts("VGG16 ON: EXPLAINED: other settings"), verdict_parts("Accuracy: 0.5")
    (('VGG16 ON', 'EXPLAINED', 'other settings'), ('', '', 'Accuracy: 0.5'))
    """
    found = re.match(r"([^:]+): ([A-Z_]{4,}): (.*)", sentence, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", sentence)


def reservations(results: Sequence[TrialResult]) -> tuple[str, ...]:
    """What these trials cannot speak of, as they are not of the paper's data or not from ImageNet's weights."""
    found = []
    if any(r.spec.is_simulated for r in results):
        found.append("These are SIMULATED galaxies: nothing here speaks of Galaxy10, or of what the paper found.")
    number = sum(r.spec.is_substituted for r in results)
    if number:
        found.append(
            f"Random weights stand in for ImageNet's in {number} of {count_of_trials(len(results))}: those say nothing "
            "of ImageNet ON."
        )
    return tuple(found)


def seeds_text(counts: Iterable[int]) -> str:
    """
    >>> seeds_text([5, 5]), seeds_text([1]), seeds_text([3, 5])
    ('5 seeds a setting', '1 seed a setting', '3 to 5 seeds a setting')
    """
    found = sorted(set(counts))
    if not found:
        return "no seed"
    if len(found) > 1:
        return f"{found[0]} to {found[-1]} seeds a setting"
    return f"{found[0]} seed{'' if found[0] == 1 else 's'} a setting"


def of_table(grid: PaperGrid) -> Answer:
    """Of the paper's grid: which of its rows does best."""
    scored = [cell for cell in grid.cells if cell.score("accuracy")]
    seeds = [len(cell.complete) for cell in scored]
    answer = [f"{best_row(grid)}."] if scored else ["No row of Table 1 is complete."]
    few = bool(seeds) and min(seeds) < MIN_SEEDS
    if few:
        answer.append(
            f"With fewer than {MIN_SEEDS} seeds a row this speaks of these trained networks, not of their settings."
        )
    also = _close(scored)
    settle = [f"At least {MIN_SEEDS} seeds a row."] if few else []
    asked = f"Which of the paper's networks classifies best, and how near is it to Table 1? {_counted(grid, seeds)}"
    return Answer((asked,), (*reservations(grid.results), *answer), also, tuple(settle))


def _counted(grid: PaperGrid, seeds: Iterable[int]) -> str:
    return f"{count_of_trials(len(grid.results))}, {seeds_text(seeds)}."


def _close(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The row that comes next."""
    means = {cell.title: statistics.fmean(r.metrics["accuracy"] for r in cell.complete) for cell in cells}
    # of equal rows the first stays first, as for the best one
    ordered = sorted((c for c in cells if math.isfinite(means[c.title])), key=lambda c: -means[c.title])
    if len(ordered) < 2:
        return ()
    second = ordered[1]
    return (f"The next best is {second.title}, accuracy {means[second.title]:.3f} ({accuracy_interval(second)}).",)


def of_search(search: Search) -> Answer:
    """Of a search: which trial it chose, and how sure the choice is."""
    number = count_of_trials(len(search.results))
    asked = f"Which of {number} is best on the validation part, and what does it score on the test part?"
    also: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()
    if margin := search.margin:
        much = f"{margin.value:+.3f}, {CONFIDENCE:.0%} interval {margin.interval} on {margin.num_images:,} images"
        runner_up = f"{margin.runner_up.spec.backbone}, trial {margin.runner_up.trial_id}"
        told = "cannot be told apart from the runner-up" if margin.is_within_noise else "is ahead of the runner-up"
        also = (f"The best {told}, {runner_up} ({much}).",)
        settle = ("More seeds of both, and more validation images.",) if margin.is_within_noise else ()
    chosen = (f"{best_trial(search)}.", "One trial was chosen of many: its validation accuracy is that of a winner.")
    return Answer((asked,), (*reservations(search.results), *chosen), also, settle)
