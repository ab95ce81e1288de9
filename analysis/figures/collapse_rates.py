"""How often trials collapse to one class: a heat map of learning rate and optimizer for each network and start.

cells = cells_of(comparable(results, VARIED, can_draw).results)
cells[CellKey(start, "VGG16", "divide_by_255", "Adam", 1e-3)]        # Count(collapsed=5, complete=5, failed=0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from analysis.figures.plans import PANEL, of_comparable
from analysis.figures.style import COLLAPSE_COLOURS, GREY, INK, PALE, add_legend, backbone_colours, new_figure
from analysis.trials.banner import Banner
from analysis.trials.comparable import WEIGHTS
from analysis.trials.seed_points import Point
from analysis.trials.starts import (
    COLLAPSED_NOTE,
    Start,
    momentum_note,
    optimizer_name,
    ordered_backbones,
    rate_text,
    start_of,
)
from galaxytl.trial import TrialResult

VARIED: Final = ("backbone", *WEIGHTS, "unfrozen_blocks", "optimizer", "momentum", "learning_rate", "preprocessing")
MAX_RATES: Final = 12
"""More are the suggestions of a search, each of them its own: no heat map."""
PREPROCESSING: Final = {"divide_by_255": "pixels / 255", "backbone": "its own preprocessing"}
WHITE_TEXT_FROM: Final = 0.7


@dataclass(frozen=True)
class CellKey:
    """Of a cell. Whose trials differ in the seed only."""

    start: Start
    backbone: str
    preprocessing: str
    optimizer: str
    learning_rate: float


@dataclass(frozen=True)
class Count:
    """How the trials of a cell ended: `collapsed` of `complete` named one class; `failed` have no predictions."""

    collapsed: int
    complete: int
    failed: int
    is_paper_setting: bool = field(default=False, compare=False)

    @property
    def share(self) -> float | None:
        return self.collapsed / self.complete if self.complete else None

    def __str__(self) -> str:
        """Return "3/5", and below it how many failed."""
        counted = f"{self.collapsed}/{self.complete}" if self.complete else ""
        return "\n".join(text for text in (counted, f"{self.failed} failed" if self.failed else "") if text)


def cells_of(results: Sequence[TrialResult]) -> dict[CellKey, Count]:
    """Return the counts by cell, without the trials of which some blocks are trained."""
    groups: dict[CellKey, list[TrialResult]] = {}
    for result in results:
        spec = result.spec
        if start := start_of(spec):
            place = CellKey(start, spec.backbone, spec.preprocessing, optimizer_name(spec), spec.learning_rate)
            groups.setdefault(place, []).append(result)
    return {place: _count(Point.of(rows)) for place, rows in groups.items()}


def _count(point: Point) -> Count:
    return Count(point.num_collapsed, len(point.complete), point.num_failed, point.is_paper_setting)


def can_draw(results: Sequence[TrialResult]) -> bool:
    """Return whether there are two settings or more, of not too many learning rates."""
    cells = cells_of(results)
    settings = {(place.optimizer, place.learning_rate) for place, count in cells.items() if count.complete}
    return len(settings) > 1 and len({place.learning_rate for place in cells}) <= MAX_RATES


def draw_collapse_rates(results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw a column a start and a row a backbone, VGG16 above its controls, each by its preprocessing."""
    cells = cells_of(results)
    drawn = [r for r in results if start_of(r.spec)]
    starts = sorted({place.start for place in cells})
    rows = [
        (backbone, name)
        for backbone in ordered_backbones(r.spec.backbone for r in drawn)
        for name in PREPROCESSING
        if any((place.backbone, place.preprocessing) == (backbone, name) for place in cells)
    ]
    optimizers = sorted({place.optimizer for place in cells})
    rates = sorted({place.learning_rate for place in cells})
    footer = banner.bottom_line(drawn, COLLAPSED_NOTE, "n/m: n of m seeds", momentum_note(drawn))
    figure = new_figure(10, 1.6 + len(rows) * (0.55 + 0.24 * len(optimizers)), footer)
    panels = figure.subplots(len(rows), len(starts), sharex=True, sharey=True, squeeze=False)
    colours = backbone_colours(backbone for backbone, _ in rows)
    for (row, column), axes in np.ndenumerate(panels):
        backbone, preprocessing = rows[row]
        own = {
            (place.optimizer, place.learning_rate): count
            for place, count in cells.items()
            if (place.start, place.backbone, place.preprocessing) == (starts[column], backbone, preprocessing)
        }
        _draw_map(axes, own, optimizers, rates)
        if column == 0:
            _name_row(axes, backbone, PREPROCESSING[preprocessing], colours[backbone])
    for column, start in enumerate(starts):
        panels[0, column].set_title(start.title)
        panels[-1, column].set_xlabel("learning rate")
    _explain(figure, panels, any(count.is_paper_setting for count in cells.values()))
    return figure


def _name_row(axes: Axes, backbone: str, preprocessing: str, colour: str) -> None:
    axes.set_ylabel(f"{backbone}\n{preprocessing}", color=colour, fontsize=8, rotation=0, ha="right", va="center")


def _draw_map(
    axes: Axes, counts: Mapping[tuple[str, float], Count], optimizers: Sequence[str], rates: Sequence[float]
) -> None:
    size = 9 if len(rates) <= 4 else 7
    for y, optimizer in enumerate(optimizers):
        for x, rate in enumerate(rates):
            _draw_count(axes, x, y, counts.get((optimizer, rate)), size)
    axes.set(xlim=(-0.5, len(rates) - 0.5), ylim=(len(optimizers) - 0.5, -0.5))
    axes.set_xticks(range(len(rates)), [rate_text(rate) for rate in rates], fontsize=7)
    axes.set_yticks(range(len(optimizers)), optimizers, fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_count(axes: Axes, x: int, y: int, count: Count | None, size: float) -> None:
    share = count.share if count else None
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": PALE, "hatch": "////", "linewidth": 0}
    if share is not None:
        box = {"facecolor": _colours()(share), "edgecolor": "white", "linewidth": 1.2}
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, gid="no trials" if count is None else str(count), **box))
    if count:
        colour = "white" if share is not None and share > WHITE_TEXT_FROM else INK
        axes.text(x, y, str(count), ha="center", va="center", fontsize=size - 2 * bool(count.failed), color=colour)
        if count.is_paper_setting:
            axes.add_patch(
                Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.8, zorder=3)
            )


def _colours() -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("collapse", COLLAPSE_COLOURS)


def _explain(figure: Figure, panels: Any, has_papers: bool) -> None:
    marks = [Patch(facecolor="white", edgecolor=PALE, hatch="////", linewidth=0, label="no trials")]
    if has_papers:
        marks.insert(0, Patch(facecolor="white", edgecolor=INK, linewidth=1.8, label="the paper's setting (assumed)"))
    add_legend(figure, marks, 2)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), _colours()), ax=panels, shrink=0.6, aspect=25, pad=0.015, ticks=[0, 0.5, 1]
    )
    bar.ax.set_yticklabels(["none", "half", "all"], fontsize=8)
    bar.set_label("share collapsed", fontsize=8, color=INK)
    bar.outline.set_edgecolor(GREY)


plan_collapse_rates: Final = of_comparable(
    VARIED,
    can_draw,
    draw_collapse_rates,
    f"there are no two optimizers or learning rates, or more than {MAX_RATES} rates, all else being equal",
    PANEL,
)
