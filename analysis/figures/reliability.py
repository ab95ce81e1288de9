"""Reliability diagrams: whether the networks are as sure as they are right, by confidence.

draw_reliability(networks, banner)      # a Figure
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.plans import Material, Plan
from analysis.figures.style import GREY, INK, add_legend, backbone_colours, new_figure, tint
from analysis.scores.reliability import SettingCalibration, calibrations
from analysis.statistics.calibration import NUM_BINS
from analysis.statistics.intervals import Share
from analysis.trials.banner import Banner
from analysis.trials.repeats import Networks

MOST_PANELS: Final = 6
COLUMNS: Final = 3
HISTOGRAM: Final = 0.2
"""Height of the histogram below a diagram, in heights of that."""
TITLE_WIDTH: Final = 36
"""Letters of a panel's title on a line."""


def plan_reliability(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the figure, whose caption says how many settings it does not show."""
    networks = material.networks
    shown, number = drawn_of(networks), len(calibrations(networks))
    beyond = f" {number - len(shown)} further in the table only." if number > len(shown) else ""
    results = [result for own in shown for result in own.repeats.results]
    text = material.banner.caption(caption + beyond, results)
    if not shown:
        why = "; ".join(networks.problems) or "no trial that is scored on the test part is complete"
        yield Plan(stem, text, None, why)
        return
    yield Plan(stem, text, partial(draw_reliability, networks, material.banner))


def drawn_of(networks: Networks) -> tuple[SettingCalibration, ...]:
    """Return those that have a panel."""
    return calibrations(networks)[:MOST_PANELS]


def draw_reliability(networks: Networks, banner: Banner) -> Figure:
    """Draw a panel a setting: the share right by confidence, and below how many predictions have it."""
    found = drawn_of(networks)
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    notes = (
        f"{NUM_BINS} bins of equal width; bars: 95 % over the images that one seed has in a bin (Wilson 1927); below:"
        " share of the predictions in each bin"
    )
    footer = banner.bottom_line([r for own in found for r in own.repeats.results], notes)
    height = 3.5 * rows + (0.9 if columns > 1 else 1.5)  # a narrow figure's legend has three lines
    figure = new_figure(max(5.0, 3.3 * columns), height, footer)
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[1, HISTOGRAM] * rows)
    colours = backbone_colours(own.repeats.spec.backbone for own in found)
    highest = math.ceil(10 * max(float((own.pooled.counts / own.pooled.counts.sum()).max()) for own in found)) / 10
    for index, own in enumerate(found):
        row, column = divmod(index, columns)
        above, below = panels[2 * row : 2 * row + 2, column]
        _draw_panel(above, below, own, colours[own.repeats.spec.backbone])
        below.set(ylim=(0, highest), yticks=[0, highest])
        if column == 0:
            above.set_ylabel("share right")
            below.set_ylabel("share of\nall", fontsize=7)
        if index + columns >= len(found):
            below.set_xlabel("confidence")
            below.tick_params(labelbottom=True)
    for axes in panels.reshape(2 * rows, columns)[-2:, len(found) - columns * (rows - 1) :].flat:
        axes.set_visible(False)
    _explain(figure, 3 if columns > 1 else 1)
    return figure


def _draw_panel(above: Axes, below: Axes, own: SettingCalibration, colour: str) -> None:
    bins, number = own.pooled, len(own.seeds)
    there = np.flatnonzero(bins.counts)
    confidence, right = bins.confidence[there] / bins.counts[there], bins.right[there] / bins.counts[there]
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    low, high = np.minimum(confidence, right), np.maximum(confidence, right)
    above.vlines(confidence, low, high, color=tint(colour, 0.25), linewidth=6, zorder=1)
    for x, index in zip(confidence, there, strict=True):
        bar = _of_one_seed(int(bins.right[index]), int(bins.counts[index]), number).interval
        above.vlines(x, bar.low, bar.high, color=colour, linewidth=1, zorder=2)
    above.plot(
        confidence, right, "o-", color=colour, markersize=3.5, linewidth=1, zorder=3, clip_on=False, gid="reliability"
    )
    above.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    above.set_title(textwrap.fill(own.repeats.name, TITLE_WIDTH), fontsize=8.5, pad=15)
    error = np.mean([one.bins.error for one in own.seeds])
    chance = np.mean([one.by_chance[0] for one in own.seeds])
    seeds = f"{number} seeds" if number > 1 else "1 seed"
    above.text(0, 1.03, f"ECE {error:.3f}, by chance {chance:.3f}; {seeds}", transform=above.transAxes, fontsize=7.5)
    shares, width = bins.counts / bins.counts.sum(), 1 / len(bins.counts)
    edges = width * np.arange(len(shares))
    below.bar(edges, shares, width, align="edge", color=tint(colour, 0.6), edgecolor="white")
    below.set_box_aspect(HISTOGRAM)


def _of_one_seed(right: int, total: int, seeds: int) -> Share:
    """Return the share right of a bin with as many images as a seed has in it on average.

    >>> _of_one_seed(1, 1, 3), _of_one_seed(6, 9, 3)
    (Share(right=1, total=1), Share(right=2, total=3))
    """
    images = max(1, round(total / seeds))
    return Share(round(images * right / total), images)


def _explain(figure: Figure, columns: int) -> None:
    marks = [
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="as sure as right"),
        Line2D([], [], color=INK, linewidth=1, marker="o", markersize=3.5, label="share right in a bin, 95 %"),
        Patch(color=tint(INK, 0.25), label="distance from its confidence"),
    ]
    add_legend(figure, marks, columns)
