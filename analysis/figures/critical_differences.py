"""A critical-difference diagram: settings by mean accuracy, and bars that join those which are not told apart.

    draw_ranking(rank(results, folders), banner)    # a Figure

As Demsar 2006 (JMLR 7, 1) draws it, turned: settings are rows, so that thirty names have room, and the axis is the
accuracy and not a mean rank. A bar joins settings of which no two are told apart by the pairwise tests of `all_pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.plans import NOTHING_COMPLETE, Material, Plan
from analysis.figures.style import GREY, INK, PALE, backbone_colours, new_figure
from analysis.scores.all_pairs import THEMES, Ranking, ranking_of, subject
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.banner import Banner
from analysis.trials.seed_points import part_text

ROW_INCHES: Final = 0.21
NOTE: Final = "bars join what t tests of all pairs over seeds and images, Holm, do not tell apart; intervals of 95 %"


def plan_rankings(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield a figure for each theme of `all_pairs`."""
    for theme in THEMES:
        ranking, left_out = ranking_of(theme, material.results, material.folders)
        own, text = stem.format(theme=theme.stem), caption.format(subject=subject(theme, ranking))
        if len(ranking.places) < 2:
            why = f"no two {theme.name} have {MIN_SEEDS} seeds or more, all else being equal"
            yield Plan(own, text, None, why if material.has_complete else NOTHING_COMPLETE)
            continue
        texts = (text, *(f"{text[0].upper()}{text[1:]}." for text in ranking.skipped), left_out)
        results = [result for place in ranking.places for result in place.arm.results]
        text = material.banner.caption(" ".join(filter(None, texts)), results)
        yield Plan(own, text, partial(draw_ranking, ranking, material.banner))


def draw_ranking(ranking: Ranking, banner: Banner) -> Figure:
    """Draw a row a setting, the best at the top; the groups have a panel of their own at the right."""
    results = [result for place in ranking.places for result in place.arm.results]
    bars = [group for group in ranking.groups if len(group) > 1]
    figure = new_figure(10, 1.2 + ROW_INCHES * len(ranking.places), banner.bottom_line(results, NOTE))
    widths = [8.0, max(1.35, min(3.0, 0.35 + 0.16 * len(bars)))]
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=widths)
    _draw_places(axes, ranking)
    axes.set_xlabel(part_text(results))
    _draw_groups(beside, bars)
    axes.set_ylim(len(ranking.places) - 0.4, -0.6)
    return figure


def _draw_places(axes: Axes, ranking: Ranking) -> None:
    colours = backbone_colours(place.arm.backbone for place in ranking.places)
    for row, place in enumerate(ranking.places):
        colour, interval = colours[place.arm.backbone], place.accuracy.interval
        axes.hlines(row, interval.low, interval.high, color=colour, linewidth=1.4)
        values = [float(one.right.mean()) for one in place.arm.predictions]
        axes.plot(values, [row] * len(values), "|", color=colour, markersize=6, markeredgewidth=0.8)
        axes.plot(place.accuracy.value, row, "o", color=colour, markersize=4.5, gid=f"place {place.name}")
    names = [f"{place.name} ({place.arm.num_seeds})" for place in ranking.places]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both", color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_title("setting (seeds); ticks: its seeds, point and line: their mean and its interval", fontsize=9)


def _draw_groups(axes: Axes, bars: list[tuple[int, ...]]) -> None:
    for column, group in enumerate(bars):
        axes.vlines(column, group[0] - 0.25, group[-1] + 0.25, color=INK, linewidth=3, gid=f"group {group}")
    axes.set_xlim(-0.8, max(0, len(bars) - 1) + 0.8)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("not told apart" if bars else "all told apart", fontsize=9, color=GREY)
