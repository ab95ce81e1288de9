"""The marks of points that stand for several seeds, the same in every figure, and what they mean.

draw_point(axes, 1e-3, point, "#D55E00")
explain_marks(figure, points)             # of the marks that occur
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.seed_points import Point
from analysis.figures.style import GREY, INK
from galaxytl.trial import TrialResult

Colour = str | tuple[float, float, float]
CROSS = "X"


def draw_point(axes: Axes, x: float, point: Point, colour: Colour, *, shape: str = "o", size: float = 4.5) -> None:
    """Filled: no seed has collapsed; open: some have; a cross: all. A bar: `low_high`. A ring: the paper's setting. A
    triangle at the bottom: a seed has failed."""
    if point.num_failed:
        axes.plot([x], [0.03], color=INK, markersize=4, linestyle="", marker="^", clip_on=False, gid="failed")
    if not point.complete:
        return
    if ends := point.low_high:
        axes.vlines(x, *ends, color=colour, linewidth=1, alpha=0.7, zorder=2)
    style: dict[str, Any] = {"marker": shape, "markersize": size, "markerfacecolor": colour, "markeredgecolor": colour}
    if point.has_all_collapsed:
        style |= {"marker": CROSS, "markersize": size + 2.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
    elif point.has_some_collapsed:
        style |= {"markerfacecolor": "white", "markeredgewidth": 1.1}
    counted = f"collapsed {point.num_collapsed} of {len(point.complete)}"
    axes.plot([x], [point.mean], linestyle="", zorder=3, gid=counted, **style)
    if point.is_papers:
        axes.plot([x], [point.mean], "o", markersize=12, markerfacecolor="none", markeredgecolor=INK, zorder=4)


def draw_reference(axes: Axes, results: Sequence[TrialResult]) -> None:
    """The accuracy of always naming the commonest class."""
    share = next((r.metrics["majority_share"] for r in results if "majority_share" in r.metrics), None)
    if share is not None:
        axes.axhline(share, color=GREY, linewidth=0.9, linestyle=":", zorder=1)


def explain_marks(figure: Figure, points: Sequence[Point]) -> None:
    marks = []
    if any(point.has_some_collapsed for point in points):
        marks.append(_mark("some seeds collapsed", "o", "white", GREY, 5))
    if any(point.has_all_collapsed for point in points):
        marks.append(_mark("all seeds collapsed", CROSS, GREY, GREY, 6))
    if any(point.num_failed for point in points):
        marks.append(_mark("a seed failed", "^", INK, INK, 4))
    if any(point.is_papers for point in points):
        marks.append(_mark("the paper's setting (assumed)", "o", "none", INK, 10))
    marks.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="always the commonest class"))
    figure.legend(
        handles=marks, loc="outside upper right", ncols=len(marks), columnspacing=1.4, frameon=False, fontsize=8
    )


def _mark(label: str, shape: str, face: str, edge: str, size: float) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=shape, markerfacecolor=face, markeredgecolor=edge, markersize=size, label=label
    )
