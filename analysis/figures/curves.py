"""Figures 4-15: loss and accuracy over the epochs, on the training split and on the one that was watched; and below
them the learning rate of each step, where it is not the same in all."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.plans import Material, Plan
from analysis.figures.style import COLOURS, GREY, INK, add_legend, new_figure, set_log, tint
from analysis.trials.banner import Banner
from analysis.trials.starts import rate_text
from analysis.trials.table1_cells import Cell, PaperGrid
from galaxytl.trial import COMPLETE, TrialResult
from galaxytl.trial.schedules import is_constant, learning_rate, steps_per_epoch

QUANTITIES = {"loss": "cross-entropy loss [nats]", "accuracy": "accuracy"}
SHEET_COLUMNS = tuple((name, imagenet) for name in ("MobileNet", "ResNet50", "VGG16") for imagenet in ("ON", "OFF"))
WIDTHS = {True: 3.6, False: 1.5}  # points: of the training curve, of the watched one
Colour = tuple[float, float, float]
LONG_LOSS = 10_000
RATES_SHARE = 0.3  # height of the panel of learning rates, of that of the curves
RATE_POINTS = 1000  # of a curve of learning rates, at most: more than a figure has pixels
LABEL_EDGE = 0.05  # of the axis, that a line label keeps clear of its ends
LABEL_GAP = 0.07  # least distance of two line labels, as a share of the axis


@dataclass(frozen=True)
class EpochCurve:
    """One quantity over the epochs: the mean over seeds, and the seeds themselves. All have the length of `epochs`."""

    split: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    seeds: tuple[tuple[float, ...], ...]


def curves_of(cell: Cell, quantity: str) -> list[EpochCurve]:
    """Return the training and the watched curve. Complete seeds only, or the failed ones' beginnings when none is
    complete.

    The mean runs over the epochs that every seed has reached, so that it never changes its members on the way.
    """
    trials = [r for r in cell.shown if r.history]
    if not trials:
        return []
    watched = "/".join(sorted({r.curves_on for r in trials}))
    return [_curve(trials, "training", quantity), _curve(trials, watched, f"val_{quantity}")]


def _curve(trials: Sequence[TrialResult], split: str, name: str) -> EpochCurve:
    length = min(len(r.history) for r in trials)
    seeds = tuple(tuple(epoch.get(name, math.nan) for epoch in r.history[:length]) for r in trials)
    mean = tuple(sum(values) / len(seeds) for values in zip(*seeds, strict=True))
    return EpochCurve(split, tuple(int(epoch["epoch"]) for epoch in trials[0].history[:length]), mean, seeds)


def rates_of(cell: Cell) -> tuple[list[float], list[float]]:
    """Return how many epochs were over before each step, and its learning rate, of a cell whose trials change it: of
    all of the training that was asked for, RATE_POINTS steps at most. Empty where it is constant, or the number of
    training images is not known."""
    trial = next((r for r in cell.shown if not is_constant(r.spec) and r.num_images.get("train")), None)
    if trial is None:
        return [], []
    of_epoch = steps_per_epoch(trial.spec, trial.num_images["train"])
    last = trial.spec.num_epochs * of_epoch - 1
    steps = sorted({*range(0, last, math.ceil(last / RATE_POINTS) or 1), last})
    return [step / of_epoch for step in steps], [learning_rate(trial.spec, step, of_epoch) for step in steps]


def reference_of(cell: Cell, quantity: str) -> tuple[float, str] | None:
    """Return what a model that has learned nothing but the class counts of the test split reaches, and its name.

    Accuracy: the share of the commonest class. Loss: the entropy of the class shares, -sum p ln p, in nats; not of a
    loss against votes, which rows do not have.
    """
    counts = next((tuple(sum(row) for row in r.confusion) for r in cell.complete if r.confusion), ())
    shares = [count / sum(counts) for count in counts if count]
    if quantity == "loss" and any(r.spec.targets == "votes" for r in cell.shown):
        return None
    if quantity == "loss":
        return (-sum(p * math.log(p) for p in shares), "predicting the class shares") if shares else None
    share = next((r.metrics["majority_share"] for r in cell.complete if "majority_share" in r.metrics), None)
    return (share, "always the commonest class") if share is not None else None


def plan_cells(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the paper's single figures by their numbers: of each cell of Table 1 the loss, then the accuracy."""
    cells = material.grid.cells if material.grid else ()
    for cell in sorted(cells, key=lambda cell: cell.paper.loss_figure):
        for quantity, number in {"loss": cell.paper.loss_figure, "accuracy": cell.paper.accuracy_figure}.items():
            own = stem.format(number=number, quantity=quantity, cell=cell.paper.file_stem)
            text = caption.format(number=number, heading=quantity.capitalize(), title=cell.paper.title)
            if material.grid and curves_of(cell, quantity):
                yield Plan(own, text, partial(draw_cell, cell, quantity, Banner.of(material.grid)))
            else:
                yield Plan(own, text, None, cell.why_without("history"))


