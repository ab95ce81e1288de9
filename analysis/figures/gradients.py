"""What the gradients did: a collapsed trial beside one that learned, layer by layer and epoch by epoch.

    picks = picks_of(results)                  # Pick(start, "collapsed", result), ...
    draw_gradients(picks, banner)              # a Figure

For each start that VGG16 was trained from, the collapsed and the learned trial nearest the paper's setting: by how many
settings differ from the paper's, then by the decades between the learning rates, then by the seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.collapse.settings import is_asked
from analysis.figures.plans import Material, Plan
from analysis.figures.style import GREY, INK, PALE, new_figure, set_log
from analysis.trials.banner import Banner
from analysis.trials.starts import (
    COLLAPSED_NOTE,
    Start,
    distance_from_paper,
    has_learned,
    is_collapsed,
    momentum_note,
    optimizer_name,
    rate_text,
    start_of,
)
from galaxytl.trial import COMPLETE, TrialResult

BACKBONE: Final = "VGG16"
COLLAPSED, LEARNED = "collapsed", "learned"
KINDS: Final[tuple[Literal["collapsed", "learned"], ...]] = ("collapsed", "learned")
MAPS: Final = {"gradient_norms": "gradient's norm", "dead_shares": "share of dead units"}
LINES: Final = {"logit_spread": "logit spread\n(over the images)", "loss": "loss [nats]"}
LEAST_SHARE: Final = 1e-8
"""Of the largest gradient norm, that the colours tell from 0: that of a rounding error of 32-bit numbers, rounded."""
NORM_COLOURS, DEAD_COLOURS = "viridis", "Greys"
LINE_COLOURS: Final = {COLLAPSED: "#8C2D04", LEARNED: "#0072B2"}
RULE: Final = "of each start the collapsed and the learned trial nearest the paper's setting"
Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Pick:
    """The trial that stands for all of its start that ended alike."""

    start: Start
    kind: Literal["collapsed", "learned"]
    result: TrialResult

    @property
    def title(self) -> str:
        spec, accuracy = self.result.spec, self.result.metrics["accuracy"]
        settings = f"{optimizer_name(spec)}, {rate_text(spec.learning_rate)}"
        return f"{self.start.title}\n{self.kind}: {accuracy:.2f}\n{settings}"


def picks_of(results: Sequence[TrialResult]) -> list[Pick]:
    """Return by start the collapsed trial before the learned one; a start without the one has the other only."""
    candidates = [r for r in results if r.status == COMPLETE and r.spec.backbone == BACKBONE and r.diagnostics]
    candidates.sort(key=lambda r: (distance_from_paper(r.spec), r.spec.seed, r.trial_id))
    picks: dict[tuple[Start, str], Pick] = {}
    for result in candidates:
        kind = COLLAPSED if is_collapsed(result) else LEARNED if has_learned(result) else ""
        start = start_of(result.spec)
        if start and kind:
            picks.setdefault((start, kind), Pick(start, "collapsed" if kind == COLLAPSED else "learned", result))
    return [picks[key] for key in sorted(picks)]


def why_none(results: Sequence[TrialResult]) -> str:
    own = [r for r in results if r.spec.backbone == BACKBONE and r.status == COMPLETE]
    if not own:
        return f"no {BACKBONE} trial is complete"
    if not any(r.diagnostics for r in own):
        return f"no {BACKBONE} trial recorded its gradients; `sweep.run --diagnostics` does"
    return f"no {BACKBONE} trial that recorded its gradients has collapsed or surely learned, from a start it can show"


def layers_of(results: Sequence[TrialResult]) -> tuple[str, ...]:
    """Return the layers from input to output. The longest record gives the order; a layer that it lacks stands before
    its last."""
    records = [tuple(epoch[name]) for r in results for epoch in r.diagnostics for name in MAPS]
    longest: list[str] = []
    for record in records:
        longest = list(record) if len(record) > len(longest) else longest
    for layer in (layer for record in records for layer in record):
        if layer not in longest:
            longest.insert(len(longest) - 1, layer)
    return tuple(longest)


def grid_of(result: TrialResult, quantity: str, layers: Sequence[str]) -> Grid:
    """Return the numbers (layers, epochs); NaN where a layer has no such number: one that is frozen has no gradient."""
    rows = [[_number(epoch[quantity].get(layer)) for epoch in result.diagnostics] for layer in layers]
    return np.array(rows, dtype=np.float64).reshape(len(layers), len(result.diagnostics))


def series_of(result: TrialResult, quantity: str) -> list[float]:
    return [_number(epoch.get(quantity)) for epoch in result.diagnostics]


def _number(value: Any) -> float:
    """Return a number; JSON has None for NaN and infinity."""
    return math.nan if value is None else float(value)


def plan_gradients(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the figure of the trials that stand for the others; nothing where nobody asks what collapsed in the
    paper."""
    if not (material.subject.is_of_paper or is_asked(material.results)):
        return
    text = caption.format(backbone=BACKBONE, rule=RULE)
    if not (picks := picks_of(material.results)):
        yield Plan(stem, text, None, why_none(material.results))
        return
    text = material.banner.caption(text, [pick.result for pick in picks])
    yield Plan(stem, text, partial(draw_gradients, picks, material.banner))


