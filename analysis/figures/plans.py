"""What the figures of a report are drawn from, when one can be drawn, and how they get into a folder.

material = Material(results, folders, networks, studies, grid)
plan = Plan("gradients", "What the gradients did.", partial(draw_gradients, picks, material.banner))
files = write_figures([plan], Path("report/figures"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

from analysis.figures.style import save, style
from analysis.report.contents import FigureFiles
from analysis.trials.banner import Banner
from analysis.trials.comparable import comparable
from analysis.trials.repeats import Networks
from analysis.trials.subject import OF_PAPER, Subject, subject_of
from analysis.trials.table1_cells import PaperGrid
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:  # study.py imports Optuna: a second that only a report of a search needs
    from analysis.search.study import Study

Results = Sequence[TrialResult]
NOTHING_COMPLETE: Final = "no trial is complete"
PANEL: Final = ("backbone", "weights_requested", "unfrozen_blocks")
"""Fields that tell the panels of a figure apart."""


@dataclass(frozen=True)
class Material:
    """What the figures of one report are drawn from: `results` are the rows of one dataset."""

    results: Results
    folders: Mapping[str, Path] = field(default_factory=dict)
    """trial_id -> the results folder of its row."""
    networks: Networks = field(default_factory=Networks)
    studies: Sequence[Study] = ()
    grid: PaperGrid | None = None

    @cached_property
    def banner(self) -> Banner:
        return Banner.of_search(self.results)

    @cached_property
    def subject(self) -> Subject:
        return subject_of(self.results) if self.results else OF_PAPER

    @property
    def has_complete(self) -> bool:
        return any(result.status == COMPLETE for result in self.results)


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn: its file's stem, a caption, and how; or, without `draw`, why it cannot."""

    stem: str
    caption: str
    draw: Callable[[], Figure] | None
    why_not: str = ""
    study: int = 0
    """The number of the search that it shows, from 1; 0 for a figure of trials."""


Planner = Callable[[str, str, Material], Iterable[Plan]]
"""Takes the stem and the caption of a row of the catalogue, and yields its figures, whatever the material holds: a
report can then say what is missing from it."""


def of_table_1(draw: Callable[[PaperGrid, Banner], Figure]) -> Planner:
    """Return the planner of a figure of all cells of Table 1; it plans none where there is no such table."""

    def plan(stem: str, caption: str, material: Material) -> Iterator[Plan]:
        if grid := material.grid:
            yield Plan(stem, caption, partial(draw, grid, Banner.of(grid)))

    return plan


def of_comparable(
    varied: tuple[str, ...],
    can_draw: Callable[[Results], bool],
    draw: Callable[[Results, Banner], Figure],
    why_not: str,
    panel: tuple[str, ...] = (),
) -> Planner:
    """Return the planner of a figure of trials that differ in `varied` only; those that differ in the fields of a
    `panel` are not compared with one another. `why_not` is said where no such trials can be drawn."""

    def plan(stem: str, caption: str, material: Material) -> Iterator[Plan]:
        chosen = comparable(material.results, varied, can_draw, panel)
        if not chosen.results:
            yield Plan(stem, caption, None, why_not if material.has_complete else NOTHING_COMPLETE)
            return
        text = material.banner.caption(" ".join(filter(None, (caption, chosen.left_out))), chosen.results)
        yield Plan(stem, text, partial(draw, chosen.results, material.banner))

    return plan


def write_figures(plans: Iterable[Plan], folder: Path) -> FigureFiles:
    """Draw what can be drawn as PNG and SVG into `folder`, which must be there.

    A figure that cannot be drawn any more is removed from there: an older report's picture must not be taken for
    this one's.
    """
    files = FigureFiles({}, {}, {})
    with style():
        for plan in plans:
            files.captions[plan.stem] = plan.caption
            if plan.draw is None:
                files.reasons[plan.stem] = plan.why_not
                for ending in (".png", ".svg"):
                    (folder / plan.stem).with_suffix(ending).unlink(missing_ok=True)
            else:
                files.paths[plan.stem] = save(plan.draw(), folder / plan.stem)
    return files