def draw_cell(cell: Cell, quantity: str, banner: Banner) -> Figure:
    """Draw one of the paper's single figures."""
    has_rates = bool(rates_of(cell)[0])
    figure = new_figure(6.4, 3.9 * (1 + RATES_SHARE * has_rates), banner.bottom_line(cell.shown))
    axes, *below = _panels(figure, 1, 1, has_rates)[:, 0]
    curves = draw_curves(axes, cell, quantity)
    for panel in below:
        draw_rates(panel, cell)
    axes.set_title(cell.title + _seeds(cell))
    axes.set_ylabel(QUANTITIES[quantity])
    figure.axes[-1].set_xlabel("epoch")
    _name_reference(axes, cell, quantity, curves)
    _name_curves(axes, cell, curves)
    return figure


def _panels(figure: Figure, rows: int, columns: int, has_rates: bool) -> Any:
    """Return axes (rows, columns) that share their epochs; with a low further row where `has_rates`."""
    heights = [1.0] * rows + [RATES_SHARE] * has_rates
    return figure.subplots(len(heights), columns, sharex=True, squeeze=False, height_ratios=heights)


def _seeds(cell: Cell) -> str:
    return f" (mean of {cell.seeds} seeds)" if len(cell.complete) > 1 else ""


def draw_sheet(grid: PaperGrid, banner: Banner) -> Figure:
    """Draw all twelve figures on one sheet: a column a trial, loss above, accuracy below."""
    cells = [grid.cell(*names) for names in SHEET_COLUMNS]
    has_rates = any(rates_of(cell)[0] for cell in cells)
    figure = new_figure(11, 5.2 + 0.9 * has_rates, banner.bottom_line(grid.shown))
    panels = _panels(figure, len(QUANTITIES), len(cells), has_rates)
    for column, cell in enumerate(cells):
        for axes, quantity in zip(panels[:, column], QUANTITIES, strict=False):
            draw_curves(axes, cell, quantity)
        if has_rates:
            draw_rates(panels[-1, column], cell)
        panels[0, column].set_title(cell.title.replace(", ", "\n"), color=COLOURS[cell.paper.backbone])
        panels[-1, column].set_xlabel("epoch" if panels[1, column].lines else "")
    _share_scale(panels[0])
    panels[0, 0].set_ylabel(QUANTITIES["loss"])
    panels[1, 0].set_ylabel(QUANTITIES["accuracy"])
    _sheet_legend(figure, cells)
    return figure


def _share_scale(panels: Sequence[Axes]) -> None:
    """Give the row one loss scale; a panel that would flatten the others to a quarter of their height keeps its own."""
    linear = [axes for axes in panels if axes.lines and axes.get_yscale() == "linear"]
    tops = {axes: axes.get_ylim()[1] for axes in linear}
    alike = {axes: top for axes, top in tops.items() if top <= 4 * min(tops.values())}
    for axes in alike:
        axes.set_ylim(0, max(alike.values()))


def _sheet_legend(figure: Figure, cells: Sequence[Cell]) -> None:
    splits = [curve.split for cell in cells for curve in curves_of(cell, "loss")]
    watched = "/".join(sorted({split for split in splits if split != "training"})) or "test"
    marks = [
        Line2D([], [], color=tint(INK, 0.4), linewidth=WIDTHS[True], label="training"),
        Line2D([], [], color=INK, linewidth=WIDTHS[False], label=watched),
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="has learned the class counts only"),
    ]
    add_legend(figure, marks, 3)