def draw_gradients(picks: Sequence[Pick], banner: Banner) -> Figure:
    """Draw a column a pick; rows: the norms, the dead units, the spread of the logits, the loss."""
    results = [pick.result for pick in picks]
    layers = layers_of(results)
    notes = (
        f"{BACKBONE}: {RULE}; {COLLAPSED_NOTE}; epoch 0: before training; hatched: the layer is frozen, or has no such"
        f" units; black: no gradient, or less than {rate_text(LEAST_SHARE)} of the largest"
    )
    heights = [max(0.16 * len(layers), 1.2)] * 2 + [0.95, 0.95]
    figure = new_figure(10, 1.9 + sum(heights), banner.bottom_line(results, notes, momentum_note(results)))
    panels = figure.subplots(4, len(picks), sharex="col", sharey="row", squeeze=False, height_ratios=heights)
    norms = {name: [grid_of(result, name, layers) for result in results] for name in MAPS}
    scales = {"gradient_norms": norm_scale(norms["gradient_norms"]), "dead_shares": Normalize(0, 1)}
    for row, name in enumerate(MAPS):
        for axes, grid in zip(panels[row], norms[name], strict=True):
            _draw_grid(axes, grid, scales[name], _colours(name))
        _name_layers(panels[row, 0], layers)
        _add_scale(figure, list(panels[row]), name, scales[name])
    for row, (name, heading) in enumerate(LINES.items(), start=len(MAPS)):
        _draw_lines(list(panels[row]), picks, name)
        panels[row, 0].set_ylabel(heading)
    for axes, pick in zip(panels[0], picks, strict=True):
        axes.set_title(pick.title, fontsize=8.5, color=LINE_COLOURS[pick.kind])
    _name_epochs(list(panels[-1]))
    return figure


def norm_scale(grids: Sequence[Grid]) -> LogNorm:
    """Return one scale for all trials, whole decades: from their smallest norm, but not below LEAST_SHARE of the
    largest."""
    positive = [float(value) for grid in grids for value in grid[np.isfinite(grid) & (grid > 0)]]
    high = max(positive, default=1.0)
    low = max(min(positive, default=1.0), high * LEAST_SHARE)
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return LogNorm(10.0**bottom, 10.0 ** max(top, bottom + 1), clip=False)


def _colours(name: str) -> Colormap:
    from matplotlib import colormaps

    colours = colormaps[NORM_COLOURS if name == "gradient_norms" else DEAD_COLOURS]
    return colours.with_extremes(under="black", bad=(1, 1, 1, 0))


def _draw_grid(axes: Axes, grid: Grid, scale: Normalize, colours: Colormap) -> None:
    axes.set_facecolor("white")
    axes.patch.set(hatch="////", edgecolor=PALE, linewidth=0)
    shown = np.where(grid <= 0, scale.vmin / 10, grid) if isinstance(scale, LogNorm) and scale.vmin else grid
    num_layers, num_epochs = grid.shape
    edges = (np.arange(num_epochs + 1) - 0.5, np.arange(num_layers + 1) - 0.5)
    axes.pcolormesh(*edges, np.ma.masked_invalid(shown), norm=scale, cmap=colours, rasterized=True)
    axes.set_ylim(num_layers - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _name_layers(axes: Axes, layers: Sequence[str]) -> None:
    axes.set_yticks(range(len(layers)), layers, fontsize=6.5)
    axes.set_ylabel("input → output", fontsize=8, color=GREY)
    axes.yaxis.set_inverted(True)


def _add_scale(figure: Figure, panels: list[Axes], name: str, scale: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(scale, _colours(name)), ax=panels, aspect=18, pad=0.012)
    bar.set_label(MAPS[name], fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    if isinstance(scale, LogNorm) and scale.vmin and scale.vmax:
        low, high = round(math.log10(scale.vmin)), round(math.log10(scale.vmax))
        decades = [10.0**n for n in range(low, high + 1, max(1, (high - low) // 4))]
        bar.set_ticks(decades, labels=[rate_text(value) for value in decades])
        bar.minorticks_off()
    bar.outline.set_visible(False)


def _draw_lines(panels: Sequence[Axes], picks: Sequence[Pick], quantity: str) -> None:
    """Draw each trial's own in its colour, the others of its start pale behind it."""
    for axes, own in zip(panels, picks, strict=True):
        for pick in picks:
            if pick.start == own.start:
                is_own = pick is own
                epochs = [int(epoch["epoch"]) for epoch in pick.result.diagnostics]
                axes.plot(
                    epochs, series_of(pick.result, quantity), color=LINE_COLOURS[pick.kind], zorder=3 if is_own else 2,
                    linewidth=1.8 if is_own else 1, alpha=1 if is_own else 0.3,
                    gid=f"{quantity} {pick.result.trial_id}",
                )  # fmt: skip
    values = [v for pick in picks for v in series_of(pick.result, quantity) if math.isfinite(v)]
    positive = [value for value in values if value > 0]
    if quantity == "logit_spread" and positive and max(positive) > 20 * min(positive):  # a 0 leaves a gap
        set_log(panels[0], "y")
    elif values:
        panels[0].set_ylim(0, 1.08 * max(values))


def _name_epochs(panels: Sequence[Axes]) -> None:
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
