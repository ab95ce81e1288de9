"""Which figures there are, what they are called, and which could not be drawn.

drawn = write_figures(grid, Banner.of(grid), Path("report/figures"))
drawn.written      # paths of PNG and SVG files
drawn.not_drawn    # "figure-16-confusion-mobilenet-imagenet-on: FAILED: loss became NaN"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import bars, confusion, curves
from analysis.figures.style import save, style
from analysis.trials.banner import Banner
from analysis.trials.paper import BARS_FIGURE, CONFUSION_SHEET, CURVES_SHEET
from analysis.trials.table1_cells import MISSING, Cell, PaperGrid
from galaxytl.trial import COMPLETE


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn: its file's stem, a caption, and how; or, without `draw`, why it cannot."""

    stem: str
    caption: str
    draw: Callable[[], Figure] | None
    why_not: str = ""


@dataclass(frozen=True)
class Drawn:
    """`written` maps the stem of each figure to its PNG and SVG; `not_drawn` to the reason."""

    written: dict[str, tuple[Path, Path]]
    captions: dict[str, str]
    not_drawn: dict[str, str]


def plan_figures(grid: PaperGrid, banner: Banner) -> list[Plan]:
    """Every figure of the paper's results, by number, after the two sheets that show many at once."""
    plans = [
        Plan(
            f"figure-{BARS_FIGURE:02d}-metrics",
            "Figure 3. Scores on the test split.",
            partial(bars.draw_metrics, grid, banner),
        ),
        Plan(CURVES_SHEET, "Figures 4-15. Loss and accuracy by epoch.", partial(curves.draw_sheet, grid, banner)),
        Plan(CONFUSION_SHEET, "Figures 16-21. Confusion matrices.", partial(confusion.draw_sheet, grid, banner)),
    ]
    singles = [plan for cell in grid.cells for plan in (*_plan_curves(cell, banner), _plan_confusion(cell, banner))]
    return plans + sorted(singles, key=lambda plan: plan.stem)


def _plan_curves(cell: Cell, banner: Banner) -> Iterator[Plan]:
    numbers = {"loss": cell.paper.loss_figure, "accuracy": cell.paper.accuracy_figure}
    for quantity, number in numbers.items():
        stem = f"figure-{number:02d}-{quantity}-{cell.paper.file_stem}"
        caption = f"Figure {number}. {quantity.capitalize()} by epoch, {cell.paper.title}."
        if curves.curves_of(cell, quantity):
            yield Plan(stem, caption, partial(curves.draw_cell, cell, quantity, banner))
        else:
            yield Plan(stem, caption, None, _why_not(cell, "its row holds no history"))


def _plan_confusion(cell: Cell, banner: Banner) -> Plan:
    number = cell.paper.confusion_figure
    stem = f"figure-{number:02d}-confusion-{cell.paper.file_stem}"
    caption = f"Figure {number}. Confusion matrix, {cell.paper.title}."
    if (counted := confusion.confusion_of(cell)) is not None:
        return Plan(stem, caption, partial(confusion.draw_cell, cell, counted, banner))
    return Plan(stem, caption, None, _why_not(cell, "its row holds no confusion matrix"))


def _why_not(cell: Cell, incomplete_row: str) -> str:
    if cell.status == COMPLETE:
        return incomplete_row
    return "missing: no such trial" if cell.status == MISSING else f"{cell.status}: {cell.message}"


def write_figures(grid: PaperGrid, banner: Banner, folder: Path) -> Drawn:
    """The figures of the paper's results, into `folder`."""
    return write_plans(plan_figures(grid, banner), folder)


def write_plans(plans: Iterable[Plan], folder: Path) -> Drawn:
    """Draw what can be drawn as PNG and SVG into `folder`, which must be there.

    A figure that cannot be drawn any more is removed from there: an older report's picture must not be taken for
    this one's.
    """
    drawn = Drawn({}, {}, {})
    with style():
        for plan in plans:
            drawn.captions[plan.stem] = plan.caption
            if plan.draw is None:
                drawn.not_drawn[plan.stem] = plan.why_not
                for ending in (".png", ".svg"):
                    (folder / plan.stem).with_suffix(ending).unlink(missing_ok=True)
            else:
                drawn.written[plan.stem] = save(plan.draw(), folder / plan.stem)
    return drawn
