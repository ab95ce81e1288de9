"""Accuracy against the number of blocks that are trained: a panel a backbone, each depth at its best learning rate.

panel = panels_of(comparable(results, VARIED, can_draw).results)[0]
panel.depths, panel.best                   # (0, 1, 3, "all"), (0.001, 0.0001, ...): chosen on the validation part
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.curves import spread
from analysis.figures.plans import of_comparable
from analysis.figures.style import INK, backbone_colours, draw_point, draw_reference, explain_marks, new_figure, tint
from analysis.trials.banner import Banner
from analysis.trials.seed_points import Point, part_text, seeds_note
from analysis.trials.starts import COLLAPSED_NOTE, ordered_backbones, rate_text
from galaxytl.trial import TrialResult
from galaxytl.trial.epochs import scored_values

VARIED: Final = ("backbone", "unfrozen_blocks", "learning_rate")
MIN_DEPTHS: Final = 3
"""Of a backbone: two are a start and its opposite, and no curve."""
MAX_ACROSS: Final = 4
DEPTHS_ACROSS: Final = 21
"""Panels beside one another, and depths in all of them, whose names have room."""
LABEL_GAP: Final = 0.045
MAX_NAMED: Final = 20
"""Learning rates whose names have room beside one another."""
PAPER: Final = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
Depth = int | str


@dataclass(frozen=True)
class Panel:
    """Of one backbone: `points[rate][depth]`, and the learning rate that suits each depth best."""

    backbone: str
    points: Mapping[float, Mapping[Depth, Point]]
    is_substituted: bool = False

    @property
    def depths(self) -> tuple[Depth, ...]:
        """Increasing; "all" is the last."""
        found = {depth for by_depth in self.points.values() for depth in by_depth}
        return tuple(sorted(found, key=lambda depth: (depth == "all", depth if depth != "all" else 0)))

    @property
    def best(self) -> tuple[float | None, ...]:
        """For each depth, the learning rate whose mean accuracy on the validation part is the highest, of equals the
        lowest; None where no trial was scored there. The test part has no say."""
        return tuple(self._best_rate(depth) for depth in self.depths)

    def _best_rate(self, depth: Depth) -> float | None:
        scores = {}
        for rate, by_depth in sorted(self.points.items()):
            own = [validation_accuracy(r) for r in by_depth[depth].complete] if depth in by_depth else []
            known = [score for score in own if score is not None]
            if known and len(known) == len(own):
                scores[rate] = statistics.fmean(known)
        return max(scores, key=lambda rate: scores[rate]) if scores else None

    @property
    def all_points(self) -> list[Point]:
        return [point for by_depth in self.points.values() for point in by_depth.values()]


def validation_accuracy(result: TrialResult) -> float | None:
    """Return the accuracy of a COMPLETE trial after the epoch that is scored; None where it held out no validation
    part."""
    if result.spec.scored_on == "validation":
        return result.metrics["accuracy"]
    if result.curves_on == "validation" and result.history:
        return scored_values(result).get("val_accuracy")
    return None


def panels_of(results: Sequence[TrialResult]) -> list[Panel]:
    """Return a panel a backbone of which MIN_DEPTHS or more were tried."""
    panels = []
    for backbone in ordered_backbones(r.spec.backbone for r in results):
        own = [r for r in results if r.spec.backbone == backbone]
        groups: dict[float, dict[Depth, list[TrialResult]]] = {}
        for result in own:
            by_depth = groups.setdefault(result.spec.learning_rate, {})
            by_depth.setdefault(result.spec.unfrozen_blocks, []).append(result)
        points = {rate: {d: Point.of(rows) for d, rows in by_depth.items()} for rate, by_depth in groups.items()}
        panels.append(Panel(backbone, points, any(r.spec.is_substituted for r in own)))
    return [panel for panel in panels if len(panel.depths) >= MIN_DEPTHS]


def can_draw(results: Sequence[TrialResult]) -> bool:
    return any(point.complete for panel in panels_of(results) for point in panel.all_points)


def draw_depths(results: Sequence[TrialResult], banner: Banner) -> Figure:
    panels = panels_of(results)
    points = [point for panel in panels for point in panel.all_points]
    drawn = [r for point in points for r in point.complete]
    chosen = "bold: at each depth the learning rate with the best validation accuracy, named beside it"
    if all(rate is None for panel in panels for rate in panel.best):
        chosen = "no trial held out a validation part: no learning rate is chosen"
    across = max(1, min(len(panels), MAX_ACROSS, DEPTHS_ACROSS // max(len(panel.depths) for panel in panels)))
    down = math.ceil(len(panels) / across)
    figure = new_figure(10, 0.9 + 3.3 * down, banner.bottom_line(drawn, chosen, seeds_note(points), COLLAPSED_NOTE))
    columns = figure.subplots(down, across, sharey=True, squeeze=False)
    colours = backbone_colours(panel.backbone for panel in panels)
    for axes, panel in zip_longest(columns.flat, panels):
        if panel is None:
            axes.remove()
        else:
            _draw_panel(axes, panel, colours[panel.backbone])
    for axes in columns[:, 0]:
        axes.set_ylabel(part_text(drawn))
    explain_marks(figure, points)
    return figure


def _draw_panel(axes: Axes, panel: Panel, colour: str) -> None:
    places = {depth: x for x, depth in enumerate(panel.depths)}
    for rate in sorted(panel.points):
        _draw_faint(axes, panel.points[rate], places, colour)
    _name_faint(axes, panel, colour)
    _draw_best(axes, panel, places, colour)
    draw_reference(axes, [r for point in panel.all_points for r in point.complete])
    axes.set_title(panel.backbone + ("*" if panel.is_substituted else ""), color=colour)
    axes.set(ylim=(0, 1), xlim=(-0.35, len(places) - 0.1))
    axes.set_xticks(range(len(places)), ["head\nonly" if d == 0 else str(d) for d in places])
    axes.set_xlabel("blocks trained, from the output")


def _draw_faint(axes: Axes, by_depth: Mapping[Depth, Point], places: Mapping[Depth, int], colour: str) -> None:
    points = [(x, by_depth[depth]) for depth, x in places.items() if depth in by_depth]
    pale = tint(colour, 0.4)
    axes.plot([x for x, _ in points], [point.mean for _, point in points], color=pale, linewidth=1, zorder=1.5)
    for x, point in points:
        draw_point(axes, x, point, pale, size=3)


def _name_faint(axes: Axes, panel: Panel, colour: str) -> None:
    """Name the learning rates, right of the lines that reach the last depth, clear of the name above their best; a
    search tries too many to name."""
    last = panel.depths[-1]
    points = {rate_text(rate): by_depth[last] for rate, by_depth in panel.points.items() if last in by_depth}
    ends = [(point.mean, name) for name, point in points.items() if point.complete]
    for height, name in spread(ends if len(ends) <= MAX_NAMED else [], LABEL_GAP):
        axes.annotate(
            name, (len(panel.depths) - 1, height), (13, 0), textcoords="offset points", va="center", fontsize=7,
            color=tint(colour, 0.65), bbox=PAPER,
        )  # fmt: skip


def _draw_best(axes: Axes, panel: Panel, places: Mapping[Depth, int], colour: str) -> None:
    best = [(x, panel.points[rate][d], rate) for (d, x), rate in zip(places.items(), panel.best, strict=True) if rate]
    axes.plot([x for x, _, _ in best], [point.mean for _, point, _ in best], color=colour, linewidth=2.2, zorder=2)
    for x, point, rate in best:
        draw_point(axes, x, point, colour)
        top = point.low_high[1] if point.low_high else point.mean
        above = (0, 9 if point.is_paper_setting else 6)
        axes.annotate(rate_text(rate), (x, top), above, textcoords="offset points", ha="center", fontsize=7, color=INK)


plan_depths: Final = of_comparable(
    VARIED, can_draw, draw_depths, f"no network was trained to {MIN_DEPTHS} depths, all else being equal"
)