def draw_curves(axes: Axes, cell: Cell, quantity: str) -> list[EpochCurve]:
    """Draw both curves and the reference line, or write the reason why there are none; returns what was drawn."""
    curves = curves_of(cell, quantity)
    for curve in curves:
        _draw_curve(axes, curve, colour_of(curve.split, cell))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    if curves:  # all the epochs asked for, so that a failed trial's curve ends early
        num_epochs = cell.results[0].spec.num_epochs
        axes.set_xlim((1, num_epochs) if num_epochs > 1 else (0.5, 1.5))
    reference = reference_of(cell, quantity)
    if reference:
        axes.axhline(reference[0], color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    values = [v for curve in curves for seed in curve.seeds for v in seed if math.isfinite(v)]
    _scale(axes, [*values, reference[0]] if reference else values, quantity)
    if cell.status != COMPLETE:
        _say_why(axes, cell)
    return curves


def draw_rates(axes: Axes, cell: Cell) -> None:
    """Draw the learning rate of each step; nothing where it is constant."""
    epochs, rates = rates_of(cell)
    if not rates:
        axes.set_axis_off()
        return
    axes.plot(epochs, rates, color=INK, linewidth=1.2)
    axes.set_ylim(0, 1.1 * max(rates))
    axes.set_yticks([0, max(rates)], ["0", rate_text(max(rates))])
    axes.set_xlim(left=0)  # the curves begin after the first epoch, the rates with it
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("learning rate" + ("\nof the head" if cell.shown[0].spec.learning_rate_decay != 1 else ""))


def _scale(axes: Axes, values: Sequence[float], quantity: str) -> None:
    """Scale the axis from zero up, so that heights compare; a loss that rises above ten times its median, or is too
    long a number to stand beside the axis, goes on a log scale."""
    if quantity == "accuracy":
        axes.set_ylim(0, 1.02)  # room for half a line at 1
    elif values and max(values) > min(10 * statistics.median(values), LONG_LOSS) and max(values) > 0:
        set_log(axes, "y")
    else:
        axes.set_ylim(0, 1.05 * max(values, default=1.0))


def colour_of(split: str, cell: Cell) -> Colour:
    """Return the colour, pale for the training curve: it is drawn wide below the watched one, so that both show where
    they coincide."""
    return tint(COLOURS[cell.paper.backbone], 0.4 if split == "training" else 1.0)


def _draw_curve(axes: Axes, curve: EpochCurve, colour: Colour) -> None:
    if len(curve.seeds) > 1:
        for values in curve.seeds:
            axes.plot(curve.epochs, values, color=colour, linewidth=0.7, alpha=0.6)
    marker = "o" if len(curve.epochs) == 1 else ""
    axes.plot(curve.epochs, curve.mean, color=colour, linewidth=WIDTHS[curve.split == "training"], marker=marker)


def _say_why(axes: Axes, cell: Cell) -> None:
    inches = axes.get_position().width * axes.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    text = textwrap.fill(cell.short_reason, max(12, int(inches * 12)))  # about 12 letters of 8 points an inch
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    axes.text(0.08, 0.5, text, transform=axes.transAxes, va="center", fontsize=8, color=INK, bbox=paper)
    if not axes.lines:
        axes.spines[:].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def _name_reference(axes: Axes, cell: Cell, quantity: str, curves: Sequence[EpochCurve]) -> None:
    """Name the line at the right, on the side of the line where fewer points of the curves are in the way."""
    if not (reference := reference_of(cell, quantity)):
        return
    value, name = reference
    ends = [p for c in curves for p in zip(c.epochs, c.mean, strict=True) if math.isfinite(p[1])]
    (_, line), *places = axes.transLimits.transform(axes.transScale.transform([(1, value), *ends]))
    heights = [y - line for x, y in places if x > 0.4]
    above, below = (sum(0.01 < way * height < LABEL_GAP for height in heights) for way in (1, -1))
    axes.annotate(
        f"{name}: {value:.3f}", (1, value), (-2, -2 if above > below else 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="top" if above > below else "bottom", fontsize=7, color=GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
    )  # fmt: skip


def _name_curves(axes: Axes, cell: Cell, curves: Sequence[EpochCurve]) -> None:
    """Write each curve's name right of its end, LABEL_GAP apart where the ends are close."""
    to_share = axes.transData + axes.transAxes.inverted()
    ends = []
    for curve in curves:
        points = [p for p in zip(curve.epochs, curve.mean, strict=True) if math.isfinite(p[1])]
        ends += [(float(to_share.transform(point)[1]), curve.split, point[0]) for point in points[-1:]]
    if not ends:
        return
    last = max(epoch for _, _, epoch in ends)
    for height, split in spread([end[:2] for end in ends], LABEL_GAP):
        axes.annotate(
            split, (last, height), (6, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="center", color=INK if split == "training" else colour_of(split, cell),
        )  # fmt: skip


def spread(ends: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Return the heights of labels, as shares of the axis, from the lowest up, moved as little as keeps them `gap`
    apart.

    As little: by the least squares. Less i gaps, the heights must not fall, which is isotonic regression. Where they
    then pass an end of the axis all move together.

    >>> spread([(0.5, "test"), (0.5, "training")], 0.1)
    [(0.45, 'test'), (0.55, 'training')]
    """
    from scipy.optimize import isotonic_regression  # takes a moment

    ordered = sorted(ends)
    if not ordered:
        return []
    fitted = isotonic_regression([height - i * gap for i, (height, _) in enumerate(ordered)]).x
    heights = [float(height) + i * gap for i, height in enumerate(fitted)]
    move = max(LABEL_EDGE - heights[0], 0.0) or min(1 - LABEL_EDGE - heights[-1], 0.0)
    return [(height + move, name) for height, (_, name) in zip(heights, ordered, strict=True)]
