"""Figure 3: the scores of Table 1 as bars, with a line across each where the paper's value lies, of its own data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.style import COLOURS, GREY, INK, add_legend, new_figure, tint
from analysis.trials.banner import Banner
from analysis.trials.paper import BACKBONES, METRICS
from analysis.trials.table1_cells import MISSING, Cell, PaperGrid

BAR_WIDTH = 0.38
LABEL_HEIGHT = 0.055  # of a number above a bar, in units of the score axis


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands (x), how high it is, and the paper's value if that can be drawn."""

    cell: Cell
    metric: str
    x: float
    has_paper: bool = True
    """Whether the paper's value stands beside ours."""

    @property
    def height(self) -> float | None:
        score = self.cell.score(self.metric)
        return score.mean if score else None

    @property
    def errors(self) -> tuple[float, float]:
        """How far the error bar goes below and above: of accuracy its 95 % interval, of others the standard deviation
        over seeds; 0 where there is none."""
        score, interval = self.cell.score(self.metric), self.cell.interval
        if self.metric != "accuracy":
            return (score.std or 0.0,) * 2 if score else (0.0, 0.0)
        return (score.mean - interval.low, interval.high - score.mean) if score and interval else (0.0, 0.0)

    @property
    def paper_height(self) -> float | None:
        """None for a value that cannot be right: a bar of 9.663 would hide all others."""
        printed = self.cell.paper.printed(self.metric)
        return None if printed.sic or not self.has_paper else printed.value

    @property
    def label_height(self) -> float:
        """Where the bar's number stands: above the bar, its error and, if that is in the way, the paper's line."""
        top = (self.height or 0.0) + self.errors[1]
        if self.paper_height is not None and -0.01 < self.paper_height - top < LABEL_HEIGHT + 0.015:
            top = self.paper_height
        return top + 0.015


def bars_of(grid: PaperGrid, metric: str) -> list[Bar]:
    """Return six bars: the backbones in the paper's order, ON left of OFF."""
    bars = []
    for cell in grid.cells:
        shift = -0.5 if cell.paper.imagenet == "ON" else 0.5
        place = BACKBONES.index(cell.paper.backbone) + shift * (BAR_WIDTH + 0.04)
        bars.append(Bar(cell, metric, place, grid.subject.is_of_paper))
    return bars


def draw_metrics(grid: PaperGrid, banner: Banner) -> Figure:
    """Draw one panel a metric, so that each compares backbones and weights on one scale."""
    bars = {metric: bars_of(grid, metric) for metric in METRICS}
    has_paper = grid.subject.is_of_paper
    errors = _errors_text(any(any(bar.errors) for bar in own) for own in bars.values())
    also = "the paper's F1 of MobileNet OFF, 9.663 (sic), is not drawn" if has_paper else ""
    figure = new_figure(10, 4.1, banner.bottom_line(grid.shown, errors, also))
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, (metric, heading) in zip(panels, METRICS.items(), strict=True):
        draw_bars(axes, bars[metric])
        axes.set_title(heading, pad=10)
    panels[0].set_ylabel("score on the test split")
    _explain(figure, has_paper)
    return figure


def _errors_text(has_errors: Iterable[bool]) -> str:
    """Return what the error bars are, given whether accuracy and each of the other scores has any."""
    of_accuracy, *others = has_errors
    texts = ["95 % interval of accuracy"] * of_accuracy + ["standard deviation over seeds of the others"] * any(others)
    return f"error bars: {', '.join(texts)}" if texts else ""


def draw_bars(axes: Axes, bars: list[Bar]) -> None:
    for bar in bars:
        _draw_bar(axes, bar)
    axes.set_ylim(0, 1.0)
    axes.set_xlim(-0.55, len(BACKBONES) - 0.45)
    axes.set_xticks([bar.x for bar in bars], [_tick(bar.cell) for bar in bars], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.spines["bottom"].set_color(GREY)
    for index, backbone in enumerate(BACKBONES):
        axes.annotate(
            backbone, (index, 0), (0, -20), ha="center", va="top", xycoords="data", textcoords="offset points",
            color=COLOURS[backbone], fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _tick(cell: Cell) -> str:
    return cell.paper.imagenet + ("*" if cell.is_substituted else "")


def _draw_bar(axes: Axes, bar: Bar) -> None:
    colour = COLOURS[bar.cell.paper.backbone]
    left, right = bar.x - BAR_WIDTH / 2, bar.x + BAR_WIDTH / 2
    if bar.height is not None:
        face = colour if bar.cell.paper.imagenet == "ON" else tint(colour, 0.4)
        axes.bar(bar.x, bar.height, BAR_WIDTH, color=face, gid=f"ours {bar.metric} {bar.cell.paper.title}")
        axes.text(bar.x, bar.label_height, f"{bar.height:.2f}", ha="center", va="bottom", fontsize=8)
        if any(bar.errors):
            below, above = bar.errors
            axes.errorbar(
                bar.x, bar.height, [[max(0.0, below)], [max(0.0, above)]], color=INK, linewidth=1, capsize=2.5
            )
    else:
        absent = "missing" if bar.cell.status == MISSING else bar.cell.status
        above_line = bar.paper_height if bar.paper_height is not None and bar.paper_height < 0.3 else 0.0
        axes.text(bar.x, above_line + 0.02, absent, rotation=90, ha="center", va="bottom", fontsize=8, color=GREY)
    if bar.paper_height is not None:
        axes.hlines(bar.paper_height, left - 0.01, right + 0.01, color=INK, linewidth=1.6)


def _explain(figure: Figure, has_paper: bool) -> None:
    ours = "ours, " if has_paper else ""
    marks: list[Any] = [
        Patch(color=GREY, label=f"{ours}ImageNet ON"),
        Patch(color=tint(GREY, 0.4), label=f"{ours}ImageNet OFF"),
    ]
    if has_paper:
        marks.append(Line2D([], [], color=INK, linewidth=1.6, label="the paper"))
    add_legend(figure, marks, len(marks))
