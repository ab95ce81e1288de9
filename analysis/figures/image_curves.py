"""Accuracy and balanced accuracy against the number of training images: a panel a start, a line a backbone.

chosen = comparable(results, VARIED, can_draw)      # of `analysis.scores.image_curves`
draw_image_curves(chosen.results, banner)           # a Figure
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.plans import of_comparable
from analysis.figures.style import GREY, add_legend, backbone_colours, new_figure, set_log
from analysis.scores.image_curves import VARIED, Curve, can_draw, curves_of
from analysis.trials.banner import Banner
from analysis.trials.starts import ordered_backbones
from galaxytl.trial import TrialResult

SHAPES: Final = ("o", "s", "^", "D", "v")
DODGE: Final = 0.03
"""Between two networks at one size, as a share of the sizes' span: their bars stand side by side."""
LABEL_ROOM: Final = 0.17
"""Of the axis, between two labelled sizes."""


def draw_image_curves(results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw a column a start: accuracy above, balanced accuracy below."""
    curves = curves_of(results)
    starts = sorted({curve.start for curve in curves})
    backbones = ordered_backbones(curve.backbone for curve in curves)
    counted = {len(place.accuracy.values) for curve in curves for place in curve.places}
    notes = [
        "small marks: seeds" if max(counted) > 1 else "",
        f"bars: 95 %, {_bars_text(counted)}",
        f"each size is scored on its own {results[0].spec.scored_on} part",
    ]
    footer = banner.bottom_line(results, *notes)
    figure = new_figure(max(5.5, 3.4 * len(starts)), 6.2, footer)
    panels = figure.subplots(2, len(starts), sharex=True, sharey=True, squeeze=False)
    layout = _Layout(tuple(backbones), tuple(sorted({p.num_train for c in curves for p in c.places})))
    for column, start in enumerate(starts):
        own = [curve for curve in curves if curve.start == start]
        _draw_panel(panels[0, column], own, layout, "accuracy")
        _draw_panel(panels[1, column], own, layout, "balanced")
        panels[0, column].set_title(start.title)
        panels[1, column].set_xlabel("training images")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("balanced accuracy")
    _explain(figure, layout)
    return figure


def _bars_text(counted: set[int]) -> str:
    several = "by t over seeds" if max(counted) > 1 else ""
    single = "over images (one seed)" if 1 in counted else ""
    return " or ".join(filter(None, (several, single)))


@dataclass(frozen=True)
class _Layout:
    """What all panels share."""

    backbones: tuple[str, ...]
    sizes: tuple[int, ...]

    def shape(self, backbone: str) -> str:
        return SHAPES[self.backbones.index(backbone) % len(SHAPES)]

    def dodged(self, size: int, backbone: str) -> float:
        steps = self.backbones.index(backbone) - (len(self.backbones) - 1) / 2
        return float(size * (self.sizes[-1] / self.sizes[0]) ** (DODGE * steps))

    @property
    def ticks(self) -> list[int]:
        """The sizes whose numbers have room beside one another, from the largest down."""
        span = np.log(self.sizes[-1] / self.sizes[0])
        found: list[int] = []
        for size in reversed(self.sizes):
            if not found or np.log(found[-1] / size) >= LABEL_ROOM * span:
                found.append(size)
        return found


def _draw_panel(axes: Axes, curves: Sequence[Curve], layout: _Layout, score: str) -> None:
    colours = backbone_colours(layout.backbones)
    set_log(axes, "x")
    axes.set_ylim(0, 1)
    for curve in curves:
        colour, shape = colours[curve.backbone], layout.shape(curve.backbone)
        found = [(layout.dodged(place.num_train, curve.backbone), getattr(place, score)) for place in curve.places]
        there = [(x, estimate) for x, estimate in found if estimate is not None]
        axes.plot([x for x, _ in there], [one.mean for _, one in there], color=colour, linewidth=1.3, zorder=2)
        for x, estimate in there:
            axes.vlines(x, estimate.interval.low, estimate.interval.high, color=colour, linewidth=1, alpha=0.7)
            axes.plot(x, estimate.mean, shape, color=colour, markersize=5, zorder=3, gid=f"mean {score}")
            if len(estimate.values) > 1:
                xs = [x] * len(estimate.values)
                axes.plot(xs, estimate.values, shape, color=colour, markersize=2.5, markerfacecolor="white", zorder=4)
    axes.xaxis.set_major_locator(FixedLocator(layout.ticks))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)


def _explain(figure: Figure, layout: _Layout) -> None:
    colours = backbone_colours(layout.backbones)
    marks = [
        Line2D([], [], color=colours[name], marker=layout.shape(name), markersize=5, linewidth=1.3, label=name)
        for name in layout.backbones
    ]
    add_legend(figure, marks, min(len(marks), 3))


plan_image_curves: Final = of_comparable(
    VARIED,
    can_draw,
    draw_image_curves,
    "no network was trained on two numbers of images, all else being equal",
)
