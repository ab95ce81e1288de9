"""The regret curves of searches/quality.py as a picture: each method's mean over seeds and its 95 % interval."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from searches.regret import Regrets

from analysis.statistics.seeds import mean_over_seeds

# Okabe M and Ito K 2008, "Color universal design": told apart with every common colour blindness.
COLOURS: Final = ("#D55E00", "#0072B2", "#009E73", "#000000", "#CC79A7", "#E69F00")
GREY: Final = "#767676"


@dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    budgets: Sequence[float]
    regrets: Regrets
    labels: Mapping[str, str]
    """Method -> what to call it."""


def draw(panels: Sequence[Panel], footer: str, path: Path) -> None:
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, panel)
    figure.supylabel("regret: accuracy below the table's best", fontsize=10)
    figure.supxlabel(footer, fontsize=7, color=GREY, x=0.01, ha="left")
    figure.savefig(path, dpi=200)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    ends = {}
    for (name, array), colour in zip(panel.regrets.items(), COLOURS, strict=False):
        means = [mean_over_seeds(column) for column in array.T]
        axes.plot(panel.budgets, [mean.value for mean in means], color=colour, linewidth=1.8)
        low, high = ([getattr(mean.interval, end) for mean in means] for end in ("low", "high"))
        axes.fill_between(panel.budgets, low, high, color=colour, alpha=0.15, linewidth=0)
        ends[name] = means[-1].value, colour
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(panel.x_label)
    axes.spines[["top", "right"]].set_visible(False)
    top = float(np.quantile(np.concatenate([array.mean(axis=0) for array in panel.regrets.values()]), 0.97))
    axes.set_ylim(0, top * 1.1)
    axes.set_xlim(0, panel.budgets[-1])
    places = _apart(np.array([y for y, _ in ends.values()]), 0.05 * top)
    for (name, (_, colour)), y in zip(ends.items(), places, strict=True):
        text = f" {panel.labels.get(name, name)}"
        axes.annotate(text, (panel.budgets[-1], y), color=colour, fontsize=8, va="center", annotation_clip=False)


def _apart(heights: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return the heights, moved up as little as keeps labels from lying on each other."""
    moved = heights.copy()
    for below, own in itertools.pairwise(np.argsort(heights)):
        moved[own] = max(moved[own], moved[below] + least)
    return moved
