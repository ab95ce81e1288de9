"""Accuracy against the learning rate: a panel a start and backbone, a line an optimizer.

chosen = comparable(results, VARIED, can_draw)
lines_of(chosen.results)                      # Line(start, backbone, optimizer, rates, points), ...
draw_learning_rates(chosen.results, banner)   # a Figure
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.curves import spread
from analysis.figures.plans import PANEL, of_comparable
from analysis.figures.style import (
    GREY,
    INK,
    backbone_colours,
    draw_point,
    draw_reference,
    explain_marks,
    new_figure,
    set_log,
)
from analysis.trials.banner import Banner
from analysis.trials.comparable import WEIGHTS
from analysis.trials.seed_points import Point, part_text, seeds_note
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

VARIED: Final = ("backbone", *WEIGHTS, "unfrozen_blocks", "optimizer", "momentum", "learning_rate")
STYLES: Final = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # of the first optimizer, the second, ...; further ones repeat them
SHAPES: Final = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}
"""And the letters that look like them, for the lines' names."""
DODGE: Final = 0.02
"""Between two optimizers at one learning rate, as a share of the rates' span: their bars stand side by side."""
LABEL_GAP: Final = 0.1


@dataclass(frozen=True)
class Line:
    """Of one optimizer: `rates`, increasing, and a point at each."""

    start: Start
    backbone: str
    optimizer: str
    rates: tuple[float, ...]
    points: tuple[Point, ...]


def lines_of(results: Sequence[TrialResult]) -> list[Line]:
    """Return the lines by start, backbone and optimizer; without those of one learning rate, and without trials of some
    blocks only."""
    groups: dict[tuple[Start, str, str], dict[float, list[TrialResult]]] = {}
    for result in results:
        spec = result.spec
        if start := start_of(spec):
            by_rate = groups.setdefault((start, spec.backbone, optimizer_name(spec)), {})
            by_rate.setdefault(spec.learning_rate, []).append(result)
    return [
        Line(*key, tuple(sorted(by_rate)), tuple(Point.of(by_rate[rate]) for rate in sorted(by_rate)))
        for key, by_rate in sorted(groups.items())
        if len(by_rate) > 1
    ]


@dataclass(frozen=True)
class Layout:
    """What all panels share."""

    optimizers: tuple[str, ...]
    rates: tuple[float, ...]
    colours: Mapping[str, str]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Layout:
        optimizers, rates = {line.optimizer for line in lines}, {rate for line in lines for rate in line.rates}
        return cls(tuple(sorted(optimizers)), tuple(sorted(rates)), backbone_colours(line.backbone for line in lines))

    def place(self, rate: float, optimizer: str) -> float:
        steps = self.optimizers.index(optimizer) - (len(self.optimizers) - 1) / 2
        return rate * (self.rates[-1] / self.rates[0]) ** (DODGE * steps)


def can_draw(results: Sequence[TrialResult]) -> bool:
    return any(point.complete for line in lines_of(results) for point in line.points)


def draw_learning_rates(results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw a row a backbone and a column a start, all on the same axes."""
    lines = lines_of(results)
    layout = Layout.of(lines)
    points = [point for line in lines for point in line.points]
    drawn = [r for point in points for r in point.complete]
    starts, backbones = sorted({line.start for line in lines}), ordered_backbones(line.backbone for line in lines)
    footer = banner.bottom_line(drawn, seeds_note(points), COLLAPSED_NOTE, momentum_note(drawn))
    figure = new_figure(10, 1.1 + 2.15 * len(backbones), footer)
    panels = figure.subplots(len(backbones), len(starts), sharex=True, sharey=True, squeeze=False)
    for row, backbone in enumerate(backbones):
        for column, start in enumerate(starts):
            own = [line for line in lines if (line.start, line.backbone) == (start, backbone)]
            _draw_panel(panels[row, column], own, layout)
        panels[row, 0].set_ylabel(backbone, color=layout.colours[backbone], fontweight="bold")
    for axes, start in zip(panels[0], starts, strict=True):
        axes.set_title(start.title)
    _name_axes(panels[-1], layout)
    figure.supylabel(part_text(drawn), fontsize=9, color=INK)
    explain_marks(figure, points)
    return figure


def _draw_panel(axes: Axes, lines: Sequence[Line], layout: Layout) -> None:
    set_log(axes, "x")
    axes.set_ylim(0, 1)
    if not lines:
        axes.text(0.5, 0.5, "no trials", transform=axes.transAxes, ha="center", color=GREY, fontsize=8)
        return
    for line in lines:
        _draw_line(axes, line, layout)
    draw_reference(axes, [r for line in lines for point in line.points for r in point.complete])
    _name_lines(axes, lines, layout)


def _draw_line(axes: Axes, line: Line, layout: Layout) -> None:
    index, colour = layout.optimizers.index(line.optimizer), layout.colours[line.backbone]
    places = [(layout.place(rate, line.optimizer), point) for rate, point in zip(line.rates, line.points, strict=True)]
    axes.plot(
        [x for x, _ in places], [point.mean for _, point in places], color=colour, linewidth=1.3,
        linestyle=STYLES[index % len(STYLES)], zorder=2,
    )  # fmt: skip
    for x, point in places:
        draw_point(axes, x, point, colour, shape=_shape(index))


def _shape(index: int) -> str:
    return tuple(SHAPES)[index % len(SHAPES)]


def _name_lines(axes: Axes, lines: Sequence[Line], layout: Layout) -> None:
    """Name the lines at the heights of the lines' ends, LABEL_GAP apart, where _name_axes leaves room for them. With
    the line's mark, because a line may end further left."""
    marks = {name: f"{SHAPES[_shape(index)]} {name}" for index, name in enumerate(layout.optimizers)}
    ends = [(_height(line.points), marks[line.optimizer]) for line in lines]
    x = max(rate for line in lines for rate in line.rates)
    for height, name in spread(ends, LABEL_GAP):
        axes.annotate(
            name, (x, height), (11, 0), textcoords="offset points", va="center",
            fontsize=7, color=layout.colours[lines[0].backbone],
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # over the dotted line
        )  # fmt: skip


def _height(points: Sequence[Point]) -> float:
    """Return the height of the last point that has one."""
    return next((point.mean for point in reversed(points) if point.complete), 0.0)


def _name_axes(bottom: Sequence[Axes], layout: Layout) -> None:
    low, high = layout.rates[0], layout.rates[-1]
    for axes in bottom:
        axes.set_xlim(low * (high / low) ** -0.05, high * (high / low) ** 0.4)  # room for the lines' names
        axes.xaxis.set_major_locator(FixedLocator(layout.rates if len(layout.rates) <= 5 else layout.rates[::2]))
        axes.xaxis.set_major_formatter(lambda rate, _: rate_text(rate))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("learning rate")


plan_learning_rates: Final = of_comparable(
    VARIED,
    can_draw,
    draw_learning_rates,
    "no network was trained from one start with one optimizer at two learning rates, all else being equal",
    PANEL,
)
